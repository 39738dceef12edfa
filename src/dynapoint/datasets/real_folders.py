"""Folders of a few real pictures with some truth, as projects cut them out of larger sets.

A folder has `cameras.json` (`datasets.told_folders`: pixel centres at integers there, OpenCV axes,
camera to world) with pictures, and beside them, as far as they were measured:

- depth PNGs of 16 bits: z along the axis, 0 and 65535 unknown, in the unit that cameras.json says;
- `lidar/NAME.npz`: `uv` (pixels, centres at integers), `z`, and `instance` (0: in no box), whose
  points are put onto the pixels that they fall into, the nearest of a pixel; `boxes` of the frames
  in cameras.json move those of an instance rigidly, and what is in no box stands still;
- `scene_flow_A_to_B.npz`, A and B being the numbers of two pictures: `sflow_m`, the displacement in
  the camera, the camera's own motion included, where `valid`;
- `scene_flow_world_A_to_B.npz`: an array of three columns, the displacement in the world, NaN where
  it is unknown;
- `moving_NAME.png` or `masks/NAME.png`: above 0 where something moves.

Where poses were not measured, the camera itself is the world: displacements then include the
camera's own. A folder without cameras.json has pictures in `images/` and masks in `masks/`.
"""

import re
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from dynapoint.data.images import image_size, images_in_folder
from dynapoint.data.masks import read_mask
from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import (
    damaged,
    need_file,
    need_folder,
    need_pictures,
    read_npz,
    read_picture,
    read_png16,
)
from dynapoint.datasets.listed_pictures import ListedPictures
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.datasets.told_folders import FRAMES_FILE, ToldFolder, ToldFrame, read_told
from dynapoint.errors import InputError
from dynapoint.geometry.arrays import points_on_rays, transform_points

_LAYOUT = f"a folder with {FRAMES_FILE}, or with images/ and masks/, or a folder of such folders"
_FLOW_NAME = re.compile(r"scene_flow_(world_)?(\d+)_to_(\d+)\.npz")
_UNKNOWN = (0, 65535)


def _open_folder(root: Path, split: str) -> list[TruthSequence]:
    need_folder(root, _LAYOUT)
    own = _sequence(root)
    if own is not None:
        return [own]
    found = [each for child in sorted(root.iterdir()) if (each := _sequence(child)) is not None]
    if not found:
        raise InputError(f"{root}: no folder of pictures with truth in it; wanted {_LAYOUT}")
    return found


def _sequence(folder: Path) -> TruthSequence | None:
    """The sequence of a folder; None where it is not of this layout."""
    if (folder / FRAMES_FILE).is_file():
        return ToldSequence(folder)
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return MaskedPictures(folder)
    return None


class MaskedPictures(ListedPictures):
    """Pictures with masks of what moves, and nothing of geometry."""

    dataset = "real-folders"
    holds = Holds(moving=True)

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    @cached_property
    def _pictures(self) -> list[Path]:
        return need_pictures(images_in_folder(self.folder), self.folder / "masks")

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """Where the frame's mask is above 0."""
        path = self.folder / "masks" / f"{self._pictures[frame].stem}.png"
        return read_mask(need_file(path), self.image_hw)


