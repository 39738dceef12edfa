"""Maps finer than the network's, which show what its own show."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from dynapoint.data.between import Between
from dynapoint.data.frames import Frames
from dynapoint.inference.prepare import ignored_pixels
from dynapoint.inference.refining import (
    CleanedAnswer,
    read_only,
    refined_answer,
    small_pictures,
)
from dynapoint.progress import begin
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.finer import finer_maps
from dynapoint.refinement.setting import Answer
from dynapoint.results.pixel_map import PixelMap

FINE_SIDE = 224
"""The longer side of maps is made this, unless pictures have less or the network gives more."""


def finer_answer(
    answer: CleanedAnswer, frames: Frames, pixel_map: PixelMap
) -> tuple[CleanedAnswer, PixelMap]:
    """Maps of `FINE_SIDE` with depth edges on edges of the pictures; finer ones are left alone.

    Args:
        answer: The network's, refined or not.
        frames: Whose it is.
        pixel_map: Where their pixels lie in its maps.

    Returns:
        The answer with finer maps, and where the frames' pixels lie in these.
    """
    shown = np.array(pixel_map.map_hw[::-1]) / pixel_map.scale
    side = min(FINE_SIDE, int(np.round(shown.max())))
    if side <= max(pixel_map.map_hw):
        return answer, pixel_map
    pictures = small_pictures(frames, pixel_map, side=side)
    height, width = pictures.shape[1:3]
    if (height, width) <= pixel_map.map_hw or min(height, width) < min(pixel_map.map_hw):
        return answer, pixel_map
    correction = answer.placed.correction
    fine, finer = finer_maps(
        pictures,
        Answer(
            world_from_camera=answer.world_from_camera,
            intrinsics=answer.map_intrinsics,
            points=answer.points,
            confidence=answer.confidence,
        ),
        None if correction is None else correction.evidence.cpu().numpy(),
    )
    growth = np.array([width, height]) / pixel_map.map_hw[::-1]
    fine_map = replace(
        pixel_map,
        scale=pixel_map.scale * growth,
        offset=pixel_map.offset * growth,
        map_hw=(height, width),
    )
    ignored = ignored_pixels(frames, fine_map)
    for frame in range(frames.count):
        ignored[frame] |= ~fine_map.shown_pixels(frame)
    return (
        replace(
            answer,
            map_intrinsics=fine.intrinsics,
            points=read_only(fine.points),
            confidence=read_only(np.where(ignored, np.float32(0), fine.confidence)),
            placed=replace(answer.placed, finer=finer),
        ),
        fine_map,
    )


def agreeing_answer(
    answer: CleanedAnswer,
    frames: Frames,
    pixel_map: PixelMap,
    *,
    between: Callable[[], Between] | None,
    poses: Float64[np.ndarray, "frame 4 4"] | None,
    still_world: bool = False,
    **lenses: bool,
) -> tuple[CleanedAnswer, PixelMap, Findings]:
    """An answer that agrees with its pictures, with finer maps, and what refinement found.

    Args:
        answer: The network's.
        frames: Whose it is.
        pixel_map: Where their pixels lie in its maps.
        between: Gives the pictures between the frames.
        poses: Of the cameras, where they are known.
        still_world: Whether the network knows a still world only.
        lenses: `known_lens` and `one_lens` of `refining.refined_answer`.
    """
    begin("refine")
    answer, found = refined_answer(
        answer, frames, pixel_map, **lenses, between=between, poses=poses, still_world=still_world
    )
    return (*finer_answer(answer, frames, pixel_map), found)
