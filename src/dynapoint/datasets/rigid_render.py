"""Sequences that Kubric rendered: rigid objects before a background that stands still.

What both layouts share (`kubric`: TFRecord, `movi_folders`: folders of pictures) is known from
Kubric's public code (Greff et al. 2022, google-research/kubric: `challenges/movi/movi_f.py` and
`README.md`, `challenges/point_tracking/dataset.py`, `kubric/core/objects.py`,
`kubric/core/cameras.py`, `kubric/renderer/blender_utils.py`, `kubric/file_io.py`):

- The world has z up. A camera looks along -z with y up (Blender, OpenGL); here its axes are turned
  to OpenCV's. Positions and quaternions (w, x, y, z) lead from camera or object to world.
- Focal length and sensor width are in millimetres, pixels are square, and the principal point is
  the middle of the picture. UNCONFIRMED: pictures that are higher than wide, where Blender may
  measure the sensor along the longer side.
- Depth is the **distance from the camera's centre**, along the ray. `depth` gives z.
- Pixel value 0 of a segmentation is background, k + 1 is row k of the instances.
- Object coordinates (NOCS) are 0 to 65535 across an object's bounding box along its own axes;
  the eight corners of the box, x slowest and z fastest, are given for every frame. A surface's
  place at any time is its object coordinate in that time's box. They are cut down to whole numbers,
  so that a place is up to 1/65535 of the box too low along each axis.
- Ids and object coordinates come from one rendering pass, depth from another one: where the two
  put a surface at distances that differ by more than 2 %, `points` is NaN. A pass takes one ray for
  a pixel; UNCONFIRMED: that the ray goes through the pixel's centre.
- Lengths are the simulator's (gravity is 10), but toys are scaled up to 3 long: `metric` is False.
- An object moves (`moving`) if a corner of its box strays by more than 0.5 % of the box's diagonal
  from where it was at frame 0: `is_dynamic` says which ones were tossed, and these push others.
- A point is visible at a time if it falls into the picture, its distance is at most 1 % beyond the
  largest of the four pixels around it, and one of the four shows its object: the rule of Kubric's
  own tracks (`point_tracking/dataset.py`) without their test of normals.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, UInt8, UInt16
from scipy.spatial.transform import Rotation

from dynapoint.datasets.files import damaged
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.geometry.arrays import points_in_camera, project

_OPENCV_FROM_BLENDER = np.diag([1.0, -1.0, -1.0])
_PASSES_AGREE = 0.02
_DEPTH_SLACK = 1.01
_STILL = 0.005
# Blender writes 1e10 where a ray meets nothing.
NO_SURFACE = 1e9

HOLDS = Holds(
    lens=True,
    poses=True,
    depth=True,
    motion="dense",
    visible=True,
    moving=True,
    instances=True,
    object_poses=True,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class RigidScene:
    """What a sequence says beside its pictures.

    Attributes:
        image_hw: Of all pictures.
        intrinsics: In pixels, centres at half-integers.
        world_from_camera: With OpenCV axes in the camera.
        corners: Of the objects' boxes in the world, x slowest and z fastest.
        world_from_object: The objects' poses.
    """

    image_hw: tuple[int, int]
    intrinsics: Float64[np.ndarray, "3 3"]
    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    corners: Float64[np.ndarray, "object frame corner=8 xyz=3"]
    world_from_object: Float64[np.ndarray, "object frame 4 4"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """The rendered layers of a frame.

    Attributes:
        distance: From the camera's centre; NaN where there is no surface.
        segments: 0 for background, k + 1 for object k.
        coordinates: Places in the object's box, 0 to 1.
    """

    distance: Float64[np.ndarray, "height width"]
    segments: Int32[np.ndarray, "height width"]
    coordinates: Float64[np.ndarray, "height width xyz=3"]


def checked_layers(
    path: Path,
    scene: RigidScene,
    *,
    distance: Float[np.ndarray, "height width"],
    segments: UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."],
    coordinates: UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."],
) -> Layers:
    """Layers of a frame as they are stored; the path is what errors name.

    Raises:
        InputError: One has another size, or shows an object that the scene does not have.
    """
    objects, image_hw = len(scene.corners), scene.image_hw
    sizes = (distance.shape, segments.shape, coordinates.shape)
    if sizes != (image_hw, image_hw, (*image_hw, 3)) or coordinates.dtype != np.uint16:
        raise damaged(
            path,
            f"depth, segments and object coordinates are {sizes}, {coordinates.dtype}, "
            f"not {image_hw} with three channels of 16 bits in the last",
        )
    if segments.max(initial=0) > objects:
        raise damaged(path, f"it shows object {segments.max()} of {objects}")
    return Layers(
        distance=np.where(distance < NO_SURFACE, distance, np.nan).astype(np.float64),
        segments=segments.astype(np.int32),
        coordinates=coordinates.astype(np.float64) / 65535,
    )


def kubric_lens(
    focal: float, sensor_width: float, image_hw: tuple[int, int]
) -> Float64[np.ndarray, "3 3"]:
    """Intrinsics in pixels from a focal length and a sensor's width, both in one unit.

    Raises:
        ValueError: One of them is not positive.
    """
    if not (focal > 0 and sensor_width > 0):
        raise ValueError(f"a focal length of {focal} and a sensor width of {sensor_width}")
    height, width = image_hw
    pixels = focal / sensor_width * width
    return np.array([[pixels, 0, width / 2], [0, pixels, height / 2], [0, 0, 1]])


def kubric_poses(
    positions: Float64[np.ndarray, "*batch xyz=3"],
    quaternions: Float64[np.ndarray, "*batch wxyz=4"],
) -> Float64[np.ndarray, "*batch 4 4"]:
    """World-from-object from positions and quaternions (w, x, y, z) that need not be unit.

    Raises:
        ValueError: A quaternion is zero.
    """
    poses = np.zeros((*positions.shape[:-1], 4, 4))
    turns = Rotation.from_quat(quaternions[..., [1, 2, 3, 0]].reshape(-1, 4)).as_matrix()
    poses[..., :3, :3] = turns.reshape(*positions.shape[:-1], 3, 3)
    poses[..., :3, 3] = positions
    poses[..., 3, 3] = 1
    return poses


def kubric_cameras(
    positions: Float64[np.ndarray, "frame xyz=3"], quaternions: Float64[np.ndarray, "frame wxyz=4"]
) -> Float64[np.ndarray, "frame 4 4"]:
    """World-from-camera with OpenCV axes from Kubric's camera.

    Raises:
        ValueError: A quaternion is zero.
    """
    poses = kubric_poses(positions, quaternions)
    poses[:, :3, :3] = poses[:, :3, :3] @ _OPENCV_FROM_BLENDER
    return poses


class RigidRender(TruthSequence):
    """A Kubric sequence, however it is stored."""

    holds = HOLDS

    def sample_at(self) -> float:
        """Where in a pixel the ray of its layers goes through, in x and y: 0.5 is the centre."""
        return 0.5

    @abstractmethod
    def scene(self) -> RigidScene:
        """Cameras and objects.

        Raises:
            InputError: A file is missing or damaged (so do all methods).
        """

    @abstractmethod
    def layers(self, frame: int) -> Layers:
        """The layers of a frame, freshly read."""

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture, pixel centres at half-integers."""
        return self.scene().intrinsics.copy()

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        return self.scene().world_from_camera[frame].copy()

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Give z along the camera's axis; NaN where there is no surface."""
        rays = _directions(self)
        return (_layers(self, frame).distance * rays[..., 2]).astype(np.float32)

    def instances(self, frame: int) -> Int32[np.ndarray, "height width"]:
        """Which object each pixel shows: 0 for none, k + 1 for row k of `object_poses`."""
        return _layers(self, frame).segments.copy()

    def object_poses(self) -> Float64[np.ndarray, "object frame 4 4"]:
        """world_from_object of the rigid objects."""
        return self.scene().world_from_object.copy()

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """Which pixels show something that moves in the world, at any time of the sequence."""
        corners = self.scene().corners
        strays = np.linalg.norm(corners - corners[:, :1], axis=-1).max(axis=(1, 2), initial=0)
        diagonal = np.linalg.norm(corners[:, 0, 7] - corners[:, 0, 0], axis=-1)
        moves = np.concatenate([[False], strays > _STILL * diagonal])
        return moves[_layers(self, frame).segments]

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """Where the surface seen at each pixel of `frame` is at `time`, in the world.

        NaN where there is no surface, or where the layers of the frame show different ones.
        """
        return self._places(frame, time).astype(np.float32)

    def visible(self, frame: int, time: int) -> Bool[np.ndarray, "height width"]:
        """Whether the camera of frame `time` sees the points of `points(frame, time)`."""
        scene, there = self.scene(), _layers(self, time)
        height, width = scene.image_hw
        places = self._places(frame, time)
        camera = points_in_camera(places, scene.world_from_camera[time])
        xy = project(camera, scene.intrinsics)
        inside = np.asarray(((xy >= 0) & (xy < [width, height])).all(axis=-1))
        corner = np.floor(np.where(inside[..., None], xy, 0) - self.sample_at()).astype(np.int64)
        farthest = np.full(inside.shape, -np.inf)
        same = np.zeros_like(inside)
        for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
            column = np.clip(corner[..., 0] + right, 0, width - 1)
            row = np.clip(corner[..., 1] + down, 0, height - 1)
            farthest = np.fmax(farthest, there.distance[row, column])
            same |= there.segments[row, column] == _layers(self, frame).segments
        distance = np.linalg.norm(camera, axis=-1)
        return inside & same & (distance <= farthest * _DEPTH_SLACK)

    def _places(self, frame: int, time: int) -> Float64[np.ndarray, "height width xyz=3"]:
        scene, layers = self.scene(), _layers(self, frame)
        camera = scene.world_from_camera[frame]
        places = (_directions(self) * layers.distance[..., None]) @ camera[:3, :3].T + camera[:3, 3]
        shown = layers.segments > 0
        objects = layers.segments[shown] - 1
        coordinates = layers.coordinates[shown]
        at_own_time = _in_boxes(coordinates, scene.corners[objects, frame])
        distance = layers.distance[shown]
        apart = np.abs(np.linalg.norm(at_own_time - camera[:3, 3], axis=-1) - distance)
        moved = _in_boxes(coordinates, scene.corners[objects, time])
        moved[~(apart <= _PASSES_AGREE * distance)] = np.nan
        places[shown] = moved
        return places


