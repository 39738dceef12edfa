"""The camera motion that explains matches of points that mostly stand still, solved robustly.

Gauss-Newton on the reprojection error (`geometry.pose_from_points`) with iteratively re-weighted
least squares, batched and without gradients. It serves as a hint to the network: what it does not
explain has moved.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.geometry.pinhole import project
from dynapoint.geometry.pose_from_points import cauchy_weight, moved_by, pose_equations
from dynapoint.geometry.rigid import transform_points
from dynapoint.models.layers.precision import at_least_float32

MIN_DEPTH = 1e-3
SUBSET = 4
"""Matches per hypothesis: one more than the three that fix a pose, which tames noise."""
HYPOTHESIS_ITERATIONS = 4
SCALE_QUANTILE = 0.35
"""Of the residuals of the better half of matches; a median is carried away by half being wrong."""
TOLERANCE_PX = 4.0
"""Hypotheses are compared by squared residuals cut off at this many pixels."""


@dataclass(frozen=True, kw_only=True)
class EgoMotion:
    """`camera_from_world` of the target frame and how well it explains the matches.

    `residual_px` is the robust scale of the residuals in pixels, `inliers` the weighted share of
    matches within three of it.
    """

    camera_from_world: Float[Tensor, "pair 4 4"]
    residual_px: Float[Tensor, " pair"]
    inliers: Float[Tensor, " pair"]


def solve_ego_motion(
    *,
    points_world: Float[Tensor, "pair point 3"],
    target_xy: Float[Tensor, "pair point xy=2"],
    weight: Float[Tensor, "pair point"],
    intrinsics: Float[Tensor, "pair 3 3"],
    initial: Float[Tensor, "pair 4 4"],
    iterations: int = 5,
    hypotheses: int = 0,
) -> EgoMotion:
    """The target camera's pose under which world points fall on their matches.

    `target_xy` and `intrinsics` are in pixels of the same image; `weight` is each match's prior
    weight; `initial` is a first guess of camera_from_world. Cauchy weights whose scale is a low
    quantile of the better half's residuals (at least half a pixel) leave out what moves. Where
    fewer than about two thirds of the matches are right, that may end in a wrong minimum; then
    `hypotheses` poses from small subsets of matches (RANSAC: Fischler & Bolles 1981, with the
    cut-off score of MSAC and a fixed draw) compete with `initial` for the start.
    """
    with torch.no_grad(), torch.autocast(points_world.device.type, enabled=False):
        points, xy = at_least_float32(points_world), at_least_float32(target_xy)
        intrinsics, pose = at_least_float32(intrinsics), at_least_float32(initial)
        prior = at_least_float32(weight)
        trusted = prior >= prior.median(dim=1, keepdim=True).values
        if hypotheses > 0:
            pose = _best_start(points, xy, prior, intrinsics, pose, hypotheses=hypotheses)
        for _ in range(iterations):
            residual = xy - _shown(pose, points, intrinsics)
            robust, _ = _cauchy_weights(residual, prior, trusted)
            pose = _gauss_newton_step(pose, points, xy, robust, intrinsics)
        residual = xy - _shown(pose, points, intrinsics)
        _, scale = _cauchy_weights(residual, prior, trusted)
        near = (residual.norm(dim=-1) < 3 * scale[:, None]).to(prior)
        inliers = (near * prior).sum(dim=1) / prior.sum(dim=1).clamp_min(1e-6)
        return EgoMotion(camera_from_world=pose, residual_px=scale, inliers=inliers)


def _shown(
    camera_from_world: Float[Tensor, "pair 4 4"],
    points: Float[Tensor, "pair point 3"],
    intrinsics: Float[Tensor, "pair 3 3"],
) -> Float[Tensor, "pair point 2"]:
    """Pixels of world points; those behind the camera have one too, far off."""
    camera = transform_points(camera_from_world, points)
    return project(camera, intrinsics, least_depth=MIN_DEPTH)


def _gauss_newton_step(
    pose: Float[Tensor, "pair 4 4"],
    points: Float[Tensor, "pair point 3"],
    xy: Float[Tensor, "pair point 2"],
    weight: Float[Tensor, "pair point"],
    intrinsics: Float[Tensor, "pair 3 3"],
) -> Float[Tensor, "pair 4 4"]:
    """One damped step towards the pose that puts points on their matches."""
    found = pose_equations(pose, points, xy, weight, intrinsics, least_depth=MIN_DEPTH)
    damping = 1e-3 * found.normal.diagonal(dim1=1, dim2=2) + 1e-4
    # solve_ex neither raises on a singular system nor waits for the device to say so.
    system = found.normal + torch.diag_embed(damping)
    step = torch.linalg.solve_ex(system, found.gradient).result
    # Steps are limited so that a bad match set cannot run away.
    turn = step[:, :3] / step[:, :3].norm(dim=1, keepdim=True).div(0.5).clamp_min(1)
    shift = step[:, 3:] / step[:, 3:].norm(dim=1, keepdim=True).clamp_min(1)
    return moved_by(torch.cat([turn, shift], dim=1), pose)


def _best_start(
    points: Float[Tensor, "pair point 3"],
    xy: Float[Tensor, "pair point 2"],
    prior: Float[Tensor, "pair point"],
    intrinsics: Float[Tensor, "pair 3 3"],
    initial: Float[Tensor, "pair 4 4"],
    *,
    hypotheses: int,
) -> Float[Tensor, "pair 4 4"]:
    """The best of `initial` and of poses solved on small subsets drawn by prior weight."""
    pairs, count = prior.shape
    # One fixed draw for all pairs, so that results depend on nothing but the input.
    gumbel = _fixed_gumbel(hypotheses, count, prior.device, prior.dtype)
    keys = torch.log(prior.clamp_min(1e-6))[:, None] + gumbel
    index = keys.topk(min(SUBSET, count), dim=-1).indices.flatten(1)
    subset = points.gather(1, index[..., None].expand(-1, -1, 3)).unflatten(1, (hypotheses, -1))
    seen = xy.gather(1, index[..., None].expand(-1, -1, 2)).unflatten(1, (hypotheses, -1))
    subset, seen = subset.flatten(0, 1), seen.flatten(0, 1)
    lens = intrinsics.repeat_interleave(hypotheses, dim=0)
    pose = initial.repeat_interleave(hypotheses, dim=0)
    for _ in range(HYPOTHESIS_ITERATIONS):
        pose = _gauss_newton_step(pose, subset, seen, torch.ones_like(seen[..., 0]), lens)
    poses = torch.cat([initial[:, None], pose.unflatten(0, (pairs, hypotheses))], dim=1)
    poses = torch.where(poses.isfinite(), poses, initial[:, None])
    if poses.device.type == "cpu":
        # One by one, so that what is in between stays in the cache.
        scores = torch.stack(
            [_cut_off_score(pose, points, xy, prior, intrinsics) for pose in poses.unbind(1)], dim=1
        )
    else:
        tries = poses.shape[1]
        every = [
            each[:, None].expand(-1, tries, *each.shape[1:]).flatten(0, 1)
            for each in (points, xy, prior, intrinsics)
        ]
        scores = _cut_off_score(poses.flatten(0, 1), *every).view(pairs, tries)
    best = scores.argmin(dim=1)
    return poses.gather(1, best[:, None, None, None].expand(-1, 1, 4, 4))[:, 0]


@lru_cache(maxsize=64)
def _fixed_gumbel(
    hypotheses: int, count: int, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "hypothesis point"]:
    with torch.inference_mode(False):
        uniform = torch.rand(hypotheses, count, generator=torch.Generator().manual_seed(0))
        drawn = -torch.log(-torch.log(uniform.clamp(1e-6, 1 - 1e-6)))
        return drawn.to(device=device, dtype=dtype)


def _cut_off_score(
    pose: Float[Tensor, "pair 4 4"],
    points: Float[Tensor, "pair point 3"],
    xy: Float[Tensor, "pair point 2"],
    prior: Float[Tensor, "pair point"],
    intrinsics: Float[Tensor, "pair 3 3"],
) -> Float[Tensor, " pair"]:
    """Weighted sum of squared residuals, each cut off at the tolerance; less is better."""
    camera = transform_points(pose, points)
    squared = (xy - project(camera, intrinsics, least_depth=MIN_DEPTH)).square().sum(dim=-1)
    squared = torch.where(camera[..., 2] > MIN_DEPTH, squared, TOLERANCE_PX**2)
    return (prior * squared.clamp_max(TOLERANCE_PX**2)).sum(dim=1)


def _cauchy_weights(residual: Tensor, prior: Tensor, trusted: Tensor) -> tuple[Tensor, Tensor]:
    """Weights prior / (1 + (r / s)²), s being a quantile of the better half's residuals."""
    size = residual.norm(dim=-1)
    # nanquantile, in a third of its kernels; NaN is sorted to the end.
    known = torch.where(trusted, size, torch.nan)
    ordered = known.sort(dim=1).values
    rank = (known.isfinite().sum(dim=1, keepdim=True) - 1).clamp_min(0) * SCALE_QUANTILE
    low = rank.floor()
    ends = ordered.gather(1, torch.cat([low, rank.ceil()], dim=1).long())
    scale = torch.lerp(ends[:, 0], ends[:, 1], (rank - low)[:, 0].to(ends))
    scale = scale.nan_to_num(1.0).clamp(0.5, 20.0)
    return cauchy_weight(size, scale[:, None], prior), scale
