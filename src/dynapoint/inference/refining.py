"""Refinement of a network's answer: what `refinement.refine` is given, and what becomes of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dynapoint.data.between import Between
from dynapoint.data.frames import Frames
from dynapoint.geometry.arrays import pixel_centres, transform_points
from dynapoint.models.kept.correction import Correction
from dynapoint.models.kept.followed_paths import FollowedPaths
from dynapoint.models.kept.placed_encoding import PlacedEncoding
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.flow import FlowField
from dynapoint.refinement.following import follow
from dynapoint.refinement.outcome import Refined
from dynapoint.refinement.paths import at_places
from dynapoint.refinement.refine import refine
from dynapoint.refinement.setting import PICTURE_SIDE, Answer, grey
from dynapoint.refinement.still_world.motion import motion_of_still_world
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.undistorted import undistorted, undistorted_picture

# Features are looked for in pictures of this longer side.
_DETAILED_SIDE = 640
# Where points are seen is measured in pictures of at most this longer side.
_MEASURED_SIDE = 640


@dataclass(frozen=True, kw_only=True)
class CleanedAnswer:
    """What a network says of its frames, made safe and brought into the world of the scene.

    `network_intrinsics` are the network's own, before anything was done to them.
    """

    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    network_intrinsics: Float64[np.ndarray, "frame 3 3"]
    map_intrinsics: Float64[np.ndarray, "frame 3 3"]
    points: Float32[np.ndarray, "frame height width xyz=3"]
    confidence: Float32[np.ndarray, "frame height width"]
    placed: PlacedEncoding


# Weights fall to nothing and residuals may pass what a float holds: both are meant, also where a
# session has NumPy raise on them.
@np.errstate(all="ignore")
def refined_answer(
    answer: CleanedAnswer,
    frames: Frames,
    pixel_map: PixelMap,
    *,
    known_lens: bool,
    one_lens: bool,
    between: Callable[[], Between] | None = None,
    poses: Float64[np.ndarray, "frame 4 4"] | None = None,
    still_world: bool = False,
) -> tuple[CleanedAnswer, Findings]:
    """Make an answer agree with the pictures, as far as they tell anything, and say what they told.

    Args:
        answer: The network's.
        frames: Whose it is.
        pixel_map: Where their pixels lie in its maps.
        known_lens: Whether intrinsics were given.
        one_lens: Whether one camera took all frames.
        between: Gives the pictures between the frames, which points are followed through.
        poses: Cameras (world-from-camera) that are known to be right, and stay.
        still_world: Whether its network knows a still world only (`refinement.still_world`).
    """
    followed = None if between is None else followed_flow(between, pixel_map)
    refined = refine(
        small_pictures(frames, pixel_map),
        Answer(
            world_from_camera=answer.world_from_camera if poses is None else poses,
            intrinsics=answer.map_intrinsics,
            points=answer.points if poses is None else _seen_from(poses, answer),
            confidence=answer.confidence,
        ),
        known_lens=known_lens,
        known_poses=poses is not None,
        one_lens=one_lens,
        neighbours=None if followed is None or not followed.far else followed.neighbours,
        detailed=lambda: grey(small_pictures(frames, pixel_map, side=_DETAILED_SIDE)),
    )
    if not refined.found.poses:
        return answer, refined.found
    better = refined.answer
    correction = Correction.between(
        network_poses=answer.world_from_camera,
        network_intrinsics=answer.network_intrinsics,
        poses=better.world_from_camera,
        intrinsics=better.intrinsics,
        depth_ratio=refined.depth_ratio,
        evidence=refined.evidence,
        **_motion(refined, followed, still_world=still_world),
    )
    return (
        replace(
            answer,
            world_from_camera=better.world_from_camera,
            map_intrinsics=better.intrinsics,
            points=read_only(better.points),
            placed=replace(answer.placed, correction=correction),
        ),
        refined.found,
    )


def _motion(
    refined: Refined, followed: "FollowedFlow | None", *, still_world: bool
) -> dict[str, Any]:
    """What a correction keeps of flow between frames: paths, or a still world's motion by them."""
    if followed is None:
        return {}
    paths = kept_paths(followed.neighbours, refined.answer.confidence)
    if not still_world:
        return {"followed": paths}
    told = refined.evidence, refined.depth_ratio
    return {"still_motion": motion_of_still_world(refined.answer, *told, paths)}


def _seen_from(
    poses: Float64[np.ndarray, "frame 4 4"], answer: CleanedAnswer
) -> Float32[np.ndarray, "frame height width xyz=3"]:
    """Maps of cameras that stand elsewhere and see the same."""
    moved = poses @ np.linalg.inv(answer.world_from_camera)
    return np.stack(
        [
            transform_points(move, points.astype(np.float64)).astype(np.float32)
            for move, points in zip(moved, answer.points, strict=True)
        ]
    )


