"""Global alignment: one depth map, pose and focal length for every frame, from many pairs' maps."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.errors import ConfigError
from dynapoint.models.layers.pose_encoding import (
    matrix_from_quaternion_xyzw,
    quaternion_xyzw_from_matrix,
)
from dynapoint.models.pairwise.objective import data_term, frame_points, smoothness
from dynapoint.models.pairwise.observations import PairObservations
from dynapoint.models.pairwise.start import AlignmentState, spanning_tree_start
from dynapoint.progress import steps


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """How pairs are aligned. The numbers are those of MonST3R's code.

    DPM says no more than that it aligns as MonST3R does without the optical-flow term: that its
    own numbers are these, and that P_a(t_a) and P_b(t_b) are the maps aligned, is unconfirmed.
    """

    iterations: int = 300
    learning_rate: float = 0.01
    """Of Adam at the start; unconfirmed for DPM."""
    final_learning_rate: float = 1e-3
    """The rate falls to this linearly; unconfirmed for DPM."""
    betas: tuple[float, float] = (0.9, 0.9)
    """Adam's; unconfirmed for DPM."""
    smoothness: float = 0.01
    """Weight of the trajectory's smoothness against the mean data term; unconfirmed for DPM."""
    smoothness_of_translation: float = 1.0
    """Weight of moving against turning; in units of the median depth. Unconfirmed for DPM."""
    share_focal: bool = True
    """One focal length for all frames; unconfirmed for DPM."""
    focal_slowness: float = 20.0
    """The focal length is exp(parameter / slowness), so that it moves so much more slowly."""
    pixel_stride: int = 1
    """Every so many rows and columns are aligned; own choice, the papers' is 1."""
    pixels_at_once: int = 2**18
    """Bounds memory beyond the maps themselves; changes rounding only."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            ConfigError: A count, a rate or a stride is too small.
        """
        rates = (self.learning_rate, self.final_learning_rate, self.focal_slowness)
        if self.iterations < 0 or self.pixel_stride < 1 or self.pixels_at_once < 1:
            raise ConfigError(
                f"alignment has {self.iterations} iterations, pixel stride {self.pixel_stride} and "
                f"{self.pixels_at_once} pixels at once; they must be at least 0, 1 and 1"
            )
        if min(rates) <= 0:
            raise ConfigError(f"alignment rates {rates} must be positive")


@dataclass(frozen=True, kw_only=True)
class Alignment(AlignmentState):
    """The aligned clip, in the pairs' units: the geometric mean of all `pair_scale` is 1.

    `loss[k]` is the objective before step k, the last one after all steps; the state is that of
    the smallest.
    """

    loss: tuple[float, ...] = field(repr=False)


def align(
    given: PairObservations, config: AlignmentConfig | None = None, *, progress: bool = False
) -> Alignment:
    """Align pairs from `start.spanning_tree_start` on.

    Args:
        given: The maps of the pairs.
        config: How.
        progress: Show a bar on standard error.
    """
    config = config or AlignmentConfig()
    state = spanning_tree_start(given, share_focal=config.share_focal)
    return refine(given, state, config, progress=progress)


def refine(
    given: PairObservations,
    state: AlignmentState,
    config: AlignmentConfig,
    *,
    progress: bool = False,
) -> Alignment:
    """Align pairs from a given state on, whose median depth should be near 1.

    What is fixed: camera 0 is the world, and the mean logarithm of the pairs' scales stays, without
    which everything would shrink to a point. Adam ends within about its last rate of a minimum of
    unsquared distances and, unlike the papers' code, the best state it passed is kept: exact
    maps, whose start is exact, are not made worse.
    """
    # Networks run in inference mode, whose tensors cannot be optimised.
    with torch.inference_mode(False), torch.enable_grad():
        parameters = _Parameters(given, state, config)
        optimiser = torch.optim.Adam(parameters.free, lr=config.learning_rate, betas=config.betas)
        losses: list[float] = []
        best, best_loss = parameters.copy(), float("inf")
        for step in steps(range(config.iterations + 1), "aligning", wanted=progress):
            loss = _backward(given, parameters, config)
            losses.append(loss)
            if loss < best_loss:
                best, best_loss = parameters.copy(), loss
            share = step / max(config.iterations - 1, 1)
            rate = config.learning_rate + share * (
                config.final_learning_rate - config.learning_rate
            )
            optimiser.param_groups[0]["lr"] = rate
            if step < config.iterations:
                optimiser.step()
        parameters.restore(best)
    return _in_units_of_pairs(parameters.state(), losses)


