"""MP4: a video of the cloud while the camera swings about it."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from dynapoint.exports.clouds import MovingCloud, moving_cloud, play_times_s
from dynapoint.exports.discs import draw_points
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.outputs import export_file
from dynapoint.geometry.arrays import typical_depth
from dynapoint.results.reconstruction import Reconstruction

_RATE = 24
_LONGER_SIDE = 720
_SHORTEST_S, _LONGEST_S = 6.0, 60.0
_MOST_POINTS = 200_000
# The camera swings so far to both sides and up and down, and stands back by a share of the
# distance to what it looks at, so that the edges of the scene come into view.
_SWING_RAD, _NOD_RAD, _STEP_BACK = np.radians(16.0), np.radians(5.0), 0.25


def write_mp4(rec: Reconstruction, path: Path, options: ExportOptions) -> None:
    """Write an H.264 video of the fused cloud moving, seen by a camera that swings once about it.

    By 16 degrees to both sides and no full turn: what was filmed from one side has no back, and
    from beyond 45 degrees scenes of one video are not recognised any more. The scene plays
    as often as fills 6 seconds, faster where it is longer than 60. With `options.time`, time
    stands still.

    Raises:
        InputError: The time is no index of a frame used.
        OutputError: `path` exists or cannot be written.
    """
    import av  # noqa: PLC0415 - only videos need it.

    shown = _shown_times(play_times_s(rec, options))
    with export_file(path, ".mp4", overwrite=options.overwrite) as partial:
        cloud = moving_cloud(rec, options, max_points=options.max_points or _MOST_POINTS)
        try:
            with av.open(str(partial), "w", format="mp4") as container:
                stream = container.add_stream("libx264", rate=Fraction(_RATE))
                stream.height, stream.width = _video_hw(rec, cloud.times[0])
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"}
                # Players take untagged video of this size for BT.601 or BT.709 as they please.
                stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
                stream.codec_context.color_primaries = 1
                stream.codec_context.color_trc = 1
                for image in _pictures(rec, cloud, shown):
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
        except av.error.FFmpegError as error:
            raise OSError(error.errno, error.strerror) from error


def _pictures(
    rec: Reconstruction, cloud: MovingCloud, shown: list[int]
) -> Iterator[UInt8[np.ndarray, "height width rgb=3"]]:
    """The pictures of the video."""
    image_hw = _video_hw(rec, cloud.times[0])
    focal_px = float(rec.intrinsics[0, 0, 0] / rec.frames.picture_hw[0, 1] * image_hw[1])
    steps = zip(shown, _swing(rec, cloud, len(shown)), strict=True)
    bar = tqdm(steps, "video", len(shown), disable=not rec.progress, leave=False)
    for index, pose in bar:
        usable = cloud.usable[index]
        yield draw_points(
            cloud.points[index, usable],
            cloud.colors[usable],
            cloud.spacing[usable],
            world_from_camera=pose,
            focal_px=focal_px,
            image_hw=image_hw,
        )


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
    rec: Reconstruction, cloud: MovingCloud, count: int
) -> Float64[np.ndarray, "picture 4 4"]:
    """Poses (world from camera) on a closed curve about what the middle camera looks at."""
    start = rec.world_from_camera[cloud.times[len(cloud.times) // 2]]
    points = cloud.points[cloud.usable].astype(np.float64)
    distance = typical_depth((points - start[:3, 3]) @ start[:3, 2])
    phase = 2 * np.pi * np.arange(count) / count
    angles = np.stack([_SWING_RAD * np.sin(phase), _NOD_RAD * np.sin(2 * phase)], axis=1)
    turns = Rotation.from_euler("yx", angles).as_matrix()
    poses = np.tile(start, (count, 1, 1))
    poses[:, :3, :3] = start[:3, :3] @ turns
    target = start[:3, 3] + distance * start[:3, 2]
    poses[:, :3, 3] = target - (1 + _STEP_BACK) * distance * poses[:, :3, 2]
    return poses
