"""From any source to a reconstruction in windows: what `pipeline` and the commands call."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from dynapoint.data.frame_stream import open_stream
from dynapoint.data.selection import FrameSelection
from dynapoint.inference.lens import LensRule, checked_rule
from dynapoint.inference.long import STAGES
from dynapoint.inference.long.deciding import LongSource, sure_in_one_pass, windows_of_clip
from dynapoint.inference.long.long_scene import LongClip
from dynapoint.inference.long.predictor import WindowPredictor
from dynapoint.inference.long.work_folder import WorkFolder, passing_work_folder
from dynapoint.inference.prepare import Preparation
from dynapoint.inference.scale import ScaleSource, ScaleValue
from dynapoint.inference.scenes import ARRIVES
from dynapoint.models.cards import check_reconstructs, will_refine
from dynapoint.models.protocol import check_model, info_of
from dynapoint.progress import begin, shown
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.windows.spans import WindowSizes

if TYPE_CHECKING:
    from dynapoint.models.protocol import PointMapModel


def long_clip(
    source: Any,
    model: "str | PointMapModel",
    selection: FrameSelection,
    *,
    window: int | None = None,
    overlap: int | None = None,
    times_s: ArrayLike | Path | None = None,
    ignore_masks: Path | str | None = None,
) -> tuple[LongSource, WindowSizes] | None:
    """A source that is to be predicted in windows, and in which; None for one pass.

    Raises:
        ConfigError, InputError: The source cannot be used, or there are no such windows.
        ModelError: The name is unknown or retired.
    """
    told = model if isinstance(model, str) else info_of(model)
    held = isinstance(source, list | tuple) or hasattr(source, "__array__")
    if window is None and sure_in_one_pass(selection, told) and (held or _is_file(source)):
        return None
    begin("read")
    clip = LongSource(
        lambda: open_stream(source, selection, times_s=times_s, ignore_masks=ignore_masks)
    )
    sizes = windows_of_clip(clip.frame_count, told, window=window, overlap=overlap)
    if sizes is None:
        clip.close()
        return None
    return clip, sizes


def _is_file(source: Any) -> bool:
    """Whether a source is named and no pipe or camera."""
    return isinstance(source, str | os.PathLike) and not ARRIVES.fullmatch(os.fspath(source))


def will_be_refined(model: "str | PointMapModel", refine: bool | None) -> bool:
    """Whether the answer of a network, or of its name, is refined: as asked, or as its card says.

    Raises:
        ModelError: The name is unknown or retired.
    """
    if isinstance(model, str):
        return will_refine(model, refine)
    source = info_of(model).source
    return bool(refine) if source is None else will_refine(source.name, refine)


def network_of(
    model: "str | PointMapModel", device: str | None
) -> "tuple[PointMapModel, str | None]":
    """A network that was given, or that of a name, with this name.

    Raises:
        ModelError: There is no such name, it is not for clips, or it cannot be loaded.
    """
    if not isinstance(model, str):
        return model, None
    check_reconstructs(model)
    from dynapoint.models.catalog import load_model  # noqa: PLC0415 - a network may be given.

    begin("load model")
    return load_model(model, device=device), model


def predictor_of(
    model: "PointMapModel",
    model_name: str | None,
    *,
    prepare: Preparation,
    reference: int,
    intrinsics: ArrayLike | Mapping[str, Any] | Path | str | None,
    lens: LensRule,
    refine: bool | None,
) -> WindowPredictor:
    """What predicts each window, by the options of `reconstruct`.

    Raises:
        ConfigError: There is no such rule for lenses.
        ModelError: It is no network.
    """
    check_model(model)
    return WindowPredictor(
        model=model,
        info=info_of(model, model_name),
        prepare=prepare,
        reference=reference,
        intrinsics=intrinsics,
        lens=checked_rule(lens),
        refine=will_be_refined(model, refine),
    )


def reconstruct_in_windows(
    clip: LongSource,
    sizes: WindowSizes,
    model: "PointMapModel",
    *,
    model_name: str | None = None,
    prepare: Preparation = "default",
    reference: int = 0,
    intrinsics: ArrayLike | Mapping[str, Any] | Path | str | None = None,
    lens: LensRule = "shared",
    scale_from: tuple[ScaleSource, ScaleValue] | None = None,
    refine: bool | None = None,
    work: WorkFolder | None = None,
    progress: bool = False,
) -> Reconstruction:
    """Reconstruct a clip of any length with a network already loaded.

    What is not explained here is as `reconstruct` has it. All is kept meanwhile in `work`; None
    takes a folder among temporary files, which goes with the result.

    Raises:
        ConfigError, InputError, ModelError: As `reconstruct_frames`.
        OSError: Nothing can be written.
    """
    predictor = predictor_of(
        model,
        model_name,
        prepare=prepare,
        reference=reference,
        intrinsics=intrinsics,
        lens=lens,
        refine=refine,
    )
    folder = passing_work_folder() if work is None else work
    with shown(progress, plan=STAGES):
        long = LongClip(clip, predictor, sizes, folder)
        for _ in long.parts():
            pass
        rec = long.finished(scale_from=scale_from)
    return replace(rec, progress=progress)
