"""Cameras that are known, and the poses that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy.typing import ArrayLike

from dynapoint.data.frames import Frames
from dynapoint.errors import InputError
from dynapoint.geometry.distortion import DistortedLens, Distortion
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.inference.camera_files import GivenCamera, read_cameras
from dynapoint.reductions.camera_motion import camera_motion_by_pnp

_PINHOLE = Distortion.of("opencv", [])


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownCameras:
    """What is known of the cameras of frames.

    Attributes:
        intrinsics: In pixels of the (upright) pictures.
        lenses: Of each frame; None where all are pinholes.
        world_from_camera: Poses, in any world and unit of length, if they are known too.
    """

    intrinsics: Float64[np.ndarray, "frame 3 3"]
    lenses: tuple[DistortedLens, ...] | None
    world_from_camera: Float64[np.ndarray, "frame 4 4"] | None = None

    @property
    def posed(self) -> bool:
        """Whether poses are known too."""
        return self.world_from_camera is not None


def known_cameras(
    given: ArrayLike | Mapping[str, Any] | Path | str, frames: Frames
) -> KnownCameras:
    """What is known of the cameras of the frames used.

    Args:
        given: Four numbers fx, fy, cx, cy, a matrix or an object (`inference.camera_files`), for
            all frames or for each of the source's (or of those used): an array, text such as
            "500,500,320,240", or a file (.npy, .json, COLMAP's .txt, OpenCV's .yml or .xml). Those
            of each picture are in the pixels of its file, one for all in those of the answers.
        frames: The frames used.

    Raises:
        InputError: They cannot be read, are none without skew, look outside the picture, are of
            pictures of another size, fold within the picture, or are neither one nor as many as the
            frames.
    """
    cameras = read_cameras(given)
    count = len(cameras)
    if count == 1:
        chosen = cameras * frames.count
    elif count in (frames.source_count, frames.count):
        index = frames.source_frame_index if count != frames.count else np.arange(count)
        # Those of a picture that was brought to another size are in the pixels of its file.
        pairs = zip(index.tolist(), frames.scale_of_given, strict=True)
        chosen = [cameras[each].scaled(scale) for each, scale in pairs]
    else:
        raise InputError(
            f"intrinsics of {count} frames were given for a source of {frames.source_count}; give "
            "one for all or one for each"
        )
    lenses: list[DistortedLens] = []
    for frame, (camera, (height, width)) in enumerate(
        zip(chosen, frames.picture_hw.tolist(), strict=True)
    ):
        lens = DistortedLens.of(camera.intrinsics, camera.distortion or _PINHOLE)
        # Checked once for all frames of one camera and size.
        if not lenses or lens != lenses[-1] or frames.sizes_hw is not None:
            _check(camera, lens, frame, (height, width))
        lenses.append(lens)
    bent = any(camera.distortion is not None for camera in chosen)
    return KnownCameras(
        intrinsics=np.stack([camera.intrinsics for camera in chosen]),
        lenses=tuple(lenses) if bent else None,
    )


def _check(
    camera: GivenCamera, lens: DistortedLens, frame: int, picture_hw: tuple[int, int]
) -> None:
    """Refuse a camera that is not that of a frame's picture."""
    height, width = picture_hw
    if camera.image_hw not in (None, picture_hw):
        tall, wide = camera.image_hw or picture_hw
        raise InputError(
            f"intrinsics are of pictures of {wide}x{tall} but frame {frame} is {width}x{height}; "
            "give those in its pixels"
        )
    x, y = lens.centre_px
    if not (0 < x < width and 0 < y < height):
        raise InputError(
            f"the principal point ({x:g}, {y:g}) lies outside frame {frame}, which is "
            f"{width}x{height}; give intrinsics in its pixels"
        )
    fold_px = None if camera.distortion is None else lens.fold_px(picture_hw)
    if fold_px is not None:
        raise InputError(
            f"the distortion folds {fold_px:.0f} pixels from the principal point, within frame "
            f"{frame} of {width}x{height}: two rays would fall on one pixel; check the "
            "coefficients, their order and the model"
        )


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
