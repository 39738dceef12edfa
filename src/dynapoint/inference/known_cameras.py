"""Intrinsics that are known, and the poses that follow from them."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy.typing import ArrayLike

from dynapoint.data.frames import Frames
from dynapoint.errors import InputError
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.reductions.camera_motion import camera_motion_by_pnp

_WANTED = "fx, fy, cx, cy or a 3 x 3 matrix, once or for each frame, in pixels of the original"


def known_intrinsics(
    given: ArrayLike | Path | str, frames: Frames
) -> Float64[np.ndarray, "frame 3 3"]:
    """Intrinsics of the frames used, in pixels of their (upright) pictures.

    Args:
        given: Four numbers fx, fy, cx, cy or a matrix, for all frames or for each of the source's
            (or of those used): an array, text such as "500,500,320,240", or a .npy or .json file
            (numbers as in the array, or objects with these four names). Those of each picture are
            in the pixels of its file, one for all in the pixels of the answers.
        frames: The frames used.

    Raises:
        InputError: They cannot be read, are not those of a pinhole camera without skew, look
            outside the picture, or are neither one nor as many as the frames.
    """
    matrices = read_intrinsics(given)
    count = len(matrices)
    if count == 1:
        chosen = np.tile(matrices, (frames.count, 1, 1))
    elif count in (frames.source_count, frames.count):
        chosen = matrices[frames.source_frame_index] if count != frames.count else matrices
        # Those of a picture that was brought to another size are in the pixels of its file.
        scale = np.concatenate([frames.scale_of_given, np.ones((frames.count, 1))], axis=1)
        chosen = chosen * scale[:, :, None]
    else:
        raise InputError(
            f"intrinsics of {count} frames were given for a source of {frames.source_count}; give "
            "one for all or one for each"
        )
    for frame, (matrix, (height, width)) in enumerate(
        zip(chosen, frames.picture_hw.tolist(), strict=True)
    ):
        if not (0 < matrix[0, 2] < width and 0 < matrix[1, 2] < height):
            raise InputError(
                f"the principal point ({matrix[0, 2]:g}, {matrix[1, 2]:g}) lies outside frame "
                f"{frame}, which is {width}x{height}; give intrinsics in its pixels"
            )
    return chosen


def poses_of_known_cameras(
    own_time_points: Float32[np.ndarray, "frame height width xyz=3"],
    confidence: Float32[np.ndarray, "frame height width"],
    map_intrinsics: Float64[np.ndarray, "frame 3 3"],
    start_world_from_camera: Float64[np.ndarray, "frame 4 4"],
) -> tuple[Float64[np.ndarray, "frame 4 4"], Float64[np.ndarray, "4 4"]]:
    """Poses under which own-time points fall on their pixels, frame 0's being the identity.

    A network that guessed other intrinsics does not have frame 0's points where the known camera
    sees them; that camera is placed like all others and the world is moved to it.

    Args:
        own_time_points: In the network's world.
        confidence: 0 for pixels that are not to be used.
        map_intrinsics: In pixels of the maps.
        start_world_from_camera: The network's poses, which stand where nothing can be solved.

    Returns:
        world_from_camera in the new world, and the rigid world_from_network.
    """
    solved = camera_motion_by_pnp(
        torch.from_numpy(np.ascontiguousarray(own_time_points)),
        torch.from_numpy(np.ascontiguousarray(confidence)),
        torch.from_numpy(map_intrinsics),
        start_world_from_camera=torch.from_numpy(start_world_from_camera),
    )
    network_from_camera = torch.as_tensor(solved.world_from_camera).double()
    world_from_network = invert_rigid(network_from_camera[0])
    poses = (world_from_network @ network_from_camera).numpy()
    poses[0] = np.eye(4)
    return poses, world_from_network.numpy()


def read_intrinsics(given: ArrayLike | Path | str) -> Float64[np.ndarray, "given 3 3"]:
    """One matrix or several as they were given.

    Raises:
        InputError: They cannot be read, or are not those of a pinhole camera without skew.
    """
    return _matrices(_read(given))


def _read(given: ArrayLike | Path | str) -> Any:
    """Numbers, nested lists or objects from whatever holds them."""
    if not isinstance(given, str | os.PathLike):
        return np.asarray(given, dtype=np.float64).tolist()
    text = str(given)
    if "," in text and not os.path.exists(text):
        try:
            return [float(word) for word in text.split(",")]
        except ValueError as error:
            raise InputError(f"intrinsics {text[:80]!r} are no numbers; give {_WANTED}") from error
    path = Path(given)
    if not path.is_file():
        raise InputError(
            f"file of intrinsics {path} does not exist or is a folder; give one, or fx,fy,cx,cy"
        )
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64).tolist()
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(
            f"file of intrinsics {path} cannot be read as .npy or .json ({reason}); give {_WANTED}"
        ) from error


def _matrices(content: Any) -> Float64[np.ndarray, "given 3 3"]:
    """One matrix or several from numbers, nested lists or objects."""
    single = _matrix(content)
    if single is not None:
        return single[None]
    several = [_matrix(item) for item in content] if isinstance(content, list) else []
    matrices = [matrix for matrix in several if matrix is not None]
    if not matrices or len(matrices) < len(several):
        raise InputError(f"intrinsics have another shape; give {_WANTED}")
    return np.stack(matrices)


def _matrix(content: Any) -> Float64[np.ndarray, "3 3"] | None:
    """One matrix, checked; None where it is not the content of one."""
    try:
        if isinstance(content, dict):
            content = [content[name] for name in ("fx", "fy", "cx", "cy")]
        values = np.array(content, dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        return None
    if values.shape == (4,):
        fx, fy, cx, cy = values
        values = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if values.shape != (3, 3):
        return None
    focal_px = values[[0, 1], [0, 1]]
    plain = np.array_equal(values[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], [0, 0, 0, 0, 1])
    if not (np.isfinite(values).all() and (focal_px > 0).all() and plain):
        raise InputError(
            f"intrinsics {values.tolist()} are not those of a pinhole camera without skew and with "
            f"positive focal lengths; give {_WANTED}"
        )
    return values
