"""Camera motion from point maps against true poses, pycolmap and SciPy."""

import numpy as np
import pycolmap
import pytest
import torch
from scipy.spatial.transform import Rotation

from dynapoint.errors import InputError
from dynapoint.geometry.pinhole import pixel_centres, unproject
from dynapoint.geometry.rigid import invert_rigid, rotation_angle_rad, transform_points
from dynapoint.reductions.camera_motion import (
    camera_disagreement,
    camera_motion_by_pnp,
    camera_motion_by_procrustes,
)
from exact_pairs import exact_clip

HW = (40, 56)
LENS = torch.tensor([[50.0, 0, 27], [0, 52.0, 21], [0, 0, 1]], dtype=torch.float64)
FRAMES = 4


def poses(count: int = FRAMES, *, shift: float = 0.5, turn: float = 0.4, seed: int = 0):
    """world_from_camera of which the first is the identity."""
    rng = np.random.default_rng(seed)
    matrices = np.tile(np.eye(4), (count, 1, 1))
    matrices[1:, :3, :3] = Rotation.from_rotvec(rng.normal(0, turn, (count - 1, 3))).as_matrix()
    matrices[1:, :3, 3] = rng.normal(0, shift, (count - 1, 3))
    return torch.from_numpy(matrices)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def maps(world_from_camera, *, depth=None, image_hw=HW, lens=LENS, seed=0):
    """Exact own-time points in the camera and in the world."""
    count = len(world_from_camera)
    if depth is None:
        depth = 1 + 4 * torch.rand(
            count, *image_hw, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
    xy = pixel_centres(image_hw, dtype=torch.float64).flatten(0, 1).expand(count, -1, -1)
    camera = unproject(xy, depth.flatten(1), lens.expand(count, 3, 3))
    world = transform_points(world_from_camera, camera)
    return camera.reshape(count, *image_hw, 3), world.reshape(count, *image_hw, 3)


def astray(points: torch.Tensor, share: float = 0.4, seed: int = 3) -> torch.Tensor:
    pick = torch.rand(points.shape[:-1], generator=torch.Generator().manual_seed(seed)) < share
    return torch.where(pick[..., None], points + 2 * normal(*points.shape, seed=seed), points)


def turns_deg(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(rotation_angle_rad(found[:, :3, :3].double(), true[:, :3, :3]))


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.float64)


SCENES = {
    "general": (poses(), None),
    "plane": (poses(), torch.full((FRAMES, *HW), 3.0).double()),
    "pure rotation": (poses(shift=0.0), None),
    "no motion": (poses(shift=0.0, turn=0.0), None),
    "half turns": (poses(turn=3.0), None),
}


@pytest.mark.parametrize("outliers", [0.0, 0.4])
@pytest.mark.parametrize("name", SCENES)
def test_pnp_is_exact(name, outliers):
    true, depth = SCENES[name]
    _, world = maps(true, depth=depth)
    found = camera_motion_by_pnp(
        astray(world, outliers), ones(FRAMES, *HW), LENS.expand(FRAMES, 3, 3)
    )
    torch.testing.assert_close(found.world_from_camera, true, rtol=0, atol=1e-9)
    assert float(found.residual_px.max()) < 1e-8
    assert (found.inlier_share - (1 - outliers)).abs().max() < (0.05 if outliers else 1e-12)
    assert found.used.tolist() == [HW[0] * HW[1]] * FRAMES


@pytest.mark.parametrize("outliers", [0.0, 0.4])
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("fit_scale", [False, True])
def test_procrustes_is_exact(name, outliers, fit_scale):
    true, depth = SCENES[name]
    camera, world = maps(true, depth=depth)
    scale = 2.5 if fit_scale else 1.0
    found = camera_motion_by_procrustes(
        astray(world, outliers), camera / scale, ones(FRAMES, *HW), fit_scale=fit_scale
    )
    torch.testing.assert_close(found.world_from_camera, true, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.scale, scale * ones(FRAMES), rtol=1e-9, atol=0)
    assert float(found.residual.max()) < 1e-8
    assert (found.inlier_share - (1 - outliers)).abs().max() < (0.05 if outliers else 1e-12)


def test_types_are_those_of_the_points():
    true = poses()
    camera, world = (x.float() for x in maps(true))
    confidence = torch.ones(FRAMES, *HW)
    pnp = camera_motion_by_pnp(world, confidence, LENS.float().expand(FRAMES, 3, 3))
    procrustes = camera_motion_by_procrustes(world, camera, confidence)
    for found in (pnp, procrustes):
        assert found.world_from_camera.dtype == found.inlier_share.dtype == torch.float32
        torch.testing.assert_close(found.world_from_camera, true.float(), rtol=0, atol=1e-5)
    empty = camera_motion_by_pnp(world[:0], confidence[:0], LENS.float().expand(0, 3, 3))
    assert empty.world_from_camera.shape == (0, 4, 4) and empty.used.shape == (0,)
    empty = camera_motion_by_procrustes(world[:0], camera[:0], confidence[:0])
    assert empty.world_from_camera.shape == (0, 4, 4) and empty.residual.shape == (0,)


def test_noise_and_outliers_have_bounded_influence_on_pnp_and_less_than_on_procrustes():
    size = (147, 259)
    lens = torch.tensor([[200.0, 0, 130], [0, 200, 73], [0, 0, 1]]).double()
    true = poses(6, turn=0.2)
    camera, world = maps(true, image_hw=size, lens=lens)
    eye = true[:, None, None, :3, 3]
    # Five per cent along the ray, as maps of networks have, and two pixels across it.
    along = 1 + 0.05 * normal(6, *size, 1, seed=1)
    across = 0.01 * camera[..., 2:] * normal(6, *size, 3, seed=2)
    noisy = astray(eye + (world - eye) * along + across)
    pnp = camera_motion_by_pnp(noisy, ones(6, *size), lens.expand(6, 3, 3))
    procrustes = camera_motion_by_procrustes(noisy, camera, ones(6, *size))
    errors = {}
    for name, found, most_deg, most_shift in (
        ("pnp", pnp, 0.15, 0.01),
        ("3d", procrustes, 0.4, 0.02),
    ):
        off = camera_disagreement(found.world_from_camera, true, scene_depth=3.0)
        errors[name] = float(off.rotation_deg.mean())
        assert float(off.rotation_deg.max()) < most_deg
        assert float(off.translation.max()) < most_shift
    assert errors["pnp"] < errors["3d"]
    assert 1 < float(pnp.residual_px.min()) and float(pnp.residual_px.max()) < 6


def test_pnp_agrees_with_pycolmap_on_noisy_points():
    true = poses(5, turn=0.2)
    _, world = maps(true)
    world = world + 0.01 * normal(*world.shape, seed=4)
    found = camera_motion_by_pnp(world, ones(5, *HW), LENS.expand(5, 3, 3)).world_from_camera
    camera = pycolmap.Camera(
        model="PINHOLE", width=HW[1], height=HW[0], params=[50.0, 52.0, 27.0, 21.0]
    )
    xy = pixel_centres(HW, dtype=torch.float64).flatten(0, 1).numpy()
    options = pycolmap.AbsolutePoseEstimationOptions()
    options.ransac.max_error = 3.0
    for frame in range(5):
        answer = pycolmap.estimate_and_refine_absolute_pose(
            xy, world[frame].flatten(0, 1).numpy(), camera, options
        )
        theirs = np.eye(4)
        theirs[:3] = answer["cam_from_world"].matrix()
        theirs = invert_rigid(torch.from_numpy(theirs))
        # Both are statistically efficient: they differ by less than either errs.
        assert float(turns_deg(found[frame][None], theirs[None])) < 0.05
        assert float((found[frame, :3, 3] - theirs[:3, 3]).norm()) < 0.005
        assert float(turns_deg(found[frame][None], true[frame][None])) < 0.06


def test_procrustes_agrees_with_scipy():
    true = poses(2, turn=1.0)
    camera, world = maps(true)
    world = world + 1e-4 * normal(*world.shape, seed=4)
    found = camera_motion_by_procrustes(world, camera, ones(2, *HW)).world_from_camera
    p, q = (x[1].flatten(0, 1).numpy() for x in (camera, world))
    theirs, _ = Rotation.align_vectors(q - q.mean(axis=0), p - p.mean(axis=0))
    difference = Rotation.from_matrix(found[1, :3, :3].numpy()) * theirs.inv()
    assert np.degrees(difference.magnitude()) < 1e-3


def test_cameras_of_the_data_engine_from_moving_scenes():
    clip = exact_clip(7, frames=FRAMES, image_hw=(48, 64))
    order = torch.arange(FRAMES)[None]
    truth = clip.truth(order, order)
    true, lenses = clip.world_from_camera[0].double(), clip.intrinsics[0].double()
    assert truth.moving.any()
    own = torch.stack([truth.points[0, i, i] for i in range(FRAMES)]).double()
    valid = truth.valid[0].double()
    pnp = camera_motion_by_pnp(own, valid, lenses)
    assert float(pnp.inlier_share.min()) == 1
    torch.testing.assert_close(pnp.world_from_camera, true, rtol=0, atol=5e-6)
    camera = transform_points(invert_rigid(true), own.flatten(1, 2)).reshape(own.shape)
    procrustes = camera_motion_by_procrustes(own, camera, valid)
    # The engine's poses are rounded to float32, and so not quite rotations.
    torch.testing.assert_close(procrustes.world_from_camera, true, rtol=0, atol=5e-7)
    # World points of another time: what moves must be masked, and then does nothing.
    first = truth.points[0, 0].double()
    masked = camera_motion_by_procrustes(first, camera, valid, moving=truth.moving[0].double())
    torch.testing.assert_close(masked.world_from_camera, true, rtol=0, atol=1e-4)


def test_weights_count():
    true = poses(2)
    camera, world = maps(true)
    other = transform_points(poses(2, seed=9)[1:], camera[1:].flatten(1, 2)).reshape(1, *HW, 3)
    # A majority of pixels tells of another camera, with little confidence.
    mixed = world.clone()
    mixed[1, :26] = other[0, :26]
    confidence = ones(2, *HW)
    confidence[1, :26] = 1e-9
    found = camera_motion_by_procrustes(mixed, camera, confidence)
    torch.testing.assert_close(found.world_from_camera, true, rtol=0, atol=1e-6)
    confidence[1, :26] = 0
    found = camera_motion_by_pnp(mixed, confidence, LENS.expand(2, 3, 3))
    torch.testing.assert_close(found.world_from_camera, true, rtol=0, atol=1e-9)
    moving = ones(2, *HW) - (confidence > 0).double()
    found = camera_motion_by_procrustes(mixed, camera, ones(2, *HW), moving=moving)
    torch.testing.assert_close(found.world_from_camera, true, rtol=0, atol=1e-9)


def test_a_given_start_helps_where_it_is_good_and_is_dropped_where_it_is_bad():
    true = poses()
    _, world = maps(true)
    lenses = LENS.expand(FRAMES, 3, 3)
    far = poses(seed=5, turn=2.0)
    found = camera_motion_by_pnp(world, ones(FRAMES, *HW), lenses, start_world_from_camera=far)
    torch.testing.assert_close(found.world_from_camera, true, rtol=0, atol=1e-9)
    spoiled = torch.full_like(far, torch.nan)
    found = camera_motion_by_pnp(world, ones(FRAMES, *HW), lenses, start_world_from_camera=spoiled)
    torch.testing.assert_close(found.world_from_camera, true, rtol=0, atol=1e-9)


def points_on(kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One frame's points, confidence and intrinsics that determine no pose."""
    _, world = maps(poses(1))
    confidence, lens = ones(1, *HW), LENS[None].clone()
    if kind == "masked":
        confidence *= 0
    elif kind == "three points":
        confidence *= 0
        confidence[0, [3, 20, 30], [5, 40, 20]] = 1
    elif kind == "NaN points":
        world *= torch.nan
    elif kind == "NaN confidence":
        confidence *= torch.nan
    elif kind == "one place":
        world = world[:, :1, :1].expand(-1, *HW, -1).clone()
    elif kind == "line":
        # One row of a wall that faces the camera: it may turn about that line unseen.
        _, world = maps(poses(1), depth=torch.full((1, *HW), 3.0).double())
        confidence *= 0
        confidence[0, 30] = 1
    elif kind == "line elsewhere":
        ahead = torch.linspace(1, 4, HW[0] * HW[1]).double().reshape(1, *HW, 1)
        world = ahead * torch.tensor([0.3, 0.2, 1]).double() + torch.tensor([0.1, 0.2, 0]).double()
    elif kind == "intrinsics":
        lens[0, 0, 0] = -1
    elif kind == "NaN intrinsics":
        lens *= torch.nan
    return world, confidence, lens


KINDS = [
    "masked",
    "three points",
    "NaN points",
    "NaN confidence",
    "one place",
    "line",
    "line elsewhere",
]


@pytest.mark.parametrize("kind", [*KINDS, "intrinsics", "NaN intrinsics"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pnp_keeps_the_start_where_nothing_is_determined(kind, dtype):
    world, confidence, lens = (x.to(dtype) for x in points_on(kind))
    start = poses(2)[1:].to(dtype)
    plain = camera_motion_by_pnp(world, confidence, lens)
    started = camera_motion_by_pnp(world, confidence, lens, start_world_from_camera=start)
    for found, pose in ((plain, torch.eye(4, dtype=dtype)[None]), (started, start)):
        assert torch.equal(found.world_from_camera, pose)
        assert float(found.inlier_share) == 0 and found.residual_px.isnan().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_procrustes_is_the_identity_where_nothing_is_determined(kind, dtype):
    world, confidence, _ = (x.to(dtype) for x in points_on(kind))
    camera = world
    if kind == "three points":
        confidence = confidence.clone()
        confidence[0, 3, 5] = 0
    found = camera_motion_by_procrustes(world, camera, confidence)
    assert torch.equal(found.world_from_camera, torch.eye(4, dtype=dtype)[None])
    assert float(found.scale) == 1
    assert float(found.inlier_share) == 0 and found.residual.isnan().all()


def test_few_and_unusable_points():
    true = poses(2)
    camera, world = maps(true)
    few = torch.zeros(2, *HW).double()
    few[:, [3, 20, 30, 35, 8], [5, 40, 20, 50, 30]] = 1
    world[:, 10:15] = torch.nan
    world[:, 16, 0] = 1e20
    for confidence in (few, ones(2, *HW)):
        pnp = camera_motion_by_pnp(world, confidence, LENS.expand(2, 3, 3))
        procrustes = camera_motion_by_procrustes(world, camera, confidence)
        for found in (pnp, procrustes):
            torch.testing.assert_close(found.world_from_camera, true, rtol=0, atol=1e-7)


def test_the_camera_follows_the_world_in_its_gradient():
    true = poses(2)
    camera, world = maps(true)
    world = world + 0.01 * normal(*world.shape, seed=1)
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    found = camera_motion_by_procrustes(world + shift, camera, ones(2, *HW))
    for axis in range(3):
        (gradient,) = torch.autograd.grad(
            found.world_from_camera[1, axis, 3], shift, retain_graph=True
        )
        torch.testing.assert_close(gradient, torch.eye(3).double()[axis], rtol=0, atol=1e-6)


def test_disagreement_is_that_of_the_cameras_seen_from_their_first():
    first = poses()
    second = first.clone()
    angles = torch.tensor([0.0, 1e-3, 0.2, 3.0]).double()
    for frame in range(1, FRAMES):
        turn = Rotation.from_rotvec([0, float(angles[frame]), 0]).as_matrix()
        second[frame, :3, :3] = first[frame, :3, :3] @ torch.from_numpy(turn)
        second[frame, 0, 3] += 0.1 * frame
    found = camera_disagreement(first, second, scene_depth=2.0)
    torch.testing.assert_close(found.rotation_deg, torch.rad2deg(angles), rtol=0, atol=1e-9)
    expected = 0.05 * torch.arange(FRAMES).double()
    torch.testing.assert_close(found.translation, expected, rtol=0, atol=1e-12)
    # Either may be given in a world of its own.
    elsewhere = poses(2, seed=8)[1] @ second
    again = camera_disagreement(first, elsewhere, scene_depth=2.0)
    torch.testing.assert_close(again.rotation_deg, found.rotation_deg, rtol=0, atol=1e-9)
    torch.testing.assert_close(again.translation, found.translation, rtol=0, atol=1e-12)
    second[2] = torch.nan
    broken = camera_disagreement(first, second, scene_depth=2.0)
    assert broken.rotation_deg.isnan().tolist() == [False, False, True, False]
    assert broken.translation.isnan().tolist() == [False, False, True, False]


@pytest.mark.parametrize("depth", [0.0, -1.0, float("nan"), float("inf")])
def test_disagreement_needs_a_depth(depth):
    with pytest.raises(InputError, match="depth"):
        camera_disagreement(poses(), poses(), scene_depth=depth)
