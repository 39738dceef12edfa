"""Running a network over frames: encode once, decode the times asked for."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from dynapoint.data.frames import Frames
from dynapoint.errors import ModelError
from dynapoint.inference.cleaning import (
    clean_intrinsics,
    clean_maps,
    clean_poses,
    ray_fallback,
)
from dynapoint.inference.prepare import network_images, network_size, original_intrinsics
from dynapoint.results.reconstruction import Reconstruction

if TYPE_CHECKING:
    from dynapoint.models.protocol import PointMapModel

# Decoded maps are kept up to this many bytes; older ones are decoded again when asked for.
_CACHE_BYTES = 512 * 1024**2


class NetworkDecoder:
    """Decodes further (frame, time) on demand and keeps what it decoded."""

    def __init__(
        self,
        model: "PointMapModel",
        encoded: Any,
        own_time_points: Float32[np.ndarray, "frame height width xyz=3"],
    ) -> None:
        self._model = model
        self._encoded = encoded
        self._own_time_points = own_time_points
        self._kept: OrderedDict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()
        bytes_per_map = max(1, own_time_points[0].nbytes * 4 // 3)
        # The tracks of one frame over all times must fit whatever their size.
        self._room = max(_CACHE_BYTES // bytes_per_map, len(own_time_points))

    def decode(
        self, frame: int, time: int
    ) -> tuple[Float32[np.ndarray, "height width xyz=3"], Float32[np.ndarray, "height width"]]:
        """Finite points (world) and confidence of the pixels of `frame`, placed at `time`.

        Points that the network does not give as finite numbers stay where they are at the frame's
        own time, with confidence 0.
        """
        key = (frame, time)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        with torch.inference_mode():
            maps = self._model.decode(self._encoded, time=time, frames=[frame])
        self._kept[key] = clean_maps(
            _to_numpy(maps.points)[0, 0],
            _to_numpy(maps.confidence)[0, 0],
            self._own_time_points[frame],
        )
        if len(self._kept) > self._room:
            self._kept.popitem(last=False)
        return self._kept[key]


def predict(
    frames: Frames,
    model: "PointMapModel",
    *,
    model_name: str,
    on_time: Callable[[int], None] | None = None,
) -> Reconstruction:
    """Reconstruct frames with a network, in float32.

    Encodes once and decodes the tracks of frame 0 over all times; every other (frame, time) is
    decoded when it is first asked for.

    Args:
        frames: The frames of one scene.
        model: A network in evaluation mode, on any device.
        model_name: Recorded in the result.
        on_time: Called with each time whose tracks are done, for progress.

    Raises:
        ModelError: The network's maps do not have the size of its images.
    """
    network_hw = network_size(
        frames.image_hw, image_side=model.image_side, patch_size=model.patch_size
    )
    with torch.inference_mode():
        images = network_images(frames.images, network_hw, device=_device_of(model))
        encoded = model.encode(images)
    own_points, own_confidence = encoded.own_time.points[0], encoded.own_time.confidence[0]
    if tuple(own_points.shape) != (frames.count, *network_hw, 3):
        raise ModelError(
            f"model {model_name} gave maps of shape {tuple(own_points.shape)} for "
            f"{frames.count} images of {network_hw}; its maps must have the size of its images"
        )
    world_from_camera = clean_poses(_to_numpy(encoded.cameras.world_from_camera)[0])
    map_intrinsics = clean_intrinsics(_to_numpy(encoded.cameras.intrinsics)[0], network_hw)
    raw_points = _to_numpy(own_points)
    points, confidence = clean_maps(
        raw_points,
        _to_numpy(own_confidence),
        ray_fallback(raw_points, world_from_camera, map_intrinsics),
    )
    reconstruction = Reconstruction(
        frames=frames,
        world_from_camera=world_from_camera,
        intrinsics=original_intrinsics(
            map_intrinsics, image_hw=frames.image_hw, network_hw=network_hw
        ),
        own_time_points=points,
        own_time_confidence=confidence,
        decoder=NetworkDecoder(model, encoded, points),
        model_name=model_name,
        weights_sha256=getattr(model, "weights_sha256", None),
    )
    for time in range(frames.count):
        reconstruction.maps(frame=0, time=time)
        if on_time is not None:
            on_time(time)
    return reconstruction


def _device_of(model: "PointMapModel") -> torch.device:
    """The device of a network's weights; the CPU for anything without weights."""
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            return parameter.device
    return torch.device("cpu")


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor's values as float32 on the host."""
    return tensor.detach().to("cpu", torch.float32).numpy()