def _in_boxes(
    coordinates: Float64[np.ndarray, "point xyz=3"],
    corners: Float64[np.ndarray, "point corner=8 xyz=3"],
) -> Float64[np.ndarray, "point xyz=3"]:
    """Places in the world from places in boxes."""
    edges = corners[:, [4, 2, 1]] - corners[:, :1]
    return corners[:, 0] + (coordinates[:, :, None] * edges).sum(axis=1)


@lru_cache(maxsize=8)
def _layers(sequence: RigidRender, frame: int) -> Layers:
    return sequence.layers(frame)


def _directions(sequence: RigidRender) -> Float64[np.ndarray, "height width xyz=3"]:
    scene = sequence.scene()
    return _rays(scene.image_hw, scene.intrinsics.tobytes(), sequence.sample_at())


@lru_cache(maxsize=8)
def _rays(
    image_hw: tuple[int, int], lens: bytes, sample_at: float
) -> Float64[np.ndarray, "height width xyz=3"]:
    """Unit directions of the pixels' rays in the camera."""
    height, width = image_hw
    xy = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) + sample_at
    rays = np.concatenate([xy, np.ones((height, width, 1))], axis=-1)
    rays = rays @ np.linalg.inv(np.frombuffer(lens, np.float64).reshape(3, 3)).T
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)