class ToldSequence(TruthSequence):
    """The frames of a folder with cameras.json, which is read when it is first asked for."""

    dataset = "real-folders"

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    @cached_property
    def _told(self) -> ToldFolder:
        return read_told(self.folder)

    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames have a picture."""
        return len(self._told.frames)

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the pictures."""
        return image_size(self._told.frames[0].picture)

    @cached_property
    def holds(self) -> Holds:  # type: ignore[override]
        """What the folder says, and which files lie beside it."""
        frames = self._told.frames
        boxed = all(each.lidar and each.boxes for each in frames)
        return Holds(
            lens=True,
            poses=self._told.poses_measured,
            depth=all(each.depth or each.lidar for each in frames),
            motion="sparse" if boxed or self._flows else "own_time",
            moving=all(self._mask_of(each) for each in frames),
            instances=boxed,
            object_poses=boxed,
            metric=self._told.metric,
        )

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture."""
        return read_picture(self._told.frames[frame].picture)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture."""
        return self._told.frames[frame].intrinsics

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose, where it was measured."""
        pose = self._told.frames[frame].world_from_camera
        if pose is None or not self._told.poses_measured:
            raise self.lacks("poses")
        return pose

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Measured z, in metres where `holds.metric`."""
        told = self._told.frames[frame]
        if told.depth is not None:
            values = read_png16(told.depth)
            self._check_size(told.depth, values.shape)
            z = values * np.float64(self._told.depth_unit)
            return np.where(np.isin(values, _UNKNOWN), np.nan, z).astype(np.float32)
        if told.lidar is not None:
            return self._lidar(frame)[0].copy()
        raise self.lacks("depth")

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """In the world, or in the camera of `time` where there are no poses; NaN if unknown."""
        own = points_on_rays(
            self.depth(frame).astype(np.float64), self.intrinsics(frame), self._pose(frame)
        )
        if time != frame:
            own = self._moved(own, frame, time)
        return own.astype(np.float32)

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """Where the frame's mask is above 0."""
        path = self._mask_of(self._told.frames[frame])
        if path is None:
            raise self.lacks("masks of what moves")
        return read_mask(path, self.image_hw)

    def instances(self, frame: int) -> Int32[np.ndarray, "height width"]:
        """At the pixels of LiDAR points that lie in a box; 0 elsewhere, whatever is there."""
        if not self.holds.instances:
            raise self.lacks("masks of objects")
        number = self._lidar(frame)[1]
        rows = np.zeros(self.image_hw, np.int32)
        for row, object_number in enumerate(self._objects):
            rows[number == object_number] = row + 1
        return rows

    def object_poses(self) -> Float64[np.ndarray, "object frame 4 4"]:
        """Of the boxes, at the times of the LiDAR's sweeps."""
        if not self.holds.object_poses:
            raise self.lacks("poses of objects")
        poses = np.full((len(self._objects), self.frame_count, 4, 4), np.nan)
        for frame, told in enumerate(self._told.frames):
            for box in told.boxes:
                poses[self._objects.index(box.instance), frame] = box.world_from_object
        return poses

    @cached_property
    def _objects(self) -> list[int]:
        """The numbers of all boxes."""
        return sorted({box.instance for each in self._told.frames for box in each.boxes})

    @cached_property
    def _flows(self) -> dict[tuple[int, int], Path]:
        """Files of scene flow by (frame, time)."""
        places = {
            int(each.picture.stem): place
            for place, each in enumerate(self._told.frames)
            if each.picture.stem.isdecimal()
        }
        found: dict[tuple[int, int], Path] = {}
        for path in sorted(self.folder.glob("scene_flow_*.npz")):
            match = _FLOW_NAME.fullmatch(path.name)
            ends = [places.get(int(number)) for number in match.groups()[1:]] if match else [None]
            if None not in ends:
                found[ends[0], ends[1]] = path  # type: ignore[index]
        return found

    def _moved(
        self, own: Float64[np.ndarray, "height width xyz=3"], frame: int, time: int
    ) -> Float64[np.ndarray, "height width xyz=3"]:
        """Points of a frame at another time."""
        path = self._flows.get((frame, time))
        if path is not None:
            in_world = path.name.startswith("scene_flow_world_")
            flow = _world_flow(path) if in_world else _camera_flow(path)
            self._check_size(path, flow.shape[:2])
            if in_world:
                return own + flow
            camera = transform_points(np.linalg.inv(self._pose(frame)), own)
            return transform_points(self._pose(time), camera + flow)
        if not self.holds.object_poses:
            return np.full_like(own, np.nan)
        poses, rows = self.object_poses(), self.instances(frame)
        # What is in no box stands still; of an object without a box here nothing is known.
        own[(self._lidar(frame)[1] > 0) & (rows == 0)] = np.nan
        for row in np.unique(rows[rows > 0]) - 1:
            there, ends = rows == row + 1, poses[row, [frame, time]]
            if np.isfinite(ends).all():
                own[there] = transform_points(ends[1] @ np.linalg.inv(ends[0]), own[there])
            else:
                own[there] = np.nan
        return own

    def _lidar(
        self, frame: int
    ) -> tuple[Float32[np.ndarray, "height width"], Int64[np.ndarray, "height width"]]:
        """Depth and instance at the pixels that LiDAR points fall into."""
        path = self._told.frames[frame].lidar
        if path is None:
            raise self.lacks("LiDAR points of every frame")
        return _on_pixels(path, need_file(path).stat().st_mtime_ns, self.image_hw)

    def _pose(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        return self.world_from_camera(frame) if self._told.poses_measured else np.eye(4)

    def _mask_of(self, told: ToldFrame) -> Path | None:
        name = f"{told.picture.stem}.png"
        places = (self.folder / f"moving_{name}", self.folder / "masks" / name)
        return next((path for path in places if path.is_file()), None)

    def _check_size(self, path: Path, shape: tuple[int, ...]) -> None:
        if shape != self.image_hw:
            raise damaged(path, f"it is of shape {shape}, the pictures of {self.image_hw}")


@lru_cache(maxsize=4)
def _on_pixels(
    path: Path, changed: int, image_hw: tuple[int, int]
) -> tuple[Float32[np.ndarray, "height width"], Int64[np.ndarray, "height width"]]:
    """Depth and instance of LiDAR points at the pixels that they fall into; NaN and 0 elsewhere."""
    uv, z, instance = read_npz(path, ("uv", "z", "instance"))
    if uv.shape != (len(z), 2) or z.ndim != 1 or instance.shape != z.shape:
        raise damaged(
            path, f"uv, z and instance are of shapes {uv.shape}, {z.shape}, {instance.shape}"
        )
    height, width = image_hw
    # Pixel centres at integers: pixel k reaches from k - 1/2 to k + 1/2.
    with np.errstate(invalid="ignore"):
        column, row = np.floor(np.nan_to_num(uv, nan=-2.0) + 0.5).astype(np.int64).T
        seen = (z > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    # The nearest comes last, and stays.
    order = np.flatnonzero(seen)[np.argsort(-z[seen], kind="stable")]
    depth = np.full(image_hw, np.nan, np.float32)
    number = np.zeros(image_hw, np.int64)
    depth[row[order], column[order]] = z[order]
    number[row[order], column[order]] = instance[order]
    return depth, number


def _camera_flow(path: Path) -> Float64[np.ndarray, "height width xyz=3"]:
    flow, valid = read_npz(path, ("sflow_m", "valid"))
    if flow.ndim != 3 or flow.shape[2] != 3 or valid.shape != flow.shape[:2]:
        raise damaged(path, f"sflow_m is of shape {flow.shape}, valid of {valid.shape}")
    return np.where(valid.astype(bool)[..., None], flow.astype(np.float64), np.nan)


def _world_flow(path: Path) -> Float64[np.ndarray, "height width xyz=3"]:
    need_file(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = [archive[key] for key in archive.files]
    # Damaged bytes make the zip, zlib and NumPy readers raise nearly every kind of exception.
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    flows = [each for each in arrays if each.ndim == 3 and each.shape[2] == 3]
    if not flows:
        raise damaged(path, "it has no array of three columns")
    return flows[0].astype(np.float64)


CARD = DatasetCard(
    key="real-folders",
    title="Real folders",
    source="small extracts of TUM RGB-D, 7-Scenes, DDAD, DeepDeform and DAVIS, by this layout",
    licence="that of each set",
    splits=("all",),
    layout=_LAYOUT,
    proven="miniature; extracts of TUM RGB-D, 7-Scenes, DDAD, DeepDeform and DAVIS",
    open_folder=_open_folder,
)
