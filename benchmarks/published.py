"""Time, memory and arithmetic of the full V-DPM network, beside the official code's.

    python benchmarks/published.py [--weights FILE] [--frames 10] [--size 154 210] [--times 10]
        [--rounds 3] [--original FOLDER...]

Four answers are computed: all times of all frames by the decoder (Q as published), the same with
own-time maps on the diagonal (what `reconstruct` asks for), the tracks of frame 0, and own-time
maps with cameras alone; with `--original` (see original_vdpm.py) Q by the official code too, on the
very same weights, of which the largest difference is told. Every round computes all of them, every
second one in the opposite order. Seconds are those of the encoder, and of the fastest of `--times`
target times for each time there is. With `--processor` they are the processor's, over the threads,
for machines that do other work too. Ratios are to the official code's of the same round. The large
product is timed before and after, to compare the arithmetic's rate with.
"""

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from original_vdpm import Original
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dynapoint.models.layers.compact import store_compactly
from dynapoint.models.layers.compute import default_options
from dynapoint.models.vggt.config import PublishedConfig, vdpm
from dynapoint.models.vggt.published import PublishedNetwork, TimedPointMaps
from dynapoint.models.vggt.weights import load_published


@dataclass(frozen=True, kw_only=True)
class Job:
    """One way of computing: the encoder's work, and one target time's."""

    name: str
    encode: Callable[[Any, torch.Tensor], object]
    per_time: Callable[[Any, Any, int, int], object] | None


def all_frames(network: PublishedNetwork, encoded: Any, time_index: int, frames: int) -> object:
    return network.decode_times(encoded, times=[time_index], frames=range(frames))


def with_own_time(network: PublishedNetwork, encoded: Any, time_index: int, frames: int) -> object:
    return network.decode(encoded, time=time_index, frames=range(frames))


def first_frame(network: PublishedNetwork, encoded: Any, time_index: int, frames: int) -> object:
    return network.decode_times(encoded, times=[time_index], frames=[0])


JOBS = (
    Job(name="all times, all frames", encode=PublishedNetwork.encode, per_time=all_frames),
    Job(name="tracks of frame 0", encode=PublishedNetwork.encode, per_time=first_frame),
    Job(name="own-time maps, cameras", encode=PublishedNetwork.encode, per_time=None),
    Job(name="all, own-time diagonal", encode=PublishedNetwork.encode, per_time=with_own_time),
)
THEIRS = Job(
    name="the official code",
    encode=Original.encode,
    per_time=lambda original, encoded, time_index, _: original.decode(encoded, time_index),
)
CLOCK = {"now": time.perf_counter}


def large_product_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a product of the network's largest sizes."""
    a = torch.randn(2048, 2048, device=device, dtype=dtype)
    b = torch.randn(2048, 8192, device=device, dtype=dtype)
    seconds = min(timed(lambda: a @ b, device)[0] for _ in range(10))
    return 2 * 2048 * 2048 * 8192 / seconds


def timed(compute: Callable[[], object], device: str) -> tuple[float, object]:
    if device == "cuda":
        torch.cuda.synchronize()
    now = CLOCK["now"]
    start = now()
    result = compute()
    if device == "cuda":
        torch.cuda.synchronize()
    threads = torch.get_num_threads() if now is time.process_time else 1
    return (now() - start) / threads, result


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


def flops(job: Job, network: Any, images: torch.Tensor) -> tuple[int, int]:
    """Multiplications and additions of the encoder and of one target time; ours on no data.

    The official code has to be run, which warms it up; its attention is written out for that, since
    the fused kernel of CPUs is not counted.
    """
    if isinstance(network, PublishedNetwork):
        with torch.device("meta"):
            network = PublishedNetwork(network.config).eval().requires_grad_(False)
            images = torch.empty(images.shape)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as encoder:
        encoded = job.encode(network, images)
    if job.per_time is None:
        return encoder.get_total_flops(), 0
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as decoder:
        job.per_time(network, encoded, 0, images.shape[1])
    return encoder.get_total_flops(), decoder.get_total_flops()


