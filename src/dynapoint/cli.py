"""The command line. Every command loads what it needs when it runs, so that `--help` is quick."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

import dynapoint
from dynapoint.errors import DynapointError

if TYPE_CHECKING:
    from dynapoint.inference.scenes import ScenePlan
    from dynapoint.models.protocol import PointMapModel

_FAILED, _WRONG_USAGE, _INTERRUPTED = 1, 2, 130

_OutputOption = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


class UsageError(Exception):
    """Options that parse but make no sense; exit code 2, like those that do not parse."""


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Reconstruct a video, a folder of images or image files into the folder OUT.

    Several image files, or a quoted glob pattern, are one scene; several videos or folders are one
    scene each, in OUT/NAME.4d. OUT/contact_sheet.png shows the result.
    """

    inputs: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(name="input", metavar="INPUT...", help_behavior_hint="(required)"),
    ]
    """Videos, folders, image files or glob patterns."""
    output: _OutputOption
    """Folder to write."""
    model: str = "nano"
    """Name of the network."""
    frames: int = 24
    """At most this many evenly spaced frames are used."""
    weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Weights file to use instead of the model's own."""
    prepare: Literal["default", "published"] = "default"
    """How images are brought to the network's size: by default whole, x and y scaled apart;
    `published` as the public code of V-DPM and VGGT does it, which crops and pads."""
    reference: Annotated[int, tyro.conf.arg(metavar="INDEX")] = 0
    """Frame (of those used) in whose camera vdpm and vggt work; results are in frame 0's anyway."""
    device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE")] = None
    """Where to compute, e.g. cpu or cuda; the default is a GPU where there is one."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of the large networks' transformer blocks; the default is bfloat16 on a GPU only."""
    decoder_weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """How vdpm's or nano's time decoder is kept: in fewer bits its weights take less memory."""
    compile: _Flag = False
    """Compile large networks' blocks first: a minute or two that pays for long or many clips."""
    overwrite: _Flag = False
    """Replace a scene that is already there (never anything else)."""

    def run(self) -> int:
        """Reconstruct every scene; one that fails does not stop the others."""
        if not self.inputs:
            raise UsageError("no INPUT was given")
        if self.frames < 1:
            raise UsageError(f"--frames is {self.frames}; give 1 or more")
        from dynapoint.inference.scenes import plan_scenes  # noqa: PLC0415
        from dynapoint.models.weight_files import require_weights  # noqa: PLC0415
        from dynapoint.results.output_folder import check_output  # noqa: PLC0415

        require_weights(self.model, self.weights)
        scenes = plan_scenes(self.inputs, self.output)
        for scene in scenes:
            check_output(scene.output, overwrite=self.overwrite)
        loader = _ModelLoader(self)
        failures = 0
        for scene in scenes:
            try:
                self._run_scene(scene, loader)
            except DynapointError as error:
                _print_error(error)
                failures += 1
        if failures and len(scenes) > 1:
            print(f"{len(scenes) - failures} of {len(scenes)} scenes reconstructed")
        return _FAILED if failures else 0

    def _run_scene(self, scene: "ScenePlan", load_model: "Callable[[], PointMapModel]") -> None:
        """Reconstruct one scene and say how long each stage took."""
        from dynapoint.data.frames import load_frames  # noqa: PLC0415

        clock = _Stages()
        with clock.stage("read"):
            source = scene.source[0] if len(scene.source) == 1 else list(scene.source)
            one_size = self.prepare != "published"
            frames = load_frames(source, max_frames=self.frames, one_size=one_size)
        with clock.stage("load model"):
            from dynapoint.inference.pipeline import reconstruct_frames  # noqa: PLC0415
            from dynapoint.results import contact_sheet, store  # noqa: PLC0415
            from dynapoint.results.output_folder import whole_folder  # noqa: PLC0415

            model = load_model()
        if frames.note:
            print(f"{scene.label}: {frames.note}", flush=True)
        with whole_folder(scene.output, overwrite=self.overwrite) as folder:
            with clock.stage("network"):
                rec = reconstruct_frames(
                    frames,
                    model,
                    model_name=self.model,
                    prepare=self.prepare,
                    reference=self.reference,
                    progress=sys.stderr.isatty(),
                )
                tracks = store.write_tracks(rec, folder)
            with clock.stage("contact sheet"):
                sheet = contact_sheet.draw(rec, tracks)
            with clock.stage("write"):
                store.write_scene(rec, folder, contact_sheet=sheet)
        print(f"{scene.label}: {frames.count} frames of {frames.size_words}; {clock.summary()}")
        print(f"{scene.label}: look at {scene.output / store.CONTACT_SHEET_FILE}", flush=True)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score networks on clips with exact truth, beside the trivial answers."""

    clips: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CLIPS")]
    """Folder of clips as `dynapoint synth` writes them."""
    model: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("nano",)
    """Names of networks."""
    weights: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Weights files to use instead of the models' own, one for each."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="JSON")] = None
    """JSON file for all numbers."""

    def run(self) -> int:
        """Print the table of scores."""
        from dynapoint.evaluation.score import evaluate_paths  # noqa: PLC0415

        table = evaluate_paths(
            self.clips,
            self.model,
            self.output,
            weights=self.weights,
            progress=sys.stderr.isatty(),
        )
        print(table)
        return 0


@dataclass(frozen=True, kw_only=True)
class Synth:
    """Make clips with exact truth, and a video of each to look at."""

    output: _OutputOption
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

        synthesize(
            self.output,
            clips=self.clips,
            seed=self.seed,
            image_hw=(self.height, self.width),
            frames=self.frames,
            difficulty=self.difficulty,
        )
        print(f"{self.clips} clips in {self.output}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network on clips that the package makes itself."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """Name of the recipe, e.g. nano, smoke, vdpm, dpm or dept3r."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
    """Folder for checkpoints, logs and weights."""
    resume: _Flag = False
    """Go on from the newest checkpoint in DIR."""
    steps: int | None = None
    """Stop after this many steps instead of the recipe's."""
    start_from: Annotated[Path | None, tyro.conf.arg(metavar="WEIGHTS")] = None
    """Begin with these weights: of VGGT-1B for vdpm and dept3r, of DUSt3R for dpm, or a run's."""

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
        print(f"weights in {weights}; use them with --weights")
        return 0


