"""Which pixels of a frame move, by their paths through the whole video, and which move as one."""

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from dynapoint.models.kept.correction import MOVING, STILL
from dynapoint.refinement.still_world.sightings import Sightings

# A path that can be relied on ends so far from where a still point would be seen, or nearer, at so
# many times at least (or at all of those at which it is known, if they are fewer).
_SURE = 0.5
_FAR_PX, _NEAR_PX = 4.0, 2.0
_FEWEST_TIMES = 3
# Pixels and those around them decide together.
_AROUND_PX = 5
_MOST = 0.5
# Neighbours on one surface differ by less than this share in depth, and in their offsets by less
# than this share and so many pixels.
_SURFACE_STEP = 0.05
# Fewer pixels are no thing.
_LEAST_SHARE = 0.0006
# Parts of fewer pixels are faces of a larger one beside them, if depths differ by less than this.
_SLIVER, _BESIDE = 40, 0.3
# What nothing is known of joins what moves if so much of what is known around it does.
_JOINED = 0.6
_JOINING = 8


def moving_things(
    seen: Sightings,
    evidence: UInt8[np.ndarray, "rows columns"],
    log_depth: Float32[np.ndarray, "rows columns"],
    frame: int,
) -> Int32[np.ndarray, "rows columns"]:
    """The pixels that move, by thing: 0 for all others, else 1 to their number.

    Args:
        seen: The frame's pixels at all times.
        evidence: What refinement found of them.
        log_depth: The logarithm of their depth.
        frame: Whose pixels.
    """
    import cv2  # noqa: PLC0415 - slow to import.

    hw = evidence.shape
    others = np.arange(len(seen.weight)) != frame
    sure = (seen.weight > _SURE)[others]
    far = (sure & (seen.off_px[others] > _FAR_PX)).sum(axis=0).reshape(hw)
    near = (sure & (seen.off_px[others] < _NEAR_PX)).sum(axis=0).reshape(hw)
    enough = np.minimum(_FEWEST_TIMES, np.maximum(sure.sum(axis=0), 1)).reshape(hw)
    moves = (far >= enough) & (far > near)
    moves |= evidence == MOVING
    stays = ~moves & ((evidence == STILL) | (near > 0))
    around = (_AROUND_PX, _AROUND_PX)
    votes, against = (
        cv2.blur(each.astype(np.float32), around, borderType=cv2.BORDER_REPLICATE)
        for each in (moves, stays)
    )
    moves &= votes > _MOST * (votes + against)
    moves = _joined_by_unknown(moves, stays, log_depth)
    return _things(moves, log_depth)


def _joined_by_unknown(
    moves: Bool[np.ndarray, "rows columns"],
    stays: Bool[np.ndarray, "rows columns"],
    log_depth: Float32[np.ndarray, "rows columns"],
) -> Bool[np.ndarray, "rows columns"]:
    """With pixels of which nothing is known, on the surface of what moves, and mostly beside it."""
    import cv2  # noqa: PLC0415 - slow to import.

    for _ in range(_JOINING):
        unknown = ~moves & ~stays
        moving = moves.astype(np.float32)
        share = cv2.blur(moving, (3, 3), borderType=cv2.BORDER_REPLICATE)
        still = cv2.blur(stays.astype(np.float32), (3, 3), borderType=cv2.BORDER_REPLICATE)
        depth = cv2.blur(np.where(moves, log_depth, 0), (3, 3), borderType=cv2.BORDER_REPLICATE)
        same = np.abs(depth / np.maximum(share, 1e-6) - log_depth) < _SURFACE_STEP
        joining = unknown & same & (share > 0.2) & (share > _JOINED * (share + still))
        if not joining.any():
            break
        moves = moves | joining
    return moves


def _things(
    moves: Bool[np.ndarray, "rows columns"], log_depth: Float32[np.ndarray, "rows columns"]
) -> Int32[np.ndarray, "rows columns"]:
    """Parts that are one surface, large ones only."""
    from scipy.sparse import coo_array  # noqa: PLC0415 - slow to import.
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    number = np.arange(moves.size).reshape(moves.shape)
    links = []
    for first, second in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
    ):
        one = moves[first] & moves[second]
        one &= np.abs(log_depth[first] - log_depth[second]) < _SURFACE_STEP
        links.append((number[first][one], number[second][one]))
    start, end = (np.concatenate(each) for each in zip(*links, strict=True))
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(moves.size, moves.size))
    part = connected_components(graph, directed=False)[1]
    part = np.where(moves.reshape(-1), part, -1)
    part = _with_slivers(part.reshape(moves.shape), log_depth).reshape(-1)
    names, index, count = np.unique(part, return_inverse=True, return_counts=True)
    kept = (names >= 0) & (count >= max(12, _LEAST_SHARE * moves.size))
    new = np.where(kept, np.cumsum(kept), 0)
    return new[index].reshape(moves.shape).astype(np.int32)


def _with_slivers(
    part: Int32[np.ndarray, "rows columns"], log_depth: Float32[np.ndarray, "rows columns"]
) -> Int32[np.ndarray, "rows columns"]:
    """Small parts as ones of the larger part that they are beside most, such as grazing faces."""
    import cv2  # noqa: PLC0415 - slow to import.

    names, counts = np.unique(part[part >= 0], return_counts=True)
    large = names[counts >= _SLIVER]
    whole = np.where(np.isin(part, large), part, -1)
    joined = part.copy()
    for name in names[counts < _SLIVER]:
        inside = part == name
        ring = cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        near = np.abs(log_depth - np.median(log_depth[inside])) < _BESIDE
        beside = whole[ring & near & (whole >= 0)]
        if len(beside):
            joined[inside] = np.bincount(beside).argmax()
    return joined
