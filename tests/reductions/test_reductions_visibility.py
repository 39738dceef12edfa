"""Whether a camera sees points: closed forms, the data engine, noise of known size, refusals."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import Tensor

from dynapoint.geometry.pinhole import pixel_centres, project, unproject
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.reductions.visibility import (
    Agreement,
    SeenSurface,
    agreement,
    seen_surface,
    visibility,
)
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

HW = (40, 60)
INTRINSICS = torch.tensor([[50.0, 0, 30], [0, 50.0, 20], [0, 0, 1]], dtype=torch.float64)
EXACT = Agreement(spread=0.0, before=0.0, behind=0.1)


def random_pose(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    pose[:3, :3] = rotation * torch.linalg.det(rotation)
    pose[:3, 3] = torch.randn(3, generator=generator, dtype=torch.float64)
    return pose


def map_of(depth: Tensor, pose: Tensor) -> Tensor:
    """Points (world) of a depth map."""
    xy = pixel_centres((depth.shape[0], depth.shape[1]), dtype=torch.float64).reshape(-1, 2)
    camera = unproject(xy, depth.reshape(-1), INTRINSICS)
    return transform_points(pose, camera).view(*depth.shape, 3)


def surface_at(
    depth: Tensor, pose: Tensor | None = None, confidence: Tensor | None = None, **shown: Tensor
) -> SeenSurface:
    pose = torch.eye(4, dtype=torch.float64) if pose is None else pose
    confidence = torch.ones_like(depth) if confidence is None else confidence
    return seen_surface(map_of(depth, pose), confidence, pose, INTRINSICS, **shown)


def wall(depth: float = 4.0) -> Tensor:
    return torch.full(HW, depth, dtype=torch.float64)


def places(count: int, seed: int = 0, margin: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([HW[1], HW[0]], dtype=torch.float64)
    even = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    return margin + even * (size - 2 * margin)


def lifted(xy: Tensor, depth: float | Tensor, pose: Tensor | None = None) -> Tensor:
    camera = unproject(xy, torch.as_tensor(depth, dtype=xy.dtype).expand(len(xy)), INTRINSICS)
    return camera if pose is None else transform_points(pose, camera)


def test_the_wall_behind_a_board_is_seen_as_far_as_the_board_leaves_it() -> None:
    # The board covers the columns whose centres lie left of 20, and so ends half-way between 19.5
    # and 20.5; bilinear shares fall from one to the other.
    pose = random_pose(1)
    depth = torch.where(torch.arange(HW[1]) < 20, 2.0, 4.0).double().expand(HW)
    surface = surface_at(depth, pose)
    xy = places(5000)
    covered = (20.5 - xy[:, 0]).clamp(0, 1)
    seen = visibility(surface, lifted(xy, 4.0, pose), EXACT)
    # A sigmoid keeps 3 in 10,000 on its wrong side at these constants.
    assert torch.allclose(seen.visible, 1 - covered, atol=1e-3)
    assert torch.allclose(seen.xy, xy, atol=1e-9)
    before = visibility(surface, lifted(xy, 1.9, pose), EXACT).visible
    assert before.min() > 0.999


def test_points_on_steep_planes_are_seen_between_pixels_too() -> None:
    # Inverse depth is linear in the pixel; neighbours differ by up to 40 % in depth here.
    xy = pixel_centres(HW, dtype=torch.float64)
    inverse = 0.02 + 0.01 * xy[..., 0] + 0.015 * xy[..., 1]
    surface = surface_at(1 / inverse)
    at = places(4000)
    exact = 1 / (0.02 + 0.01 * at[:, 0] + 0.015 * at[:, 1])
    assert visibility(surface, lifted(at, exact), EXACT).visible.min() > 0.999
    # The farther of surface and pixel counts, so a steep plane hides what lies well behind it.
    assert visibility(surface, lifted(at, 1.8 * exact), EXACT).visible.max() < 0.01


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1])
def test_a_point_that_moves_back_is_never_seen_better(spread: float) -> None:
    generator = torch.Generator().manual_seed(3)
    depth = 2 + torch.rand(HW, generator=generator, dtype=torch.float64)
    agreed = Agreement(spread=spread, before=0.01, behind=0.1)
    surface = surface_at(depth)
    xy = places(300)
    seen = torch.stack(
        [visibility(surface, lifted(xy, z), agreed).visible for z in np.linspace(1, 6, 80)]
    )
    assert seen.diff(dim=0).max() <= 1e-12
    assert (seen[0] - seen[-1]).min() > 0.5 and seen.min() >= 0 and seen.max() <= 1


def test_nothing_is_seen_outside_behind_or_without_a_place() -> None:
    pose = random_pose(2)
    surface = surface_at(wall(), pose)
    inside = lifted(torch.tensor([[0.0, 0.0], [60.0, 40.0], [30.0, 20.0]]).double(), 4.0 - 1e-6)
    inside[:2] *= 1 - 1e-12
    off = [[-0.01, 5.0], [60.01, 5.0], [5.0, -0.01], [5.0, 40.01], [1e9, 5.0]]
    outside = lifted(torch.tensor(off).double(), 4.0)
    odd = torch.tensor(
        [[0.0, 0, -4], [0, 0, 0], [math.nan, 0, 4], [0, 0, math.nan], [0, 0, math.inf]]
    ).double()
    camera = torch.cat([inside, outside, odd])
    seen = visibility(surface, transform_points(pose, camera), EXACT).visible
    assert seen[2] > 0.999
    assert (seen[3:] == 0).all()


def test_pixels_without_confidence_hide_nothing_and_padding_sees_nothing() -> None:
    depth = wall(2.0)
    confidence = torch.ones(HW).double()
    confidence[:, :20] = 0.0
    points = map_of(depth, torch.eye(4).double())
    points[:, :10] = math.nan
    shown = torch.ones(HW, dtype=torch.bool)
    shown[:, 50:] = False
    surface = seen_surface(points, confidence, torch.eye(4), INTRINSICS, shown=shown)
    xy = places(3000)
    seen = visibility(surface, lifted(xy, 4.0), EXACT).visible
    x = xy[:, 0]
    assert seen[x < 19.5].min() > 0.999
    assert seen[(x > 20.5) & (x < 50)].max() < 0.001
    assert (visibility(surface, lifted(xy, 1.0), EXACT).visible[x > 50] == 0).all()
    assert visibility(surface, lifted(xy, 1.0), EXACT).visible[x < 50].min() > 0.999


def test_a_map_that_says_nothing_hides_nothing() -> None:
    surface = surface_at(wall(), confidence=torch.zeros(HW).double())
    points = lifted(places(500), 4.0)
    agreed = agreement(surface, points)
    assert visibility(surface, points, agreed).visible.min() > 0.9
    assert agreement(surface_at(wall()), points, torch.zeros(500)) == agreed
    assert agreement(surface_at(wall()), points[:10]) == agreed


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2)])
def test_maps_of_few_pixels(size: tuple[int, int]) -> None:
    depth = torch.full(size, 2.0, dtype=torch.float64)
    intrinsics = torch.tensor([[5.0, 0, size[1] / 2], [0, 5.0, size[0] / 2], [0, 0, 1]]).double()
    pose = torch.eye(4).double()
    surface = seen_surface(
        torch.stack([0 * depth, 0 * depth, depth], -1), 0 * depth + 1, pose, intrinsics
    )
    seen = visibility(surface, torch.tensor([[0.0, 0, 2], [0, 0, 3]]).double(), EXACT).visible
    assert seen[0] > 0.999 and seen[1] < 0.001


@pytest.mark.parametrize("noise", [0.003, 0.02, 0.08])
def test_the_spread_is_that_of_the_noise_whatever_is_hidden(noise: float) -> None:
    generator = torch.Generator().manual_seed(4)
    surface = surface_at(wall(), random_pose(4))
    xy = places(4000, seed=4)
    depth = 4 * (1 + noise * torch.randn(4000, generator=generator, dtype=torch.float64))
    depth[:1200] = 4 + 20 * torch.rand(1200, generator=generator, dtype=torch.float64)
    agreed = agreement(surface, lifted(xy, depth, random_pose(4)))
    # 40 % of all points are 4 in 7 of those seen.
    normal = NormalDist()
    wider = normal.inv_cdf(0.5 + 2 / 7) / normal.inv_cdf(0.7)
    assert agreed.spread == pytest.approx(noise * wider, rel=0.08)
    assert agreed.before < 0.005 and agreed.trust > 0.98


def test_points_that_float_before_the_scene_cost_those_behind_their_trust() -> None:
    generator = torch.Generator().manual_seed(5)
    xy = places(4000, seed=5)
    off = torch.where(torch.rand(4000, generator=generator) < 0.5, 0.5, 1.5)
    depth = torch.where(torch.arange(4000) < 800, 4.0 * off, torch.tensor(4.0)).double()
    surface = surface_at(wall())
    agreed = agreement(surface, lifted(xy, depth))
    assert agreed.spread < 1e-9
    assert agreed.before == pytest.approx(0.1, abs=0.02)
    assert agreed.trust < 0.15
    farther = visibility(surface, lifted(xy, 6.0), agreed).visible
    assert farther.min() > 0.5
    assert visibility(surface, lifted(xy, 6.0), EXACT).visible.max() < 0.01


def test_scale_of_the_scene_is_indifferent() -> None:
    generator = torch.Generator().manual_seed(6)
    depth = 2 + torch.rand(HW, generator=generator, dtype=torch.float64)
    points = lifted(places(3000), 2.7, random_pose(6))
    answers = []
    for scale in (1.0, 1e-3, 1e4):
        pose = random_pose(6)
        surface_points = map_of(depth, pose) * scale
        pose[:3, 3] *= scale
        surface = seen_surface(surface_points, torch.ones(HW), pose, INTRINSICS)
        agreed = agreement(surface, points * scale)
        answers.append(visibility(surface, points * scale, agreed).visible)
    assert torch.allclose(answers[0], answers[1], atol=1e-9)
    assert torch.allclose(answers[0], answers[2], atol=1e-9)


def test_dtype_and_shape_are_kept_and_gradients_are_finite() -> None:
    surface = seen_surface(
        map_of(wall(), torch.eye(4).double()).float(), torch.ones(HW), torch.eye(4), INTRINSICS
    )
    points = lifted(places(24).float(), 4.05).float().view(2, 3, 4, 3)
    points[0, 0, 0] = torch.tensor([0.0, 0, -1])
    points.requires_grad_()
    seen = visibility(surface, points, Agreement(spread=0.02, before=0.0, behind=0.1))
    assert seen.visible.dtype == seen.xy.dtype == torch.float32
    assert seen.visible.shape == (2, 3, 4) and seen.xy.shape == (2, 3, 4, 2)
    seen.visible.sum().backward()
    assert points.grad is not None and points.grad.isfinite().all()
    assert points.grad[0, 0, 0].abs().max() == 0 and points.grad.abs().max() > 0


def average_precision(score: Tensor, positive: Tensor) -> float:
    hit = positive[score.argsort(descending=True)].double()
    precision = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
    return float((precision * hit).sum() / hit.sum())


def engine_answers(noise: float) -> tuple[Tensor, Tensor]:
    """Probability of being hidden and truth, for points of engine clips in view at other times."""
    generator = torch.Generator().manual_seed(7)
    hidden, truth = [], []
    for seed in (70, 71, 74):
        scene = random_scene(seed, SceneConfig(frames=4, difficulty=1.0), aspect=64 / 48)
        clip = render_clips([scene], image_hw=(48, 64), seed=seed)
        every = torch.arange(4)[None]
        exact = clip.truth(every, every)
        valid, poses = exact.valid[0], clip.world_from_camera[0].double()
        for time, frame in np.argwhere(~np.eye(4, dtype=bool)).tolist():
            own, other = (exact.points[0, time, k].double().nan_to_num(0) for k in (time, frame))
            intrinsics = clip.intrinsics[0, time].double()
            eye = poses[time, :3, 3]
            own = eye + (own - eye) * (
                1 + noise * torch.randn(48, 64, 1, generator=generator, dtype=torch.float64)
            )
            surface = seen_surface(own, valid[time].double(), poses[time], intrinsics)
            agreed = agreement(surface, other, valid[frame].double())
            seen = visibility(surface, other, agreed)
            camera = transform_points(invert_rigid(poses[time]), other.reshape(-1, 3))
            xy = project(camera, intrinsics).view(48, 64, 2)
            inside = ((xy >= 0) & (xy <= torch.tensor([64, 48]))).all(-1) & valid[frame]
            hidden.append(1 - seen.visible[inside])
            truth.append(~exact.visible[0, time, frame][inside])
    return torch.cat(hidden), torch.cat(truth)


def test_hidden_points_of_the_data_engine_are_found_and_probabilities_hold() -> None:
    hidden, truth = engine_answers(noise=0.0)
    assert len(truth) > 50_000 and 0.02 < truth.double().mean() < 0.5
    assert average_precision(hidden, truth) > 0.97
    error = 0.0
    for low in np.arange(0, 1, 0.1).tolist():
        bin_ = (hidden >= low) & ((hidden < low + 0.1) | (low > 0.85))
        if bin_.any():
            error += float((hidden[bin_].sum() - truth[bin_].sum()).abs()) / len(truth)
    assert error < 0.01


def test_noise_makes_answers_milder_rather_than_wrong() -> None:
    hidden, truth = engine_answers(noise=0.05)
    assert average_precision(hidden, truth) > 0.8
    assert float(truth[hidden > 0.5].double().mean()) > 0.9
    assert abs(float(hidden.mean() - truth.double().mean())) < 0.05
