"""The options of a training run, for whatever reads command lines.

`dynapoint train` hands them to tyro and `scripts/gpu/train.py`, which runs where tyro is not, to
argparse. Like `training.knobs` it loads nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from dynapoint.errors import ConfigError
from dynapoint.training.knobs import BATCH_WORDS, Knobs, check_values

Plain = int | float | str
"""What an option that changes a recipe may be."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a training run.

    Attributes:
        name: As an identifier; `start_from` is `--start-from`.
        kind: int, float, str, Path, bool, a Literal, tuple[Path, ...] or tuple[str, ...].
        words: Its help.
        value: What help calls its value.
        short: A short name beside the long one, or None.
        positional: Whether it goes without a name.
        required: Whether it has to be given; one that is not given is None, False or ().
        changes_recipe: Whether it takes the place of what the recipe says.
    """

    name: str
    kind: Any
    words: str
    value: str = ""
    short: str | None = None
    positional: bool = False
    required: bool = False
    changes_recipe: bool = False

    @property
    def default(self) -> Any:
        """What it is where it is not given."""
        return False if self.kind is bool else () if get_origin(self.kind) is tuple else None


_RUN = (
    Option(
        name="recipe",
        kind=str,
        value="RECIPE",
        positional=True,
        required=True,
        words="Name of the recipe, e.g. nano, smoke, vdpm, dpm or dept3r.",
    ),
    Option(
        name="output",
        kind=Path,
        value="DIR",
        short="-o",
        required=True,
        words="Folder for checkpoints, logs and weights.",
    ),
    Option(
        name="resume",
        kind=bool,
        words="Go on from the newest checkpoint in DIR, changed as the run was begun.",
    ),
    Option(
        name="start_from",
        kind=Path,
        value="WEIGHTS",
        words="Begin with these weights: of VGGT-1B for vdpm and dept3r, of DUSt3R for dpm, or of "
        "a run.",
    ),
    Option(
        name="data",
        kind=tuple[str, ...],
        value="KEY=PATH",
        words="Folders of data sets to train on; the package's own clips stand in for the other "
        "sets of the recipe's mixture.",
    ),
    Option(
        name="textures",
        kind=Path,
        value="FOLDER",
        words="Folder of photographs, of which the data engine makes some of its materials.",
    ),
    Option(
        name="bench",
        kind=Path,
        value="FOLDER",
        words="Folder of rendered clips to validate on as well.",
    ),
    Option(
        name="real",
        kind=tuple[Path, ...],
        value="FOLDER",
        words="Folders of real pictures with truth to validate on as well.",
    ),
    Option(
        name="max_seconds",
        kind=float,
        value="SECONDS",
        words="Stop, save and write weights after this.",
    ),
    Option(
        name="device",
        kind=str,
        value="DEVICE",
        words="cpu or cuda; the default is a GPU where there is one.",
    ),
    Option(
        name="shard",
        kind=bool,
        words="Share out parameters, gradients and optimiser state among the processes (FSDP2), "
        "for the published networks where one GPU has no room for them.",
    ),
    Option(name="batch", kind=int, value="N", words=BATCH_WORDS, changes_recipe=True),
)


def _knob_options() -> tuple[Option, ...]:
    hints = get_type_hints(Knobs)
    found = []
    for each in fields(Knobs):
        kinds = [kind for kind in get_args(hints[each.name]) if kind is not NoneType]
        # `float | None` is a number here; a Literal stays what it is.
        kind = kinds[0] if NoneType in get_args(hints[each.name]) else hints[each.name]
        value = {int: "N", float: "NUMBER"}.get(kind, "NAME")
        words = each.metadata["words"]
        found.append(
            Option(name=each.name, kind=kind, value=value, words=words, changes_recipe=True)
        )
    return tuple(found)


OPTIONS: tuple[Option, ...] = _RUN + _knob_options()
"""All options of a training run, those that say where first."""


def check_options(given: Mapping[str, Any]) -> dict[str, Plain]:
    """What is changed of the recipe, by name; all that can be checked without torch is.

    Args:
        given: The value of each of `OPTIONS` by name.

    Raises:
        ConfigError: A value is impossible, or two options contradict each other.
    """
    if given["resume"] and given["start_from"] is not None:
        raise ConfigError("--resume goes on with a run, --start-from begins one; give one of them")
    seconds = given["max_seconds"]
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"--max-seconds is {seconds:g}; give a positive number")
    changes = {
        option.name: given[option.name]
        for option in OPTIONS
        if option.changes_recipe and given[option.name] is not None
    }
    check_values(changes)
    return changes


def check_places(
    *,
    bench: Path | None,
    real: tuple[Path, ...],
    data: Mapping[str, Path] | None = None,
    textures: Path | None = None,
) -> None:
    """Refuse folders that hold nothing of what they are to hold; no picture is read.

    Raises:
        ConfigError: There is no such data set.
        InputError: A folder of real pictures lacks its list of frames or all of these, a folder of
            a data set is not what its layout says, or there are no photographs.
        SceneError: There are no rendered clips.
    """
    # All of these need Pillow, which a machine that only trains may lack.
    if data:
        from dynapoint.datasets.places import training_split  # noqa: PLC0415
        from dynapoint.datasets.registry import open_dataset  # noqa: PLC0415

        for key, place in data.items():
            open_dataset(key, place, training_split(key))
    if textures is not None:
        from dynapoint.training.photographs import photograph_paths  # noqa: PLC0415

        photograph_paths(textures)
    if bench is not None:
        from dynapoint.evaluation.clips import find_clips  # noqa: PLC0415

        find_clips(bench)
    if real:
        from dynapoint.evaluation.real_folders import check_real_folder  # noqa: PLC0415

        for folder in real:
            check_real_folder(folder)
