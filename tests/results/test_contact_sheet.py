"""The contact sheet: laid out for every aspect, honest colours, nothing that breaks the drawing."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import dynapoint
from dynapoint.results import contact_sheet, panels, views
from dynapoint.results.colors import HEAT, LIGHT, WARM, hue_colors
from dynapoint.results.drawing import font, wrapped
from dynapoint.results.summary import summarize
from fake_model import BOX_DEPTH, FakeModel, picture_array

plain_new = Image.new


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


def test_motion_is_a_share_of_the_distance_on_one_scale_for_all_scenes():
    rec = dynapoint.reconstruct(picture_array(4, 64, 64), FakeModel(64))
    tracks = rec.tracks()
    found = panels.motion_panels(tracks, [0, 3])
    moved = np.linalg.norm(tracks.points[3] - tracks.points[0], axis=-1)
    expected = moved / np.linalg.norm(tracks.points[0], axis=-1) / panels.MOTION_SCALE
    box = rec.own_time_depth[0] < (BOX_DEPTH + 1)
    assert found.shares[0].max() == 0 and found.shares[1][~box].max() == 0
    np.testing.assert_allclose(found.shares[1], expected, rtol=1e-5)
    assert found.shares[1][box].min() > 0
    assert "10 %" in found.high_label and "white: 10 %" in contact_sheet._WHITE_WORDS


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_a_still_scene_is_dark(unit):
    """Also where nothing but noise moves: half a percent of the distance is no motion."""
    rec = dynapoint.reconstruct(picture_array(2, 64, 64), FakeModel(64))
    tracks, generator = rec.tracks(), np.random.default_rng(0)
    ways = generator.normal(size=tracks.points[0].shape)
    ways /= np.linalg.norm(ways, axis=-1, keepdims=True)
    far = np.linalg.norm(tracks.points[0], axis=-1, keepdims=True)
    tracks.points[:] = unit * tracks.points[0]
    tracks.points[1] += unit * 0.005 * far * ways
    found = panels.motion_panels(tracks, [1])
    picture = np.asarray(found.panel(0, (64, 64)))
    assert luminance(picture).max() < 40 and found.shares.max() > 0.04


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
    rows, columns = panels.grid_of((64, 64))
    assert lit[rows * 4 + 2, columns * 4 + 2].all()


def test_a_sheet_can_be_stored_as_png(tmp_path):
    rec = dynapoint.reconstruct(picture_array(2, 40, 60), FakeModel(32))
    contact_sheet.draw(rec).save(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == contact_sheet.draw(rec).size


def background(picture: np.ndarray) -> np.ndarray:
    return (picture == np.array(views._BACKDROP)).all(axis=-1)


def scene_of(points: np.ndarray, cameras: np.ndarray) -> Any:
    """A scene of points (one for every pixel of the map) and cameras that look ahead."""
    rec = dynapoint.reconstruct(picture_array(len(cameras), *points.shape[:2]), FakeModel(64))
    poses = np.tile(np.eye(4), (len(cameras), 1, 1))
    poses[:, :3, 3] = cameras
    own_time = np.broadcast_to(points.astype(np.float32), (len(cameras), *points.shape)).copy()
    return replace(rec, own_time_points=own_time, world_from_camera=poses, kept_tracks=None)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("seen_from", ["above", "side"])
def test_the_view_from_above_fills_its_frame_whatever_the_scene(seed, seen_from):
    """Wide, deep, large, small, with a fifth of wild outliers: two borders are reached."""
    generator = np.random.default_rng(seed)
    stretch = 10.0 ** generator.uniform(-0.4, 0.4, 3) * 10.0 ** generator.uniform(-3, 3)
    points = generator.uniform(-1, 1, (64, 64, 3)) * stretch + [0, 0, 1.5 * stretch[2]]
    if seed % 2:
        points[generator.random((64, 64)) < 0.2] *= 1e4
    cameras = generator.uniform(-0.5, 0.5, (3, 3)) * stretch * (seed % 3)
    cameras[0] = 0
    scene = scene_of(points, cameras)
    picture = np.asarray(views.view_panel(scene, seen_from, within=(500, 300)))
    height, width = picture.shape[:2]
    assert width > 497 or height > 297
    rows, columns = np.nonzero(~background(picture))
    filled = np.ptp(columns) / width, np.ptp(rows) / height
    assert min(filled) > 0.75 and max(filled) > 0.85, filled
    assert (~background(picture)).mean() > 0.15


def test_from_above_ahead_is_right_and_the_right_is_below():
    """A red point ahead and right, a blue one ahead and left, a camera that goes ahead."""
    points = np.full((64, 64, 3), [0.0, 0.0, 2.0])
    points[:32], points[32:] = [1.0, 0.0, 4.0], [-1.0, 0.0, 4.0]
    scene = scene_of(points, np.array([[0, 0, 0], [0, 0, 1.0]]))
    pictures = np.zeros_like(scene.images)
    pictures[:, : pictures.shape[1] // 2, :, 0] = 255
    pictures[:, pictures.shape[1] // 2 :, :, 2] = 255
    scene = replace(scene, frames=replace(scene.frames, images=pictures))
    seen = np.asarray(views.view_panel(scene, "above", within=(400, 300))).astype(int)
    red = np.nonzero((seen[..., 0] > 200) & (seen[..., 1] < 30))
    blue = np.nonzero((seen[..., 2] > 200) & (seen[..., 1] < 30))
    white = np.nonzero(seen.min(axis=-1) > 200)
    assert red[0].mean() > seen.shape[0] / 2 > blue[0].mean()
    assert min(red[1].mean(), blue[1].mean()) > 0.9 * seen.shape[1]
    assert white[1].mean() < 0.25 * seen.shape[1]


@pytest.mark.parametrize("seed", range(20))
def test_lines_fit_and_lose_nothing(seed):
    generator = np.random.default_rng(seed)
    words = ["x" * int(n) for n in generator.integers(1, 40, 12)]
    size, width = int(generator.integers(10, 18)), int(generator.integers(60, 400))
    for at in (" ", " | "):
        text = at.join(words)
        lines = wrapped(text, size, width, at=at)
        assert all(font(size).getlength(line) <= width for line in lines)
        assert "".join(lines).replace(" ", "").replace("|", "") == "".join(words)


@pytest.mark.parametrize("image_hw", [(90, 160), (400, 20), (20, 400)], ids=str)
def test_no_words_reach_over_the_border_or_into_each_other(image_hw, monkeypatch):
    """Every line of text that is drawn, by its box."""
    written = []
    plain = ImageDraw.ImageDraw.text

    def text(pen, xy, words, *args, **kwargs):
        box = pen.textbbox(xy, words, font=kwargs["font"])
        written.append((id(pen.im), pen.im.size, box, words))
        plain(pen, xy, words, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    rec = dynapoint.reconstruct(picture_array(3, *image_hw), FakeModel(48))
    named = replace(rec.frames, name="a_very_long_name_" * 12, note="a note of many words " * 9)
    kept = []  # keeps pictures, so that their numbers stay their own
    monkeypatch.setattr(
        contact_sheet.Image, "new", lambda *args: kept.append(plain_new(*args)) or kept[-1]
    )
    contact_sheet.draw(replace(rec, frames=named))
    assert len(written) > 15
    for _, size, box, words in written:
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= size[0] and box[3] <= size[1], words
    for (one, _, a, first), (other, _, b, second) in itertools.combinations(written, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert one != other or apart, (first, second)


def test_the_cameras_way_is_its_largest_displacement_and_its_sum():
    """Out and back: nothing at the end, one in the middle, two in all."""
    points = np.full((64, 64, 3), [0.0, 0.0, 4.0])
    scene = scene_of(points, np.array([[0, 0, 0], [1.0, 0, 0], [0, 0, 0]]))
    found = summarize(scene)
    assert found.largest_displacement == 1 and found.camera_path == 2
    assert "up to 1 from its start (25 % of depth), 2 summed" in found.camera_words
    assert summarize(scene_of(points, np.zeros((1, 3)))).camera_words == "one camera"


def test_points_of_the_grid_lie_in_the_map_whatever_its_size():
    for height in range(8, 130):
        for width in (16, 96, 112, 128, 518):
            rows, columns = panels.grid_of((height, width))
            assert len(rows) == len(columns) > 0
            assert 0 <= rows.min() and rows.max() < height
            assert 0 <= columns.min() and columns.max() < width
