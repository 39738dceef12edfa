"""Metres by a network that tells depth in metres of single pictures (Depth Anything 3 Metric).

A scene's unit in metres is the network's depth over the scene's own-time depth: the median over the
pixels of a frame, then over frames. Which pixels count is as in the public code's alignment of its
nested networks: no sky, the surer half, 0.01 m and more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from dynapoint.errors import ConfigError, InputError, ModelError
from dynapoint.geometry.arrays import pixel_centres
from dynapoint.inference.predict import device_of
from dynapoint.inference.prepare import network_images, network_size
from dynapoint.models.cards import METRIC_NETWORK
from dynapoint.models.catalog import load_model
from dynapoint.models.da3.config import da3_metric
from dynapoint.models.da3.weights import load_da3_metric
from dynapoint.models.protocol import info_of
from dynapoint.models.weight_files import require_weights
from dynapoint.progress import begin, steps
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.subscene import worlds
from dynapoint.results.undistorted import undistorted_picture
from dynapoint.threads import chosen_threads, computing
from dynapoint.windows.spans import Segment

MOST_FRAMES = 8
"""So many evenly spaced frames of each world are asked about at most."""

_LEAST_METRES = 0.01
# A frame of which fewer pixels can be compared says nothing.
_LEAST_SHARE = 0.01
# Times the median distance from the median, the standard deviation of normal errors.
_SIGMA_OF_MEDIAN_DISTANCE = 1.4826


@runtime_checkable
class MetricNetwork(Protocol):
    """A network that tells depth in metres of single pictures whose focal length is known."""

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        ...

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        ...

    def metres_and_sky(
        self,
        images: Float[Tensor, "batch view rgb=3 height width"],
        focal_px: Float[Tensor, "batch view"],
    ) -> tuple[Float[Tensor, "batch view height width"], Bool[Tensor, "batch view height width"]]:
        """Depth along the axis in metres, and which pixels are sky; the focal length in pixels."""
        ...


@dataclass(frozen=True, kw_only=True)
class WorldScale:
    """How many metres the unit of a world is.

    Attributes:
        metres_per_unit: The median over frames.
        spread: Relative standard deviation of the frames' answers, by their median distance from
            the median; None of one frame. An error that all frames share is not in it.
        frames: How many frames told it.
    """

    metres_per_unit: float
    spread: float | None
    frames: int


def metric_network(given: object, device: str) -> MetricNetwork:
    """The network that tells metres: one that is given, or of its weights (`require_metric`).

    Raises:
        ConfigError: It is something else.
        ModelError: The weights are not here, or do not fit.
    """
    if isinstance(given, str | Path):
        loaded: MetricNetwork = load_model(
            METRIC_NETWORK, weights=_weights_file(given), device=device
        )
        return loaded
    if isinstance(given, MetricNetwork):
        return given
    raise ConfigError(
        f"a value of type {type(given).__name__} tells no metres; give the weights file of "
        f"{METRIC_NETWORK}, or a network with metres_and_sky"
    )


def require_metric(given: object) -> None:
    """Refuse what is not the name of the network that tells metres, a file that fits it, or such.

    Raises:
        ConfigError: It is something else.
        ModelError: The weights are not here, or do not fit.
    """
    if isinstance(given, str | Path):
        # It is mapped, not read, which is quick.
        load_da3_metric(da3_metric(), _weights_file(given))
    else:
        metric_network(given, "cpu")


def _weights_file(given: str | Path) -> Path:
    """The weights file that is given, or that of the network's name."""
    if str(given) == METRIC_NETWORK:
        return require_weights(METRIC_NETWORK, option="--metric-weights")
    if not Path(given).is_file():
        raise ModelError(
            f"no weights file of {METRIC_NETWORK} at {given}; give the path of one, or leave it "
            f"out and run `dynapoint models get {METRIC_NETWORK}`"
        )
    return Path(given)


def world_scales(scene: SceneMaps, network: MetricNetwork) -> tuple[WorldScale | None, ...]:
    """The scale of each world of a scene; None of those that show nothing that has one.

    Raises:
        InputError: No world has one.
    """
    begin("metric scale")
    parts = worlds(scene)
    with computing(chosen_threads(small=False)):
        found = tuple(_world_scale(scene, network, part) for part in parts)
    if all(each is None for each in found):
        raise InputError(
            f"{METRIC_NETWORK} finds nothing but sky, and what the scene is unsure of, in "
            f"{scene.frame_count} frames; use --scale-from distance, or leave it out"
        )
    return found


