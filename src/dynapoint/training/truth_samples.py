"""From a sequence of a data set to a training sample: part of the pictures, size, what is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64, Shaped, UInt8
from torch import Tensor

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.errors import InputError
from dynapoint.geometry.arrays import points_in_camera, project, transform_points
from dynapoint.types import TruthSample

Supervises = Literal["all", "own_time"]

MOVES = 0.01
"""A point moves where it is farther away than this share of the points' mean distance."""
SHOWS_THROUGH = 1.05
"""A point is seen unless it lies farther than this many times the depth that its pixel shows."""
KNOWN_SHARE = 0.5
"""Of a set with dense motion, a frame without truth for this share of its points has none at a
time: they went out of the data, as at a cut."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The part of a picture that a sample shows, and its size there.

    Attributes:
        left, top: Where it begins, in whole pixels of the picture.
        scale: Pixels of the sample per pixel of the picture, the same in both directions.
        image_hw: Height and width of the sample's images.
    """

    left: int
    top: int
    scale: float
    image_hw: tuple[int, int]

    def lens(self, intrinsics: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
        """The intrinsics of the sample's image, exactly; pixel centres at half-integers."""
        move = np.array([[1.0, 0, -self.left], [0, 1.0, -self.top], [0, 0, 1]])
        return np.diag([self.scale, self.scale, 1.0]) @ move @ intrinsics

    def picture(
        self, picture: UInt8[np.ndarray, "height width rgb=3"]
    ) -> Float32[np.ndarray, "rgb=3 rows columns"]:
        """The sample's image, in 0 to 1."""
        rows, columns = self.image_hw
        if self.scale == 1:
            part = picture[self.top : self.top + rows, self.left : self.left + columns]
        else:
            # A machine that trains on rendered clips alone may lack Pillow.
            from PIL import Image  # noqa: PLC0415

            right, bottom = self.left + columns / self.scale, self.top + rows / self.scale
            box = (self.left, self.top, min(right, picture.shape[1]), min(bottom, picture.shape[0]))
            # Pillow's filter widens where it makes pictures smaller, so that nothing aliases.
            resized = Image.fromarray(picture).resize(
                (columns, rows), Image.Resampling.BICUBIC, box=box
            )
            part = np.asarray(resized)
        return part.transpose(2, 0, 1).astype(np.float32) / 255

    def chosen(
        self, known: Bool[np.ndarray, "height width"]
    ) -> tuple[Int64[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
        """A pixel of the picture (row-major) for each of the sample's, and whether it is known.

        It is the known one within the sample's pixel that is nearest to its centre.
        """
        height, width = known.shape
        row, column = (
            np.minimum((first + (np.arange(count) + 0.5) / self.scale).astype(np.int64), side - 1)
            for first, count, side in zip(
                (self.top, self.left), self.image_hw, (height, width), strict=True
            )
        )
        pixel = row[:, None] * width + column
        found = known[row[:, None], column]
        if self.scale < 1 and not found.all():
            y, x = np.nonzero(known)
            at_y, at_x = (y + 0.5 - self.top) * self.scale, (x + 0.5 - self.left) * self.scale
            inside = (
                (at_y >= 0) & (at_y < self.image_hw[0]) & (at_x >= 0) & (at_x < self.image_hw[1])
            )
            y, x, at_y, at_x = y[inside], x[inside], at_y[inside], at_x[inside]
            to_y, to_x = at_y.astype(np.int64), at_x.astype(np.int64)
            off = (at_y - to_y - 0.5) ** 2 + (at_x - to_x - 0.5) ** 2
            # The nearest comes last, and stays.
            order = np.argsort(-off, kind="stable")
            order = order[~found[to_y[order], to_x[order]]]
            pixel[to_y[order], to_x[order]] = (y * width + x)[order]
            found[to_y[order], to_x[order]] = True
        return pixel, found


def centred_window(
    picture_hw: tuple[int, int], image_hw: tuple[int, int], kept: float = 1.0
) -> Window:
    """The largest part of a picture about its centre with the sample's aspect, times `kept`."""
    scale = max(image_hw[0] / picture_hw[0], image_hw[1] / picture_hw[1]) / kept
    top, left = (
        max(0, int((side - wanted / scale) / 2))
        for side, wanted in zip(picture_hw, image_hw, strict=True)
    )
    return Window(left=left, top=top, scale=scale, image_hw=image_hw)


def truth_sample(
    sequence: TruthSequence,
    frames: Sequence[int],
    *,
    image_hw: tuple[int, int],
    supervises: Supervises = "all",
    least_known: float = 0.0,
    kept: float = 1.0,
) -> TruthSample:
    """A batch of one: some frames of a sequence, in the camera of the first one given.

    A map is supervised where the sequence has truth for it (`Holds.motion`) and `supervises` lets
    it; a pixel is valid where all supervised maps of its frame are known. A map without truth
    holds the frame's own points. Where the set has no visibility, a point is seen unless its pixel
    shows less depth. What moves is said of frames with truth at other times, by masks where there
    are any, else by the points.

    Args:
        sequence: Has a lens, poses and depth.
        frames: Their numbers, the reference first.
        image_hw: The size of the sample's images.
        supervises: "own_time" leaves out what is known of other times.
        least_known: Of a set whose motion is sparse, a map is supervised that knows more than this
            share of the frame's points; what is known at all times is fewer pixels then.
        kept: The share of the pictures' sides that is kept about the centre.

    Raises:
        InputError: A file is missing or damaged, or a frame has no pose, or no truth at all.
    """
    views = [_View(sequence, frame, image_hw, kept) for frame in frames]
    if sequence.holds.motion == "dense":
        least_known = KNOWN_SHARE
    sources = []
    for place in range(len(views)):
        maps = _maps(sequence, frames, place, supervises, least_known)
        sources.append(_source(sequence, views, place, maps))
    first_from_world = np.linalg.inv(views[0].world_from_camera)
    valid = np.stack([each.valid for each in sources])
    world = np.stack([each.points for each in sources], axis=1)
    points = transform_points(first_from_world, np.nan_to_num(world))
    poses = np.stack([first_from_world @ view.world_from_camera for view in views])
    return TruthSample(
        images=torch.from_numpy(np.stack([view.image for view in views]))[None],
        points=_tensor(np.where(valid[..., None], points, 0.0)),
        valid=torch.from_numpy(valid)[None],
        visible=torch.from_numpy(np.stack([each.visible for each in sources], axis=1))[None],
        moving=torch.from_numpy(np.stack([each.moving for each in sources]))[None],
        supervised=torch.from_numpy(np.stack([each.supervised for each in sources], axis=1))[None],
        world_from_camera=_tensor(poses),
        intrinsics=_tensor(np.stack([view.intrinsics for view in views])),
    )


class _View:
    """A frame of a sample: its image, camera and window."""

    def __init__(
        self, sequence: TruthSequence, frame: int, image_hw: tuple[int, int], kept: float
    ) -> None:
        self._sequence, self.frame = sequence, frame
        picture = sequence.image(frame)
        self.window = centred_window((picture.shape[0], picture.shape[1]), image_hw, kept)
        self.image = self.window.picture(picture)
        self.intrinsics = self.window.lens(sequence.intrinsics(frame))
        self.world_from_camera = sequence.world_from_camera(frame)
        for name, matrix in (("lens", self.intrinsics), ("pose", self.world_from_camera)):
            if not np.isfinite(matrix).all():
                raise InputError(
                    f"{sequence.dataset} has no {name} of frame {frame} of {sequence.name}; leave "
                    "the sequence out"
                )

    @cached_property
    def depth(self) -> Float32[np.ndarray, "height width"]:
        """Of the picture."""
        return self._sequence.depth(self.frame)

    def inside(
        self, world: Float64[np.ndarray, "rows columns xyz=3"]
    ) -> Bool[np.ndarray, "rows columns"]:
        """Which points lie in the sample's image."""
        rows, columns = self.window.image_hw
        xy = project(points_in_camera(world, self.world_from_camera), self.intrinsics)
        # Comparisons with NaN, which is behind the camera, are false.
        return np.all((xy >= 0) & (xy < (columns, rows)), axis=-1)

    def before_all(
        self, world: Float64[np.ndarray, "rows columns xyz=3"]
    ) -> Bool[np.ndarray, "rows columns"]:
        """Which points no depth that is known hides; any answer outside the sample's image."""
        camera = points_in_camera(world, self.world_from_camera)
        xy = np.nan_to_num(project(camera, self.intrinsics)) / self.window.scale
        height, width = self.depth.shape
        column = np.clip(xy[..., 0] + self.window.left, 0, width - 1).astype(np.int64)
        row = np.clip(xy[..., 1] + self.window.top, 0, height - 1).astype(np.int64)
        return np.logical_not(camera[..., 2] > SHOWS_THROUGH * self.depth[row, column])


_Map: TypeAlias = Float32[np.ndarray, "height width xyz=3"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Source:
    """What a sample says of the pixels of one frame; points are in the sequence's world."""

    points: Float64[np.ndarray, "time rows columns xyz=3"]
    valid: Bool[np.ndarray, "rows columns"]
    visible: Bool[np.ndarray, "time rows columns"]
    moving: Bool[np.ndarray, "rows columns"]
    supervised: Bool[np.ndarray, " time"]


def _source(
    sequence: TruthSequence, views: Sequence[_View], place: int, maps: Sequence[_Map | None]
) -> _Source:
    """The truth of the frame at `place` among those of a sample, from its maps."""
    view = views[place]
    told = {time: each for time, each in enumerate(maps) if each is not None}
    known = np.logical_and.reduce([np.isfinite(each).all(axis=-1) for each in told.values()])
    pixel, valid = view.window.chosen(known)
    if not valid.any():
        raise InputError(
            f"{sequence.dataset} has no truth in frame {view.frame} of {sequence.name}; leave the "
            "sequence out"
        )
    points = np.stack([_taken(told.get(time, told[place]), pixel) for time in range(len(views))])
    visible = np.zeros(points.shape[:-1], bool)
    for time in told:
        visible[time] = valid
        if time != place:
            visible[time] &= views[time].inside(points[time])
            if sequence.holds.visible:
                visible[time] &= _taken(sequence.visible(view.frame, views[time].frame), pixel)
            else:
                visible[time] &= views[time].before_all(points[time])
    if len(told) == 1:
        moving = np.zeros_like(valid)
    elif sequence.holds.moving:
        moving = valid & _taken(sequence.moving(view.frame), pixel)
    else:
        far = np.linalg.norm(points - points[place], axis=-1).max(axis=0)
        near = points[place][valid] - view.world_from_camera[:3, 3]
        moving = valid & (far > MOVES * np.linalg.norm(near, axis=-1).mean())
    return _Source(
        points=points,
        valid=valid,
        visible=visible,
        moving=moving,
        supervised=np.isin(np.arange(len(views)), list(told)),
    )


def _maps(
    sequence: TruthSequence,
    frames: Sequence[int],
    place: int,
    supervises: Supervises,
    least_known: float,
) -> list[_Map | None]:
    """The points of a frame at the times of all frames; None where there is no truth."""
    frame, motion = frames[place], sequence.holds.motion
    own = sequence.points(frame, frame)
    if supervises == "own_time" or motion == "own_time":
        return [own if time == frame else None for time in frames]
    if motion == "still":
        return [own for _ in frames]
    least = least_known * np.isfinite(own).all(axis=-1).sum()
    maps: list[_Map | None] = []
    for time in frames:
        points = own if time == frame else sequence.points(frame, time)
        enough = time == frame or np.isfinite(points).all(axis=-1).sum() > least
        maps.append(points if enough else None)
    return maps


def _taken(
    values: Shaped[np.ndarray, "height width *rest"], pixel: Int64[np.ndarray, "rows columns"]
) -> Shaped[np.ndarray, "rows columns *rest"]:
    """A map at some pixels, points in float64."""
    taken = values.reshape(-1, *values.shape[2:])[pixel]
    return taken.astype(np.float64) if taken.dtype.kind == "f" else taken


def _tensor(values: Float64[np.ndarray, "*shape"]) -> Float[Tensor, "1 *shape"]:
    return torch.from_numpy(values.astype(np.float32))[None]
