"""What a scene is asked, checked before it is worked on."""

import operator
from typing import SupportsIndex

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import ArrayLike

from dynapoint.errors import InputError, ShapeError


def checked_index(index: SupportsIndex, name: str, frame_count: int) -> int:
    """A frame index as a plain int; negative ones are refused, as they are mostly mistakes.

    Args:
        index: What was given.
        name: The argument it was given as, for the message.
        frame_count: How many frames there are.

    Raises:
        InputError: It is no integer, or no index of a frame used.
    """
    if isinstance(index, bool | np.bool_):
        raise InputError(f"{name} is a bool; give the index of a frame as an integer")
    try:
        checked = operator.index(index)
    except TypeError as error:
        raise InputError(
            f"{name} is a {type(index).__name__}; give the index of a frame as an integer"
        ) from error
    if not 0 <= checked < frame_count:
        raise InputError(
            f"{name} is {checked} but the {frame_count} frames used are 0 to "
            f"{frame_count - 1}; source_frame_index names them in the source"
        )
    return checked


def checked_xy(
    xy: ArrayLike, picture_hw: Int64[np.ndarray, "hw=2"]
) -> Float64[np.ndarray, "points xy=2"]:
    """Places of an original picture, as float64.

    Args:
        xy: (n, 2) numbers, (column, row).
        picture_hw: (height, width) of the picture.

    Raises:
        InputError: A value is not finite, or none of the places lies in the picture.
        ShapeError: They are no array of numbers of shape (n, 2).
    """
    try:
        places = np.asarray(xy)
    except ValueError as error:
        raise ShapeError("xy is a ragged list; give an array of numbers of shape (n, 2)") from error
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iuf":
        raise ShapeError(
            f"xy is {places.dtype} of shape {places.shape}; give numbers of shape (n, 2), "
            "(column, row) in original pixels"
        )
    if not np.isfinite(places).all():
        raise InputError(
            f"{np.count_nonzero(~np.isfinite(places).all(axis=1))} of {len(places)} rows of xy are "
            "not finite; leave them out"
        )
    height, width = picture_hw.tolist()
    if len(places) and not ((places >= 0) & (places <= [width, height])).all(axis=1).any():
        raise InputError(
            f"none of the {len(places)} places of xy, the first of which is "
            f"({places[0, 0]:g}, {places[0, 1]:g}), lies in the picture of {width}x{height}; give "
            "(column, row) in original pixels"
        )
    return places.astype(np.float64)


def checked_mask(
    mask: Bool[np.ndarray, "height width"], map_hw: tuple[int, int]
) -> Bool[np.ndarray, "map_height map_width"]:
    """A mask of the size of the maps.

    Raises:
        ShapeError: It has another size.
    """
    marked = np.asarray(mask, dtype=bool)
    if marked.shape != tuple(map_hw):
        raise ShapeError(
            f"the mask has shape {marked.shape}; give one of {tuple(map_hw)}, the maps'"
        )
    return marked