@dataclass(frozen=True, kw_only=True)
class ListModels:
    """List the models: parameters, size, licence, source, and where their weights are."""

    def run(self) -> int:
        """Print the list."""
        from dynapoint.models.weight_files import describe_models  # noqa: PLC0415

        print(describe_models())
        return 0


@dataclass(frozen=True, kw_only=True)
class GetModel:
    """Show a model's licence and size, and download its weights."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """Name of the model."""
    accept_license: _Flag = False
    """Say that you may use weights whose licence does not allow every use."""

    def run(self) -> int:
        """Download the weights unless they are here."""
        from dynapoint.models.cards import find_card  # noqa: PLC0415
        from dynapoint.models.weight_files import describe, fetch  # noqa: PLC0415

        card = find_card(self.name)
        print(describe(card), flush=True)
        print(f"weights in {fetch(card, accept_license=self.accept_license)}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Models:
    """List the models that are known by name, or get the weights of one."""

    action: (
        Annotated[ListModels, tyro.conf.subcommand("list")]
        | Annotated[GetModel, tyro.conf.subcommand("get")]
    ) = field(default_factory=ListModels)

    def run(self) -> int:
        """List unless told to get."""
        return self.action.run()


_Command = (
    Annotated[Reconstruct, tyro.conf.subcommand("reconstruct")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Synth, tyro.conf.subcommand("synth")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Models, tyro.conf.subcommand("models")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (0, 1 for an expected error, 2 for wrong usage)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"dynapoint {dynapoint.__version__}")
        return 0
    try:
        command = tyro.cli(
            _Command,  # type: ignore[arg-type]
            prog="dynapoint",
            description="Turn any video into a 4D scene. `dynapoint --version` gives the version.",
            args=given,
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )
        return command.run()
    except UsageError as error:
        print(f"dynapoint: {error}; see `dynapoint --help`", file=sys.stderr)
        return _WRONG_USAGE
    except DynapointError as error:
        _print_error(error)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED


def _print_error(error: DynapointError) -> None:
    """One line on standard error, whatever the message looks like."""
    print(f"dynapoint: {' '.join(str(error).splitlines())}", file=sys.stderr, flush=True)


@dataclass
class _Stages:
    """Wall-clock seconds of named stages."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def summary(self) -> str:
        """All stages and their sum in one line."""
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        return f"{stages}; {sum(self.seconds.values()):.1f} s in all"


class _ModelLoader:
    """Loads the network when it is first needed, so that a bad input fails before torch loads."""

    def __init__(self, command: Reconstruct) -> None:
        self._command = command
        self._model: PointMapModel | None = None

    def __call__(self) -> "PointMapModel":
        if self._model is None:
            from dynapoint.models.catalog import load_model  # noqa: PLC0415

            command = self._command
            self._model = load_model(
                command.model,
                weights=command.weights,
                device=command.device,
                precision=command.precision,
                decoder_weights=command.decoder_weights,
                compile_blocks=command.compile,
            )
        return self._model
