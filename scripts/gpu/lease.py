"""Train for the minutes that a GPU is lent (docs/notes/gpu.md).

    python scripts/gpu/lease.py --folder /tmp/lease --seconds 690 --start-from WEIGHTS

It needs torch, NumPy, SciPy, OpenCV, einops, jaxtyping, safetensors and tqdm. FOLDER/log.jsonl says
how it goes; FOLDER/saves/newest holds averaged and raw weights in parts of at most 15 MiB, new ones
every minute. SIGTERM ends the run as the end of the time does, with everything written. The time
counts from LEASE_STARTED in the environment (seconds since 1970), or from now.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from dynapoint.errors import DynapointError
from dynapoint.training.clip_pool import ClipPool
from dynapoint.training.distributed import Processes
from dynapoint.training.lease_log import LeaseLog
from dynapoint.training.lease_plan import LeasePlan, TimeBudget
from dynapoint.training.leased_run import Intervals, LeasedRun
from dynapoint.training.recipes import RECIPES, recipe
from dynapoint.training.shards import LOG_FILE
from dynapoint.training.trainer import Trainer

STARTED = "LEASE_STARTED"


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    plan = LeasePlan()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="nano", help=f"one of {', '.join(sorted(RECIPES))}")
    parser.add_argument("--folder", type=Path, required=True, help="of the run, its log and files")
    parser.add_argument("--seconds", type=float, required=True, help="all told, from the start on")
    parser.add_argument("--reserve", type=float, default=20.0, help="of them, for the last files")
    parser.add_argument("--start-from", type=Path, metavar="WEIGHTS", help="begin with these")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--batch", type=int, default=plan.batch)
    parser.add_argument("--rate", type=float, default=plan.learning_rate)
    parser.add_argument("--warmup", type=int, default=plan.warmup_steps, metavar="STEPS")
    parser.add_argument("--held", type=int, default=plan.held, help="groups of clips on the device")
    parser.add_argument("--draws", type=int, default=plan.draws, help="samples from each group")
    parser.add_argument("--pixels", type=float, default=1.0, help="a factor on the images' area")
    parser.add_argument("--workers", type=int, default=15, help="processes that build scenes")
    parser.add_argument("--rendered-by-workers", action="store_true")
    parser.add_argument("--run", type=int, default=0, help="another number, other scenes")
    parser.add_argument("--save-every", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--validate-every", type=float, default=150.0, metavar="SECONDS")
    parser.add_argument("--validation-clips", type=int, default=24)
    return parser.parse_args(words)


def plan_of(arguments: argparse.Namespace) -> LeasePlan:
    """The default plan with what the command line overrides."""
    plan = LeasePlan(
        batch=arguments.batch,
        learning_rate=arguments.rate,
        warmup_steps=arguments.warmup,
        held=arguments.held,
        draws=arguments.draws,
    )
    stages = [replace(each, pixels=int(each.pixels * arguments.pixels)) for each in plan.stages]
    return replace(plan, stages=tuple(stages))


def lease(arguments: argparse.Namespace) -> int:
    """Build everything and train; the exit code."""
    budget = TimeBudget(
        started=float(os.environ.get(STARTED, time.time())),
        seconds=arguments.seconds,
        reserve=arguments.reserve,
    )
    plan = plan_of(arguments)
    config = plan.configure(replace(recipe(arguments.recipe), precision=arguments.precision))
    log = LeaseLog(arguments.folder / LOG_FILE, budget)
    # First of all: workers take seconds to start, in which the network is built.
    pool = ClipPool(
        config,
        device=arguments.device,
        workers=arguments.workers,
        held=plan.held,
        draws=plan.draws,
        phase_now=lambda: plan.stage_at(budget.share()),
        run=arguments.run,
        rendered_by_workers=arguments.rendered_by_workers,
    )
    try:
        trainer = Trainer(config, arguments.folder, processes=Processes(), device=arguments.device)
        if arguments.start_from is not None:
            trainer.start_from(trainer.trainee.read_start(arguments.start_from))
        else:
            trainer.begin()
        log.write(
            event="built",
            recipe=config.name,
            start=str(arguments.start_from),
            parameters=sum(each.numel() for each in trainer.network.parameters()),
            trained=sum(p.numel() for p in trainer.network.parameters() if p.requires_grad),
        )
        run = LeasedRun(
            trainer,
            pool,
            plan=plan,
            budget=budget,
            log=log,
            validation_clips=arguments.validation_clips,
            intervals=Intervals(save=arguments.save_every, validate=arguments.validate_every),
        )
        return run.run()
    finally:
        pool.close()


def main(words: list[str] | None = None) -> int:
    try:
        return lease(parse_arguments(words))
    except DynapointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
