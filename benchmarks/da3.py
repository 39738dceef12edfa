"""Time, memory and arithmetic of Depth Anything 3 on one machine, part by part.

    python benchmarks/da3.py [--weights FILE] [--frames 24] [--size 280 504] [--threads 2] [--avx2]

Says for backbone and heads the multiplications and additions (counted on no data), the seconds of
the fastest of `--times` runs, and their rate as a share of that of a large product, which is timed
beside every run. Seconds are those that the processor worked, over the threads, which other work
hardly disturbs: a thread that waits for another one sleeps here instead of spinning. Those that
were waited through, and how much other work was done meanwhile, are said beside. `--avx2` keeps
the libraries from wider instructions. The peak is the process's, weights of `--weights` included
as far as they are read. With `--bfloat16` the error of autocast is told, of the spread of each map.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from dynapoint.models.da3.config import Da3Config, da3_base, da3_small
from dynapoint.models.da3.network import Da3Network
from dynapoint.models.da3.weights import load_da3

# A thread that spins while it waits would count as working.
ASLEEP = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
# PyTorch, oneDNN and MKL read these when they are loaded. On AMD MKL takes AVX2 of itself.
AVX2_ONLY = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
CONFIGS = {"da3-small": da3_small, "da3-base": da3_base}


def large_product_rate() -> float:
    """FLOP/s of a product of 2048 × 2048 × 8192."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 8192)
    return 2 * 2048 * 2048 * 8192 / min(seconds(lambda: a @ b)[0] for _ in range(3))


def seconds(compute: Callable[[], object]) -> tuple[float, float]:
    """How long the processor worked, over the threads, and how long it took."""
    begun, start = time.perf_counter(), time.process_time()
    compute()
    worked = (time.process_time() - start) / torch.get_num_threads()
    return worked, time.perf_counter() - begun


def other_work() -> float:
    """Seconds that all processors have worked for other processes than this one."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    user, nice, system, _, _, interrupts, soft, stolen = ticks
    busy = user + nice + system + interrupts + soft + stolen
    return busy / os.sysconf("SC_CLK_TCK") - time.process_time()


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_gigabytes() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e9
    raise RuntimeError("the system does not say how much memory the process took")


def parts(
    network: Da3Network, images: torch.Tensor
) -> tuple[Callable[[], object], Callable[[object], object], Callable[[object], object]]:
    """Backbone, the depth head with the cameras, and the head of rays."""
    hw = (images.shape[-2], images.shape[-1])

    def heads(features: object) -> object:
        return network.encodings(features), network.depth_maps(features, hw)

    return (
        lambda: network.features(images),
        heads,
        lambda features: network.rays(features, hw),
    )


def flops(config: Da3Config, shape: tuple[int, ...]) -> list[float]:
    """Multiplications and additions of the three parts."""
    with torch.device("meta"):
        network, images = Da3Network(config).eval(), torch.empty(shape)
    backbone, *heads = parts(network, images)
    counted = []
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            features = backbone()
        counted.append(float(counter.get_total_flops()))
        for head in heads:
            with FlopCounterMode(display=False) as counter:
                head(features)
            counted.append(float(counter.get_total_flops()))
    return counted


def bfloat16_error(network: Da3Network, images: torch.Tensor) -> None:
    """What autocast of the backbone, then of all, changes: rms and largest, of the spread."""
    before = network.options
    exact = answers(network, images)
    for name, options in (
        ("backbone", replace(before, precision="bfloat16")),
        ("all", replace(before, precision="bfloat16", head_precision="bfloat16")),
    ):
        rounded = answers(network.use(options), images)
        for key, value in exact.items():
            off = (rounded[key] - value) / value.std()
            print(
                f"bfloat16 {name:9s} {key:11s} rms {100 * off.square().mean().sqrt():6.2f} %  "
                f"largest {100 * off.abs().max():6.1f} %"
            )
    network.use(before)


def answers(network: Da3Network, images: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        features = network.features(images)
        maps = network.depth_maps(features, (images.shape[-2], images.shape[-1]))
        return {
            "depth": maps.depth,
            "confidence": maps.confidence,
            "encodings": network.encodings(features),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=CONFIGS, default="da3-small")
    parser.add_argument("--weights", type=Path, help="published file; random without one")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(280, 504), metavar=("H", "W"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--avx2", action="store_true", help="no wider instructions than AVX2")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--heads-at-once", type=int, help="frames in the heads at once")
    parser.add_argument("--bfloat16", action="store_true", help="tell its error, and no times")
    arguments = parser.parse_args()
    wanted = ASLEEP | (AVX2_ONLY if arguments.avx2 else {})
    if not wanted.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = CONFIGS[arguments.model]()
    if arguments.weights:
        network = load_da3(config, arguments.weights)
    else:
        network = Da3Network(config).eval()
    network.requires_grad_(False)
    network.use(replace(network.options, precision=arguments.precision))
    if arguments.heads_at_once:
        network.use(replace(network.options, head_frames_at_once=arguments.heads_at_once))
    shape = (1, arguments.frames, 3, *arguments.size)
    images = torch.rand(shape)
    if arguments.bfloat16:
        bfloat16_error(network, images)
        return
    measure(network, images, arguments.times)


def measure(network: Da3Network, images: torch.Tensor, times: int) -> None:
    work = flops(network.config, tuple(images.shape))
    backbone, *heads = parts(network, images)
    with torch.inference_mode():
        network.encode(images[:, :1])
        instructions = torch.backends.cpu.get_cpu_capability()
        print(f"{peak_gigabytes():.2f} GB at the start; {instructions}; {network.options}")
        best, rate = [float("inf")] * 3, 0.0
        for _ in range(times):
            now = large_product_rate()
            rate = max(rate, now)
            others = other_work()
            kept: list[object] = []
            spent = [seconds(lambda kept=kept: kept.append(backbone()))]
            spent += [seconds(lambda head=head, kept=kept: head(kept[0])) for head in heads]
            del kept
            others = other_work() - others
            waited = ", ".join(f"{took:.2f}" for _, took in spent)
            print(
                f"large product {now / 1e9:.0f} GFLOP/s; waited through {waited} s, "
                f"other work {others:.1f} s"
            )
            best = [min(known, worked) for known, (worked, _) in zip(best, spent, strict=True)]
        rate = max(rate, large_product_rate())
        reset_peak()
        network.encode(images)
        peak = peak_gigabytes()
    names = ("backbone", "depth and cameras", "rays")
    for name, done, spent in (
        *zip(names, work, best, strict=True),
        ("depth, cameras in all", sum(work[:2]), sum(best[:2])),
    ):
        print(
            f"{name:22s} {done / 1e12:6.3f} TFLOP {spent:7.2f} s  (floor {done / rate:6.2f} s) "
            f"{done / spent / 1e9:5.0f} GFLOP/s = {done / spent / rate:4.0%} of the large product's"
        )
    weights = sum(each.numel() for each in network.parameters()) * 4 / 1e9
    print(f"large product {rate / 1e9:.0f} GFLOP/s; weights {weights:.2f} GB, peak {peak:.2f} GB")


if __name__ == "__main__":
    main()
