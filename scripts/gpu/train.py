"""Train on a GPU machine that has torch but not the package's other dependencies.

Run it from a checkout, with one process or under torchrun:

    python scripts/gpu/train.py nano --output runs/nano --max-seconds 1700
    torchrun --nproc-per-node 8 scripts/gpu/train.py nano --output runs/nano
    python scripts/gpu/train.py vdpm --start-from vggt/model.pt --output runs/vdpm

It needs torch, NumPy, safetensors, jaxtyping and tqdm; --data, --bench and --real also need Pillow.
The result is DIR/weights.safetensors, and DIR/training.pt to resume from. The options are those of
`dynapoint train`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from dynapoint.datasets.places import data_places
from dynapoint.errors import ConfigError, DynapointError
from dynapoint.training.options import OPTIONS, Option, check_options
from dynapoint.training.run import train


def parse_arguments(words: list[str] | None = None) -> dict[str, Any]:
    """What `training.options.OPTIONS` are given as, by name, and the recipe's `changes`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in OPTIONS:
        parser.add_argument(*names_of(option), **reading_of(option))
    given = vars(parser.parse_args(words))
    given["real"] = tuple(given["real"])
    try:
        changes = check_options(given)
        given["data"] = data_places(given["data"])
    except ConfigError as error:
        parser.error(str(error))
    run = {option.name: given[option.name] for option in OPTIONS if not option.changes_recipe}
    return {**run, "changes": changes}


def names_of(option: Option) -> list[str]:
    if option.positional:
        return [option.name]
    return [*([option.short] if option.short else []), f"--{option.name.replace('_', '-')}"]


def reading_of(option: Option) -> dict[str, Any]:
    """How argparse reads an option."""
    # A percent sign has a meaning to argparse.
    said: dict[str, Any] = {"help": option.words.replace("%", "%%")}
    if option.kind is bool:
        return {**said, "action": "store_true"}
    if not option.positional:
        said |= {"required": option.required, "default": option.default}
    if get_origin(option.kind) is Literal:
        return {**said, "choices": get_args(option.kind)}
    if get_origin(option.kind) is tuple:
        return {**said, "type": get_args(option.kind)[0], "nargs": "+", "metavar": option.value}
    return {**said, "type": option.kind, "metavar": option.value}


def main(words: list[str] | None = None) -> int:
    arguments = parse_arguments(words)
    try:
        weights = train(**arguments)
    except DynapointError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
