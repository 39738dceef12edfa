"""Making the engine's held-out clips (`synthetic.held_out`) in a folder, once."""

import json
from pathlib import Path

from dynapoint.errors import InputError, OutputError
from dynapoint.progress import steps

FOLDER = "clips"
CLIP_STRIDE = 4
"""Truth is written of every 4th pixel."""

_VERSION = 1
_FILE = "split.json"
_LONG = "long"
_CLIPS, _FRAMES, _IMAGE_HW = 5, 10, (144, 192)
_LONG_CLIPS, _LONG_FRAMES, _LONG_IMAGE_HW = 2, 64, (96, 128)
_KINDS = ("rigid", "articulated", "deforming", "still", "fast", "static camera")


def clip_names() -> dict[str, tuple[str, ...]]:
    """The clips of each subset, by their folders' names."""
    names = {subset: _names(subset, _CLIPS) for subset in _KINDS}
    return names | {_LONG: _names(_LONG, _LONG_CLIPS)}


def make_held_out(output: Path, *, progress: bool = False) -> Path:
    """Make the clips that are not there yet, and return their folder.

    Args:
        output: The folder of a run.
        progress: Show on standard error how far it is.

    Raises:
        InputError: Another version of the split is there.
        OutputError: They cannot be written; those before stay.
    """
    folder = output / FOLDER
    _check_version(folder)
    places = [
        (subset, index, folder / name)
        for subset, names in clip_names().items()
        for index, name in enumerate(names)
    ]
    missing = [place for place in places if not place[2].is_dir()]
    for subset, index, path in steps(missing, "clip to make", wanted=progress):
        _make(subset, index, path)
    return folder


def _make(subset: str, index: int, path: Path) -> None:
    # The engine loads torch, which a run of stored clips does not need.
    from dynapoint.synthetic.clip_files import write_clip  # noqa: PLC0415
    from dynapoint.synthetic.held_out import SUBSETS, held_out_clip, long_seed  # noqa: PLC0415
    from dynapoint.synthetic.long_clip import LongClip  # noqa: PLC0415
    from dynapoint.synthetic.long_files import write_long_clip  # noqa: PLC0415

    if subset == _LONG:
        clip = LongClip(long_seed(index), _LONG_FRAMES, image_hw=_LONG_IMAGE_HW)
        write_long_clip(clip, path)
        return
    kind = SUBSETS[_KINDS.index(subset)]
    made = held_out_clip(kind, index, frames=_FRAMES, image_hw=_IMAGE_HW)
    write_clip(made, path, float32_points=True, stride=CLIP_STRIDE)


def _check_version(folder: Path) -> None:
    """Refuse clips of another split; say of a new folder which one it holds."""
    file = folder / _FILE
    try:
        if folder.is_dir() and any(folder.iterdir()):
            if json.loads(file.read_text(encoding="utf-8")) != {"version": _VERSION}:
                raise ValueError
            return
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"version": _VERSION}) + "\n", encoding="utf-8")
    except (ValueError, FileNotFoundError) as error:
        raise InputError(
            f"{folder}: does not hold version {_VERSION} of the held-out clips; delete it, or name "
            "another folder (-o)"
        ) from error
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error}); name another folder (-o)"
        ) from error


def _names(subset: str, count: int) -> tuple[str, ...]:
    return tuple(f"{subset.replace(' ', '_')}_{index}" for index in range(count))
