"""The scenes that benchmarks ask: their maps, cameras and pixels belong together."""

import sys

import numpy as np
import pytest
import torch

from dynapoint.evaluation.clips import TruthClip
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.reconstruction import Reconstruction
from exact_pairs import exact_clip
from folders import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from grid_scenes import true_scene

_STRIDE, _FRAMES = 4, 3


@pytest.fixture(scope="module")
def clip() -> TruthClip:
    """A clip of the engine of which every fourth pixel is kept, as in the rendered bench."""
    batch = exact_clip(7, frames=_FRAMES, image_hw=(64, 80))
    truth = batch.truth(torch.arange(_FRAMES)[None], torch.arange(_FRAMES)[None])
    grid = slice(_STRIDE // 2, None, _STRIDE)
    points = truth.points[0][:, :, grid, grid].numpy().copy()
    # The engine's scene fills the picture, so that its upper rows are made sky.
    points[:, :, :2] = np.nan
    return TruthClip(
        name="engine",
        images=batch.images[0].numpy(),
        points=points,
        visible=truth.visible[0][:, :, grid, grid].numpy(),
        instance=np.zeros((_FRAMES, 16, 20), np.uint8),
        intrinsics=batch.intrinsics[0, 0].double().numpy(),
        world_from_camera=batch.world_from_camera[0].double().numpy(),
        stride=_STRIDE,
    )


@pytest.fixture(scope="module")
def scene(clip: TruthClip) -> Reconstruction:
    return true_scene(clip)


def test_own_points_fall_on_pixel_centres_of_map_and_image(
    clip: TruthClip, scene: Reconstruction
) -> None:
    rows, columns = clip.points.shape[2:4]
    centres = np.stack(np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5), axis=-1)
    known = scene.own_time_confidence > 0
    assert known.any(axis=(1, 2)).all()
    for frame in range(_FRAMES):
        camera = points_in_camera(
            scene.own_time_points[frame].astype(np.float64), scene.world_from_camera[frame]
        )[known[frame]]
        in_map = project(camera, scene.map_intrinsics[frame])
        in_image = project(camera, scene.intrinsics[frame])
        assert np.abs(in_map - centres[known[frame]]).max() < 1e-3
        wanted = clip.grid_xy.reshape(rows, columns, 2)[known[frame]]
        assert np.abs(in_image - wanted).max() < 1e-3 * _STRIDE


def test_queries_at_the_grid_give_the_truth_at_every_time(
    clip: TruthClip, scene: Reconstruction
) -> None:
    known = np.isfinite(clip.points).all(axis=(0, -1))
    for frame in range(_FRAMES):
        xy = clip.grid_xy[known[frame].ravel()]
        found = scene.query(frame=frame, xy=xy)
        np.testing.assert_allclose(found.points, clip.points[:, frame, known[frame]], atol=1e-5)
        assert (found.confidence > 0).all()


def test_sky_takes_part_in_nothing(clip: TruthClip, scene: Reconstruction) -> None:
    unknown = ~np.isfinite(clip.points).all(axis=-1)
    assert unknown.any()
    for time in range(_FRAMES):
        points, confidence = scene.maps_at(time=time)
        assert np.isfinite(points).all()
        np.testing.assert_array_equal(confidence == 0, unknown[time])
