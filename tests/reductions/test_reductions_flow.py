"""Object, scene and optical flow against closed forms and the exact truth of the data engine."""

import pytest
import torch

from dynapoint.reductions.flow import object_flow, optical_flow, scene_flow
from dynapoint.reductions.usable import usable_points
from dynapoint.synthetic.clip import ClipTruth
from exact_pairs import exact_clip

_FRAMES = 4
_HW = (48, 64)


class Truth:
    """One exact clip in float64: points[time, frame], cameras, and which pixels see anything."""

    def __init__(self, seed: int) -> None:
        clip = exact_clip(seed, frames=_FRAMES, image_hw=_HW)
        order = torch.arange(_FRAMES)[None]
        self.truth: ClipTruth = clip.truth(order, order)
        self.points = self.truth.points[0].double()
        self.valid = self.truth.valid[0]
        self.poses = clip.world_from_camera[0].double()
        self.intrinsics = clip.intrinsics[0].double()


@pytest.fixture(scope="module")
def exact() -> Truth:
    return Truth(seed=43)


def _in_camera(points: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    return torch.einsum(
        "ij,hwj->hwi",
        torch.linalg.inv(pose),
        torch.cat([points, torch.ones_like(points[..., :1])], dim=-1),
    )[..., :3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("frame", "time"), [(0, 3), (3, 0), (1, 2)])
def test_flows_are_differences_of_exact_positions(exact, frame, time, dtype):
    own, there = exact.points[frame, frame], exact.points[time, frame]
    valid = exact.valid[frame]
    flow = object_flow(own.to(dtype), there.to(dtype))
    assert flow.flow.dtype == dtype
    assert torch.equal(flow.valid, valid)
    torch.testing.assert_close(flow.flow[valid], (there - own)[valid].to(dtype), rtol=0, atol=1e-5)
    seen = scene_flow(
        own.to(dtype),
        there.to(dtype),
        world_from_camera_from=exact.poses[frame].to(dtype),
        world_from_camera_to=exact.poses[time].to(dtype),
    )
    expected = _in_camera(there, exact.poses[time]) - _in_camera(own, exact.poses[frame])
    size = own[valid].norm(dim=-1, keepdim=True)
    miss = (seen.flow.double() - expected)[valid].abs() / size
    assert miss.max() < (1e-5 if dtype == torch.float32 else 1e-6)
    assert torch.equal(seen.valid, valid)
    assert (flow.flow[~valid] == 0).all()
    assert (seen.flow[~valid] == 0).all()


def test_there_and_back_is_no_flow_and_no_motion_is_no_object_flow(exact):
    own, there = exact.points[0, 0], exact.points[3, 0]
    forward, backward = object_flow(own, there), object_flow(there, own)
    assert torch.equal(forward.flow, -backward.flow)
    still = exact.valid[0] & ~exact.truth.moving[0, 0]
    moved = exact.truth.moving[0, 0]
    assert (forward.flow[still] == 0).all()
    assert forward.flow[moved].norm(dim=-1).median() > 0.01
    # What stands still in the world flows against a camera that moves.
    seen = scene_flow(
        own, there, world_from_camera_from=exact.poses[0], world_from_camera_to=exact.poses[3]
    )
    assert seen.flow[still].norm(dim=-1).median() > 0.01


@pytest.mark.parametrize("seed", [43, 45])
def test_optical_flow_ends_where_the_truth_is_seen(seed):
    exact = Truth(seed)
    checked = 0
    for frame, time in ((0, 3), (3, 0), (2, 1)):
        found = optical_flow(
            exact.points[time, frame],
            world_from_camera_to=exact.poses[time],
            intrinsics_to=exact.intrinsics[time],
        )
        camera = _in_camera(exact.points[time, frame], exact.poses[time])
        pixel = torch.einsum("ij,hwj->hwi", exact.intrinsics[time], camera)
        xy = pixel[..., :2] / pixel[..., 2:]
        y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(64) + 0.5, indexing="ij")
        expected = xy - torch.stack([x, y], dim=-1)
        valid = exact.valid[frame] & (camera[..., 2] > 0)
        assert torch.equal(found.valid, valid)
        miss = (found.flow_px - expected)[valid].norm(dim=-1)
        assert (miss <= 1e-5 * (1 + expected[valid].norm(dim=-1))).all()
        # The engine's own depth test says that what is visible lies inside.
        visible = exact.truth.visible[0, time, frame]
        assert found.inside[visible].all()
        outside = (xy < 0).any(-1) | (xy[..., 0] > 64) | (xy[..., 1] > 48)
        assert not found.inside[outside | ~valid].any()
        checked += int(visible.sum())
    assert checked > 2000


def test_optical_flow_into_the_own_frame_is_nothing(exact):
    found = optical_flow(
        exact.points[2, 2],
        world_from_camera_to=exact.poses[2],
        intrinsics_to=exact.intrinsics[2],
    )
    assert found.flow_px[found.valid].abs().max() < 2e-3
    assert torch.equal(found.valid, exact.valid[2])


