"""Refinement of a network's answer: what `refinement.refine` is given, and what becomes of it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from dynapoint.data.frames import Frames
from dynapoint.models.correction import Correction
from dynapoint.models.placed_encoding import PlacedEncoding
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.refine import refine
from dynapoint.refinement.setting import PICTURE_SIDE, Answer
from dynapoint.results.pixel_map import PixelMap

# Features are looked for in pictures of this longer side.
_DETAILED_SIDE = 640


@dataclass(frozen=True, kw_only=True)
class CleanedAnswer:
    """What a network says of its frames, made safe and brought into the world of the scene."""

    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    map_intrinsics: Float64[np.ndarray, "frame 3 3"]
    points: Float32[np.ndarray, "frame height width xyz=3"]
    confidence: Float32[np.ndarray, "frame height width"]
    placed: PlacedEncoding


def refined_answer(
    answer: CleanedAnswer,
    frames: Frames,
    pixel_map: PixelMap,
    known_lens: bool,
    *,
    progress: bool = False,
) -> tuple[CleanedAnswer, Findings]:
    """Make an answer agree with the pictures, as far as they tell anything, and say what they told.

    Args:
        answer: The network's.
        frames: Whose it is.
        pixel_map: Where their pixels lie in its maps.
        known_lens: Whether intrinsics were given.
        progress: Show a bar on standard error.
    """
    refined = refine(
        small_pictures(frames, pixel_map),
        Answer(
            world_from_camera=answer.world_from_camera,
            intrinsics=answer.map_intrinsics,
            points=answer.points,
            confidence=answer.confidence,
        ),
        known_lens=known_lens,
        one_lens=frames.sizes_hw is None,
        detailed=lambda: _grey(small_pictures(frames, pixel_map, side=_DETAILED_SIDE)),
        progress=progress,
    )
    if not refined.found.poses:
        return answer, refined.found
    better = refined.answer
    correction = Correction.between(
        network_poses=answer.world_from_camera,
        network_intrinsics=answer.map_intrinsics,
        poses=better.world_from_camera,
        intrinsics=better.intrinsics,
        depth_ratio=refined.depth_ratio,
        evidence=refined.evidence,
    )
    return (
        CleanedAnswer(
            world_from_camera=better.world_from_camera,
            map_intrinsics=better.intrinsics,
            points=read_only(better.points),
            confidence=answer.confidence,
            placed=replace(answer.placed, correction=correction),
        ),
        refined.found,
    )


def small_pictures(
    frames: Frames, pixel_map: PixelMap, *, side: int = PICTURE_SIDE
) -> UInt8[np.ndarray, "frame height width rgb=3"]:
    """What the maps show of every frame, the longer side of `side`, pixels as good as square.

    Where maps show nothing the pictures are white.
    """
    import cv2  # noqa: PLC0415 - slow to import.

    map_size = np.array(pixel_map.map_hw[::-1])
    shown = map_size / pixel_map.scale[0]
    width, height = np.maximum(np.round(shown * (side / shown.max())), 1).astype(int).tolist()
    small = np.full((frames.count, height, width, 3), 255, dtype=np.uint8)
    for frame in range(frames.count):
        picture = frames.picture(frame)
        scale = pixel_map.scale[frame] * [width, height] / map_size
        left, top = np.round(pixel_map.offset[frame] * [width, height] / map_size).astype(int)
        size = np.maximum(np.round(scale * picture.shape[1::-1]), 1).astype(int)
        way = cv2.INTER_AREA if (scale < 1).all() else cv2.INTER_LINEAR
        resized = cv2.resize(picture, size.tolist(), interpolation=way)
        part = resized[max(-top, 0) :, max(-left, 0) :][
            : height - max(top, 0), : width - max(left, 0)
        ]
        row, column = max(top, 0), max(left, 0)
        small[frame, row : row + part.shape[0], column : column + part.shape[1]] = part
    return small


def _grey(
    colors: UInt8[np.ndarray, "frame height width rgb=3"],
) -> UInt8[np.ndarray, "frame height width"]:
    import cv2  # noqa: PLC0415 - slow to import.

    return np.stack([cv2.cvtColor(color, cv2.COLOR_RGB2GRAY) for color in colors])


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to, because a network's encoding may hold the same memory."""
    view = array.view()
    view.flags.writeable = False
    return view
