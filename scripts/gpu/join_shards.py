"""Put weights that came back in parts together again, and check them against the log.

    python scripts/gpu/join_shards.py A B C --output runs/lease

A, B and C are folders in which the files of a lease's commands arrived: `ema.00`, `ema.01` …,
`raw.00` … and `log.jsonl`. Of each file the newest version whose hash a log names is written to
OUTPUT, as `ema.safetensors` (averaged weights) and `raw.safetensors`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from dynapoint.errors import DynapointError
from dynapoint.training.shards import join_shards


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(words)
    try:
        for each in join_shards(arguments.folders, arguments.output):
            said = each.said
            print(f"{each.path}: step {said['step']}, {said['samples']} samples, {each.sha256}")
    except DynapointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
