"""Where points are seen in other frames, as they were followed, and what that says of their motion.

A network knows about where a thing goes; a path along the flow from frame to frame knows to a pixel
or so which pixel shows it later, where it can be followed at all. That pixel's ray holds the point.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32, Float64
from torch import Tensor

from dynapoint.geometry.arrays import pixel_centres, transform_points
from dynapoint.geometry.between_pixels import flow_between_pixels

# A path counts not at all up to the lower weight, and fully from the upper one on: of pixels that
# were found to move, and of those of which nothing was found.
MOVING_FROM, MOVING_TO = 0.2, 0.5
UNKNOWN_FROM, UNKNOWN_TO = 0.6, 0.85
# Of the latter only if it ends so far from where the still point would lie, in shares of the maps'
# longer side: most are still, and small errors of flow are more common there than small motions.
OFF_FROM, OFF_TO = 0.027, 0.045


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """The camera of a time.

    Attributes:
        camera_from_world: Its pose.
        intrinsics: In pixels of the maps.
    """

    camera_from_world: Float64[np.ndarray, "4 4"]
    intrinsics: Float64[np.ndarray, "3 3"]

    def in_camera(
        self, points: Float[np.ndarray, "*pixels xyz=3"]
    ) -> Float64[np.ndarray, "*pixels xyz=3"]:
        """Points of the world in the camera."""
        return transform_points(self.camera_from_world, points)

    def pixels(self, seen: Float64[np.ndarray, "point xyz=3"]) -> Float64[np.ndarray, "point xy=2"]:
        """Where points in the camera fall."""
        lens = self.intrinsics
        return seen[:, :2] / seen[:, 2:] * lens[[0, 1], [0, 1]] + lens[:2, 2]

    def rays(self, xy: Float64[np.ndarray, "point xy=2"]) -> Float64[np.ndarray, "point xyz=3"]:
        """What falls there, at depth 1 in the camera."""
        lens = self.intrinsics
        slope = (xy - lens[:2, 2]) / lens[[0, 1], [0, 1]]
        return np.concatenate([slope, np.ones((len(slope), 1))], axis=1)


@dataclass(frozen=True, kw_only=True)
class FollowedPaths:
    """Flow between neighbouring frames, and how far it can be relied on.

    It has a grid of its own, which shows what the maps show, and is in pixels of that.

    Attributes:
        forward: From frame k to frame k + 1.
        forward_weight: In [0, 1]; 0 where nothing is known.
        backward: From frame k + 1 to frame k.
        backward_weight: The same.
    """

    forward: Float16[Tensor, "pair height width xy=2"]
    forward_weight: Float16[Tensor, "pair height width"]
    backward: Float16[Tensor, "pair height width xy=2"]
    backward_weight: Float16[Tensor, "pair height width"]

    @classmethod
    def of(
        cls,
        forward: list[tuple[np.ndarray, np.ndarray]],
        backward: list[tuple[np.ndarray, np.ndarray]],
    ) -> "FollowedPaths":
        """From (flow, weight) of every pair of neighbours, there and back."""
        flows, weights = (
            [
                torch.from_numpy(np.stack([pair[part] for pair in way]).astype(np.float16))
                for way in (forward, backward)
            ]
            for part in (0, 1)
        )
        return cls(
            forward=flows[0],
            forward_weight=weights[0],
            backward=flows[1],
            backward_weight=weights[1],
        )

    def places(
        self, frame: int, time: int, wanted: Bool[np.ndarray, "height width"]
    ) -> tuple[Float64[np.ndarray, "height width xy=2"], Float32[np.ndarray, "height width"]]:
        """Where the pixels of a frame's map that are wanted are seen in another's, and weights.

        In pixels of the maps, centres at half-integers. Those whose weight has become too small to
        count stay where they were last; all that are not wanted have weight 0.
        """
        height, width = wanted.shape
        scale = self._scale((height, width))
        xy = pixel_centres((height, width)).reshape(-1, 2) * scale
        weight = wanted.reshape(-1).astype(np.float32)
        way = range(frame, time) if time > frame else range(frame, time, -1)
        for each in way:
            self._carry_on(xy, weight, each, ahead=time > frame)
        return (xy / scale).reshape(height, width, 2), weight.reshape(height, width)

    def onward(
        self,
        frame: int,
        xy: Float64[np.ndarray, "point xy=2"],
        weight: Float32[np.ndarray, " point"],
        map_hw: tuple[int, int],
        *,
        reach: int | None = None,
    ) -> tuple[Float64[np.ndarray, "frame point xy=2"], Float32[np.ndarray, "frame point"]]:
        """Where points of a frame's map are seen in all frames, as `places` has it.

        Beyond `reach` frames to both sides they stay where they are in their own.

        Args:
            frame: Whose points.
            xy: Where, in pixels of the maps.
            weight: Theirs at their own time.
            map_hw: Height and width of the maps.
            reach: How many frames away they are followed at most; None for all.
        """
        count, scale = len(self.forward) + 1, self._scale(map_hw)
        places = np.tile(xy * scale, (count, 1, 1))
        weights = np.tile(weight, (count, 1))
        far = count if reach is None else reach
        last, first = min(count - 1, frame + far), max(0, frame - far)
        for ahead, way in ((True, range(frame, last)), (False, range(frame, first, -1))):
            for each in way:
                there = each + 1 if ahead else each - 1
                places[there], weights[there] = places[each], weights[each]
                self._carry_on(places[there], weights[there], each, ahead=ahead)
        return places / scale, weights

    def _scale(self, map_hw: tuple[int, int]) -> Float64[np.ndarray, " xy=2"]:
        """Pixels of the flow for one of the maps."""
        rows, columns = self.forward_weight.shape[1:]
        return np.array([columns / map_hw[1], rows / map_hw[0]])

    def _carry_on(
        self,
        xy: Float64[np.ndarray, "point xy=2"],
        weight: Float32[np.ndarray, " point"],
        frame: int,
        *,
        ahead: bool,
    ) -> None:
        """Carry points from a frame to the next one, or the one before, in place."""
        flows, weights, step = (
            (self.forward, self.forward_weight, frame)
            if ahead
            else (self.backward, self.backward_weight, frame - 1)
        )
        going = np.flatnonzero(weight > MOVING_FROM)
        flow, sure = flow_between_pixels(
            flows[step].cpu().numpy(), weights[step].cpu().numpy(), xy[going]
        )
        xy[going] += flow
        weight[going] *= sure

    def drawn_to(
        self,
        moved: Float64[np.ndarray, "height width xyz=3"],
        own: Float32[np.ndarray, "height width xyz=3"],
        camera: Camera,
        *,
        frame: int,
        time: int,
        moves: Bool[np.ndarray, "height width"],
        stays: Bool[np.ndarray, "height width"],
    ) -> Float64[np.ndarray, "height width xyz=3"]:
        """Displacements of a frame's pixels, drawn to where their paths lead as far as these count.

        Args:
            moved: The displacements as they are without paths.
            own: The frame's points at its own time.
            camera: The other time's.
            frame: Whose pixels.
            time: The frame whose time it is.
            moves: Pixels that are known to move at some time.
            stays: Pixels whose displacements are not to be touched.
        """
        places, weight = self.places(frame, time, ~stays)
        count = np.where(
            moves,
            _rising(weight, MOVING_FROM, MOVING_TO),
            _rising(weight, UNKNOWN_FROM, UNKNOWN_TO),
        )
        here, ahead = camera.in_camera(own), camera.in_camera(own + moved)
        chosen = (count > 0) & (here[..., 2] > 0) & (ahead[..., 2] > 0)
        if not chosen.any():
            return moved
        ray = camera.rays(places[chosen])
        off_px = np.linalg.norm(camera.pixels(here[chosen]) - places[chosen], axis=1)
        off = _rising(off_px / max(moves.shape), OFF_FROM, OFF_TO)
        goes = np.where(moves[chosen], 1.0, off)
        along = (ahead[chosen] * ray).sum(axis=1) / (ray * ray).sum(axis=1)
        # From where the point is without paths to the nearest point of the ray.
        change = (along[:, None] * ray - ahead[chosen]) @ camera.camera_from_world[:3, :3]
        drawn = moved.copy()
        drawn[chosen] += (count[chosen] * goes)[:, None] * change
        return drawn


def _rising(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 up to `start`, 1 from `end` on, smooth between."""
    part = np.clip((values - start) / (end - start), 0, 1)
    return np.asarray(part * part * (3 - 2 * part))
