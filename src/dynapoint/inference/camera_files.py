"""Cameras as they are given: numbers, objects, and the files that calibration programs write.

Understood are a JSON object (fx, fy, cx, cy, with `distortion` or k1, k2, p1, ... and `model`), a
list of such, nerfstudio's transforms.json, COLMAP's cameras.txt and the YAML or XML of OpenCV's
calibration.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from dynapoint.errors import InputError
from dynapoint.geometry.distortion import COEFFICIENTS, Distortion, DistortionModel

WANTED = "fx, fy, cx, cy or a 3 x 3 matrix, once or for each frame, in pixels of the original"
_PINHOLE_NAMES = ("fx", "fy", "cx", "cy")
_NERFSTUDIO_NAMES = ("fl_x", "fl_y", "cx", "cy")
_SIZES = (("w", "h"), ("width", "height"))
_ALL_COEFFICIENTS = tuple(dict.fromkeys(name for names in COEFFICIENTS.values() for name in names))
_COUNTS = {"opencv": (4, 5, 8), "fisheye": (4,)}
# Names of cameras, as nerfstudio and COLMAP have them.
_MODELS: dict[str, DistortionModel] = {
    "opencv": "opencv",
    "full_opencv": "opencv",
    "pinhole": "opencv",
    "simple_pinhole": "opencv",
    "perspective": "opencv",
    "fisheye": "fisheye",
    "opencv_fisheye": "fisheye",
}
# What follows the focal lengths and the principal point in COLMAP's cameras; those beginning with f
# have one focal length.
_COLMAP: dict[str, tuple[str, DistortionModel, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": ("f", "opencv", ()),
    "PINHOLE": ("fx fy", "opencv", ()),
    "SIMPLE_RADIAL": ("f", "opencv", ("k1",)),
    "RADIAL": ("f", "opencv", ("k1", "k2")),
    "OPENCV": ("fx fy", "opencv", COEFFICIENTS["opencv"][:4]),
    "FULL_OPENCV": ("fx fy", "opencv", COEFFICIENTS["opencv"]),
    "SIMPLE_RADIAL_FISHEYE": ("f", "fisheye", ("k1",)),
    "RADIAL_FISHEYE": ("f", "fisheye", ("k1", "k2")),
    "OPENCV_FISHEYE": ("fx fy", "fisheye", COEFFICIENTS["fisheye"]),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenCamera:
    """One camera as it was given.

    Attributes:
        intrinsics: In pixels of the upright original, centres of pixels at half-integers.
        distortion: How its lens distorts; None for a pinhole.
        image_hw: (height, width) of the pictures that it was given for, where that was said.
    """

    intrinsics: Float64[np.ndarray, "3 3"]
    distortion: Distortion | None = None
    image_hw: tuple[int, int] | None = None

    def scaled(self, scale: Float64[np.ndarray, "xy=2"]) -> "GivenCamera":
        """The camera of its pictures after these were brought to another size."""
        if (scale == 1).all():
            return self
        size = None
        if self.image_hw is not None:
            height, width = np.round(self.image_hw * scale[::-1]).astype(int).tolist()
            size = (height, width)
        matrix = self.intrinsics * np.append(scale, 1.0)[:, None]
        return GivenCamera(intrinsics=matrix, distortion=self.distortion, image_hw=size)


def read_cameras(given: ArrayLike | Mapping[str, Any] | Path | str) -> list[GivenCamera]:
    """One camera or several as they were given.

    Raises:
        InputError: They cannot be read, or are none without skew.
    """
    return _cameras(_read(given))


def _read(given: ArrayLike | Mapping[str, Any] | Path | str) -> Any:
    """Numbers, nested lists or objects from whatever holds them."""
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, str | os.PathLike):
        items: list[Any] = list(given) if isinstance(given, Sequence) else []
        objects = [dict(item) for item in items if isinstance(item, Mapping)]
        if objects and len(objects) == len(items):
            return objects
        return np.asarray(given, dtype=np.float64).tolist()
    text = str(given)
    if "," in text and not os.path.exists(text):
        try:
            return [float(word) for word in text.split(",")]
        except ValueError as error:
            raise InputError(f"intrinsics {text[:80]!r} are no numbers; give {WANTED}") from error
    path = Path(given)
    if not path.is_file():
        raise InputError(
            f"file of intrinsics {path} does not exist or is a folder; give one, or fx,fy,cx,cy"
        )
    read = _READERS.get(path.suffix.lower(), _read_json)
    try:
        return read(path)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(
            f"file of intrinsics {path} cannot be read as .json, .npy, COLMAP's cameras.txt or "
            f"OpenCV's .yml or .xml ({reason}); give {WANTED}"
        ) from error


def _read_npy(path: Path) -> Any:
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.float64).tolist()


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_colmap(path: Path) -> dict[str, Any]:
    """The one camera of COLMAP's cameras.txt, as an object; raises ValueError."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [words for words in lines if words and not words[0].startswith("#")]
    if len({tuple(words[1:]) for words in lines}) != 1:
        raise ValueError(f"it holds {len(lines)} cameras, not one; leave that of these pictures")
    if len(lines[0]) < 4 or lines[0][1] not in _COLMAP:
        raise ValueError(f"its camera is none of {', '.join(_COLMAP)}")
    model_name, width, height, *words = lines[0][1:]
    focal, model, names = _COLMAP[model_name]
    numbers = [float(word) for word in words]
    focals = 1 if focal == "f" else 2
    if len(numbers) != focals + 2 + len(names):
        raise ValueError(
            f"{model_name} has {len(numbers)} parameters, not {focals + 2} and {len(names)}"
        )
    fx, fy = numbers[0], numbers[focals - 1]
    cx, cy, *coefficients = numbers[focals:]
    found = {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "w": int(width), "h": int(height)}
    return found | {"model": model} | dict(zip(names, coefficients, strict=True))


