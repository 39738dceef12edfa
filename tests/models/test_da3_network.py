"""Depth Anything 3 as a model: what `encode` gives, known cameras, its parts by definition."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dynapoint.errors import ModelError, ShapeError
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.da3.config import da3_miniature
from dynapoint.models.da3.network import Da3Network, scale_of_known, with_far_sky
from dynapoint.models.da3.preparation import published_picture, published_size
from dynapoint.models.da3.ray_cameras import cameras_from_rays
from dynapoint.models.layers.compute import ComputeOptions
from dynapoint.models.protocol import EncodeRequest, InformedModel, check_model
from golden_da3 import build_da3_network

HW = (42, 56)


@pytest.fixture(scope="module")
def network() -> Da3Network:
    return build_da3_network(da3_miniature(), dtype=torch.float32)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(1, 4, 3, *HW, generator=torch.Generator().manual_seed(1))


def random_poses(count: int, seed: int = 0, spread: float = 2.0) -> torch.Tensor:
    """World-from-camera matrices (1, count, 4, 4)."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (1, count, 1, 1))
    poses[0, :, :3, :3] = Rotation.random(count, rng=rng).as_matrix()
    poses[0, :, :3, 3] = spread * rng.standard_normal((count, 3))
    return torch.from_numpy(poses)


def projected(points, camera, lens):  # type: ignore[no-untyped-def]
    """Places in pixels, and depths, of points in a camera (float64, written out)."""
    seen = (np.linalg.inv(camera) @ np.append(points, 1.0))[:3]
    x, y, _ = lens @ seen
    return x / seen[2], y / seen[2], seen[2]


def test_it_is_a_model(network):
    check_model(network)
    assert isinstance(network, InformedModel)
    assert network.info.takes_poses and network.info.published_images == "da3"


def test_points_lie_at_their_pixels_and_depths(network, images):
    encoded = network.encode(images)
    features = network.features(images)
    depth = network.depth_maps(features, HW)
    cameras, own = encoded.cameras, encoded.own_time
    assert torch.equal(cameras.world_from_camera[0, 0], torch.eye(4))
    assert torch.equal(own.confidence, depth.confidence) and float(own.confidence.min()) >= 1
    for view, row, column in ((0, 0, 0), (1, 41, 3), (3, 20, 55)):
        x, y, z = projected(
            own.points[0, view, row, column].double().numpy(),
            cameras.world_from_camera[0, view].double().numpy(),
            cameras.intrinsics[0, view].double().numpy(),
        )
        assert (x, y) == pytest.approx((column + 0.5, row + 0.5), abs=1e-3)
        assert z == pytest.approx(float(depth.depth[0, view, row, column]), rel=1e-4)


def test_the_world_is_still(network, images):
    encoded = network.encode(images)
    for time in (0, 2):
        maps = network.decode(encoded, time=time, frames=[3, 1])
        assert torch.equal(maps.points, encoded.own_time.points[:, [3, 1]])
        assert torch.equal(maps.confidence, encoded.own_time.confidence[:, [3, 1]])


def test_heads_in_parts_and_examples_of_a_batch_change_rounding_only(network, images):
    whole = network.encode(torch.cat([images, images.flip(1)]))
    alone = network.use(ComputeOptions(head_frames_at_once=1)).encode(images)
    network.use(ComputeOptions())
    assert torch.allclose(whole.own_time.points[:1], alone.own_time.points, rtol=1e-3, atol=1e-4)


def test_sides_that_do_not_fit(network):
    with pytest.raises(ShapeError, match="multiples of 14, got 42 × 50"):
        network.encode(torch.rand(1, 2, 3, 42, 50))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reference": 1}, "leaves no choice of the reference"),
        ({"intrinsics": torch.eye(3).expand(1, 4, 3, 3)}, "no intrinsics without poses; give both"),
        ({"world_from_camera": random_poses(4).float()}, "need known intrinsics; give both"),
    ],
)
def test_requests_that_it_refuses(network, images, given, message):
    with pytest.raises(ModelError, match=message):
        network.encode(images, EncodeRequest(**given))


def test_networks_without_poses_refuse_them(network):
    request = EncodeRequest(
        world_from_camera=random_poses(4).float(), intrinsics=torch.eye(3).expand(1, 4, 3, 3)
    )
    with pytest.raises(ModelError, match="takes no known poses"):
        request.check(replace(network.info, takes_poses=False), 4)


def known_lens(count: int) -> torch.Tensor:
    lens = torch.tensor([[50.0, 0, 27.0], [0, 48.0, 22.0], [0, 0, 1]])
    return lens.expand(1, count, 3, 3)


