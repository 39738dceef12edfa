"""Pictures as pinholes would have taken them, at no larger a size than they are wanted."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, UInt8

from dynapoint.data.frames import Frames
from dynapoint.data.lazy_frames import LazyFrames
from dynapoint.geometry.arrays import pixel_centres
from dynapoint.geometry.distortion import DistortedLens
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.scene_maps import SceneMaps

Scene = TypeVar("Scene", bound=SceneMaps)
_WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class PinholeFrames(LazyFrames):
    """Frames as pinholes would have taken them, undistorted when they are asked for.

    Attributes:
        whole: The frames.
        pixel_map: Has their lenses.
    """

    whole: Frames
    pixel_map: PixelMap

    def made(self, index: int) -> UInt8[np.ndarray, "height width rgb=3"]:
        """One frame, as large as it is."""
        return self._straight(self.whole.picture(index), index)

    def ignored(self, index: int) -> Bool[np.ndarray, "height width"]:
        """What was masked out, and where nothing is shown."""
        given = self.whole.ignored(index)
        if given is None:
            given = np.zeros(self.picture_hw[index], dtype=bool)
        return self._straight(given.astype(np.uint8) * np.uint8(255), index) > 0

    def _straight(
        self, picture: UInt8[np.ndarray, "height width *channels"], index: int
    ) -> UInt8[np.ndarray, "height width *channels"]:
        assert self.pixel_map.lenses is not None
        hw = self.picture_hw[index]
        return undistorted(picture, self.pixel_map.lenses[index], hw, side=int(hw.max()))


def as_pinholes(scene: Scene) -> Scene:
    """A scene whose lenses distort with undistorted pictures instead: its pixels are theirs then.

    Where they show nothing they are ignored. For programs that know no other cameras than pinholes.
    """
    pixel_map, frames = scene.pixel_map, scene.frames
    if pixel_map.lenses is None:
        return scene
    straight = PinholeFrames(
        whole=frames,
        pixel_map=pixel_map,
        canvas_hw=frames.image_hw,
        timestamps_s=frames.timestamps_s,
        source_frame_index=frames.source_frame_index,
        name=frames.name,
        note=frames.note,
        sizes_hw=frames.sizes_hw,
        source_count=frames.source_count,
        file_names=frames.file_names,
        from_video=frames.from_video,
        identity=frames.identity,
    )
    return replace(scene, frames=straight, pixel_map=replace(pixel_map, lenses=None))


def undistorted_picture(
    frames: Frames, frame: int, pixel_map: PixelMap, *, side: int
) -> UInt8[np.ndarray, "height width rgb=3"]:
    """A frame's picture as a pinhole of the same intrinsics and size would have taken it.

    That of a pinhole is the picture itself. Others are of the picture's aspect, but not larger than
    twice what is wanted of them, and white where the lens sees nothing.

    Args:
        frames: Whose picture.
        frame: Which.
        pixel_map: Has the lens.
        side: How long the longer side will be made.
    """
    picture = frames.picture(frame)
    if pixel_map.lenses is None:
        return picture
    return undistorted(picture, pixel_map.lenses[frame], frames.picture_hw[frame], side=side)


def undistorted(
    picture: UInt8[np.ndarray, "height width *channels"],
    lens: DistortedLens,
    lens_hw: np.ndarray,
    *,
    side: int,
) -> UInt8[np.ndarray, "out_height out_width *channels"]:
    """The same of any picture, colour or grey, which may be smaller than that of the lens.

    Args:
        picture: What the lens took, of any size.
        lens: How it distorts.
        lens_hw: (height, width) of the picture whose pixels the lens speaks of.
        side: How long the longer side will be made.
    """
    import cv2  # noqa: PLC0415 - slow to import.

    share = min(1.0, 2 * side / max(picture.shape[:2]))
    height, width = (max(1, round(length * share)) for length in picture.shape[:2])
    if share < 1:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    places = _places(lens, (int(lens_hw[0]), int(lens_hw[1])), (height, width))
    warped: np.ndarray = cv2.remap(
        picture, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_WHITE
    )
    return warped


@lru_cache(maxsize=4)
def _places(
    lens: DistortedLens, lens_hw: tuple[int, int], hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of an undistorted picture lies in the distorted one, as OpenCV counts."""
    import cv2  # noqa: PLC0415 - slow to import.

    scale = np.array(hw[::-1]) / np.array(lens_hw[::-1])
    places = lens.distorted(pixel_centres(hw) / scale) * scale - 0.5
    # Half a pixel over the border is the picture still; what no lens sees lies far beyond it.
    within = (places > -0.5) & (places < np.array(hw[::-1]) - 0.5)
    held = np.clip(places, 0, np.array(hw[::-1]) - 1.0)
    places = np.where(within.all(axis=-1, keepdims=True), held, -10.0).astype(np.float32)
    return cv2.convertMaps(places[..., 0], places[..., 1], cv2.CV_16SC2)
