"""Scale, rotation and translation that take one cloud of points to another."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

_ROBUST_ITERATIONS = 5
# Residuals below this share of the median one weigh no more than it.
_SMALLEST_RESIDUAL = 0.1
# Decides where the points do not, and moves no other answer by more than rounding does.
_PULL_TO_NO_TURN = 1e-13


def fit_similarity(
    source: Float[Tensor, "fit point xyz=3"],
    target: Float[Tensor, "fit point xyz=3"],
    weight: Float[Tensor, "fit point"],
    *,
    rigid: bool = False,
) -> Float64[Tensor, "fit 4 4"]:
    """Matrices [s·R | t] that minimise the weighted squared distances (Umeyama 1991), in float64.

    With `rigid` s is 1. Points that all lie in one place leave the scale at 1. Of the turns that
    points on one line, or in one place, leave undetermined, the answer is about the smallest.
    """
    p, q, w = source.double(), target.double(), weight.double()
    share = (w / w.sum(dim=1, keepdim=True).clamp_min(1e-300))[..., None]
    p_mean, q_mean = (share * p).sum(dim=1), (share * q).sum(dim=1)
    p, q = p - p_mean[:, None], q - q_mean[:, None]
    cross = (share * q).transpose(1, 2) @ p
    # What rounding makes of points in one place must not tell a turn or a scale either.
    least = p_mean.norm(dim=1) * q_mean.norm(dim=1) * _PULL_TO_NO_TURN**2
    pull = _PULL_TO_NO_TURN * cross.norm(dim=(1, 2)) + least.clamp_min(1e-290)
    left, singular, right = torch.linalg.svd(cross + torch.diag_embed(pull[:, None].repeat(1, 3)))
    sign = torch.ones_like(singular)
    sign[:, 2] = torch.sign(torch.linalg.det(left @ right))
    rotation = (left * sign[:, None]) @ right
    spread = (share * p * p).sum(dim=(1, 2))
    scale = (rotation * cross).sum(dim=(1, 2)) / spread.clamp_min(1e-300)
    usable = (
        (spread > p_mean.square().sum(dim=1) * _PULL_TO_NO_TURN**2)
        & (scale > 0)
        & scale.isfinite()
        & (not rigid)
    )
    scale = torch.where(usable, scale, 1.0)
    turned = scale[:, None, None] * rotation
    shift = q_mean - (turned @ p_mean[..., None]).squeeze(-1)
    matrix = torch.eye(4, dtype=torch.float64, device=p.device).repeat(len(p), 1, 1)
    matrix[:, :3, :3], matrix[:, :3, 3] = turned, shift
    return matrix


def fit_similarity_robustly(
    source: Float[Tensor, "fit point xyz=3"],
    target: Float[Tensor, "fit point xyz=3"],
    weight: Float[Tensor, "fit point"],
    *,
    rigid: bool = False,
) -> Float64[Tensor, "fit 4 4"]:
    """The same for distances that are not squared, by iteratively re-weighted least squares."""
    matrix = fit_similarity(source, target, weight, rigid=rigid)
    for _ in range(_ROBUST_ITERATIONS):
        residual = (move(matrix, source) - target).norm(dim=-1)
        typical = residual.median(dim=1, keepdim=True).values
        floor = (_SMALLEST_RESIDUAL * typical).clamp_min(1e-12)
        matrix = fit_similarity(source, target, weight / residual.maximum(floor), rigid=rigid)
    return matrix


def move(
    matrix: Float64[Tensor, "fit 4 4"], points: Float[Tensor, "fit point xyz=3"]
) -> Float64[Tensor, "fit point xyz=3"]:
    """Apply affine matrices to points."""
    return points.double() @ matrix[:, :3, :3].transpose(1, 2) + matrix[:, None, :3, 3]


def split_similarity(
    matrix: Float64[Tensor, "fit 4 4"],
) -> tuple[Float64[Tensor, " fit"], Float64[Tensor, "fit 4 4"]]:
    """The scale and the rigid part (rotation, translation) of matrices [s·R | t]."""
    scale = torch.linalg.det(matrix[:, :3, :3]).clamp_min(1e-300) ** (1 / 3)
    rigid = matrix.clone()
    rigid[:, :3, :3] /= scale[:, None, None]
    return scale, rigid


def weighted_median(
    values: Float[Tensor, "*batch value"], weight: Float[Tensor, "*batch value"]
) -> Float[Tensor, "*batch"]:
    """The value below which half of the weight lies; the plain median where nothing has weight."""
    weight = torch.where(weight.sum(dim=-1, keepdim=True) > 0, weight, 1.0).double()
    values, order = values.sort(dim=-1)
    below = weight.gather(-1, order).cumsum(dim=-1)
    middle = (below < below[..., -1:] / 2).sum(dim=-1, keepdim=True)
    return values.gather(-1, middle.clamp_max(values.shape[-1] - 1)).squeeze(-1)


def shared_focal(
    points: Float[Tensor, "point xyz=3"],
    centred_xy: Float[Tensor, "point xy=2"],
    weight: Float[Tensor, " point"],
    *,
    iterations: int = 10,
) -> Float64[Tensor, ""]:
    """The focal length, in pixels, under which points in a camera fall on their pixels.

    Pixels are square and `centred_xy` counts from the principal point. Distances in the image are
    not squared (Weiszfeld), as in DUSt3R's code: weighted least squares repeated with the inverse
    of the distances. Points that are not in front of the camera are left out; NaN without any.
    """
    in_front = points[:, 2] > 0
    p, xy, w = points[in_front].double(), centred_xy[in_front].double(), weight[in_front].double()
    if not w.sum() > 0:
        w = torch.ones_like(w)
    slope = p[:, :2] / p[:, 2:]
    along, square = (slope * xy).sum(dim=1), slope.square().sum(dim=1)
    focal = (w * along).sum() / (w * square).sum()
    for _ in range(iterations):
        near = w / (xy - focal * slope).norm(dim=1).clamp_min(1e-8)
        focal = (near * along).sum() / (near * square).sum()
    return focal
