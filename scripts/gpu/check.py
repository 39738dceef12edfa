"""What has to be right on a GPU before training is worth its time: seconds, without pytest.

    python scripts/gpu/check.py --recipe nano --flags FILE [--start-from WEIGHTS] [--start FILE]

Renders clips on the device and compares them with the CPU's, trains a few steps of every stage,
and fetches clips from a worker. The first FILE gets the options of lease.py that lead around what
failed, the second the path of the weights to start from: WEIGHTS, or what the package ships.
"""

import argparse
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch

from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.training.clip_pool import ClipPool
from dynapoint.training.distributed import Processes
from dynapoint.training.lease_log import LeaseLog
from dynapoint.training.lease_plan import LeasePlan, TimeBudget
from dynapoint.training.leased_run import LeasedRun
from dynapoint.training.leased_weights import fitting_weights
from dynapoint.training.recipes import recipe
from dynapoint.training.trainer import Trainer

STEPS_A_STAGE = 2
Precision = Literal["auto", "float32", "bfloat16"]


def check_renderer(device: str) -> None:
    """The device draws what the CPU draws: colours within two steps, faces nearly all."""
    config = SceneConfig(frames=3, difficulty=1.0)
    scenes = [random_scene(seed, config, aspect=11 / 8) for seed in range(4)]
    cpu = render_clips(scenes, image_hw=(64, 88), seed=3)
    other = render_clips(scenes, image_hw=(64, 88), seed=3, device=device)
    near = ((cpu.images.int() - other.images.cpu().int()).abs() <= 2).double().mean().item()
    same = (cpu.face == other.face.cpu()).double().mean().item()
    print(f"  {near:.4%} of colours within two steps, {same:.4%} of faces the same")
    if near < 0.995 or same < 0.995:
        raise AssertionError("the device draws other pictures than the CPU")


def check_training(options: argparse.Namespace, start: Path | None, precision: Precision) -> None:
    """Steps of all stages have finite losses and move the weights, and the average is written."""
    plan = LeasePlan(batch=8, warmup_steps=1)
    device = options.device
    stages = tuple(replace(each, pixels=int(each.pixels * options.pixels)) for each in plan.stages)
    plan = replace(plan, stages=stages)
    config = plan.configure(replace(recipe(options.recipe), precision=precision))
    stage = 0
    pool = ClipPool(config, device=device, workers=0, held=1, draws=9, phase_now=lambda: stage)
    with tempfile.TemporaryDirectory() as folder:
        budget = TimeBudget(started=time.time(), seconds=600.0, reserve=1.0)
        trainer = Trainer(config, Path(folder), processes=Processes(), device=device)
        if start is None:
            trainer.begin()
        else:
            trainer.start_from(trainer.trainee.read_start(start))
        log = LeaseLog(Path(folder) / "log.jsonl", budget)
        run = LeasedRun(trainer, pool, plan=plan, budget=budget, log=log, validation_clips=1)
        before = torch.cat([p.detach().flatten() for p in trainer.network.parameters()])
        for stage in range(len(plan)):
            for _ in range(STEPS_A_STAGE):
                numbers = run.try_step()
                if not all(math.isfinite(value) for value in numbers.values()):
                    raise AssertionError(f"stage {stage} is not finite: {numbers}")
            print(f"  stage {stage}: {numbers}")
        after = torch.cat([p.detach().flatten() for p in trainer.network.parameters()])
        if not after.isfinite().all() or torch.equal(before, after):
            raise AssertionError("the weights did not move, or to nowhere")
        run.save_and_score()


def check_workers(name: str, device: str) -> None:
    """A worker builds a group, and a sample of it is drawn on the device."""
    config = LeasePlan(batch=4).configure(recipe(name))
    pool = ClipPool(config, device=device, workers=1, held=2, draws=2, phase_now=lambda: 1)
    try:
        until = time.monotonic() + 40
        while not pool.refill(timeout=1.0):
            if time.monotonic() > until:
                raise AssertionError("no clips within 40 s")
        sample, _ = pool.sample(0)
    finally:
        pool.close()
    print(f"  images {tuple(sample.images.shape)} on {sample.images.device}")
    if sample.images.device.type != torch.device(device).type:
        raise AssertionError(f"the sample is on {sample.images.device}")


def passes(name: str, check: Callable[[], None]) -> bool:
    begun = time.monotonic()
    try:
        check()
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print(f"{name}: FAILED after {time.monotonic() - begun:.1f} s", flush=True)
        return False
    print(f"{name}: ok, {time.monotonic() - begun:.1f} s", flush=True)
    return True


def flags_around(options: argparse.Namespace, start: Path | None) -> tuple[list[str], bool]:
    """Options of lease.py that lead around what failed; whether all passed at once."""
    flags = []
    if not passes("renderer", lambda: check_renderer(options.device)):
        flags.append("--rendered-by-workers")
    precise = passes("training", lambda: check_training(options, start, "auto"))
    if not precise and passes(
        "training in float32", lambda: check_training(options, start, "float32")
    ):
        flags += ["--precision", "float32"]
    worked = passes("workers", lambda: check_workers(options.recipe, options.device))
    return flags, not flags and precise and worked


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="nano")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pixels", type=float, default=1.0, help="a factor on the images' area")
    parser.add_argument("--start-from", type=Path, metavar="WEIGHTS", help="else what is shipped")
    parser.add_argument("--start", type=Path, help="where to write the path of these weights")
    parser.add_argument("--flags", type=Path, help="where to write options for lease.py")
    arguments = parser.parse_args(words)
    start = arguments.start_from or fitting_weights(recipe(arguments.recipe))
    print(f"weights to start from: {start}")
    if arguments.start is not None:
        # First of all: training needs it even where the checks do not come to their end.
        arguments.start.write_text("" if start is None else str(start))
    flags, well = flags_around(arguments, start)
    if arguments.flags is not None:
        arguments.flags.write_text(" ".join(flags) + "\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
