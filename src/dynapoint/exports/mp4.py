"""MP4: a video of the cloud while the camera swings about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from scipy.spatial.transform import Rotation

from dynapoint.exports.clouds import moving_cloud, own_spacing, own_time_cloud, play_times_s
from dynapoint.exports.discs import draw_points
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file
from dynapoint.geometry.arrays import typical_depth
from dynapoint.progress import steps
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.thinning import even_choice

_RATE = 24
_LONGER_SIDE = 720
_SHORTEST_S, _LONGEST_S = 6.0, 60.0
_MOST_POINTS = 200_000
# The distance of a cloud is that at so many times.
_MEASURED = 24


@dataclass(frozen=True, kw_only=True)
class _Moment:
    """What is drawn of one time."""

    points: Float32[np.ndarray, "point xyz=3"]
    colors: UInt8[np.ndarray, "point rgb=3"]
    spacing: Float32[np.ndarray, " point"]


# The camera swings so far to both sides and up and down, and stands back by a share of the
# distance to what it looks at, so that the edges of the scene come into view.
_SWING_RAD, _NOD_RAD, _STEP_BACK = np.radians(16.0), np.radians(5.0), 0.25


def write_mp4(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write an H.264 video of the scene moving, seen by a camera that swings once about it.

    Of all frames fused, or of each frame's own pixels at its time where fusion would show ghosts.

    By 16 degrees to both sides and no full turn: what was filmed from one side has no back, and
    from beyond 45 degrees scenes of one video are not recognised any more. The scene plays
    as often as fills 6 seconds, faster where it is longer than 60. With `options.time`, time
    stands still.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    import av  # noqa: PLC0415 - only videos need it.

    times, shown = options.times(rec), _shown_times(play_times_s(rec, options))
    with export_file(path, ".mp4", overwrite=options.overwrite) as partial:
        own = options.shows_own(rec)
        moments = _moments(rec, options, own=own)
        poses = _swing(rec, moments, times, shown, own=own)
        try:
            with av.open(str(partial), "w", format="mp4") as container:
                stream = container.add_stream("libx264", rate=Fraction(_RATE))
                stream.height, stream.width = hw = _video_hw(rec, times[0])
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
                # Players take untagged video of this size for BT.601 or BT.709 as they please.
                stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
                stream.codec_context.color_primaries = 1
                stream.codec_context.color_trc = 1
                for image in _pictures(rec, moments, shown, poses, hw):
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
        except av.error.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error


def _pictures(
    rec: Reconstruction,
    moments: list[_Moment],
    shown: list[int],
    poses: Float64[np.ndarray, "picture 4 4"],
    image_hw: tuple[int, int],
) -> Iterator[UInt8[np.ndarray, "height width rgb=3"]]:
    """The pictures of the video."""
    focal_px = float(rec.intrinsics[0, 0, 0] / rec.frames.picture_hw[0, 1] * image_hw[1])
    views = list(zip(shown, poses, strict=True))
    for index, pose in steps(views, "pictures of the video", wanted=rec.progress):
        yield draw_points(
            moments[index].points,
            moments[index].colors,
            moments[index].spacing,
            world_from_camera=pose,
            focal_px=focal_px,
            image_hw=image_hw,
        )


def _moments(rec: Reconstruction, options: ExportOptions, *, own: bool) -> list[_Moment]:
    """What is drawn of each time."""
    if own:
        clouds = [
            own_time_cloud(rec, time, options.with_points(_MOST_POINTS))
            for time in options.times(rec)
        ]
        return [
            _Moment(
                points=cloud.points,
                colors=cloud.colors,
                spacing=own_spacing(rec, time, cloud.points),
            )
            for time, cloud in zip(options.times(rec), clouds, strict=True)
        ]
    cloud = moving_cloud(rec, options, max_points=options.max_points or _MOST_POINTS)
    return [
        _Moment(points=points[usable], colors=cloud.colors[usable], spacing=cloud.spacing[usable])
        for points, usable in zip(cloud.points, cloud.usable, strict=True)
    ]


def _shown_times(begins_s: Float64[np.ndarray, " moment"]) -> list[int]:
    """For each picture of the video the index of the time that it shows."""
    length_s = float(begins_s[-1])
    whole_s = max(1, int(np.ceil(_SHORTEST_S / length_s))) * length_s
    pace = max(1.0, whole_s / _LONGEST_S)
    moments = np.arange(max(1, round(whole_s / pace * _RATE))) / _RATE * pace % length_s
    index = np.searchsorted(begins_s, moments + 1e-9, side="right") - 1
    return [int(time) for time in index.clip(0, len(begins_s) - 2)]


def _video_hw(rec: Reconstruction, frame: int) -> tuple[int, int]:
    """(height, width) with the aspect of a frame, even as H.264 wants it."""
    sides = rec.frames.picture_hw[frame].astype(np.float64)
    height, width = np.maximum(2, np.round(sides / sides.max() * _LONGER_SIDE / 2) * 2)
    return int(height), int(width)


def _swing(
    rec: Reconstruction,
    moments: list[_Moment],
    times: list[int],
    shown: list[int],
    *,
    own: bool,
) -> Float64[np.ndarray, "picture 4 4"]:
    """Poses (world from camera) that swing about what the middle camera looks at.

    About what each frame's own camera looks at where its `own` pixels are shown, which may be
    nowhere near the middle one's.
    """
    starts = rec.world_from_camera[times]
    if own:
        distances = np.array(
            [_distance(one.points, start) for one, start in zip(moments, starts, strict=True)]
        )
    else:
        starts = np.tile(starts[len(times) // 2], (len(times), 1, 1))
        some = even_choice(len(moments), _MEASURED)
        points = np.concatenate([moments[place].points for place in some])
        distances = np.full(len(times), _distance(points, starts[0]))
    starts, distance = starts[shown], distances[shown][:, None]
    phase = 2 * np.pi * np.arange(len(shown)) / len(shown)
    angles = np.stack([_SWING_RAD * np.sin(phase), _NOD_RAD * np.sin(2 * phase)], axis=1)
    turns = Rotation.from_euler("yx", angles).as_matrix()
    poses = starts.copy()
    poses[:, :3, :3] = starts[:, :3, :3] @ turns
    target = starts[:, :3, 3] + distance * starts[:, :3, 2]
    poses[:, :3, 3] = target - (1 + _STEP_BACK) * distance * poses[:, :3, 2]
    return poses


def _distance(
    points: Float32[np.ndarray, "point xyz=3"], pose: Float64[np.ndarray, "4 4"]
) -> float:
    """How far points usually lie before a camera."""
    return typical_depth((points.astype(np.float64) - pose[:3, 3]) @ pose[:3, 2])