def test_a_turn_of_the_camera_moves_every_pixel_by_its_homography():
    generator = torch.Generator().manual_seed(3)
    depth = 1 + torch.rand(8, 10, generator=generator, dtype=torch.float64)
    intrinsics = torch.tensor([[9.0, 0, 5], [0, 9, 4], [0, 0, 1]], dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(10) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1).double()
    points = depth[..., None] * (pixels @ torch.linalg.inv(intrinsics).T)
    angle = torch.tensor(0.2, dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 0] = pose[2, 2] = angle.cos()
    pose[0, 2], pose[2, 0] = angle.sin(), -angle.sin()
    found = optical_flow(points, world_from_camera_to=pose, intrinsics_to=intrinsics)
    moved = pixels @ (intrinsics @ pose[:3, :3].T @ torch.linalg.inv(intrinsics)).T
    expected = moved[..., :2] / moved[..., 2:] - pixels[..., :2]
    torch.testing.assert_close(found.flow_px, expected, rtol=1e-12, atol=1e-12)
    assert found.inside.any()
    assert not found.inside.all()


def test_clips_go_in_batches_of_any_shape(exact):
    own = torch.stack([exact.points[i, i] for i in range(4)]).unflatten(0, (2, 2))
    there = torch.stack([exact.points[(i + 1) % 4, i] for i in range(4)]).unflatten(0, (2, 2))
    poses = exact.poses.unflatten(0, (2, 2))
    later = exact.poses.roll(-1, dims=0).unflatten(0, (2, 2))
    lenses = exact.intrinsics.roll(-1, dims=0).unflatten(0, (2, 2))
    moved = object_flow(own, there)
    seen = scene_flow(own, there, world_from_camera_from=poses, world_from_camera_to=later)
    image = optical_flow(there, world_from_camera_to=later, intrinsics_to=lenses)
    for a in range(2):
        for b in range(2):
            alone = scene_flow(
                own[a, b],
                there[a, b],
                world_from_camera_from=poses[a, b],
                world_from_camera_to=later[a, b],
            )
            flow = optical_flow(
                there[a, b], world_from_camera_to=later[a, b], intrinsics_to=lenses[a, b]
            )
            torch.testing.assert_close(seen.flow[a, b], alone.flow)
            torch.testing.assert_close(image.flow_px[a, b], flow.flow_px)
            torch.testing.assert_close(moved.flow[a, b], object_flow(own[a, b], there[a, b]).flow)


def test_what_is_unusable_or_behind_flows_nowhere_and_leaves_gradients_finite():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(3, 4, 3, generator=generator, dtype=torch.float64)
    points[..., 2] = 2 + points[..., 2].abs()
    points[0, 0] = torch.nan
    points[0, 1, 2] = torch.inf
    points[0, 2, 2] = -1.0
    points[0, 3, 2] = 0.0
    confidence = torch.ones(3, 4, dtype=torch.float64)
    confidence[1, 0] = 0.0
    points.requires_grad_()
    pose = torch.eye(4, dtype=torch.float64, requires_grad=True)
    intrinsics = torch.diag(torch.tensor([5.0, 5.0, 1.0], dtype=torch.float64))
    image = optical_flow(
        points, world_from_camera_to=pose, intrinsics_to=intrinsics, confidence_to=confidence
    )
    start = torch.ones(3, 4, 3, dtype=torch.float64)
    moved = object_flow(start, points, confidence_to=confidence)
    seen = scene_flow(
        start,
        points,
        world_from_camera_from=torch.eye(4, dtype=torch.float64),
        world_from_camera_to=pose,
        confidence_to=confidence,
    )
    usable = torch.ones(3, 4, dtype=torch.bool)
    usable[0, :2] = usable[1, 0] = False
    assert torch.equal(moved.valid, usable)
    assert torch.equal(seen.valid, usable)
    usable[0, 2:] = False
    assert torch.equal(image.valid, usable)
    assert (image.flow_px[~usable] == 0).all()
    total = image.flow_px.square().sum() + moved.flow.square().sum() + seen.flow.square().sum()
    total.backward()
    assert points.grad.isfinite().all()
    assert pose.grad.isfinite().all()
    assert (points.grad[1, 0] == 0).all()
    assert points.grad[2].abs().min() > 0


def test_flows_have_the_gradients_of_their_formulas():
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    points[..., 2] += 4
    points.requires_grad_()
    intrinsics = torch.tensor([[5.0, 0, 1], [0, 5, 1], [0, 0, 1]], dtype=torch.float64)

    def flow(p):
        pose = torch.eye(4, dtype=torch.float64)
        return optical_flow(p, world_from_camera_to=pose, intrinsics_to=intrinsics).flow_px

    assert torch.autograd.gradcheck(flow, points)


def test_nothing_usable_is_a_defined_answer():
    nothing = torch.full((2, 3, 3), torch.nan)
    found = object_flow(nothing, nothing)
    assert not found.valid.any()
    assert (found.flow == 0).all()
    image = optical_flow(nothing, world_from_camera_to=torch.eye(4), intrinsics_to=torch.eye(3))
    assert not image.valid.any()
    assert not image.inside.any()
    assert (image.flow_px == 0).all()


def test_unusable_points_are_those_that_are_not_finite_or_of_no_finite_confidence():
    points = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[0, 1], points[1, 2], points[2, 0] = torch.nan, torch.inf, -torch.inf
    confidence = torch.tensor([1, 1, 1, 0, torch.inf, torch.nan, 2])
    assert usable_points(points).tolist() == [False] * 3 + [True] * 4
    assert usable_points(points, confidence).tolist() == [False] * 6 + [True]
    assert not usable_points(points, -confidence).any()
