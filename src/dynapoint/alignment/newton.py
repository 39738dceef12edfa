"""Gauss-Newton on the same objective, for coarse depths: few unknowns, many frames.

Distances are not squared: each pixel is weighted by the inverse of its distance (iteratively
re-weighted least squares), the steps are damped (Levenberg-Marquardt), and one is taken only if
the objective itself falls. What belongs to one frame alone, its coarse depth, is eliminated
(Schur complement, Triggs et al., Bundle Adjustment: A Modern Synthesis, 1999); poses and
similarities are solved for by a sparse LU, in time that goes with the clip's length.

Steps turn a camera, or a group, about its own place, so that long ways do no harm.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, Int64
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu
from torch import Tensor

from dynapoint.alignment.linearised import Linearised, linearised
from dynapoint.alignment.objective import objective
from dynapoint.alignment.observations import GroupObservations
from dynapoint.alignment.state import Convergence, Freedom, GroupState, Terms
from dynapoint.geometry.pose_from_points import cross_matrix
from dynapoint.progress import steps

_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-4, 1e-8, 1e6
_TRIES = 5
# Keeps what nothing tells solvable: a share of the mean of the diagonal.
_RIDGE = 1e-10
# Indices of so many blocks are held together.
_BLOCKS_AT_ONCE = 2048


@dataclass(frozen=True, kw_only=True)
class NewtonPlan:
    """How long to go on.

    Attributes:
        iterations: At most.
        settled: Stop when the objective falls by less than this share of itself.
    """

    iterations: int = 20
    settled: float = 1e-4


def newton(
    given: GroupObservations,
    state: GroupState,
    freedom: Freedom,
    terms: Terms,
    plan: NewtonPlan,
    *,
    progress: bool = False,
) -> tuple[GroupState, Convergence]:
    """Go on from a state of float64 numbers; the objective never rises.

    Where all scales are free, that of the first group is held instead of their mean.
    """
    unknowns = _Unknowns(given, freedom)
    value = objective(given, state, terms)
    losses, damping = [value], _FIRST_DAMPING
    for _ in steps(range(plan.iterations), "adjusting", wanted=progress):
        system = _System(given, linearised(given, state, freedom, terms), unknowns)
        for _ in range(_TRIES):
            step = system.step(damping)
            candidate = None if step is None else _stepped(state, freedom, step)
            after = float("inf") if candidate is None else objective(given, candidate, terms)
            if candidate is not None and after < value:
                state, damping = candidate, max(0.2 * damping, _LEAST_DAMPING)
                break
            damping = min(10 * damping, _MOST_DAMPING)
        else:
            break
        losses.append(after)
        fell, value = value - after, after
        if fell < plan.settled * after:
            break
    return state, Convergence(loss=tuple(losses), best=len(losses) - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Step:
    """By how much everything goes; 0 where it may not."""

    pose: Float64[Tensor, "frame 6"]
    group: Float64[Tensor, "group 7"]
    log_focal: Float64[Tensor, " frame"]
    log_change: Float64[Tensor, "frame control"]


class _Unknowns:
    """Which column of the reduced system each number of a member has; -1 if it has none.

    A member's numbers are turn and shift of its frame's pose (6), those of its group and the
    group's logarithm of scale (7), and the shared logarithm of the focal length (1).
    """

    def __init__(self, given: GroupObservations, freedom: Freedom) -> None:
        scales = freedom.scales.clone()
        if len(scales) and bool(scales.all()):
            scales[0] = False
        groups = torch.cat([freedom.groups[:, None].expand(-1, 6), scales[:, None]], dim=1)
        shared = torch.tensor([freedom.focal == "shared"])
        free = torch.cat([freedom.poses[:, None].expand(-1, 6).flatten(), groups.flatten(), shared])
        column = torch.where(free, free.long().cumsum(0) - 1, -1).numpy()
        frames, count = given.frame_count, given.group_count
        self.count = int(free.sum())
        self.pose = column[: 6 * frames].reshape(frames, 6)
        self.group = column[6 * frames : 6 * frames + 7 * count].reshape(count, 7)
        self.focal = int(column[-1])
        frame, group = given.frame.numpy(), given.group.numpy()
        lens = np.full((len(frame), 1), self.focal)
        self.member = np.concatenate([self.pose[frame], self.group[group], lens], axis=1)
        self.pairs = _pairs_in_frames(frame)


def _pairs_in_frames(frame: Int64[np.ndarray, " member"]) -> Int64[np.ndarray, "pair 2"]:
    """All ordered pairs of members of the same frame, each with itself too."""
    order = np.argsort(frame, kind="stable")
    first = np.searchsorted(frame[order], frame, side="left")
    count = np.searchsorted(frame[order], frame, side="right") - first
    one = np.repeat(np.arange(len(frame)), count)
    within = np.arange(len(one)) - np.repeat(np.cumsum(count) - count, count)
    return np.stack([one, order[np.repeat(first, count) + within]], axis=1)


class _System:
    """The linearised problem, of which steps for any damping can be asked."""

    def __init__(self, given: GroupObservations, lin: Linearised, unknowns: _Unknowns) -> None:
        self._lin, self._unknowns = lin, unknowns
        self._frame = given.frame
        self._direct, self._gradient = self._unreduced()

    def _unreduced(self) -> tuple[csc_array, Float64[np.ndarray, " unknown"]]:
        """What there is before coarse depths are eliminated."""
        lin, unknowns = self._lin, self._unknowns
        gradient = np.zeros(unknowns.count + 1)
        np.add.at(gradient, unknowns.member, lin.gradient.numpy())
        matrix = _scattered(lin.matrix.numpy(), unknowns.member, unknowns.member, unknowns.count)
        if lin.between is not None:
            both = np.concatenate([unknowns.pose[:-1], unknowns.pose[1:]], axis=1)
            between = lin.between
            np.add.at(gradient, both, between.gradient.numpy())
            matrix = matrix + _scattered(between.matrix.numpy(), both, both, unknowns.count)
        # The last place gathers what may not change.
        return matrix, gradient[:-1]

    def step(self, damping: float) -> _Step | None:
        """A damped step; None if it cannot be worked out."""
        lin, unknowns, frame = self._lin, self._unknowns, self._frame
        diagonal = lin.local.diagonal(dim1=1, dim2=2)
        local = lin.local + torch.diag_embed(damping * diagonal)
        inverse = torch.linalg.inv(local)
        solved = inverse[frame] @ lin.coupling
        pull = (inverse @ lin.local_gradient[:, :, None])[..., 0]
        gradient = np.append(self._gradient, 0.0)
        taken = (lin.coupling.transpose(1, 2) @ pull[frame, :, None])[..., 0]
        np.add.at(gradient, unknowns.member, -taken.numpy())
        gradient = gradient[:-1]
        one, other = unknowns.pairs.T
        blocks = lin.coupling[one].transpose(1, 2) @ solved[other]
        matrix = self._direct - _scattered(
            blocks.numpy(), unknowns.member[one], unknowns.member[other], unknowns.count
        )
        solution = np.zeros(unknowns.count + 1)
        if unknowns.count:
            found = _solved(matrix, self._direct.diagonal(), gradient, damping)
            if found is None:
                return None
            solution[:-1] = found
        by_member = torch.from_numpy(solution[unknowns.member])
        moved = torch.zeros_like(lin.local_gradient)
        moved.index_add_(0, frame, (lin.coupling @ by_member[:, :, None])[..., 0])
        deeper = -(inverse @ (moved + lin.local_gradient)[:, :, None])[..., 0]
        controls = lin.controls
        zoom = torch.full((len(deeper),), solution[unknowns.focal], dtype=torch.float64)
        if deeper.shape[1] > controls:
            zoom = deeper[:, controls]
        return _Step(
            pose=torch.from_numpy(solution[unknowns.pose]),
            group=torch.from_numpy(solution[unknowns.group]),
            log_focal=zoom,
            log_change=deeper[:, :controls],
        )


def _scattered(
    blocks: Float64[np.ndarray, "block row column"],
    rows: Int64[np.ndarray, "block row"],
    columns: Int64[np.ndarray, "block column"],
    count: int,
) -> csc_array:
    """The sum of blocks in a matrix of so many rows and columns; those numbered -1 are left out."""
    total = csc_array((count, count))
    for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
        part = slice(start, start + _BLOCKS_AT_ONCE)
        shape = blocks[part].shape
        row = np.broadcast_to(rows[part, :, None].astype(np.int32), shape)
        column = np.broadcast_to(columns[part, None, :].astype(np.int32), shape)
        kept = (row >= 0) & (column >= 0)
        where = row[kept], column[kept]
        total = total + csc_array(coo_array((blocks[part][kept], where), shape=(count, count)))
    return total


def _solved(
    matrix: csc_array,
    diagonal: Float64[np.ndarray, " unknown"],
    gradient: Float64[np.ndarray, " unknown"],
    damping: float,
) -> Float64[np.ndarray, " unknown"] | None:
    """The damped step of the reduced system."""
    ridge = damping * diagonal + _RIDGE * diagonal.mean() + 1e-300
    index = np.arange(len(diagonal))
    damped = csc_array(matrix + coo_array((ridge, (index, index)), shape=matrix.shape))
    try:
        factors = splu(
            damped,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:
        return None
    found = -factors.solve(gradient)
    return found if np.isfinite(found).all() else None


def _stepped(state: GroupState, freedom: Freedom, step: _Step) -> GroupState:
    """The state after a step; what may not change is as it was, to the last bit."""
    poses, groups = state.world_from_camera.clone(), state.world_from_group.clone()
    for matrix, by, free in (
        (poses, step.pose, freedom.poses),
        (groups, step.group, freedom.groups),
    ):
        turn = torch.linalg.matrix_exp(cross_matrix(by[free, :3]))
        matrix[free, :3, :3] = turn @ matrix[free, :3, :3]
        matrix[free, :3, 3] += by[free, 3:6]
    assert state.log_change is not None
    return replace(
        state,
        world_from_camera=poses,
        world_from_group=groups,
        scale=state.scale * step.group[:, 6].exp(),
        focal=state.focal * step.log_focal.exp(),
        log_change=state.log_change + step.log_change,
    )
