"""Where the optimisation starts: closed forms along a maximum spanning tree of the pairs."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from dynapoint.geometry.similarity import (
    fit_similarity_robustly,
    move,
    shared_focal,
    split_similarity,
)
from dynapoint.models.pairwise.observations import PairObservations
from dynapoint.models.pairwise.pose import scale_between, second_camera

# Transforms are fitted to at most so many pixels of each map.
_FITTED_PIXELS = 2048
# Depths start at no less than this share of their frame's median.
_SMALLEST_DEPTH = 1e-2
# What pixels weigh that no pair is sure of: enough to decide where there is nothing else.
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True, kw_only=True)
class AlignmentState:
    """Cameras, depths and transforms of pairs; the world is the camera of frame 0.

    `depth` is along each frame's own axis; `focal_px` in pixels, for both axes.
    `pair_scale[k]` and then `world_from_pair[k]`, which is rigid, take the maps of pair k to the
    world.
    """

    world_from_camera: Float[Tensor, "frame 4 4"]
    focal_px: Float[Tensor, " frame"]
    depth: Float[Tensor, "frame row column"]
    pair_scale: Float[Tensor, " pair"]
    world_from_pair: Float[Tensor, "pair 4 4"]


def spanning_tree_start(given: PairObservations, *, share_focal: bool) -> AlignmentState:
    """A first answer in closed form, such that the median depth is 1.

    Poses and scales (`pose.second_camera`, in float64) are handed on from frame 0 along the tree of
    the pairs with the largest products of mean weights; moving things do no harm, as both maps of a
    pair show their frame at its own time. Each frame's depth is its own map's. Focal lengths are
    those of `similarity.shared_focal`, and pairs are laid on the frames so placed.
    """
    chosen = _fitted_pixels(given)
    focals = focal_lengths(given, share=share_focal)
    world_from_own = _placed(given, chosen, focals)
    scale, poses = split_similarity(world_from_own)
    depth = usable_depth(given.own_points[:, 2]) * scale[:, None, None].to(given.own_points)
    unit = 1 / depth.median().double()
    world_from_pair = _laid_on_frames(given, chosen, world_from_own)
    pair_scale, rigid = split_similarity(world_from_pair)
    poses[:, :3, 3] *= unit
    rigid[:, :3, 3] *= unit
    dtype = given.points.dtype
    return AlignmentState(
        world_from_camera=poses.to(dtype),
        focal_px=focals.to(dtype),
        depth=depth * unit.to(dtype),
        pair_scale=(pair_scale * unit).to(dtype),
        world_from_pair=rigid.to(dtype),
    )


def _fitted_pixels(given: PairObservations) -> Tensor:
    """Indices of evenly spread pixels of the flattened grid."""
    pixels = given.centred_xy[0].numel()
    count = min(pixels, _FITTED_PIXELS)
    return torch.linspace(0, pixels - 1, count, device=given.points.device).round().long()


def _placed(
    given: PairObservations, chosen: Tensor, focals: Float64[Tensor, " frame"]
) -> Float64[Tensor, "frame 4 4"]:
    """Similarities that take frames' own maps to the world, handed on along the spanning tree."""
    score = given.weight.mean(dim=(2, 3)).double().prod(dim=1).tolist()
    # Of a pair and its swap the better one relates the two frames.
    pair_of: dict[tuple[int, int], int] = {}
    for k in sorted(range(len(score)), key=score.__getitem__):
        pair_of[min(given.firsts[k], given.seconds[k]), max(given.firsts[k], given.seconds[k])] = k
    rows, columns = zip(*pair_of, strict=True)
    # The tree is minimal, and no edge may have the value 0, which means that there is none.
    costs = [1 + max(score) - score[k] for k in pair_of.values()]
    shape = (given.frame_count, given.frame_count)
    tree = minimum_spanning_tree(coo_array((costs, (rows, columns)), shape=shape))
    order, parent = breadth_first_order(tree, 0, directed=False)
    placed = torch.eye(4, dtype=torch.float64, device=given.points.device)
    placed = placed.repeat(given.frame_count, 1, 1)
    for frame in order[1:].tolist():
        known = int(parent[frame])
        k = pair_of[min(known, frame), max(known, frame)]
        step = _first_own_from_second_own(given, chosen, k, float(focals[given.seconds[k]]))
        placed[frame] = placed[known] @ (
            step if given.firsts[k] == known else torch.linalg.inv(step)
        )
    return placed


