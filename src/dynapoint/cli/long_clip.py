"""`dynapoint reconstruct` of clips longer than the network sees at once."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from dynapoint.cli.common import print_error
from dynapoint.cli.report import Report
from dynapoint.errors import DynapointError
from dynapoint.progress import begin
from dynapoint.threads import chosen_threads, settle
from dynapoint.windows.spans import WindowSizes

if TYPE_CHECKING:
    from dynapoint.data.frames import Frames
    from dynapoint.data.selection import FrameSelection
    from dynapoint.inference.long.deciding import LongSource
    from dynapoint.inference.long.work_folder import Facts
    from dynapoint.inference.scenes import ScenePlan
    from dynapoint.models.protocol import PointMapModel


_DEPENDS_ON = (
    *("frames", "fps", "stride", "start", "end", "times", "ignore_masks", "intrinsics", "lens"),
    *("refine", "no_refine", "prepare", "reference", "precision", "decoder_weights"),
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What of `dynapoint reconstruct`'s options a clip in windows heeds.

    Attributes:
        told: All options that what windows say depends on, as text.
    """

    model: str
    window: int | None
    overlap: int | None
    times: Path | None
    ignore_masks: Path | None
    prepare: Literal["default", "published"]
    reference: int
    intrinsics: str | None
    lens: Literal["shared", "per-frame"]
    scale_from: tuple[Literal["depth", "trajectory", "distance", "metric"], str] | None
    lean: bool
    overwrite: bool
    told: str

    @property
    def files(self) -> list[Path]:
        """What was given beside the clip and may be a file."""
        given = (self.times, self.ignore_masks, self.intrinsics)
        return [Path(each) for each in given if each is not None]

    @classmethod
    def of(cls, command: Any) -> "Asked":
        """Those of a command."""
        names = [each.name for each in fields(cls) if each.name != "told"]
        told = json.dumps({name: str(getattr(command, name)) for name in _DEPENDS_ON})
        return cls(**{name: getattr(command, name) for name in names}, told=told)


def clip_in_windows(
    command: Asked, scene: "ScenePlan", selection: "FrameSelection"
) -> "tuple[LongSource, WindowSizes] | None":
    """A scene's source and windows; None where one pass sees all of its frames.

    Raises:
        ConfigError, InputError: The source cannot be used, or there are no such windows.
    """
    from dynapoint.inference.long.deciding import sure_in_one_pass  # noqa: PLC0415
    from dynapoint.models.cards import find_card  # noqa: PLC0415

    # Before anything is loaded that takes a while.
    one_pass = command.window is None and sure_in_one_pass(selection, find_card(command.model).name)
    if one_pass and not scene.arrives:
        return None
    from dynapoint.inference.long.in_windows import long_clip  # noqa: PLC0415

    return long_clip(
        scene.given,
        command.model,
        selection,
        window=command.window,
        overlap=command.overlap,
        times_s=command.times,
        ignore_masks=command.ignore_masks,
    )


def write_long_scene(
    command: Asked,
    scene: "ScenePlan",
    clip: "tuple[LongSource, WindowSizes]",
    load_model: "Callable[[], PointMapModel]",
    report: Report,
    *,
    refine: bool | None,
) -> "Frames":
    """Reconstruct a clip in windows and write it; returns its frames.

    What is finished stays beside the output until the scene is whole.

    Raises:
        DynapointError: As for scenes of one pass.
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
    facts = _facts(command, scene, sizes, model)
    with _said_where_interrupted(scene.label), kept_work_folder(scene.output, facts) as work:
        if work.deleted:
            report.note(
                scene,
                f"an unfinished run with other options or of another clip, {work.deleted} windows "
                "of it, was deleted",
            )
        if work.resumed:
            report.note(scene, f"going on after window {work.resumed}, which is finished")
        rec = reconstruct_in_windows(
            source,
            sizes,
            model,
            model_name=command.model,
            prepare=command.prepare,
            reference=command.reference,
            intrinsics=command.intrinsics,
            lens=command.lens,
            scale_from=command.scale_from,
            refine=refine,
            work=work,
        )
        if rec.frames.note:
            report.note(scene, rec.frames.note)
        with whole_folder(scene.output, overwrite=command.overwrite) as folder:
            write_all(rec, folder, lean=command.lean)
    return rec.frames


@contextmanager
def _said_where_interrupted(label: str) -> Iterator[None]:
    """A block of which it is said, if it is interrupted, that it can be gone on with."""
    try:
        yield
    except KeyboardInterrupt:
        words = "what is finished is kept, and the same command goes on from there"
        print_error(DynapointError(f"{label}: interrupted; {words}"))
        raise


def _facts(
    command: Asked, scene: "ScenePlan", sizes: WindowSizes, model: "PointMapModel"
) -> "Facts":
    """All that what windows say depends on."""
    import dynapoint  # noqa: PLC0415
    from dynapoint.data.identity import identity_of  # noqa: PLC0415
    from dynapoint.models.protocol import info_of  # noqa: PLC0415

    info = info_of(model, command.model)
    return {
        "version": dynapoint.__version__,
        # What cannot be told apart is never taken for the same.
        "identity": identity_of(scene.source) or uuid4().hex,
        "window": sizes.window,
        "overlap": sizes.overlap,
        "model": info.name,
        "weights_sha256": info.weights_sha256,
        "options": command.told,
        "files": json.dumps([identity_of([each]) for each in command.files]),
    }