def _read_opencv(path: Path) -> dict[str, Any]:
    """What OpenCV's calibration wrote, as an object; raises ValueError.

    OpenCV's first pixel has its centre at (0, 0), ours at (0.5, 0.5).
    """
    import cv2  # noqa: PLC0415 - slow to import.

    try:
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        matrix = storage.getNode("camera_matrix").mat()
        bent = storage.getNode("distortion_coefficients").mat()
        sides = [storage.getNode(name).real() for name in ("image_width", "image_height")]
        fisheye = bool(storage.getNode("fisheye_model").real())
    except (cv2.error, SystemError) as error:
        raise ValueError("OpenCV cannot read it") from error
    if matrix is None or matrix.shape != (3, 3):
        raise ValueError("it has no camera_matrix of 3 x 3")
    from_corner = np.array(matrix, dtype=np.float64)
    from_corner[:2, 2] += 0.5
    found = {"matrix": from_corner.tolist(), "model": "fisheye" if fisheye else "opencv"}
    if bent is not None:
        found["distortion"] = bent.reshape(-1).tolist()
    if all(sides):
        found |= {"w": int(sides[0]), "h": int(sides[1])}
    return found


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _read_npy,
    ".txt": _read_colmap,
    ".yml": _read_opencv,
    ".yaml": _read_opencv,
    ".xml": _read_opencv,
}


def _cameras(content: Any) -> list[GivenCamera]:
    """One camera or several from numbers, nested lists or objects."""
    if isinstance(content, dict):
        return [_camera(content)]
    matrix = _matrix(content)
    if matrix is not None:
        return [GivenCamera(intrinsics=matrix)]
    found = []
    for item in content if isinstance(content, list) else []:
        matrix = None if isinstance(item, dict) else _matrix(item)
        if isinstance(item, dict):
            found.append(_camera(item))
        elif matrix is not None:
            found.append(GivenCamera(intrinsics=matrix))
    if not found or len(found) < len(content):
        raise InputError(f"intrinsics have another shape; give {WANTED}")
    return found


def _camera(content: dict[str, Any]) -> GivenCamera:
    """A camera from an object."""
    if "fl_x" in content or "frames" in content:
        content = _of_nerfstudio(content)
    names = {*_PINHOLE_NAMES, "matrix", "model", "camera_model", "distortion", *_ALL_COEFFICIENTS}
    unknown = sorted(content.keys() - names - {name for pair in _SIZES for name in pair})
    if unknown:
        raise InputError(
            f"intrinsics have {unknown[0]!a}, which is not known; give fx, fy, cx, cy, and "
            f"distortion or {', '.join(_ALL_COEFFICIENTS)}, and model (opencv or fisheye)"
        )
    numbers = content.get("matrix", [content.get(name) for name in _PINHOLE_NAMES])
    # NumPy takes what is missing for NaN.
    matrix = None if None in numbers else _matrix(numbers)
    if matrix is None:
        raise InputError(f"intrinsics have another shape; give {WANTED}")
    bent = _distortion(content)
    sizes = [[content.get(name) for name in pair] for pair in _SIZES]
    width, height = next((pair for pair in sizes if None not in pair), (None, None))
    size = None if width is None or height is None else (int(height), int(width))
    return GivenCamera(intrinsics=matrix, distortion=None if bent.is_none else bent, image_hw=size)


