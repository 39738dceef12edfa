"""Cameras from a map of rays (Depth Anything 3 §3.1; its public code's `use_ray_pose`).

A ray is a direction in the world, of any length, and the camera's place. In a plane of 2 × 2 about
the middle of the picture, directions are a homography of the pixels, which is taken apart into a
rotation and a lower triangular matrix. The public code draws its samples without a seed; here the
draw is the same at every call.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SAMPLES, SAMPLE_SIZE, MOST_REFIT = 100, 8, 8000
SURE_SHARE, REFIT_SHARE = 0.3, 0.95
INLIER_DISTANCE, LEAST_Z = 0.2, 1e-4


@dataclass(frozen=True, kw_only=True)
class RayCameras:
    """Cameras of views.

    Attributes:
        world_from_camera: In the world of the rays.
        intrinsics: In pixels of the images.
    """

    world_from_camera: Float[Tensor, "batch view 4 4"]
    intrinsics: Float[Tensor, "batch view 3 3"]


def cameras_from_rays(
    rays: Float[Tensor, "batch view rows columns number=6"],
    confidence: Float[Tensor, "batch view rows columns"],
    image_hw: tuple[int, int],
) -> RayCameras:
    """The camera that explains most of each view's rays."""
    rows, columns = confidence.shape[2:]
    flat = rays.flatten(2, 3).flatten(0, 1)
    weight = confidence.flatten(2).flatten(0, 1)
    plane = _plane(rows, columns, flat)
    homographies = torch.stack(
        [_homography(plane, each[:, :3], sure) for each, sure in zip(flat, weight, strict=True)]
    )
    rotation, lower = _taken_apart(homographies)
    centre = (flat[..., 3:] * weight[..., None]).sum(1) / weight.sum(1)[:, None]
    pose = torch.eye(4, dtype=rays.dtype, device=rays.device).repeat(len(flat), 1, 1)
    pose[:, :3, :3], pose[:, :3, 3] = rotation, centre
    height, width = image_hw
    lens = torch.zeros_like(rotation)
    lens[:, 0, 0], lens[:, 1, 1] = width / 2 / lower[:, 0, 0], height / 2 / lower[:, 1, 1]
    lens[:, 0, 2] = width / 2 * (1 + lower[:, 2, 0])
    lens[:, 1, 2] = height / 2 * (1 + lower[:, 2, 1])
    lens[:, 2, 2] = 1
    shape = rays.shape[:2]
    return RayCameras(
        world_from_camera=pose.unflatten(0, shape), intrinsics=lens.unflatten(0, shape)
    )


def _plane(rows: int, columns: int, like: Tensor) -> Float[Tensor, "pixel xy=2"]:
    """Pixel centres in a square of side 2 about the origin."""
    x, y = (
        (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / count - 1
        for count in (columns, rows)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def _homography(
    plane: Float[Tensor, "pixel xy=2"],
    direction: Float[Tensor, "pixel xyz=3"],
    confidence: Float[Tensor, " pixel"],
) -> Float[Tensor, "3 3"]:
    """From the plane to directions: of many samples the one that most agree with, fitted again."""
    usable = direction[:, 2].abs() > LEAST_Z
    target = direction[:, :2] / torch.where(usable, direction[:, 2], 1.0)[:, None]
    weight = torch.where(usable, confidence, 0.0)
    sure = weight.argsort(descending=True)[: max(SAMPLE_SIZE, int(SURE_SHARE * len(weight)))]
    drawn = _drawn(SAMPLES * SAMPLE_SIZE, len(sure)).to(sure.device)
    samples = sure[drawn].view(SAMPLES, SAMPLE_SIZE)
    candidates = _fitted(plane[samples], target[samples], weight[samples])
    agrees = _agreeing(candidates, plane, target) & usable
    best = (agrees * weight).sum(dim=1).argmax()
    chosen = agrees[best].nonzero()[:, 0]
    if len(chosen) > MOST_REFIT:
        ranked = chosen[weight[chosen].argsort(descending=True)[: int(REFIT_SHARE * len(chosen))]]
        chosen = ranked[_drawn(MOST_REFIT, len(ranked)).to(ranked.device)]
    if len(chosen) < SAMPLE_SIZE:
        return candidates[best]
    return _fitted(plane[chosen][None], target[chosen][None], weight[chosen][None])[0]


def _drawn(count: int, among: int) -> Int[Tensor, " count"]:
    """Random whole numbers, the same at every call."""
    return torch.randint(among, (count,), generator=torch.Generator().manual_seed(0))


def _fitted(
    source: Float[Tensor, "sample point xy=2"],
    target: Float[Tensor, "sample point xy=2"],
    weight: Float[Tensor, "sample point"],
) -> Float[Tensor, "sample 3 3"]:
    """Homographies by the weighted direct linear transform."""
    x, y = source.unbind(-1)
    u, v = target.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    first = torch.stack([-x, -y, -one, zero, zero, zero, u * x, u * y, u], dim=-1)
    second = torch.stack([zero, zero, zero, -x, -y, -one, v * x, v * y, v], dim=-1)
    rows = torch.cat([first, second], dim=1) * weight.sqrt().repeat(1, 2)[..., None]
    vectors = torch.linalg.svd(rows, full_matrices=False).Vh[:, -1]
    return (vectors / vectors[:, -1:]).view(-1, 3, 3)


def _agreeing(
    homographies: Float[Tensor, "sample 3 3"],
    plane: Float[Tensor, "pixel xy=2"],
    target: Float[Tensor, "pixel xy=2"],
) -> Bool[Tensor, "sample pixel"]:
    whole = torch.cat([plane, torch.ones_like(plane[:, :1])], dim=1)
    moved = whole @ homographies.transpose(1, 2)
    missed = moved[..., :2] / moved[..., 2:] - target
    return missed.norm(dim=-1) < INLIER_DISTANCE


def _taken_apart(
    homographies: Float[Tensor, "view 3 3"],
) -> tuple[Float[Tensor, "view 3 3"], Float[Tensor, "view 3 3"]]:
    """H = R L with a rotation and a lower triangular matrix of positive diagonal, L[2, 2] = 1."""
    h = torch.where(torch.linalg.det(homographies)[:, None, None] < 0, -homographies, homographies)
    # Of the matrix with its columns in reverse, QR gives an upper triangle, which in reverse of
    # both rows and columns is the lower one.
    q, r = torch.linalg.qr(h.flip(-1))
    rotation, lower = q.flip(-1), r.flip(-1, -2)
    sign = torch.sign(torch.diagonal(lower, dim1=-2, dim2=-1))
    rotation, lower = rotation * sign[:, None, :], lower * sign[:, :, None]
    return rotation, lower / lower[:, 2:, 2:]
