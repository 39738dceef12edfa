"""One clip with its tracks in one NumPy archive: the format of TAPVid-3D, which WorldTrack shares.

Arrays of a file, as `google-deepmind/tapnet` (`tapvid3d/`: README, generators and notebook)
and St4RTrack's evaluation (`data/construct_*_bench.py`, `dust3r/datasets/tapvid3d.py`) write and
read them:

- `images_jpeg_bytes` (frame): a JPEG file of each frame, as NumPy byte strings.
- `tracks_XYZ` (frame, track, xyz): in the camera of that frame, axes of OpenCV, metres.
- `visibility` (frame, track); (frame, height, width) where there are no tracks.
- `fx_fy_cx_cy`: one pinhole lens in pixels of the pictures.
- `extrinsics_w2c` (frame, 4, 4): camera_from_world for column vectors; missing in some files.
- `depth_map` (frame, height, width): z along the camera's axis; in some files of WorldTrack.
- `queries_xyt` (track): in files of TAPVid-3D; not read.

Pixel centres are at half-integers: TAPVid-3D's generator of ADT looks pixels up at
`round(xy − 0.5)` with its principal point at half the picture's size, and St4RTrack's evaluation
truncates projected points to find their pixels. UNCONFIRMED for Panoptic Studio and DriveTrack,
whose lenses come from elsewhere. UNCONFIRMED as well: whether places of points that are not
visible are always meant (they are taken as they are, unless they are not finite). Arrays of
Python objects are refused, because reading them may run code; the public files hold none, says
code that reads them without.
"""

import zipfile
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from dynapoint.datasets.files import (
    damaged,
    decoded_picture,
    listed,
    read_npz,
    stamp,
)
from dynapoint.datasets.poses import inverted_poses
from dynapoint.datasets.sequence import Holds
from dynapoint.datasets.tracked import TrackedSequence
from dynapoint.errors import InputError
from dynapoint.geometry.arrays import transform_points

IMAGES, TRACKS, LENS, POSES, DEPTH = (
    "images_jpeg_bytes",
    "tracks_XYZ",
    "fx_fy_cx_cy",
    "extrinsics_w2c",
    "depth_map",
)
FARTHEST = 1000.0
"""Where PointOdyssey's depth ends: what is there or farther, and the sky, is not known."""


class TrackNpz(TrackedSequence):
    """One file. The world is that of its poses, or the camera that stands still."""

    # WorldTrack's depth of PointOdyssey is in such steps.
    depth_step = FARTHEST / 65535

    def __init__(self, path: Path, dataset: str, *, still_camera: bool) -> None:
        """Read only which arrays there are.

        Args:
            path: An archive.
            dataset: The key of the set.
            still_camera: The camera stands still where the file has no poses.
        """
        self.path, self.dataset, self.name = path, dataset, path.stem
        self.still_camera = still_camera
        arrays = _arrays_of(path)
        posed = POSES in arrays or still_camera
        followed = TRACKS in arrays and posed
        self.holds = Holds(
            lens=True,
            poses=posed,
            depth=DEPTH in arrays,
            motion="sparse" if followed else "own_time",
            visible=followed,
            tracks=followed,
            metric=True,
        )

    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many pictures there are."""
        return _first_picture(*stamp(self.path))[0]

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the first picture."""
        height, width, _ = decoded_picture(_first_picture(*stamp(self.path))[1], self.path).shape
        return height, width

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture in sRGB."""
        return decoded_picture(_pictures(*stamp(self.path))[frame], self.path)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture, pixel centres at half-integers; one lens for all frames."""
        del frame
        return _lens(*stamp(self.path))

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose; the identity where it stands still."""
        if not self.holds.poses:
            raise self.lacks("poses")
        if POSES not in _arrays_of(self.path):
            return np.eye(4)
        return _poses(*stamp(self.path), self.frame_count)[frame]

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Give z along the camera's axis; NaN where it is unknown or there is no surface."""
        if not self.holds.depth:
            raise self.lacks("depth")
        maps = _depth(*stamp(self.path))
        if maps.shape != (self.frame_count, *self.image_hw):
            raise damaged(
                self.path,
                f"depth of {maps.shape} for {self.frame_count} pictures of {self.image_hw}",
            )
        z = maps[frame].astype(np.float32)
        return np.where((z > 0) & (z < FARTHEST), z, np.float32(np.nan))

    def track_xyz(self, frame: int) -> Float32[np.ndarray, "track xyz=3"]:
        """Where all followed points are at the time of a frame, in the world."""
        if not self.holds.tracks:
            raise self.lacks("tracks")
        places = self._followed()[0][frame]
        return transform_points(self.world_from_camera(frame), places).astype(np.float32)

    def track_visible(self, frame: int) -> Bool[np.ndarray, " track"]:
        """Which followed points the camera of a frame sees."""
        if not self.holds.tracks:
            raise self.lacks("tracks")
        return self._followed()[1][frame]

    def _followed(
        self,
    ) -> tuple[Float64[np.ndarray, "frame track xyz=3"], Bool[np.ndarray, "frame track"]]:
        return _tracks(*stamp(self.path), self.frame_count)

    def lacks(self, what: str) -> InputError:
        """The error for truth that this clip does not have."""
        if self.holds.poses:
            return super().lacks(what)
        return InputError(
            f"{self.path}: no {POSES} in it, and its camera moves, so it has no {what} in "
            "the world; make it again with a generator that writes them (tapnet since 2025)"
        )


