"""Seconds and memory of loading a published checkpoint, and of touching every weight of it.

    python benchmarks/loading.py FILE [--model vdpm] [--dtype float32]

Anonymous memory is what only swapping could free; mapped memory the system can drop at any time,
since the file stands behind it. Both count towards the peak that is printed last.
"""

import argparse
import re
import resource
import time
from pathlib import Path

import torch

from dynapoint.models.vggt.config import vdpm, vggt
from dynapoint.models.vggt.weights import load_published

CONFIGS = {"vdpm": vdpm, "vggt": vggt}


def memory_bytes() -> dict[str, int]:
    """Resident memory of this process by what stands behind it."""
    status = Path("/proc/self/status").read_text()
    return {
        name: 1024 * int(re.findall(rf"{key}:\s+(\d+) kB", status)[0])
        for name, key in (("anonymous", "RssAnon"), ("mapped", "RssFile"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", choices=sorted(CONFIGS), default="vdpm")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    options = parser.parse_args()
    size = options.file.stat().st_size
    config, dtype = CONFIGS[options.model](), getattr(torch, options.dtype)
    print(f"file {size / 1e9:.3f} GB; before: {_in_gigabytes(memory_bytes())}")
    start = time.perf_counter()
    network = load_published(config, options.file, dtype=dtype)
    print(f"loaded in {time.perf_counter() - start:.1f} s: {_in_gigabytes(memory_bytes())}")
    total = sum(float(value.sum()) for value in network.state_dict().values())
    print(
        f"touched after {time.perf_counter() - start:.1f} s: {_in_gigabytes(memory_bytes())} "
        f"(sum {total:.6g})"
    )
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak {peak / 1e9:.3f} GB, {peak / size:.3f} x the file")


def _in_gigabytes(values: dict[str, int]) -> str:
    return ", ".join(f"{name} {value / 1e9:.3f} GB" for name, value in values.items())


if __name__ == "__main__":
    main()
