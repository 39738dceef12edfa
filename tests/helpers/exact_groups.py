"""Frames in groups whose maps agree exactly, and noise on them."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dynapoint.alignment.coarse import coarse_depth
from dynapoint.alignment.objective import points_of
from dynapoint.alignment.observations import GroupObservations, RayDistances
from dynapoint.alignment.state import Freedom, GroupState

ROWS, COLUMNS = 6, 9


def random_rigid(rng: np.random.Generator, count: int, by: float = 1.0) -> torch.Tensor:
    matrix = np.tile(np.eye(4), (count, 1, 1))
    matrix[:, :3, :3] = Rotation.from_rotvec(by * rng.normal(size=(count, 3))).as_matrix()
    matrix[:, :3, 3] = by * rng.normal(size=(count, 3))
    return torch.from_numpy(matrix)


def exact_groups(
    seed: int,
    groups: Sequence[Sequence[int]],
    *,
    noise: float = 0.0,
    along: float | None = 0.3,
    rounding: float = 0.0,
    coarse: bool = True,
) -> tuple[GroupObservations, GroupState]:
    """Observations and the state that made them.

    Every frame's depths are its own, as if everything moved; `noise` is the standard deviation of
    points against their distance. With `along` distances are the groups' own, without the world's.
    """
    rng = np.random.default_rng(seed)
    frames = 1 + max(max(group) for group in groups)
    x, y = np.meshgrid((np.arange(COLUMNS) + 0.5) / COLUMNS, (np.arange(ROWS) + 0.5) / ROWS)
    uv = torch.from_numpy(np.stack([x.ravel(), y.ravel()]))
    poses = random_rigid(rng, frames, 0.3)
    poses[0] = torch.eye(4)
    state = GroupState(
        world_from_camera=poses,
        focal=torch.from_numpy(rng.uniform(0.9, 1.1, frames)),
        depth=torch.from_numpy(rng.uniform(0.7, 1.5, (frames, uv.shape[1]))),
        scale=torch.from_numpy(np.exp(rng.normal(scale=0.5, size=len(groups)))),
        world_from_group=random_rigid(rng, len(groups)),
        log_change=torch.zeros(frames, 6).double() if coarse else None,
    )
    members = [(group, frame) for group, inside in enumerate(groups) for frame in inside]
    group, frame = (torch.tensor(each) for each in zip(*members, strict=True))
    eye = torch.zeros(len(members), 3).double()
    given = GroupObservations(
        frame_count=frames,
        group_count=len(groups),
        frame=frame,
        group=group,
        points=torch.zeros(len(members), 3, uv.shape[1]).double(),
        weight=torch.from_numpy(rng.uniform(0.5, 1.5, (len(members), uv.shape[1]))),
        centred_xy=(uv - 0.5) * 1.2,
        terms=len(members) * uv.shape[1],
        rounding=torch.full((len(members), uv.shape[1]), rounding).double() if rounding else None,
        in_groups=None
        if along is None
        else RayDistances(eye=torch.zeros(len(members), 3).double(), along=along),
        coarse=coarse_depth(uv, 2, 3) if coarse else None,
    )
    world = points_of(given, state)[frame]
    rigid = state.world_from_group[group]
    back = rigid[:, :3, :3].transpose(1, 2) / state.scale[group, None, None]
    given.points[:] = back @ (world - rigid[:, :3, 3:])
    eye[:] = (back @ (state.world_from_camera[frame, :3, 3:] - rigid[:, :3, 3:]))[..., 0]
    given.points.mul_(1 + noise * torch.from_numpy(rng.normal(size=(len(members), 1, uv.shape[1]))))
    return given, state


def all_but_gauge(given: GroupObservations, focal: str = "fixed") -> Freedom:
    """Everything may change but the first pose and the first scale."""
    frames, groups = (
        torch.ones(count, dtype=torch.bool) for count in (given.frame_count, given.group_count)
    )
    poses, scales = frames.clone(), groups.clone()
    poses[0] = scales[0] = False
    return Freedom(poses=poses, depths=frames, groups=groups, scales=scales, focal=focal)  # type: ignore[arg-type]


def shaken(state: GroupState, by: float, seed: int) -> GroupState:
    """A state with noise on everything but the first pose, the first scale and the lens."""
    rng = np.random.default_rng(seed)
    poses, groups = (
        each @ random_rigid(rng, len(each), by)
        for each in (state.world_from_camera, state.world_from_group)
    )
    poses[0] = state.world_from_camera[0]
    zoom = torch.from_numpy(np.exp(by * rng.normal(size=len(state.scale))))
    zoom[0] = 1.0
    depth, change = state.depth, state.log_change
    if change is None:
        depth = depth * torch.from_numpy(np.exp(by * rng.normal(size=tuple(depth.shape))))
    else:
        change = change + torch.from_numpy(by * rng.normal(size=tuple(change.shape)))
    return GroupState(
        world_from_camera=poses,
        focal=state.focal,
        depth=depth,
        scale=state.scale * zoom,
        world_from_group=groups,
        log_change=change,
    )