def clips_in(folder: Path, layout: str, dataset: str, *, still_camera: bool) -> list[TrackNpz]:
    """The clips of a folder, by name.

    Raises:
        InputError: There are none.
    """
    return [
        TrackNpz(path, dataset, still_camera=still_camera)
        for path in listed(folder, "*.npz", layout)
    ]


def _arrays_of(path: Path) -> frozenset[str]:
    """Names of the arrays in an archive; all that may be where it cannot be read.

    What is wrong with the file is said when one of them is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return frozenset({IMAGES, TRACKS, LENS, POSES})


# The arguments from the second on are of `stamp`: they say when a file is another one.
@lru_cache(maxsize=64)
def _first_picture(path: Path, _changed: int, _size: int) -> tuple[int, bytes]:
    """How many pictures there are, and the first one, without reading the others."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{IMAGES}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read_header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(stream)
            first = stream.read(dtype.itemsize)
    # Damaged bytes make the zip, zlib and NumPy readers raise nearly every kind of exception.
    except Exception as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    _need_pictures(path, shape, dtype)
    return shape[0], first


@lru_cache(maxsize=2)
def _pictures(path: Path, _changed: int, _size: int) -> list[bytes]:
    """The JPEG files of all frames."""
    (pictures,) = read_npz(path, [IMAGES])
    _need_pictures(path, pictures.shape, pictures.dtype)
    return [bytes(picture) for picture in pictures]


def _need_pictures(path: Path, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
    if len(shape) != 1 or shape[0] == 0 or dtype.kind != "S":
        raise damaged(path, f"{IMAGES} holds {dtype} of shape {shape}, not a JPEG for each frame")


@lru_cache(maxsize=64)
def _lens(path: Path, _changed: int, _size: int) -> Float64[np.ndarray, "3 3"]:
    (numbers,) = read_npz(path, [LENS])
    if numbers.shape != (4,) or not (np.isfinite(numbers).all() and (numbers[:2] > 0).all()):
        raise damaged(path, f"{LENS} is {numbers.tolist()}, not four numbers of a lens")
    matrix = np.eye(3)
    matrix[[0, 1, 0, 1], [0, 1, 2, 2]] = numbers
    return matrix


@lru_cache(maxsize=64)
def _poses(path: Path, _changed: int, _size: int, frames: int) -> Float64[np.ndarray, "frame 4 4"]:
    (matrices,) = read_npz(path, [POSES])
    if matrices.shape != (frames, 4, 4):
        raise damaged(path, f"{POSES} is {matrices.shape} for {frames} pictures")
    return inverted_poses(matrices, path)


@lru_cache(maxsize=2)
def _depth(path: Path, _changed: int, _size: int) -> Float32[np.ndarray, "frame height width"]:
    (maps,) = read_npz(path, [DEPTH])
    if maps.ndim != 3:
        raise damaged(path, f"{DEPTH} has shape {maps.shape}, not (frame, height, width)")
    return maps.astype(np.float32, copy=False)


@lru_cache(maxsize=4)
def _tracks(
    path: Path, _changed: int, _size: int, frames: int
) -> tuple[Float64[np.ndarray, "frame track xyz=3"], Bool[np.ndarray, "frame track"]]:
    """Places in the cameras, NaN where not finite, and visibility."""
    places, seen = read_npz(path, [TRACKS, "visibility"])
    if places.shape != (frames, *places.shape[1:2], 3) or seen.shape != places.shape[:2]:
        raise damaged(
            path, f"{TRACKS} is {places.shape}, visibility {seen.shape}, for {frames} pictures"
        )
    known = np.isfinite(places).all(axis=-1)
    return (
        np.where(known[..., None], places, np.nan).astype(np.float64),
        seen.astype(bool) & known,
    )
