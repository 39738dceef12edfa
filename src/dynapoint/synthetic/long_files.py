"""Long clips on disk: a video, and the little from which all truth can be made again."""

import json
from pathlib import Path

import numpy as np

from dynapoint.errors import InputError, OutputError
from dynapoint.progress import steps
from dynapoint.whole_file import new_folder

from .clip_files import write_video
from .long_clip import LongClip
from .long_walks import RATE

_VERSION = 1


def synthesize_long(
    output: Path,
    *,
    clips: int,
    seed: int,
    image_hw: tuple[int, int],
    frames: int,
    cuts: tuple[int, ...] = (),
) -> list[Path]:
    """Write the clips of `seed`, `seed` + 1 … to `output`/clip_000 … and return their folders.

    Raises:
        ConfigError: As `LongClip`; nothing is written.
        OutputError: As `write_long_clip`.
    """
    folders = [output / f"clip_{index:03d}" for index in range(clips)]
    for folder in folders:
        _check_new(folder)
    for index, folder in enumerate(folders):
        clip = LongClip(seed + index, frames, image_hw=image_hw, cuts=cuts)
        write_long_clip(clip, folder)
    return folders


def write_long_clip(clip: LongClip, folder: Path) -> Path:
    """Write a clip to a new folder and return it; it appears whole or not at all.

    video.mp4 (H.264, 30 frames a second), poses.npy (world_from_camera) and intrinsics.npy, both
    (frame, ·, ·) float64, and recipe.json, from which `read_long_clip` makes the clip again. One
    frame is held at a time.

    Raises:
        OutputError: the folder is already there, or cannot be written.
    """
    _check_new(folder)
    recipe = {
        "version": _VERSION,
        "seed": clip.seed,
        "frame_count": clip.frame_count,
        "image_hw": list(clip.image_hw),
        "cuts": list(clip.cuts),
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as passing:
            np.save(passing / "poses.npy", clip.world_from_camera)
            np.save(passing / "intrinsics.npy", clip.intrinsics)
            (passing / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
            images = map(clip.frame, steps(range(clip.frame_count), "frame"))
            write_video(images, passing / "video.mp4", image_hw=clip.image_hw, rate=RATE)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot write a clip there ({error.strerror or error}); wanted a folder "
            "with write permission and free space. Choose another output."
        ) from error
    return folder


def read_long_clip(folder: Path) -> LongClip:
    """Make a written clip again.

    Raises:
        InputError: there is no recipe, or what it makes is not the clip that was written, as when
            another version of the engine wrote it.
    """
    try:
        recipe = json.loads((folder / "recipe.json").read_text())
        poses = np.load(folder / "poses.npy")
        clip = LongClip(
            recipe["seed"],
            recipe["frame_count"],
            image_hw=tuple(recipe["image_hw"]),
            cuts=tuple(recipe["cuts"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: holds no long clip ({error}); wanted recipe.json and poses.npy as "
            "`write_long_clip` writes them."
        ) from error
    if poses.shape != clip.world_from_camera.shape or not np.allclose(
        poses, clip.world_from_camera, atol=1e-9
    ):
        raise InputError(
            f"{folder}: its poses are not those that its recipe makes now; another version wrote "
            "it. Write the clip again."
        )
    return clip


def _check_new(folder: Path) -> None:
    if folder.exists():
        raise OutputError(f"{folder}: already exists; wanted a new folder. Choose another output.")
