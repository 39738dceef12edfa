"""Reading what tells a scene's size: depths, a trajectory, a distance."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from dynapoint.data.depths import measured_depth
from dynapoint.data.images import is_image_path, open_image
from dynapoint.errors import InputError


def read_distance(text: str) -> tuple[int, list[tuple[float, float]], float]:
    """The frame, two places in its original pixels, and the metres between what they show.

    Raises:
        InputError: It cannot be read, or is something else.
    """
    try:
        frame, x1, y1, x2, y2, metres = (float(word) for word in text.split(","))
    except ValueError as error:
        raise InputError(
            f"distance {text[:80]!r} is not frame,x1,y1,x2,y2,metres; give these six numbers"
        ) from error
    if not (0 < metres < np.inf and frame.is_integer()):
        raise InputError(
            f"distance {text!r}: give the index of a frame first and a positive number of metres "
            "last"
        )
    return int(frame), [(x1, y1), (x2, y2)], metres


def read_depth(path: Path) -> Shaped[np.ndarray, "given height width"]:
    """Depths in metres; of a .npy file they are read when they are used.

    Raises:
        InputError: It cannot be read, or is something else.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"file of depths {path} does not exist or is a folder; give a .npy file or an image"
        )
    if is_image_path(path):
        image = open_image(path)
        values = np.asarray(image).astype(np.float64)
        if values.ndim != 2 or not image.mode.startswith(("I", "F")):
            raise InputError(
                f"depth image {path} is {image.mode}; give one channel of 16 bits in millimetres "
                "or of floats in metres"
            )
        values = measured_depth(values)
        return (values if image.mode == "F" else values / 1000)[None]
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"file of depths {path} cannot be read; give a .npy file") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise InputError(f"file of depths {path} holds no array of numbers; give a .npy file")
    if values.ndim >= 3 and values.shape[-1] == 3:
        values = values[..., 2]
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or 0 in values.shape:
        raise InputError(
            f"{path} holds an array of shape {values.shape}; give depths (frame, height, width) or "
            "points (frame, height, width, 3)"
        )
    return values


def read_trajectory(path: Path) -> Float64[np.ndarray, "pose 8"]:
    """The lines of a file in TUM's format.

    Raises:
        InputError: It cannot be read, or is something else.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"trajectory {path} does not exist or is a folder; give a file of poses in TUM's format"
        )
    try:
        lines = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(
            f"trajectory {path} cannot be read; give lines of time x y z qx qy qz qw"
        ) from error
    if lines.shape[1] != 8 or not len(lines) or not np.isfinite(lines).all():
        raise InputError(
            f"trajectory {path} has {len(lines)} lines of {lines.shape[1]} numbers; give lines of "
            "time x y z qx qy qz qw, all finite"
        )
    return lines
