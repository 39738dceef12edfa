"""The frames of a stored scene: a JPEG each, in original resolution, read when they are wanted."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dynapoint.data.frames import Frames
from dynapoint.errors import SceneError

FRAMES_FOLDER = "frames"

# Colours at full resolution: splats and textures are made from these files.
_JPEG = {"quality": 95, "subsampling": "4:4:4"}


def frame_file(index: int) -> str:
    """Where a frame lies in a scene."""
    return f"{FRAMES_FOLDER}/{index:06d}.jpg"


def write_frames(frames: Frames, folder: Path) -> tuple[str, ...]:
    """Write every frame as a JPEG of its own size; returns their names in the folder.

    Frames that come from another stored scene are copied as they are.

    Raises:
        OSError: They cannot be written.
    """
    (folder / FRAMES_FOLDER).mkdir()
    names = tuple(frame_file(index) for index in range(frames.count))
    for index, (name, (height, width)) in enumerate(zip(names, frames.picture_hw, strict=True)):
        if isinstance(frames, StoredFrames):
            (folder / name).write_bytes((frames.scene / name).read_bytes())
        else:
            picture = Image.fromarray(frames.images[index, :height, :width])
            picture.save(folder / name, "JPEG", **_JPEG)
    return names


@dataclass(frozen=True, kw_only=True)
class StoredFrames(Frames):
    """`Frames` whose `images` are read from the scene on first use.

    Attributes:
        scene: The folder of the scene.
        canvas_hw: What `image_hw` answers without reading them.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"] = field(init=False, repr=False)
    scene: Path
    canvas_hw: tuple[int, int]

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.timestamps_s)

    @property
    def image_hw(self) -> tuple[int, int]:
        """(height, width) of the frames, or of their canvas, in pixels."""
        return self.canvas_hw

    def __getattr__(self, name: str) -> Any:
        """`images`, which are not there before their first use.

        Raises:
            SceneError: A file is missing, damaged or of another size.
        """
        if name != "images":
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        shape = (self.count, *self.canvas_hw, 3)
        images = np.full(shape, 255, dtype=np.uint8)
        for index, (height, width) in enumerate(self.picture_hw.tolist()):
            images[index, :height, :width] = _read(self.scene / frame_file(index), (height, width))
        object.__setattr__(self, "images", images)
        return images


def _read(path: Path, picture_hw: tuple[int, int]) -> UInt8[np.ndarray, "height width rgb=3"]:
    try:
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise SceneError(f"{path} is missing; reconstruct the scene again") from error
    # Pillow also refuses damaged files by SyntaxError, ValueError and others.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SceneError(f"{path} is damaged ({reason}); reconstruct the scene again") from error
    if picture.shape[:2] != picture_hw:
        raise SceneError(
            f"{path} is {picture.shape[1]}x{picture.shape[0]} but the scene's frame is "
            f"{picture_hw[1]}x{picture_hw[0]}; reconstruct the scene again"
        )
    return picture
