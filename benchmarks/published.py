"""Time, memory and arithmetic of the full V-DPM network, beside the original's way of computing.

    python benchmarks/published.py --weights FILE [--frames 10] [--size 154 210] [--times 10]

Four answers are computed from the same weights: the original's way (all 24 layers kept, a full
decoder pass for every time, the head for every frame at every time, all results kept), all times of
all frames, the tracks of frame 0, and own-time maps with cameras alone. Seconds are those of the
faster of two encodings, and of the fastest of `--times` target times for each time there is. The
large product is timed before and after, to compare the arithmetic's rate with.
"""

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from dynapoint.models.layers.compact import store_compactly
from dynapoint.models.layers.compute import default_options
from dynapoint.models.vggt.config import PublishedConfig, vdpm
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.weights import load_published


@dataclass(frozen=True, kw_only=True)
class Job:
    """One way of computing: the encoder's work, and one target time's."""

    name: str
    encode: Callable[[PublishedNetwork, torch.Tensor], object]
    per_time: Callable[[PublishedNetwork, object, int, int], object] | None


def encode_as_the_original(network: PublishedNetwork, images: torch.Tensor) -> object:
    """All layers are kept while the encoder runs, and no own-time maps are made."""
    aggregator, config = network.aggregator, network.config
    forward = aggregator.forward
    layers = tuple(range(config.aggregator.depth))

    def keep_all(patches, grid_hw, keep, **rest):
        kept = forward(patches, grid_hw, keep=layers, **rest)
        return replace(kept, layers=tuple(kept.layers[k] for k in keep))

    head = network._head
    network._head = lambda part, levels, frames, hw, **rest: head(part, levels, [0], hw, **rest)
    aggregator.forward = keep_all
    try:
        return network.encode(images)
    finally:
        del aggregator.forward, network._head


def all_frames(network: PublishedNetwork, encoded: object, time_index: int, frames: int) -> object:
    return network.decode_times(encoded, times=[time_index], frames=range(frames))


def first_frame(network: PublishedNetwork, encoded: object, time_index: int, frames: int) -> object:
    return network.decode_times(encoded, times=[time_index], frames=[0])


JOBS = (
    Job(name="original's way", encode=encode_as_the_original, per_time=all_frames),
    Job(name="all times, all frames", encode=PublishedNetwork.encode, per_time=all_frames),
    Job(name="tracks of frame 0", encode=PublishedNetwork.encode, per_time=first_frame),
    Job(name="own-time maps, cameras", encode=PublishedNetwork.encode, per_time=None),
)


def large_product_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a product of the network's largest sizes."""
    a = torch.randn(2048, 2048, device=device, dtype=dtype)
    b = torch.randn(2048, 8192, device=device, dtype=dtype)
    seconds = min(timed(lambda: a @ b, device)[0] for _ in range(10))
    return 2 * 2048 * 2048 * 8192 / seconds


def timed(compute: Callable[[], object], device: str) -> tuple[float, object]:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = compute()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def reset_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_gigabytes(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def flops(job: Job, config: PublishedConfig, shape: tuple[int, ...]) -> tuple[int, int]:
    """Multiplications and additions of the encoder and of one target time, counted on no data."""
    with torch.device("meta"):
        network = PublishedNetwork(config).eval().requires_grad_(False)
        images = torch.empty(shape)
    with FlopCounterMode(display=False) as encoder:
        encoded = job.encode(network, images)
    if job.per_time is None:
        return encoder.get_total_flops(), 0
    with FlopCounterMode(display=False) as decoder:
        job.per_time(network, encoded, 0, shape[1])
    return encoder.get_total_flops(), decoder.get_total_flops()


def measure(job: Job, network: PublishedNetwork, images: torch.Tensor, times: int) -> None:
    device, frames = images.device.type, images.shape[1]
    reset_peak(device)
    with torch.inference_mode():
        runs = [timed(lambda: job.encode(network, images), device) for _ in range(2)]
        encoding, encoded = min(seconds for seconds, _ in runs), runs[-1][1]
        del runs
        decoding, kept = [], []
        for index in range(times if job.per_time else 0):
            seconds, maps = timed(
                lambda index=index: job.per_time(network, encoded, index, frames), device
            )
            decoding.append(seconds)
            kept.append(maps)
    each = min(decoding, default=0.0)
    whole = encoding + each * frames
    encoder, decoder = flops(job, network.config, tuple(images.shape))
    work = encoder + (decoder * frames if job.per_time else 0)
    print(
        f"{job.name:24s} {whole:8.1f} s  (encode {encoding:.1f}, each time "
        f"{each:.2f})  {peak_gigabytes(device):6.2f} GB  {work / 1e12:8.2f} TFLOP  "
        f"{work / whole / 1e9:8.0f} GFLOP/s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="published checkpoint; random without one")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--size", type=int, nargs=2, default=(154, 210), metavar=("H", "W"))
    parser.add_argument("--times", type=int, help="target times to measure; the rest is scaled")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--storage", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="of the blocks")
    parser.add_argument("--compile", action="store_true", help="compile the blocks beforehand")
    parser.add_argument("--jobs", nargs="*", type=int, default=range(len(JOBS)))
    arguments = parser.parse_args()
    device = arguments.device
    if arguments.weights:
        network = load_published(vdpm(), arguments.weights)
    else:
        network = PublishedNetwork(vdpm())
    network = network.to(device).eval()
    store_compactly(network.decoder, arguments.storage)
    options = default_options(device)
    network.use(
        replace(
            options,
            precision=arguments.precision or options.precision,
            compile_blocks=arguments.compile,
        )
    )
    torch.manual_seed(0)
    images = torch.rand(1, arguments.frames, 3, *arguments.size, device=device)
    dtype = getattr(torch, network.options.precision)
    rate = large_product_rate(device, dtype)
    with torch.inference_mode():
        warm = network.encode(images[:, :1])
        network.decode_times(warm, times=[0], frames=[0])
    print(f"with the weights alone {peak_gigabytes(device):.2f} GB; {network.options}")
    times = min(arguments.times or arguments.frames, arguments.frames)
    print(f"{arguments.frames} frames of {arguments.size}, {times} target times measured")
    for index in arguments.jobs:
        measure(JOBS[index], network, images, times)
    after = large_product_rate(device, dtype)
    print(f"large product {rate / 1e9:.0f} GFLOP/s before, {after / 1e9:.0f} after")


if __name__ == "__main__":
    main()
