"""`dynapoint reconstruct`."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from dynapoint.cli.common import FAILED, Flag, OutputOption, UsageError, optional, print_error
from dynapoint.cli.refusals import check_network, check_shared
from dynapoint.cli.report import Report
from dynapoint.cli.scale_option import with_file
from dynapoint.errors import ConfigError, DynapointError
from dynapoint.progress import RECONSTRUCTING, SAVING, begin, shown
from dynapoint.threads import VARIABLE, chosen_threads, settle

if TYPE_CHECKING:
    from dynapoint.data.frames import Frames
    from dynapoint.data.selection import FrameSelection
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
    frames: Annotated[str | None, optional("N|all")] = None
    """Use at most this many evenly spaced frames (24 by default), or all. With --fps or --stride:
    stop after this many."""
    fps: Annotated[float | None, optional("N")] = None
    """Use this many frames per second of a video, by the frames' own times."""
    stride: Annotated[int | None, optional("N")] = None
    """Use every N-th frame."""
    start: Annotated[float | None, optional("SECONDS")] = None
    """Skip the frames of a video before this time, counted from its first frame."""
    end: Annotated[float | None, optional("SECONDS")] = None
    """Skip the frames of a video after this time."""
    times: Annotated[Path | None, optional("FILE")] = None
    """Text file with the time of each image in seconds, one per line, nan where unknown: for
    photographs of a moving scene in any order, and for several cameras at one moment."""
    ignore_masks: Annotated[Path | None, optional("DIR")] = None
    """Folder of masks, named like the frames or numbered; pixels that are not zero are ignored."""
    intrinsics: Annotated[str | None, optional("FILE|FX,FY,CX,CY")] = None
    """Known intrinsics in original pixels, for all frames or for each frame (.json, .npy), and the
    distortion of a lens that is no pinhole (.json; COLMAP's cameras.txt, nerfstudio's
    transforms.json, OpenCV's .yml or .xml)."""
    poses: Annotated[Path | None, optional("FILE")] = None
    """Known poses beside --intrinsics, for da3-small and da3-base: lines of time x y z qx qy qz qw
    (TUM's format) or world-from-camera matrices (.npy). Answers are in their unit of length."""
    lens: Literal["shared", "per-frame"] = "shared"
    """Fit one lens to all frames of one size, or one to each frame (a zoom, several cameras)."""
    scale_from: Annotated[
        tuple[Literal["depth", "trajectory", "distance", "metric"], str] | None,
        optional("KIND VALUE"),
    ] = None
    """Make lengths metric: `depth` FILE (metres, .npy; or a 16-bit image in millimetres) of the
    first frame or all, `trajectory` FILE of true positions (TUM's format), `distance`
    FRAME,X1,Y1,X2,Y2,METRES between two pixels, or `metric` without a value: what da3-metric
    says."""
    metric_weights: Annotated[Path | None, optional("FILE")] = None
    """Weights file of da3-metric to use instead of its own."""
    refine: Flag = False
    """Refine cameras, lens and depth by matches between the pictures, and compute finer maps. This
    is the default for all but vdpm, vggt, dpm and dept3r."""
    no_refine: Flag = False
    """Keep the network's own answer."""
    window: Annotated[int | None, optional("N")] = None
    """Predict more frames than the network sees at once in windows of N (nano: 24). What is
    finished stays when the run is broken off, and the same command goes on from there."""
    overlap: Annotated[int | None, optional("N")] = None
    """How many frames of a window the next one sees again (nano: 8)."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """Weights file to use instead of the model's own."""
    prepare: Literal["default", "published"] = "default"
    """How images are resized for the network. The default keeps them whole and scales x and y
    separately; `published` is what the network's public code does, which crops or pads."""
    reference: Annotated[int, tyro.conf.arg(metavar="INDEX")] = 0
    """Frame in whose camera vdpm and vggt compute; results are in frame 0's camera all the same."""
    threads: Annotated[int | None, optional("N")] = None
    """Compute with N threads, like DYNAPOINT_THREADS=N. By default: one thread for small networks,
    else one for each free core."""
    device: Annotated[str | None, optional("DEVICE")] = None
    """Where to compute, e.g. cpu or cuda. The default is a GPU if there is one."""
    precision: Annotated[Literal["float32", "bfloat16"] | None, optional("{float32,bfloat16}")] = (
        None
    )
    """Precision of the large networks' transformer blocks. The default is bfloat16 on a GPU and on
    a CPU with instructions for it (AMX or AVX512-bf16), else float32."""
    decoder_weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """Type of the weights of vdpm's or nano's time decoder; fewer bits take less memory."""
    compile: Flag = False
    """Compile the large networks' blocks. It takes a minute or two; long or many clips gain."""
    lean: Flag = False
    """For thousands of clips: a sixth as large. Leave the network, what it keeps of the clip and
    the small pictures out of the scene, which then answers for frame 0 and for frames at their own
    time alone; maps in fewer bits, frames as smaller JPEGs."""
    overwrite: Flag = False
    """Replace an existing scene (never anything else)."""
    json: Flag = False
    """Print one JSON object at the end: the scene's folder, its self-check, failures."""
    json_full: Flag = False
    """Print the same with all files and all signals of the self-check."""
    json_lines: Flag = False
    """Print one line of JSON for each scene as soon as it is saved or has failed."""

    def run(self) -> int:
        """Reconstruct every scene; one that fails does not stop the others."""
        if not self.inputs:
            raise UsageError("no INPUT was given")
        if self.json_lines and self.json:
            raise UsageError("--json is one object and --json-lines a line a scene; give one")
        if self.refine and self.no_refine:
            raise UsageError("--refine and --no-refine were both given; give one")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads is {self.threads}; give 1 or more")
        if self.metric_weights is not None:
            told = with_file(self.scale_from, self.metric_weights)
            return replace(self, scale_from=told, metric_weights=None).run()
        if self.threads is not None:
            os.environ[VARIABLE] = str(self.threads)
        selection = self._selection()
        from dynapoint.inference.scenes import plan_scenes  # noqa: PLC0415

        check_network(self)
        scenes = plan_scenes(self.inputs, self.output)
        if len(scenes) > 1:
            check_shared(self, len(scenes))
        from dynapoint.inference.given import check_given  # noqa: PLC0415

        check_given(
            times_s=self.times,
            ignore_masks=self.ignore_masks,
            intrinsics=self.intrinsics,
            poses=self.poses,
            scale_from=self.scale_from,
            weights=self.weights,
        )
        failures: list[tuple[str, DynapointError]] = []
        report = Report(
            as_json=self.json or self.json_full, as_lines=self.json_lines, full=self.json_full
        )
        waiting = self._waiting(scenes, failures, report)
        loader = _ModelLoader(self)
        for number, scene in enumerate(waiting, 1):
            which = f"clip {number} of {len(waiting)}: " if len(scenes) > 1 else ""
            try:
                self._run_scene(scene, selection, loader, report, name=which + scene.label)
            except DynapointError as error:
                print_error(error, scene.label if len(scenes) > 1 else None)
                report.failed(scene.label, error)
                failures.append((scene.label, error))
        report.close(len(scenes), failures, self.model)
        return FAILED if failures else 0

    def _selection(self) -> "FrameSelection":
        """The frames asked for."""
        from dynapoint.data.selection import FrameSelection  # noqa: PLC0415

        every = self.frames == "all"
        try:
            most = None if every or self.frames is None else int(self.frames)
        except ValueError:
            raise UsageError(f"--frames is {self.frames!r}; give a whole number, or all") from None
        try:
            return FrameSelection(
                max_frames=most,
                fps=self.fps,
                stride=1 if every and self.fps is None and self.stride is None else self.stride,
                start_s=self.start,
                end_s=self.end,
            )
        except ConfigError as error:
            raise UsageError(str(error)) from error

    def _waiting(
        self,
        scenes: "list[ScenePlan]",
        failures: list[tuple[str, DynapointError]],
        report: Report,
    ) -> "list[ScenePlan]":
        """The scenes still to be made; of several, those that are there already are left alone.

        Raises:
            OutputError: It is one alone, and cannot be written.
        """
        from dynapoint.inference.scenes import finished, other_clip  # noqa: PLC0415
        from dynapoint.results.on_disk.output_folder import check_output  # noqa: PLC0415
        from dynapoint.whole_file import restore  # noqa: PLC0415

        waiting = []
        for scene in scenes:
            restore(scene.output)
            there = finished(scene.output) if len(scenes) > 1 and not self.overwrite else None
            if there is not None:
                if scene.is_of(there.source["identity"]):
                    report.skipped(scene)
                else:
                    failures.append((scene.label, other_clip(scene)))
                continue
            try:
                check_output(scene.output, overwrite=self.overwrite)
            except DynapointError as error:
                failures.append((scene.label, error))
                continue
            waiting.append(scene)
        if failures and len(scenes) == 1 and not self.json_lines:
            raise failures[0][1]
        for label, failure in failures:
            print_error(failure, label if len(scenes) > 1 else None)
            report.failed(label, failure)
        return waiting

    def _run_scene(
        self,
        scene: "ScenePlan",
        selection: "FrameSelection",
        load_model: "Callable[[], PointMapModel]",
        report: Report,
        *,
        name: str,
    ) -> None:
        """Reconstruct one scene and say how long each stage took."""
        from dynapoint.cli.long_clip import (  # noqa: PLC0415
            Asked,
            clip_in_windows,
            write_long_scene,
        )
        from dynapoint.inference.given import refuse_poses  # noqa: PLC0415
        from dynapoint.models.cards import will_refine  # noqa: PLC0415

        refine = True if self.refine else False if self.no_refine else None
        from dynapoint.inference.long import STAGES  # noqa: PLC0415

        asked = Asked.of(self)
        clip = clip_in_windows(asked, scene, selection)
        if clip is not None:
            refuse_poses(self.poses)
        with shown(name=name, plan=(*(STAGES if clip else RECONSTRUCTING), *SAVING)) as work:
            begin("read")
            if clip is not None:
                frames = write_long_scene(asked, scene, clip, load_model, report, refine=refine)
            else:
                frames = self._write_scene(
                    scene,
                    selection,
                    load_model,
                    report,
                    refine=refine,
                    refines=will_refine(self.model, refine),
                )
                _say_what_is_left(scene, report)
        report.written(scene, frames, work.seconds)

    def _write_scene(
        self,
        scene: "ScenePlan",
        selection: "FrameSelection",
        load_model: "Callable[[], PointMapModel]",
        report: Report,
        *,
        refine: bool | None,
        refines: bool,
    ) -> "Frames":
        """Reconstruct a scene in one pass and write it; returns its frames."""
        from dynapoint.data.between import load_between  # noqa: PLC0415
        from dynapoint.data.frames import load_frames  # noqa: PLC0415
        from dynapoint.data.small_pictures import SmallPictures  # noqa: PLC0415
        from dynapoint.inference.given import check_with_frames  # noqa: PLC0415

        small = SmallPictures() if refines else None
        source = scene.given
        frames = load_frames(
            source,
            selection,
            one_size=self.prepare != "published",
            times_s=self.times,
            ignore_masks=self.ignore_masks,
            small=small,
        )
        told: dict[str, Any] = {"intrinsics": self.intrinsics, "poses": self.poses}
        told |= {"scale_from": self.scale_from}
        check_with_frames(frames, reference=self.reference, **told)
        begin("load model")
        from dynapoint.inference.pipeline import reconstruct_frames  # noqa: PLC0415
        from dynapoint.models.layers.compute import is_small  # noqa: PLC0415
        from dynapoint.results.on_disk.output_folder import whole_folder  # noqa: PLC0415
        from dynapoint.results.on_disk.saving import write_all  # noqa: PLC0415

        model = load_model()
        settle(chosen_threads(small=is_small(model)))
        if frames.note:
            report.note(scene, frames.note)
        with whole_folder(scene.output, overwrite=self.overwrite) as folder:
            rec = reconstruct_frames(
                frames,
                model,
                model_name=self.model,
                prepare=self.prepare,
                reference=self.reference,
                **told,
                lens=self.lens,
                refine=refine,
                between=lambda: load_between(source, frames, small),
            )
            write_all(rec, folder, lean=self.lean)
        return frames


def _say_what_is_left(scene: "ScenePlan", report: Report) -> None:
    """Of a scene that was written in one pass, the unfinished windows that lie beside it."""
    from dynapoint.inference.long.work_folder import unfinished_folder  # noqa: PLC0415

    left = unfinished_folder(scene.output)
    if left.is_dir():
        report.note(
            scene,
            f"{left} holds windows of an unfinished run, which its command with --overwrite goes "
            "on with; delete it if nobody wants them",
        )


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
