"""Clips that `dynapoint synth` writes, long ones too, and clips rendered in the same format.

Short clips (`datasets.clip_folders`): rgb_NN pictures and gt.npz with points of all frames at all
times, in the camera of frame 0, OpenCV axes, scene units, pixel centres at half-integers. Points
may be float16, which rounds far ones by up to a tenth of a pixel, and may stand on a grid of every
n-th pixel: then there is truth at the grid's pixels only, NaN, false or 0 elsewhere.

Long clips (`synthetic.long_files`): poses.npy, intrinsics.npy, video.mp4, and recipe.json, from
which frames and truth are rendered again. Each part between cuts has a world of its own.
"""

import json
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Shaped, UInt8

from dynapoint.data.images import image_size
from dynapoint.datasets.card import DatasetCard
from dynapoint.datasets.clip_folders import (
    TRUTH_FILE,
    TruthArrays,
    check_fit,
    frame_files,
    read_arrays,
    read_frame,
)
from dynapoint.datasets.files import damaged, need_file, need_folder, read_npy
from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.errors import InputError
from dynapoint.geometry.arrays import points_in_camera

if TYPE_CHECKING:
    from dynapoint.synthetic.long_clip import LongClip

_LAYOUT = (
    "a clip of `dynapoint synth`, or a folder of clips: rgb_00.png … with gt.npz, or recipe.json "
    "with poses.npy"
)
_RECIPE = "recipe.json"
_NOTHING, _MOVING = 255, 100


def _open_folder(root: Path, split: str) -> list[TruthSequence]:
    need_folder(root, _LAYOUT)
    own = _sequence(root)
    if own is not None:
        return [own]
    # Hidden ones are what a killed process was writing.
    folders = [child for child in sorted(root.iterdir()) if not child.name.startswith(".")]
    found = [each for child in folders if (each := _sequence(child)) is not None]
    if not found:
        raise InputError(
            f"{root}: no clip in it; wanted {_LAYOUT}; make some with `dynapoint synth`"
        )
    return found


def _sequence(folder: Path) -> TruthSequence | None:
    """The clip of a folder, of whichever kind; None where it is no clip."""
    # Pictures without truth are a clip that was not copied whole, which is said when it is read.
    if (folder / TRUTH_FILE).is_file() or any(folder.glob("rgb_*.png")):
        return ShortClip(folder)
    if (folder / _RECIPE).is_file():
        return LongClipSequence(folder)
    return None


