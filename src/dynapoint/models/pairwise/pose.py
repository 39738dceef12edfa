"""Where the second camera of a pair stands, from what the two calls say of its frame."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from dynapoint.geometry.pinhole import project
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.geometry.similarity import (
    fit_similarity_robustly,
    split_similarity,
    weighted_median,
)
from dynapoint.models.nano.ego_motion import MIN_DEPTH, solve_ego_motion

_ITERATIONS = 20


def second_camera(
    seen: Float[Tensor, "point xyz=3"],
    own: Float[Tensor, "point xyz=3"],
    weight: Float[Tensor, " point"],
    centred_xy: Float[Tensor, "point xy=2"],
    focal_px: float,
) -> Float64[Tensor, "4 4"]:
    """The similarity from a frame's own map to a pair's map of it, as its second frame.

    Its rigid part is the frame's camera in that of the pair's first frame. Both maps show the same
    pixels at the same time, so that moving things do no harm. Robust Procrustes between the two
    starts, from any pose. Then perspective-n-point on `seen` alone, whose points must fall on their
    pixels, makes the pose independent of errors along the rays, which both maps are full of:
    smooth errors of 5 % in depth cost Procrustes half a degree and it a tenth. Procrustes' answer
    stays where that does not bring points nearer to their pixels.

    Args:
        seen: P_b(t_b) in the camera of a, of a pair (a, b).
        own: P_b(t_b) in the camera of b, of any pair (b, …).
        weight: Of the pixels.
        centred_xy: The pixels' centres less the principal point.
        focal_px: The focal length of frame b.
    """
    start = fit_similarity_robustly(own[None], seen[None], weight[None])
    _, rigid = split_similarity(start)
    depth = weighted_median(invert_transform(rigid, seen)[..., 2].abs(), weight[None])
    if not (depth.isfinite() & (depth > 0)):
        return start[0]
    # The solver's steps and smallest depth are in units of the scene's depth.
    points, xy, prior = (
        seen.double()[None] / depth,
        centred_xy.double()[None],
        weight[None].double(),
    )
    initial = invert_rigid(rigid)
    initial[:, :3, 3] /= depth
    lens = torch.diag(xy.new_tensor([focal_px, focal_px, 1.0]))[None]
    solved = solve_ego_motion(
        points_world=points, target_xy=xy, weight=prior, intrinsics=lens, initial=initial,
        iterations=_ITERATIONS,
    ).camera_from_world  # fmt: skip
    before, after = (
        weighted_median((shown - xy).norm(dim=-1), prior)
        for shown in (
            project(transform_points(pose, points), lens, least_depth=MIN_DEPTH)
            for pose in (initial, solved)
        )
    )
    if not after < before:
        return start[0]
    solved[:, :3, 3] *= depth
    rigid = invert_rigid(solved)[0]
    in_camera = transform_points(solved, seen.double()[None])[0]
    matrix = rigid.clone()
    matrix[:3, :3] *= scale_between(own, in_camera, weight)
    return matrix


def invert_transform(
    rigid: Float64[Tensor, "pair 4 4"], points: Float[Tensor, "point xyz=3"]
) -> Float64[Tensor, "pair point xyz=3"]:
    """Points in the coordinates that rigid transforms start from."""
    return transform_points(invert_rigid(rigid), points.double()[None])


def scale_between(
    source: Float[Tensor, "point xyz=3"],
    target: Float[Tensor, "point xyz=3"],
    weight: Float[Tensor, " point"],
) -> Float64[Tensor, ""]:
    """By how much the depths of one map are larger than another's in the same camera (median).

    1 where that is no positive number.
    """
    known = (source[:, 2] > 0) & (target[:, 2] > 0)
    ratio = target[known, 2].double() / source[known, 2].double()
    if not len(ratio):
        return torch.ones((), dtype=torch.float64, device=source.device)
    return weighted_median(ratio, weight[known])
