"""What is to become scenes: lists, patterns, folders, addresses, and where each scene goes."""

import csv
import math
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from dynapoint.cluster import places
from dynapoint.data.images import images_in_folder, is_image_path
from dynapoint.data.names import natural_order
from dynapoint.data.selection import FrameSelection
from dynapoint.data.sources import expand_pattern
from dynapoint.errors import ConfigError, InputError
from dynapoint.inference.scenes import ARRIVES, SCENE_SUFFIX, distinct_names, labels

LIST_SUFFIXES = frozenset({".csv", ".parquet", ".pq", ".txt"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"}
    | {".3gp", ".ogv", ".wmv", ".flv", ".mxf", ".gif"}
)
"""What is looked for in folders; a file that is named may end in anything."""
COLUMNS = ("source", "start", "end", "intrinsics", "output", "tags")
"""Those of a list; all but the first may be left out."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One scene to be made.

        dynapoint.Clip(source="s3://robots/day1.mp4", start_s=10, end_s=14, tags="dock")

    Attributes:
        source: A video, a folder of images, a pattern of images, or image files: paths or
            addresses.
        start_s: Frames before it are skipped; None is what all clips are made with.
        end_s: Frames after it are skipped.
        intrinsics: As for `reconstruct`, in text: a file, or "fx,fy,cx,cy".
        output: Name of the scene within the folder of all; None takes the source's.
        tags: Any text, which the index of results repeats.
    """

    source: str | tuple[str, ...]
    start_s: float | None = None
    end_s: float | None = None
    intrinsics: str | None = None
    output: str | None = None
    tags: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The source as several."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def named(self) -> str:
        """The source in one text, for people and the index."""
        return self.sources[0] if len(self.sources) == 1 else f"{self.sources[0]} and more"


@dataclass(frozen=True, kw_only=True)
class Task:
    """A clip with all that a worker has to know of it.

    Attributes:
        label: What it is called, by which people tell it from the others.
        output: Where its scene goes: a path or an address.
    """

    clip: Clip
    label: str
    output: str

    def selection(self, given: FrameSelection) -> FrameSelection:
        """The frames that are used, of those that all clips are made with.

        Raises:
            ConfigError: The clip ends before it starts.
        """
        clip = self.clip
        start_s = given.start_s if clip.start_s is None else clip.start_s
        end_s = given.end_s if clip.end_s is None else clip.end_s
        return replace(given, start_s=start_s, end_s=end_s)


def is_list(place: str) -> bool:
    """Whether something is named like a list of clips."""
    return Path(places.name_in(place)).suffix.lower() in LIST_SUFFIXES


def is_folder_of_clips(place: str) -> bool:
    """Whether something is a folder here that holds videos or folders of images, but no images."""
    path = Path(places.local(place))
    try:
        return path.is_dir() and _of_folder(path) != [path]
    except InputError:
        return False


def clips_of(sources: Any) -> list[Clip]:
    """All clips that were given, in order.

    Args:
        sources: A list (CSV, Parquet or text), a pattern, a folder, a video, an address, a `Clip`,
            or a sequence of these.

    Raises:
        ConfigError: What reads addresses or Parquet is not installed.
        InputError: Something is not there, or a list cannot be read.
    """
    given = [sources] if isinstance(sources, str | PathLike | Clip) else list(sources)
    found: list[Clip] = []
    pictures: list[str] = []
    for each in given:
        if isinstance(each, Clip):
            found.append(each)
            continue
        if not isinstance(each, str | PathLike):
            raise InputError(f"a source is a {type(each).__name__}; give paths, addresses or Clips")
        place = places.local(fspath(each))
        if ARRIVES.fullmatch(place):
            raise InputError(f"{place} is no file; reconstruct it alone")
        if is_list(place):
            found += read_list(place)
        elif not places.is_address(place) and Path(place).is_file() and is_image_path(Path(place)):
            pictures.append(place)
        else:
            found += [Clip(source=source) for source in _sources_of(place)]
    if pictures and found:
        raise InputError(
            f"{len(pictures)} image files are one scene but {found[0].named} is another; "
            "reconstruct them in separate calls"
        )
    return [Clip(source=tuple(pictures))] if pictures else found


def plan_tasks(clips: Sequence[Clip], output: str, selection: FrameSelection) -> list[Task]:
    """Where each clip's scene goes: `output`/NAME.4d.

    Raises:
        ConfigError: A name leads out of the folder, is that of two clips, or a clip ends before it
            starts.
    """
    # Workers have other working folders.
    clips = [_anywhere(clip) for clip in clips]
    output = output if places.is_address(output) else str(Path(output).absolute())
    paths = [_path_of(clip) for clip in clips]
    names = [
        name if clip.output is None else _checked_name(clip.output)
        for clip, name in zip(
            clips,
            distinct_names([_with_span(*each) for each in zip(clips, paths, strict=True)]),
            strict=True,
        )
    ]
    taken: set[str] = set()
    tasks = []
    for clip, name, label in zip(clips, names, labels(paths), strict=True):
        if name in taken:
            raise ConfigError(
                f"two clips are to become {name}{SCENE_SUFFIX}; give them different output names"
            )
        taken.add(name)
        span = "" if clip.start_s is None and clip.end_s is None else f" {_span(clip)} s"
        task = Task(
            clip=clip,
            label=(clip.output or label) + ("" if clip.output else span),
            output=places.joined(output, f"{name}{SCENE_SUFFIX}"),
        )
        try:
            task.selection(selection)
        except ConfigError as error:
            raise ConfigError(f"{task.label}: {error}") from error
        tasks.append(task)
    return tasks


def read_list(place: str) -> list[Clip]:
    """The clips of a list; its paths are relative to its own folder.

    A text file has a source in each line. CSV and Parquet have the columns `COLUMNS`.

    Raises:
        ConfigError: pyarrow or fsspec is not installed.
        InputError: It cannot be read, or a row makes no sense; the row is named.
    """
    if not places.is_address(place):
        return _rows(Path(place), lambda source: _beside(Path(place).parent, source), place)
    with tempfile.TemporaryDirectory() as folder:
        above = place.rpartition("/")[0]
        return _rows(places.fetch(place, Path(folder)), lambda source: _below(above, source), place)


def _rows(file: Path, resolved: Callable[[str], str], place: str) -> list[Clip]:
    if not file.is_file():
        raise InputError(f"{place} does not exist; give a list of clips (.csv, .parquet or .txt)")
    suffix = file.suffix.lower()
    try:
        if suffix == ".txt":
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
            told = [line for line in lines if line and not line.startswith("#")]
            return [Clip(source=resolved(line)) for line in told]
        rows = _csv_rows(file) if suffix == ".csv" else _parquet_rows(file)
        found = [_clip(row, resolved, f"{place}, row {number}") for number, row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{place} is no list of clips that can be read ({error})") from error
    return found


def _csv_rows(file: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        _check_columns(reader.fieldnames or [], file.name)
        # Row 1 is the first below the names.
        yield from enumerate(reader, 1)


def _parquet_rows(file: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow.lib  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"{file.name}: reading Parquet needs pyarrow, which is not installed; run `pip install "
            "'dynapoint[cluster]'`"
        ) from error
    try:
        table = pq.read_table(file)
    except (OSError, pyarrow.lib.ArrowException) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{file.name} is no Parquet file that can be read ({line})") from error
    _check_columns(table.column_names, file.name)
    yield from enumerate(table.to_pylist(), 1)


def _check_columns(names: Sequence[str], file: str) -> None:
    odd = [name for name in names if name not in COLUMNS]
    if odd or "source" not in names:
        what = f"a column {odd[0]!r}" if odd else "no column 'source'"
        raise InputError(
            f"{file} has {what}; wanted source and, where needed, {', '.join(COLUMNS[1:])} (put "
            "what else you know of a clip into tags)"
        )


def _clip(row: Mapping[str, Any], resolved: Callable[[str], str], where: str) -> Clip:
    texts = {name: _text(row.get(name)) for name in COLUMNS}
    source, intrinsics = texts["source"], texts["intrinsics"]
    if source is None or row.get(None) is not None:  # type: ignore[call-overload]
        raise InputError(f"{where} has {'no source' if source is None else 'too many columns'}")
    if intrinsics is not None and not re.fullmatch(r"[-+.\deE,\s]+", intrinsics):
        intrinsics = resolved(intrinsics)
    return Clip(
        source=resolved(source),
        start_s=_seconds(texts["start"], f"{where}: start"),
        end_s=_seconds(texts["end"], f"{where}: end"),
        intrinsics=intrinsics,
        output=texts["output"],
        tags=texts["tags"],
    )


def _text(value: Any) -> str | None:
    """A cell as text; None where it is empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).strip() or None


def _seconds(text: str | None, what: str) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise InputError(f"{what} is {text!r}; give 0 or more seconds, or nothing")
    return value


def _beside(folder: Path, source: str) -> str:
    source = places.local(source)
    return source if places.is_address(source) else str(folder / source)


def _below(above: str, source: str) -> str:
    elsewhere = places.is_address(source) or Path(places.local(source)).is_absolute()
    return source if elsewhere else f"{above}/{source}"


def _sources_of(place: str) -> list[str | tuple[str, ...]]:
    """The clips that one pattern, folder or file stands for."""
    if places.is_address(place):
        found = places.listed(place)
        if found == [place]:
            return [place]
        kept = [each for each in found if _suffix(each) in VIDEO_SUFFIXES or _is_picture(each)]
        if not kept:
            raise InputError(f"{place} holds neither videos nor images; give another address")
    else:
        path = Path(place)
        matches = expand_pattern(path)
        kept = [str(each) for match in matches for each in _of_folder(match)]
    pictures = [each for each in kept if _is_picture(each)]
    if pictures and len(pictures) < len(kept):
        other = next(each for each in kept if each not in pictures)
        raise InputError(
            f"{place} stands for {len(pictures)} image files, which are one scene, and for "
            f"{other}, which is another; give them separately"
        )
    if pictures:
        return [pictures[0] if len(pictures) == 1 else tuple(pictures)]
    return list(kept)


def _of_folder(path: Path) -> list[Path]:
    """A folder that holds images, or the videos and folders of images in it; a file alone."""
    if not path.is_dir() or _holds_images(path):
        return [path]
    try:
        found = [
            each
            for each in path.iterdir()
            if not each.name.startswith(".")
            and (_holds_images(each) if each.is_dir() else _suffix(str(each)) in VIDEO_SUFFIXES)
            and each.suffix != SCENE_SUFFIX
        ]
    except OSError as error:
        raise InputError(f"folder {path} cannot be listed: {error.strerror}") from error
    if not found:
        raise InputError(f"folder {path} holds no video, no image and no folder of images")
    return natural_order(found).paths


def _holds_images(folder: Path) -> bool:
    try:
        return bool(images_in_folder(folder))
    except InputError:
        return False


def _is_picture(place: str) -> bool:
    return is_image_path(Path(places.name_in(place)))


def _suffix(place: str) -> str:
    return Path(places.name_in(place)).suffix.lower()


def _anywhere(clip: Clip) -> Clip:
    """The same clip with paths that do not depend on the working folder."""
    sources = [places.local(each) for each in clip.sources]
    found = tuple(
        each if places.is_address(each) else str(Path(each).absolute()) for each in sources
    )
    return replace(clip, source=found[0] if len(found) == 1 else found)


def _path_of(clip: Clip) -> Path:
    """What a clip is called after: its file, or the folder of its images."""
    first = clip.sources[0]
    several = len(clip.sources) > 1 or any(sign in places.name_in(first) for sign in "*?[")
    if not places.is_address(first):
        path = Path(first)
    else:
        path = Path(first.rpartition("/")[0].partition("://")[2]) / places.name_in(first)
    return path.parent if several else path


def _with_span(clip: Clip, path: Path) -> Path:
    """The same, with the part of the clip where only a part is used."""
    if clip.start_s is None and clip.end_s is None:
        return path
    return path.with_name(f"{path.stem}_{_span(clip)}.span")


def _span(clip: Clip) -> str:
    start = 0.0 if clip.start_s is None else clip.start_s
    return f"{start:g}-" + ("" if clip.end_s is None else f"{clip.end_s:g}")


def _checked_name(name: str) -> str:
    """A name for a scene, which may lie in folders of its own."""
    bare = name.removesuffix(SCENE_SUFFIX)
    parts = bare.split("/")
    if not bare or any(part in ("", ".", "..") for part in parts) or "\\" in bare:
        raise ConfigError(f"output name {name!r} is no name within the folder; give one like a/b")
    return bare