class ShortClip(TruthSequence):
    """A clip with gt.npz, which is read whole when it is first asked for truth."""

    dataset = "clips"
    holds = Holds(
        lens=True,
        poses=True,
        depth=True,
        motion="dense",
        visible=True,
        moving=True,
        instances=True,
    )

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    @cached_property
    def _frames(self) -> list[Path]:
        return frame_files(self.folder)

    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames have a picture."""
        return len(self._frames)

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the pictures."""
        return image_size(self._frames[0])

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture."""
        picture = read_frame(self._frames[frame])
        if picture.shape[:2] != self.image_hw:
            raise InputError(
                f"{self._frames[frame]}: it is of {picture.shape[1]} x {picture.shape[0]} pixels, "
                f"but the first frame of {self.image_hw[1]} x {self.image_hw[0]}; copy the clip "
                "again"
            )
        return picture

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """One lens for all frames."""
        return self._truth().intrinsics.astype(np.float64)

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose; the world is the camera of frame 0."""
        return self._truth().world_from_camera[frame].astype(np.float64)

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Z of the frame's points in its camera."""
        truth = self._truth()
        points = truth.points[frame, frame].astype(np.float64)
        z = points_in_camera(points, truth.world_from_camera[frame])[..., 2]
        return self._on_pixels(z.astype(np.float32), np.float32(np.nan))

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """As the file holds them, at the pixels of its grid."""
        points = self._truth().points[time, frame].astype(np.float32)
        return self._on_pixels(points, np.float32(np.nan))

    def visible(self, frame: int, time: int) -> Bool[np.ndarray, "height width"]:
        """False off the grid."""
        return self._on_pixels(self._truth().visible[time, frame].copy(), np.False_)

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """False off the grid."""
        number = self._truth().instance[frame]
        return self._on_pixels((number >= _MOVING) & (number != _NOTHING), np.False_)

    def instances(self, frame: int) -> Int32[np.ndarray, "height width"]:
        """The file's number of each surface, plus 1; 0 where there is none, and off the grid."""
        number = self._truth().instance[frame].astype(np.int32)
        return self._on_pixels(np.where(number == _NOTHING, 0, number + 1), np.int32(0))

    def _truth(self) -> TruthArrays:
        path = self.folder / TRUTH_FILE
        need_file(path)
        truth = _arrays(path, path.stat().st_mtime_ns)
        check_fit(self.folder, truth, frames=self.frame_count, image_hw=self.image_hw)
        return truth

    def _on_pixels(
        self, grid: Shaped[np.ndarray, "rows columns *rest"], nothing: np.generic
    ) -> Shaped[np.ndarray, "height width *rest"]:
        """Values of the grid's pixels at these, and `nothing` between them."""
        stride = self._truth().stride
        if grid.shape[:2] == self.image_hw:
            return grid
        spread = np.full((*self.image_hw, *grid.shape[2:]), nothing, grid.dtype)
        rows, columns = (stride // 2 + stride * np.arange(count) for count in grid.shape[:2])
        spread[rows[:, None], columns] = grid
        return spread


# A clip of ten frames of 256 x 192 pixels takes 30 MB; a reader goes through clips in turn.
@lru_cache(maxsize=2)
def _arrays(path: Path, changed: int) -> TruthArrays:
    """The truth of a file as it was when it was last `changed`."""
    return read_arrays(path)


class LongClipSequence(TruthSequence):
    """A clip of `dynapoint synth --long`; frames and truth are rendered when asked for.

    What the camera of a part of the clip sees has no place in the world of another part.
    """

    dataset = "clips"
    holds = Holds(lens=True, poses=True, depth=True, motion="dense", visible=True, moving=True)

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    @cached_property
    def _size(self) -> tuple[int, int, int]:
        """Frames, height and width, from the recipe."""
        path = need_file(self.folder / _RECIPE)
        try:
            recipe = json.loads(path.read_text(encoding="utf-8"))
            height, width = (int(side) for side in recipe["image_hw"])
            return int(recipe["frame_count"]), height, width
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(path, f"{type(error).__name__}: {error}") from error

    @cached_property
    def frame_count(self) -> int:  # type: ignore[override]
        """How many frames the clip has."""
        return self._size[0]

    @cached_property
    def image_hw(self) -> tuple[int, int]:  # type: ignore[override]
        """Height and width of the pictures."""
        return self._size[1:]

    def image(self, frame: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """The picture as it was before the video was compressed."""
        return self._clip().frame(frame)

    def intrinsics(self, frame: int) -> Float64[np.ndarray, "3 3"]:
        """As the file holds it."""
        return self._row("intrinsics.npy", frame, 3)

    def world_from_camera(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        """The camera's pose; the world is the camera of the first frame of the frame's part."""
        return self._row("poses.npy", frame, 4)

    def depth(self, frame: int) -> Float32[np.ndarray, "height width"]:
        """Z of the frame's points in its camera."""
        points = self.points(frame, frame).astype(np.float64)
        z = points_in_camera(points, self.world_from_camera(frame))[..., 2]
        return z.astype(np.float32)

    def points(self, frame: int, time: int) -> Float32[np.ndarray, "height width xyz=3"]:
        """NaN at times of another part of the clip."""
        return self._clip().truth(frame, time).points

    def visible(self, frame: int, time: int) -> Bool[np.ndarray, "height width"]:
        """False at times of another part of the clip."""
        return self._clip().truth(frame, time).visible

    def moving(self, frame: int) -> Bool[np.ndarray, "height width"]:
        """Which pixels show a body that moves at any time."""
        return self._clip().truth(frame).moving

    def _clip(self) -> "LongClip":
        return _long_clip(self.folder, need_file(self.folder / _RECIPE).stat().st_mtime_ns)

    def _row(self, name: str, frame: int, side: int) -> Float64[np.ndarray, "side side"]:
        matrices = read_npy(self.folder / name)
        if matrices.shape != (self.frame_count, side, side):
            wanted = (self.frame_count, side, side)
            raise damaged(self.folder / name, f"it is of shape {matrices.shape}, not {wanted}")
        return matrices[frame].astype(np.float64)


@lru_cache(maxsize=2)
def _long_clip(folder: Path, changed: int) -> "LongClip":
    """The clip of a recipe as it was when it was last `changed`."""
    # The engine loads torch.
    from dynapoint.synthetic.long_files import read_long_clip  # noqa: PLC0415

    return read_long_clip(folder)


CARD = DatasetCard(
    key="clips",
    title="dynapoint clips",
    source="`dynapoint synth` (and `--long`), and clips rendered in the same format",
    licence="what the clips' maker says; the engine's own are free",
    splits=("all",),
    layout=_LAYOUT,
    proven="clips of `dynapoint synth`, long ones too; clips rendered in Blender",
    open_folder=_open_folder,
)
