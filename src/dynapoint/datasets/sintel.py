"""MPI Sintel: 23 rendered sequences of an animated film, with depth and cameras.

Butler et al., A Naturalistic Open Source Movie for Optical Flow Evaluation, ECCV 2012; depth and
cameras: Wulff et al., Lessons and Insights from Creating a Synthetic Optical Flow Benchmark, ECCV
workshop 2012, and the package "MPI-Sintel-depth-training"; rigidity maps: Wulff et al., Optical
Flow in Mostly Rigid Scenes, CVPR 2017. All unpack into `training/`:

- `final/SEQ/frame_%04d.png` and `clean/SEQ/…`, from 0001: with and without blur, fog and grain.
- `depth/SEQ/frame_%04d.dpt`: float32 202021.25, int32 width, int32 height, then float32 z along the
  camera's axis by rows, little-endian. Sky is 1e11, or a dome 2.5 to 3.4 km away; what is 1000 or
  farther counts as sky here (no other surface is; known from a public loader that was run on the
  files).
- `camdata_left/SEQ/frame_%04d.cam`: the same tag, K as 3×3 and camera_from_world as 3×4 float64 by
  rows, OpenCV axes: pixel = K · camera_from_world · point (the package's `sintel_io.py`). The
  principal point is (511.5, 217.5) in pictures of 1024×436, their middle where pixel centres are
  integers, so half a pixel is added. K may differ from frame to frame (zoom).
- `rigidity/SEQ/frame_%04d.png`: white is rigid, black is what moves in the world to the next frame.
  The last frame of a sequence has none.

Two things are left unread, as they say nothing of points: `flow`, `occlusions` and `invalid` tell
where a pixel goes in the picture but not how far away it then is, and interpolating the depth of
the other frame is no truth at edges. So the motion is "own_time".

UNCONFIRMED: that the unit is the metre (loaders say so; the package's note was not at hand). The
name and meaning of the rigidity maps are from programs that score with them; how the archive's
folders lie was not seen.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64

from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.files import damaged, depth_map, need_file, need_folder, read_mask
from dynapoint.datasets.numbered_pictures import NumberedPictures
from dynapoint.datasets.poses import inverted_poses
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.errors import InputError

LAYOUT = "training/{final,clean}/alley_1/frame_0001.png and training/{depth,camdata_left}/alley_1/"
FAR_M = 1000.0

_TAG = 202021.25


class SintelSequence(NumberedPictures):
    """One sequence of one rendering; it holds what of it was downloaded."""

    def __init__(self, training: Path, rendering: str, name: str) -> None:
        self._training = training
        super().__init__(
            dataset="sintel",
            name=name,
            folder=training / rendering / name,
            picture="frame_{:04d}.png",
            first=1,
            layout=LAYOUT,
        )
        self.holds = self._held()

    def _held(self) -> Holds:
        """What there are folders of."""
        cameras, depth, moving = (
            (self._training / part / self.name).is_dir()
            for part in ("camdata_left", "depth", "rigidity")
        )
        return Holds(lens=cameras, poses=cameras, depth=depth, moving=moving, metric=True)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """In pixels of the picture."""
        lens = self._camera(frame)[:9].reshape(3, 3)
        lens[:2, 2] += 0.5
        return lens

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose."""
        camera_from_world = np.vstack([self._camera(frame)[9:].reshape(3, 4), [0, 0, 0, 1]])
        return inverted_poses(camera_from_world, self._file("camdata_left", frame, "cam"))

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Along the camera's axis; NaN at sky."""
        path = self._file("depth", frame, "dpt")
        content = _tagged(path)
        width, height = (int(side) for side in np.frombuffer(content[:8].ljust(8), "<i4"))
        if min(width, height) < 1 or len(content) != 8 + 4 * width * height:
            raise damaged(path, f"{len(content) - 8} bytes for {width}x{height} numbers")
        z = np.frombuffer(content, "<f4", offset=8).reshape(height, width)
        return depth_map(path, np.where(z < FAR_M, z, np.nan), self.image_hw)

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """What moves to the next frame; the last frame has no mask."""
        if not self.holds.moving:
            raise self.lacks("masks of what moves")
        path = self._file("rigidity", frame, "png")
        if frame == self.frame_count - 1 and not path.exists():
            raise self.lacks(f"mask of what moves in the last frame, {frame}")
        rigid = read_mask(path)
        self._check_size(path, rigid)
        return ~rigid

    def _file(self, part: str, frame: int, suffix: str) -> Path:
        return self._training / part / self.name / f"frame_{self._number(frame):04d}.{suffix}"

    def _camera(self, frame: int) -> Float64[np.ndarray, "21"]:
        """Intrinsics, then camera_from_world."""
        path = self._file("camdata_left", frame, "cam")
        content = _tagged(path)
        if len(content) != 21 * 8:
            raise damaged(path, f"{len(content)} bytes where a camera has 168")
        numbers = np.frombuffer(content, "<f8").astype(np.float64)
        if not np.isfinite(numbers).all():
            raise damaged(path, "it holds numbers that are not finite")
        return numbers


def _tagged(path: Path) -> bytes:
    """What follows the tag of a file.

    Raises:
        InputError: It is missing or has no tag.
    """
    content = need_file(path).read_bytes()
    if content[:4] != np.float32(_TAG).astype("<f4").tobytes():
        raise damaged(path, f"it does not begin with {_TAG}")
    return content[4:]


def open_folder(root: Path, split: str) -> list[TruthSequence]:
    """The sequences of a rendering.

    Raises:
        InputError: The folder is not that of the set.
    """
    training = root / "training"
    need_folder(training, LAYOUT)
    need_folder(training / split, LAYOUT)
    names = sorted(path.name for path in (training / split).iterdir() if path.is_dir())
    if not names:
        raise InputError(f"{training / split}: no sequence in it; wanted {LAYOUT}; unpack it there")
    return [SintelSequence(training, split, name) for name in names]


CARD = DatasetCard(
    key="sintel",
    title="Sintel",
    source="Butler et al., ECCV 2012 (MPI Sintel); Wulff et al., CVPR 2017 (rigidity maps)",
    licence="research; the film is CC BY 3.0",
    splits=("final", "clean"),
    layout=LAYOUT,
    proven="miniature",
    open_folder=open_folder,
)
