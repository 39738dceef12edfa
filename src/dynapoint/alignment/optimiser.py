"""Adam on the objective, with the papers' parameters."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynapoint.alignment.objective import (
    changed_depth,
    data_term,
    depth_cost,
    frame_points,
    smoothness,
)
from dynapoint.alignment.observations import GroupObservations
from dynapoint.alignment.state import Convergence, Freedom, GroupState, Terms
from dynapoint.geometry.quaternion import (
    matrix_from_quaternion_xyzw,
    quaternion_xyzw_from_matrix,
)
from dynapoint.progress import steps


@dataclass(frozen=True, kw_only=True)
class AdamPlan:
    """How Adam goes on. The numbers are those of MonST3R's code.

    Attributes:
        iterations: How many steps.
        learning_rate: At the start.
        final_learning_rate: The rate falls to this linearly.
        betas: Of the moments.
        focal_slowness: The focal length is exp(parameter / slowness), so that it moves so much
            more slowly.
    """

    iterations: int = 300
    learning_rate: float = 0.01
    final_learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.9)
    focal_slowness: float = 20.0


def adam(
    given: GroupObservations,
    state: GroupState,
    freedom: Freedom,
    terms: Terms,
    plan: AdamPlan,
    *,
    progress: bool = False,
) -> tuple[GroupState, Convergence]:
    """Go on from a state, whose median depth should be near 1.

    Adam ends within about its last rate of a minimum of unsquared distances and, unlike the papers'
    code, the best state it passed is kept: exact maps, whose start is exact, are not made worse.
    """
    # Networks run in inference mode, whose tensors cannot be optimised.
    with torch.inference_mode(False), torch.enable_grad():
        parameters = Parameters(given, state, freedom, slowness=plan.focal_slowness)
        optimiser = torch.optim.Adam(parameters.free, lr=plan.learning_rate, betas=plan.betas)
        losses: list[float] = []
        best, best_step = parameters.copy(), -1
        for step in steps(range(plan.iterations + 1), "aligning", wanted=progress):
            loss = backward(given, parameters, terms)
            losses.append(loss)
            if loss < (losses[best_step] if best_step >= 0 else float("inf")):
                best, best_step = parameters.copy(), step
            share = step / max(plan.iterations - 1, 1)
            rate = plan.learning_rate + share * (plan.final_learning_rate - plan.learning_rate)
            optimiser.param_groups[0]["lr"] = rate
            if step < plan.iterations:
                optimiser.step()
        parameters.restore(best)
    return parameters.state(), Convergence(loss=tuple(losses), best=max(best_step, 0))


def backward(given: GroupObservations, parameters: "Parameters", terms: Terms) -> float:
    """The objective; sets the parameters' gradients to those of the objective times n."""
    rotations, positions = parameters.rotations(), parameters.positions()
    points = parameters.points(rotations, positions)
    matrices = parameters.group_matrices()
    data = data_term(
        given,
        points.detach(),
        matrices.detach(),
        pixels_at_once=terms.pixels_at_once,
    )
    smooth = smoothness(rotations, positions, translation_weight=terms.translation)
    extra = [(terms.smoothness, smooth)]
    for parameter in parameters.free:
        parameter.grad = None
    log_change = parameters.log_change()
    if log_change is not None:
        extra.append((terms.depth_cost, depth_cost(given, log_change)))
    # Times n, because single pixels' shares of a mean would vanish in Adam's epsilon.
    weighted = [weight * given.terms * value for weight, value in extra]
    torch.autograd.backward(
        [points, matrices, *weighted], [data.by_points, data.by_matrices, *[None] * len(weighted)]
    )
    others = sum(weight * value.detach() for weight, value in extra)
    return float(data.total / given.terms + others)


