"""The lens of an answer: square pixels in the pictures, and one lens where one camera took them.

Networks guess a lens for every frame, in pixels of pictures that were stretched to fit patches. A
film was taken through one lens with square pixels, unless somebody says otherwise.
"""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64

from dynapoint.errors import ConfigError
from dynapoint.geometry.arrays import points_in_camera
from dynapoint.inference.refining import CleanedAnswer, read_only
from dynapoint.models.kept.correction import UNKNOWN, Correction
from dynapoint.results.pixel_map import PixelMap

LensRule = Literal["shared", "per-frame"]
"""Whether all frames have one lens, or each its own."""

# Lenses that differ by less than this share are the same.
_SAME = 1e-6


def checked_rule(lens: str) -> LensRule:
    """A rule of that name.

    Raises:
        ConfigError: There is none.
    """
    for rule in get_args(LensRule):
        if rule == lens:
            return rule
    raise ConfigError(f"lens is {lens!r}; give {' or '.join(map(repr, get_args(LensRule)))}")


def square_lenses(
    map_intrinsics: Float64[np.ndarray, "frame 3 3"],
    pixel_map: PixelMap,
    *,
    shared: bool,
    focal_px: float | None = None,
) -> Float64[np.ndarray, "frame 3 3"]:
    """Lenses with one focal length along x and y in the pictures, in pixels of the maps.

    Args:
        map_intrinsics: A network's lenses, in pixels of the maps.
        pixel_map: Where pictures' pixels lie in the maps.
        shared: All frames get the median of the logarithms of their focal lengths, and of their
            principal points; only for pictures of one size.
        focal_px: The focal length of all frames, in pixels of the pictures, where other frames of
            the camera told it.
    """
    in_pictures = np.linalg.inv(pixel_map.map_from_image) @ map_intrinsics
    log_focal = np.log(in_pictures[:, [0, 1], [0, 1]]).mean(axis=1)
    centre = in_pictures[:, :2, 2]
    if shared:
        log_focal = np.full(len(log_focal), np.median(log_focal))
        centre = np.tile(np.median(centre, axis=0), (len(centre), 1))
    if focal_px is not None:
        log_focal = np.full(len(log_focal), np.log(focal_px))
    square = np.tile(np.eye(3), (len(log_focal), 1, 1))
    square[:, [0, 1], [0, 1]] = np.exp(log_focal)[:, None]
    square[:, :2, 2] = centre
    return pixel_map.map_from_image @ square


def with_square_lens(
    answer: CleanedAnswer, pixel_map: PixelMap, *, shared: bool, focal_px: float | None = None
) -> CleanedAnswer:
    """An answer whose lenses are `square_lenses`, with maps that agree with them.

    Every point projects where it did and is as deep as it was. Frames whose lens stays keep their
    points to the last bit.
    """
    lenses = square_lenses(answer.map_intrinsics, pixel_map, shared=shared, focal_px=focal_px)
    differ = _differ(answer.map_intrinsics, lenses)
    if not differ.any():
        return answer
    if not shared:
        # A shared one is the same to the last bit, for files that list cameras.
        lenses[~differ] = answer.map_intrinsics[~differ]
    points = answer.points.copy()
    for frame in np.flatnonzero(differ):
        pose = answer.world_from_camera[frame]
        with np.errstate(over="ignore", invalid="ignore"):
            inside = points_in_camera(points[frame].astype(np.float64), pose)
            other = np.linalg.inv(lenses[frame]) @ answer.map_intrinsics[frame]
            points[frame] = (inside @ other.T) @ pose[:3, :3].T + pose[:3, 3]
    correction = Correction.between(
        network_poses=answer.world_from_camera,
        network_intrinsics=answer.network_intrinsics,
        poses=answer.world_from_camera,
        intrinsics=lenses,
        depth_ratio=np.ones(answer.confidence.shape, dtype=np.float32),
        evidence=np.full(answer.confidence.shape, UNKNOWN, dtype=np.uint8),
    )
    return replace(
        answer,
        map_intrinsics=lenses,
        points=read_only(points),
        placed=replace(answer.placed, correction=correction),
    )


def _differ(
    before: Float64[np.ndarray, "frame 3 3"], after: Float64[np.ndarray, "frame 3 3"]
) -> Bool[np.ndarray, " frame"]:
    """Which frames have another lens than before."""
    scale = before[:, [0, 1], [0, 1]].min(axis=1)
    found: Bool[np.ndarray, " frame"] = np.abs(after - before).max(axis=(1, 2)) > _SAME * scale
    return found
