"""Frusta with the true field of view, the frames in them, and looking through a camera."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image

from dynapoint.errors import SceneError
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.stored_frames import StoredFrames, frame_file
from dynapoint.viewer.space import ViewSpace

# How far from its camera a picture is drawn, in units of the view.
FRUSTUM_DEPTH = 0.12
_PICTURE_PX = 320
_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (1, 4), (2, 4), (3, 4))


@dataclass(frozen=True, kw_only=True)
class PicturePlane:
    """Where a frame's picture is in the view: its middle, its camera's turn, and its size."""

    middle: Float64[np.ndarray, "xyz=3"]
    quaternion_wxyz: Float64[np.ndarray, "wxyz=4"]
    width: float
    height: float


def frustum_lines(
    rec: Reconstruction, space: ViewSpace, frame: int, depth: float = FRUSTUM_DEPTH
) -> Float32[np.ndarray, "edge=8 end=2 xyz=3"]:
    """The edges of a camera's field of view down to a depth, in units of the view.

    Its corners are those of the frame's picture; the middle need not be on the camera's axis.
    """
    height, width = rec.frames.picture_hw[frame].tolist()
    corners = [[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]]
    rays = np.array(corners) @ np.linalg.inv(rec.intrinsics[frame]).T
    pose = space.pose(rec.world_from_camera[frame])
    places = np.vstack([depth * rays, np.zeros(3)]) @ pose[:3, :3].T + pose[:3, 3]
    return places[np.array(_EDGES)].astype(np.float32)


def picture_plane(
    rec: Reconstruction, space: ViewSpace, frame: int, depth: float = FRUSTUM_DEPTH
) -> PicturePlane:
    """Where the picture closes the frustum."""
    height, width = rec.frames.picture_hw[frame].tolist()
    intrinsics, pose = rec.intrinsics[frame], space.pose(rec.world_from_camera[frame])
    middle = np.linalg.inv(intrinsics) @ [width / 2, height / 2, 1] * depth
    return PicturePlane(
        middle=pose[:3, :3] @ middle + pose[:3, 3],
        quaternion_wxyz=quaternion_wxyz(pose[:3, :3]),
        width=depth * width / float(intrinsics[0, 0]),
        height=depth * height / float(intrinsics[1, 1]),
    )


def vertical_view_rad(rec: Reconstruction, frame: int, window_aspect: float) -> float:
    """The vertical angle at which a window (width over height) just holds a frame's picture."""
    height, width = rec.frames.picture_hw[frame].tolist()
    intrinsics = rec.intrinsics[frame]
    # The window's axis is the camera's: the farther side of the picture decides.
    across = max(intrinsics[0, 2], width - intrinsics[0, 2]) / intrinsics[0, 0]
    down = max(intrinsics[1, 2], height - intrinsics[1, 2]) / intrinsics[1, 1]
    return float(2 * np.arctan(max(down, across / window_aspect)))


def small_picture(rec: Reconstruction, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A frame's picture, at most 320 pixels wide or high."""
    height, width = rec.frames.picture_hw[frame].tolist()
    factor = min(1.0, _PICTURE_PX / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if not isinstance(rec.frames, StoredFrames):
        picture = Image.fromarray(rec.images[frame, :height, :width])
        return np.asarray(picture.resize(size, Image.Resampling.BOX))
    # One file in reduced size, where `images` would read all of them whole.
    path = rec.frames.scene / frame_file(frame)
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", size)
            return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX))
    # Pillow refuses damaged files by SyntaxError, ValueError and others.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SceneError(f"{path} is damaged ({reason}); reconstruct the scene again") from error


def quaternion_wxyz(rotation: Float[np.ndarray, "3 3"]) -> Float64[np.ndarray, "wxyz=4"]:
    """A rotation matrix as a unit quaternion, w first."""
    from scipy.spatial.transform import Rotation  # noqa: PLC0415 - slow to load.

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z])
