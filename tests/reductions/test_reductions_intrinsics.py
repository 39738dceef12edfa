"""Intrinsics from point maps against the cameras that made them."""

import pytest
import torch

from dynapoint.errors import InputError
from dynapoint.geometry.pinhole import pixel_centres, unproject
from dynapoint.geometry.rigid import invert_rigid, transform_points
from dynapoint.geometry.similarity import shared_focal
from dynapoint.reductions.intrinsics import (
    choose_pixels,
    fit_focal,
    fit_focal_and_principal_point,
)
from exact_pairs import exact_clip

HW = (40, 56)


def lens(fx: float, fy: float, cx: float = 28.0, cy: float = 20.0) -> torch.Tensor:
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def depths(*batch: int, seed: int = 0, image_hw: tuple[int, int] = HW) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1 + 4 * torch.rand(*batch, *image_hw, generator=generator, dtype=torch.float64)


def seen_through(intrinsics: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """The exact point map of a depth map."""
    xy = pixel_centres((depth.shape[-2], depth.shape[-1]), dtype=torch.float64).flatten(0, 1)
    batch = depth.shape[:-2]
    lenses = intrinsics.expand(*batch, 3, 3)
    points = unproject(xy.expand(*batch, -1, -1), depth.flatten(-2), lenses)
    return points.reshape(*depth.shape, 3)


def spoiled(points: torch.Tensor, share: float = 0.4, seed: int = 1) -> torch.Tensor:
    """Some points anywhere: half of them far too near, so that their slopes are huge."""
    generator = torch.Generator().manual_seed(seed)
    anywhere = 2 * torch.randn(points.shape, generator=generator, dtype=points.dtype)
    near = points * points.new_tensor([1.0, 1.0, 0.2])
    pick = torch.rand(points.shape[:-1], generator=generator)[..., None]
    return torch.where(pick < share / 2, near, torch.where(pick < share, anywhere, points))


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("outliers", [0.0, 0.4])
def test_focal_and_principal_point_are_exact(square, outliers):
    true = lens(47.0, 47.0 if square else 61.0, 31.0, 17.5)
    points = spoiled(seen_through(true, depths(3)), outliers)
    weight = torch.ones(3, *HW).double()
    joint = fit_focal_and_principal_point(points, weight, square_pixels=square)
    known = fit_focal(points, weight, principal_point_px=(31.0, 17.5), square_pixels=square)
    for found in (joint, known):
        torch.testing.assert_close(found.intrinsics, true.expand(3, 3, 3), rtol=1e-9, atol=1e-9)
        assert float(found.residual_px.max()) < 1e-9
        # Points behind the camera are left out.
        assert found.used.tolist() == (points[..., 2] > 0).sum(dim=(1, 2)).tolist()


def test_type_and_shape_are_those_of_the_points():
    points = seen_through(lens(50, 50), depths())
    single = fit_focal(points.float(), torch.ones(*HW))
    assert single.intrinsics.dtype == single.residual_px.dtype == torch.float32
    assert single.intrinsics.shape == (3, 3) and single.used.shape == ()
    torch.testing.assert_close(single.intrinsics.double(), lens(50, 50), rtol=1e-6, atol=1e-5)
    double = fit_focal(points.expand(2, 4, -1, -1, -1), torch.ones(2, 4, *HW).double())
    assert double.intrinsics.shape == (2, 4, 3, 3) and double.residual_px.shape == (2, 4)


def test_units_do_not_matter():
    points = seen_through(lens(50, 50), depths())
    for scale in (1e-4, 1e4):
        found = fit_focal_and_principal_point(scale * points, torch.ones(*HW).double())
        torch.testing.assert_close(found.intrinsics, lens(50, 50), rtol=1e-9, atol=1e-9)


def test_a_shared_camera_is_one_for_all_frames_and_pools_their_pixels():
    points = seen_through(lens(50, 50), depths(3))
    points[2] = seen_through(lens(80, 80), depths())
    weight = torch.ones(3, *HW).double()
    weight[0] = 0
    # Most of the weight is on the middle frame; the first one alone would have no camera.
    weight[1] *= 3
    shared = fit_focal(points, weight, shared=True)
    torch.testing.assert_close(
        shared.intrinsics, lens(50, 50).expand(3, 3, 3), rtol=1e-6, atol=1e-6
    )
    assert shared.used.tolist() == [2 * HW[0] * HW[1]] * 3
    apart = fit_focal(points, weight)
    assert apart.intrinsics[0].isnan().all()
    torch.testing.assert_close(apart.intrinsics[2], lens(80, 80), rtol=1e-9, atol=1e-9)
    stacked = fit_focal(points.expand(2, 3, -1, -1, -1), weight.expand(2, 3, -1, -1), shared=True)
    torch.testing.assert_close(stacked.intrinsics, shared.intrinsics.expand(2, 3, 3, 3))


def test_noise_and_outliers_have_bounded_influence():
    true = lens(400.0, 400.0, 262.0, 140.0)
    points = seen_through(true, depths(4, image_hw=(294, 518)))
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(points.shape, generator=generator, dtype=torch.float64)
    noisy = spoiled(points + 0.02 * points[..., 2:] * noise)
    weight = torch.ones(noisy.shape[:-1]).double()
    found = fit_focal_and_principal_point(noisy, weight, shared=True)
    # Eleven pixels of noise on each point and two outliers among five.
    assert 8 < float(found.residual_px[0]) < 30
    assert abs(float(found.intrinsics[0, 0, 0]) / 400 - 1) < 0.02
    assert float((found.intrinsics[0, :2, 2] - true[:2, 2]).norm()) < 2


def test_noise_does_not_shorten_the_focal_length_as_it_does_when_pixels_are_explained():
    points = seen_through(lens(50, 50), depths(8))
    generator = torch.Generator().manual_seed(5)
    points = (
        points + 0.2 * points[..., 2:] * torch.randn(points.shape, generator=generator).double()
    )
    weight = torch.ones(8, *HW).double()
    ours = float(fit_focal(points, weight, shared=True).intrinsics[0, 0, 0])
    centred = (pixel_centres(HW).double() - torch.tensor([28.0, 20.0])).flatten(0, 1)
    theirs = shared_focal(points.flatten(0, 2), centred.repeat(8, 1), weight.flatten())
    assert abs(ours - 50) < 1
    assert float(theirs) < 45


def test_cameras_of_the_data_engine():
    clip = exact_clip(7, frames=3, image_hw=(48, 64))
    order = torch.arange(3)[None]
    truth = clip.truth(order, order)
    own = torch.stack([truth.points[0, i, i] for i in range(3)]).double().flatten(1, 2)
    camera = transform_points(invert_rigid(clip.world_from_camera[0].double()), own)
    camera = camera.reshape(3, 48, 64, 3)
    weight = truth.valid[0].double()
    true = clip.intrinsics[0].double()
    joint = fit_focal_and_principal_point(camera, weight, square_pixels=False)
    torch.testing.assert_close(joint.intrinsics, true, rtol=1e-5, atol=1e-3)
    centre = (float(true[0, 0, 2]), float(true[0, 1, 2]))
    focal = fit_focal(camera, weight, principal_point_px=centre, shared=True)
    torch.testing.assert_close(focal.intrinsics[:, 0, 0], true[:, 0, 0], rtol=1e-5, atol=0)


def test_a_plane_that_faces_the_camera_is_enough():
    points = seen_through(lens(50, 55, 30, 18), torch.full(HW, 3.0).double())
    found = fit_focal_and_principal_point(points, torch.ones(*HW).double(), square_pixels=False)
    torch.testing.assert_close(found.intrinsics, lens(50, 55, 30, 18), rtol=1e-9, atol=1e-9)


def only(*pixels: tuple[int, int]) -> torch.Tensor:
    weight = torch.zeros(*HW).double()
    for row, column in pixels:
        weight[row, column] = 1
    return weight


GOOD = seen_through(lens(50, 50), depths())
ALL = torch.ones(*HW).double()
DEGENERATE = {
    "all masked": (GOOD, 0 * ALL, 0),
    "NaN points": (torch.full_like(GOOD, torch.nan), ALL, 0),
    "NaN weight": (GOOD, torch.nan * ALL, 0),
    "behind": (-GOOD, ALL, 0),
    "one ray": (torch.tensor([0.1, -0.2, 2.0]).double().expand(*HW, 3).clone(), ALL, 40 * 56),
    "inside out": (GOOD * GOOD.new_tensor([-1.0, -1.0, 1.0]), ALL, 40 * 56),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_determines_no_camera_gives_nan(name, dtype):
    points, weight, used = DEGENERATE[name]
    points, weight = points.to(dtype), weight.to(dtype)
    for square in (True, False):
        joint = fit_focal_and_principal_point(points, weight, square_pixels=square)
        focal = fit_focal(points, weight, square_pixels=square)
        # One ray fixes a focal length only together with the pixels' mean.
        for found in (joint, focal) if name != "one ray" else (joint,):
            assert found.intrinsics.isnan().all() and found.residual_px.isnan()
            assert int(found.used) == used


def test_how_few_pixels_suffice():
    one, two = only((3, 5)), only((3, 5), (30, 40))
    torch.testing.assert_close(fit_focal(GOOD, one).intrinsics, lens(50, 50))
    assert fit_focal_and_principal_point(GOOD, one).intrinsics.isnan().all()
    torch.testing.assert_close(fit_focal_and_principal_point(GOOD, two).intrinsics, lens(50, 50))
    row = only((3, 5), (3, 20))
    assert fit_focal_and_principal_point(GOOD, row, square_pixels=False).intrinsics.isnan().all()


def test_unusable_pixels_do_no_harm():
    points, weight = GOOD.clone(), ALL.clone()
    points[:10], weight[20:, 30:] = torch.nan, 0
    points[25, 40] = 1e30
    found = fit_focal_and_principal_point(points, weight)
    torch.testing.assert_close(found.intrinsics, lens(50, 50), rtol=1e-9, atol=1e-9)
    assert int(found.used) == int(((weight > 0) & points[..., 0].isfinite()).sum())


def test_the_focal_length_follows_its_gradient():
    stretch = torch.ones((), dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(3)
    noisy = GOOD + 0.05 * torch.randn(GOOD.shape, generator=generator).double()
    points = noisy * torch.stack([stretch, stretch, torch.ones_like(stretch)])
    points = torch.cat([torch.full_like(points[:5], torch.nan), points[5:]])
    focal = fit_focal(points, ALL).intrinsics[0, 0]
    focal.backward()
    # Points twice as far off the axis are seen with half the focal length.
    torch.testing.assert_close(stretch.grad, -focal.detach(), rtol=1e-6, atol=0)


def test_a_principal_point_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="principal point"):
        fit_focal(GOOD, ALL, principal_point_px=(float("nan"), 2.0))


def test_chosen_pixels_are_usable_different_and_spread():
    usable = torch.rand(3, 256 * 256) < torch.tensor([[0.9], [0.4], [0.001]])
    index, known = choose_pixels(usable, most=1024)
    counts = usable.sum(dim=1).clamp_max(1024)
    assert known.sum(dim=1).tolist() == counts.tolist()
    for k in range(3):
        chosen = index[k, known[k]]
        assert usable[k, chosen].all() and len(chosen.unique()) == len(chosen)
    for axis in (index[0] // 256, index[0] % 256):
        eighths = torch.bincount(axis // 32, minlength=8)
        assert 80 < int(eighths.min()) and int(eighths.max()) < 180
    assert torch.equal(index, choose_pixels(usable, most=1024)[0])
