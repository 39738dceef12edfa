"""`dynapoint synth` and `dynapoint train`: clips with exact truth, and networks made from them."""

from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro

from dynapoint.cli.common import (
    Flag,
    OutputOption,
    UsageError,
    optional,
    print_json,
    said_of_files,
)
from dynapoint.datasets.places import data_places
from dynapoint.errors import ConfigError
from dynapoint.progress import shown
from dynapoint.training.options import OPTIONS, Option, check_options, check_places
from dynapoint.training.recipes import check_name


@dataclass(frozen=True, kw_only=True)
class Synth:
    """Render clips with exact ground truth, and a video of each to look at."""

    output: OutputOption
    """Folder to write."""
    clips: int
    """How many clips."""
    seed: int
    """Seed of the first clip; the same seed gives the same clips. No recipe trains on seeds from
    1000000000 on."""
    height: int = 128
    """Image height in pixels."""
    width: int = 160
    """Image width in pixels."""
    frames: int = 10
    """Frames of each clip."""
    difficulty: float = 1.0
    """From 0 (few bodies, a still camera) to 1 (everything)."""
    long: Flag = False
    """Walks through halls instead, of any number of frames, with loops, stops and movers; of their
    truth, cameras are written and what the rest can be made from."""
    cut: Annotated[int | None, optional("N")] = None
    """With --long: another hall from frame N on."""
    json: Flag = False
    """Print the written files in one JSON object."""

    def run(self) -> int:
        """Write the clips."""
        for name in ("clips", "height", "width", "frames"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} is {getattr(self, name)}; give 1 or more")
        if self.seed < 0:
            raise UsageError(f"--seed is {self.seed}; give 0 or more")
        if not 0.0 <= self.difficulty <= 1.0:
            raise UsageError(f"--difficulty is {self.difficulty}; give a value from 0 to 1")
        if self.long and self.difficulty != 1.0:
            raise UsageError("--long clips have one difficulty; leave out --difficulty")
        if self.cut is not None and not self.long:
            raise UsageError("--cut is of long clips; add --long")
        folders = self._write()
        if self.json:
            print_json(
                {
                    "output": str(self.output),
                    "seed": self.seed,
                    "clips": [str(folder) for folder in folders],
                    **said_of_files(*folders),
                }
            )
        else:
            print(f"{self.clips} clips in {self.output}")
        return 0

    def _write(self) -> list[Path]:
        """Write the clips and return their folders."""
        size = (self.height, self.width)
        with shown(name="synth"):
            if self.long:
                from dynapoint.synthetic.long_files import synthesize_long  # noqa: PLC0415

                return synthesize_long(
                    self.output,
                    clips=self.clips,
                    seed=self.seed,
                    image_hw=size,
                    frames=self.frames,
                    cuts=() if self.cut is None else (self.cut,),
                )
            from dynapoint.synthetic.clip_files import synthesize  # noqa: PLC0415

            return synthesize(
                self.output,
                clips=self.clips,
                seed=self.seed,
                image_hw=size,
                frames=self.frames,
                difficulty=self.difficulty,
            )


@dataclass(frozen=True, kw_only=True)
class _Train:
    """Train a network on clips that the package makes itself, and on data sets.

    What --batch and all options from --steps on say takes the place of what the recipe says.
    """

    json: Flag = False
    """Say at the end what was written in one JSON object."""

    def run(self) -> int:
        """Train until the recipe, or `steps`, says so."""
        given = {option.name: getattr(self, option.name) for option in OPTIONS}
        try:
            changes = check_options(given)
            given["data"] = data_places(given["data"])
        except ConfigError as error:
            raise UsageError(str(error)) from error
        check_name(given["recipe"])
        check_places(
            bench=given["bench"],
            real=given["real"],
            data=given["data"],
            textures=given["textures"],
        )
        # What loads torch comes after all that can be refused without it.
        from dynapoint.training.run import train  # noqa: PLC0415

        run = {option.name: given[option.name] for option in OPTIONS if not option.changes_recipe}
        weights = train(**run, changes=changes)
        if self.json:
            print_json(
                {
                    "recipe": given["recipe"],
                    "changed": changes,
                    "output": str(given["output"]),
                    "weights": str(weights),
                    **said_of_files(given["output"]),
                }
            )
        else:
            print(f"weights in {weights}; use them with --weights")
        return 0


def _field(option: Option) -> tuple[str, Any, Any]:
    """An option as tyro takes it: its name, its type with its help beside it, and its default."""
    kind: Any = option.kind if option.required or option.default is not None else option.kind | None
    marks: list[Any] = [tyro.conf.Positional] if option.positional else []
    if option.kind is bool:
        marks.append(tyro.conf.FlagCreatePairsOff)
    words: dict[str, Any] = {} if option.required else {"help_behavior_hint": ""}
    choices = get_args(option.kind) if get_origin(option.kind) is Literal else ()
    value = f"{{{','.join(choices)}}}" if choices else option.value
    marks.append(
        tyro.conf.arg(
            help=option.words,
            metavar=value or None,
            aliases=[option.short] if option.short else None,
            **words,
        )
    )
    default = field() if option.required else field(default=option.default)
    return option.name, Annotated[kind, *marks], default


Train = make_dataclass("Train", map(_field, OPTIONS), bases=(_Train,), frozen=True, kw_only=True)
Train.__doc__ = _Train.__doc__
