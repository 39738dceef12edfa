"""Bundle adjustment: cameras, one lens and one depth per grid pixel from dense correspondences.

Levenberg-Marquardt on the reprojection error (Triggs et al., Bundle Adjustment: A Modern Synthesis,
1999). Every pixel's logarithm of depth has a prior (the network's), sees no other pixel, and is
eliminated (Schur complement). Residuals and derivatives of a frame are taken with respect to
the relative pose of each of its targets, which few columns hold, and these are expanded to the
poses of both frames afterwards. Cost is robust: that of Geman and McClure, of which weights are
(1 + r²)⁻², or of Cauchy, (1 + r²)⁻¹; its scale falls from the first to the last iteration.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64

from dynapoint.refinement.views import (
    NEAREST,
    Lens,
    Views,
    cross_matrix,
    relative_poses,
    rotation_from_vector,
)

Robust = Literal["geman", "cauchy"]

# A residual of this many scales stands for a point that a camera does not see.
_UNSEEN = 10.0
_LARGEST_TURN, _LARGEST_ZOOM, _LARGEST_DEPTH = 0.3, 0.15, 0.5
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-4, 1e-7, 1e6
_TRIES = 4
_CONVERGED = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """What is known: where pixels were found in other frames, and what depth and lens should be.

    Attributes:
        lens: Where focal lengths start.
        normal: Grid pixels (`Lens.normal`).
        target: For each frame those that it was matched to; unused slots name the frame itself.
        place_px: Where its pixels were found there.
        weight: How much each counts, 0 for unused ones.
        prior_log_depth: The network's.
        depth_sigma: How far the logarithm of depth may be off.
        lens_sigma: How far the logarithm of the focal length may be off its start.
    """

    lens: Lens
    normal: Float64[np.ndarray, "frame pixel xy=2"]
    target: Int64[np.ndarray, "frame slot"]
    place_px: Float[np.ndarray, "frame slot pixel xy=2"]
    weight: Float[np.ndarray, "frame slot pixel"]
    prior_log_depth: Float64[np.ndarray, "frame pixel"]
    depth_sigma: float
    lens_sigma: float


@dataclass(frozen=True, kw_only=True)
class Freedom:
    """What may change; the pose of frame 0 never does."""

    poses: bool = True
    lens: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long to go on and how the robust cost's scale falls, in pixels."""

    iterations: int
    first_px: float
    last_px: float
    robust: Robust = "geman"

    def scale_px(self, iteration: int) -> float:
        """The scale of an iteration."""
        share = iteration / max(self.iterations - 1, 1)
        return float(self.first_px ** (1 - share) * self.last_px**share)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Terms:
    """The linearised problem, in relative poses and the lens, pixels' depths still in it.

    Rows of `coupling` and of `gram`'s sides: turn and shift of a slot's relative pose (6), lens,
    residual (whose products with the others are gradients).
    """

    gram: Float64[np.ndarray, "frame slot 8 8"]
    coupling: Float[np.ndarray, "frame slot 8 pixel"]
    curvature: Float[np.ndarray, "frame pixel"]
    depth_gradient: Float[np.ndarray, "frame pixel"]


def adjust(problem: Problem, start: Views, plan: Plan, freedom: Freedom) -> Views:
    """Views of less cost."""
    views, damping = start, _FIRST_DAMPING
    for iteration in range(plan.iterations):
        scale = plan.scale_px(iteration)
        before, terms = _linearised(problem, views, scale, plan.robust)
        after = before
        for _ in range(_TRIES):
            candidate = _stepped(problem, views, terms, damping, freedom)
            after = cost_of(problem, candidate, scale, plan.robust)
            if after < before:
                views, damping = candidate, max(0.3 * damping, _LEAST_DAMPING)
                break
            damping = min(8 * damping + 1e-4, _MOST_DAMPING)
        settled = before - after < _CONVERGED * before
        if settled and scale == plan.last_px and iteration > 3:
            break
    return views


def cost_of(problem: Problem, views: Views, scale_px: float, robust: Robust) -> float:
    """Half the sum of robust squared residuals and of what the priors add."""
    residual = _residuals(problem, views)
    return _data_cost(problem, residual, scale_px, robust) + _prior_cost(problem, views)


def residuals_px(problem: Problem, views: Views) -> Float[np.ndarray, "frame slot pixel"]:
    """How far off their found places pixels are put; infinite where a camera does not see them."""
    residual = _residuals(problem, views)
    return np.where(residual.seen, np.sqrt((residual.off**2).sum(axis=0)), np.inf)


