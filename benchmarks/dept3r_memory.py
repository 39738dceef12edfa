"""Peak memory of DePT3R at full size, by a trace without data; and whether such traces are right.

    python benchmarks/dept3r_memory.py [--frames 2 4 6 8 10 16 32] [--size 518 518]
    python benchmarks/dept3r_memory.py --check

The trace runs the network on tensors that have shapes and no data, and adds up their storages from
their making to their end: weights in float32, the blocks in bfloat16 and the heads in float32, as
on a GPU; frames are encoded and all of them are decoded to one time, which gives a track for every
pixel. Not in it are the workspaces of libraries and the allocator's own losses. `--check` compares
it with the resident memory of a small network's run in float32 on this CPU.
"""

import argparse
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dynapoint.models.layers.compute import ComputeOptions, default_options
from dynapoint.models.layers.config import AggregatorConfig, DptHeadConfig, PatchEmbedConfig
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.dept3r_config import Dept3rConfig, dept3r, dept3r_miniature

PAPER_GIGABYTES = 12.0
CHECKED = ((40, 84, 112), (2, 280, 350))
"""Frames and sizes of the checked runs: most memory in the blocks, and in the heads."""


class HeldBytes(TorchDispatchMode):
    """Adds up the storages of all tensors that operations give, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.at_most = ""
        self._known: dict[int, weakref.finalize] = {}

    def hold(self, tensor: torch.Tensor) -> bool:
        """Count a tensor's storage unless it is counted; whether there has never been more."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return False
        size = storage.nbytes()
        self.now += size
        self._known[key] = weakref.finalize(storage, self._drop, key, size)
        more = self.now > self.most
        self.most = max(self.most, self.now)
        return more

    def _drop(self, key: int, size: int) -> None:
        self.now -= size
        del self._known[key]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and self.hold(leaf):
                self.at_most = f"{function} {tuple(leaf.shape)}"
        return result


def small() -> Dept3rConfig:
    """A network whose memory can be measured in seconds."""
    base = dept3r_miniature()
    vggt = replace(
        base.vggt,
        patch_embed=PatchEmbedConfig(depth=2, heads=4, trained_side=224),
        aggregator=AggregatorConfig(
            width=256, depth=4, heads=4, layer_scale_init=0.01, time_token=False
        ),
        head=DptHeadConfig(features=128, level_channels=(64, 96, 128, 128)),
    )
    return replace(base, vggt=vggt)


def run(network: Dept3rNetwork, images: torch.Tensor) -> object:
    """Own-time maps, cameras and depth of all frames, and all frames at the time of the last."""
    encoded = network.encode(images)
    frames = images.shape[1]
    return encoded, network.decode(encoded, time=frames - 1, frames=range(frames))


def trace(
    config: Dept3rConfig, shape: tuple[int, int, int], options: ComputeOptions
) -> tuple[int, int, str]:
    """Bytes of the weights, of the peak (weights included), and what was made at the peak."""
    frames, height, width = shape
    # Attention is one operation without gradients, but only outside of inference mode.
    with FakeTensorMode(), torch.no_grad():
        network = Dept3rNetwork(config).eval().use(options)
        images = torch.empty(1, frames, 3, height, width)
        held = HeldBytes()
        for tensor in network.state_dict().values():
            held.hold(tensor)
        weights = held.now
        held.hold(images)
        with held:
            run(network, images)
        return weights, held.most, held.at_most


def status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def measure(shape: tuple[int, int, int]) -> int:
    """Bytes that a real run adds to the resident memory at its peak."""
    frames, height, width = shape
    torch.set_num_threads(1)
    network = Dept3rNetwork(small()).eval().requires_grad_(False)
    with torch.no_grad():
        # Libraries are loaded and their workspaces made by a small run.
        run(network, torch.rand(1, 2, 3, 28, 28))
        images = torch.rand(1, frames, 3, height, width)
        before = status_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        kept = run(network, images)
        peak = status_bytes("VmHWM") - before
        del kept
    return peak


def check() -> bool:
    """Print traced and measured peaks of the small network; whether all agree within 10 %."""
    good = True
    for shape in CHECKED:
        weights, peak, largest = trace(small(), shape, ComputeOptions())
        images = 4 * 3 * shape[0] * shape[1] * shape[2]
        traced = peak - weights - images
        # Every large block is mapped by itself, so that what is freed leaves the process.
        command = [sys.executable, __file__, "--measure", *map(str, shape)]
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
        environment["MALLOC_TOP_PAD_"] = environment["MALLOC_TRIM_THRESHOLD_"] = "65536"
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        measured = int(done.stdout)
        good &= abs(measured / traced - 1) <= 0.1
        print(
            f"{shape[0]} frames of {shape[1]} × {shape[2]}: traced {traced / 1e6:.1f} MB, "
            f"measured {measured / 1e6:.1f} MB ({measured / traced - 1:+.1%}); "
            f"at the peak {largest}",
            flush=True,
        )
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=(2, 4, 6, 8, 10, 16, 32))
    parser.add_argument("--size", type=int, nargs=2, default=(518, 518), metavar=("H", "W"))
    parser.add_argument("--head-frames", type=int, help="frames that a head computes at once")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--measure", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(tuple(arguments.measure)))
        return
    if arguments.check:
        sys.exit(0 if check() else 1)
    options = default_options("cuda")
    if arguments.head_frames:
        options = replace(options, head_frames_at_once=arguments.head_frames)
    print(options)
    for frames in arguments.frames:
        weights, peak, largest = trace(dept3r(), (frames, *arguments.size), options)
        print(
            f"{frames:3d} frames of {arguments.size}: {peak / 1e9:6.2f} GB, of which weights "
            f"{weights / 1e9:.2f}; at the peak {largest}",
            flush=True,
        )
        if frames == 10 and peak / 1e9 > PAPER_GIGABYTES:
            print(f"    more than the paper's {PAPER_GIGABYTES} GB")


if __name__ == "__main__":
    main()
