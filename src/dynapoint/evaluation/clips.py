"""Clips with exact truth that are read whole, as the scorer of rendered clips takes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dynapoint.datasets import clip_folders
from dynapoint.datasets.clip_folders import TRUTH_FILE, TruthClip
from dynapoint.errors import InputError, SceneError

__all__ = ["TRUTH_FILE", "TruthClip", "find_clips", "read_clip"]


def find_clips(path: Path) -> list[Path]:
    """List the clip folders at `path`, which is one clip or a folder that holds clips.

    Raises:
        SceneError: there is no such folder, or no clip in it.
    """
    with _of_a_clip():
        return clip_folders.find_clips(path)


def read_clip(path: Path) -> TruthClip:
    """Read one clip folder: `rgb_00.jpg …` (or PNG) and `gt.npz`.

    Raises:
        SceneError: a file is missing or damaged, or the parts do not fit each other.
    """
    with _of_a_clip():
        return clip_folders.read_clip(path)


@contextmanager
def _of_a_clip() -> Iterator[None]:
    """What is wrong with a clip's files is a SceneError to those who ask for a clip."""
    try:
        yield
    except InputError as error:
        raise SceneError(str(error)) from error
