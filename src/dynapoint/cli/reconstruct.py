"""`dynapoint reconstruct`."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from dynapoint.cli.common import FAILED, Flag, OutputOption, UsageError, print_error
from dynapoint.errors import DynapointError

if TYPE_CHECKING:
    from dynapoint.inference.scenes import ScenePlan
    from dynapoint.models.protocol import PointMapModel


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
    output: OutputOption
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
    compile: Flag = False
    """Compile large networks' blocks first: a minute or two that pays for long or many clips."""
    overwrite: Flag = False
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
                print_error(error)
                failures += 1
        if failures and len(scenes) > 1:
            print(f"{len(scenes) - failures} of {len(scenes)} scenes reconstructed")
        return FAILED if failures else 0

    def _run_scene(self, scene: "ScenePlan", load_model: "Callable[[], PointMapModel]") -> None:
        """Reconstruct one scene and say how long each stage took."""
        from dynapoint.data.frames import load_frames  # noqa: PLC0415
        from dynapoint.data.selection import FrameSelection  # noqa: PLC0415

        clock = _Stages()
        with clock.stage("read"):
            source = scene.source[0] if len(scene.source) == 1 else list(scene.source)
            one_size = self.prepare != "published"
            frames = load_frames(source, FrameSelection(max_frames=self.frames), one_size=one_size)
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
