"""Of all windows of a segment a coarse grid of pixels: what adjustment keeps in memory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from dynapoint.alignment.coarse import coarse_depth
from dynapoint.alignment.observations import GroupObservations, RayDistances
from dynapoint.alignment.state import GroupState
from dynapoint.geometry.similarity import split_similarity
from dynapoint.windows.placing import Placements
from dynapoint.windows.spans import Window
from dynapoint.windows.window_maps import WindowMaps

# However many frames there are, the longer side has so many pixels.
_FEWEST_ON_SIDE = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class GridMaps:
    """Pixels of a grid, in every window that holds their frame.

    Attributes:
        windows: Indices of the windows.
        frames: Indices in the clip of the frames, increasing.
        frame: Of each member, its place in `frames`.
        window: Of each member, its place in `windows`; increasing.
        points: In the window's own world.
        eye: Where the member's camera is there.
        depth: In the frame's camera as the window has it, in the window's own unit; 1 where
            nothing is known.
        weight: Of the pixels; the mean of those that are known is about 1.
        rays: In each frame's camera, to depth 1, as its owner has them.
        own_depth: Of each frame, as its owner has it, in the owner's unit.
        uv: Where the pixels are in the maps, from 0 to 1.
        is_owner: Whether the member's window is its frame's owner.
    """

    windows: list[int]
    frames: list[int]
    frame: Int64[Tensor, " member"]
    window: Int64[Tensor, " member"]
    points: Float32[Tensor, "member xyz=3 pixel"]
    eye: Float[Tensor, "member xyz=3"]
    depth: Float32[Tensor, "member pixel"]
    weight: Float32[Tensor, "member pixel"]
    rays: Float32[Tensor, "frame xy=2 pixel"]
    own_depth: Float32[Tensor, "frame pixel"]
    uv: Float[Tensor, "xy=2 pixel"]
    is_owner: Bool[Tensor, " member"]

    def observations(
        self, controls: tuple[int, int], rounding: float, along: float
    ) -> GroupObservations:
        """The same as groups. Distances are the windows' own, weights are over depths."""
        return GroupObservations(
            frame_count=len(self.frames),
            group_count=len(self.windows),
            frame=self.frame,
            group=self.window,
            points=self.points,
            weight=self.weight / self.depth,
            centred_xy=self.rays,
            terms=max(int((self.weight > 0).sum()), 1),
            rounding=rounding * self.depth,
            in_groups=RayDistances(eye=self.eye, along=along),
            coarse=coarse_depth(self.uv, *controls),
        )

    def state(
        self, start: Placements, changes: Float32[np.ndarray, "frame rows columns"]
    ) -> GroupState:
        """The state of placements whose frames have these changes of depth; focal lengths are 1."""
        scale, rigid = split_similarity(torch.from_numpy(start.world_from_window))
        owner = torch.from_numpy(start.owner[self.frames])
        return GroupState(
            world_from_camera=torch.from_numpy(start.world_from_camera[self.frames]),
            focal=torch.ones(len(self.frames)).double(),
            depth=self.own_depth.double() * scale[owner][:, None],
            scale=scale[self.windows],
            world_from_group=rigid[self.windows],
            log_change=torch.from_numpy(changes).double().flatten(1),
        )


