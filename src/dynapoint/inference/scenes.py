"""Deciding which of the inputs on a command line belong to one scene, and where each scene goes."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynapoint.data.identity import identity_of
from dynapoint.data.images import is_image_path
from dynapoint.data.names import readable
from dynapoint.data.sources import expand_pattern
from dynapoint.errors import InputError, OutputError, SceneError
from dynapoint.results.on_disk import store
from dynapoint.results.on_disk.manifest import Manifest

SCENE_SUFFIX = ".4d"

ARRIVES = re.compile(r"-|camera:\d+")
"""Names of what is no file: standard input and cameras."""


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """One scene: its source (one path, or several image files), a name to print, and its folder."""

    source: tuple[Path, ...]
    label: str
    output: Path

    @property
    def arrives(self) -> bool:
        """Whether its frames come as they come, from a pipe or a camera."""
        return len(self.source) == 1 and ARRIVES.fullmatch(str(self.source[0])) is not None

    @property
    def given(self) -> Path | list[Path]:
        """The source as `data.frames.load_frames` takes it."""
        return self.source[0] if len(self.source) == 1 else list(self.source)

    def is_of(self, other: str | None) -> bool:
        """Whether a scene of that identity may be this one; who cannot be told apart may be."""
        own = identity_of(self.source)
        return None in (own, other) or own == other


def plan_scenes(inputs: Sequence[str], output: Path) -> list[ScenePlan]:
    """Sort inputs into scenes.

    All image files (also those a pattern stands for) are one scene in `output`, and so is a single
    video or folder; several videos or folders are one scene each in `output`/NAME.4d.

    Standard input ("-") and a camera ("camera:0") are one scene alone.

    Raises:
        InputError: Something does not exist, image files stand beside videos or folders, or a pipe
            or a camera beside anything.
    """
    arriving = [text for text in inputs if ARRIVES.fullmatch(text)]
    if arriving:
        if len(inputs) > 1:
            raise InputError(
                f"{arriving[0]} stands beside {len(inputs) - 1} other inputs; reconstruct it alone"
            )
        label = "standard input" if arriving[0] == "-" else arriving[0]
        return [ScenePlan(source=(Path(arriving[0]),), label=label, output=output)]
    paths = [path for text in inputs for path in expand_pattern(Path(text))]
    pictures = [path for path in paths if path.is_file() and is_image_path(path)]
    if pictures and len(pictures) < len(paths):
        other = next(path for path in paths if path not in pictures)
        raise InputError(
            f"{len(pictures)} image files are one scene but {other} is another; "
            "reconstruct them in separate calls"
        )
    if pictures or len(paths) == 1:
        label = readable(paths[0].name) if len(paths) == 1 else f"{len(paths)} images"
        return [ScenePlan(source=tuple(paths), label=label, output=output)]
    return [
        ScenePlan(source=(path,), label=label, output=output / f"{name}{SCENE_SUFFIX}")
        for path, name, label in zip(paths, distinct_names(paths), labels(paths), strict=True)
    ]


def finished(output: Path) -> Manifest | None:
    """The manifest of the whole scene that lies there, all that it lists in the right shapes."""
    try:
        return store.read_arrays(output).manifest
    except SceneError:
        return None


def other_clip(plan: ScenePlan) -> OutputError:
    """What to say where the scene of another clip lies in a scene's place."""
    return OutputError(
        f"{plan.output} holds the scene of another clip than {plan.source[0]}; choose another "
        "folder, or add --overwrite to replace it"
    )


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name for each path: its own, with that of its folder where names recur.

    Where all have one name (`a/images b/images`) it says nothing, and the folder's takes its place.
    What is still not told apart is numbered from the second on.
    """
    # Not every reader of what lies in a scene takes any bytes for a path.
    stems = [
        readable((path.resolve().name if path.is_dir() else path.stem) or "scene") for path in paths
    ]
    folders = [readable(path.resolve().parent.name) for path in paths]
    alike = len(paths) > 1 and len(set(stems)) == 1
    if alike and len(set(folders)) == len(folders) and all(folders):
        return folders
    pairs = Counter(stem for stem, _ in set(zip(stems, folders, strict=True)))
    recurring = {stem for stem, count in pairs.items() if count > 1}
    taken: set[str] = set()
    names = []
    for stem, folder in zip(stems, folders, strict=True):
        wanted = f"{folder}-{stem}" if stem in recurring and folder else stem
        name, number = wanted, 1
        while name in taken:
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name)
        names.append(name)
    return names


def labels(paths: Sequence[Path]) -> list[str]:
    """What to call each path: its name, with its folder's where names recur."""
    names = [readable(path.name) for path in paths]
    counts = Counter(names)
    return [
        f"{readable(path.resolve().parent.name)}/{name}" if counts[name] > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]