def settings_of_network(
    network: MetricNetwork, found: Sequence[WorldScale | None]
) -> dict[str, str | int]:
    """What the settings of a scene say of its scale; where there are several worlds, of each."""
    info = info_of(network)
    weights = f" (weights {info.weights_sha256[:12]})" if info.weights_sha256 else ""

    def said(name: str, form: str) -> str:
        values = [None if each is None else getattr(each, name) for each in found]
        return ", ".join("unknown" if value is None else f"{value:{form}}" for value in values)

    return {
        "units": "metres",
        "scale_from": "metric",
        "metres_per_unit": said("metres_per_unit", ".9g"),
        "metres_per_unit_spread": said("spread", ".3g"),
        "scale_frames": said("frames", "d"),
        "scale_network": info.name + weights,
    }


def _world_scale(scene: SceneMaps, network: MetricNetwork, part: Segment) -> WorldScale | None:
    """The scale of one world, by evenly spaced frames."""
    if part.kind == "black":
        return None
    count = 1 if part.kind == "frozen" else min(MOST_FRAMES, part.count)
    chosen = np.round(np.linspace(part.start, part.stop - 1, count)).astype(int).tolist()
    told = [_log_metres_per_unit(scene, network, frame) for frame in steps(chosen, "frame")]
    logs = np.array([each for each in told if each is not None])
    if not len(logs):
        return None
    middle = float(np.median(logs))
    spread = _SIGMA_OF_MEDIAN_DISTANCE * float(np.median(np.abs(logs - middle)))
    return WorldScale(
        metres_per_unit=float(np.exp(middle)),
        spread=spread if len(logs) > 1 else None,
        frames=len(logs),
    )


def _log_metres_per_unit(scene: SceneMaps, network: MetricNetwork, frame: int) -> float | None:
    """Logarithm of the median of metres over units in a frame; None where it shows too little."""
    metres, sky = _at_map_pixels(scene, network, frame)
    shown = scene.pixel_map.shown_pixels(frame)
    units = scene.depth_of(frame).astype(np.float64)
    confidence = scene.own_time_confidence[frame]
    usable = shown & ~sky & (confidence > 0) & (units > 0) & (metres > _LEAST_METRES)
    if usable.any():
        usable &= confidence >= np.median(confidence[usable])
    if usable.sum() < max(1.0, _LEAST_SHARE * usable.size):
        return None
    return float(np.median(np.log(metres[usable] / units[usable])))


def _at_map_pixels(
    scene: SceneMaps, network: MetricNetwork, frame: int
) -> tuple[Float32[np.ndarray, "map_height map_width"], Bool[np.ndarray, "map_height map_width"]]:
    """Metres and sky at the centres of the pixels of a scene's map.

    The network sees the undistorted picture, whose pinhole is the scene's.
    """
    pixel_map, image_side = scene.pixel_map, network.image_side
    height, width = scene.frames.picture_hw[frame].tolist()
    network_hw = network_size((height, width), image_side=image_side, patch_size=network.patch_size)
    picture = undistorted_picture(scene.frames, frame, pixel_map, side=image_side)
    per_pixel = np.array(network_hw[::-1]) / (width, height)
    focal_px = float((scene.intrinsics[frame][[0, 1], [0, 1]] * per_pixel).mean())
    device = device_of(network)
    with torch.inference_mode():
        metres, sky = network.metres_and_sky(
            network_images(np.array(picture)[None], network_hw).to(device),
            torch.full((1, 1), focal_px, device=device),
        )
    straight = (pixel_centres(pixel_map.map_hw) - pixel_map.offset[frame]) / pixel_map.scale[frame]
    last = np.array(network_hw[::-1]) - 1
    column, row = np.moveaxis(np.clip(np.floor(straight * per_pixel), 0, last).astype(int), -1, 0)
    return (
        metres[0, 0].cpu().float().numpy()[row, column],
        sky[0, 0].cpu().numpy()[row, column],
    )