def test_known_cameras_come_out_as_they_are(network, images):
    poses = random_poses(4).float()
    encoded = network.encode(
        images, EncodeRequest(world_from_camera=poses, intrinsics=known_lens(4))
    )
    assert torch.equal(encoded.cameras.intrinsics, known_lens(4))
    wanted = torch.linalg.inv(poses[:, :1].double()) @ poses.double()
    assert torch.allclose(encoded.cameras.world_from_camera.double(), wanted, atol=1e-5)
    # The published steps, written out: tokens of normalised cameras, the depth of the network
    # divided by the scale of the similarity from the given places to the predicted ones.
    tokens = network.known_tokens(invert_rigid(poses), known_lens(4), HW)
    depth = network.depth_maps(network.features(images, tokens), HW).depth.double()
    given, seen = (
        each[0, :, :3].double().numpy() for each in (poses[..., 3], encoded.encodings[..., :3])
    )
    scale = umeyama_scale(given, seen)
    for view, row, column in ((0, 5, 5), (2, 30, 50)):
        x, y, z = projected(
            encoded.own_time.points[0, view, row, column].double().numpy(),
            encoded.cameras.world_from_camera[0, view].double().numpy(),
            known_lens(4)[0, view].double().numpy(),
        )
        assert (x, y) == pytest.approx((column + 0.5, row + 0.5), abs=1e-3)
        assert z == pytest.approx(float(depth[0, view, row, column]) / scale, rel=1e-4)


def umeyama_scale(source: np.ndarray, target: np.ndarray) -> float:
    """The scale of Umeyama's least-squares similarity (1991, equations 38 to 42)."""
    p, q = source - source.mean(0), target - target.mean(0)
    covariance = q.T @ p / len(p)
    left, singular, right = np.linalg.svd(covariance)
    sign = np.ones(3)
    if np.linalg.det(left) * np.linalg.det(right) < 0:
        sign[2] = -1
    return float((singular * sign).sum() / np.square(p).sum(1).mean())


def test_known_cameras_change_answers_and_only_through_their_shape(network, images):
    poses, lens = random_poses(4).float(), known_lens(4)

    def answer(given):  # type: ignore[no-untyped-def]
        request = EncodeRequest(world_from_camera=given, intrinsics=lens)
        return network.encode(images, request).own_time.points.double()

    first = answer(poses)
    assert not torch.allclose(first, network.encode(images).own_time.points.double(), rtol=0.01)
    # Another world, and another unit of length, in which all answers are then.
    moved = (random_poses(1, seed=7) @ poses.double()).float()
    assert torch.allclose(answer(moved), first, rtol=1e-3, atol=1e-3)
    longer = moved.clone()
    longer[..., :3, 3] *= 40
    assert torch.allclose(answer(longer) / 40, first, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [2, 3, 9, 10, 40])
def test_the_scale_of_known_cameras(count):
    given = random_poses(count, seed=count)
    seen = random_poses(1, seed=99) @ given
    seen[..., :3, 3] *= 0.37
    assert scale_of_known(given, seen) == pytest.approx(0.37, rel=1e-9)
    assert scale_of_known(given.float(), seen.float()).dtype == torch.float32


def test_the_scale_of_many_known_cameras_does_not_heed_a_few_that_are_wrong():
    given = random_poses(20)
    seen = random_poses(1, seed=99) @ given
    seen[..., :3, 3] *= 0.37
    seen[0, [3, 11], :3, 3] += 30
    assert scale_of_known(given, seen) == pytest.approx(0.37, rel=0.01)
    assert scale_of_known(given[:, :9], seen[:, :9]) != pytest.approx(0.37, rel=0.01)


def test_cameras_in_one_place_tell_no_scale():
    given = random_poses(3, spread=0.0)
    assert scale_of_known(given, random_poses(3, seed=5)) == pytest.approx(1.0)


def rays_of(poses, lens, hw, grid_hw):  # type: ignore[no-untyped-def]
    """Exact rays at the centres of a grid's cells (1, view, rows, columns, 6), in float64."""
    rows, columns = grid_hw
    x = (np.arange(columns) + 0.5) / columns * hw[1]
    y = (np.arange(rows) + 0.5) / rows * hw[0]
    place = np.stack([*np.meshgrid(x, y), np.ones((rows, columns))], axis=-1)
    found = []
    for pose, matrix in zip(poses[0].numpy(), lens[0].double().numpy(), strict=True):
        direction = place @ np.linalg.inv(matrix).T @ pose[:3, :3].T
        found.append(np.concatenate([direction, np.broadcast_to(pose[:3, 3], direction.shape)], -1))
    return torch.from_numpy(np.stack(found)[None])


