"""Depths of single pixels under cameras that are known, and what each pixel's matches tell of it.

No pixel sees another: each is a Gauss-Newton search of its own, with a step kept only where its own
cost falls. The robust scale falls from coarse to fine, so that a pixel may leave the network's
depth where its matches agree on another.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from dynapoint.refinement.adjustment import Plan, Problem
from dynapoint.refinement.views import NEAREST, Views, relative_poses

_LARGEST_STEP = 0.5
_THREADS = 2
_UNSEEN = 100.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Depths:
    """Of each pixel the logarithm of its depth, and the inverse variance of that in its matches.

    The information is that of matches with errors of a pixel and leaves the prior out; it is 0
    where there is no parallax or no match.
    """

    log_depth: Float64[np.ndarray, "frame pixel"]
    information: Float64[np.ndarray, "frame pixel"]


def solve_depths(problem: Problem, views: Views, plan: Plan) -> Depths:
    """Depths of least robust cost near those of `views`, whose cameras and lens stand."""
    rotation, shift = relative_poses(views.camera_from_world, problem.target)

    def of_frame(frame: int) -> tuple[np.ndarray, np.ndarray]:
        return _Frame(problem, views, rotation, shift, frame).solve(plan)

    with ThreadPoolExecutor(_THREADS) as threads:
        solved: Sequence[tuple[np.ndarray, np.ndarray]] = list(
            threads.map(of_frame, range(len(problem.target)))
        )
    return Depths(
        log_depth=np.stack([log_depth for log_depth, _ in solved]).astype(np.float64),
        information=np.stack([information for _, information in solved]).astype(np.float64),
    )


class _Frame:
    """The pixels of one frame, with what does not change while depth does."""

    def __init__(
        self,
        problem: Problem,
        views: Views,
        rotation: Float64[np.ndarray, "frame slot 3 3"],
        shift: Float64[np.ndarray, "frame slot 3"],
        frame: int,
    ) -> None:
        used = problem.target[frame] != frame
        used = used if used.any() else np.arange(len(used)) < 1
        targets = problem.target[frame, used]
        zoom = np.exp(views.log_lens)
        normal = problem.normal[frame].T / zoom
        ray = np.stack([normal[0], normal[1], np.ones_like(normal[0])])
        # At infinity; nearer points go along `shift`.
        self._far = (rotation[frame, used] @ ray).astype(np.float32)
        self._shift = shift[frame, used, :, None].astype(np.float32)
        self._focal = (problem.lens.focal_px[targets] * zoom).astype(np.float32)[:, :, None]
        centred = problem.place_px[frame, used] - problem.lens.centre_px[targets][:, None]
        self._wanted = centred.transpose(0, 2, 1).astype(np.float32)
        self._weight = problem.weight[frame, used].astype(np.float32)
        self._prior = problem.prior_log_depth[frame].astype(np.float32)
        self._certain = np.float32(problem.depth_sigma**-2)
        self._start = views.log_depth[frame].astype(np.float32)

    def solve(self, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        log_depth = self._start
        data = np.zeros_like(log_depth)
        for iteration in range(plan.iterations):
            scale = plan.scale_px(iteration)
            cost, slope, data = self._look(log_depth, scale, plan)
            step = -slope / (data + self._certain)
            there = log_depth + np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
            better = self._look(there, scale, plan)[0] < cost
            log_depth = np.where(better, there, log_depth)
        return log_depth, self._look(log_depth, plan.last_px, plan)[2]

    def _look(
        self, log_depth: Float[np.ndarray, " pixel"], scale_px: float, plan: Plan
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cost, its derivative by log depth and what the matches add to its curvature."""
        inverse = np.exp(-log_depth)
        moved = self._shift * inverse
        x, y, z = (self._far[:, axis] + moved[:, axis] for axis in range(3))
        seen = z > NEAREST
        z = np.where(seen, z, np.float32(1))
        slope_x, slope_y = x / z, y / z
        off_x = self._focal[:, 0] * slope_x - self._wanted[:, 0]
        off_y = self._focal[:, 1] * slope_y - self._wanted[:, 1]
        square = (off_x * off_x + off_y * off_y) / np.float32(scale_px**2)
        falling = 1 / (1 + square)
        if plan.robust == "geman":
            costs, weight = square * falling, falling * falling
        else:
            costs, weight = np.log1p(square), falling
        costs = np.where(seen, costs, 1.0 if plan.robust == "geman" else np.log1p(_UNSEEN))
        weight = weight * self._weight * seen
        # A nearer point moves along the shift, as the picture shows it.
        by_x = self._focal[:, 0] / z * (slope_x * moved[:, 2] - moved[:, 0])
        by_y = self._focal[:, 1] / z * (slope_y * moved[:, 2] - moved[:, 1])
        prior = log_depth - self._prior
        cost = 0.5 * scale_px**2 * (costs * self._weight).sum(axis=0)
        cost = cost + 0.5 * self._certain * prior * prior
        slope = (weight * (by_x * off_x + by_y * off_y)).sum(axis=0) + self._certain * prior
        return cost, slope, (weight * (by_x * by_x + by_y * by_y)).sum(axis=0)
