"""`dynapoint reconstruct`."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from dynapoint.cli.common import FAILED, Flag, UsageError, optional, print_error
from dynapoint.cli.refusals import check_shared
from dynapoint.cli.report import Report
from dynapoint.cli.scale_option import with_file
from dynapoint.errors import ConfigError, DynapointError
from dynapoint.threads import VARIABLE

if TYPE_CHECKING:
    from dynapoint.data.selection import FrameSelection
    from dynapoint.inference.making import ModelLoader, SceneOptions
    from dynapoint.inference.scenes import ScenePlan


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Reconstruct a video, a folder of images or image files into the folder OUT.

    Several image files, or a quoted glob pattern, are one scene; several videos or folders are one
    scene each, in OUT/NAME.4d. OUT/contact_sheet.png shows the result.

    A list of clips (.csv, .parquet, .txt), a folder of videos and addresses (s3://, gs://,
    https://) are a scene each in OUT/NAME.4d, and OUT/index.parquet says what became of them.
    """

    inputs: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(name="input", metavar="INPUT...", help_behavior_hint="(required)"),
    ]
    """Videos, folders, image files, glob patterns, lists of clips or addresses."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """Folder to write, or its address."""
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
    else one for each free core. With --cluster: cores of each worker, 1 by default."""
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
    cluster: Annotated[str | None, optional("auto|ADDRESS")] = None
    """Make the scenes on a Ray cluster, all in OUT/NAME.4d: the one that runs here or else workers
    on this machine (auto), or the one at ADDRESS. OUT has to be the same folder on all machines."""
    workers: Annotated[int | None, optional("N")] = None
    """With --cluster: how many clips are worked on at once. The default is as many as there is room
    for."""
    gpus_per_worker: Annotated[float | None, optional("SHARE")] = None
    """With --cluster: what each worker gets of a GPU, e.g. 0.5. The default is one GPU where there
    are any."""
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
        options = self._options()
        if self.cluster is None and (self.workers, self.gpus_per_worker) != (None, None):
            raise UsageError("--workers and --gpus-per-worker belong to --cluster; add it")
        from dynapoint.cli.many_clips import are_many  # noqa: PLC0415

        if self.cluster is not None or are_many(self.inputs, self.output):
            return self._run_many(options)
        return self._run_here(options)

    def _run_many(self, options: "SceneOptions") -> int:
        """Reconstruct lists of clips, what lies elsewhere, and all that goes to a cluster."""
        from dynapoint.cli.many_clips import run_many  # noqa: PLC0415

        check_shared(self, "lists are many")
        cluster = None
        if self.cluster is not None:
            from dynapoint.cluster.on_ray import ClusterOptions  # noqa: PLC0415

            cluster = ClusterOptions(
                address=self.cluster,
                workers=self.workers,
                gpus_per_worker=self.gpus_per_worker,
                threads=self.threads,
            )
        return run_many(
            self.inputs,
            self.output,
            options,
            cluster,
            as_json=self.json or self.json_full,
            as_lines=self.json_lines,
        )

    def _run_here(self, options: "SceneOptions") -> int:
        """Reconstruct clips of this machine one after another."""
        from dynapoint.inference.making import ModelLoader  # noqa: PLC0415
        from dynapoint.inference.scenes import plan_scenes  # noqa: PLC0415

        options.check_model()
        scenes = plan_scenes(self.inputs, Path(self.output))
        if len(scenes) > 1:
            check_shared(self, f"{len(scenes)} were given")
        options.check_given()
        failures: list[tuple[str, DynapointError]] = []
        report = Report(
            as_json=self.json or self.json_full, as_lines=self.json_lines, full=self.json_full
        )
        waiting = self._waiting(scenes, failures, report)
        loader = ModelLoader(options)
        for number, scene in enumerate(waiting, 1):
            which = f"clip {number} of {len(waiting)}: " if len(scenes) > 1 else ""
            try:
                self._run_scene(scene, options, loader, report, name=which + scene.label)
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

    def _options(self) -> "SceneOptions":
        """How scenes are made."""
        from dynapoint.inference.making import SceneOptions  # noqa: PLC0415

        return SceneOptions(
            model=self.model,
            weights=self.weights,
            device=self.device,
            precision=self.precision,
            decoder_weights=self.decoder_weights,
            compile_blocks=self.compile,
            selection=self._selection(),
            times=self.times,
            ignore_masks=self.ignore_masks,
            intrinsics=self.intrinsics,
            poses=self.poses,
            lens=self.lens,
            scale_from=self.scale_from,
            refine=True if self.refine else False if self.no_refine else None,
            window=self.window,
            overlap=self.overlap,
            prepare=self.prepare,
            reference=self.reference,
            lean=self.lean,
            overwrite=self.overwrite,
        )

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
        options: "SceneOptions",
        loader: "ModelLoader",
        report: Report,
        *,
        name: str,
    ) -> None:
        """Reconstruct one scene and say how long each stage took."""
        from dynapoint.inference.making import make_scene  # noqa: PLC0415

        made = make_scene(
            scene, options, loader, lambda words: report.note(scene, words), name=name
        )
        report.written(scene, made.frames, made.seconds)
