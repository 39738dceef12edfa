"""Train on a GPU machine that has torch but not the package's other dependencies.

Run it from a checkout, with one process or under torchrun:

    python scripts/gpu/train.py --recipe nano --output runs/nano --max-seconds 1700
    torchrun --nproc-per-node 8 scripts/gpu/train.py --recipe nano --output runs/nano
    python scripts/gpu/train.py --recipe vdpm --start-from vggt/model.pt --output runs/vdpm

It needs torch, NumPy, safetensors, jaxtyping and tqdm; --bench and --real also need Pillow. The
result is OUTPUT/weights.safetensors, and OUTPUT/training.pt to resume from.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from dynapoint.errors import DynapointError
from dynapoint.training.recipes import RECIPES, recipe
from dynapoint.training.run import refuse_existing_run, train_config
from dynapoint.training.train_config import TrainConfig


def parse_arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="nano", help=f"one of {', '.join(sorted(RECIPES))}")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from OUTPUT's checkpoint")
    parser.add_argument("--start-from", type=Path, metavar="WEIGHTS", help="begin with these")
    parser.add_argument("--bench", type=Path, metavar="FOLDER", help="clips to validate on as well")
    parser.add_argument(
        "--real",
        type=Path,
        nargs="+",
        default=(),
        metavar="FOLDER",
        help="folders of real pictures with truth to validate on as well",
    )
    parser.add_argument("--max-seconds", type=float, help="stop, save and write weights after this")
    parser.add_argument("--batch", type=int, help="samples a step in every phase, per process")
    parser.add_argument("--steps", type=int, help="train for so many steps in all")
    parser.add_argument("--device", help="cuda or cpu; the default is a GPU if there is one")
    arguments = parser.parse_args(words)
    if arguments.resume and arguments.start_from is not None:
        parser.error("--resume goes on with a run, --start-from begins one: give one of them")
    if arguments.batch is not None and arguments.batch < 1:
        parser.error(f"--batch is {arguments.batch}; a step needs at least one sample")
    return arguments


def configured(arguments: argparse.Namespace) -> TrainConfig:
    """The recipe with what the command line overrides."""
    config = recipe(arguments.recipe)
    if arguments.batch is not None:
        phases = tuple(dataclasses.replace(p, batch=arguments.batch) for p in config.phases)
        config = dataclasses.replace(config, phases=phases)
    if arguments.steps is not None:
        config = dataclasses.replace(config, steps=arguments.steps)
    return config


def main(words: list[str] | None = None) -> int:
    arguments = parse_arguments(words)
    try:
        if not arguments.resume:
            refuse_existing_run(arguments.output)
        weights = train_config(
            configured(arguments),
            arguments.output,
            resume=arguments.resume,
            start_from=arguments.start_from,
            bench=arguments.bench,
            real=tuple(arguments.real),
            device=arguments.device,
            max_seconds=arguments.max_seconds,
        )
    except DynapointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
