"""Effective FLOP/s of a training step beside this machine's large matrix product, in one run.

    python benchmarks/training_step.py [--recipe nano] [--phase 1] [--threads 2]

Prints samples per second, the step's FLOPs (counted by PyTorch), the share of the step that waits
for data, and the ratio of the step's FLOP/s to that of a 4096³ product in the step's own type.
Seconds are those of the processor, so that other work disturbs them little.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from dynapoint.training.distributed import Processes
from dynapoint.training.hardware import autocast_dtype
from dynapoint.training.recipes import recipe
from dynapoint.training.trainer import Trainer


def matmul_flops(dtype: torch.dtype, *, size: int = 4096, repeats: int = 3) -> float:
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    _ = a @ b
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        _ = a @ b
        seconds.append(time.process_time() - start)
    return 2 * size**3 / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="nano")
    parser.add_argument("--phase", type=int, default=1, help="which of the recipe's, from 0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = recipe(options.recipe)
    phase = dataclasses.replace(config.phases[options.phase], until_samples=10**9)
    config = dataclasses.replace(config, phases=(phase,))
    dtype = autocast_dtype(config.precision, "cpu") or torch.float32
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder), processes=Processes())
        trainer.begin()
        # The first steps of each image size compile kernels; they are left out of the numbers.
        for _ in range(3):
            trainer.train_step()
        with FlopCounterMode(display=False) as counter:
            trainer.train_step()
        flops = counter.get_total_flops()
        data, whole = [], []
        for _ in range(options.steps):
            begun = time.process_time()
            trainer.streams[0].sample(trainer.step)
            drawn = time.process_time()
            trainer.train_step()
            data.append(drawn - begun)
            # The step draws its sample again, from clips that are there by now.
            whole.append(time.process_time() - drawn)
    step = statistics.median(whole)
    waiting = statistics.mean(data)
    peak = matmul_flops(dtype)
    print(f"samples/CPU s with data  {phase.batch / (step + waiting):.1f}")
    print(f"share of data            {waiting / (step + waiting):.2f}")
    print(f"FLOPs per sample         {flops / phase.batch / 1e9:.2f} G")
    print(f"effective                {flops / step / 1e12:.3f} TFLOP/s")
    print(f"large {str(dtype)[6:]} product   {peak / 1e12:.3f} TFLOP/s")
    print(f"ratio                    {flops / step / peak:.2f}")


if __name__ == "__main__":
    main()
