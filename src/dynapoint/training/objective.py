"""The recipe's loss of a training sample: runs the network as users do, weighs the terms."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.layers.frame_index import frame_index
from dynapoint.models.layers.pose_encoding import encode_cameras
from dynapoint.models.nano.matching import CELL_PX
from dynapoint.models.nano.network import VideoEncoding, VideoPointMapNetwork
from dynapoint.training.losses import (
    LossParts,
    LossWeights,
    camera_term,
    confidence_term,
    masked_mean,
    match_errors,
    mean_distance,
    motion_term,
    norm,
    own_time_terms,
)
from dynapoint.types import TruthSample

MOVING_ABOVE = 0.01
"""A pixel counts as moving where its displacement exceeds this share of the mean distance."""
MOST_MATCHED_PAIRS = 6
"""Ordered pairs of a sample's frames that teach matches: all of three frames, some of more."""
MOST_MATCHED_CELLS = 256
"""Cells of a source frame that teach matches: all of small images, some of larger ones."""


def all_pairs(frames: int) -> tuple[list[int], list[int]]:
    """Sources and targets of all ordered pairs of distinct frames."""
    pairs = [(i, t) for i in range(frames) for t in range(frames) if i != t]
    return [i for i, _ in pairs], [t for _, t in pairs]


def choose_pairs(frames: int, most: int, generator: torch.Generator) -> tuple[list[int], list[int]]:
    """Up to `most` different ordered (source, target) pairs of distinct frames."""
    sources, targets = all_pairs(frames)
    order = sorted(torch.randperm(len(sources), generator=generator)[:most].tolist())
    return [sources[k] for k in order], [targets[k] for k in order]


