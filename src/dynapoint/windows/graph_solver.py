"""Sparse least squares over similarities of windows (`graph` says of what).

Strasdat et al., Scale Drift-Aware Large Scale Monocular SLAM, 2010, equation 12, by
Levenberg-Marquardt, whose normal equations SuperLU factorises: in time linear in the windows of a
chain.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu
from scipy.stats import chi2

from dynapoint.geometry.sim3 import (
    adjoint,
    exp_sim3,
    inverse_right_jacobian,
    invert_similarity,
    log_sim3,
)

# Of squared whitened residuals of true closures (7 numbers) one in a thousand is larger, if
# covariances are right; sigmas may be wrong by this factor.
_LIKELY, _WRONG_SIGMAS = 0.999, 2.0
MOST_SQUARE = float(chi2.ppf(_LIKELY, 7)) * _WRONG_SIGMAS**2
_ITERATIONS, _TRIES = 60, 8
# Relative changes of the objective, and what counts as no objective at all.
_CONVERGED, _NOTHING = 1e-9, 1e-3
_LEAST_DAMPING, _MOST_DAMPING = 1e-13, 1e8
# So many right-hand sides are solved for at a time.
_SIDES = 70


@dataclass(frozen=True, kw_only=True, eq=False)
class Edges:
    """All edges as arrays; `root` is a factor of the information: Λ = root'·root."""

    first: Int64[np.ndarray, " edge"]
    second: Int64[np.ndarray, " edge"]
    second_from_first: Float64[np.ndarray, "edge 4 4"]
    root: Float64[np.ndarray, "edge 7 7"]
    is_closure: Bool[np.ndarray, " edge"]


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """A solution with the edges that were used, and what they say there."""

    poses: Float64[np.ndarray, "window 4 4"]
    iterations: int = 0
    converged: bool = True


def residuals_of(
    edges: Edges, poses: Float64[np.ndarray, "window 4 4"]
) -> tuple[Float64[np.ndarray, "edge 7"], Float64[np.ndarray, " edge"]]:
    """Residuals in the tangent space, and whitened and squared."""
    between = invert_similarity(poses[edges.first]) @ poses[edges.second]
    residual = log_sim3(edges.second_from_first @ between)
    white = (edges.root @ residual[..., None])[..., 0]
    return residual, (white**2).sum(axis=-1)


def objective_of(
    edges: Edges,
    square: Float64[np.ndarray, " edge"],
    used: Bool[np.ndarray, " edge"],
    *,
    robust: bool,
) -> float:
    """Half the sum of what the used edges cost: with `robust`, closures as Cauchy has it."""
    softened = MOST_SQUARE * np.log1p(square / MOST_SQUARE)
    return 0.5 * float(np.where(edges.is_closure & robust, softened, square)[used].sum())


def weights_of(
    edges: Edges,
    square: Float64[np.ndarray, " edge"],
    used: Bool[np.ndarray, " edge"],
    *,
    robust: bool,
) -> Float64[np.ndarray, " edge"]:
    """The weights that belong to that cost."""
    return np.asarray(used / np.where(edges.is_closure & robust, 1 + square / MOST_SQUARE, 1.0))


def _rows(
    edges: Edges, poses: Float64[np.ndarray, "window 4 4"]
) -> tuple[Float64[np.ndarray, "edge 7 14"], Float64[np.ndarray, "edge 7"]]:
    """Whitened derivatives by right perturbations of an edge's two windows, and residuals.

    log(E·exp(δ_second)) is r + J δ_second, and exp(−δ_first) moves through T_first⁻¹·T_second
    as −Ad(T_second⁻¹·T_first)·δ_first.
    """
    residual, _ = residuals_of(edges, poses)
    by_second = inverse_right_jacobian(residual)
    between = invert_similarity(poses[edges.second]) @ poses[edges.first]
    both = np.concatenate([-by_second @ adjoint(between), by_second], axis=-1)
    return edges.root @ both, (edges.root @ residual[..., None])[..., 0]


def _assembled(
    edges: Edges,
    rows: Float64[np.ndarray, "edge 7 14"],
    white: Float64[np.ndarray, "edge 7"],
    weight: Float64[np.ndarray, " edge"],
    free: Bool[np.ndarray, " window"],
) -> tuple[sparse.csc_matrix, Float64[np.ndarray, " unknown"]]:
    """Normal matrix and gradient of free windows."""
    place = np.cumsum(free) - 1
    members = np.stack([edges.first, edges.second], axis=-1)
    kept = (weight > 0)[:, None] & free[members]
    columns = (7 * place[members][..., None] + np.arange(7)).reshape(-1, 14)
    heavy = rows * weight[:, None, None]
    gram = heavy.transpose(0, 2, 1) @ rows
    inside = np.repeat(kept, 7, axis=1)
    both = inside[:, :, None] & inside[:, None, :]
    size = 7 * int(free.sum())
    row, column = np.broadcast_arrays(columns[:, :, None], columns[:, None, :])
    matrix = sparse.coo_matrix((gram[both], (row[both], column[both])), shape=(size, size))
    gradient = (heavy.transpose(0, 2, 1) @ white[..., None])[..., 0]
    total = np.bincount(columns[inside], gradient[inside], minlength=max(size, 1))
    return matrix.tocsc(), total[:size]


