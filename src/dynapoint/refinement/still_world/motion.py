"""Motion of a clip whose network knows a still world only, from paths and all frames' maps."""

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from dynapoint.models.kept.correction import STILL
from dynapoint.models.kept.followed_paths import FollowedPaths
from dynapoint.models.kept.still_motion import StillWorldMotion
from dynapoint.progress import steps
from dynapoint.refinement.setting import Answer
from dynapoint.refinement.still_world.carrying import carried
from dynapoint.refinement.still_world.checking import check
from dynapoint.refinement.still_world.guessing import guess
from dynapoint.refinement.still_world.handing import FrameMotion, hand_over
from dynapoint.refinement.still_world.movers import moving_things
from dynapoint.refinement.still_world.sightings import Maps, Sightings, look, on_grid, sightings

GRID_SIDE = 128
"""The longer side of the grid at most."""

# Errors of depth are looked at in patches of so many of the grid's longer side, the size of things.
_PATCHES = 10
# Where depths err by more from frame to frame (logarithm) nothing is said to move: at .1, by what
# was measured, eight frames apart as much is lost on some clips as is gained on others.
_TOO_NOISY = 0.12
# A path of what stands still is sure from this weight on.
_SURE = 0.5


def motion_of_still_world(
    answer: Answer,
    evidence: UInt8[np.ndarray, "frame height width"],
    depth_ratio: Float32[np.ndarray, "frame height width"],
    followed: FollowedPaths,
) -> StillWorldMotion:
    """Where what moves is at all times.

    Args:
        answer: The rigid scene that refinement made of a network's answer.
        evidence: What matches tell of its pixels (`models.kept.correction`).
        depth_ratio: By how much they became deeper.
        followed: Flow between neighbouring frames.
    """
    maps = Maps(
        points=answer.points,
        usable=(answer.confidence > 0).astype(np.float32),
        camera_from_world=np.linalg.inv(answer.world_from_camera),
        intrinsics=answer.intrinsics,
        followed=followed,
        step=max(1, -(-max(answer.map_hw) // GRID_SIDE)),
    )
    return still_world_motion(maps, evidence, depth_ratio)


def still_world_motion(
    maps: Maps,
    evidence: UInt8[np.ndarray, "frame height width"],
    depth_ratio: Float32[np.ndarray, "frame height width"],
) -> StillWorldMotion:
    """Where the pixels of all frames that move are at all times.

    Args:
        maps: The rigid scene that refinement made of the network's answer, and its paths.
        evidence: What refinement found of the maps' pixels (`models.kept.correction`).
        depth_ratio: By how much refinement made them deeper.
    """
    log_depths = np.stack(
        [np.log(np.maximum(maps.depth(frame), 1e-9)) for frame in range(maps.frames)]
    ).astype(np.float32)
    scatter = depth_scatter(maps, log_depths, evidence, depth_ratio)
    centres = np.linalg.inv(maps.camera_from_world)[:, :3, 3]
    frames = []
    for frame in steps(range(maps.frames), "motion", total=maps.frames):
        seen = sightings(maps, log_depths, frame)
        on_grid = maps.grid
        thing = moving_things(seen, evidence[frame][on_grid], log_depths[frame][on_grid], frame)
        if scatter > _TOO_NOISY:
            thing = np.zeros_like(thing)
        frames.append(_of_frame(seen, centres, thing, frame, scatter))
    hand_over(maps, frames)
    frames = [
        check(maps, log_depths, motion, frame, scatter=scatter)
        for frame, motion in enumerate(frames)
    ]
    for frame, motion in enumerate(frames):
        guess(motion, frame)
    counts = [len(motion.points) for motion in frames]
    return StillWorldMotion(
        step=maps.step,
        first=torch.from_numpy(np.cumsum([0, *counts])),
        pixel=torch.from_numpy(
            np.concatenate([np.flatnonzero(each.thing) for each in frames]).astype(np.int32)
        ),
        displacement=torch.from_numpy(np.concatenate([each.displacement for each in frames], 1)),
        known=torch.from_numpy(np.concatenate([each.known for each in frames], axis=1)),
    )


def _of_frame(
    seen: Sightings,
    centres: Float64[np.ndarray, "frame xyz=3"],
    thing: Int32[np.ndarray, "rows columns"],
    frame: int,
    scatter: float,
) -> FrameMotion:
    """All things of one frame, each moved on its own."""
    flat = thing.reshape(-1)
    place = np.flatnonzero(flat)
    displacement = np.zeros((len(centres), len(place), 3), dtype=np.float32)
    known = np.zeros((len(centres), len(place)), dtype=np.uint8)
    for name in range(1, int(flat.max(initial=0)) + 1):
        found = carried(seen, centres, thing == name, frame, scatter=scatter)
        displacement[:, flat[place] == name] = found.displacement
        known[:, flat[place] == name] = found.known
    return FrameMotion(
        thing=thing, points=seen.points[place], displacement=displacement, known=known
    )


def depth_scatter(
    maps: Maps,
    log_depths: Float32[np.ndarray, "frame height width"],
    evidence: UInt8[np.ndarray, "frame height width"],
    depth_ratio: Float32[np.ndarray, "frame height width"],
) -> float:
    """What the logarithm of a thing's depth errs by in one frame, by what stands still.

    Of patches as large as things: how far depths of the same still points in neighbouring frames
    differ, and how much refinement had to change them, which for what moves it cannot.
    """
    differences, changes = [], []
    rows, columns = maps.grid
    for frame in range(maps.frames - 1):
        own, xy, usable = on_grid(maps, frame)
        still = evidence[frame][rows, columns].reshape(-1) == STILL
        weight = usable * still
        places, weights = maps.followed.onward(frame, xy, weight, maps.map_hw, reach=1)
        seen = look(maps, log_depths[frame + 1], own, places[frame + 1], frame + 1)
        sure = seen.ratio_known & (weights[frame + 1] > _SURE)
        differences.append(_of_patches(seen.ratio, sure, maps.grid_hw))
        ratio = depth_ratio[frame][rows, columns].reshape(-1).astype(np.float64)
        changes.append(
            _of_patches(np.log(np.maximum(ratio, 1e-9)), still & (usable > 0), maps.grid_hw)
        )
    # A difference is of two frames.
    spreads = [_spread(np.concatenate(differences)) / np.sqrt(2), _spread(np.concatenate(changes))]
    return float(np.hypot(*spreads))


def _of_patches(
    values: Float64[np.ndarray, " pixel"], known: Bool[np.ndarray, " pixel"], hw: tuple[int, int]
) -> Float64[np.ndarray, " patch"]:
    """Medians of the patches that are known by half at least."""
    side = max(2, max(hw) // _PATCHES)
    found = []
    values, known = values.reshape(hw), known.reshape(hw)
    for row in range(0, hw[0] - side + 1, side):
        for column in range(0, hw[1] - side + 1, side):
            part = np.s_[row : row + side, column : column + side]
            if known[part].mean() >= 0.5:
                found.append(np.median(values[part][known[part]]))
    return np.array(found, dtype=np.float64)


def _spread(values: Float64[np.ndarray, " value"]) -> float:
    """The standard deviation about 0 of normal values, by their median size."""
    return 1.4826 * float(np.median(np.abs(values))) if len(values) else 0.0