def pictures_to_measure(
    frames: Frames, pixel_map: PixelMap
) -> UInt8[np.ndarray, "frame tall wide"]:
    """What the maps show of every frame, grey, for measuring where points are seen."""
    shown = np.array(pixel_map.map_hw[::-1]) / pixel_map.scale
    side = int(min(_MEASURED_SIDE, np.ceil(shown.max())))
    return grey(small_pictures(frames, pixel_map, side=side))


@dataclass(frozen=True, kw_only=True, eq=False)
class FollowedFlow:
    """Flow from each frame to the next and back.

    Attributes:
        neighbours: It.
        far: Whether it goes by way of pictures between the frames.
    """

    neighbours: list[tuple[FlowField, FlowField]]
    far: bool


def followed_flow(between: Callable[[], Between], pixel_map: PixelMap) -> FollowedFlow | None:
    """Flow from each frame to the next and back, by way of the pictures between them, if any.

    None where frames have no order in time, or where the maps do not show whole pictures, as flow
    between those does. Pictures of a lens that distorts are undistorted first; None where frames
    have several.
    """
    lenses = set(pixel_map.lenses or ())
    if len(lenses) > 1:
        return None
    shown = pixel_map.scale * pixel_map.picture_hw[:, ::-1]
    if pixel_map.offset.any() or not np.allclose(shown, pixel_map.map_hw[::-1], atol=0.5):
        return None
    pictures = between()
    if not pictures.in_order or len(pictures.used) < 2:
        return None
    small = pictures.pictures
    for lens in lenses:
        hw, side = pixel_map.picture_hw[0], max(small.shape[1:])
        small = np.stack([undistorted(picture, lens, hw, side=side) for picture in small])
    found = follow(small, pictures.used)
    return FollowedFlow(
        neighbours=list(zip(found.forward, found.backward, strict=True)),
        far=pictures.count > len(pictures.used),
    )


def kept_paths(
    neighbours: list[tuple[FlowField, FlowField]],
    confidence: Float32[np.ndarray, "frame height width"],
) -> FollowedPaths:
    """Flow at the pixels of maps, or its own where maps are finer, for a scene to keep.

    Its weight is 0 from and to what is to be ignored.
    """
    hw = np.minimum(confidence.shape[1:], neighbours[0][0].weight.shape)
    pixels = pixel_centres((int(hw[0]), int(hw[1])))
    to_map = np.array(confidence.shape[:0:-1]) / hw[::-1]

    def usable(
        frame: int, xy: Float64[np.ndarray, "rows columns xy=2"]
    ) -> Bool[np.ndarray, "rows columns"]:
        index = np.clip((xy * to_map).astype(np.int64), 0, np.array(confidence.shape[:0:-1]) - 1)
        trusted: Bool[np.ndarray, "rows columns"] = (
            confidence[frame, index[..., 1], index[..., 0]] > 0
        )
        return trusted

    def kept(field: FlowField, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
        scale = np.array(field.weight.shape[::-1]) / hw[::-1]
        flow, weight = at_places(field, pixels.reshape(-1, 2) * scale)
        flow = (flow / scale).reshape(pixels.shape)
        weight = weight.reshape(pixels.shape[:2])
        return flow, weight * usable(source, pixels) * usable(target, pixels + flow)

    return FollowedPaths.of(
        [kept(there, k, k + 1) for k, (there, _) in enumerate(neighbours)],
        [kept(back, k + 1, k) for k, (_, back) in enumerate(neighbours)],
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
        picture = undistorted_picture(frames, frame, pixel_map, side=max(width, height))
        scale = pixel_map.scale[frame] * [width, height] / map_size
        left, top = np.round(pixel_map.offset[frame] * [width, height] / map_size).astype(int)
        size = np.maximum(np.round(scale * pixel_map.picture_hw[frame, ::-1]), 1).astype(int)
        way = cv2.INTER_AREA if (size < picture.shape[1::-1]).all() else cv2.INTER_LINEAR
        resized = cv2.resize(picture, size.tolist(), interpolation=way)
        part = resized[max(-top, 0) :, max(-left, 0) :][
            : height - max(top, 0), : width - max(left, 0)
        ]
        row, column = max(top, 0), max(left, 0)
        small[frame, row : row + part.shape[0], column : column + part.shape[1]] = part
    return small


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to, because a network's encoding may hold the same memory."""
    view = array.view()
    view.flags.writeable = False
    return view
