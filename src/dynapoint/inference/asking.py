"""What a network is asked beside the images."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from dynapoint.data.frames import Frames
from dynapoint.inference.known_cameras import KnownCameras
from dynapoint.models.protocol import EncodeRequest, ModelInfo
from dynapoint.results.checked import checked_index
from dynapoint.results.pixel_map import PixelMap


def request_of(
    frames: Frames,
    pixel_map: PixelMap,
    known: KnownCameras | None,
    info: ModelInfo,
    *,
    reference: int,
) -> EncodeRequest:
    """The request for frames whose pixels lie so in the network's images.

    Of known cameras the network is told what it takes: intrinsics, in pixels of its images, or
    these and poses. Poses that it does not take are in the request all the same, so that it is
    refused.

    Raises:
        InputError: The reference is not the index of a frame used.
    """
    checked_index(reference, "reference", frames.count)
    across, along = pixel_map.scale.mean(axis=0)
    request = EncodeRequest(reference=reference, pixel_aspect=float(across / along))
    if known is None or not (info.takes_intrinsics or known.world_from_camera is not None):
        return request
    poses = known.world_from_camera
    return replace(
        request,
        intrinsics=_batch(pixel_map.map_from_image @ known.intrinsics),
        world_from_camera=None if poses is None else _batch(poses),
    )


def on_device(request: EncodeRequest, device: torch.device) -> EncodeRequest:
    """The request with its tensors where the network is."""
    lens, poses = request.intrinsics, request.world_from_camera
    return replace(
        request,
        intrinsics=None if lens is None else lens.to(device),
        world_from_camera=None if poses is None else poses.to(device),
    )


def _batch(cameras: Float64[np.ndarray, "frame _row _column"]) -> Tensor:
    return torch.from_numpy(cameras).float()[None]
