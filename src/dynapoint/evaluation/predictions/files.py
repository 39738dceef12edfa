"""Predictions on disk: FOLDER/DATASET/SEQUENCE/NAME.DIGEST.npz holds the answer to one task.

DIGEST are the first digits of the task's digest, so that protocols may ask different things by one
name. The arrays have the names and shapes of `Answer`; what the method cannot say is left out.
`about` is a string of JSON (`Made`). docs/evaluation.md describes the format for other programs.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import UInt8

from dynapoint.errors import InputError, OutputError
from dynapoint.evaluation.predictions.made import Made, pictures_digest
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.whole_file import whole_file

ARRAYS = (
    "points",
    "confidence",
    "swapped_points",
    "depth",
    "world_from_camera",
    "intrinsics",
    "moving",
    "tracks",
    "tracks_visible",
)
"""What a prediction may hold, in the words of `Answer`."""

_ABOUT = "about"
_NAME_BYTES, _DIGITS = 120, 8
_DOUBLE = ("world_from_camera", "intrinsics")
_TRUE_OR_FALSE = ("moving", "tracks_visible")


def prediction_file(folder: Path, task: Task) -> Path:
    """Where the prediction for a task lies in the folder of a method."""
    name = f"{safe_name(task.name)}.{task.digest[:_DIGITS]}.npz"
    return folder / safe_name(task.dataset) / safe_name(task.sequence) / name


def safe_name(name: str) -> str:
    """A name as one part of a path: what is not a letter, a digit or one of _.-~ is %XX.

    Long names are cut, with a hash of the whole at their end.
    """
    quoted = quote(name, safe="")
    if quoted.startswith("."):
        quoted = "%2E" + quoted[1:]
    if len(quoted) <= _NAME_BYTES:
        return quoted
    return f"{quoted[:_NAME_BYTES]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def wanted_shapes(task: Task, image_hw: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays that answer a task; what was not asked is not among them."""
    grid, frames, tracks = task.grid_hw(image_hw), len(task.frames), len(task.track_xy)
    shapes: dict[str, tuple[int, ...]] = {}
    if task.maps:
        maps = (len(task.maps), *grid)
        shapes |= {"points": (*maps, 3), "confidence": maps}
        if task.swapped:
            shapes["swapped_points"] = (*maps, 3)
    if task.depth:
        shapes["depth"] = (frames, *grid)
    if task.cameras:
        shapes |= {"world_from_camera": (frames, 4, 4), "intrinsics": (frames, 3, 3)}
    if task.moving:
        shapes["moving"] = (frames, *grid)
    if tracks:
        shapes |= {"tracks": (frames, tracks, 3), "tracks_visible": (frames, tracks)}
    return shapes


def save_prediction(path: Path, answer: Answer, made: Made) -> None:
    """Write an answer so that a reader finds all of it or nothing.

    Raises:
        OutputError: It cannot be written.
    """
    told = replace(made, metric=answer.metric, seconds=answer.seconds, peak_mib=answer.peak_mib)
    said = {name: getattr(answer, name) for name in ARRAYS}
    arrays: dict[str, Any] = {name: array for name, array in said.items() if array is not None}
    arrays[_ABOUT] = np.array(told.to_json())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path.parent} cannot be made ({error.strerror or error}); make room or name another "
            "place"
        ) from error
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def write_prediction(
    folder: Path,
    task: Task,
    images: UInt8[np.ndarray, "frame height width rgb=3"],
    answer: Answer,
    *,
    method: str = "",
) -> Path:
    """Write what any method answers to a task, for `--predictions NAME=FOLDER`.

    Args:
        folder: Of the method.
        task: What was asked.
        images: What was shown.
        answer: What the method says.
        method: Its name and version.

    Returns:
        The file.

    Raises:
        InputError: An array does not have the shape that the task asks for.
        OutputError: The file cannot be written.
    """
    path = prediction_file(folder, task)
    height, width = images.shape[1:3]
    check_answer(answer, task, (height, width), where=str(path))
    made = Made(task=task.digest, pictures=pictures_digest(images), method=method)
    save_prediction(path, answer, made)
    return path


def read_made(path: Path) -> Made:
    """What a prediction was made of, without its arrays.

    Raises:
        InputError: The file is damaged or no prediction.
    """
    return _read(path, ())[1]


def read_prediction(path: Path, task: Task, image_hw: tuple[int, int]) -> tuple[Answer, Made]:
    """The answer to a task, and what made it.

    Args:
        path: The file.
        task: What was asked.
        image_hw: Height and width of the pictures shown.

    Raises:
        InputError: The file is damaged, or an array has a name or a shape that no answer to the
            task has.
    """
    arrays, made = _read(path, tuple(wanted_shapes(task, image_hw)))
    given: dict[str, Any] = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise InputError(f"{path}: {name} is of {array.dtype}; wanted numbers; write it again")
        kind = np.float64 if name in _DOUBLE else np.float32
        # What float32 cannot hold becomes infinite, which every score knows.
        with np.errstate(over="ignore"):
            given[name] = array.astype(bool if name in _TRUE_OR_FALSE else kind, copy=False)
    _check_shapes(given, task, image_hw, where=str(path))
    answer = Answer(**given, metric=made.metric, seconds=made.seconds, peak_mib=made.peak_mib)
    return answer, made


def check_answer(answer: Answer, task: Task, image_hw: tuple[int, int], *, where: str) -> None:
    """Refuse an answer whose arrays do not have the shapes that the task asks for.

    Raises:
        InputError: Naming the place, the array, its shape and the one wanted.
    """
    given = {name: getattr(answer, name) for name in ARRAYS}
    _check_shapes(given, task, image_hw, where=where)


def _check_shapes(
    given: Mapping[str, np.ndarray | None], task: Task, image_hw: tuple[int, int], *, where: str
) -> None:
    for name, wanted in wanted_shapes(task, image_hw).items():
        array = given.get(name)
        if array is not None and array.shape != wanted:
            raise InputError(
                f"{where}: {name} has shape {array.shape}; wanted {wanted}; write it again"
            )


def _read(path: Path, names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], Made]:
    """Some arrays of a prediction and what made it."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            unknown = [name for name in archive.files if name not in (*ARRAYS, _ABOUT)]
            made = Made.from_json(str(archive[_ABOUT])) if _ABOUT in archive.files else None
            arrays = {name: archive[name] for name in names if name in archive.files}
    # Damaged bytes make the zip, zlib and NumPy readers raise nearly every kind of exception.
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{path}: damaged ({said}); predict it again (`--again`) or write it again"
        ) from error
    if made is None:
        raise InputError(
            f"{path}: has no `{_ABOUT}`; wanted a string of JSON with the `task`'s digest; write "
            "it again (docs/evaluation.md)"
        )
    if unknown:
        raise InputError(
            f"{path}: has an array {unknown[0]!r}; wanted some of {', '.join(ARRAYS)}; write it "
            "again"
        )
    return arrays, made


def counted_files(folder: Path) -> int:
    """How many predictions lie in the folder of a method."""
    return sum(1 for _, _, files in os.walk(folder) for name in files if name.endswith(".npz"))
