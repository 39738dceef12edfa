"""Everything that follows from the point maps of a scene: methods of a `Reconstruction`.

Each fetches the maps that one function of `dynapoint.reductions` needs, calls it, and gives its
result with NumPy arrays. Pixels of these answers are pixels of the maps (`rec.map_hw`), not of the
original images, unless a method says so; places and lengths are in the world (the camera of frame
0) and in scene units.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import ArrayLike
from PIL import Image

from dynapoint.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from dynapoint.reductions.camera_motion import (
        CameraDisagreement,
        PnpCameraMotion,
        ProcrustesCameraMotion,
    )
    from dynapoint.reductions.correspondence import Correspondence
    from dynapoint.reductions.flow import ObjectFlow, OpticalFlow, SceneFlow
    from dynapoint.reductions.fusion import FusedCloud
    from dynapoint.reductions.instances import MovingObjects
    from dynapoint.reductions.intrinsics import FittedIntrinsics
    from dynapoint.reductions.segmentation import MotionSegmentation

Result = TypeVar("Result")


class Answers:
    """What can be asked of a `Reconstruction` beyond its maps.

    Torch and the reductions are loaded when something is asked, so that opening a scene is quick.
    """

    def fit_intrinsics(
        self: Any, *, shared: bool = True, principal_point: bool = False
    ) -> "FittedIntrinsics":
        """The focal lengths under which own-time points fall on their pixels.

        Args:
            shared: One answer for all frames.
            principal_point: Fit it as well; by default it is that of the intrinsics at hand.

        Returns:
            Intrinsics in pixels of the ORIGINAL images, one per frame; the residual is in map
            pixels.
        """
        from dynapoint.reductions import intrinsics as fitting  # noqa: PLC0415

        cameras = _tensor(np.stack([camera_points(self, k) for k in range(self.frame_count)]))
        weight = _tensor(self.own_time_confidence)
        if principal_point:
            fitted = fitting.fit_focal_and_principal_point(
                cameras, weight, square_pixels=False, shared=shared
            )
        else:
            x, y = self.map_intrinsics[0, :2, 2].tolist()
            fitted = fitting.fit_focal(
                cameras, weight, principal_point_px=(x, y), square_pixels=False, shared=shared
            )
        fitted = as_numpy(fitted)
        matrices = np.linalg.inv(self.pixel_map.map_from_image) @ fitted.intrinsics
        return replace(fitted, intrinsics=matrices.astype(np.float32))

    def camera_motion(self: Any) -> "PnpCameraMotion":
        """Cameras by robust perspective-n-point on every frame's own pixels at their own time.

        Movers do no harm, because a frame sees all its pixels at one time.
        """
        from dynapoint.reductions.camera_motion import camera_motion_by_pnp  # noqa: PLC0415

        return as_numpy(
            camera_motion_by_pnp(
                _tensor(self.own_time_points),
                _tensor(self.own_time_confidence),
                _tensor(self.map_intrinsics.astype(np.float32)),
                start_world_from_camera=_tensor(self.world_from_camera.astype(np.float32)),
            )
        )

    def camera_motion_by_procrustes(
        self: Any, *, time: SupportsIndex = 0
    ) -> "ProcrustesCameraMotion":
        """Cameras in the papers' form: still pixels of all frames at one time, laid on each other.

        The points in the frame's own camera are its own-time map seen from the estimated pose, so
        this asks whether what the network says of one common time agrees with its cameras.
        """
        from dynapoint.reductions.camera_motion import camera_motion_by_procrustes  # noqa: PLC0415

        points, confidence = self.maps_at(time=time)
        own = np.stack([camera_points(self, frame) for frame in range(self.frame_count)])
        moving = [
            self.motion_between(frame=frame, from_time=frame, to_time=time).probability
            for frame in range(self.frame_count)
        ]
        return as_numpy(
            camera_motion_by_procrustes(
                _tensor(points),
                _tensor(own),
                _tensor(np.minimum(confidence, self.own_time_confidence)),
                moving=_tensor(np.stack(moving)),
            )
        )

    def camera_disagreement(
        self: Any, *, method: Literal["pnp", "procrustes"] = "pnp"
    ) -> "CameraDisagreement":
        """How far the cameras of the scene and those solved from its maps differ."""
        from dynapoint.reductions.camera_motion import camera_disagreement  # noqa: PLC0415

        motion = self.camera_motion() if method == "pnp" else self.camera_motion_by_procrustes()
        depth = self.own_time_depth[self.own_time_depth > 0]
        return as_numpy(
            camera_disagreement(
                _tensor(self.world_from_camera),
                _tensor(motion.world_from_camera.astype(np.float64)),
                scene_depth=float(np.median(depth)) if depth.size else 1.0,
            )
        )

    def object_flow(
        self: Any,
        *,
        frame: SupportsIndex,
        to_time: SupportsIndex,
        from_time: SupportsIndex | None = None,
    ) -> "ObjectFlow":
        """How the points of a frame's pixels move in the world; from its own time by default."""
        from dynapoint.reductions.flow import object_flow  # noqa: PLC0415

        start, end = _two_times(self, frame, from_time, to_time)
        return as_numpy(
            object_flow(start[0], end[0], confidence_from=start[1], confidence_to=end[1])
        )

    def scene_flow(
        self: Any,
        *,
        frame: SupportsIndex,
        to_time: SupportsIndex,
        from_time: SupportsIndex | None = None,
    ) -> "SceneFlow":
        """How they move as seen by the moving camera, in the camera of each time."""
        from dynapoint.reductions.flow import scene_flow  # noqa: PLC0415

        start, end = _two_times(self, frame, from_time, to_time)
        begin = frame if from_time is None else from_time
        poses = _tensor(self.world_from_camera.astype(np.float32))
        return as_numpy(
            scene_flow(
                start[0],
                end[0],
                world_from_camera_from=poses[begin],
                world_from_camera_to=poses[to_time],
                confidence_from=start[1],
                confidence_to=end[1],
            )
        )

    def optical_flow(self: Any, *, frame: SupportsIndex, to_frame: SupportsIndex) -> "OpticalFlow":
        """Where the points of a frame's pixels appear in another frame, less the pixel itself."""
        from dynapoint.reductions.flow import optical_flow  # noqa: PLC0415

        points, confidence = self.maps(frame=frame, time=to_frame)
        return as_numpy(
            optical_flow(
                _tensor(points),
                world_from_camera_to=_tensor(self.world_from_camera[to_frame].astype(np.float32)),
                intrinsics_to=_tensor(self.map_intrinsics[to_frame].astype(np.float32)),
                confidence_to=_tensor(confidence),
            )
        )

    def motion_between(
        self: Any,
        *,
        frame: SupportsIndex,
        to_time: SupportsIndex,
        from_time: SupportsIndex | None = None,
    ) -> "MotionSegmentation":
        """How likely each pixel's point moved between two times."""
        from dynapoint.reductions.segmentation import segment_pair  # noqa: PLC0415

        start, end = _two_times(self, frame, from_time, to_time)
        return as_numpy(
            segment_pair(
                start[0],
                end[0],
                world_from_camera=_tensor(self.world_from_camera[frame].astype(np.float32)),
                confidence_from=start[1],
                confidence_to=end[1],
            )
        )

    def motion(self: Any, *, frame: SupportsIndex = 0) -> "MotionSegmentation":
        """How likely each pixel's point moved at all during the clip."""
        from dynapoint.reductions.segmentation import segment_clip  # noqa: PLC0415

        tracks = self.tracks(frame=frame)
        return as_numpy(
            segment_clip(
                _tensor(tracks.points),
                own_time=int(frame),
                world_from_camera=_tensor(self.world_from_camera[frame].astype(np.float32)),
                confidence=_tensor(tracks.confidence),
            )
        )

    def objects(
        self: Any, *, frames: Sequence[int] | None = None, time: SupportsIndex = 0
    ) -> "MovingObjects":
        """Masks of what moves, one id for one thing in all of `frames`, which are joined at `time`.

        All frames by default, for which every frame is decoded at every time.
        """
        import torch  # noqa: PLC0415

        from dynapoint.reductions.instances import moving_objects, moving_regions  # noqa: PLC0415

        chosen = list(range(self.frame_count)) if frames is None else list(frames)
        if not chosen:
            raise InputError("no frame is given to look for objects in; give at least one")
        regions, likely = [], []
        for frame in chosen:
            tracks = self.tracks(frame=frame)
            probability = _tensor(self.motion(frame=frame).probability)
            found = moving_regions(
                _tensor(tracks.points),
                probability,
                own_time=int(frame),
                world_from_camera=_tensor(self.world_from_camera[frame].astype(np.float32)),
                confidence=_tensor(tracks.confidence),
            )
            regions.append(found.region)
            likely.append(probability)
        points, confidence = self.maps_at(time=time)
        return as_numpy(
            moving_objects(
                torch.stack(regions),
                _tensor(points[chosen]),
                torch.stack(likely),
                confidence=_tensor(confidence[chosen]),
            )
        )

    def match(
        self: Any,
        *,
        frame: SupportsIndex,
        to_frame: SupportsIndex,
        xy: ArrayLike | None = None,
        time: SupportsIndex | None = None,
    ) -> "Correspondence":
        """Where places of a frame are in another, moving parts included.

        Args:
            frame: Frame a, whose places are searched for.
            to_frame: Frame b.
            xy: (n, 2) places in pixels of a's MAP; None for all pixels of the map.
            time: The common time at which the two meet; that of frame b by default.
        """
        from dynapoint.reductions.correspondence import match_pixels, match_places  # noqa: PLC0415

        moment = to_frame if time is None else time
        maps = [
            _tensor(array)
            for index in (frame, to_frame)
            for array in self.maps(frame=index, time=moment)
        ]
        if xy is None:
            return as_numpy(match_pixels(*maps))
        places = _tensor(np.asarray(xy, dtype=np.float32).reshape(-1, 2))
        return as_numpy(match_places(places, *maps))

    def fuse(
        self: Any,
        *,
        time: SupportsIndex,
        voxel_size: float | None = None,
        max_points: int | None = None,
    ) -> "FusedCloud":
        """All frames at one time as one cloud, each piece of surface once, motion undone."""
        from dynapoint.reductions.fusion import fuse  # noqa: PLC0415

        points, confidence = self.maps_at(time=time)
        return as_numpy(
            fuse(
                _tensor(points),
                _tensor(confidence),
                _tensor(map_pictures(self)),
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
                _tensor(self.own_time_points),
                _tensor(self.own_time_confidence),
                _tensor(map_pictures(self)),
                static=_tensor(1 - moving_at_ends(self)),
                voxel_size=voxel_size,
                max_points=max_points,
            )
        )


