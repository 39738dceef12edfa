"""A network's answer brought to where refinement works: a grid of pixels of small pictures."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8

from dynapoint.refinement.flow import FlowMeter, sample
from dynapoint.refinement.matches import Grid
from dynapoint.refinement.views import Lens, Views

PICTURE_SIDE = 256
"""The longer side of the pictures that refinement works on; distances are meant in their pixels."""

# The longer side of the grid at most, and how many of its pixels cameras are solved with.
_GRID_SIDE = 128
_COARSE_PIXELS = 800


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a network says of some frames, in its world; or the same, refined.

    Attributes:
        world_from_camera: Camera to world; the world is the camera of frame 0.
        intrinsics: In pixels of the maps.
        points: Of the pixels of the maps at their own time, in the world.
        confidence: Not negative; 0 for pixels that are not to be used.
    """

    world_from_camera: Float64[np.ndarray, "frame 4 4"]
    intrinsics: Float64[np.ndarray, "frame 3 3"]
    points: Float32[np.ndarray, "frame map_height map_width xyz=3"]
    confidence: Float32[np.ndarray, "frame map_height map_width"]

    @property
    def map_hw(self) -> tuple[int, int]:
        """(height, width) of the maps."""
        return self.confidence.shape[1], self.confidence.shape[2]

    @cached_property
    def depth(self) -> Float64[np.ndarray, "frame map_height map_width"]:
        """Along the axis of each frame's camera."""
        axis, place = self.world_from_camera[:, :3, 2], self.world_from_camera[:, :3, 3]
        along = np.einsum("fhwc,fc->fhw", self.points.astype(np.float64), axis, optimize=True)
        return np.asarray(along - (place * axis).sum(axis=1)[:, None, None])


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """What all stages of a refinement start from.

    Attributes:
        colors: The pictures; what they show is what the maps show.
        meter: Measures flow between them.
        grid: The pixels whose depth is solved for.
        coarse: Those of them that cameras are solved with.
        coarse_hw: How many rows and columns of these there are.
        lens: The network's, or the known one.
        views: The network's cameras and depths of the grid's pixels.
        usable: 0 for pixels of the grid that are not to be used, 1 for others.
    """

    colors: UInt8[np.ndarray, "frame height width rgb=3"]
    meter: FlowMeter
    grid: Grid
    coarse: Int64[np.ndarray, " coarse"]
    coarse_hw: tuple[int, int]
    lens: Lens
    views: Views
    usable: Float32[np.ndarray, "frame pixel"]

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return len(self.colors)

    @property
    def log_depth_on_grid(self) -> Float64[np.ndarray, "frame rows columns"]:
        """The network's logarithms of depth."""
        return self.views.log_depth.reshape(self.frames, *self.grid.hw)

    def intrinsics_of(
        self, hw: tuple[int, int], log_lens: float
    ) -> Float64[np.ndarray, "frame 3 3"]:
        """Of maps of what the pictures show; focal lengths are multiplied by e^`log_lens`."""
        ratio = np.array(hw[::-1]) / np.array(self.grid.picture_hw[::-1])
        intrinsics = np.tile(np.eye(3), (self.frames, 1, 1))
        intrinsics[:, [0, 1], [0, 1]] = self.lens.focal_px * np.exp(log_lens) * ratio
        intrinsics[:, :2, 2] = self.lens.centre_px * ratio
        return intrinsics

    @cached_property
    def normal(self) -> Float64[np.ndarray, "frame pixel xy=2"]:
        """The grid's pixels in units of the focal length."""
        return self.lens.normal(self.grid.xy_px)