def _first_own_from_second_own(
    given: PairObservations, chosen: Tensor, k: int, focal_px: float
) -> Float64[Tensor, "4 4"]:
    """The similarity that takes the own map of a pair's second frame to that of its first."""
    a, b = given.firsts[k], given.seconds[k]
    seen = given.points[k].flatten(2)[..., chosen].transpose(1, 2)
    own = given.own_points[[a, b]].flatten(2)[..., chosen].transpose(1, 2)
    weight = (
        given.weight[k]
        .flatten(1)[:, chosen]
        .minimum(given.own_weight[[a, b]].flatten(1)[:, chosen])
    )
    weight = weight + _LEAST_WEIGHT * ((seen != 0) & (own != 0)).all(dim=-1)
    pair_from_own = second_camera(
        seen[1], own[1], weight[1], given.centred_xy.flatten(1)[:, chosen].T, focal_px
    )
    # The pair's first map and the frame's own are in the same camera: only units differ.
    own_from_pair = torch.eye(4, dtype=torch.float64, device=seen.device)
    own_from_pair[:3] *= scale_between(seen[0], own[0], weight[0])
    return own_from_pair @ pair_from_own


def usable_depth(
    depth: Float[Tensor, "frame row column"],
) -> Float[Tensor, "frame row column"]:
    """Depths with what is not clearly in front of the camera brought there; 0 is no depth.

    A frame that has nothing in front of it is given the depth 1.
    """
    known = torch.where(depth > 0, depth, torch.nan)
    median = known.flatten(1).nanmedian(dim=1).values.nan_to_num(1.0)[:, None, None]
    return torch.where(depth > 0, depth.maximum(_SMALLEST_DEPTH * median), median)


def focal_lengths(given: PairObservations, *, share: bool) -> Float64[Tensor, " frame"]:
    """Focal lengths of all frames, from their own maps."""
    frames = given.frame_count
    points = given.own_points.flatten(2).transpose(1, 2)
    xy = given.centred_xy.flatten(1).T
    weight = given.own_weight.flatten(1)
    if share:
        focal = shared_focal(points.flatten(0, 1), xy.repeat(frames, 1), weight.flatten())
        focals = focal.repeat(frames)
    else:
        focals = torch.stack([shared_focal(points[k], xy, weight[k]) for k in range(frames)])
    side = float(max(given.image_hw))
    # Maps that bend away from their pixels have no focal length; this one is a plain guess.
    return torch.where(focals.isfinite() & (focals > 0), focals, side)


def _laid_on_frames(
    given: PairObservations, chosen: Tensor, world_from_own: Float64[Tensor, "frame 4 4"]
) -> Float64[Tensor, "pair 4 4"]:
    """Similarities that lay both maps of every pair on the frames as they were placed."""
    frames = torch.tensor([given.firsts, given.seconds], device=chosen.device).T
    own = given.own_points.flatten(2)[..., chosen].transpose(1, 2)
    target = move(world_from_own, own)[frames]
    source = given.points.flatten(3)[..., chosen].transpose(2, 3)
    weight = given.weight.flatten(2)[..., chosen] + _LEAST_WEIGHT * (source != 0).all(dim=-1)
    # Where a frame's own map has no point, nothing is known to lay a pair on.
    weight = weight * (own[frames] != 0).any(dim=-1)
    return fit_similarity_robustly(source.flatten(1, 2), target.flatten(1, 2), weight.flatten(1))