def as_numpy(result: Result) -> Result:
    """The same result with NumPy arrays where it holds tensors."""
    arrays = {
        field.name: value.detach().cpu().numpy()
        for field in fields(result)  # type: ignore[arg-type]
        if hasattr(value := getattr(result, field.name), "detach")
    }
    return replace(result, **arrays)  # type: ignore[type-var]


def camera_points(rec: Any, frame: int) -> Float32[np.ndarray, "map_height map_width xyz=3"]:
    """A frame's own-time map in its own camera, by the scene's pose."""
    pose = rec.world_from_camera[frame]
    points = (rec.own_time_points[frame].astype(np.float64) - pose[:3, 3]) @ pose[:3, :3]
    return points.astype(np.float32)


def map_pictures(rec: Any) -> UInt8[np.ndarray, "frame map_height map_width rgb=3"]:
    """What the maps show of the frames, a colour for every pixel of the maps."""
    from dynapoint.results.pictures import picture_in_map  # noqa: PLC0415 - it imports us.

    size = rec.map_hw[::-1]
    return np.stack(
        [
            np.asarray(picture_in_map(rec, frame, size, Image.Resampling.BOX))
            for frame in range(rec.frame_count)
        ]
    )


def moving_at_ends(rec: Any) -> Float32[np.ndarray, "frame map_height map_width"]:
    """The larger probability, for each pixel, of motion towards the first and the last time."""
    moving = np.zeros(rec.own_time_confidence.shape, dtype=np.float32)
    for frame in range(rec.frame_count):
        for time in {0, rec.frame_count - 1} - {frame}:
            found = rec.motion_between(frame=frame, to_time=time).probability
            np.maximum(moving[frame], found, out=moving[frame])
    return moving


def _two_times(
    rec: Any, frame: SupportsIndex, from_time: SupportsIndex | None, to_time: SupportsIndex
) -> "tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]":
    """Points and confidence of one frame at two times."""
    begin = frame if from_time is None else from_time
    start, end = (rec.maps(frame=frame, time=time) for time in (begin, to_time))
    return (_tensor(start[0]), _tensor(start[1])), (_tensor(end[0]), _tensor(end[1]))


def _tensor(array: np.ndarray) -> "Tensor":
    """A tensor of an array, sharing its memory where it may be written to."""
    import torch  # noqa: PLC0415 - opening a scene does not need it.

    return torch.from_numpy(array if array.flags.writeable else array.copy())
