"""`dynapoint synth` and `dynapoint train`: clips with exact truth, and networks made from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from dynapoint.cli.common import Flag, OutputOption, UsageError, optional, print_json, said_of_files


@dataclass(frozen=True, kw_only=True)
class Synth:
    """Make clips with exact truth, and a video of each to look at."""

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
    json: Flag = False
    """Say what was written in one JSON object."""

    def run(self) -> int:
        """Write the clips."""
        for name in ("clips", "height", "width", "frames"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name} is {getattr(self, name)}; give 1 or more")
        if self.seed < 0:
            raise UsageError(f"--seed is {self.seed}; give 0 or more")
        if not 0.0 <= self.difficulty <= 1.0:
            raise UsageError(f"--difficulty is {self.difficulty}; give a value from 0 to 1")
        from dynapoint.synthetic.clip_files import synthesize  # noqa: PLC0415

        folders = synthesize(
            self.output,
            clips=self.clips,
            seed=self.seed,
            image_hw=(self.height, self.width),
            frames=self.frames,
            difficulty=self.difficulty,
        )
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


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network on clips that the package makes itself."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """Name of the recipe, e.g. nano, smoke, vdpm, dpm or dept3r."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
    """Folder for checkpoints, logs and weights."""
    resume: Flag = False
    """Go on from the newest checkpoint in DIR."""
    steps: Annotated[int | None, optional("N")] = None
    """Stop after this many steps instead of the recipe's."""
    start_from: Annotated[Path | None, optional("WEIGHTS")] = None
    """Begin with these weights: of VGGT-1B for vdpm and dept3r, of DUSt3R for dpm, or a run's."""
    json: Flag = False
    """Say at the end what was written in one JSON object."""

    def run(self) -> int:
        """Train until the recipe, or `steps`, says so."""
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"--steps is {self.steps}; give 1 or more")
        if self.resume and self.start_from is not None:
            raise UsageError("--resume goes on with a run, --start-from begins one")
        from dynapoint.training.run import train  # noqa: PLC0415

        weights = train(
            self.recipe,
            self.output,
            resume=self.resume,
            steps=self.steps,
            start_from=self.start_from,
        )
        if self.json:
            print_json(
                {
                    "recipe": self.recipe,
                    "output": str(self.output),
                    "weights": str(weights),
                    **said_of_files(self.output),
                }
            )
        else:
            print(f"weights in {weights}; use them with --weights")
        return 0
