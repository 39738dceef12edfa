"""Frames whose pictures are made one at a time, when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from dynapoint.data.frames import Frames


@dataclass(frozen=True, kw_only=True)
class LazyFrames(Frames):
    """`Frames` that hold no picture; `images` are all of them, made on first use and then kept.

    Attributes:
        canvas_hw: (height, width) of the canvas that holds every picture.
    """

    images: UInt8[np.ndarray, "frame height width rgb=3"] = field(init=False, repr=False)
    canvas_hw: tuple[int, int]

    @property
    def count(self) -> int:
        """How many frames there are."""
        return len(self.timestamps_s)

    @property
    def image_hw(self) -> tuple[int, int]:
        """(height, width) of the frames, or of their canvas, in pixels."""
        return self.canvas_hw

    def picture(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """One frame, made alone unless all have been."""
        return super().picture(index) if "images" in vars(self) else self.made(index)

    def made(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """Make one frame."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise what making a frame would, before memory is taken for all."""

    def __getattr__(self, name: str) -> Any:
        """`images`, which are not there before their first use."""
        if name != "images":
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        self.check()
        images = np.full((self.count, *self.canvas_hw, 3), 255, dtype=np.uint8)
        for index, (height, width) in enumerate(self.picture_hw.tolist()):
            images[index, :height, :width] = self.made(index)
        object.__setattr__(self, "images", images)
        return images


@dataclass(frozen=True, kw_only=True)
class PartFrames(LazyFrames):
    """Some of the frames of others, whose pictures they ask for.

    Attributes:
        whole: The others.
        numbers: Which of them these are, by index.
    """

    whole: Frames
    numbers: tuple[int, ...]

    def made(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """That of the others."""
        return self.whole.picture(self.numbers[index])

    def ignored(self, index: int) -> Bool[np.ndarray, "height width"] | None:
        """That of the others."""
        return self.whole.ignored(self.numbers[index])


def part_of_frames(frames: Frames, numbers: Sequence[int], *, note: str | None) -> PartFrames:
    """Some frames of others; no picture is copied.

    Args:
        frames: The others.
        numbers: Indices of those wanted.
        note: What is said of what was left out.
    """
    if isinstance(frames, PartFrames):
        numbers, frames = [frames.numbers[number] for number in numbers], frames.whole
    chosen = np.asarray(numbers, dtype=np.int64)
    names = frames.file_names
    return PartFrames(
        whole=frames,
        numbers=tuple(chosen.tolist()),
        canvas_hw=frames.image_hw,
        timestamps_s=frames.timestamps_s[chosen],
        source_frame_index=frames.source_frame_index[chosen],
        name=frames.name,
        note=note,
        sizes_hw=None if frames.sizes_hw is None else frames.sizes_hw[chosen],
        given_hw=None if frames.given_hw is None else frames.given_hw[chosen],
        source_count=frames.source_count,
        file_names=None if names is None else tuple(names[number] for number in numbers),
        from_video=frames.from_video,
        ignore=None if frames.ignore is None else frames.ignore[chosen],
        identity=frames.identity,
    )
