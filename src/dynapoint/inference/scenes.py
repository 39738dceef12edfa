"""Deciding which of the inputs on a command line belong to one scene, and where each scene goes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynapoint.data.frames import expand_pattern
from dynapoint.data.images import is_image_path
from dynapoint.errors import InputError, SceneError
from dynapoint.results import store

SCENE_SUFFIX = ".4d"


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """One scene: its source (one path, or several image files), a name to print, and its folder."""

    source: tuple[Path, ...]
    label: str
    output: Path


def plan_scenes(inputs: Sequence[str], output: Path) -> list[ScenePlan]:
    """Sort inputs into scenes.

    All image files (also those a pattern stands for) are one scene in `output`, and so is a single
    video or folder; several videos or folders are one scene each in `output`/NAME.4d.

    Raises:
        InputError: Something does not exist, or image files stand beside videos or folders.
    """
    paths = [path for text in inputs for path in expand_pattern(Path(text))]
    for path in paths:
        if not os.path.exists(path):
            raise InputError(f"{path} does not exist; give a video, a folder or image files")
    pictures = [path for path in paths if path.is_file() and is_image_path(path)]
    if pictures and len(pictures) < len(paths):
        other = next(path for path in paths if path not in pictures)
        raise InputError(
            f"{len(pictures)} image files are one scene but {other} is another; "
            "reconstruct them in separate calls"
        )
    if pictures or len(paths) == 1:
        label = paths[0].name if len(paths) == 1 else f"{len(paths)} images"
        return [ScenePlan(source=tuple(paths), label=label, output=output)]
    names = _distinct_names(paths)
    return [
        ScenePlan(source=(path,), label=path.name, output=output / f"{name}{SCENE_SUFFIX}")
        for path, name in zip(paths, names, strict=True)
    ]


def is_finished(output: Path) -> bool:
    """Whether a whole scene lies there: everything that its manifest lists, in the right shapes."""
    try:
        store.read_arrays(output)
    except SceneError:
        return False
    return True


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name for each path, numbered from the second on where names recur."""
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = (path.resolve().name if path.is_dir() else path.stem) or "scene"
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(name)
    return names