def choose_cells(image_hw: tuple[int, int], most: int, generator: torch.Generator) -> list[int]:
    """Up to `most` different cells of the matching map, row-major, in order."""
    count = (image_hw[0] // CELL_PX) * (image_hw[1] // CELL_PX)
    if count <= most:
        return list(range(count))
    return sorted(torch.randperm(count, generator=generator)[:most].tolist())


def sample_loss(
    network: VideoPointMapNetwork,
    encoded: VideoEncoding,
    sample: TruthSample,
    weights: LossWeights,
    *,
    sources: list[int],
    targets: list[int],
    generator: torch.Generator,
) -> LossParts:
    """Decode the given pairs of an encoded sample, and compare everything with the truth.

    Without pairs motion is not trained. `generator` chooses the pairs that teach matches where
    there are more than `MOST_MATCHED_PAIRS`, and their cells where there are more than
    `MOST_MATCHED_CELLS`.
    """
    own_truth = own_time_truth(sample)
    own_known = torch.diagonal(sample.supervised, dim1=1, dim2=2)
    own_mask = sample.valid & own_known[..., None, None]
    predicted = encoded.own_time.points
    own, log_distance = own_time_terms(predicted, own_truth, own_mask)
    unit = mean_distance(own_truth, own_mask)
    own_unit = mean_distance(predicted, own_mask).detach()
    lead = (slice(None), None, None, None, None)
    camera = camera_term(encoded.encodings, camera_truth(sample, unit))
    # Matches are cheap beside decoding, so other pairs teach them as well; but their memory grows
    # with the squares of the frames and of the pixels.
    pairs = choose_pairs(sample.images.shape[1], MOST_MATCHED_PAIRS, generator)
    cells = choose_cells(encoded.image_hw, MOST_MATCHED_CELLS, generator)
    match = match_loss(network, encoded, sample, sources=pairs[0], targets=pairs[1], cells=cells)
    own_error = norm(predicted / own_unit[lead] - own_truth / unit[lead])
    confidence = _confidence(encoded.log_confidence, own_error, sample.valid, own_known, weights)
    motion = own.new_zeros(())
    if sources:
        motion, of_motion = _motion_terms(
            network, encoded, sample, weights, pairs=(sources, targets), units=(own_unit, unit)
        )
        confidence = confidence + of_motion
    total = (
        weights.own_time * own
        + weights.log_distance * log_distance
        + weights.motion * motion
        + weights.camera * camera
        + weights.match * match
        + weights.confidence * confidence
    )
    return LossParts(
        total=total,
        own_time=own.detach(),
        log_distance=log_distance.detach(),
        motion=motion.detach(),
        camera=camera.detach(),
        match=match.detach(),
        confidence=confidence.detach(),
    )


def _motion_terms(
    network: VideoPointMapNetwork,
    encoded: VideoEncoding,
    sample: TruthSample,
    weights: LossWeights,
    *,
    pairs: tuple[list[int], list[int]],
    units: tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Terms of displacements and of their confidence; `units` are mean distances, ours and true."""
    sources, targets = (frame_index(each, sample.images.device) for each in pairs)
    lead = (slice(None), None, None, None, None)
    own_unit, unit = (each[lead] for each in units)
    own_known = torch.diagonal(sample.supervised, dim1=1, dim2=2)
    decoded = network.decode_pairs(encoded, sources=pairs[0], targets=pairs[1])
    truth_shift = sample.points[:, targets, sources] - own_time_truth(sample)[:, sources]
    # A displacement is known where both of its ends are.
    known = sample.supervised[:, targets, sources] & own_known[:, sources]
    valid = sample.valid[:, sources]
    motion = motion_term(
        decoded.displacement / own_unit,
        truth_shift / unit,
        valid & known[..., None, None],
        moving_above=MOVING_ABOVE,
        quadratic_below=weights.motion_quadratic_below,
    )
    error = norm(decoded.displacement / own_unit - truth_shift / unit)
    return motion, _confidence(decoded.log_confidence, error, valid, known, weights)


def own_time_truth(
    sample: TruthSample,
) -> Float[Tensor, "batch frame height width xyz=3"]:
    """The true own-time maps: the diagonal of times and frames."""
    frames = torch.arange(sample.points.shape[1], device=sample.points.device)
    return sample.points[:, frames, frames]


def camera_truth(
    sample: TruthSample, unit: Float[Tensor, " batch"]
) -> Float[Tensor, "batch frame 9"]:
    """True pose encodings with translations in units of the mean distance."""
    height, width = sample.images.shape[-2:]
    pose = invert_rigid(sample.world_from_camera)
    truth = encode_cameras(pose, sample.intrinsics, (height, width))
    return torch.cat([truth[..., :3] / unit[:, None, None], truth[..., 3:]], dim=-1)


def match_loss(
    network: VideoPointMapNetwork,
    encoded: VideoEncoding,
    sample: TruthSample,
    *,
    sources: list[int],
    targets: list[int],
    cells: list[int],
) -> Float[Tensor, ""]:
    """Cross-entropy of matches with the true ones, half over moving bodies and half over the rest.

    Bodies that move are few and hard to find again; a plain mean hardly sees them. `cells` of the
    sources teach; the others are not compared with anything.
    """
    source, target, chosen = (
        frame_index(each, sample.images.device) for each in (sources, targets, cells)
    )
    height, width = encoded.image_hw
    map_hw = (height // CELL_PX, width // CELL_PX)
    logits = network.matcher.logits(
        encoded.descriptors[:, source].flatten(0, 1)[:, chosen],
        encoded.descriptors[:, target].flatten(0, 1),
    )
    inner = slice(CELL_PX // 2, None, CELL_PX)
    moving = sample.moving[:, source][..., inner, inner].flatten(0, 1).flatten(1, 2)[:, chosen]
    target_xy, visible, valid = (every[:, chosen] for every in true_matches(sample, source, target))
    errors = match_errors(logits, target_xy, visible, map_hw)
    return 0.5 * (masked_mean(errors, valid & moving) + masked_mean(errors, valid & ~moving))


def true_matches(
    sample: TruthSample, sources: Int[Tensor, " chosen"], targets: Int[Tensor, " chosen"]
) -> tuple[Float[Tensor, "pair cell 2"], Tensor, Tensor]:
    """Where the cells' central pixels are seen in the target frame; whether; whether known.

    The pixel (4 r + 2, 4 c + 2) stands for its cell; its centre lies half a pixel beyond the
    cell's, which is taken off again at the other end.
    """
    inner = slice(CELL_PX // 2, None, CELL_PX)
    points = sample.points[:, targets, sources][..., inner, inner, :]
    pose = invert_rigid(sample.world_from_camera[:, targets])
    # Autocast would round pixel positions to half precision.
    with torch.autocast(points.device.type, enabled=False):
        turned = torch.einsum("bkij,bkrcj->bkrci", pose[..., :3, :3], points)
        camera = turned + pose[..., None, None, :3, 3]
        image = torch.einsum("bkij,bkrcj->bkrci", sample.intrinsics[:, targets], camera)
    xy = image[..., :2] / image[..., 2:].clamp_min(1e-6) - 0.5
    visible = sample.visible[:, targets, sources][..., inner, inner]
    known = sample.supervised[:, targets, sources][..., None, None]
    valid = sample.valid[:, sources][..., inner, inner] & known
    return (
        xy.flatten(0, 1).flatten(1, 2),
        visible.flatten(0, 1).flatten(1, 2),
        valid.flatten(0, 1).flatten(1, 2),
    )


def _confidence(
    log_confidence: Tensor, error: Tensor, valid: Tensor, known: Tensor, weights: LossWeights
) -> Tensor:
    """Sky has no truth and counts as a large error, so that it is doubted."""
    with_sky = torch.where(valid, error, torch.full_like(error, weights.sky_error))
    mask = known[..., None, None].expand_as(valid)
    return confidence_term(log_confidence, with_sky, mask, alpha=weights.confidence_alpha)
