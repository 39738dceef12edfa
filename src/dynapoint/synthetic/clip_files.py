"""Write engine clips to disk in the format of the rendered bench, with a video of each."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from dynapoint.errors import ConfigError, OutputError
from dynapoint.progress import steps
from dynapoint.whole_file import new_folder

from .clip import ClipBatch
from .render import render_clips
from .scene import SceneConfig, random_scene

_MOST_FRAMES = 16
_LEAST_SIDE_PX = 16
_MOVING = 100
_NOTHING = 255
_VIDEO_RATE = 8
# What PyTorch's generators take.
_LARGEST_SEED = 2**63


def synthesize(
    output: Path,
    *,
    clips: int,
    seed: int,
    image_hw: tuple[int, int] = (192, 256),
    frames: int = 10,
    difficulty: float = 1.0,
    float32_points: bool = False,
) -> list[Path]:
    """Write `clips` clips to `output`/clip_000 … and return their folders.

    Clip k is the scene of seed `seed` + k, so the same call writes the same bytes. Each folder
    holds rgb_00.png …, video.mp4 and gt.npz with `points` (time, frame, h, w, 3; float16 unless
    `float32_points`; world = camera of frame 0, scene units, NaN at sky), `visible` (time, frame,
    h, w), `instance` (frame, h, w; + 100 where it moves, 255 at sky), `K`, `world_from_camera` and
    `stride` = 1. A folder appears whole or not at all.

    Raises:
        ConfigError: counts or sizes out of range; dense truth is written for ≤ 16 frames only.
        OutputError: a clip is already there, or `output` cannot be written.
    """
    config = _checked_config(clips, seed, image_hw, frames, difficulty)
    folders = [output / f"clip_{index:03d}" for index in range(clips)]
    for folder in folders:
        if folder.exists():
            raise OutputError(
                f"{folder}: already exists; wanted a new folder per clip. "
                "Choose another output or remove the clips there."
            )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(output, error) from error
    for index, folder in enumerate(steps(folders, "clip")):
        scene = random_scene(seed + index, config, aspect=image_hw[1] / image_hw[0])
        clip = render_clips([scene], image_hw=image_hw, seed=seed + index)
        write_clip(clip, folder, float32_points=float32_points)
    return folders


def _checked_config(
    clips: int, seed: int, image_hw: tuple[int, int], frames: int, difficulty: float
) -> SceneConfig:
    """The scene configuration, or a ConfigError that names the value that cannot work."""
    if clips < 1:
        raise ConfigError(f"clips is {clips}; ask for at least 1.")
    if not 0 <= seed <= _LARGEST_SEED - clips:
        raise ConfigError(f"seed is {seed}; choose a number from 0 to {_LARGEST_SEED - clips}.")
    if min(image_hw) < _LEAST_SIDE_PX:
        raise ConfigError(
            f"the image size is {image_hw[0]} × {image_hw[1]}; "
            f"both sides need at least {_LEAST_SIDE_PX} pixels."
        )
    if frames > _MOST_FRAMES:
        raise ConfigError(
            f"frames is {frames}; truth is written for every pair of frames, which is kept to "
            f"{_MOST_FRAMES} frames. Ask for fewer, or use ClipBatch.points for single pairs."
        )
    return SceneConfig(frames=frames, difficulty=difficulty)


def write_clip(
    clip: ClipBatch, folder: Path, *, float32_points: bool = False, stride: int = 1
) -> None:
    """Write one clip, whole or not at all; the folder above has to be there.

    Args:
        clip: Its first one is written.
        folder: What becomes of it.
        float32_points: Write points as they are; float16 rounds them.
        stride: Truth is written of every so many-th row and column, from `stride // 2` on.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        with new_folder(folder) as passing:
            _write_truth(clip, passing / "gt.npz", float32_points=float32_points, stride=stride)
            images = clip.images[0].cpu().numpy()
            for index, image in enumerate(images):
                Image.fromarray(image).save(passing / f"rgb_{index:02d}.png")
            height, width = clip.images.shape[2:4]
            write_video(images, passing / "video.mp4", image_hw=(height, width), rate=_VIDEO_RATE)
    except OSError as error:
        raise _cannot_write(folder.parent, error) from error


def _cannot_write(output: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{output}: cannot write clips there ({error.strerror or error}); wanted a folder with "
        "write permission and free space. Choose another output."
    )


def _write_truth(clip: ClipBatch, path: Path, *, float32_points: bool, stride: int) -> None:
    """Write the dense truth of one clip as an .npz archive."""
    frames = torch.arange(clip.images.shape[1], device=clip.face.device)[None]
    truth = clip.truth(frames, frames)
    instance = clip.instance(frames)
    # The file has room for 100 numbers; scenes with more bodies use some twice.
    number = instance % _MOVING + _MOVING * truth.moving
    number = torch.where(instance >= 0, number, _NOTHING).to(torch.uint8)
    grid = slice(stride // 2, None, stride)
    points = truth.points[0, :, :, grid, grid].cpu().numpy()
    np.savez_compressed(
        path,
        points=points if float32_points else points.astype(np.float16),
        visible=truth.visible[0, :, :, grid, grid].cpu().numpy(),
        instance=number[0, :, grid, grid].cpu().numpy(),
        K=clip.intrinsics[0, 0].cpu().numpy(),
        world_from_camera=clip.world_from_camera[0].cpu().numpy(),
        stride=np.int64(stride),
    )


def write_video(
    images: Iterable[UInt8[np.ndarray, "height width rgb=3"]],
    path: Path,
    *,
    image_hw: tuple[int, int],
    rate: int,
) -> None:
    """Encode frames as H.264, which wants even sides: an odd last row or column is left out."""
    import av  # noqa: PLC0415 - only this function needs the video library.

    height, width = (side // 2 * 2 for side in image_hw)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread and a fixed quality, so that the same frames give the same bytes.
        stream.options = {"crf": "16", "threads": "1"}
        for image in images:
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image[:height, :width]), format="rgb24"
            )
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
