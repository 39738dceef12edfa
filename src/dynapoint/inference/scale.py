"""Making a reconstruction metric by something whose length is known."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped

from dynapoint.data.depths import measured_depth
from dynapoint.data.frames import Frames
from dynapoint.data.images import same_aspect
from dynapoint.errors import ConfigError, InputError
from dynapoint.geometry.arrays import pixel_centres, typical_depth
from dynapoint.geometry.similarity import (
    fit_similarity_robustly,
    split_similarity,
    weighted_median,
)
from dynapoint.inference.given_lengths import read_depth, read_distance, read_trajectory
from dynapoint.inference.metric_scale import (
    MetricNetwork,
    metric_network,
    require_metric,
    settings_of_network,
    world_scales,
)
from dynapoint.inference.predict import NetworkDecoder
from dynapoint.models.cards import METRIC_NETWORK
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.subscene import worlds

ScaleSource = Literal["depth", "trajectory", "distance", "metric"]
SCALE_SOURCES: tuple[str, ...] = get_args(ScaleSource)
ScaleValue = str | Path | MetricNetwork
GivenScale = tuple[ScaleSource, ScaleValue] | Literal["metric"]
"""What makes lengths metres, as users write it: "metric" is METRIC_NETWORK by its name."""

# A camera that moves less than this share of the scene's depth says nothing of its size.
_LEAST_MOTION = 1e-3
# Poses are those of a frame if they are at most this far from it.
_SAME_TIME_S = 0.02


@dataclass(frozen=True, kw_only=True)
class FoundScale:
    """How many metres the units of a scene are.

    Attributes:
        of_worlds: Of each world of the scene; 1 where it is not known.
        settings: What the settings of the scene in metres say.
    """

    of_worlds: tuple[float, ...]
    settings: dict[str, str | int]


def told_scale(given: Any) -> tuple[ScaleSource, ScaleValue] | None:
    """What was given, as a kind and a value.

    Raises:
        ConfigError: It is no such pair.
    """
    if given == "metric":
        return "metric", METRIC_NETWORK
    if given is None:
        return None
    if isinstance(given, tuple | list) and len(given) == 2:
        return given[0], given[1]
    raise ConfigError(
        f"scale_from is {given!r}; give (kind, value) with one of {', '.join(SCALE_SOURCES)}, or "
        "'metric' alone"
    )


def make_metric(
    reconstruction: Reconstruction, scale_from: ScaleSource, value: ScaleValue
) -> Reconstruction:
    """The same reconstruction, which has one world, with points and translations in metres.

    Args:
        reconstruction: As a network made it.
        scale_from: What `value` is: "depth", the depth in metres of frame 0, or of each frame, as a
            .npy file (frame, height, width) or points in the frames' cameras, or a 16-bit image in
            millimetres (`depth_scale`); "trajectory", a file of true camera positions in TUM's
            format (`trajectory_scale`); "distance", "frame,x1,y1,x2,y2,metres" (`distance_scale`);
            "metric", the network that tells metres (`metric_scale.metric_network`).
        value: A path, the six numbers, or a network.

    Raises:
        ConfigError: `scale_from` is something else.
        InputError: What was given cannot be read, does not fit the frames, or says nothing of the
            scale.
        ModelError: There are no weights that tell metres.
    """
    found = find_scale(reconstruction, scale_from, value)
    metric = scaled(reconstruction, found.of_worlds[0], scale_from=scale_from)
    return replace(metric, settings={**reconstruction.settings, **found.settings})


def find_scale(
    reconstruction: Reconstruction, scale_from: ScaleSource, value: ScaleValue
) -> FoundScale:
    """How many metres the units of a scene are, by what `make_metric` takes.

    Only "metric" knows the unit of each world; what the others find of one counts for all.

    Raises:
        ConfigError, InputError, ModelError: As `make_metric`.
    """
    _check_kind(scale_from)
    if scale_from == "metric":
        device = str(reconstruction.settings.get("device", "cpu"))
        network = metric_network(value, device)
        told = world_scales(reconstruction, network)
        return FoundScale(
            of_worlds=tuple(1.0 if each is None else each.metres_per_unit for each in told),
            settings=settings_of_network(network, told),
        )
    if scale_from == "depth":
        factor = depth_scale(reconstruction, Path(str(value)))
    elif scale_from == "trajectory":
        factor = trajectory_scale(reconstruction, Path(str(value)))
    else:
        factor = distance_scale(reconstruction, str(value))
    return FoundScale(
        of_worlds=(factor,) * len(worlds(reconstruction)),
        settings=_settings(scale_from, factor),
    )


def _settings(scale_from: ScaleSource, factor: float) -> dict[str, str | int]:
    return {
        "units": "metres",
        "scale_from": scale_from,
        "metres_per_unit": f"{factor:.9g}",
    }


def read_scale(scale_from: str, value: ScaleValue) -> None:
    """Raise what `make_metric` would of what was given, before there is a reconstruction."""
    _check_kind(scale_from)
    if scale_from == "metric":
        require_metric(value)
    elif scale_from == "depth":
        read_depth(Path(str(value)))
    elif scale_from == "trajectory":
        read_trajectory(Path(str(value)))
    else:
        read_distance(str(value))


def check_scale(frames: Frames, scale_from: str, value: ScaleValue) -> None:
    """Raise what `make_metric` would of what was given and of these frames."""
    path = Path(str(value))
    if scale_from == "depth":
        _frames_with_depth(frames, len(read_depth(path)), path)
    elif scale_from == "trajectory":
        _matched(frames, read_trajectory(path)[:, 0], path)
    elif scale_from == "distance":
        frame, ends_px, _ = read_distance(str(value))
        if not 0 <= frame < frames.count:
            raise InputError(
                f"distance {value!r} speaks of frame {frame} but the {frames.count} frames used "
                f"are 0 to {frames.count - 1}"
            )
        height, width = frames.picture_hw[frame].tolist()
        if not all(0 <= x <= width and 0 <= y <= height for x, y in ends_px):
            raise InputError(
                f"distance {value!r}: a pixel lies outside frame {frame}, which is "
                f"{width}x{height}; give two places in it"
            )


def _check_kind(scale_from: str) -> None:
    if scale_from not in SCALE_SOURCES:
        raise ConfigError(f"unknown scale source {scale_from!r}; give {', '.join(SCALE_SOURCES)}")


def scaled(
    reconstruction: Reconstruction, factor: float, *, scale_from: ScaleSource
) -> Reconstruction:
    """The reconstruction with all lengths multiplied, recorded in its settings."""
    decoder = reconstruction.decoder
    if not isinstance(decoder, NetworkDecoder):
        raise ConfigError("only a reconstruction that a network has just made can be scaled")
    poses = reconstruction.world_from_camera.copy()
    poses[:, :3, 3] *= factor
    decoder = decoder.scaled(factor)
    return replace(
        reconstruction,
        world_from_camera=poses,
        own_time_points=decoder.own_time_points,
        decoder=decoder,
        settings={**reconstruction.settings, **_settings(scale_from, factor)},
    )


def depth_scale(reconstruction: Reconstruction, path: Path) -> float:
    """Metres per unit: the median ratio of true to predicted depth, weighted by confidence.

    The file holds depths along the cameras' axes, of frame 0, of all frames of the source or of
    those used, in any resolution of the frames' aspect; what stands where nothing was measured is
    no depth (`data.depths`).

    Raises:
        InputError: See `make_metric`.
    """
    true_depth = read_depth(path)
    frames = reconstruction.frames
    pairs = _frames_with_depth(frames, len(true_depth), path)
    ratios, weights = [np.zeros(0)], [np.zeros(0)]
    for frame, place in pairs:
        metres = _depth_at_map_pixels(reconstruction, frame, true_depth[place], path)
        units = reconstruction.own_time_depth[frame].astype(np.float64)
        confidence = reconstruction.own_time_confidence[frame].astype(np.float64)
        usable = np.isfinite(metres) & (units > 0) & (confidence > 0)
        ratios.append(metres[usable] / units[usable])
        weights.append(confidence[usable])
    ratio, weight = np.concatenate(ratios), np.concatenate(weights)
    if not len(ratio):
        raise InputError(
            f"{path} has no positive depth where the reconstruction has one; give depths in metres"
        )
    return float(weighted_median(torch.from_numpy(ratio), torch.from_numpy(weight)))


def trajectory_scale(reconstruction: Reconstruction, path: Path) -> float:
    """Metres per unit: the scale of the similarity that lays camera positions on the true ones.

    Each line of the file is `time x y z qx qy qz qw` (TUM RGB-D), in metres; only positions are
    used. Lines belong to the frames of the source (or those used) in order where they are as many,
    otherwise to the frames whose timestamps are theirs.

    Raises:
        InputError: See `make_metric`; also where the camera hardly moves.
    """
    lines = read_trajectory(path)
    chosen, line_of = _matched(reconstruction.frames, lines[:, 0], path)
    true = torch.from_numpy(lines[line_of, 1:4])
    estimated = torch.from_numpy(reconstruction.world_from_camera[chosen, :3, 3].copy())
    least_motion = _LEAST_MOTION * typical_depth(reconstruction.own_time_depth)
    if (
        float((estimated - estimated.mean(dim=0)).norm(dim=1).max()) < least_motion
        or float((true - true.mean(dim=0)).norm(dim=1).max()) == 0
    ):
        raise InputError(
            f"the camera hardly moves in the {len(chosen)} frames that {path} has positions of, "
            "which says nothing of the scale; use --scale-from depth or distance"
        )
    weight = torch.ones(1, len(true), dtype=torch.float64)
    matrix = fit_similarity_robustly(estimated[None], true[None], weight)
    return float(split_similarity(matrix)[0])


def distance_scale(reconstruction: Reconstruction, text: str) -> float:
    """Metres per unit: the known distance between the points at two pixels of a frame.

    Args:
        reconstruction: Asked for the two points at the frame's own time.
        text: "frame,x1,y1,x2,y2,metres": the index of a frame used, two places in original pixels
            (of its file, where it was brought to another size) and the distance.

    Raises:
        InputError: See `make_metric`.
    """
    frame, ends_px, metres = read_distance(text)
    xy = np.array(ends_px)
    if 0 <= frame < reconstruction.frames.count:
        xy = xy * reconstruction.frames.scale_of_given[frame]
    answer = reconstruction.query(frame=frame, xy=xy, time=frame)
    if not (answer.valid & (answer.confidence > 0)).all():
        raise InputError(f"distance {text!r}: one of the pixels lies where nothing is known")
    units = float(np.linalg.norm(answer.points[0].astype(np.float64) - answer.points[1]))
    if not units > 0:
        raise InputError(f"distance {text!r}: the two pixels show the same point; give others")
    return metres / units


def _frames_with_depth(frames: Frames, given: int, path: Path) -> list[tuple[int, int]]:
    """Which frames have a depth, and which of those given it is."""
    if given == frames.source_count:
        return list(enumerate(frames.source_frame_index.tolist()))
    if given in (1, frames.count):
        return [(frame, frame) for frame in range(given)]
    raise InputError(
        f"{path} holds the depth of {given} frames but the source has "
        f"{frames.source_count}; give that of the first frame or of all"
    )


def _depth_at_map_pixels(
    reconstruction: Reconstruction,
    frame: int,
    true_depth: Shaped[np.ndarray, "height width"],
    path: Path,
) -> Float64[np.ndarray, "map_height map_width"]:
    """The true depth at the centres of a map's pixels; NaN where the map shows nothing."""
    pixel_map = reconstruction.pixel_map
    height, width = true_depth.shape
    picture_height, picture_width = pixel_map.picture_hw[frame].tolist()
    if not same_aspect((height, width), (picture_height, picture_width)):
        raise InputError(
            f"{path} holds depths of {width}x{height} for frames of {picture_width}x"
            f"{picture_height}; give depths of the frames' aspect"
        )
    place = np.nan_to_num(pixel_map.to_picture(frame, pixel_centres(pixel_map.map_hw)))
    x = place[..., 0] * width / picture_width
    y = place[..., 1] * height / picture_height
    columns = np.clip(np.floor(x).astype(np.int64), 0, width - 1)
    rows = np.clip(np.floor(y).astype(np.int64), 0, height - 1)
    there = measured_depth(true_depth[rows, columns])
    return np.where(pixel_map.shown_pixels(frame), there, np.nan)


def _matched(
    frames: Frames, times_s: Float64[np.ndarray, " pose"], path: Path
) -> tuple[Int64[np.ndarray, " matched"], Int64[np.ndarray, " matched"]]:
    """Frames that have a true position, and which line that is."""
    every = np.arange(frames.count)
    if len(times_s) == frames.source_count:
        chosen, line_of = every, frames.source_frame_index
    elif len(times_s) == frames.count:
        chosen, line_of = every, every
    else:
        apart = np.abs(times_s - frames.timestamps_s[:, None])
        apart = np.where(np.isfinite(apart), apart, np.inf)
        line_of = apart.argmin(axis=1)
        chosen = np.flatnonzero(apart.min(axis=1) <= _SAME_TIME_S)
        line_of = line_of[chosen]
    if len(chosen) < 2:
        raise InputError(
            f"trajectory {path} has positions of {len(chosen)} of {frames.count} frames, 2 are "
            "needed; give one line for each frame of the source, or times that are the frames'"
        )
    return chosen, line_of
