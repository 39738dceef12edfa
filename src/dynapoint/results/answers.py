"""Everything that follows from the point maps of a scene: methods of a `Reconstruction`.

Each fetches the maps that one function of `dynapoint.reductions` needs, calls it, and gives its
result with NumPy arrays. Places in images (`xy`, `xy_px`, `flow_px`), asked for and answered, are
in pixels of the ORIGINAL images; arrays of an answer for each pixel, masks, rows and columns are
those of the maps (`rec.map_hw`, `rec.pixel_map`). Points and lengths are in the world (the camera
of frame 0) and in scene units. `frame` is whose pixels; `time`, `from_time` and `to_time` are when
their points are asked for, given by the index of the frame seen then. Torch and the reductions are
loaded when something is asked, so that opening a scene is quick.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from jaxtyping import Float32

from dynapoint.results.asking import as_numpy, as_tensor, map_pictures, maps_of_frames
from dynapoint.results.camera_answers import CameraAnswers
from dynapoint.results.motion_answers import MotionAnswers

if TYPE_CHECKING:
    from dynapoint.reductions.fusion import FusedCloud
    from dynapoint.reductions.self_check import SelfCheck


class Answers(CameraAnswers, MotionAnswers):
    """What can be asked of a `Reconstruction` beyond its maps."""

    def fuse(
        self: Any,
        *,
        time: SupportsIndex,
        voxel_size: float | None = None,
        max_points: int | None = None,
    ) -> "FusedCloud":
        """All frames at one time as one cloud, each piece of surface once, motion undone."""
        from dynapoint.reductions.fusion import fuse  # noqa: PLC0415

        moment = self._checked_index(time, "time")
        points, confidence = maps_of_frames(self, range(self.frame_count), moment)
        return as_numpy(
            fuse(
                [as_tensor(frame) for frame in points],
                as_tensor(confidence),
                as_tensor(map_pictures(self)),
                voxel_size=voxel_size,
                max_points=max_points,
            )
        )

    def background(
        self: Any, *, voxel_size: float | None = None, max_points: int | None = None
    ) -> "FusedCloud":
        """What stands still, of all frames, as one cloud.

        A pixel's stillness is judged between its own time and the first and last times.
        """
        from dynapoint.reductions.fusion import fuse  # noqa: PLC0415

        return as_numpy(
            fuse(
                [as_tensor(frame) for frame in self.own_time_points],
                as_tensor(self.own_time_confidence),
                as_tensor(map_pictures(self)),
                static=as_tensor(np.float32(1) - moving_at_ends(self)),
                voxel_size=voxel_size,
                max_points=max_points,
            )
        )

    def self_check(self: Any) -> "SelfCheck":
        """How far the scene agrees with itself, and a grade from 0 to 1, without ground truth."""
        from dynapoint.results.checks import check  # noqa: PLC0415

        return check(self)


def moving_at_ends(
    rec: Any, frames: Sequence[int] | None = None
) -> Float32[np.ndarray, "frame map_height map_width"]:
    """The larger probability, for each pixel of some frames or all, of motion to either end.

    That is, to the first or the last time; frames are decoded together, once for each.
    """
    from dynapoint.reductions.segmentation import segment_pair  # noqa: PLC0415

    chosen = list(range(rec.frame_count)) if frames is None else list(frames)
    moving = np.zeros((len(chosen), *rec.map_hw), dtype=np.float32)
    for time in {0, rec.frame_count - 1}:
        points, confidence = maps_of_frames(rec, chosen, time)
        for place, frame in enumerate(chosen):
            if frame == time:
                continue
            found = segment_pair(
                as_tensor(rec.own_time_points[frame]),
                as_tensor(points[place]),
                world_from_camera=as_tensor(rec.world_from_camera[frame].astype(np.float32)),
                confidence_from=as_tensor(rec.own_time_confidence[frame]),
                confidence_to=as_tensor(confidence[place]),
            ).probability.numpy()
            np.maximum(moving[place], found, out=moving[place])
    return moving
