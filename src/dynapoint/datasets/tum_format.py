"""The folder form of the TUM RGB-D benchmark, in which other sets are published too.

FOLDER/rgb.txt and FOLDER/depth.txt list "time file", FOLDER/groundtruth.txt lists "time tx ty tz qx
qy qz qw"; lines that begin with # are comments. Times are in seconds, and no two lists share them.
Depth is laid on the colour picture: PNG of 16 bits, 5000 a metre, z along the camera's axis, 0
where it is unknown. Poses are world from sensor in metres, quaternions have the real part last
(Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012, and the benchmark's
page on file formats). Two lists are joined as the benchmark's `associate.py` does.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from scipy.spatial.transform import Rotation

from dynapoint.data.images import image_size
from dynapoint.datasets.files import (
    damaged,
    depth_map,
    need_file,
    read_numbers,
    read_picture,
    read_png16,
)
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.errors import InputError

WITHIN_S = 0.02
"""How far apart two times may be that are taken for one, as in the benchmark's own script."""

_UNITS_PER_METRE = 5000
# The pictures of all sequences; a lens is told for these.
_PUBLISHED_HW = (480, 640)


@dataclass(frozen=True, kw_only=True, eq=False)
class TumFrames:
    """The frames of a folder, in the order of time.

    Attributes:
        times_s: Of the pictures.
        pictures: Their files.
        depths: Files of depth; None where there is none.
        world_from_sensor: NaN where there is none.
    """

    times_s: Float64[np.ndarray, " frame"]
    pictures: tuple[Path, ...]
    depths: tuple[Path | None, ...]
    world_from_sensor: Float64[np.ndarray, "frame 4 4"]


class TumSequence(TruthSequence):
    """One folder. Things move in it, and it is not known where to.

    Attributes:
        folder: Where it is.
        only_posed: Whether frames are only the pictures that have a pose within `WITHIN_S`.
        depth_by_place: Depth of the n-th picture is the n-th of its list, whatever their times.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dataset: str,
        name: str,
        lens: tuple[float, float, float, float],
        only_posed: bool,
        depth_by_place: bool = False,
        metric: bool = True,
    ) -> None:
        """`lens` is fx, fy, cx, cy of pictures of 640 x 480 with pixel centres at integers."""
        self.folder = folder
        self.dataset = dataset
        self.name = name
        self.only_posed = only_posed
        self.depth_by_place = depth_by_place
        self._lens = lens
        self._metric = metric

    @cached_property
    def holds(self) -> Holds:  # type: ignore[override]
        """Which truth there is; poses only where every frame has one."""
        posed = self.only_posed or bool(np.isfinite(self.frames.world_from_sensor).all())
        return Holds(lens=True, poses=posed, depth=True, motion="own_time", metric=self._metric)

    @cached_property
    def frames(self) -> TumFrames:
        """Files, times and poses of all frames.

        Raises:
            InputError: One of the three lists is missing or damaged, or none fit together.
        """
        return _read_frames(self.folder, self.only_posed, self.depth_by_place)

    @property
    def times_s(self) -> Float64[np.ndarray, " frame"]:
        """When the pictures were taken, in seconds.

        Raises:
            InputError: As `frames`.
        """
        return self.frames.times_s

    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames there are."""
        return len(self.frames.pictures)

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the pictures."""
        return image_size(need_file(self.frames.pictures[0]))

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture."""
        return read_picture(self.frames.pictures[frame])

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """The published lens; pictures of another size than 640 x 480 are taken for scaled ones."""
        fx, fy, cx, cy = self._lens
        lens = np.array([[fx, 0, cx + 0.5], [0, fy, cy + 0.5], [0, 0, 1]])
        down, across = (now / then for now, then in zip(self.image_hw, _PUBLISHED_HW, strict=True))
        return np.diag([across, down, 1]) @ lens

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Depth that was measured; all NaN for a picture that has none."""
        path = self.frames.depths[frame]
        if path is None:
            return np.full(self.image_hw, np.nan, np.float32)
        return depth_map(path, read_png16(path) / _UNITS_PER_METRE, self.image_hw)

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The pose that was measured nearest in time."""
        pose = self.frames.world_from_sensor[frame]
        if np.isnan(pose).any():
            raise InputError(
                f"{self.folder / 'groundtruth.txt'}: no pose within {WITHIN_S} s of "
                f"{self.frames.pictures[frame].name}; take frames that have one"
            )
        return pose.copy()