def _of_nerfstudio(content: dict[str, Any]) -> dict[str, Any]:
    """The one lens of transforms.json under the names of ours."""
    frames = content.get("frames") or []
    lens = {key: content[key] for key in _NERFSTUDIO_KEYS if key in content}
    own = [
        {key: frame[key] for key in _NERFSTUDIO_KEYS if key in frame}
        for frame in frames
        if isinstance(frame, dict)
    ]
    if any(each != own[0] for each in own):
        raise InputError(
            "transforms.json has several lenses; give a list of fx, fy, cx, cy and distortion, one "
            "for each frame"
        )
    lens |= own[0] if own else {}
    if lens.get("camera_model", "OPENCV").upper() != "OPENCV_FISHEYE" and lens.get("k4"):
        # What nerfstudio's k4 multiplies is no part of OpenCV's lenses.
        raise InputError("transforms.json has a k4 that OpenCV's lenses do not; give one without")
    renamed = dict(zip(_NERFSTUDIO_NAMES, _PINHOLE_NAMES, strict=True))
    return {renamed.get(key, key): value for key, value in lens.items()}


_NERFSTUDIO_KEYS = (*_NERFSTUDIO_NAMES, "w", "h", "camera_model", *COEFFICIENTS["opencv"][:6])


def _distortion(content: dict[str, Any]) -> Distortion:
    """How the lens of an object distorts."""
    named = [name for name in _ALL_COEFFICIENTS if name in content]
    told = content.get("model", content.get("camera_model", "opencv"))
    model = _MODELS.get(str(told).lower())
    if model is None:
        raise InputError(f"lens model {ascii(told)[:60]} is not known; give opencv or fisheye")
    order = COEFFICIENTS[model]
    if "distortion" in content and named:
        raise InputError(f"distortion is given twice, as {named[0]} too; give one")
    if named:
        odd = [name for name in named if name not in order and content[name]]
        if odd:
            raise InputError(f"lens model {model} has no {odd[0]}; give {', '.join(order)}")
        values: Any = [content.get(name, 0.0) for name in order]
    else:
        values = content.get("distortion", [])
    try:
        numbers = np.array(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"distortion {ascii(values)[:60]} is no list of numbers; give {_counts(model)}"
        ) from error
    while len(numbers) > len(order) and numbers[-1] == 0:
        # OpenCV writes 12 or 14 where it was asked for what follows, used or not.
        numbers = numbers[:-1]
    if not named and len(numbers) not in (0, *_COUNTS[model]):
        raise InputError(
            f"distortion has {len(numbers)} numbers; give {_counts(model)} of model {model}"
        )
    if not np.isfinite(numbers).all():
        raise InputError(f"distortion {numbers.tolist()} is not finite; give {_counts(model)}")
    return Distortion.of(model, numbers.tolist())


def _counts(model: DistortionModel) -> str:
    """How many coefficients a model has, and which."""
    counts = " or ".join(map(str, _COUNTS[model]))
    return f"{counts} ({', '.join(COEFFICIENTS[model])})"


def _matrix(content: Any) -> Float64[np.ndarray, "3 3"] | None:
    """One matrix, checked; None where it is not the content of one."""
    try:
        values = np.array(content, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if values.shape == (4,):
        fx, fy, cx, cy = values
        values = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if values.shape != (3, 3):
        return None
    focal_px = values[[0, 1], [0, 1]]
    plain = np.array_equal(values[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], [0, 0, 0, 0, 1])
    if not (np.isfinite(values).all() and (focal_px > 0).all() and plain):
        raise InputError(
            f"intrinsics {values.tolist()} are not those of a pinhole camera without skew and with "
            f"positive focal lengths; give {WANTED}"
        )
    return values
