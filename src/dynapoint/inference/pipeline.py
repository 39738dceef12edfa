"""`reconstruct`: from any source to a reconstruction."""

import logging
from typing import TYPE_CHECKING, Any

from dynapoint.data.frames import Frames, load_frames
from dynapoint.data.selection import FrameSelection
from dynapoint.errors import ModelError
from dynapoint.inference.predict import predict
from dynapoint.inference.prepare import Preparation
from dynapoint.results.reconstruction import Reconstruction

_LOG = logging.getLogger("dynapoint")

if TYPE_CHECKING:
    from dynapoint.models.protocol import PointMapModel


def reconstruct(
    source: Any,
    model: "str | PointMapModel" = "nano",
    *,
    frames: int = 24,
    prepare: Preparation = "default",
    reference: int = 0,
    progress: bool = False,
) -> Reconstruction:
    """Turn a video, images or an array into a 4D reconstruction.

    Args:
        source: A video file, a folder of images, one image, a glob pattern, a list of image files,
            or an array (frame, height, width, 3), uint8 or float in [0, 1].
        model: The name of a network, or a network itself.
        frames: At most this many evenly spaced frames are used; one line of the log says so, and
            `rec.frames.note`.
        prepare: "default" neither crops nor pads; "published" is what the public code of V-DPM
            and VGGT does, and takes images of different sizes.
        reference: The frame (of those used) in whose camera the network works, for `vdpm` and
            `vggt`. Results are in the camera of frame 0 all the same.
        progress: Show a bar on standard error while pairs of frames are aligned (`dpm`) and while
            the tracks of a frame are worked out.

    Returns:
        Cameras, intrinsics in original pixels, and `query(frame=i, xy=xy, time=j)`.

    Raises:
        ConfigError: The preparation is unknown.
        InputError: The source cannot be used, or the reference is no index of a frame used.
        ModelError: The network is unknown or its weights cannot be loaded, it leaves no choice of
            reference, or memory does not suffice.
    """
    if not isinstance(model, str) and not hasattr(model, "encode"):
        raise ModelError(
            f"model is a {type(model).__name__}; give the name of a network, or a network such as "
            "dynapoint.load_model(weights=FILE) gives"
        )
    loaded = load_frames(source, FrameSelection(max_frames=frames), one_size=prepare != "published")
    if loaded.note:
        _LOG.warning("%s: %s", loaded.name, loaded.note)
    options: dict[str, Any] = {
        "prepare": prepare,
        "reference": reference,
        "progress": progress,
    }
    if isinstance(model, str):
        from dynapoint.models.catalog import load_model  # noqa: PLC0415 - a network may be given.

        return reconstruct_frames(loaded, load_model(model), model_name=model, **options)
    return reconstruct_frames(loaded, model, **options)


def reconstruct_frames(
    frames: Frames,
    model: "PointMapModel",
    *,
    model_name: str | None = None,
    prepare: Preparation = "default",
    reference: int = 0,
    progress: bool = False,
) -> Reconstruction:
    """Reconstruct frames already loaded with a network already loaded.

    Raises:
        ConfigError: The preparation does not fit the frames.
        InputError: The reference is no index of a frame used.
        ModelError: The network's maps do not have the size of its images, it leaves no choice of
            reference, or memory does not suffice.
    """
    # A network knows its versioned name, e.g. `nano-1` where `nano` was asked for.
    version = getattr(getattr(model, "config", None), "name", None)
    name = version or model_name or getattr(model, "name", None) or type(model).__name__
    return predict(
        frames,
        model,
        model_name=name,
        prepare=prepare,
        reference=reference,
        progress=progress,
    )
