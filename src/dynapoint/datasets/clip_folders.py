"""Folders of clips with exact truth: the format of the rendered bench and of `dynapoint synth`.

A clip is a folder with rgb_00.jpg … (or PNG) and gt.npz, whose keys `TruthArrays` describes.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image, UnidentifiedImageError

from dynapoint.errors import InputError
from dynapoint.geometry.arrays import pixel_centres

TRUTH_FILE = "gt.npz"
_TRUTH_KEYS = ("points", "visible", "instance", "K", "world_from_camera", "stride")
_FRAME_NAME = re.compile(r"rgb_(\d+)\.(jpg|jpeg|png)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class TruthArrays:
    """What gt.npz holds, in the types of the file; `TruthClip` says what each is."""

    points: Float[np.ndarray, "time frame grid_height grid_width xyz=3"]
    visible: Bool[np.ndarray, "time frame grid_height grid_width"]
    instance: UInt8[np.ndarray, "frame grid_height grid_width"]
    intrinsics: Float[np.ndarray, "3 3"]
    world_from_camera: Float[np.ndarray, "frame 4 4"]
    stride: int


@dataclass(frozen=True, kw_only=True)
class TruthClip:
    """A short clip and where every grid pixel's surface point is at every time.

    `points[t, i]` holds the surface seen at the grid pixels of frame i where it is at time t, in
    the camera of frame 0, OpenCV axes, scene units; NaN where the pixel sees no surface (sky).
    `visible[t, i]` says whether camera t sees that point at time t. `instance` numbers surfaces,
    + 100 where they move, 255 for none. `intrinsics` are in pixels of `images`, pixel centres at
    half-integers; `world_from_camera` maps camera i to the camera of frame 0. Grid row r, column c
    is the image pixel (stride // 2 + r * stride, stride // 2 + c * stride).
    """

    name: str
    images: UInt8[np.ndarray, "frame height width rgb=3"]
    points: Float32[np.ndarray, "time frame grid_height grid_width xyz=3"]
    visible: Bool[np.ndarray, "time frame grid_height grid_width"]
    instance: UInt8[np.ndarray, "frame grid_height grid_width"]
    intrinsics: Float[np.ndarray, "3 3"]
    world_from_camera: Float[np.ndarray, "frame 4 4"]
    stride: int

    @property
    def frame_count(self) -> int:
        """How many frames, and so times, the clip has."""
        return int(self.points.shape[1])

    @property
    def image_hw(self) -> tuple[int, int]:
        """Height and width of the images in pixels."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def grid_xy(self) -> Float[np.ndarray, "grid xy=2"]:
        """Pixel centres (column, row) of the grid in row-major order, in pixels of the images."""
        height, width = self.points.shape[2:4]
        steps = pixel_centres((height, width)) - 0.5
        return (self.stride // 2 + 0.5 + self.stride * steps).reshape(-1, 2)


def find_clips(path: Path) -> list[Path]:
    """List the clip folders at `path`, which is one clip or a folder that holds clips.

    Raises:
        InputError: there is no such folder, or no clip in it.
    """
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder; wanted a clip (a folder with {TRUTH_FILE} and rgb_00.jpg …) "
            "or a folder of clips. Make some with `dynapoint synth -o OUT --clips N --seed S`."
        )
    if (path / TRUTH_FILE).is_file():
        return [path]
    found = sorted(child for child in path.iterdir() if (child / TRUTH_FILE).is_file())
    if not found:
        raise InputError(
            f"{path}: no clip in it; wanted {TRUTH_FILE} there or in a folder directly inside. "
            "Name a clip or a folder of clips."
        )
    return found


def read_clip(path: Path) -> TruthClip:
    """Read one clip folder: `rgb_00.jpg …` (or PNG) and `gt.npz`.

    Raises:
        InputError: a file is missing or damaged, or the parts do not fit each other.
    """
    truth = read_arrays(path / TRUTH_FILE)
    images = [read_frame(file) for file in frame_files(path)]
    if len({image.shape for image in images}) > 1:
        raise InputError(f"{path}: frames differ in size; wanted one size. Write the clip again.")
    check_fit(path, truth, frames=len(images), image_hw=images[0].shape[:2])
    return TruthClip(
        name=path.name,
        images=np.stack(images),
        points=truth.points.astype(np.float32),
        visible=truth.visible,
        instance=truth.instance,
        intrinsics=truth.intrinsics,
        world_from_camera=truth.world_from_camera,
        stride=truth.stride,
    )


def read_arrays(path: Path) -> TruthArrays:
    """The truth of one clip.

    Raises:
        InputError: the file is missing or damaged, lacks an array, or the arrays contradict each
            other.
    """
    if not path.is_file():
        raise InputError(f"{path}: missing; wanted the truth of the clip. Copy the clip again.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            truth = {key: archive[key] for key in _TRUTH_KEYS if key in archive.files}
    # Damaged bytes make the zip, zlib and NumPy readers raise nearly every kind of exception.
    except Exception as error:
        raise InputError(
            f"{path}: damaged ({type(error).__name__}); wanted a NumPy archive. "
            "Copy or write the clip again."
        ) from error
    missing = [key for key in _TRUTH_KEYS if key not in truth]
    if missing:
        raise InputError(
            f"{path}: has no {', '.join(missing)}; wanted {', '.join(_TRUTH_KEYS)}. "
            "Write the clip again."
        )
    _check_shapes(path, truth)
    return TruthArrays(
        points=truth["points"],
        visible=truth["visible"].astype(bool),
        instance=truth["instance"].astype(np.uint8),
        intrinsics=truth["K"].astype(np.float64),
        world_from_camera=truth["world_from_camera"].astype(np.float64),
        stride=int(truth["stride"]),
    )


def frame_files(path: Path) -> list[Path]:
    """The pictures of a clip in their order; none is opened.

    Raises:
        InputError: there are none, or some are missing.
    """
    named = sorted(
        (int(match.group(1)), child)
        for child in path.iterdir()
        if (match := _FRAME_NAME.fullmatch(child.name))
    )
    if not named:
        raise InputError(f"{path}: no frames; wanted rgb_00.jpg, rgb_01.jpg … or PNG files.")
    if [number for number, _ in named] != list(range(len(named))):
        raise InputError(
            f"{path}: frames are numbered {[number for number, _ in named]}; "
            "wanted every number from 0 once. Copy the clip again."
        )
    return [file for _, file in named]


def read_frame(file: Path) -> UInt8[np.ndarray, "height width rgb=3"]:
    """One picture of a clip; raises InputError where it is damaged."""
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"{file}: damaged image; copy or write the clip again.") from error


def check_fit(path: Path, truth: TruthArrays, *, frames: int, image_hw: tuple[int, int]) -> None:
    """Refuse a clip whose truth is of other pictures, before a score is made of it.

    Raises:
        InputError: it is.
    """
    if truth.points.shape[1] != frames:
        raise InputError(
            f"{path}: points have shape {truth.points.shape} beside {frames} images; wanted "
            f"({frames}, {frames}, rows, columns, 3). Write the clip again."
        )
    rows, columns = truth.points.shape[2:4]
    last = [truth.stride // 2 + (count - 1) * truth.stride for count in (rows, columns)]
    if truth.stride < 1 or last[0] >= image_hw[0] or last[1] >= image_hw[1]:
        raise InputError(
            f"{path}: a grid of {rows} x {columns} with stride {truth.stride} does not fit images "
            f"of {image_hw[0]} x {image_hw[1]}. Write the clip again."
        )


def _check_shapes(path: Path, truth: dict[str, np.ndarray]) -> None:
    """Refuse arrays that contradict one another."""
    shape = truth["points"].shape
    if len(shape) != 5 or shape[0] != shape[1] or shape[4] != 3 or 0 in shape:
        raise InputError(
            f"{path}: points have shape {shape}; wanted (times, frames, rows, columns, 3) with as "
            "many times as frames. Write the clip again."
        )
    wanted = {
        "visible": shape[:4],
        "instance": shape[1:4],
        "K": (3, 3),
        "world_from_camera": (shape[1], 4, 4),
        "stride": (),
    }
    for key, wanted_shape in wanted.items():
        if truth[key].shape != wanted_shape:
            raise InputError(
                f"{path}: {key} has shape {truth[key].shape}; wanted {wanted_shape}. "
                "Write the clip again."
            )
    for key in ("K", "world_from_camera"):
        if not np.isfinite(truth[key]).all():
            raise InputError(f"{path}: {key} is not finite. Write the clip again.")
