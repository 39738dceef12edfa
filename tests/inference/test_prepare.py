"""Preparing frames for a network, and finding their pixels again in its maps."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from PIL import Image

import dynapoint
from dynapoint.data.frames import Frames, load_frames
from dynapoint.errors import ConfigError, InputError
from dynapoint.inference.prepare import prepare_images
from dynapoint.models.protocol import PublishedImages
from dynapoint.results import contact_sheet, panels
from dynapoint.results.on_disk import store
from dynapoint.results.pictures import picture_in_map
from dynapoint.results.reconstruction import Reconstruction
from fake_model import FakeModel, picture_array, seen_from

# Height and width: portrait (cropped), landscape, and three that differ (padded, one cropped).
LAYOUTS = {
    "portrait": [(200, 96)],
    "landscape": [(70, 128), (70, 128)],
    "mixed": [(60, 80), (61, 97), (150, 100)],
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def ramp(height: int, width: int) -> np.ndarray:
    """Red grows with x and green with y, from 0.1 to 0.9; blue is 0."""
    y, x = np.mgrid[:height, :width] + 0.5
    channels = np.stack([x / width, y / height, np.zeros_like(x)], axis=-1)
    return np.round(255 * (channels * [0.8, 0.8, 0] + [0.1, 0.1, 0])).astype(np.uint8)


def ramp_frames(folder: Path, layout: str) -> Frames:
    paths = []
    for index, (height, width) in enumerate(LAYOUTS[layout]):
        paths.append(folder / f"{index}.png")
        Image.fromarray(ramp(height, width)).save(paths[-1])
    return load_frames(paths, one_size=False)


def published(frames: Frames, side: int = 64, *, like: PublishedImages = "vggt"):
    return prepare_images(frames, how="published", image_side=side, patch_size=8, published=like)


def reconstruct(folder: Path, layout: str) -> Reconstruction:
    ramp_frames(folder, layout)
    return dynapoint.reconstruct(sorted(folder.glob("*.png")), FakeModel(), prepare="published")


@layouts
@pytest.mark.parametrize("like", get_args(PublishedImages))
def test_a_map_pixel_shows_the_place_that_the_pixel_map_says(tmp_path, layout, like):
    frames = ramp_frames(tmp_path, layout)
    prepared = published(frames, like=like)
    pixel_map = prepared.pixel_map
    map_height, map_width = pixel_map.map_hw
    centres = np.stack(np.meshgrid(np.arange(map_width), np.arange(map_height)), -1) + 0.5
    for frame, (height, width) in enumerate(LAYOUTS[layout]):
        shown = prepared.images[0, frame].permute(1, 2, 0).numpy()
        inside = pixel_map.shown_pixels(frame)
        assert (shown[~inside] == 1).all()
        there = (centres[inside] - pixel_map.offset[frame]) / pixel_map.scale[frame]
        np.testing.assert_allclose(pixel_map.to_map(frame, there), centres[inside], atol=1e-9)
        x, y = (there / [width, height]).T
        # The resampling bends the ramp within two pixels of the picture's border.
        inner = (np.minimum(there, [width, height] - there) > 2 * 100 / 64).all(axis=1)
        expected = np.stack([0.8 * x + 0.1, 0.8 * y + 0.1, 0 * x], axis=-1)
        np.testing.assert_allclose(shown[inside][inner], expected[inner], atol=1.5 / 255)
        assert inner.mean() > 0.7


def test_depth_anything_crops_to_what_all_have(tmp_path):
    pixel_map = published(ramp_frames(tmp_path, "mixed"), like="da3").pixel_map
    # 48 x 64, 40 x 64 and 64 x 40 (a longer side of 64, multiples of 8): 40 x 40 of each.
    assert pixel_map.map_hw == (40, 40)
    assert pixel_map.offset.tolist() == [[-12.0, -4.0], [-12.0, 0.0], [0.0, -12.0]]


def test_published_shapes():
    portrait = Frames(
        images=np.zeros((1, 960, 540, 3), np.uint8),
        timestamps_s=np.zeros(1),
        source_frame_index=np.zeros(1, np.int64),
        name="portrait",
    )
    cropped = prepare_images(portrait, how="published", image_side=518, patch_size=14)
    assert cropped.images.shape == (1, 1, 3, 518, 518)
    # 960 rows become 924, of which the middle 518 stay.
    assert cropped.pixel_map.offset.tolist() == [[0.0, -203.0]]
    whole = prepare_images(portrait, image_side=518, patch_size=14)
    assert whole.images.shape == (1, 1, 3, 518, 294)
    assert whole.pixel_map.offset.tolist() == [[0.0, 0.0]]
    assert whole.pixel_map.scale.tolist() == [[294 / 540, 518 / 960]]
    low, high = whole.pixel_map.shown_box(0)
    assert np.allclose(low, 0) and np.allclose(high, [294, 518])


def test_sizes_that_differ_need_the_published_preparation(tmp_path):
    frames = ramp_frames(tmp_path, "mixed")
    assert frames.image_hw == (150, 100) and frames.picture_hw.tolist() == [
        [60, 80],
        [61, 97],
        [150, 100],
    ]
    assert (frames.images[0, 60:] == 255).all() and (frames.images[0, :, 80:] == 255).all()
    assert np.array_equal(frames.images[0, :60, :80], ramp(60, 80))
    with pytest.raises(ConfigError, match="published"):
        prepare_images(frames, image_side=64, patch_size=8)
    with pytest.raises(InputError, match="--prepare published"):
        dynapoint.reconstruct(sorted(tmp_path.glob("*.png")), FakeModel())


def test_unknown_preparation_is_refused():
    with pytest.raises((ConfigError, TypeCheckError)):
        dynapoint.reconstruct(picture_array(1, 32, 32), FakeModel(), prepare="square")


@layouts
def test_points_lie_on_their_pixels_rays_in_original_pixels(tmp_path, layout):
    rec = reconstruct(tmp_path, layout)
    for frame, (height, width) in enumerate(LAYOUTS[layout]):
        xy = np.random.default_rng(frame).uniform(0, [width, height], (300, 2))
        xy = xy[rec.pixel_map.shows(frame, xy)]
        assert len(xy) > 100
        answer = rec.query(frame=frame, xy=xy, time=frame, camera=frame)
        assert answer.valid.all() and (answer.confidence > 0).all()
        projected = answer.points.astype(np.float64) @ rec.intrinsics[frame].T
        off = np.abs(projected[:, :2] / projected[:, 2:] - xy) * rec.pixel_map.scale[frame]
        # Across an edge, or beside the padding, the nearest map pixel answers.
        assert off.max() <= 0.5 + 1e-3 and np.median(off) < 1e-3


@pytest.mark.parametrize("principal_point", [False, True])
def test_pictures_of_different_sizes_are_fitted_apart(tmp_path, principal_point):
    sizes = [(60, 80), (150, 100), (60, 80), (61, 97)]
    for index, (height, width) in enumerate(sizes):
        Image.fromarray(ramp(height, width)).save(tmp_path / f"{index}.png")
    rec = dynapoint.reconstruct(sorted(tmp_path.glob("*.png")), FakeModel(), prepare="published")
    intrinsics = np.zeros((4, 3, 3))
    for frame, (focal, x, y) in enumerate(
        [(90, 37, 33), (160, 55, 70), (90, 37, 33), (70, 50, 28)]
    ):
        intrinsics[frame] = [[focal, 0, x], [0, 1.1 * focal, y], [0, 0, 1]]
    rows, columns = np.mgrid[: rec.map_hw[0], : rec.map_hw[1]] + 0.5
    depth = np.random.default_rng(0).uniform(1, 5, (4, *rec.map_hw, 1))
    points = []
    for frame in range(4):
        lens = np.linalg.inv(rec.pixel_map.map_from_image[frame] @ intrinsics[frame])
        rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ lens.T
        pose = rec.world_from_camera[frame]
        points.append((depth[frame] * rays) @ pose[:3, :3].T + pose[:3, 3])
    exact = replace(rec, intrinsics=intrinsics, own_time_points=np.stack(points).astype(np.float32))
    shared = exact.fit_intrinsics(principal_point=principal_point)
    apart = exact.fit_intrinsics(principal_point=principal_point, shared=False)
    for fitted in (shared, apart):
        np.testing.assert_allclose(fitted.intrinsics, intrinsics, rtol=1e-4, atol=1e-3)
        assert fitted.residual_px.max() < 1e-3
    # The two of one size share their answer, which is of the pixels of both.
    assert (shared.intrinsics[0] == shared.intrinsics[2]).all()
    assert shared.used[0] == shared.used[2] == apart.used[0] + apart.used[2]
    assert (shared.used[[1, 3]] == apart.used[[1, 3]]).all()


def test_what_is_cropped_away_is_not_valid(tmp_path):
    rec = reconstruct(tmp_path, "portrait")
    # 200 rows become 136, of which the middle 64 stay: rows 36 to 100 of 136.
    low, high = 36 * 200 / 136, 100 * 200 / 136
    xy = [[50, low - 0.01], [50, low + 0.01], [50, high - 0.01], [50, high + 0.01], [50, 5]]
    result = rec.query(frame=0, xy=xy)
    assert result.valid[0].tolist() == [False, True, True, False, False]
    assert (result.confidence[0] > 0).tolist() == result.valid[0].tolist()
    assert np.isfinite(result.points).all()
    assert rec.intrinsics[0, 1, 2] == pytest.approx((low + high) / 2)
    assert rec.intrinsics[0, 0, 2] == pytest.approx(48)


def test_padding_is_nowhere_trusted_and_never_read(tmp_path):
    rec = reconstruct(tmp_path, "mixed")
    padded = ~rec.pixel_map.shown_pixels(1)
    assert padded.any() and not padded.all()
    for time in range(3):
        confidence = rec.maps(frame=1, time=time)[1]
        assert (confidence[padded] == 0).all() and (confidence[~padded] > 0).all()
    assert (rec.own_time_depth[1][padded] == 0).all()
    # The border of the picture, and places beyond it, are answered from the picture.
    border = np.array([[x, y] for x in np.linspace(0, 97, 50) for y in (0.0, 61.0, -9.0, 99.0)])
    answer = rec.query(frame=1, xy=border, time=1, camera=1)
    inside = (border[:, 1] >= 0) & (border[:, 1] <= 61)
    assert np.array_equal(answer.valid, inside) and (answer.confidence[inside] > 0).all()
    # Nothing is seen through the padding of another frame.
    behind = rec.query(frame=0, xy=[[40.0, 0.5], [40.0, 30.0]], time=1, camera=1)
    projected = behind.points @ rec.intrinsics[1].T.astype(np.float32)
    row = projected[:, 1] / projected[:, 2]
    assert row[0] < 0 < row[1] < 61
    assert behind.visible[0] < 1e-6 and behind.visible[1] > 0.9


@layouts
def test_stored_maps_find_their_pixels(tmp_path, layout):
    (tmp_path / "images").mkdir()
    rec = reconstruct(tmp_path / "images", layout)
    rec.save(tmp_path / "scene")
    scene = store.read_arrays(tmp_path / "scene").arrays
    assert np.array_equal(scene["map_from_image"], rec.pixel_map.map_from_image)
    last = rec.frame_count - 1
    map_intrinsics = scene["map_from_image"][last] @ scene["intrinsics"][last]
    projected = (
        seen_from(rec.world_from_camera[last], scene["own_time_points"][last]) @ map_intrinsics.T
    )
    rows, columns = np.nonzero(scene["own_time_confidence"][last])
    found = projected[rows, columns]
    np.testing.assert_allclose(found[:, 0] / found[:, 2], columns + 0.5, atol=1e-3)
    np.testing.assert_allclose(found[:, 1] / found[:, 2], rows + 0.5, atol=1e-3)
    assert (scene["images"][last][scene["own_time_confidence"][last] == 0] == 255).all()


@layouts
def test_pictures_are_drawn_as_the_maps_show_them(tmp_path, layout):
    rec = reconstruct(tmp_path, layout)
    given = published(rec.frames).images[0].permute(0, 2, 3, 1).numpy()
    size = rec.map_hw[::-1]
    for frame in range(rec.frame_count):
        drawn = picture_in_map(rec, frame, size, Image.Resampling.BICUBIC)
        np.testing.assert_allclose(np.asarray(drawn) / 255, given[frame], atol=1.5 / 255)
    assert contact_sheet.draw(rec).width > 600


def test_padding_is_not_drawn_as_part_of_the_scene(tmp_path):
    rec = reconstruct(tmp_path, "mixed")
    tracks = rec.tracks()
    padded = ~rec.pixel_map.shown_pixels(0)
    for points in tracks.points[1:]:
        points[padded] += 100
    motion = panels.motion_panels(tracks, [0, 2])
    assert (motion.shares[:, padded] == 0).all() and motion.shares[1].max() > 0.5
    confidence = panels.confidence_panels(rec.own_time_confidence)
    assert float(confidence.low_label.split()[1]) > 0.2
    assert (confidence.shares[0][padded] < 0).all()
    dots = np.asarray(panels.track_panel(rec, tracks, time=0, size=(256, 256))).max(axis=-1)
    rows = np.nonzero(padded.all(axis=1))[0]
    assert len(rows) > 4 and np.ptp(dots[4 * rows[1:4] + 2].astype(int)) == 0
