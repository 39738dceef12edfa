"""Time and memory of V-DPM at full size on a GPU, beside the original's way, within four minutes.

    python scripts/gpu/vdpm_speed.py --output "$OUT"
    python scripts/gpu/vdpm_speed.py --miniature --device cpu

Random weights, 64 frames of 294 × 518, blocks in bf16 (docs/notes/published.md). The script
measures the tracks of one source frame to all times in one go, and single target times of all
frames, ours and in the original's way (an imitation; the official code itself:
benchmarks/published.py); all times are reckoned from these. It skips what does not fit
into the time, and says so. Needs torch, NumPy and jaxtyping.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import torch
from published import large_product_rate, peak_gigabytes, reset_peak, timed

from dynapoint.models.layers.compute import default_options, is_out_of_memory
from dynapoint.models.vggt.config import vdpm, vdpm_miniature
from dynapoint.models.vggt.published import PublishedNetwork


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to compute: `encode` the clip, then `decode` some times; `repeats` of both at most."""

    name: str
    encode: Callable[[PublishedNetwork, torch.Tensor], Any]
    frames: Callable[[int], range]
    # All target times at once, or one after the other until the time is up.
    at_once: bool = False


def encode_as_the_original(network: PublishedNetwork, images: torch.Tensor) -> object:
    """All layers are kept while the encoder runs, and no own-time maps are made."""
    aggregator, config = network.aggregator, network.config
    forward = aggregator.forward
    layers = tuple(range(config.aggregator.depth))

    def keep_all(patches: torch.Tensor, grid_hw: tuple[int, int], keep: Any, **rest: Any) -> Any:
        kept = forward(patches, grid_hw, keep=layers, **rest)
        return replace(kept, layers=tuple(kept.layers[k] for k in keep))

    head = network._head
    one: Any = lambda part, levels, frames, hw, **rest: head(part, levels, [0], hw, **rest)  # noqa: E731
    network._head, aggregator.forward = one, keep_all  # type: ignore[method-assign]
    try:
        return network.encode(images)
    finally:
        del aggregator.forward, network._head


def _all(count: int) -> range:
    return range(count)


def _first(count: int) -> range:
    return range(1)


WAYS = (
    Way(name="tracks of frame 0", encode=PublishedNetwork.encode, frames=_first, at_once=True),
    Way(name="all times, all frames", encode=PublishedNetwork.encode, frames=_all),
    Way(name="original's way", encode=encode_as_the_original, frames=_all),
)


def build(*, miniature: bool, device: str) -> PublishedNetwork:
    """The network with random weights, made on the device: a CPU needs a minute for so many."""
    with torch.device(device):
        network = PublishedNetwork(vdpm_miniature() if miniature else vdpm())
    return network.eval().requires_grad_(False).use(default_options(device))


@torch.inference_mode()
def measure(
    way: Way, network: PublishedNetwork, images: torch.Tensor, *, seconds: float
) -> dict[str, Any]:
    """Seconds and peak memory of a way that has so many seconds."""
    device, count = images.device.type, images.shape[1]
    until = time.monotonic() + seconds
    chosen = way.frames(count)
    reset_peak(device)
    encoding, encoded = timed(lambda: way.encode(network, images), device)
    decoding, kept = [], []
    if way.at_once:
        every = list(range(count))
        took, maps = timed(
            lambda: network.decode_times(encoded, times=every, frames=chosen), device
        )
        decoding, kept = [took / count] * count, [maps]
    while not way.at_once and len(decoding) < count:
        index = len(decoding)
        took, maps = timed(
            lambda index=index: network.decode_times(encoded, times=[index], frames=chosen), device
        )
        decoding.append(took)
        # All results stay, as whoever asks for them all would have them.
        kept.append(maps)
        if time.monotonic() + 1.2 * took > until:
            break
    # The first time also pays for choosing kernels.
    usual = decoding[1:] or decoding
    each = sum(usual) / len(usual)
    finite = all(bool(maps.points.isfinite().all()) for maps in kept)
    return {
        "way": way.name,
        "encode_s": encoding,
        "time_s": each,
        "times_measured": len(decoding),
        "whole_s": encoding + each * count,
        "peak_gb": peak_gigabytes(device),
        "finite": finite,
    }


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all ways in the time there is; a line for each as soon as it is known."""
    begun = time.monotonic()
    device = arguments.device
    network = build(miniature=arguments.miniature, device=device)
    height, width = arguments.size or ((56, 70) if arguments.miniature else (294, 518))
    frames = arguments.frames or (4 if arguments.miniature else 64)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, frames, 3, height, width, generator=generator).to(device)
    dtype = getattr(torch, network.options.precision)
    size = sum(p.numel() * p.element_size() for p in network.parameters()) / 1e9
    lines: list[dict[str, Any]] = []

    def say(**values: object) -> None:
        line = {"at_s": time.monotonic() - begun, **values}
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in line.items()}
        print(json.dumps(rounded), flush=True)
        lines.append(rounded)
        if arguments.output is not None:
            text = "".join(json.dumps(each) + "\n" for each in lines)
            (arguments.output / "vdpm_speed.jsonl").write_text(text)

    say(
        network=network.config.name,
        frames=frames,
        size=[height, width],
        precision=network.options.precision,
        weights_gb=size,
        # On a CPU it takes half a minute and says nothing of the network.
        product_tflops=large_product_rate(device, dtype) / 1e12 if device == "cuda" else None,
    )
    with torch.inference_mode():
        warm = network.encode(images[:, :2])
        network.decode_times(warm, times=[0], frames=[0])
        del warm
    for index, way in enumerate(WAYS):
        left = arguments.seconds - (time.monotonic() - begun)
        if left < 5.0 and index > 0:
            say(way=way.name, left_out="no time")
            continue
        try:
            say(**measure(way, network, images, seconds=left / (len(WAYS) - index)))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            say(way=way.name, left_out="out of memory")
        if device == "cuda":
            torch.cuda.empty_cache()
    return lines


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--miniature", action="store_true", help="a small network, few frames")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    parser.add_argument("--seconds", type=float, default=200.0, help="for all there is to measure")
    parser.add_argument("--output", type=Path, help="a folder for vdpm_speed.jsonl")
    run(parser.parse_args(words))
    return 0


if __name__ == "__main__":
    sys.exit(main())
