"""Poses of cameras that are known: reading them, and whose they are."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from dynapoint.data.frames import Frames
from dynapoint.errors import InputError
from dynapoint.inference.given_lengths import read_trajectory

WANTED = (
    "world-from-camera matrices (pose, 4, 4) as an array or a .npy file, or lines of time x y z qx "
    "qy qz qw (TUM's format)"
)
# Poses are those of a frame if they are at most this far from it.
_SAME_TIME_S = 0.02
# How far the columns of a rotation may be from orthonormal: files have six digits.
_ORTHONORMAL = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenPoses:
    """Poses as they were given, world-from-camera in OpenCV axes.

    Attributes:
        times_s: Of each pose; None where only their order tells whose they are.
        name: What to call them in a message.
    """

    world_from_camera: Float64[np.ndarray, "pose 4 4"]
    times_s: Float64[np.ndarray, " pose"] | None
    name: str


def known_poses(given: ArrayLike | Path | str, frames: Frames) -> Float64[np.ndarray, "frame 4 4"]:
    """The known pose of each frame used.

    Poses are those of the source's frames or of those used, in their order, where they are as many;
    others are told by their times.

    Raises:
        InputError: They cannot be read, are no rigid poses, or some frame has none.
    """
    poses = read_poses(given)
    count = len(poses.world_from_camera)
    if count == frames.source_count:
        return poses.world_from_camera[frames.source_frame_index]
    if count == frames.count:
        return poses.world_from_camera
    if poses.times_s is None:
        raise InputError(
            f"{poses.name} has {count} poses for {frames.count} frames of a source of "
            f"{frames.source_count}; give one for each"
        )
    apart = np.abs(poses.times_s - frames.timestamps_s[:, None])
    apart = np.where(np.isfinite(apart), apart, np.inf)
    alone = np.flatnonzero(apart.min(axis=1) > _SAME_TIME_S)
    if len(alone):
        raise InputError(
            f"{poses.name} has no pose within {_SAME_TIME_S} s of frame {alone[0]} and "
            f"{len(alone) - 1} others; give one line for each frame, or times that are the frames'"
        )
    return poses.world_from_camera[apart.argmin(axis=1)]


def read_poses(given: ArrayLike | Path | str) -> GivenPoses:
    """Poses from whatever holds them.

    Raises:
        InputError: They cannot be read or are no rigid poses.
    """
    if not isinstance(given, str | os.PathLike):
        return _of_matrices(np.asarray(given, dtype=np.float64), "poses")
    path = Path(given)
    if not path.is_file():
        raise InputError(f"file of poses {path} does not exist or is a folder; give {WANTED}")
    if path.suffix.lower() == ".npy":
        try:
            values = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"file of poses {path} cannot be read; give {WANTED}") from error
        return _of_matrices(values, f"{path}")
    lines = read_trajectory(path)
    length = np.linalg.norm(lines[:, 4:], axis=1)
    if not (np.abs(length - 1) < _ORTHONORMAL).all():
        raise InputError(
            f"line {int(np.abs(length - 1).argmax())} of poses {path} has a quaternion of length "
            f"{length[np.abs(length - 1).argmax()]:.3g}; give time x y z qx qy qz qw with unit ones"
        )
    matrices = np.tile(np.eye(4), (len(lines), 1, 1))
    matrices[:, :3, :3] = Rotation.from_quat(lines[:, 4:]).as_matrix()
    matrices[:, :3, 3] = lines[:, 1:4]
    return GivenPoses(world_from_camera=matrices, times_s=lines[:, 0], name=f"{path}")


def _of_matrices(values: np.ndarray, name: str) -> GivenPoses:
    """Poses of matrices, with or without their last row."""
    if values.ndim != 3 or values.shape[1:] not in ((4, 4), (3, 4)) or not len(values):
        raise InputError(f"{name} has the shape {values.shape}; give {WANTED}")
    matrices = np.tile(np.eye(4), (len(values), 1, 1))
    matrices[:, :3] = values[:, :3]
    turn = matrices[:, :3, :3]
    off = np.abs(turn @ turn.swapaxes(1, 2) - np.eye(3)).max(axis=(1, 2))
    rigid = (off < _ORTHONORMAL) & (np.linalg.det(turn) > 0)
    rigid &= np.isfinite(values).all(axis=(1, 2))
    if values.shape[1] == 4:
        rigid &= (np.abs(values[:, 3] - [0, 0, 0, 1]) < _ORTHONORMAL).all(axis=1)
    if not rigid.all():
        raise InputError(
            f"pose {int(np.argmin(rigid))} of {name} is no rotation beside a translation, all "
            "finite; give rigid world-from-camera matrices in OpenCV axes"
        )
    return GivenPoses(world_from_camera=matrices, times_s=None, name=name)
