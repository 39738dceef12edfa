"""`reconstruct`: from any source to a reconstruction."""

import logging
from typing import TYPE_CHECKING, Any

from dynapoint.data.frames import Frames, load_frames
from dynapoint.errors import ModelError
from dynapoint.inference.predict import predict
from dynapoint.results.reconstruction import Reconstruction

_LOG = logging.getLogger("dynapoint")

if TYPE_CHECKING:
    from dynapoint.models.protocol import PointMapModel


def reconstruct(
    source: Any,
    model: "str | PointMapModel" = "nano",
    *,
    frames: int = 24,
    progress: bool = False,
) -> Reconstruction:
    """Turn a video, images or an array into a 4D reconstruction.

    Args:
        source: A video file, a folder of images, one image, a glob pattern, a list of image files,
            or an array (frame, height, width, 3), uint8 or float in [0, 1].
        model: The name of a network, or a network itself.
        frames: At most this many evenly spaced frames are used; one line of the log says so, and
            `rec.frames.note`.
        progress: Show a progress bar on standard error.

    Returns:
        Cameras, intrinsics in original pixels, and `query(frame=i, xy=xy, time=j)`.

    Raises:
        InputError: The source cannot be used.
        ModelError: The network is unknown or its weights cannot be loaded.
    """
    if not isinstance(model, str) and not hasattr(model, "encode"):
        raise ModelError(
            f"model is a {type(model).__name__}; give the name of a network, or a network such as "
            "dynapoint.load_model(weights=FILE) gives"
        )
    loaded = load_frames(source, max_frames=frames)
    if loaded.note:
        _LOG.warning("%s: %s", loaded.name, loaded.note)
    if isinstance(model, str):
        from dynapoint.models.catalog import load_model  # noqa: PLC0415 - a network may be given.

        return reconstruct_frames(loaded, load_model(model), model_name=model, progress=progress)
    return reconstruct_frames(loaded, model, progress=progress)


def reconstruct_frames(
    frames: Frames,
    model: "PointMapModel",
    *,
    model_name: str | None = None,
    progress: bool = False,
) -> Reconstruction:
    """Reconstruct frames already loaded with a network already loaded.

    Raises:
        ModelError: The network's maps do not have the size of its images.
    """
    # A network knows its versioned name, e.g. `nano-1` where `nano` was asked for.
    version = getattr(getattr(model, "config", None), "name", None)
    name = version or model_name or getattr(model, "name", None) or type(model).__name__
    if not progress:
        return predict(frames, model, model_name=name)
    from tqdm import tqdm  # noqa: PLC0415 - only needed here.

    with tqdm(total=frames.count, desc=frames.name, unit="time", leave=False) as bar:
        return predict(frames, model, model_name=name, on_time=lambda _: bar.update(1))
