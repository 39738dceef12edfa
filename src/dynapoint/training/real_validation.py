"""What a network makes of real pictures, beside the rendered clips that a run is validated on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn import functional

from dynapoint.evaluation.real_folders import RealClip, read_real_clip
from dynapoint.geometry.arrays import points_in_camera
from dynapoint.geometry.rigid import rotation_angle_rad
from dynapoint.models.protocol import EncodeRequest
from dynapoint.training.data_stream import image_size

FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class RealScores:
    """How far the answers for one folder are off.

    Attributes:
        abs_rel: Mean of |z − truth| / truth after one scale (that of the medians) for all frames.
        flat_abs_rel: The same of one constant.
        depth_spread: Standard deviation of log z within a frame over that of the truth.
        focal_percent: Of the median focal length across.
        rotation_deg: Median over frames 1… of the angle between poses; NaN without poses.
        true_rotation_deg: That of "never turned".
    """

    abs_rel: float
    flat_abs_rel: float
    depth_spread: float
    focal_percent: float
    rotation_deg: float
    true_rotation_deg: float


@torch.inference_mode()
def score_real_clip(network: Any, clip: RealClip, *, pixels: int, multiple: int) -> RealScores:
    """Encode a clip's frames at a size of at most so many pixels, and compare with its truth."""
    height, width = clip.images.shape[1:3]
    size = image_size(width / height, pixels, multiple)
    device = next(network.parameters()).device
    images = torch.from_numpy(clip.images).permute(0, 3, 1, 2).float() / 255
    images = functional.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(0, 1)
    across, along = size[1] / width, size[0] / height
    encoded = network.encode(images[None].to(device), EncodeRequest(pixel_aspect=across / along))
    poses = encoded.cameras.world_from_camera[0].double().cpu()
    focal = encoded.cameras.intrinsics[0, :, 0, 0].double().cpu() / across
    ratio = np.median(focal.numpy() / clip.intrinsics[:, 0, 0])
    rotation, true_rotation = np.nan, np.nan
    if clip.world_from_camera is not None and len(poses) > 1:
        truth = torch.from_numpy(clip.world_from_camera)
        turned, true_turned = poses[1:, :3, :3], truth[1:, :3, :3]
        rotation = _median_angle(turned, true_turned)
        true_rotation = _median_angle(torch.eye(3).expand_as(true_turned).to(truth), true_turned)
    points = encoded.own_time.points[0].double().cpu().numpy()
    depth = np.stack(
        [
            points_in_camera(own, pose)[..., 2]
            for own, pose in zip(points, poses.numpy(), strict=True)
        ]
    )
    abs_rel, flat, spread = _depth_scores(clip, depth)
    return RealScores(
        abs_rel=abs_rel,
        flat_abs_rel=flat,
        depth_spread=spread,
        focal_percent=100 * abs(float(ratio) - 1),
        rotation_deg=rotation,
        true_rotation_deg=true_rotation,
    )


def read_real_clips(folders: tuple[Path, ...]) -> list[RealClip]:
    """Evenly spaced frames of each folder; raises InputError where one cannot be read."""
    return [read_real_clip(folder, FRAMES) for folder in folders]


def _median_angle(first: Tensor, second: Tensor) -> float:
    return float(torch.rad2deg(rotation_angle_rad(first, second)).median())


def _depth_scores(
    clip: RealClip, depth: Float64[np.ndarray, "frame rows columns"]
) -> tuple[float, float, float]:
    if clip.depth is None:
        return np.nan, np.nan, np.nan
    height, width = clip.depth.shape[1:]
    rows, columns = depth.shape[1:]
    row = ((np.arange(rows) + 0.5) * height / rows).astype(int)
    column = ((np.arange(columns) + 0.5) * width / columns).astype(int)
    truth = clip.depth[:, row][:, :, column].astype(np.float64)
    found, known = np.maximum(depth, 1e-6), truth > 0
    scaled = found * np.median(truth[known]) / np.median(found[known])
    error = np.abs(scaled - truth)[known] / truth[known]
    flat = np.abs(np.median(truth[known]) - truth[known]) / truth[known]
    spreads = [
        np.log(values[mask]).std() / max(1e-6, np.log(true[mask]).std())
        for values, true, mask in zip(found, truth, known, strict=True)
    ]
    return float(error.mean()), float(flat.mean()), float(np.median(spreads))
