"""When images were taken: photographs of a moving scene, several cameras at one moment."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import ArrayLike

from dynapoint.errors import InputError


def frame_times(
    given: ArrayLike | Path | str,
    *,
    index: Int64[np.ndarray, " frame"],
    source_count: int | None,
) -> Float64[np.ndarray, " frame"]:
    """Times in seconds of the frames used, NaN where one is not known.

    Args:
        given: The times, or a text file with one on each line (what follows a # is skipped;
            `nan` where it is not known).
        index: Which frame of the source each frame used is.
        source_count: How many frames the source has.

    Raises:
        InputError: The file cannot be read, a value is no finite number of seconds, or there is
            neither one for each frame of the source nor one for each frame used.
    """
    times_s = (
        read_times(Path(given))
        if isinstance(given, str | os.PathLike)
        else np.asarray(given, dtype=np.float64)
    )
    if times_s.ndim != 1 or np.isinf(times_s).any():
        raise InputError(
            f"times are an array of shape {times_s.shape}; give one finite value in seconds for "
            "each frame, NaN where it is not known"
        )
    if len(times_s) == source_count:
        return times_s[index]
    if len(times_s) == len(index):
        return times_s
    raise InputError(
        f"{len(times_s)} times were given for {source_count} images; give one for each, in the "
        "order of the images, nan where it is not known"
    )


def read_times(path: Path) -> Float64[np.ndarray, " line"]:
    """The times in a text file; raises InputError where it cannot be read as such."""
    if not os.path.isfile(path):
        raise InputError(f"file of times {path} does not exist or is a folder; give a text file")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"file of times {path} cannot be read as text; give one") from error
    times_s = []
    for number, line in enumerate(lines, start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            times_s.append(float(text))
        except ValueError as error:
            raise InputError(
                f"{path} line {number} is {text[:40]!r}; give one number of seconds, or nan"
            ) from error
    return np.array(times_s, dtype=np.float64)
