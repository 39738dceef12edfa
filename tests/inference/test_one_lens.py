"""One lens with square pixels for a film, whatever a network says of its frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import dynapoint
from dynapoint.errors import ConfigError
from dynapoint.exports.colmap import write_colmap
from dynapoint.exports.options import ExportOptions
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.inference.lens import checked_rule, square_lenses
from dynapoint.results.pixel_map import PixelMap
from fake_model import FakeModel, picture_array


class WanderingLens(FakeModel):
    """The fake model seen through another lens, longer along x or y, in every frame."""

    def encode(self, images):
        encoded = super().encode(images)
        cameras, maps = encoded.cameras, encoded.own_time
        generator = torch.Generator().manual_seed(images.shape[1])
        longer = 1 + 0.2 * torch.rand(1, images.shape[1], 2, generator=generator)
        intrinsics = cameras.intrinsics.clone()
        intrinsics[..., [0, 1], [0, 1]] *= longer
        intrinsics[..., :2, 2] += 5 * torch.rand(1, images.shape[1], 2, generator=generator)
        # Points of a lens that long project where those of the fake's own did.
        turns = cameras.world_from_camera[..., :3, :3]
        places = cameras.world_from_camera[:, :, None, None, :3, 3]
        inside = torch.einsum("bfji,bfhwj->bfhwi", turns, maps.points - places)
        pixels = torch.einsum("bfij,bfhwj->bfhwi", cameras.intrinsics, inside)
        inside = torch.einsum("bfij,bfhwj->bfhwi", torch.linalg.inv(intrinsics), pixels)
        return replace(
            encoded,
            own_time=replace(
                maps, points=torch.einsum("bfij,bfhwj->bfhwi", turns, inside) + places
            ),
            cameras=replace(cameras, intrinsics=intrinsics),
        )


@pytest.mark.parametrize("size", [(100, 131), (131, 100), (64, 64)])
@pytest.mark.parametrize("lens", ["shared", "per-frame"])
def test_points_stay_on_their_pixels_and_as_deep(size, lens):
    pictures = picture_array(5, *size)
    rec = dynapoint.reconstruct(pictures, WanderingLens(), lens=lens)
    focal = rec.intrinsics[:, [0, 1], [0, 1]]
    np.testing.assert_allclose(focal[:, 0], focal[:, 1], rtol=1e-12)
    assert (len(np.unique(rec.intrinsics, axis=0)) == 1) == (lens == "shared")
    told = WanderingLens().encode(torch.zeros(1, 5, 3, *rec.map_hw)).cameras.intrinsics[0].double()
    told = (np.linalg.inv(rec.pixel_map.map_from_image) @ told.numpy())[:, [0, 1], [0, 1]]
    each = np.exp(np.log(told).mean(axis=1))
    wanted = np.full(5, np.median(each)) if lens == "shared" else each
    np.testing.assert_allclose(focal[:, 0], wanted, rtol=1e-6)
    rows, columns = rec.map_hw
    pixels = np.stack(np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5), axis=-1)
    fake = FakeModel().encode(torch.zeros(1, 5, 3, *rec.map_hw)).own_time.points[0].numpy()
    for frame in range(5):
        inside = points_in_camera(rec.own_time_points[frame], rec.world_from_camera[frame])
        np.testing.assert_allclose(
            project(inside.astype(float), rec.map_intrinsics[frame]), pixels, atol=2e-3
        )
        np.testing.assert_allclose(inside[..., 2], fake[frame, ..., 2], rtol=1e-6)


def test_what_moves_is_stretched_with_its_picture():
    # The world of a lens of twice the focal length is half as wide; depths are the same.
    class Long(WanderingLens):
        def encode(self, images):
            encoded = FakeModel.encode(self, images)
            intrinsics = encoded.cameras.intrinsics.clone()
            intrinsics[:, 1:, [0, 1], [0, 1]] *= 4.0
            return replace(encoded, cameras=replace(encoded.cameras, intrinsics=intrinsics))

    rec = dynapoint.reconstruct(picture_array(3, 64, 64), Long())
    np.testing.assert_allclose(rec.intrinsics[:, 0, 0], 256.0, rtol=1e-12)
    plain = dynapoint.reconstruct(picture_array(3, 64, 64), Long(), lens="per-frame")
    for time in (0, 1, 2):
        got, own = rec.maps(frame=0, time=time)[0], plain.maps(frame=0, time=time)[0]
        np.testing.assert_allclose(got, own * [0.25, 0.25, 1.0], rtol=1e-5, atol=1e-6)
        # Frames whose lens is that of all stay as they are.
        np.testing.assert_allclose(
            rec.maps(frame=1, time=time)[0], plain.maps(frame=1, time=time)[0], atol=1e-6
        )


def test_lenses_that_are_one_already_leave_all_as_it_is():
    pictures = picture_array(4, 64, 64)
    rec = dynapoint.reconstruct(pictures, FakeModel())
    maps = FakeModel().encode(torch.zeros(1, 4, 3, *rec.map_hw)).own_time.points[0].numpy()
    np.testing.assert_array_equal(rec.own_time_points, maps)


def test_given_intrinsics_are_kept_as_they_are():
    rec = dynapoint.reconstruct(
        picture_array(3, 64, 64), WanderingLens(), intrinsics=[70.0, 90.0, 30.0, 33.0]
    )
    np.testing.assert_allclose(rec.intrinsics[2, [0, 1], [0, 1]], [70.0, 90.0], rtol=1e-12)


def test_pictures_of_different_sizes_keep_lenses_of_their_own():
    scale = np.array([[0.5, 0.4], [0.25, 0.2]])
    pixel_map = PixelMap(
        scale=scale,
        offset=np.zeros((2, 2)),
        picture_hw=np.array([[100, 80], [200, 160]]),
        map_hw=(40, 40),
    )
    lenses = np.tile(np.eye(3), (2, 1, 1))
    lenses[:, [0, 1], [0, 1]] = [[50.0, 60.0], [30.0, 20.0]]
    found = np.linalg.inv(pixel_map.map_from_image) @ square_lenses(lenses, pixel_map, shared=False)
    np.testing.assert_allclose(found[:, 0, 0], np.sqrt([100.0 * 150.0, 120.0 * 100.0]))
    np.testing.assert_allclose(found[:, 0, 0], found[:, 1, 1])


def test_colmap_has_one_camera(tmp_path):
    rec = dynapoint.reconstruct(picture_array(6, 50, 70), WanderingLens())
    write_colmap(rec, tmp_path / "colmap", ExportOptions())
    lines = (tmp_path / "colmap/sparse/0/cameras.txt").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == 1


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match=r"lens is .zoom.; give .shared. or .per-frame."):
        checked_rule("zoom")