def turned_a_little(count: int) -> torch.Tensor:
    """Cameras that look ahead, as all rays whose z is 0 or less are of no use."""
    poses = random_poses(count, seed=2)
    turns = Rotation.from_rotvec(np.random.default_rng(3).uniform(-0.3, 0.3, (count, 3)))
    poses[0, :, :3, :3] = torch.from_numpy(turns.as_matrix())
    return poses


def test_cameras_from_rays_of_any_length_despite_wrong_ones():
    poses, hw = turned_a_little(3), (84, 112)
    lens = torch.tensor([[90.0, 0, 56.0], [0, 80.0, 42.0], [0, 0, 1]]).expand(1, 3, 3, 3)
    rays = rays_of(poses, lens, hw, (12, 16))
    rng = np.random.default_rng(5)
    rays[..., :3] *= torch.from_numpy(rng.uniform(0.2, 5, (1, 3, 12, 16, 1)))
    confidence = torch.from_numpy(rng.uniform(1, 3, (1, 3, 12, 16)))
    found = cameras_from_rays(rays, confidence, hw)
    assert torch.allclose(found.world_from_camera, poses, atol=1e-8)
    assert torch.allclose(found.intrinsics, lens.double(), atol=1e-6)
    wrong = torch.from_numpy(rng.random((1, 3, 12, 16)) < 0.2)
    rays[wrong] += 3.0 * torch.from_numpy(rng.standard_normal((int(wrong.sum()), 6)))
    rays[..., 3:] = poses[..., None, None, :3, 3]
    found = cameras_from_rays(rays, confidence, hw)
    assert torch.allclose(found.world_from_camera, poses, atol=0.05)
    assert torch.allclose(found.intrinsics, lens.double(), atol=4)


def test_the_network_gives_cameras_by_its_rays(network, images):
    found = network.cameras_by_rays(network.features(images), HW)
    turn = found.world_from_camera[0, :, :3, :3].double()
    assert torch.allclose(turn @ turn.mT, torch.eye(3).double().expand(4, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(turn), torch.ones(4).double(), atol=1e-5)
    assert found.intrinsics.shape == (1, 4, 3, 3)


def test_sky_is_as_far_as_the_farthest_hundredth():
    rng = np.random.default_rng(0)
    depth, sky = rng.uniform(1, 50, (1, 2, 30, 40)), rng.uniform(0, 1, (1, 2, 30, 40))
    found = with_far_sky(torch.from_numpy(depth), torch.from_numpy(sky)).numpy()
    ground = sky < 0.3
    assert np.array_equal(found[ground], depth[ground])
    assert np.allclose(found[~ground], np.quantile(depth[ground], 0.99), rtol=1e-12)
    # Where nearly all is sky, or nearly nothing, nothing is filled.
    for odd in (np.zeros_like(sky), np.ones_like(sky)):
        odd.flat[:10] = 1 - odd.flat[:10]
        assert np.array_equal(with_far_sky(torch.from_numpy(depth), torch.from_numpy(odd)), depth)


@pytest.mark.parametrize(
    ("image_hw", "wanted"),
    [
        # The goldens' components.json, "upper_bound_resize"; sizes there are width x height.
        ((1080, 1920), (280, 504)),
        ((1920, 1080), (504, 280)),
        ((480, 640), (378, 504)),
        ((376, 504), (378, 504)),
        ((200, 3000), (28, 504)),
        ((1000, 511), (504, 252)),
        ((333, 777), (210, 504)),
        ((777, 333), (504, 210)),
        ((505, 503), (504, 504)),
        ((20, 20), (504, 504)),
        # A tie goes up: 511 is in the middle of 504 and 518.
        ((511, 504), (504, 504)),
        ((1, 3000), (14, 504)),
    ],
)
def test_sizes_of_prepared_pictures(image_hw, wanted):
    assert published_size(image_hw, image_side=504, patch_size=14) == wanted


def test_a_picture_that_fits_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (84, 112, 3)).astype(np.uint8)
    assert published_picture(picture, image_side=112, patch_size=14) is picture
    half = published_picture(picture, image_side=56, patch_size=14)
    # The area average of two by two pixels.
    means = picture.reshape(42, 2, 56, 2, 3).astype(float).mean(axis=(1, 3))
    assert half.shape == (42, 56, 3) and np.abs(half - means).max() <= 0.5
