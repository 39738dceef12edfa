"""What refinement changed of a clip's maps, and so what becomes of points at further times."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor

from dynapoint.geometry.arrays import transform_points
from dynapoint.models.kept.followed_paths import Camera, FollowedPaths
from dynapoint.models.kept.still_motion import StillWorldMotion

UNKNOWN, STILL, MOVING = 0, 1, 2
"""What matches tell of a pixel."""

# Of the depth there: a still point this near to what a pixel shows at another time is that.
_SAME_DEPTH = 0.1


@dataclass(frozen=True, kw_only=True)
class Correction:
    """How displacements follow from a network's, frame by frame.

    A network displaces points in its own world. They go with their pixel: turned with the camera
    of their frame, longer by as much as the pixel became deeper, and across as the lens has it. A
    pixel that was found to be still stays, unless it would then lie on one that was found to move.

    Attributes:
        displaced: The refined world's displacement from the network's, at unchanged depth.
        depth_ratio: By how much each pixel became deeper.
        evidence: `STILL`, `MOVING` or `UNKNOWN` for each pixel.
        camera_from_world: The refined cameras.
        intrinsics: Refined, in pixels of the maps.
        followed: Where points are seen in other frames, if they were followed from one to the next.
        still_motion: Where what moves is at all times, of a network that knows a still world only;
            `followed` is None then, as nothing else is asked of it.
    """

    displaced: Float64[Tensor, "frame 3 3"]
    depth_ratio: Float32[Tensor, "frame height width"]
    evidence: UInt8[Tensor, "frame height width"]
    camera_from_world: Float64[Tensor, "frame 4 4"]
    intrinsics: Float64[Tensor, "frame 3 3"]
    followed: FollowedPaths | None = None
    still_motion: StillWorldMotion | None = None

    @classmethod
    def between(
        cls,
        *,
        network_poses: Float64[np.ndarray, "frame 4 4"],
        network_intrinsics: Float64[np.ndarray, "frame 3 3"],
        poses: Float64[np.ndarray, "frame 4 4"],
        intrinsics: Float64[np.ndarray, "frame 3 3"],
        depth_ratio: Float32[np.ndarray, "frame height width"],
        evidence: UInt8[np.ndarray, "frame height width"],
        followed: FollowedPaths | None = None,
        still_motion: StillWorldMotion | None = None,
    ) -> "Correction":
        """From a network's cameras to refined ones (world-from-camera)."""
        across = network_intrinsics[:, [0, 1], [0, 1]] / intrinsics[:, [0, 1], [0, 1]]
        stretch = np.concatenate([across, np.ones((len(across), 1))], axis=1)
        turn = poses[:, :3, :3] @ (stretch[:, :, None] * network_poses[:, :3, :3].swapaxes(1, 2))
        return cls(
            displaced=torch.from_numpy(turn),
            depth_ratio=torch.from_numpy(np.ascontiguousarray(depth_ratio)),
            evidence=torch.from_numpy(np.ascontiguousarray(evidence)),
            camera_from_world=torch.from_numpy(np.linalg.inv(poses)),
            intrinsics=torch.from_numpy(np.array(intrinsics)),
            followed=followed,
            still_motion=still_motion,
        )

    def scaled(self, factor: float) -> "Correction":
        """The same in a world in which all lengths are multiplied by a factor."""
        poses = self.camera_from_world.clone()
        poses[:, :3, 3] *= factor
        motion = None if self.still_motion is None else self.still_motion.scaled(factor)
        return replace(self, camera_from_world=poses, still_motion=motion)

    @np.errstate(all="ignore")
    def placed(
        self,
        displacement: Float32[np.ndarray, "height width xyz=3"],
        own_points: Float32[np.ndarray, "frame height width xyz=3"],
        *,
        frame: int,
        time: int,
    ) -> Float32[np.ndarray, "height width xyz=3"]:
        """Points of a frame at a time, in the refined world.

        Args:
            displacement: The network's, from the frame's own time, in its world.
            own_points: Refined own-time maps.
            frame: Whose pixels.
            time: A frame whose time it is.
        """
        turn = self.displaced[frame].cpu().numpy()
        ratio = self.depth_ratio[frame].cpu().numpy()[..., None]
        moved = (displacement.astype(np.float64) @ turn.T) * ratio
        stays = self._stays(own_points, frame, time)
        moved[stays] = 0.0
        if self.followed is not None:
            camera = Camera(
                camera_from_world=self.camera_from_world[time].cpu().numpy(),
                intrinsics=self.intrinsics[time].cpu().numpy(),
            )
            moves = self.evidence[frame].cpu().numpy() == MOVING
            moved = self.followed.drawn_to(
                moved, own_points[frame], camera, frame=frame, time=time, moves=moves, stays=stays
            )
        return (own_points[frame] + moved).astype(np.float32)

    def carried(
        self,
        own_points: Float32[np.ndarray, "frame height width xyz=3"],
        *,
        frame: int,
        time: int,
    ) -> tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]:
        """Points of a frame of a still world at a time, and how much of their confidence is left.

        All of it, and to the last bit where they were, if no motion is known.
        """
        own = own_points[frame]
        if self.still_motion is None:
            return own, np.ones(own.shape[:2], dtype=np.float32)
        pose = self.camera_from_world[frame].cpu().numpy()
        moved, left = self.still_motion.moved(own, pose, frame=frame, time=time)
        return own + moved, left

    def _stays(
        self, own_points: Float32[np.ndarray, "frame height width xyz=3"], frame: int, time: int
    ) -> Bool[np.ndarray, "height width"]:
        """Pixels of a frame that are where they were at a time."""
        evidence = self.evidence.cpu().numpy()
        still = evidence[frame] == STILL
        pose, lens = (
            each[time].cpu().numpy() for each in (self.camera_from_world, self.intrinsics)
        )
        seen = transform_points(pose, own_points[frame])
        ahead = np.maximum(seen[..., 2], 1e-9)
        height, width = still.shape
        column = np.floor(seen[..., 0] / ahead * lens[0, 0] + lens[0, 2])
        row = np.floor(seen[..., 1] / ahead * lens[1, 1] + lens[1, 2])
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        inside &= seen[..., 2] > 0
        place = (
            np.where(inside, row, 0).astype(np.int64),
            np.where(inside, column, 0).astype(np.int64),
        )
        there = transform_points(pose, own_points[time])[..., 2][place]
        near = np.abs(seen[..., 2] - there) < _SAME_DEPTH * np.abs(there)
        stays: Bool[np.ndarray, "height width"] = still & ~(
            inside & near & (evidence[time][place] == MOVING)
        )
        return stays
