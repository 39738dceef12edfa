"""What alignment finds, what of it may change, and how the finding went."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FocalFreedom: TypeAlias = Literal["shared", "frame", "fixed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupState:
    """Cameras and depths of frames, similarities of groups.

    Attributes:
        world_from_camera: Rigid.
        focal: In the units of `GroupObservations.centred_xy`.
        depth: Along each frame's own axis, of the grid's pixels; of coarse depth what changes.
        log_change: Of the depth's logarithm, at control points; None where depth itself is free.
        scale: What groups' units are in those of the world.
        world_from_group: Rigid; after the scale.
    """

    world_from_camera: Float[Tensor, "frame 4 4"]
    focal: Float[Tensor, " frame"]
    depth: Float[Tensor, "frame pixel"]
    scale: Float[Tensor, " group"]
    world_from_group: Float[Tensor, "group 4 4"]
    log_change: Float[Tensor, "frame control"] | None = None

    def group_matrices(self) -> Float[Tensor, "group 3 4"]:
        """[scale · R | t] of all groups."""
        turned = self.scale[:, None, None] * self.world_from_group[:, :3, :3]
        return torch.cat([turned, self.world_from_group[:, :3, 3:]], dim=2)


@dataclass(frozen=True, kw_only=True, eq=False)
class Freedom:
    """What may change. The rest stays as it is to the last bit.

    Attributes:
        poses: Of which frames.
        depths: Of which frames.
        groups: Whose rotations and positions.
        scales: Of which groups; where all are free their mean logarithm stays, without which
            everything would shrink to a point.
        focal: "shared" is one change for all frames.
    """

    poses: Bool[Tensor, " frame"]
    depths: Bool[Tensor, " frame"]
    groups: Bool[Tensor, " group"]
    scales: Bool[Tensor, " group"]
    focal: FocalFreedom


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is added to the mean distance, and how much memory sums may take.

    Attributes:
        smoothness: Weight of the trajectory's smoothness (MonST3R).
        translation: Weight of moving against turning.
        depth_cost: Weight of coarse changes of depth, in the mean over frames.
        pixels_at_once: Bounds memory beyond the maps themselves; changes rounding only.
    """

    smoothness: float = 0.0
    translation: float = 1.0
    depth_cost: float = 0.0
    pixels_at_once: int = 2**18


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """How the objective fell.

    Attributes:
        loss: Before each step, and after the last one.
        best: Which of them is the smallest; the state is that one's.
    """

    loss: tuple[float, ...]
    best: int

    @property
    def iterations(self) -> int:
        """How many steps were taken."""
        return len(self.loss) - 1

    @property
    def start_was_best(self) -> bool:
        """Whether no step was better than the start."""
        return self.best == 0