def measure(
    job: Job, network: Any, images: torch.Tensor, times: int, work: tuple[int, int]
) -> tuple[float, object]:
    """The seconds of a whole clip, and the maps of time 0; what it took is printed.

    `work` are the operations of the encoder and of one target time.
    """
    device, frames = images.device.type, images.shape[1]
    with torch.inference_mode():
        reset_peak(device)
        encoding, encoded = timed(lambda: job.encode(network, images), device)
        decoding, first = [], None
        for index in range(times if job.per_time else 0):
            seconds, maps = timed(
                lambda index=index: job.per_time(network, encoded, index, frames), device
            )
            decoding.append(seconds)
            first = maps if first is None else first
    each = min(decoding, default=0.0)
    whole = encoding + each * frames
    operations = work[0] + work[1] * frames
    print(
        f"{job.name:24s} {whole:8.1f} s  (encode {encoding:.1f}, each time "
        f"{each:.2f})  {peak_gigabytes(device):6.2f} GB  {operations / 1e12:8.2f} TFLOP  "
        f"{operations / whole / 1e9:8.0f} GFLOP/s",
        flush=True,
    )
    return whole, first


def measure_all(
    jobs: Sequence[tuple[Job, Any]], images: torch.Tensor, times: int, rounds: int
) -> None:
    """Rounds of all jobs; prints what each took, and ratios to the official code's if it is there.

    `jobs` go with the networks that do them, the official code's first.
    """
    with torch.inference_mode():
        work = {job.name: flops(job, network, images) for job, network in jobs}
    seconds: dict[str, list[float]] = {job.name: [] for job, _ in jobs}
    maps: dict[str, object] = {}
    for turn in range(rounds):
        for job, network in jobs[:: -1 if turn % 2 else 1]:
            whole, found = measure(job, network, images, times, work[job.name])
            seconds[job.name].append(whole)
            if turn == 0 and job in (THEIRS, JOBS[0]):
                maps[job.name] = found
        if turn == 0 and len(maps) == 2:
            said = difference(maps[THEIRS.name], maps[JOBS[0].name])
            print(f"largest difference, of the spread: {said}")
        maps.clear()
    beside = seconds.get(THEIRS.name)
    for name, taken in seconds.items():
        line = f"{name:24s} {min(taken):.1f} to {max(taken):.1f} s"
        if beside:
            ratios = [ours / theirs for ours, theirs in zip(taken, beside, strict=True)]
            line += f", {min(ratios):.3f} to {max(ratios):.3f} of the official code's"
        print(line)


def difference(theirs: object, ours: object) -> str:
    """The largest differences of the maps of time 0, of their spread."""
    assert isinstance(theirs, dict) and isinstance(ours, TimedPointMaps)
    said = []
    for name in ("points", "confidence"):
        wanted = theirs[name].reshape(getattr(ours, name)[:, 0].shape)
        found = (getattr(ours, name)[:, 0] - wanted).abs().max() / wanted.std()
        said.append(f"{name} {float(found):.1e}")
    return ", ".join(said)


def small() -> PublishedConfig:
    """V-DPM with a smaller vision transformer, and of its width."""
    whole = vdpm()
    return replace(
        whole,
        name="vdpm-small",
        patch_embed=replace(whole.patch_embed, depth=12, heads=6),
        aggregator=replace(whole.aggregator, width=384),
    )


def arguments_of_command() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="published checkpoint; random without one")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--size", type=int, nargs=2, default=(154, 210), metavar=("H", "W"))
    parser.add_argument("--times", type=int, help="target times to measure; the rest is scaled")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--storage", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="of the blocks")
    parser.add_argument("--compile", action="store_true", help="compile the blocks beforehand")
    every = range(len(JOBS))
    parser.add_argument("--jobs", nargs="*", type=int, choices=every, default=every)
    parser.add_argument("--original", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--small", action="store_true", help="of ViT-S's width, to try it out")
    parser.add_argument("--processor", action="store_true", help="the processor's seconds")
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of_command()
    device = arguments.device
    if arguments.processor:
        CLOCK["now"] = time.process_time
    if arguments.weights:
        network = load_published(vdpm(), arguments.weights)
    else:
        network = PublishedNetwork(small() if arguments.small else vdpm())
    network = network.to(device).eval()
    original = Original(arguments.original, network) if arguments.original else None
    store_compactly(network.decoder, arguments.storage)
    options = default_options(device)
    if original is not None and device == "cpu":
        # What the official code computes in there.
        options = replace(options, precision="float32")
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
    jobs: list[tuple[Job, Any]] = [] if original is None else [(THEIRS, original)]
    jobs += [(JOBS[index], network) for index in arguments.jobs]
    measure_all(jobs, images, times, arguments.rounds)
    after = large_product_rate(device, dtype)
    print(f"large product {rate / 1e9:.0f} GFLOP/s before, {after / 1e9:.0f} after")


if __name__ == "__main__":
    main()
