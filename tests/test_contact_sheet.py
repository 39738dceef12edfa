"""The contact sheet: laid out for every aspect, honest colours, nothing that breaks the drawing."""

import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint.results import contact_sheet, panels
from dynapoint.results.colors import HEAT, LIGHT, WARM, hue_colors
from fake_model import BOX_DEPTH, FakeModel, picture_array


def luminance(colors: np.ndarray) -> np.ndarray:
    return colors.astype(float) @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize(
    "image_hw", [(90, 160), (160, 90), (100, 100), (20, 400), (400, 20)], ids=str
)
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_every_aspect_and_length_can_be_drawn(image_hw, frames):
    rec = dynapoint.reconstruct(picture_array(frames, *image_hw), FakeModel(48))
    sheet = contact_sheet.draw(rec)
    assert sheet.mode == "RGB"
    assert 600 < sheet.width < 3000 and 300 < sheet.height < 3000
    assert len(set(map(tuple, np.asarray(sheet).reshape(-1, 3)[::97].tolist()))) > 50


def test_output_that_is_not_finite_can_be_drawn():
    rec = dynapoint.reconstruct(picture_array(3, 64, 64), FakeModel(32, broken=True))
    assert contact_sheet.draw(rec).width > 600


def test_near_is_warm_and_far_is_cold():
    depth = np.full((1, 8, 8), 10.0)
    depth[0, :4] = 1.0
    picture = np.asarray(panels.depth_panels(depth).panel(0, (8, 8))).astype(int)
    assert picture[1, 1, 0] > picture[1, 1, 2] and picture[6, 6, 2] > picture[6, 6, 0]


def test_depth_that_is_not_positive_is_gray():
    depth = np.ones((1, 4, 4))
    depth[0, 0, 0] = -1
    assert np.asarray(panels.depth_panels(depth).panel(0, (4, 4)))[0, 0].tolist() == [128] * 3
    assert (np.asarray(panels.depth_panels(-depth[:, 1:]).panel(0, (4, 4))) == 128).all()


def test_motion_is_dark_where_still_and_light_where_moving():
    rec = dynapoint.reconstruct(picture_array(4, 64, 64), FakeModel(64))
    shares = panels.motion_panels(rec.tracks(), [0, 3], typical_depth=4.0).shares
    box = rec.own_time_depth[0] < (BOX_DEPTH + 1)
    assert shares[0].max() == 0 and shares[1][~box].max() == 0
    np.testing.assert_allclose(shares[1][box], 1.0, atol=1e-5)


def test_noise_in_a_still_scene_does_not_light_up():
    rec = dynapoint.reconstruct(picture_array(2, 64, 64), FakeModel(64))
    tracks = rec.tracks()
    tracks.points[1] = tracks.points[0] + 1e-4
    assert panels.motion_panels(tracks, [1], typical_depth=4.0).shares.max() < 0.01


@pytest.mark.parametrize("scale", [LIGHT, HEAT])
def test_scales_of_quantity_grow_lighter_throughout(scale):
    assert (np.diff(luminance(scale.paint(np.linspace(0, 1, 64)))) >= -0.5).all()


def test_scales_stop_at_their_ends():
    ends = WARM.paint(np.array([-5.0, 0.0, 1.0, 7.0, np.nan]))
    assert (ends[0] == ends[1]).all() and (ends[2] == ends[3]).all()
    assert ends[4].tolist() == [128, 128, 128]
    assert len(np.unique(hue_colors(np.linspace(0, 0.9, 10)), axis=0)) == 10


def test_tracks_are_drawn_where_points_project():
    rec = dynapoint.reconstruct(np.zeros((3, 64, 64, 3), np.uint8), FakeModel(64))
    size = (256, 256)
    picture = np.asarray(panels.track_panel(rec, rec.tracks(), time=0, size=size)).astype(int)
    lit = picture.max(axis=-1) > 60
    # One dot in each cell of the grid, and at frame 0's own time every dot sits on its own pixel.
    assert 0.02 < lit.mean() < 0.2
    rows, columns = panels._grid((64, 64))
    assert lit[rows * 4 + 2, columns * 4 + 2].all()


def test_a_sheet_can_be_stored_as_png(tmp_path):
    rec = dynapoint.reconstruct(picture_array(2, 40, 60), FakeModel(32))
    contact_sheet.draw(rec).save(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == contact_sheet.draw(rec).size


def test_points_of_the_grid_lie_in_the_map_whatever_its_size():
    for height in range(8, 130):
        for width in (16, 96, 112, 128, 518):
            rows, columns = panels._grid((height, width))
            assert len(rows) == len(columns) > 0
            assert 0 <= rows.min() and rows.max() < height
            assert 0 <= columns.min() and columns.max() < width