class Parameters:
    """What is optimised; what may not change is no parameter."""

    def __init__(
        self, given: GroupObservations, state: GroupState, freedom: Freedom, *, slowness: float
    ) -> None:
        self._given, self._start, self._freedom = given, state, freedom
        self._slowness = slowness
        # A copy, as autograd keeps it and takes no tensors of inference mode.
        self._centred_xy = given.centred_xy.clone()
        poses = state.world_from_camera[freedom.poses]
        groups = state.world_from_group[freedom.groups]
        coarse = state.log_change
        # Of depth itself, or of its coarse change.
        self._log_depth = _free((state.depth.log() if coarse is None else coarse)[freedom.depths])
        self._turn = _free(quaternion_xyzw_from_matrix(poses[:, :3, :3]))
        self._position = _free(poses[:, :3, 3])
        focal = state.focal.log() * slowness
        self._focal = _free(focal.mean(dim=0, keepdim=True) if freedom.focal == "shared" else focal)
        log_scale = state.scale.log()
        self._mean_log_scale = log_scale.mean().clone()
        self._keeps_mean = bool(freedom.scales.all())
        if self._keeps_mean:
            log_scale = log_scale - log_scale.mean()
        self._log_scale = _free(log_scale[freedom.scales])
        self._group_turn = _free(quaternion_xyzw_from_matrix(groups[:, :3, :3]))
        self._group_position = _free(groups[:, :3, 3])
        self.free = [
            self._log_depth, self._turn, self._position,
            *([] if freedom.focal == "fixed" else [self._focal]),
            self._log_scale, self._group_turn, self._group_position,
        ]  # fmt: skip

    def copy(self) -> list[Tensor]:
        """The values of all parameters."""
        return [parameter.detach().clone() for parameter in self.free]

    @torch.no_grad()
    def restore(self, values: list[Tensor]) -> None:
        """Go back to what `copy` gave."""
        for parameter, value in zip(self.free, values, strict=True):
            parameter.copy_(value)

    def rotations(self) -> Float[Tensor, "frame 3 3"]:
        """Of all cameras."""
        new = matrix_from_quaternion_xyzw(self._turn)
        return _merged(self._start.world_from_camera[:, :3, :3], new, self._freedom.poses)

    def positions(self) -> Float[Tensor, "frame xyz=3"]:
        """Of all cameras."""
        held = self._start.world_from_camera[:, :3, 3]
        return _merged(held, self._position, self._freedom.poses)

    def focals(self) -> Float[Tensor, " frame"]:
        """Of all frames."""
        if self._freedom.focal == "fixed":
            return self._start.focal
        return (self._focal / self._slowness).exp().expand(self._given.frame_count)

    def points(
        self, rotations: Float[Tensor, "frame 3 3"], positions: Float[Tensor, "frame xyz=3"]
    ) -> Float[Tensor, "frame xyz=3 pixel"]:
        """Of all frames' pixels, in the world."""
        log_change = self.log_change()
        depth = self._depth() if log_change is None else self._changed(log_change)
        return frame_points(
            rotations=rotations,
            positions=positions,
            depth=depth,
            focal_px=self.focals(),
            centred_xy=self._centred_xy,
        )

    def log_change(self) -> Float[Tensor, "frame control"] | None:
        """Of all frames' depths, where these are coarse."""
        held = self._start.log_change
        return None if held is None else _merged(held, self._log_depth, self._freedom.depths)

    def log_scales(self) -> Float[Tensor, " group"]:
        """Where all are free their mean stays as it was."""
        if self._keeps_mean:
            return self._log_scale - self._log_scale.mean() + self._mean_log_scale
        return _merged(self._start.scale.log(), self._log_scale, self._freedom.scales)

    def group_matrices(self) -> Float[Tensor, "group 3 4"]:
        """[scale · R | t] of all groups."""
        held, free = self._start.world_from_group, self._freedom.groups
        new = matrix_from_quaternion_xyzw(self._group_turn)
        turned = self.log_scales().exp()[:, None, None] * _merged(held[:, :3, :3], new, free)
        position = _merged(held[:, :3, 3], self._group_position, free)
        return torch.cat([turned, position[:, :, None]], dim=2)

    def _depth(self) -> Float[Tensor, "frame pixel"]:
        return _merged(self._start.depth, self._log_depth.exp(), self._freedom.depths)

    def _changed(self, log_change: Float[Tensor, "frame control"]) -> Float[Tensor, "frame pixel"]:
        return changed_depth(self._given, self._start.depth, log_change)

    @torch.no_grad()
    def state(self) -> GroupState:
        """A copy of where the parameters are; what may not change is as it was."""
        log_scale = self.log_scales()
        pose, group = self._start.world_from_camera.clone(), self._start.world_from_group.clone()
        pose[:, :3, :3], pose[:, :3, 3] = self.rotations(), self.positions()
        matrix = matrix_from_quaternion_xyzw(self._group_turn)
        group[self._freedom.groups, :3, :3] = matrix
        group[self._freedom.groups, :3, 3] = self._group_position
        log_change = self.log_change()
        return replace(
            self._start,
            world_from_camera=pose,
            focal=self.focals().clone(),
            depth=self._depth() if log_change is None else self._start.depth,
            scale=torch.where(self._freedom.scales, log_scale.exp(), self._start.scale),
            world_from_group=group,
            log_change=None if log_change is None else log_change.detach().clone(),
        )


def _merged(
    old: Float[Tensor, "item *rest"],
    new: Float[Tensor, "free *rest"],
    may_change: Bool[Tensor, " item"],
) -> Float[Tensor, "item *rest"]:
    """New values of the items that may change, and the old ones of the others."""
    if len(new) == len(old):
        return new
    # A copy, as autograd takes no tensors of inference mode.
    return old.clone().index_put((may_change.nonzero().flatten(),), new)


def _free(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A parameter with this value."""
    return value.detach().clone().requires_grad_()