def associate(
    first_s: Float64[np.ndarray, " first"],
    second_s: Float64[np.ndarray, " second"],
    within_s: float,
) -> Int64[np.ndarray, " first"]:
    """The place in the second list of the partner of each time in the first, or -1.

    Partners are less than `within_s` apart. The closest two are joined first, and none twice.
    """
    order = np.argsort(second_s, kind="stable")
    sorted_s = second_s[order]
    low = np.searchsorted(sorted_s, first_s - within_s, side="left")
    count = np.searchsorted(sorted_s, first_s + within_s, side="right") - low
    i = np.repeat(np.arange(len(first_s)), count)
    j = order[np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - low, count)]
    gap = np.abs(first_s[i] - second_s[j])
    near = np.lexsort((second_s[j], first_s[i], gap))
    partner = np.full(len(first_s), -1, np.int64)
    taken = np.zeros(len(second_s), bool)
    for k in near[gap[near] < within_s]:
        if partner[i[k]] < 0 and not taken[j[k]]:
            partner[i[k]] = j[k]
            taken[j[k]] = True
    return partner


def _read_frames(folder: Path, only_posed: bool, depth_by_place: bool) -> TumFrames:
    times, pictures = _read_list(folder / "rgb.txt")
    depth_times, depth_files = _read_list(folder / "depth.txt")
    truth = folder / "groundtruth.txt"
    pose_times, poses = _read_poses(truth)
    posed = associate(times, pose_times, WITHIN_S)
    if depth_by_place:
        here = np.arange(len(times))
        measured = np.where(here < len(depth_files), here, -1)
    else:
        measured = associate(times, depth_times, WITHIN_S)
    chosen = np.flatnonzero(posed >= 0) if only_posed else np.arange(len(times))
    if not chosen.size:
        raise damaged(truth, f"no pose within {WITHIN_S} s of a picture of rgb.txt")
    world_from_sensor = np.where((posed >= 0)[:, None, None], poses[posed], np.nan)
    return TumFrames(
        times_s=times[chosen],
        pictures=tuple(pictures[k] for k in chosen),
        depths=tuple(None if measured[k] < 0 else depth_files[measured[k]] for k in chosen),
        world_from_sensor=world_from_sensor[chosen],
    )


def _read_list(path: Path) -> tuple[Float64[np.ndarray, " row"], list[Path]]:
    """Times and files of a list, in the order of time."""
    try:
        lines = need_file(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, str(error)) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            rows.append((float(words[0]), path.parent / words[1]))
        except (ValueError, IndexError) as error:
            raise damaged(path, f"line {number} is not a time and a file: {line!r}") from error
    if not rows:
        raise damaged(path, "it lists no file")
    rows.sort(key=lambda row: row[0])
    return np.array([time for time, _ in rows]), [file for _, file in rows]


def _read_poses(
    path: Path,
) -> tuple[Float64[np.ndarray, " row"], Float64[np.ndarray, "row 4 4"]]:
    """Times and poses of a trajectory."""
    rows = read_numbers(path, columns=8)
    lengths = np.linalg.norm(rows[:, 4:], axis=1)
    if not rows.size or not np.isfinite(rows).all() or np.abs(lengths - 1).max() > 0.01:
        raise damaged(path, "its rows are not times, places and unit quaternions")
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = Rotation.from_quat(rows[:, 4:]).as_matrix()
    poses[:, :3, 3] = rows[:, 1:4]
    return rows[:, 0], poses
