"""Losses as small pure terms and a weighted sum.

Shapes: b examples, t times, i frames. Every term first says over which pixels it is a mean.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynapoint.models.nano.matching import CELL_PX
from dynapoint.training.shared_counts import divisor

CLIP_AT_MEDIANS = 10.0


def masked_mean(values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean over the true entries of a mask, zero where there is none."""
    # Not a product: what is not supervised may overflow.
    return _over(values.where(mask, 0.0).sum(), mask.sum())


def _over(total: Float[Tensor, ""], count: Int[Tensor, ""]) -> Float[Tensor, ""]:
    """A sum over how many there are, of all that share a step (`shared_counts`)."""
    return total / divisor(count).to(total.dtype)


def per_example_mean(
    values: Float[Tensor, "batch *shape"], mask: Bool[Tensor, "batch *shape"]
) -> Float[Tensor, ""]:
    """Mean over each example's valid entries, then over the examples that have any (V-DPM §3.4).

    An example with few valid pixels counts as much as one with many.
    """
    counts = mask.flatten(1).sum(dim=1)
    means = values.where(mask, 0.0).flatten(1).sum(dim=1) / counts.clamp_min(1)
    return _over(means.sum(), (counts > 0).sum())


def mean_distance(
    points: Float[Tensor, "batch *shape xyz=3"],
    mask: Bool[Tensor, "batch *shape"],
    *,
    clip_at_medians: float | None = CLIP_AT_MEDIANS,
) -> Float[Tensor, " batch"]:
    """Mean distance from the origin per example over valid points.

    Distances are clipped at a multiple of their median, or open ground sets the scale; None leaves
    them as they are, which is the papers' normaliser (DPM eq. 6).
    """
    distance = points.norm(dim=-1).flatten(1)
    valid = mask.flatten(1)
    if clip_at_medians is not None:
        with torch.no_grad():
            median = torch.where(valid, distance, torch.nan).nanmedian(dim=1).values
            ceiling = (median * clip_at_medians).nan_to_num(1.0)[:, None]
        distance = torch.minimum(distance, ceiling)
    total = distance.where(valid, 0.0).sum(dim=1) / valid.sum(dim=1).clamp_min(1)
    return total.clamp_min(1e-6)


def huber(error: Float[Tensor, "*shape"], quadratic_below: float) -> Float[Tensor, "*shape"]:
    """error²/(2δ) below δ, error − δ/2 above: an unsquared norm that does not stick at zero."""
    delta = quadratic_below
    return torch.where(error < delta, error.square() / (2 * delta), error - delta / 2)


def norm(vectors: Float[Tensor, "*shape channel"]) -> Float[Tensor, "*shape"]:
    """Euclidean norms with a finite gradient at zero."""
    return (vectors.square().sum(dim=-1) + 1e-12).sqrt()


