"""Spring: 37 rendered stereo sequences of an animated film, with scene flow.

Mehl et al., Spring: A High-Resolution High-Detail Dataset and Benchmark for Scene Flow, Optical
Flow and Stereo, CVPR 2023. Read from `train/NNNN/`; the test part has no truth. Files are numbered
from 0001, and only the left camera is read:

- `frame_left/frame_left_%04d.png`.
- `disp1_left/disp1_left_%04d.dsp5`: HDF5, dataset `disparity`, twice as high and wide as the
  picture, positive, in pixels of the *picture*. z = fx · .065 m / disparity, and z is along the
  camera's axis. Sky is 0; NaN is unknown.
- `disp2_{FW,BW}_left/…` and `flow_{FW,BW}_left/….flo5` (dataset `flow`, x then y): the disparity
  that a pixel's point has at the next (FW) or last (BW) time, 0 for sky, and how far from the pixel
  it is in the picture of that time, also where it is hidden there. Grid and units as above. So
  `points(i, i ± 1)` is known for every pixel that has a point, and no other time is: the motion is
  "sparse".
- `cam_data/intrinsics.txt`: fx fy cx cy of each frame; `extrinsics.txt`: camera_from_world, 4×4 by
  rows, OpenCV axes, the unit of depth; `focaldistance.txt` (where the lens is sharp) is not read.
- `maps/`: PNG, not black is true. `rigidmap_{FW,BW}_left` (true is what *moves* in the world, to
  the next or last frame) has the grid of disparity, `matchmap_flow_{FW,BW}_left` (true is not seen
  at the other time) that of the picture. `skymap_left` says no more than disparity 0 does, and
  detail maps nothing of points: they are not read.

All this is from the authors' programs `spring_utils` and `sceneflow_from_blender` and from their
paper; that the rigidity maps mark what moves, from the second and from other people's loaders.

Of the 2×2 values at a pixel the first is taken, as the authors do. Their programs put it at whole
numbers, with the principal point at half the width (960); in the camera of Blender, which drew the
pictures, that point is 960 where pixel centres are half-integers, and so it is here. For a moved
point that differs from the authors' by half a pixel's width of its change of depth.

UNCONFIRMED: no file of the set was at hand. `moving` knows of the steps to the next and last frame
only, and `visible` of these times; both are False for what the set does not say.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import damaged, need_folder, read_h5, read_mask, read_numbers
from dynapoint.datasets.numbered_pictures import NumberedPictures
from dynapoint.datasets.poses import inverted_poses
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.errors import InputError
from dynapoint.geometry.arrays import pixel_centres

BASELINE_M = 0.065
LAYOUT = "train/0001/frame_left/frame_left_0001.png and, beside frame_left, disp1_left, cam_data, …"

# The parts of the set's names for the time after and before.
_DIRECTIONS = {1: "FW", -1: "BW"}


class SpringSequence(NumberedPictures):
    """One sequence, seen by its left camera; it holds what of it was downloaded."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        super().__init__(
            dataset="spring",
            name=folder.name,
            folder=folder / "frame_left",
            picture="frame_left_{:04d}.png",
            first=1,
            layout=LAYOUT,
        )
        self.holds = self._held()

    def _held(self) -> Holds:
        """What there are folders of."""
        cameras = (self._root / "cam_data").is_dir()
        depth = (self._root / "disp1_left").is_dir() and cameras
        moved = depth and any(self._has_motion(way) for way in _DIRECTIONS.values())
        maps = self._root / "maps"
        return Holds(
            lens=cameras,
            poses=cameras,
            depth=depth,
            motion="sparse" if moved else "own_time",
            visible=moved and any(maps.glob("matchmap_flow_*_left")),
            moving=any(maps.glob("rigidmap_*_left")),
            metric=True,
        )

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture."""
        fx, fy, cx, cy = self._row(self._lens_file, self._lenses, frame)
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        row = self._row(self._pose_file, self._poses, frame)
        return inverted_poses(row.reshape(4, 4), self._pose_file)

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """In metres along the camera's axis; NaN at sky."""
        return self._depth_of("disp1_left", frame, frame).astype(np.float32)

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """NaN at sky, and at all times but the frame's own and those next to it."""
        if time == frame:
            return super().points(frame, time)
        if self.holds.motion != "sparse":
            raise self.lacks("points of a frame at another time")
        way = _DIRECTIONS.get(time - frame, "")
        if not self._has_motion(way):
            return np.full((*self.image_hw, 3), np.nan, np.float32)
        z = self._depth_of(f"disp2_{way}_left", frame, time)
        xy = pixel_centres(self.image_hw) + self._field(f"flow_{way}_left", frame, "flow")
        rays = np.concatenate([xy, np.ones((*self.image_hw, 1))], axis=-1)
        rays = rays @ np.linalg.inv(self.intrinsics(time)).T
        camera = self.world_from_camera(time)
        points = rays * z[..., None] @ camera[:3, :3].T + camera[:3, 3]
        return points.astype(np.float32)

    def visible(self, frame: int, time: int) -> Bool[np.ndarray, "height width"]:
        """By the authors' matching of flow there and back; False where `points` are not known."""
        if not self.holds.visible:
            raise self.lacks("visibility")
        known = np.isfinite(self.points(frame, time)[..., 2])
        way = _DIRECTIONS.get(time - frame)
        if way is None or not self._has_map(f"matchmap_flow_{way}_left"):
            return known if time == frame else np.zeros_like(known)
        return known & ~self._mask(f"matchmap_flow_{way}_left", frame)

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """What moves to the next frame or has moved since the last."""
        if not self.holds.moving:
            raise self.lacks("masks of what moves")
        found = np.zeros(self.image_hw, bool)
        for step, way in _DIRECTIONS.items():
            if 0 <= frame + step < self.frame_count and self._has_map(f"rigidmap_{way}_left"):
                found |= self._mask(f"rigidmap_{way}_left", frame)
        return found

    @property
    def _lens_file(self) -> Path:
        return self._root / "cam_data" / "intrinsics.txt"

    @cached_property
    def _lenses(self) -> Float64[np.ndarray, "frame 4"]:
        return read_numbers(self._lens_file, 4)

    @property
    def _pose_file(self) -> Path:
        return self._root / "cam_data" / "extrinsics.txt"

    @cached_property
    def _poses(self) -> Float64[np.ndarray, "frame 16"]:
        return read_numbers(self._pose_file, 16)

    def _has_motion(self, way: str) -> bool:
        """Whether motion in that direction was downloaded."""
        parts = (f"disp2_{way}_left", f"flow_{way}_left")
        return bool(way) and all((self._root / part).is_dir() for part in parts)

    def _depth_of(self, part: str, frame: int, time: int) -> Float64[np.ndarray, "height width"]:
        """The depth in the camera of a time that disparities of a frame say."""
        disparity = self._field(part, frame, "disparity").astype(np.float64)
        disparity[~(disparity > 0)] = np.nan
        return self.intrinsics(time)[0, 0] * BASELINE_M / disparity

    def _field(self, part: str, frame: int, key: str) -> Float32[np.ndarray, "height width *rest"]:
        """Every second value of an HDF5 file, in both directions."""
        suffix = "flo5" if key == "flow" else "dsp5"
        path = self._root / part / f"{part}_{self._number(frame):04d}.{suffix}"
        values = read_h5(path, key)
        self._check_size(path, values, 2)
        if values.shape[2:] != ((2,) if key == "flow" else ()) or values.dtype.kind != "f":
            raise damaged(path, f"{key} is {values.dtype} of shape {values.shape}")
        return values[::2, ::2].astype(np.float32)

    def _map(self, part: str) -> Path:
        return self._root / "maps" / part

    def _has_map(self, part: str) -> bool:
        return self._map(part).is_dir()

    def _mask(self, part: str, frame: int) -> Bool[np.ndarray, "height width"]:
        """A map on the grid of the picture."""
        path = self._map(part) / f"{part}_{self._number(frame):04d}.png"
        values = read_mask(path)
        times = 2 if len(values) == 2 * self.image_hw[0] else 1
        self._check_size(path, values, times)
        return values[::times, ::times]


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The sequences of the training part.

    Raises:
        InputError: The folder is not that of the set.
    """
    found = [place for place in (root / split, root / "spring" / split) if place.is_dir()]
    need_folder(found[0] if found else root / split, LAYOUT)
    folders = sorted(path for path in found[0].iterdir() if path.name.isdigit() and path.is_dir())
    if not folders:
        raise InputError(f"{found[0]}: no sequence 0001, 0002, …; wanted {LAYOUT}; unpack it there")
    return [SpringSequence(folder) for folder in folders]


CARD = DatasetCard(
    key="spring",
    title="Spring",
    source="Mehl et al., CVPR 2023 (Spring benchmark, University of Stuttgart)",
    licence="CC BY 4.0",
    splits=("train",),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
    extra="datasets",
)
