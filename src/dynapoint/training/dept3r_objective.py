"""DePT3R's loss of a training sample (arXiv 2512.13122 §3): cameras, depth, points and motion.

The notes on the paper that this follows name the terms and leave their forms open. Where they do,
VGGT's (arXiv 2503.11651 §3.4) stand in.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.protocol import EncodeRequest
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.training.losses import camera_term, mean_distance, norm, per_example_mean
from dynapoint.training.objective import camera_truth, own_time_truth
from dynapoint.types import TruthSample


@dataclass(frozen=True, kw_only=True)
class Dept3rLoss:
    """Choices in DePT3R's loss: depth + own-time points + cameras, later + motion.

    All are UNCONFIRMED: `alpha` and `gradient` (the weight of the error of spatial differences) are
    VGGT's, `camera` is the weight in VGGT's public configuration, `motion` weighs its term like the
    others; `intrinsics_known` is the share of examples that are given their intrinsics. So are the
    plain norm of the motion error and the unit of length, the mean distance of the true own-time
    points.
    """

    alpha: float = 0.2
    gradient: float = 1.0
    camera: float = 5.0
    motion: float = 1.0
    intrinsics_known: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Dept3rLossParts:
    """DePT3R's total and its unweighted terms, for logs; `motion` is 0 in the first phase."""

    total: Float[Tensor, ""]
    own_time: Float[Tensor, ""]
    depth: Float[Tensor, ""]
    camera: Float[Tensor, ""]
    motion: Float[Tensor, ""]


def dept3r_loss(
    network: Dept3rNetwork,
    sample: TruthSample,
    loss: Dept3rLoss,
    *,
    known: Bool[Tensor, " batch"],
    queries: Int[Tensor, " batch"] | None,
) -> Dept3rLossParts:
    """One pass of the backbone for the `queries`, everything that its heads say against the truth.

    Without queries (the first phase) no frame is marked and motion is not trained.
    """
    batch = len(sample.images)
    marked = torch.full((batch,), -1) if queries is None else queries
    encoded = network.encode(
        sample.images, EncodeRequest(intrinsics=sample.intrinsics, known=known, queries=marked)
    )
    own_truth = own_time_truth(sample)
    own_known = torch.diagonal(sample.supervised, dim1=1, dim2=2)
    mask = sample.valid & own_known[..., None, None]
    unit = mean_distance(own_truth, mask, clip_at_medians=None)
    maps, each = encoded.own_time, unit[:, None, None, None]
    own_time = dense_term(
        maps.points - own_truth / each[..., None],
        maps.confidence,
        mask,
        alpha=loss.alpha,
        gradient=loss.gradient,
    )
    depth = dense_term(
        (encoded.depth.depth - own_depth(own_truth, sample) / each)[..., None],
        encoded.depth.confidence,
        mask,
        alpha=loss.alpha,
        gradient=loss.gradient,
    )
    camera = camera_term(encoded.encodings, camera_truth(sample, unit))
    motion = own_time.new_zeros(())
    if queries is not None:
        rows = torch.arange(batch, device=own_truth.device)
        times = queries.to(own_truth.device)
        shift = sample.points[rows, times] - own_truth
        error = norm(network.motion_maps(encoded) - shift / each[..., None])
        motion = per_example_mean(error, mask & sample.supervised[rows, times][..., None, None])
    return Dept3rLossParts(
        total=own_time + depth + loss.camera * camera + loss.motion * motion,
        own_time=own_time.detach(),
        depth=depth.detach(),
        camera=camera.detach(),
        motion=motion.detach(),
    )


def own_depth(
    points: Float[Tensor, "batch frame height width xyz=3"], sample: TruthSample
) -> Float[Tensor, "batch frame height width"]:
    """Depth of the pixels' own-time points along the axis of each frame's own camera."""
    pose = invert_rigid(sample.world_from_camera)[:, :, None, None]
    return (points * pose[..., 2, :3]).sum(dim=-1) + pose[..., 2, 3]


def dense_term(
    error: Float[Tensor, "batch frame height width channel"],
    confidence: Float[Tensor, "batch frame height width"],
    mask: Bool[Tensor, "batch frame height width"],
    *,
    alpha: float,
    gradient: float,
) -> Float[Tensor, ""]:
    """C · ‖e‖ − α log C + C · (‖∂x e‖ + ‖∂y e‖), VGGT's loss of depth and points.

    Every part is a mean over each example's valid pixels and then over examples; a difference is
    valid where both its pixels are and is weighed by the confidence of the one it starts at.
    """
    total = per_example_mean(confidence * norm(error) - alpha * confidence.log(), mask)
    for dim in (2, 3):
        inner = error.shape[dim] - 1
        both = mask.narrow(dim, 0, inner) & mask.narrow(dim, 1, inner)
        weighed = confidence.narrow(dim, 0, inner) * norm(error.diff(dim=dim))
        total = total + gradient * per_example_mean(weighed, both)
    return total