def _backward(given: PairObservations, parameters: "_Parameters", config: AlignmentConfig) -> float:
    """The objective; sets the parameters' gradients to those of the objective times n."""
    rotations, positions = parameters.rotations(), parameters.positions()
    points = parameters.points(rotations, positions)
    matrices = parameters.pair_matrices()
    total, by_points, by_matrices = data_term(
        given, points.detach(), matrices.detach(), pixels_at_once=config.pixels_at_once
    )
    terms = len(given.firsts) * points.shape[-1]
    smooth = smoothness(
        rotations,
        positions,
        translation_weight=config.smoothness_of_translation,
    )
    for parameter in parameters.free:
        parameter.grad = None
    # Times n, because single pixels' shares of a mean would vanish in Adam's epsilon.
    torch.autograd.backward(
        [points, matrices, config.smoothness * terms * smooth], [by_points, by_matrices, None]
    )
    return float(total / terms + config.smoothness * smooth.detach())


class _Parameters:
    """What is optimised. Frame 0's pose is no parameter: its camera is the world."""

    def __init__(
        self, given: PairObservations, state: AlignmentState, config: AlignmentConfig
    ) -> None:
        self._slowness = config.focal_slowness
        self._grid_hw = state.depth.shape[1:]
        # A copy, as autograd keeps it and takes no tensors of inference mode.
        self._centred_xy = given.centred_xy.flatten(1).clone()
        self._log_depth = _free(state.depth.flatten(1).log())
        self._turn = _free(quaternion_xyzw_from_matrix(state.world_from_camera[1:, :3, :3]))
        self._position = _free(state.world_from_camera[1:, :3, 3])
        focal = state.focal_px.log() * self._slowness
        self._focal = _free(focal.mean(dim=0, keepdim=True) if config.share_focal else focal)
        log_scale = state.pair_scale.log()
        self._mean_log_scale = log_scale.mean().clone()
        self._log_scale = _free(log_scale - log_scale.mean())
        self._pair_turn = _free(quaternion_xyzw_from_matrix(state.world_from_pair[:, :3, :3]))
        self._pair_position = _free(state.world_from_pair[:, :3, 3])
        self.free = [
            self._log_depth, self._turn, self._position, self._focal,
            self._log_scale, self._pair_turn, self._pair_position,
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
        first = torch.eye(3, dtype=self._turn.dtype, device=self._turn.device)
        return torch.cat([first[None], matrix_from_quaternion_xyzw(self._turn)])

    def positions(self) -> Float[Tensor, "frame xyz=3"]:
        """Of all cameras."""
        return torch.cat([self._position.new_zeros(1, 3), self._position])

    def focals(self) -> Float[Tensor, " frame"]:
        """Of all frames."""
        return (self._focal / self._slowness).exp().expand(len(self._log_depth))

    def points(
        self, rotations: Float[Tensor, "frame 3 3"], positions: Float[Tensor, "frame xyz=3"]
    ) -> Float[Tensor, "frame xyz=3 pixel"]:
        """Of all frames' pixels, in the world."""
        return frame_points(
            rotations=rotations,
            positions=positions,
            depth=self._log_depth.exp(),
            focal_px=self.focals(),
            centred_xy=self._centred_xy,
        )

    def pair_scales(self) -> Float[Tensor, " pair"]:
        """Their mean logarithm stays as it was."""
        return (self._log_scale - self._log_scale.mean() + self._mean_log_scale).exp()

    def pair_matrices(self) -> Float[Tensor, "pair 3 4"]:
        """[scale · R | t] of all pairs."""
        rotation = matrix_from_quaternion_xyzw(self._pair_turn)
        turned = self.pair_scales()[:, None, None] * rotation
        return torch.cat([turned, self._pair_position[:, :, None]], dim=2)

    @torch.no_grad()
    def state(self) -> AlignmentState:
        """A copy of where the parameters are."""
        return AlignmentState(
            world_from_camera=_rigid(self.rotations(), self.positions()),
            focal_px=self.focals().clone(),
            depth=self._log_depth.exp().unflatten(1, self._grid_hw),
            pair_scale=self.pair_scales(),
            world_from_pair=_rigid(
                matrix_from_quaternion_xyzw(self._pair_turn), self._pair_position
            ),
        )


def _free(value: Tensor) -> Tensor:
    """A parameter with this value."""
    return value.detach().clone().requires_grad_()


def _rigid(
    rotations: Float[Tensor, "count 3 3"], positions: Float[Tensor, "count xyz=3"]
) -> Float[Tensor, "count 4 4"]:
    """Rigid transforms."""
    matrix = torch.eye(4, dtype=positions.dtype, device=positions.device).repeat(
        len(positions), 1, 1
    )
    matrix[:, :3, :3] = rotations
    matrix[:, :3, 3] = positions
    return matrix


def _in_units_of_pairs(state: AlignmentState, losses: list[float]) -> Alignment:
    """The state in units in which the geometric mean of the pairs' scales is 1."""
    unit = state.pair_scale.log().mean().exp()
    poses, pair_poses = state.world_from_camera.clone(), state.world_from_pair.clone()
    poses[:, :3, 3] /= unit
    pair_poses[:, :3, 3] /= unit
    return Alignment(
        world_from_camera=poses,
        focal_px=state.focal_px,
        depth=state.depth / unit,
        pair_scale=state.pair_scale / unit,
        world_from_pair=pair_poses,
        loss=tuple(losses),
    )
