"""PointOdyssey (Zheng et al., ICCV 2023), release 1.2 as it is downloaded.

Layout: `{train,val,test}/SEQUENCE/` with `rgbs/rgb_00000.jpg`, `depths/depth_00000.png`,
`normals/`, `masks/` (neither is read), `info.npz` (the shapes of the arrays of `anno.npz`, an
empty one for what a sequence lacks) and `anno.npz`: `trajs_2d` (frame, track, xy), `trajs_3d`
(frame, track, xyz), `valids`, `visibs` (frame, track), `intrinsics` (frame, 3, 3), `extrinsics`
(frame, 4, 4).

Known from the authors' code (`y-zheng18/point_odyssey`: `utils/gen_tracking.py`, which writes these
files, `utils/reprojection.py` and `utils/openexr_utils.py`) and from the reader of `aharley/pips2`:

- Depth is z along the camera's axis (Blender's depth pass): the uint16 value times 1000 / 65535,
  rounded down when written, so it is up to 0.0153 too small. Depths of 1000 and more, and the sky,
  are 65535: NaN here, as is 0.
- `extrinsics` is camera_from_world for column vectors, with the axes of OpenCV (the code above
  turns Blender's cameras before it writes them). The code writes float16; rotations are brought
  to the nearest rotation here, whatever their type.
- `trajs_3d` is in the world; mesh vertices and points of the ground. `visibs` compares their z with
  the rendered depth.
- `intrinsics` is Blender's, whose principal point counts from the corner of the picture; the
  masks are looked up at `floor(trajs_2d)`. So pixel centres are at half-integers. (Readers such as
  MonST3R's unproject from integers, half a pixel off.)

UNCONFIRMED: that lengths are metres (an author writes that he thinks so, issue 16); the types of
the arrays of `anno.npz`; what `valids` means besides "may be used" (pips2 makes it of points that
are behind the camera, too far, or have no finite place in the picture): a place that is not valid
is unknown here. What moves is not known: `masks` colour objects, moving or not. Some sequences
have no `trajs_3d` (issue 4); they hold no motion.
"""

from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dynapoint.data.images import image_size
from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import (
    damaged,
    listed,
    need_file,
    need_folder,
    read_npz,
    read_picture,
    read_png16,
    stamp,
)
from dynapoint.datasets.poses import inverted_poses
from dynapoint.datasets.sequence import Holds, TruthSequence, WorldTracks
from dynapoint.datasets.tracked import TrackedSequence
from dynapoint.errors import InputError

LAYOUT = "{test,val,train}/SEQUENCE/{rgbs,depths,anno.npz,info.npz}"
FARTHEST, LEVELS = 1000.0, 65535