def _factor(matrix: sparse.csc_matrix, damping: float) -> SuperLU:
    """Of the matrix scaled to a diagonal of ones, more by `damping`."""
    return splu(
        (matrix + damping * sparse.identity(matrix.shape[0])).tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )


def _scaled(matrix: sparse.csc_matrix) -> tuple[sparse.csc_matrix, Float64[np.ndarray, " unknown"]]:
    """A matrix with ones on its diagonal, and what its rows and columns were multiplied by."""
    scale = 1 / np.sqrt(np.maximum(matrix.diagonal(), 1e-300))
    side = sparse.diags(scale)
    return (side @ matrix @ side).tocsc(), scale


def solved(
    edges: Edges,
    used: Bool[np.ndarray, " edge"],
    free: Bool[np.ndarray, " window"],
    state: State,
    *,
    robust: bool = False,
) -> State:
    """The solution that some edges have, by Levenberg-Marquardt from another one.

    Cauchy's cost finds no way to a loop's closure from far away: first without `robust`.
    """
    if not free.any():
        return state
    poses, damping = state.poses, _LEAST_DAMPING
    square = residuals_of(edges, poses)[1]
    before = objective_of(edges, square, used, robust=robust)
    for iteration in range(_ITERATIONS):
        weight = weights_of(edges, square, used, robust=robust)
        matrix, gradient = _assembled(edges, *_rows(edges, poses), weight, free)
        matrix, scale = _scaled(matrix)
        for _ in range(_TRIES):
            step = np.zeros((len(free), 7))
            step[free] = -(scale * _factor(matrix, damping).solve(scale * gradient)).reshape(-1, 7)
            moved = poses @ exp_sim3(step)
            square_there = residuals_of(edges, moved)[1]
            after = objective_of(edges, square_there, used, robust=robust)
            if after <= before:
                break
            damping = min(100 * damping, _MOST_DAMPING)
        else:
            return State(poses=poses, iterations=state.iterations + iteration + 1)
        settled = before - after <= _CONVERGED * max(before, _NOTHING)
        poses, square, before = moved, square_there, after
        damping = max(0.01 * damping, _LEAST_DAMPING)
        if settled:
            return State(poses=poses, iterations=state.iterations + iteration + 1)
    return State(poses=poses, iterations=state.iterations + _ITERATIONS, converged=False)


def surprise(
    edges: Edges,
    used: Bool[np.ndarray, " edge"],
    free: Bool[np.ndarray, " window"],
    state: State,
    asked: Int64[np.ndarray, " asked"],
) -> Float64[np.ndarray, " asked"]:
    """How far some edges are from what all other edges say of them, squared and whitened.

    With J an edge's whitened derivatives and S = J·H⁻¹·J', an edge that was used would have the
    residual (1 − S)⁻¹·r without it, of covariance (1 − S)⁻¹; r has 1 + S if it was not used (Cook
    and Weisberg, Residuals and Influence in Regression, 1982, section 2.2). Of a true edge the
    result is χ² distributed with 7 degrees of freedom. The solution must be that without `robust`.
    """
    rows, white = _rows(edges, state.poses)
    matrix, _ = _assembled(edges, rows, white, used * 1.0, free)
    covariance = _covariances(edges, rows, matrix, free, asked)
    spread = np.eye(7) + np.where(used[asked, None, None], -1.0, 1.0) * covariance
    ours = white[asked]
    return np.asarray((ours * np.linalg.solve(spread, ours[..., None])[..., 0]).sum(axis=-1))


def _covariances(
    edges: Edges,
    rows: Float64[np.ndarray, "edge 7 14"],
    matrix: sparse.csc_matrix,
    free: Bool[np.ndarray, " window"],
    asked: Int64[np.ndarray, " asked"],
) -> Float64[np.ndarray, "asked 7 7"]:
    """J·H⁻¹·J' of some edges."""
    result = np.zeros((len(asked), 7, 7))
    if not free.any():
        return result
    matrix, scale = _scaled(matrix)
    factor = _factor(matrix, _LEAST_DAMPING)
    place = np.cumsum(free) - 1
    for begin in range(0, len(asked), _SIDES // 7):
        some = asked[begin : begin + _SIDES // 7]
        sides = np.zeros((len(scale), 7 * len(some)))
        for slot, edge in enumerate(some):
            for half, window in enumerate((edges.first[edge], edges.second[edge])):
                if free[window]:
                    here = slice(7 * place[window], 7 * place[window] + 7)
                    sides[here, 7 * slot : 7 * slot + 7] += rows[edge, :, 7 * half : 7 * half + 7].T
        sides *= scale[:, None]
        answer = factor.solve(sides)
        for slot in range(len(some)):
            ours = slice(7 * slot, 7 * slot + 7)
            result[begin + slot] = sides[:, ours].T @ answer[:, ours]
    return result
