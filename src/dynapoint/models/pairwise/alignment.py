"""Global alignment: one depth map, pose and focal length for every frame, from many pairs' maps."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool
from torch import Tensor

from dynapoint.alignment.observations import GroupObservations
from dynapoint.alignment.optimiser import AdamPlan, adam
from dynapoint.alignment.state import Convergence, Freedom, GroupState, Terms
from dynapoint.errors import ConfigError
from dynapoint.models.pairwise.observations import PairObservations
from dynapoint.models.pairwise.start import AlignmentState, spanning_tree_start


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
    """Align pairs, as groups of two frames, from a given state on; its median depth be near 1.

    What is fixed: camera 0 is the world, and the mean logarithm of the pairs' scales.
    """
    groups = as_groups(given)
    start = GroupState(
        world_from_camera=state.world_from_camera,
        focal=state.focal_px,
        depth=state.depth.flatten(1),
        scale=state.pair_scale,
        world_from_group=state.world_from_pair,
    )
    frames, pairs = _all(groups.frame_count, given), _all(groups.group_count, given)
    but_the_first = frames.clone()
    but_the_first[0] = False
    aligned, convergence = adam(
        groups,
        start,
        Freedom(
            poses=but_the_first, depths=frames, groups=pairs, scales=pairs,
            focal="shared" if config.share_focal else "frame",
        ),
        Terms(
            smoothness=config.smoothness,
            translation=config.smoothness_of_translation,
            pixels_at_once=config.pixels_at_once,
        ),
        AdamPlan(
            iterations=config.iterations,
            learning_rate=config.learning_rate,
            final_learning_rate=config.final_learning_rate,
            betas=config.betas,
            focal_slowness=config.focal_slowness,
        ),
        progress=progress,
    )  # fmt: skip
    return _in_units_of_pairs(aligned, convergence, given)


def as_groups(given: PairObservations) -> GroupObservations:
    """Pairs as groups of two: the first frames of all pairs, then the second ones."""
    pairs, device = len(given.firsts), given.points.device
    return GroupObservations(
        frame_count=given.frame_count,
        group_count=pairs,
        frame=torch.tensor([*given.firsts, *given.seconds], device=device),
        group=torch.arange(pairs, device=device).repeat(2),
        # No copy of what `PairCollector` keeps.
        points=given.points.transpose(0, 1).flatten(0, 1).flatten(2),
        weight=given.weight.transpose(0, 1).flatten(0, 1).flatten(1),
        centred_xy=given.centred_xy.flatten(1),
        terms=pairs * given.centred_xy[0].numel(),
    )


def _all(count: int, given: PairObservations) -> Bool[Tensor, " count"]:
    """All of so many may change."""
    return torch.ones(count, dtype=torch.bool, device=given.points.device)


def _in_units_of_pairs(
    state: GroupState, convergence: Convergence, given: PairObservations
) -> Alignment:
    """The state in units in which the geometric mean of the pairs' scales is 1."""
    unit = state.scale.log().mean().exp()
    poses, pair_poses = state.world_from_camera.clone(), state.world_from_group.clone()
    poses[:, :3, 3] /= unit
    pair_poses[:, :3, 3] /= unit
    return Alignment(
        world_from_camera=poses,
        focal_px=state.focal,
        depth=state.depth.unflatten(1, given.centred_xy.shape[1:]) / unit,
        pair_scale=state.scale / unit,
        world_from_pair=pair_poses,
        loss=convergence.loss,
    )