def gather(
    windows: Sequence[tuple[int, Window]],
    read: Callable[[int], WindowMaps],
    frames: Sequence[int],
    start: Placements,
    *,
    side: int,
    pixels: int,
) -> GridMaps:
    """Read windows one after another and keep a grid of each.

    Args:
        windows: Indices and windows.
        read: What a window says.
        frames: Of the clip, increasing; others are passed over.
        start: Says which window owns a frame.
        side: How many pixels of the longer side of a map, at most.
        pixels: How many of all maps together, at most, unless that leaves next to none.
    """
    place_of = {frame: place for place, frame in enumerate(frames)}
    members = [
        (place, frame)
        for place, (_, window) in enumerate(windows)
        for frame in window.frames
        if frame in place_of
    ]
    kept = _Kept(members, place_of, side=side, each=pixels // len(members))
    for index, window in windows:
        held = [frame for frame in window.frames if frame in place_of]
        owned = [bool(start.owner[frame] == index) for frame in held]
        kept.add(read(index), held, owned)
    return kept.maps([index for index, _ in windows], list(frames))


class _Kept:
    """What was read so far."""

    def __init__(
        self,
        members: Sequence[tuple[int, int]],
        place_of: dict[int, int],
        *,
        side: int,
        each: int,
    ) -> None:
        self._members, self._place_of = members, place_of
        self._side, self._each = side, each
        self._filled = 0
        self._rows = self._columns = np.zeros(0, dtype=np.int64)

    def _begin(self, map_hw: tuple[int, int]) -> None:
        """Choose the grid and make room."""
        self._map_hw = map_hw
        self._rows, self._columns = _grid(map_hw, self._side, self._each)
        count, pixels = len(self._members), len(self._rows) * len(self._columns)
        self._points = np.zeros((count, 3, pixels), dtype=np.float32)
        self._eye = np.zeros((count, 3))
        self._depth = np.ones((count, pixels), dtype=np.float32)
        self._weight = np.zeros((count, pixels), dtype=np.float32)
        self._rays = np.zeros((len(self._place_of), 2, pixels), dtype=np.float32)
        self._own_depth = np.ones((len(self._place_of), pixels), dtype=np.float32)
        self._owned = np.zeros((len(self._place_of), pixels), dtype=bool)
        self._is_owner = np.zeros(count, dtype=bool)

    def add(self, maps: WindowMaps, frames: Sequence[int], owned: Sequence[bool]) -> None:
        """Take what a window says of some of its frames, and whether it owns them."""
        if not self._filled:
            self._begin((maps.points.shape[1], maps.points.shape[2]))
        local = maps.local(frames)
        grid = np.ix_(np.array(local), self._rows, self._columns)
        points = maps.points[grid].reshape(len(local), -1, 3).astype(np.float64)
        confidence = maps.confidence[grid].reshape(len(local), -1)
        poses = maps.world_from_camera[local]
        inside = (points - poses[:, None, :3, 3]) @ poses[:, :3, :3]
        depth = inside[..., 2]
        known = np.isfinite(points).all(axis=-1) & (depth > 0) & (confidence > 0)
        known &= np.isfinite(confidence)
        taken = slice(self._filled, self._filled + len(local))
        self._points[taken] = np.where(known[..., None], points, 0).transpose(0, 2, 1)
        self._eye[taken] = poses[:, :3, 3]
        self._depth[taken] = np.where(known, depth, 1)
        self._is_owner[taken] = owned
        self._weight[taken] = np.log1p(np.where(known, confidence, 0))
        for k, (frame, is_owned) in enumerate(zip(frames, owned, strict=True)):
            if is_owned:
                place = self._place_of[frame]
                rays = inside[k, :, :2] / np.where(known[k], depth[k], 1)[:, None]
                self._rays[place] = np.where(known[k][:, None], rays, 0).T
                self._own_depth[place] = np.where(known[k], depth[k], 1)
                self._owned[place] = known[k]
        self._filled = taken.stop

    def maps(self, windows: list[int], frames: list[int]) -> GridMaps:
        """All that was read."""
        window, frame = np.array(self._members).T
        place = np.array([self._place_of[each] for each in frame.tolist()])
        # What the owner does not know has no ray.
        self._weight *= self._owned[place]
        mean = self._weight[self._weight > 0].mean() if (self._weight > 0).any() else 1.0
        self._weight /= mean
        height, width = self._map_hw
        y, x = np.meshgrid(
            (self._rows + 0.5) / height, (self._columns + 0.5) / width, indexing="ij"
        )
        return GridMaps(
            windows=windows,
            frames=frames,
            frame=torch.from_numpy(place),
            window=torch.from_numpy(window.copy()),
            points=torch.from_numpy(self._points),
            eye=torch.from_numpy(self._eye),
            depth=torch.from_numpy(self._depth),
            weight=torch.from_numpy(self._weight),
            rays=torch.from_numpy(self._rays),
            own_depth=torch.from_numpy(self._own_depth),
            uv=torch.from_numpy(np.stack([x.ravel(), y.ravel()])),
            is_owner=torch.from_numpy(self._is_owner),
        )


def _grid(
    map_hw: tuple[int, int], side: int, each: int
) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " column"]]:
    """Evenly spread rows and columns: so many on the longer side unless pixels are too many."""
    longer, shorter = max(map_hw), min(map_hw)
    side = min(side, longer, max(math.floor(math.sqrt(each * longer / shorter)), _FEWEST_ON_SIDE))
    counts = [max(1, round(side * length / longer)) for length in map_hw]
    rows, columns = (
        np.floor((np.arange(count) + 0.5) * length / count).astype(np.int64)
        for count, length in zip(counts, map_hw, strict=True)
    )
    return rows, columns
