"""From a source to a scene on disk, by one set of options: what every way to batch clips calls.

Nothing here loads torch before a network is wanted, so that a bad input fails at once.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from dynapoint.data.selection import FrameSelection
from dynapoint.inference.scenes import ScenePlan
from dynapoint.progress import RECONSTRUCTING, SAVING, begin, complain, shown
from dynapoint.threads import chosen_threads, settle

if TYPE_CHECKING:
    from dynapoint.data.frames import Frames
    from dynapoint.inference.long.deciding import LongSource
    from dynapoint.inference.long.work_folder import Facts
    from dynapoint.models.protocol import PointMapModel
    from dynapoint.windows.spans import WindowSizes

_NOT_IN_WINDOWS = frozenset(
    {"model", "weights", "device", "compile_blocks", "scale_from", "window", "overlap"}
    | {"lean", "overwrite"}
)
"""Options that what a window says does not depend on, or that are told in another way."""


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """How scenes are made; what is not explained here is as `reconstruct` and `load_model` have it.

    Attributes:
        times: A text file of times, as `--times`.
        refine: True, False, or None for what the model's card says.
        lean: Whether scenes are written small.
        overwrite: Whether a scene that is there is replaced.
    """

    model: str = "nano"
    weights: Path | None = None
    device: str | None = None
    precision: Literal["float32", "bfloat16"] | None = None
    decoder_weights: Literal["float32", "bfloat16", "int8"] = "float32"
    compile_blocks: bool = False
    selection: FrameSelection = field(default_factory=FrameSelection)
    times: Path | None = None
    ignore_masks: Path | None = None
    intrinsics: str | None = None
    poses: Path | None = None
    lens: Literal["shared", "per-frame"] = "shared"
    scale_from: tuple[Literal["depth", "trajectory", "distance", "metric"], str] | None = None
    refine: bool | None = None
    window: int | None = None
    overlap: int | None = None
    prepare: Literal["default", "published"] = "default"
    reference: int = 0
    lean: bool = False
    overwrite: bool = False

    @property
    def files(self) -> list[Path]:
        """What was given beside the clip and may be a file."""
        given = (self.times, self.ignore_masks, self.intrinsics, self.poses)
        return [Path(each) for each in given if each is not None]

    def check_model(self) -> None:
        """Refuse a network that is not for clips, not here, or does not heed an option.

        Raises:
            ModelError: It is so.
        """
        from dynapoint.models.cards import check_asked, check_reconstructs  # noqa: PLC0415
        from dynapoint.models.weight_files import require_weights  # noqa: PLC0415

        check_reconstructs(self.model)
        require_weights(self.model, self.weights)
        check_asked(
            self.model,
            self.weights,
            reference=self.reference,
            poses=self.poses is not None,
            decoder_weights=self.decoder_weights,
            precision=self.precision,
            compile_blocks=self.compile_blocks,
        )

    def check_given(self) -> None:
        """Refuse what is given beside the clips and cannot be used whatever these are.

        Raises:
            ConfigError, InputError: A file cannot be read or makes no sense.
            ModelError: There is no such weights file.
        """
        from dynapoint.inference.given import check_given  # noqa: PLC0415

        check_given(
            times_s=self.times,
            ignore_masks=self.ignore_masks,
            intrinsics=self.intrinsics,
            poses=self.poses,
            scale_from=self.scale_from,
            weights=self.weights,
        )


class ModelLoader:
    """Loads the network when it is first needed, and keeps it."""

    def __init__(self, options: SceneOptions) -> None:
        self._options = options
        self._model: PointMapModel | None = None

    def __call__(self) -> "PointMapModel":
        """The network.

        Raises:
            ModelError: It cannot be loaded.
        """
        if self._model is None:
            from dynapoint.models.catalog import load_model  # noqa: PLC0415

            options = self._options
            self._model = load_model(
                options.model,
                weights=options.weights,
                device=options.device,
                precision=options.precision,
                decoder_weights=options.decoder_weights,
                compile_blocks=options.compile_blocks,
            )
        return self._model


@dataclass(frozen=True, kw_only=True)
class MadeScene:
    """A scene that lies where its plan says: its frames, and what each stage took in seconds."""

    frames: "Frames"
    seconds: dict[str, float]


def make_scene(
    scene: ScenePlan,
    options: SceneOptions,
    load_model: "Callable[[], PointMapModel]",
    note: Callable[[str], None],
    *,
    name: str = "",
    tell: Callable[[str], None] | None = None,
) -> MadeScene:
    """Reconstruct one scene and write it, whole or not at all.

    Args:
        scene: What becomes a scene, and where.
        options: How.
        load_model: Gives the network when it is wanted.
        note: Is told, in a line each, what people want to know of the clip.
        name: What a bar calls the clip.
        tell: Is called with every stage as it begins, in place of a bar.

    Raises:
        ConfigError, InputError, ModelError: As `reconstruct`.
        OutputError: The scene cannot be written.
    """
    from dynapoint.inference.given import refuse_poses  # noqa: PLC0415
    from dynapoint.inference.long import STAGES  # noqa: PLC0415

    clip = _in_windows(options, scene)
    if clip is not None:
        refuse_poses(options.poses)
    plan = (*(STAGES if clip else RECONSTRUCTING), *SAVING)
    with shown(name=name, plan=plan, tell=tell) as work:
        begin("read")
        if clip is not None:
            frames = _write_in_windows(options, scene, clip, load_model, note)
        else:
            frames = _write_in_one_pass(options, scene, load_model, note)
            _say_what_is_left(scene, note)
    return MadeScene(frames=frames, seconds=dict(work.seconds))


def _write_in_one_pass(
    options: SceneOptions,
    scene: ScenePlan,
    load_model: "Callable[[], PointMapModel]",
    note: Callable[[str], None],
) -> "Frames":
    """Reconstruct a scene in one pass and write it; returns its frames."""
    from dynapoint.data.between import load_between  # noqa: PLC0415
    from dynapoint.data.frames import load_frames  # noqa: PLC0415
    from dynapoint.data.small_pictures import SmallPictures  # noqa: PLC0415
    from dynapoint.inference.given import check_with_frames  # noqa: PLC0415
    from dynapoint.models.cards import will_refine  # noqa: PLC0415

    small = SmallPictures() if will_refine(options.model, options.refine) else None
    source = scene.given
    frames = load_frames(
        source,
        options.selection,
        one_size=options.prepare != "published",
        times_s=options.times,
        ignore_masks=options.ignore_masks,
        small=small,
    )
    told: dict[str, Any] = {
        "intrinsics": options.intrinsics,
        "poses": options.poses,
        "scale_from": options.scale_from,
    }
    check_with_frames(frames, reference=options.reference, **told)
    begin("load model")
    from dynapoint.inference.pipeline import reconstruct_frames  # noqa: PLC0415
    from dynapoint.models.layers.compute import is_small  # noqa: PLC0415
    from dynapoint.results.on_disk.output_folder import whole_folder  # noqa: PLC0415
    from dynapoint.results.on_disk.saving import write_all  # noqa: PLC0415

    model = load_model()
    settle(chosen_threads(small=is_small(model)))
    if frames.note:
        note(frames.note)
    with whole_folder(scene.output, overwrite=options.overwrite) as folder:
        rec = reconstruct_frames(
            frames,
            model,
            model_name=options.model,
            prepare=options.prepare,
            reference=options.reference,
            **told,
            lens=options.lens,
            refine=options.refine,
            between=lambda: load_between(source, frames, small),
        )
        write_all(rec, folder, lean=options.lean)
    return frames


def _say_what_is_left(scene: ScenePlan, note: Callable[[str], None]) -> None:
    """Of a scene that was written in one pass, the unfinished windows that lie beside it."""
    from dynapoint.inference.long.work_folder import unfinished_folder  # noqa: PLC0415

    left = unfinished_folder(scene.output)
    if left.is_dir():
        note(
            f"{left} holds windows of an unfinished run, which its command with --overwrite goes "
            "on with; delete it if nobody wants them"
        )


def _in_windows(options: SceneOptions, scene: ScenePlan) -> "tuple[LongSource, WindowSizes] | None":
    """A scene's source and windows; None where one pass sees all of its frames.

    Raises:
        ConfigError, InputError: The source cannot be used, or there are no such windows.
    """
    from dynapoint.inference.long.deciding import sure_in_one_pass  # noqa: PLC0415
    from dynapoint.models.cards import find_card  # noqa: PLC0415

    # Before anything is loaded that takes a while.
    one_pass = options.window is None and sure_in_one_pass(
        options.selection, find_card(options.model).name
    )
    if one_pass and not scene.arrives:
        return None
    from dynapoint.inference.long.in_windows import long_clip  # noqa: PLC0415

    return long_clip(
        scene.given,
        options.model,
        options.selection,
        window=options.window,
        overlap=options.overlap,
        times_s=options.times,
        ignore_masks=options.ignore_masks,
    )


def _write_in_windows(
    options: SceneOptions,
    scene: ScenePlan,
    clip: "tuple[LongSource, WindowSizes]",
    load_model: "Callable[[], PointMapModel]",
    note: Callable[[str], None],
) -> "Frames":
    """Reconstruct a clip in windows and write it; returns its frames.

    What is finished stays beside the output until the scene is whole.
    """
    begin("load model")
    from dynapoint.inference.long.in_windows import reconstruct_in_windows  # noqa: PLC0415
    from dynapoint.inference.long.work_folder import kept_work_folder  # noqa: PLC0415
    from dynapoint.models.layers.compute import is_small  # noqa: PLC0415
    from dynapoint.results.on_disk.output_folder import whole_folder  # noqa: PLC0415
    from dynapoint.results.on_disk.saving import write_all  # noqa: PLC0415

    model = load_model()
    # Windows of a small network are predicted in several processes with one thread each.
    settle(1 if is_small(model) else chosen_threads(small=False))
    source, sizes = clip
    facts = _facts(options, scene, sizes, model)
    with _said_where_interrupted(scene.label), kept_work_folder(scene.output, facts) as work:
        if work.deleted:
            note(
                f"an unfinished run with other options or of another clip, {work.deleted} windows "
                "of it, was deleted"
            )
        if work.resumed:
            note(f"going on after window {work.resumed}, which is finished")
        rec = reconstruct_in_windows(
            source,
            sizes,
            model,
            model_name=options.model,
            prepare=options.prepare,
            reference=options.reference,
            intrinsics=options.intrinsics,
            lens=options.lens,
            scale_from=options.scale_from,
            refine=options.refine,
            work=work,
        )
        if rec.frames.note:
            note(rec.frames.note)
        with whole_folder(scene.output, overwrite=options.overwrite) as folder:
            write_all(rec, folder, lean=options.lean)
    return rec.frames


@contextmanager
def _said_where_interrupted(label: str) -> Iterator[None]:
    """A block of which it is said, if it is interrupted, that it can be gone on with."""
    try:
        yield
    except KeyboardInterrupt:
        words = "what is finished is kept, and the same command goes on from there"
        complain(f"dynapoint: {label}: interrupted; {words}")
        raise


def _facts(
    options: SceneOptions, scene: ScenePlan, sizes: "WindowSizes", model: "PointMapModel"
) -> "Facts":
    """All that what windows say depends on."""
    import dynapoint  # noqa: PLC0415
    from dynapoint.data.identity import identity_of  # noqa: PLC0415
    from dynapoint.models.protocol import info_of  # noqa: PLC0415

    info = info_of(model, options.model)
    told = [each.name for each in fields(options) if each.name not in _NOT_IN_WINDOWS]
    return {
        "version": dynapoint.__version__,
        # What cannot be told apart is never taken for the same.
        "identity": identity_of(scene.source) or uuid4().hex,
        "window": sizes.window,
        "overlap": sizes.overlap,
        "model": info.name,
        "weights_sha256": info.weights_sha256,
        "options": json.dumps({name: str(getattr(options, name)) for name in told}),
        "files": json.dumps([identity_of([each]) for each in options.files]),
    }