def turn_sigmas_rad(
    problem: Problem, views: Views, scale_px: float
) -> Float64[np.ndarray, " frame"]:
    """How far each camera may be turned from its solution, as far as matches and priors tell.

    Every pixel counts as a finding of its own with an error of a pixel; 0 for frame 0.
    """
    _, terms = _linearised(problem, views, scale_px, "cauchy")
    hessian, _ = _reduced(problem, views, terms, 0.0)
    free = hessian[6:, 6:]
    sigmas = np.zeros(len(views.log_depth))
    if len(free) > 1:
        ridge = 1e-9 * float(np.trace(free)) / len(free) + 1e-12
        spread = np.diag(np.linalg.inv(free + ridge * np.eye(len(free))))[:-1].reshape(-1, 6)
        sigmas[1:] = np.sqrt(np.maximum(spread[:, :3].sum(axis=1), 0.0))
    return sigmas


def lens_information(problem: Problem, views: Views, scale_px: float) -> float:
    """What the matches alone tell of the logarithm of the focal length: its inverse variance.

    All poses but frame 0's and all depths are free; every pixel counts as a finding of its own
    with an error of a pixel.
    """
    problem = replace(problem, lens_sigma=np.inf)
    _, terms = _linearised(problem, views, scale_px, "cauchy")
    hessian, _ = _reduced(problem, views, terms, 0.0)
    free = hessian[6:, 6:]
    poses, mixed = free[:-1, :-1], free[:-1, -1]
    if not len(poses):
        return 0.0
    ridge = 1e-9 * max(float(np.trace(poses)) / len(poses), 1e-12)
    explained = mixed @ np.linalg.solve(poses + ridge * np.eye(len(poses)), mixed)
    return max(float(free[-1, -1] - explained), 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Residuals:
    """Points in the units of their own depth in their targets' cameras; `off` has x, y first."""

    ray: np.ndarray
    there: tuple[np.ndarray, np.ndarray, np.ndarray]
    seen: np.ndarray
    slope: tuple[np.ndarray, np.ndarray]
    off: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray
    inverse: np.ndarray
    focal: np.ndarray


def _residuals(problem: Problem, views: Views) -> _Residuals:
    kind = problem.weight.dtype
    rotation, shift = relative_poses(views.camera_from_world, problem.target)
    rotation, shift = rotation.astype(kind), shift.astype(kind)
    zoom = np.exp(views.log_lens)
    ray = (problem.normal / zoom).astype(kind).transpose(2, 0, 1)[:, :, None]
    inverse = np.exp(-views.log_depth).astype(kind)[:, None]
    x, y, z = (
        rotation[..., row, 0, None] * ray[0]
        + rotation[..., row, 1, None] * ray[1]
        + (rotation[..., row, 2, None] + shift[..., row, None] * inverse)
        for row in range(3)
    )
    seen = z > NEAREST
    z = np.where(seen, z, kind.type(1))
    slope = x / z, y / z
    focal = (problem.lens.focal_px * zoom).astype(kind)[problem.target]
    # Counted from the principal point, places keep their last digits in float32.
    wanted = problem.place_px - problem.lens.centre_px[problem.target][:, :, None].astype(kind)
    off = np.stack([focal[..., axis, None] * slope[axis] - wanted[..., axis] for axis in (0, 1)])
    return _Residuals(
        ray=ray,
        there=(x, y, z),
        seen=seen,
        slope=slope,
        off=off,
        rotation=rotation,
        shift=shift,
        inverse=inverse,
        focal=focal,
    )


def _data_cost(problem: Problem, residual: _Residuals, scale_px: float, robust: Robust) -> float:
    square = (residual.off**2).sum(axis=0) / problem.weight.dtype.type(scale_px**2)
    square = np.where(residual.seen, square, square.dtype.type(_UNSEEN**2))
    costs = square / (1 + square) if robust == "geman" else np.log1p(square)
    return 0.5 * scale_px**2 * float((costs * problem.weight).sum(dtype=np.float64))


def _prior_cost(problem: Problem, views: Views) -> float:
    off = (views.log_depth - problem.prior_log_depth) / problem.depth_sigma
    return 0.5 * float((off * off).sum()) + 0.5 * (views.log_lens / problem.lens_sigma) ** 2


def _linearised(
    problem: Problem, views: Views, scale_px: float, robust: Robust
) -> tuple[float, _Terms]:
    """Cost, and all products of derivatives."""
    residual = _residuals(problem, views)
    square = (residual.off**2).sum(axis=0) / problem.weight.dtype.type(scale_px**2)
    cost = _data_cost(problem, residual, scale_px, robust) + _prior_cost(problem, views)
    falling = 1 / (1 + square)
    weight = problem.weight * residual.seen * (falling * falling if robust == "geman" else falling)
    rows, by_depth = _derivatives(residual)
    weighted = [side * weight[:, :, None] for side in rows]
    gram = sum(
        heavy @ side.transpose(0, 1, 3, 2) for heavy, side in zip(weighted, rows, strict=True)
    )
    coupling = weighted[0] * by_depth[0][:, :, None] + weighted[1] * by_depth[1][:, :, None]
    certain = problem.depth_sigma**-2
    curvature = (weight * (by_depth[0] ** 2 + by_depth[1] ** 2)).sum(axis=1) + certain
    from_prior = (views.log_depth - problem.prior_log_depth) * certain
    return cost, _Terms(
        gram=np.asarray(gram, dtype=np.float64),
        coupling=coupling,
        curvature=curvature,
        depth_gradient=coupling[:, :, 7].sum(axis=1) + from_prior,
    )


def _derivatives(
    residual: _Residuals,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Of x and y: rows (turn, shift, lens, residual) of slots and pixels; and by log depth."""
    z = residual.there[2]
    rotation, shift, inverse = residual.rotation, residual.shift, residual.inverse
    focal_x, focal_y = residual.focal[..., 0, None], residual.focal[..., 1, None]
    # Of a place by x or y of the point; by z it is minus the slope times that.
    by_x, by_y = focal_x / z, focal_y / z
    slope_x, slope_y = residual.slope
    shape = (*z.shape[:2], 8, z.shape[2])
    across, down = np.zeros(shape, dtype=z.dtype), np.zeros(shape, dtype=z.dtype)
    across[:, :, 0] = -focal_x * slope_x * slope_y
    across[:, :, 1] = focal_x * (1 + slope_x * slope_x)
    across[:, :, 2] = -focal_x * slope_y
    down[:, :, 0] = -focal_y * (1 + slope_y * slope_y)
    down[:, :, 1] = focal_y * slope_x * slope_y
    down[:, :, 2] = focal_y * slope_x
    across[:, :, 3] = by_x * inverse
    across[:, :, 5] = -slope_x * across[:, :, 3]
    down[:, :, 4] = by_y * inverse
    down[:, :, 5] = -slope_y * down[:, :, 4]
    # A longer lens narrows the rays that leave and widens the picture that they make.
    turned = [
        -(
            rotation[..., row, 0, None] * residual.ray[0]
            + rotation[..., row, 1, None] * residual.ray[1]
        )
        for row in range(3)
    ]
    across[:, :, 6] = focal_x * slope_x + by_x * (turned[0] - slope_x * turned[2])
    down[:, :, 6] = focal_y * slope_y + by_y * (turned[1] - slope_y * turned[2])
    across[:, :, 7], down[:, :, 7] = residual.off
    along = shift[..., 2, None]
    depth_across = across[:, :, 3] * (slope_x * along - shift[..., 0, None])
    depth_down = down[:, :, 4] * (slope_y * along - shift[..., 1, None])
    return (across, down), (depth_across, depth_down)


def _reduced(
    problem: Problem, views: Views, terms: _Terms, damping: float
) -> tuple[Float64[np.ndarray, "unknown unknown"], Float64[np.ndarray, " unknown"]]:
    """Hessian and gradient of all poses and the lens once depths are eliminated."""
    frames, slots = problem.target.shape
    poses = 6 * slots
    inverse = 1 / (terms.curvature * (1 + damping))
    # Rows: relative poses of all slots, lens, gradient.
    rows = np.empty((frames, poses + 2, inverse.shape[1]), dtype=terms.coupling.dtype)
    rows[:, :poses] = terms.coupling[:, :, :6].reshape(frames, poses, -1)
    rows[:, poses] = terms.coupling[:, :, 6].sum(axis=1)
    rows[:, poses + 1] = terms.depth_gradient
    taken = np.asarray((rows * inverse[:, None]) @ rows.transpose(0, 2, 1), dtype=np.float64)
    local = -taken
    for slot in range(slots):
        here = slice(6 * slot, 6 * slot + 6)
        local[:, here, here] += terms.gram[:, slot, :6, :6]
        for column, row in ((poses, 6), (poses + 1, 7)):
            local[:, here, column] += terms.gram[:, slot, :6, row]
            local[:, column, here] += terms.gram[:, slot, row, :6]
        local[:, poses, poses] += terms.gram[:, slot, 6, 6]
        local[:, poses, poses + 1] += terms.gram[:, slot, 6, 7]
    return _expanded(problem, views, local)


def _expanded(
    problem: Problem, views: Views, local: Float64[np.ndarray, "frame row row"]
) -> tuple[Float64[np.ndarray, "unknown unknown"], Float64[np.ndarray, " unknown"]]:
    """Relative poses written as those of both frames, the lens and its prior last."""
    frames, slots = problem.target.shape
    poses = 6 * slots
    spread = _spread(problem, views)
    members = np.concatenate([np.arange(frames)[:, None], problem.target], axis=1)
    both = spread.transpose(0, 2, 1) @ local[:, :poses, :poses] @ spread
    single = spread.transpose(0, 2, 1) @ local[:, :poses, poses:]
    blocks = np.zeros((frames, frames, 6, 6))
    shaped = both.reshape(frames, slots + 1, 6, slots + 1, 6).transpose(0, 1, 3, 2, 4)
    np.add.at(blocks, (members[:, :, None], members[:, None, :]), shaped)
    columns = np.zeros((frames, 6, 2))
    np.add.at(columns, members, single.reshape(frames, slots + 1, 6, 2))
    hessian = np.zeros((6 * frames + 1, 6 * frames + 1))
    hessian[:-1, :-1] = blocks.transpose(0, 2, 1, 3).reshape(6 * frames, 6 * frames)
    hessian[:-1, -1] = hessian[-1, :-1] = columns[..., 0].reshape(-1)
    hessian[-1, -1] = local[:, poses, poses].sum() + problem.lens_sigma**-2
    gradient = np.append(columns[..., 1].reshape(-1), local[:, poses, poses + 1].sum())
    gradient[-1] += views.log_lens * problem.lens_sigma**-2
    return hessian, gradient


def _spread(problem: Problem, views: Views) -> Float64[np.ndarray, "frame relative both"]:
    """Steps of relative poses from steps of the frame's own pose and of its targets'.

    A step d of a pose T makes exp(d) T of it, so that T_j T_i⁻¹ goes by d_j − Ad(T_j T_i⁻¹) d_i.
    """
    frames, slots = problem.target.shape
    rotation, shift = relative_poses(views.camera_from_world, problem.target)
    spread = np.zeros((frames, slots, 6, slots + 1, 6))
    spread[:, :, :3, 0, :3] = -rotation
    spread[:, :, 3:, 0, 3:] = -rotation
    spread[:, :, 3:, 0, :3] = -cross_matrix(shift) @ rotation
    for slot in range(slots):
        spread[:, slot, :, slot + 1] += np.eye(6)
    return spread.reshape(frames, 6 * slots, 6 * (slots + 1))


def _stepped(
    problem: Problem, views: Views, terms: _Terms, damping: float, freedom: Freedom
) -> Views:
    """Views after one damped step."""
    frames, slots = problem.target.shape
    hessian, gradient = _reduced(problem, views, terms, damping)
    free = np.ones(len(gradient), dtype=bool)
    free[:6] = False
    free[6:-1] &= freedom.poses
    free[-1] = freedom.lens
    step = np.zeros(len(gradient))
    if free.any():
        system = hessian[np.ix_(free, free)]
        diagonal = np.diag(hessian)
        ridge = 1e-9 * diagonal.mean() + 1e-9
        system = system + np.diag(damping * np.maximum(diagonal[free], 0) + ridge)
        step[free] = -np.linalg.solve(system, gradient[free])
    largest = np.abs(step[:-1]).max()
    step *= min(1.0, _LARGEST_TURN / max(largest, 1e-30))
    step *= min(1.0, _LARGEST_ZOOM / max(abs(step[-1]), 1e-30))
    by_frame = step[:-1].reshape(frames, 6)
    relative = (_spread(problem, views) @ _gathered(by_frame, problem.target)[..., None])[..., 0]
    relative = relative.reshape(frames, slots, 6).astype(terms.coupling.dtype)
    pull = np.einsum("fsrp,fsr->fp", terms.coupling[:, :, :6], relative, optimize=True)
    pull = pull + terms.coupling[:, :, 6].sum(axis=1) * step[-1] + terms.depth_gradient
    deeper = np.clip(-pull / (terms.curvature * (1 + damping)), -_LARGEST_DEPTH, _LARGEST_DEPTH)
    turn = rotation_from_vector(by_frame[:, :3])
    poses = views.camera_from_world.copy()
    poses[:, :3] = turn @ poses[:, :3]
    poses[:, :3, 3] += by_frame[:, 3:]
    return Views(
        camera_from_world=poses,
        log_lens=views.log_lens + float(step[-1]),
        log_depth=views.log_depth + deeper,
    )


def _gathered(
    by_frame: Float64[np.ndarray, "frame 6"], target: Int64[np.ndarray, "frame slot"]
) -> Float64[np.ndarray, "frame both"]:
    """The steps of a frame and of its targets, one after another."""
    own = by_frame[:, None]
    return np.concatenate([own, by_frame[target]], axis=1).reshape(len(by_frame), -1)