class PointOdysseySequence(TrackedSequence):
    """One folder of PointOdyssey."""

    dataset = "pointodyssey"
    depth_step = FARTHEST / LEVELS

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        followed = _has_trajectories(folder)
        self.holds = Holds(
            lens=True,
            poses=True,
            depth=True,
            motion="sparse" if followed else "own_time",
            visible=followed,
            tracks=followed,
            metric=True,
        )

    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many pictures there are."""
        return len(listed(self.folder / "rgbs", "rgb_*.jpg", LAYOUT))

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the first picture."""
        return image_size(need_file(self._file("rgbs", "rgb", 0, "jpg")))

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB."""
        return read_picture(self._file("rgbs", "rgb", frame, "jpg"))

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture, pixel centres at half-integers."""
        return self._cameras()[0][frame]

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        return self._cameras()[1][frame]

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Give z along the camera's axis; NaN where it is 1000 or more, or sky."""
        path = self._file("depths", "depth", frame, "png")
        values = read_png16(path)
        if values.shape != self.image_hw:
            raise damaged(path, f"it is {values.shape}, and the pictures are {self.image_hw}")
        known = (values > 0) & (values < LEVELS)
        return np.where(known, values * np.float32(self.depth_step), np.float32(np.nan))

    def track_xyz(self, frame: int) -> Float32[np.ndarray, "track xyz=3"]:
        """Where all followed points are at the time of a frame; NaN where it is not valid."""
        return self.tracks().xyz[frame]

    def track_visible(self, frame: int) -> Bool[np.ndarray, " track"]:
        """Which followed points the camera of a frame sees."""
        return self.tracks().visible[frame]

    def tracks(self) -> WorldTracks:
        """Points followed through the sequence."""
        if not self.holds.tracks:
            raise self.lacks("tracks")
        return _trajectories(*stamp(self.folder / "anno.npz"), self._frames_told)

    def _cameras(
        self,
    ) -> tuple[Float64[np.ndarray, "frame 3 3"], Float64[np.ndarray, "frame 4 4"]]:
        return _cameras(*stamp(self.folder / "anno.npz"), self._frames_told)

    @cached_property
    def _frames_told(self) -> int:
        """The number of frames, about which the pictures and `info.npz` have to agree."""
        path = self.folder / "info.npz"
        (shape,) = read_npz(path, ["trajs_3d"])
        if shape.size == 3 and int(shape[0]) != self.frame_count:
            raise InputError(
                f"{self.folder / 'rgbs'}: {self.frame_count} pictures, and {path.name} tells of "
                f"{int(shape[0])} frames; download this part of the data set again"
            )
        return self.frame_count

    def _file(self, folder: str, name: str, frame: int, suffix: str) -> Path:
        return self.folder / folder / f"{name}_{frame:05d}.{suffix}"


def _has_trajectories(folder: Path) -> bool:
    """Whether `info.npz` tells of points in space; if it cannot be read, reading will say why."""
    try:
        (shape,) = read_npz(folder / "info.npz", ["trajs_3d"])
    except InputError:
        return True
    return shape.size == 3


@lru_cache(maxsize=64)
def _cameras(
    path: Path, _changed: int, _size: int, frames: int
) -> tuple[Float64[np.ndarray, "frame 3 3"], Float64[np.ndarray, "frame 4 4"]]:
    """Lenses and poses; the arguments from the second on are of `stamp`."""
    intrinsics, extrinsics = read_npz(path, ["intrinsics", "extrinsics"])
    if intrinsics.shape != (frames, 3, 3) or extrinsics.size != frames * 16:
        raise damaged(
            path, f"cameras of {intrinsics.shape} and {extrinsics.shape} for {frames} frames"
        )
    lenses = intrinsics.astype(np.float64)
    if not (np.isfinite(lenses).all() and (lenses[:, [0, 1], [0, 1]] > 0).all()):
        raise damaged(path, "a lens is not one")
    return lenses, inverted_poses(extrinsics.reshape(frames, 4, 4), path)


# Hundreds of megabytes each.
@lru_cache(maxsize=2)
def _trajectories(path: Path, _changed: int, _size: int, frames: int) -> WorldTracks:
    """The followed points."""
    places, valid, seen = read_npz(path, ["trajs_3d", "valids", "visibs"])
    if places.shape != (frames, *places.shape[1:2], 3) or not (
        valid.shape == seen.shape == places.shape[:2]
    ):
        raise damaged(
            path, f"points of {places.shape}, {valid.shape}, {seen.shape} for {frames} frames"
        )
    known = valid.astype(bool) & np.isfinite(places).all(axis=-1)
    return WorldTracks(
        xyz=np.where(known[..., None], places, np.nan).astype(np.float32),
        visible=seen.astype(bool) & known,
    )


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The sequences of a split.

    Raises:
        InputError: There are none.
    """
    folder = need_folder(root / split, LAYOUT)
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    if not found:
        raise InputError(f"{folder}: no sequences in it; wanted {LAYOUT}; unpack the set again")
    return [PointOdysseySequence(path) for path in found]


CARD = DatasetCard(
    key="pointodyssey",
    title="PointOdyssey",
    source="Zheng et al., PointOdyssey, ICCV 2023; pointodyssey.com",
    licence="CC BY-NC-SA 4.0",
    splits=("test", "val", "train"),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
