"""TartanAir: trajectories through 18 rendered worlds, with depth and poses.

Wang et al., TartanAir: A Dataset to Push the Limits of Visual SLAM, IROS 2020 (the first version,
V1). Read from `ENV/{Easy,Hard}/P000/`, or `ENV/ENV/Easy/…` as some of the archives unpack; files
are numbered from 000000, and only the left camera is read:

- `image_left/%06d_left.png`, 640×480.
- `depth_left/%06d_left_depth.npy`: metres along the camera's axis (disparity is 80 / depth). Sky is
  a surface very far away, such as 10000; what is 1000 m or farther counts as sky here.
- `pose_left.txt`: tx ty tz qx qy qz qw for each picture: world_from_camera, metres, where the
  *camera* has the axes x forward, y right, z down (NED, as the world has). They become OpenCV's
  here; the world stays north, east, down.
- The lens is 90° wide: f = 320 and the middle (320, 240) for 640×480, and as much for pictures that
  were made smaller. That is the middle where pixel centres are half-integers.

The layout, units and axes are from `tartanair_tools` (README and data_type.md).

ASSUMED: nothing moves. data_type.md speaks of moving objects, but no file says which pixels show
them: the optical flow of the set is that of a still world, and its mask hides what moves together
with what is occluded. Flow and segmentation are therefore not read.
UNCONFIRMED: no file of the set was at hand. Whether the set's own flow counts pixels from the first
one's centre (half a pixel from here) is not documented.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from scipy.spatial.transform import Rotation

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import damaged, depth_map, need_folder, read_npy, read_numbers
from dynapoint.datasets.numbered_pictures import NumberedPictures
from dynapoint.datasets.sequence import Holds, Motion, TruthSequence
from dynapoint.errors import InputError

LAYOUT = "ENV/Easy/P000/{image_left/000000_left.png,depth_left/000000_left_depth.npy,pose_left.txt}"
FAR_M = 1000.0

# Columns: where OpenCV's x (right), y (down) and z (forward) lie in a camera of the set.
_NED_FROM_OPENCV = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class TartanAirSequence(NumberedPictures):
    """One trajectory, seen by its left camera; it holds what of it was downloaded."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        world, level = folder.parent.parent.name, folder.parent.name
        super().__init__(
            dataset="tartanair",
            name=f"{world}/{level}/{folder.name}",
            folder=folder / "image_left",
            picture="{:06d}_left.png",
            first=0,
            layout=LAYOUT,
        )
        self.holds = self._held()

    def _held(self) -> Holds:
        """What there are files of."""
        poses = (self._root / "pose_left.txt").exists()
        depth = (self._root / "depth_left").is_dir()
        motion: Motion = "still" if poses and depth else "own_time"
        return Holds(lens=True, poses=poses, depth=depth, motion=motion, metric=True)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture."""
        height, width = self.image_hw
        focal = width / 2
        return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose in a world of north, east, down."""
        row = self._row(self._pose_file, self._poses, frame)
        try:
            turn = Rotation.from_quat(row[3:]).as_matrix()
        except ValueError as error:
            raise damaged(self._pose_file, f"row {frame + 1}: {error}") from error
        pose = np.eye(4)
        pose[:3, :3] = turn @ _NED_FROM_OPENCV
        pose[:3, 3] = row[:3]
        return pose

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """In metres along the camera's axis; NaN at sky."""
        path = self._root / "depth_left" / f"{self._number(frame):06d}_left_depth.npy"
        z = read_npy(path)
        if z.ndim != 2 or z.dtype.kind != "f":
            raise damaged(path, f"it holds {z.dtype} of shape {z.shape}, not a map of depth")
        return depth_map(path, np.where(z < FAR_M, z, np.nan), self.image_hw)

    @property
    def _pose_file(self) -> Path:
        return self._root / "pose_left.txt"

    @cached_property
    def _poses(self) -> Float64[np.ndarray, "frame 7"]:
        return read_numbers(self._pose_file, 7)


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The trajectories of a level of difficulty, or of both.

    Raises:
        InputError: The folder is not that of the set.
    """
    need_folder(root, LAYOUT)
    levels = ("Easy", "Hard") if split == "all" else (split.capitalize(),)
    folders = sorted(
        path
        for level in levels
        for above in ("*", "*/*")
        for path in root.glob(f"{above}/{level}/P*")
        if path.is_dir()
    )
    if not folders:
        raise InputError(f"{root}: no */{levels[0]}/P* in it; wanted {LAYOUT}; unpack it there")
    return [TartanAirSequence(folder) for folder in folders]


CARD = DatasetCard(
    key="tartanair",
    title="TartanAir",
    source="Wang et al., IROS 2020 (TartanAir V1, tartanair_tools)",
    licence="CC BY 4.0",
    splits=("all", "easy", "hard"),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