def own_time_terms(
    predicted: Float[Tensor, "batch frame height width xyz=3"],
    truth: Float[Tensor, "batch frame height width xyz=3"],
    mask: Bool[Tensor, "batch frame height width"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Error of the own-time maps with both sides at mean distance one, and of log distances.

    The second term compares the prediction's raw distances, which pins its scale to one.
    """
    truth_unit = truth / mean_distance(truth, mask)[:, None, None, None, None]
    own_scale = mean_distance(predicted, mask)[:, None, None, None, None]
    point = masked_mean(norm(predicted / own_scale - truth_unit), mask)
    log_ratio = torch.log(norm(predicted)) - torch.log(norm(truth_unit).clamp_min(1e-3))
    return point, masked_mean(log_ratio.abs(), mask)


def motion_term(
    predicted: Float[Tensor, "batch pair height width xyz=3"],
    truth: Float[Tensor, "batch pair height width xyz=3"],
    mask: Bool[Tensor, "batch pair height width"],
    *,
    moving_above: float,
    quadratic_below: float,
) -> Float[Tensor, ""]:
    """Error of displacements, half its mean over moving pixels and half over still ones.

    Displacements are in units of the mean distance; a pixel moves where the true displacement is
    longer than `moving_above`.
    """
    error = norm(predicted - truth)
    if quadratic_below > 0:
        error = huber(error, quadratic_below)
    moves = norm(truth) > moving_above
    return 0.5 * masked_mean(error, mask & moves) + 0.5 * masked_mean(error, mask & ~moves)


def confidence_term(
    log_confidence: Float[Tensor, "*shape"],
    error: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    *,
    alpha: float,
) -> Float[Tensor, ""]:
    """C · error − α log C with detached errors: teaches confidence alone. C = 1 + exp(logit)."""
    confidence = 1 + torch.exp(log_confidence.clamp(-10, 10))
    return masked_mean(confidence * error.detach() - alpha * torch.log(confidence), mask)


def match_errors(
    logits: Float[Tensor, "batch cell other_and_missing"],
    target_xy: Float[Tensor, "batch cell xy=2"],
    visible: Bool[Tensor, "batch cell"],
    map_hw: tuple[int, int],
) -> Float[Tensor, "batch cell"]:
    """Cross-entropy of matches: bilinear weights on four cells, or the last bin where hidden."""
    rows, columns = map_hw
    # Half precision would round probabilities away.
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_probability = exact.log_softmax(dim=-1)
    # An index from a NaN would end the run, where the trainer can leave a bad batch out.
    target = (target_xy / CELL_PX - 0.5).nan_to_num()
    x, y = target[..., 0].clamp(0, columns - 1), target[..., 1].clamp(0, rows - 1)
    x0, y0 = x.floor().clamp_max(columns - 2), y.floor().clamp_max(rows - 2)
    wx, wy = x - x0, y - y0
    corner = (y0 * columns + x0).long()
    indices = torch.stack([corner, corner + 1, corner + columns, corner + columns + 1], dim=-1)
    weights = torch.stack([(1 - wx) * (1 - wy), wx * (1 - wy), (1 - wx) * wy, wx * wy], dim=-1)
    found = -(log_probability.gather(-1, indices) * weights).sum(dim=-1)
    hidden = -log_probability[..., -1]
    return torch.where(visible, found, hidden)


def camera_term(
    encodings: Float[Tensor, "iteration batch frame 9"],
    truth: Float[Tensor, "batch frame 9"],
    *,
    decay: float = 0.6,
    translation: float = 1.0,
    rotation: float = 1.0,
    field_of_view: float = 0.5,
) -> Float[Tensor, ""]:
    """VGGT's camera loss: mean absolute errors of the encodings, later iterations weighing more.

    Weights decay^(n − 1 − k) are averaged over the n iterations; true translations are in units of
    the mean distance, true quaternions have w ≥ 0.
    """
    count = encodings.shape[0]
    total = encodings.new_zeros(())
    for index, encoding in enumerate(encodings):
        error = (encoding - truth).abs()
        stage = (
            translation * error[..., :3].clamp_max(100).mean()
            + rotation * error[..., 3:7].mean()
            + field_of_view * error[..., 7:].mean()
        )
        total = total + decay ** (count - 1 - index) * stage
    return total / count


def confidence_weighted_regression(
    predicted: Float[Tensor, "batch *shape xyz=3"],
    confidence: Float[Tensor, "batch *shape"],
    truth: Float[Tensor, "batch *shape xyz=3"],
    mask: Bool[Tensor, "batch *shape"],
    *,
    alpha: float = 0.2,
    normalise_prediction: bool,
    per_example: bool,
    unit: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """The papers' point loss: C · ‖error‖ − α log C over one cloud of stacked maps.

    Truth is divided by its mean distance, or by `unit` where maps apart share one. DPM divides the
    prediction by its own too (DPM eq. 6-7, `normalise_prediction=True`, one mean over the batch);
    V-DPM does not, and averages over each example's valid pixels first (V-DPM §3.4,
    `per_example=True`).
    """
    lead = (slice(None),) + (None,) * (truth.dim() - 1)
    if unit is None:
        unit = mean_distance(truth, mask, clip_at_medians=None)
    truth_unit = truth / unit[lead]
    if normalise_prediction:
        predicted = predicted / mean_distance(predicted, mask, clip_at_medians=None)[lead]
    weighted = confidence * norm(predicted - truth_unit) - alpha * torch.log(confidence)
    return per_example_mean(weighted, mask) if per_example else masked_mean(weighted, mask)


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of nano's terms (docs/notes/nano.md)."""

    own_time: float = 1.0
    log_distance: float = 0.5
    motion: float = 2.0
    camera: float = 1.0
    match: float = 0.5
    confidence: float = 0.1
    # Below this share of the mean distance the motion error is quadratic; 0 is the plain norm.
    motion_quadratic_below: float = 0.1
    confidence_alpha: float = 1.0
    # What a pixel without truth (sky) counts as in the confidence term.
    sky_error: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LossParts:
    """Nano's total and its unweighted terms, for logs."""

    total: Float[Tensor, ""]
    own_time: Float[Tensor, ""]
    log_distance: Float[Tensor, ""]
    motion: Float[Tensor, ""]
    camera: Float[Tensor, ""]
    match: Float[Tensor, ""]
    confidence: Float[Tensor, ""]


@dataclass(frozen=True, kw_only=True)
class PublishedLoss:
    """Choices in V-DPM's loss: P + Q + `camera` × VGGT's camera loss.

    UNCONFIRMED, because neither paper nor public code says: `alpha` (DUSt3R, MonST3R and VGGT use
    .2); that P and Q weigh the same; and `target_times`, the choice of the times t_j of Q: "one"
    drawn for all frames of an example, as the network is used, or one "per_frame", which the
    public code has room for. The camera loss's weight is in the public configuration.
    """

    alpha: float = 0.2
    camera: float = 5.0
    target_times: Literal["one", "per_frame"] = "one"


@dataclass(frozen=True, kw_only=True)
class PublishedLossParts:
    """V-DPM's total and its unweighted terms, for logs: P is `own_time`, Q `decoded`."""

    total: Float[Tensor, ""]
    own_time: Float[Tensor, ""]
    decoded: Float[Tensor, ""]
    camera: Float[Tensor, ""]