def prepare(
    colors: UInt8[np.ndarray, "frame height width rgb=3"], answer: Answer, *, one_lens: bool
) -> Setting:
    """Bring an answer to the grid.

    Args:
        colors: Pictures that show what the maps show.
        answer: The network's.
        one_lens: Whether all frames are to have the median of the network's lenses.
    """
    picture_hw = colors.shape[1:3]
    step = max(1, -(-max(answer.map_hw) // _GRID_SIDE))
    grid = Grid(
        hw=(-(-answer.map_hw[0] // step), -(-answer.map_hw[1] // step)), picture_hw=picture_hw
    )
    stride = max(1, round((grid.count / _COARSE_PIXELS) ** 0.5))
    coarse, coarse_hw = grid.every(stride)
    depth = answer.depth
    good = (answer.confidence > 0) & np.isfinite(depth) & (depth > 0)
    log_depth = on_grid(_log_depth(depth, good), grid)
    usable = on_grid(good.astype(np.float32), grid) > 0.99
    # Poses of cameras, in which the world is that of frame 0 to the last bit.
    views = Views(
        camera_from_world=np.linalg.inv(answer.world_from_camera),
        log_lens=0.0,
        log_depth=log_depth.reshape(len(colors), -1).astype(np.float64),
    )
    return Setting(
        colors=colors,
        meter=FlowMeter(pictures=grey(colors), usable=_in_pictures(answer.confidence, picture_hw)),
        grid=grid,
        coarse=coarse,
        coarse_hw=coarse_hw,
        lens=_lens(answer, picture_hw, one_lens=one_lens),
        views=views,
        usable=usable.reshape(len(colors), -1).astype(np.float32),
    )


def on_grid(
    maps: Float[np.ndarray, "frame map_height map_width"], grid: Grid
) -> Float32[np.ndarray, "frame rows columns"]:
    """Values of maps at the pixels of a grid."""
    if maps.shape[1:] == grid.hw:
        return maps.astype(np.float32)
    places = grid.xy_px * [maps.shape[2] / grid.picture_hw[1], maps.shape[1] / grid.picture_hw[0]]
    places = places.reshape(*grid.hw, 2)
    return np.stack([sample(each.astype(np.float32), places) for each in maps])


def _log_depth(
    depth: Float64[np.ndarray, "frame height width"], good: Bool[np.ndarray, "frame height width"]
) -> Float64[np.ndarray, "frame height width"]:
    """Logarithms of depths; what is not known is as far as the median of its frame."""
    logs = np.log(np.where(good, depth, 1.0))
    usual = float(np.median(logs[good])) if good.any() else 0.0
    for each, known in zip(logs, good, strict=True):
        each[~known] = np.median(each[known]) if known.any() else usual
    return logs


def _lens(answer: Answer, picture_hw: tuple[int, int], *, one_lens: bool) -> Lens:
    ratio = np.array([picture_hw[1] / answer.map_hw[1], picture_hw[0] / answer.map_hw[0]])
    focal = answer.intrinsics[:, [0, 1], [0, 1]] * ratio
    centre = answer.intrinsics[:, :2, 2] * ratio
    if one_lens:
        focal = np.tile(np.median(focal, axis=0), (len(focal), 1))
        centre = np.tile(np.median(centre, axis=0), (len(centre), 1))
    return Lens(focal_px=focal, centre_px=centre)


def grey(
    colors: UInt8[np.ndarray, "frame height width rgb=3"],
) -> UInt8[np.ndarray, "frame height width"]:
    """Pictures without their colours."""
    import cv2  # noqa: PLC0415 - slow to import.

    return np.stack([cv2.cvtColor(color, cv2.COLOR_RGB2GRAY) for color in colors])


def _in_pictures(
    confidence: Float32[np.ndarray, "frame map_height map_width"], picture_hw: tuple[int, int]
) -> Float32[np.ndarray, "frame height width"]:
    """1 for pixels of pictures that are to be used, 0 for others."""
    import cv2  # noqa: PLC0415 - slow to import.

    size = picture_hw[::-1]
    used = (confidence > 0).astype(np.float32)
    return np.stack([cv2.resize(each, size, interpolation=cv2.INTER_NEAREST) for each in used])
