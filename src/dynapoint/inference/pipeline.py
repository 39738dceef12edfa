"""`reconstruct`: from any source to a reconstruction."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import ArrayLike

from dynapoint.data.between import Between, load_between
from dynapoint.data.frames import Frames, load_frames
from dynapoint.data.selection import FrameSelection, selection_of
from dynapoint.data.small_pictures import SmallPictures
from dynapoint.errors import ConfigError
from dynapoint.inference.given import check_given, check_with_frames, refuse_poses
from dynapoint.inference.known_cameras import known_cameras
from dynapoint.inference.known_poses import known_poses
from dynapoint.inference.lens import LensRule, checked_rule
from dynapoint.inference.long.in_windows import (
    long_clip,
    network_of,
    reconstruct_in_windows,
    will_be_refined,
)
from dynapoint.inference.predict import predict
from dynapoint.inference.prepare import Preparation
from dynapoint.inference.scale import GivenScale, ScaleSource, ScaleValue, make_metric, told_scale
from dynapoint.models.cards import check_asked, check_reconstructs
from dynapoint.models.layers.compute import is_small
from dynapoint.models.protocol import check_model, info_of
from dynapoint.progress import RECONSTRUCTING, begin, shown
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.threads import chosen_threads, computing

_LOG = logging.getLogger("dynapoint")

if TYPE_CHECKING:
    from dynapoint.models.protocol import PointMapModel


def reconstruct(
    source: Any,
    model: "str | PointMapModel" = "nano",
    *,
    frames: "int | Literal['all'] | FrameSelection" = 24,
    device: str | None = None,
    times_s: "ArrayLike | Path | None" = None,
    ignore_masks: "Path | str | None" = None,
    prepare: "Preparation" = "default",
    reference: int = 0,
    intrinsics: "ArrayLike | Mapping[str, Any] | Path | str | None" = None,
    poses: "ArrayLike | Path | str | None" = None,
    lens: "LensRule" = "shared",
    scale_from: "GivenScale | None" = None,
    refine: bool | None = None,
    window: int | None = None,
    overlap: int | None = None,
    progress: bool = False,
) -> "Reconstruction":
    """Turn a video, images or an array into a 4D reconstruction.

        rec = dynapoint.reconstruct("walk.mp4", frames=12)
        rec.save("walk.4d")

    Args:
        source: A video file, a folder of images, one image, a glob pattern, a list of image files,
            an array (frame, height, width, 3), or a torch tensor (frame, 3, height, width).
        model: The name of a network, or a network that `load_model` returned.
        frames: At most so many evenly spaced ones, "all", or what a `FrameSelection` names.
        device: Where the named network computes, e.g. "cuda"; None takes a GPU if there is one.
        times_s: When each image was taken, in seconds, NaN where unknown; or a text file of these.
        ignore_masks: A folder of masks; pixels are ignored where a mask is not zero.
        prepare: "default" crops and pads nothing; "published" is the public code's, of any sizes.
        reference: The frame in whose camera `vdpm` and `vggt` compute; results are in frame 0's.
        intrinsics: Known fx, fy, cx, cy, matrices, objects with distortion, or a file of them.
        poses: Known ones beside intrinsics, for `da3-small` and `da3-base` (docs/input.md).
        lens: "shared" fits one lens to all frames of one size; "per-frame" is for a zoom.
        scale_from: Makes lengths metres: ("depth", FILE), ("trajectory", FILE), ("distance",
            "frame,x1,y1,x2,y2,metres"), or "metric": by da3-metric, or ("metric", its FILE).
        refine: Refine the answer by matches between the pictures; None does so for small networks.
        window: More frames are predicted in windows of so many; None is what suits the network.
        overlap: How many frames of a window the next one sees again.
        progress: Show a progress bar on standard error.

    Returns:
        The scene; it answers questions such as `rec.query(frame=0, xy=[[320, 200]])`.

    Raises:
        ConfigError: Two arguments contradict each other, or a value is out of range.
        InputError: The source, or a file given with it, cannot be used.
        ModelError: The network is unknown, or its weights or memory do not suffice.
    """
    given: dict[str, Any] = {"times_s": times_s, "ignore_masks": ignore_masks}
    given |= {"one_size": prepare != "published", "selection": selection_of(frames)}
    options: dict[str, Any] = {"prepare": prepare, "reference": reference, "refine": refine}
    options |= {"window": window, "overlap": overlap, "poses": poses, "progress": progress}
    options |= {"lens": checked_rule(lens), "intrinsics": intrinsics}
    options |= {"scale_from": told_scale(scale_from)}
    with shown(progress, plan=RECONSTRUCTING):
        return _reconstruct(source, model, given, options, device=device)


def _reconstruct(
    source: Any,
    model: "str | PointMapModel",
    given: dict[str, Any],
    options: dict[str, Any],
    *,
    device: str | None,
) -> Reconstruction:
    """Load frames with what is given of them, and the network, and run it."""
    _check_model(model, device)
    beside = {name: options[name] for name in ("intrinsics", "poses", "scale_from")}
    check_given(times_s=given["times_s"], ignore_masks=given["ignore_masks"], **beside)
    if isinstance(model, str):
        check_asked(model, reference=options["reference"], poses=options["poses"] is not None)
    asked = {name: options.pop(name) for name in ("window", "overlap")}
    read = {name: given[name] for name in ("times_s", "ignore_masks")}
    clip = long_clip(source, model, given["selection"], **read, **asked)
    if clip is not None:
        refuse_poses(options.pop("poses"))
        network, name = network_of(model, device)
        rec = reconstruct_in_windows(*clip, network, model_name=name, **options)
        if rec.frames.note:
            _LOG.warning("%s: %s", rec.frames.name, rec.frames.note)
        return rec
    small = SmallPictures() if will_be_refined(model, options["refine"]) else None
    begin("read")
    loaded = load_frames(source, small=small, **given)
    check_with_frames(loaded, reference=options["reference"], **beside)
    if loaded.note:
        _LOG.warning("%s: %s", loaded.name, loaded.note)
    options["between"] = lambda: load_between(source, loaded, small)
    network, name = network_of(model, device)
    return reconstruct_frames(loaded, network, model_name=name, **options)


def _check_model(model: Any, device: str | None) -> None:
    """Refuse what reconstructs nothing, or a device for what is on a device already."""
    if isinstance(model, str):
        check_reconstructs(model)
        return
    check_model(model)
    if device is not None:
        raise ConfigError(
            f"device is {device!r} but a network was given; move that there, or give its name"
        )


def reconstruct_frames(
    frames: Frames,
    model: "PointMapModel",
    *,
    model_name: str | None = None,
    prepare: Preparation = "default",
    reference: int = 0,
    intrinsics: ArrayLike | Mapping[str, Any] | Path | str | None = None,
    poses: ArrayLike | Path | str | None = None,
    lens: LensRule = "shared",
    scale_from: tuple[ScaleSource, ScaleValue] | None = None,
    refine: bool | None = None,
    between: Callable[[], Between] | None = None,
    progress: bool = False,
) -> Reconstruction:
    """Reconstruct frames already loaded with a network already loaded.

    `between` gives the pictures between the frames, and is called where the answer is refined.

    Raises:
        ConfigError: The preparation does not fit the frames, or poses come without intrinsics.
        InputError: The reference is not the index of a frame used, or the cameras or the source
            of the scale cannot be used.
        ModelError: The network's maps do not have the size of its images, it leaves no choice of
            reference or takes no poses, or memory does not suffice.
    """
    check_model(model)
    check_given(intrinsics=intrinsics, poses=poses)
    known = None if intrinsics is None else known_cameras(intrinsics, frames)
    if known is not None and poses is not None:
        known = replace(known, world_from_camera=known_poses(poses, frames))
    with computing(chosen_threads(small=is_small(model))), shown(progress):
        reconstruction = predict(
            frames,
            model,
            # A network knows its versioned name, e.g. `nano-2` where `nano` was asked for.
            info=info_of(model, model_name),
            prepare=prepare,
            reference=reference,
            known=known,
            lens=lens,
            refine=will_be_refined(model, refine),
            between=between,
            progress=progress,
        )
    return reconstruction if scale_from is None else make_metric(reconstruction, *scale_from)
