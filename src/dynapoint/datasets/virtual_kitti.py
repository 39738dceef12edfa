"""Virtual KITTI 2: five rendered drives in ten variations, with the poses of all vehicles.

Cabon, Murray and Humenberger, Virtual KITTI 2, 2020 (version 2.0.3; NAVER LABS Europe). The parts
`rgb`, `depth`, `instanceSegmentation` and `textgt` unpack into one folder; files are numbered from
00000, and only `Camera_0` (the left one) is read. Of `Scene01/clone/`:

- `frames/rgb/Camera_0/rgb_%05d.jpg`.
- `frames/depth/Camera_0/depth_%05d.png`: 16 bits, centimetres along the camera's axis; 65535 is the
  far plane (sky).
- `frames/instanceSegmentation/Camera_0/instancegt_%05d.png`: indexed, trackID + 1, or 0 where no
  vehicle is.
- `intrinsic.txt`: frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]. The principal point is (620.5, 187)
  in pictures of 1242×375, their middle where pixel centres are integers: half a pixel is added.
- `extrinsic.txt`: frame, cameraID and camera_from_world, 4×4 by rows, OpenCV axes, metres.
- `pose.txt`: world_space_X, _Y, _Z and rotation_world_space_y, _x, _z (radians) of each vehicle
  that a camera sees in a frame. world_from_object = R_y · R_x · R_z and the place, in the
  right-handed world of `extrinsic.txt` (y down).
- `bbox.txt`: isMoving, whether a vehicle moves to the next frame.

So a pixel of a vehicle is moved with it to other times, and all else stands still. Where a vehicle
that moves at any time has no pose at the other time (no camera sees it then), its points are NaN:
the motion is "sparse". Vehicles are rigid here; their wheels turn in truth. `forwardSceneFlow`
tells no more for the next time, and nothing of later ones; it is not read.

The layout is from the documentation of the set as others quote it. That cameras and vehicles
compose as above, with R_y alone, is from a public program that compares them with the set's
optical flow; the order of three angles from one that uses them in the camera's space (DynOSAM).
UNCONFIRMED: no file of the set was at hand. In the one row that was seen the other two angles are 0
in the world, so that their order and signs hardly count. Whether trees move is not said.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32
from scipy.spatial.transform import Rotation

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import damaged, depth_map, need_folder, read_png16, read_table
from dynapoint.datasets.numbered_pictures import NumberedPictures
from dynapoint.datasets.poses import inverted_poses
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.errors import InputError

LAYOUT = "Scene01/clone/{frames/{rgb,depth,instanceSegmentation}/Camera_0,extrinsic.txt,…}"
VARIATIONS = (
    *("clone", "15-deg-left", "15-deg-right", "30-deg-left", "30-deg-right"),
    *("fog", "morning", "overcast", "rain", "sunset"),
)
FAR = 65535

_CAMERA = 0
# Pictures of 8 bits show no more.
_MOST_OBJECTS = 255
_EXTRINSIC = (
    *("frame", "cameraID", "r1,1", "r1,2", "r1,3", "t1", "r2,1", "r2,2", "r2,3", "t2"),
    *("r3,1", "r3,2", "r3,3", "t3"),
)
_INTRINSIC = ("frame", "cameraID", "K[0,0]", "K[1,1]", "K[0,2]", "K[1,2]")
_POSE = (
    *("frame", "trackID", "world_space_X", "world_space_Y", "world_space_Z"),
    *("rotation_world_space_y", "rotation_world_space_x", "rotation_world_space_z"),
)


class VirtualKittiSequence(NumberedPictures):
    """One drive in one variation, seen by the left camera; it holds what of it was downloaded."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        super().__init__(
            dataset="virtual-kitti",
            name=f"{folder.parent.name}/{folder.name}",
            folder=folder / "frames" / "rgb" / f"Camera_{_CAMERA}",
            picture="rgb_{:05d}.jpg",
            first=0,
            layout=LAYOUT,
        )
        self.holds = self._held()

    def _held(self) -> Holds:
        """What there are files of."""
        cameras = (self._root / "extrinsic.txt").exists()
        vehicles = self._part("instanceSegmentation").is_dir() and cameras
        depth = self._part("depth").is_dir()
        return Holds(
            lens=cameras,
            poses=cameras,
            depth=depth,
            motion="sparse" if vehicles and depth else "own_time",
            moving=vehicles,
            instances=vehicles,
            object_poses=cameras,
            metric=True,
        )

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture."""
        fx, fy, cx, cy = self._lenses[frame]
        return np.array([[fx, 0.0, cx + 0.5], [0.0, fy, cy + 0.5], [0.0, 0.0, 1.0]])

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        return self._cameras[frame].copy()

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """In metres along the camera's axis; NaN at sky."""
        path = self._part("depth") / f"depth_{self._number(frame):05d}.png"
        centimetres = read_png16(path)
        return depth_map(
            path, np.where(centimetres < FAR, centimetres / 100.0, np.nan), self.image_hw
        )

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """NaN at sky, and on a moving vehicle when no camera sees it at that time."""
        points = super().points(frame, frame)
        if time == frame:
            return points
        if self.holds.motion != "sparse":
            raise self.lacks("points of a frame at another time")
        instances, poses = self.instances(frame), self.object_poses()
        moving = self._moving_objects
        for shown in np.unique(instances[instances > 0]):
            if moving[shown - 1]:
                # NaN stays NaN.
                motion = poses[shown - 1, time] @ _inverse(poses[shown - 1, frame])
                on_it = instances == shown
                moved = points[on_it].astype(np.float64) @ motion[:3, :3].T + motion[:3, 3]
                points[on_it] = moved.astype(np.float32)
        return points

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """Vehicles that move at any time of the sequence."""
        if not self.holds.moving:
            raise self.lacks("masks of what moves")
        instances = self.instances(frame)
        return np.concatenate([[False], self._moving_objects])[instances]

    def instances(self, frame: int) -> Int32[np.ndarray, "height width"]:
        """Row k of `object_poses` is the vehicle of trackID k."""
        if not self.holds.instances:
            raise self.lacks("masks of objects")
        folder = self._part("instanceSegmentation")
        path = folder / f"instancegt_{self._number(frame):05d}.png"
        instances = read_png16(path).astype(np.int32)
        self._check_size(path, instances)
        if instances.max() > len(self._object_poses):
            raise damaged(
                path, f"it shows vehicle {instances.max() - 1}, of which info.txt is silent"
            )
        return instances

    def object_poses(self) -> Float64[np.ndarray, "object frame 4 4"]:
        """Of trackID 0, 1, …: of all that have none, and at times when no camera sees it, NaN."""
        return self._object_poses.copy()

    def _part(self, part: str) -> Path:
        return self._root / "frames" / part / f"Camera_{_CAMERA}"

    @cached_property
    def _lenses(self) -> Float64[np.ndarray, "frame 4"]:
        return self._by_frame("intrinsic.txt", _INTRINSIC)

    @cached_property
    def _cameras(self) -> Float64[np.ndarray, "frame 4 4"]:
        """world_from_camera."""
        camera_from_world = np.zeros((self.frame_count, 4, 4)) + np.eye(4)
        camera_from_world[:, :3] = self._by_frame("extrinsic.txt", _EXTRINSIC).reshape(-1, 3, 4)
        return inverted_poses(camera_from_world, self._root / "extrinsic.txt")

    def _by_frame(self, name: str, columns: tuple[str, ...]) -> Float64[np.ndarray, "frame column"]:
        """What a file says of the left camera at each frame."""
        path = self._root / name
        rows = read_table(path, columns)
        rows = rows[rows[:, 1] == _CAMERA]
        found = np.full((self.frame_count, len(columns) - 2), np.nan)
        inside = (rows[:, 0] >= 0) & (rows[:, 0] < self.frame_count)
        found[rows[inside, 0].astype(int)] = rows[inside, 2:]
        missing = np.flatnonzero(np.isnan(found).any(axis=1))
        if missing.size:
            raise damaged(path, f"it has no frame {missing[0]} of camera {_CAMERA}")
        return found

    @cached_property
    def _object_poses(self) -> Float64[np.ndarray, "object frame 4 4"]:
        path = self._root / "pose.txt"
        rows = read_table(path, _POSE)
        known = read_table(self._root / "info.txt", ("trackID",))
        frames, objects = rows[:, 0].astype(int), rows[:, 1].astype(int)
        numbers = np.concatenate([objects, known[:, 0].astype(int)])
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < _MOST_OBJECTS:
            raise damaged(path, f"vehicles go from {numbers.min()} to {numbers.max()}")
        poses = np.full((numbers.max(initial=-1) + 1, self.frame_count, 4, 4), np.nan)
        inside = (frames >= 0) & (frames < self.frame_count)
        frames, objects, rows = frames[inside], objects[inside], rows[inside]
        poses[objects, frames] = np.eye(4)
        poses[objects, frames, :3, 3] = rows[:, 2:5]
        if len(rows):
            turns = Rotation.from_euler("YXZ", rows[:, 5:8])
            poses[objects, frames, :3, :3] = turns.as_matrix()
        return poses

    @cached_property
    def _moving_objects(self) -> Bool[np.ndarray, " object"]:
        path = self._root / "bbox.txt"
        rows = read_table(path, ("trackID", "isMoving"))
        objects = rows[:, 0].astype(int)
        found = np.zeros(len(self._object_poses), bool)
        if len(rows) and not 0 <= objects.min() <= objects.max() < len(found):
            raise damaged(path, f"it has vehicle {objects.max()}, which pose.txt and info.txt lack")
        found[objects[rows[:, 1] > 0]] = True
        return found


def _inverse(pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """Of a rigid motion; NaN of one that is not known."""
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The drives in a variation, or in all of them.

    Raises:
        InputError: The folder is not that of the set.
    """
    need_folder(root, LAYOUT)
    wanted = VARIATIONS if split == "all" else (split,)
    folders = [
        scene / variation
        for scene in sorted(root.glob("Scene*"))
        for variation in wanted
        if (scene / variation).is_dir()
    ]
    if not folders:
        raise InputError(f"{root}: no Scene*/{wanted[0]} in it; wanted {LAYOUT}; unpack it there")
    return [VirtualKittiSequence(folder) for folder in folders]


CARD = DatasetCard(
    key="virtual-kitti",
    title="Virtual KITTI 2",
    source="Cabon et al., 2020 (Virtual KITTI 2.0.3, NAVER LABS Europe)",
    licence="CC BY-NC-SA 3.0",
    splits=("all", *VARIATIONS),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
