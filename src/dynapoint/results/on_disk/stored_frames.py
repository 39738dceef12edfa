"""The frames of a stored scene: a JPEG each, in original resolution, read when they are wanted.

Pixels that were to be ignored are white in a PNG beside it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from dynapoint.data.frames import Frames
from dynapoint.data.lazy_frames import LazyFrames, PartFrames
from dynapoint.errors import SceneError

FRAMES_FOLDER = "frames"

# Colours at full resolution: splats and textures are made from these files.
_JPEG = {"quality": 95, "subsampling": "4:4:4"}
# Of lean scenes: good to look at.
_SMALL_JPEG = {"quality": 85, "subsampling": "4:2:0"}


def frame_file(index: int) -> str:
    """Where a frame lies in a scene."""
    return f"{FRAMES_FOLDER}/{index:06d}.jpg"


def ignore_file(index: int) -> str:
    """Where a frame's ignored pixels lie in a scene, if any were masked out."""
    return f"{FRAMES_FOLDER}/{index:06d}.ignore.png"


def source_facts(frames: Frames) -> dict[str, Any]:
    """What frames know of their source, as JSON would have it."""
    return {
        "source_count": frames.source_count,
        "file_names": None if frames.file_names is None else list(frames.file_names),
        "from_video": frames.from_video,
        "masked": frames.ignore is not None,
        "identity": frames.identity,
    }


def write_frames(frames: Frames, folder: Path, *, small: bool = False) -> tuple[str, ...]:
    """Write every frame as a JPEG of its own size; returns their names in the folder.

    Frames that come from another stored scene are copied as they are, unless they are to become
    smaller.

    Args:
        frames: The frames.
        folder: The folder of the scene.
        small: Write smaller JPEGs, of less quality and with half the colours' resolution.

    Raises:
        OSError: They cannot be written.
    """
    (folder / FRAMES_FOLDER).mkdir()
    names = tuple(frame_file(index) for index in range(frames.count))
    for index, name in enumerate(names):
        stored = _stored_file(frames, index)
        if stored is not None and not (small and _is_whole(stored)):
            (folder / name).write_bytes(stored.read_bytes())
        else:
            write_frame(frames.picture(index), folder, index, small=small)
    if frames.ignore is None:
        return names
    for index, mask in enumerate(frames.ignore):
        Image.fromarray(mask).save(folder / ignore_file(index))
    return names + tuple(ignore_file(index) for index in range(frames.count))


def write_frame(
    picture: UInt8[np.ndarray, "height width rgb=3"],
    folder: Path,
    index: int,
    *,
    ignore: Bool[np.ndarray, "height width"] | None = None,
    small: bool = False,
) -> None:
    """Write one frame into a scene's folder, in which there is a folder for them.

    Args:
        picture: The frame.
        folder: The folder of the scene.
        index: Which frame it is.
        ignore: Its ignored pixels, if any were masked out.
        small: See `write_frames`.

    Raises:
        OSError: It cannot be written.
    """
    style = _SMALL_JPEG if small else _JPEG
    Image.fromarray(picture).save(folder / frame_file(index), "JPEG", **style)
    if ignore is not None:
        Image.fromarray(ignore).save(folder / ignore_file(index))


@dataclass(frozen=True, kw_only=True)
class StoredFrames(LazyFrames):
    """`Frames` whose pictures are read from the scene when they are wanted.

    Attributes:
        scene: The folder of the scene.
    """

    scene: Path

    def made(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """One frame, read alone.

        Raises:
            SceneError: Its file is missing, damaged or of another size.
        """
        height, width = self.picture_hw[index].tolist()
        return _read(self.scene / frame_file(index), (height, width))

    def check(self) -> None:
        """Look at all sizes: a damaged scene may speak of pictures that no memory holds.

        Raises:
            SceneError: A file is missing, damaged or of another size.
        """
        for index, (height, width) in enumerate(self.picture_hw.tolist()):
            with _opened(self.scene / frame_file(index), (height, width)):
                pass


def open_frames(
    scene: Path,
    *,
    timestamps_s: Float64[np.ndarray, " frame"],
    source_frame_index: Int64[np.ndarray, " frame"],
    picture_hw: Int64[np.ndarray, "frame hw=2"],
    canvas_hw: tuple[int, int],
    name: str,
    note: str | None,
    source: Mapping[str, Any],
) -> StoredFrames:
    """The frames of a scene, from its arrays and its manifest.

    Raises:
        SceneError: A mask of what is ignored is damaged.
    """
    ignore = None
    if source.get("masked"):
        paths = [scene / ignore_file(index) for index in range(len(timestamps_s))]
        ignore = np.stack([_read(path, canvas_hw)[..., 0] > 0 for path in paths])
    file_names = source.get("file_names")
    return StoredFrames(
        timestamps_s=timestamps_s,
        source_frame_index=source_frame_index,
        name=name,
        note=note,
        sizes_hw=None if (picture_hw == canvas_hw).all() else picture_hw,
        source_count=source.get("source_count"),
        file_names=None if file_names is None else tuple(file_names),
        from_video=bool(source.get("from_video")),
        identity=source.get("identity"),
        ignore=ignore,
        scene=scene,
        canvas_hw=canvas_hw,
    )


def _stored_file(frames: Frames, index: int) -> Path | None:
    """Where a frame lies in the stored scene that it comes from, if it comes from one."""
    if isinstance(frames, PartFrames):
        return _stored_file(frames.whole, frames.numbers[index])
    return frames.scene / frame_file(index) if isinstance(frames, StoredFrames) else None


def _is_whole(jpeg: Path) -> bool:
    """Whether a JPEG has colours in full resolution, as those of lean scenes have not."""
    with Image.open(jpeg) as image:
        return get_sampling(image) == 0


def _read(path: Path, picture_hw: tuple[int, int]) -> UInt8[np.ndarray, "height width rgb=3"]:
    """An image file as RGB; raises SceneError as `_opened` does."""
    with _opened(path, picture_hw) as image:
        return np.asarray(image.convert("RGB"))


@contextmanager
def _opened(path: Path, picture_hw: tuple[int, int]) -> Iterator[Image.Image]:
    """An image file whose pixels are not read yet.

    Raises:
        SceneError: It is missing, of another size, or damaged, also where its pixels are read.
    """
    try:
        with Image.open(path) as image:
            found = image.size
            if found == picture_hw[::-1]:
                yield image
                return
    except FileNotFoundError as error:
        raise SceneError(f"{path} is missing; reconstruct the scene again") from error
    # Pillow also refuses damaged files by SyntaxError, ValueError and others.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise SceneError(f"{path} is damaged ({reason}); reconstruct the scene again") from error
    raise SceneError(
        f"{path} is {found[0]}x{found[1]} but the scene's frame is "
        f"{picture_hw[1]}x{picture_hw[0]}; reconstruct the scene again"
    )
