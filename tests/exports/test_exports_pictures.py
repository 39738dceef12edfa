"""Exports of pictures: depth as PNG and EXR, TAPVid-3D, the video and its splats."""

import io
import json
from dataclasses import replace

import av
import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from dynapoint.exports import mp4
from dynapoint.exports.catalog import export
from dynapoint.exports.discs import BACKDROP, draw_points
from dynapoint.exports.options import ExportOptions
from exact_scenes import NORMAL, exact_scene
from exported_scenes import coloured_images, gray_images, scene
from fake_model import BOX_DEPTH, WALL_DEPTH


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def rec(request):
    return scene(request.param)


def asked_depth(rec, frame):
    """Depth of all pixels of a frame, asked one by one of the reconstruction itself."""
    height, width = rec.frames.image_hw
    xy = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)
    answer = rec.query(frame=frame, xy=xy, time=frame, camera=frame)
    return answer.points[:, 2].reshape(height, width)


def holed(rec):
    """The same scene without the top rows and with a hole, in frame 1."""
    confidence = rec.own_time_confidence.copy()
    confidence[1, :5] = 0
    confidence[1, 20:24, 10:14] = 0
    return replace(rec, own_time_confidence=confidence)


# --- depth


def test_depth_png_times_its_scale_is_the_depth_at_original_resolution(rec, tmp_path):
    folder = export(rec, "depth", tmp_path / "depth")
    about = json.loads((folder / "depth.json").read_text())
    for frame in range(3):
        png = cv2.imread(str(folder / f"frame_{frame:04d}.png"), cv2.IMREAD_UNCHANGED)
        assert png.dtype == np.uint16 and png.shape == rec.frames.image_hw
        wanted = asked_depth(rec, frame)
        assert np.abs(png * about["scale"] - wanted).max() <= about["scale"] * 0.51 + 1e-5
        # Pillow reads the same values.
        other = np.asarray(Image.open(folder / f"frame_{frame:04d}.png"))
        np.testing.assert_array_equal(other, png)
    assert about["image_hw"] == [list(rec.frames.image_hw)] * 3
    assert {round(value, 3) for value in (wanted.min(), wanted.max())} == {BOX_DEPTH, WALL_DEPTH}


def test_depth_exr_is_the_depth_in_scene_units(rec, tmp_path):
    folder = export(rec, "depth-exr", tmp_path / "depth", ExportOptions(time=1))
    assert sorted(path.name for path in folder.iterdir()) == [
        "depth.json",
        "export.json",
        "frame_0001.exr",
    ]
    with OpenEXR.File(str(folder / "frame_0001.exr")) as exr:
        depth = exr.channels()["Z"].pixels
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, asked_depth(rec, 1), atol=1e-5)


def test_depth_is_0_where_there_is_none_and_untouched_beside_it(rec, tmp_path):
    rec = holed(rec)
    folder = export(rec, "depth", tmp_path / "png")
    scale = json.loads((folder / "depth.json").read_text())["scale"]
    png = cv2.imread(str(folder / "frame_0001.png"), cv2.IMREAD_UNCHANGED)
    with OpenEXR.File(str(export(rec, "depth-exr", tmp_path / "exr") / "frame_0001.exr")) as exr:
        depth = exr.channels()["Z"].pixels
    np.testing.assert_array_equal(png == 0, depth == 0)
    # Image-up is file-up: the rows without depth are the first ones.
    assert not png[:3].any() and png[-3:].all()
    share = 4 * 4 / np.prod(rec.map_hw) + 5 / rec.map_hw[0]
    assert (png == 0).mean() == pytest.approx(share, rel=0.3)
    known = depth > 0
    assert np.abs(png * scale - depth)[known].max() <= scale * 0.51 + 1e-5
    near = [np.abs(depth[known] - level) for level in (BOX_DEPTH, WALL_DEPTH)]
    assert np.minimum(*near).max() < 1e-4


def test_depth_far_beyond_the_rest_is_not_held_by_pngs_and_spoils_nothing(rec, tmp_path):
    points = rec.own_time_points.copy()
    points[0, :4] *= 1e6
    rec = replace(rec, own_time_points=points)
    folder = export(rec, "depth", tmp_path / "depth")
    about = json.loads((folder / "depth.json").read_text())
    png = cv2.imread(str(folder / "frame_0000.png"), cv2.IMREAD_UNCHANGED)
    assert about["largest_depth"] == pytest.approx(64 * WALL_DEPTH) and not png[0].any()
    assert png[-1].min() * about["scale"] == pytest.approx(WALL_DEPTH, abs=about["scale"])


def test_what_is_nearer_than_a_step_of_a_png_is_still_there(rec, tmp_path):
    points = rec.own_time_points.copy()
    points[0, :4] *= 1e-6 / points[0, :4, :, 2:]
    folder = export(replace(rec, own_time_points=points), "depth", tmp_path / "depth")
    png = cv2.imread(str(folder / "frame_0000.png"), cv2.IMREAD_UNCHANGED)
    assert json.loads((folder / "depth.json").read_text())["scale"] > 2e-6
    assert png.min() == 1 and (png[0] == 1).all()


def test_depth_of_pictures_of_different_sizes_is_of_each_pictures_own(tmp_path):
    rec = exact_scene(moving="nothing", size=2.0)
    sizes = np.array([[60, 80], [50, 80], [60, 70], [60, 80]])
    pixel_map = replace(rec.pixel_map, picture_hw=sizes)
    rec = replace(rec, frames=replace(rec.frames, sizes_hw=sizes), pixel_map=pixel_map)
    png, exr = (export(rec, to, tmp_path / to) for to in ("depth", "depth-exr"))
    about = json.loads((png / "depth.json").read_text())
    assert about["image_hw"] == sizes.tolist()
    for frame, (height, width) in enumerate(sizes.tolist()):
        with OpenEXR.File(str(exr / f"frame_{frame:04d}.exr")) as file:
            depth = file.channels()["Z"].pixels
        coded = np.asarray(Image.open(png / f"frame_{frame:04d}.png"))
        assert depth.shape == coded.shape == (height, width)
        assert np.abs(coded * about["scale"] - depth).max() <= about["scale"] * 0.51 + 1e-5
        # In closed form: where a pixel's ray meets the wall.
        xy = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
        ray = np.concatenate([xy, np.ones((height, width, 1))], axis=-1)
        ray = ray @ np.linalg.inv(rec.intrinsics[frame]).T
        pose = rec.world_from_camera[frame]
        wanted = (8.0 - NORMAL @ pose[:3, 3]) / (ray @ pose[:3, :3].T @ NORMAL)
        inner = (slice(2, -2), slice(2, -2))
        np.testing.assert_allclose(depth[inner], wanted[inner], rtol=2e-3)


# --- TAPVid-3D


def test_tapvid3d_tracks_are_answers_in_the_cameras(rec, tmp_path):
    with np.load(export(rec, "tapvid3d", tmp_path / "tracks"), allow_pickle=False) as file:
        arrays = dict(file)
    tracks, visible, queries = (
        arrays[name] for name in ("tracks_XYZ", "visibility", "queries_xyt")
    )
    count = len(queries)
    assert tracks.shape == (3, count, 3) and visible.shape == (3, count)
    assert visible.dtype == bool and 500 < count <= 1024
    assert set(queries[:, 2]) == {0, 1, 2}
    for track in np.random.default_rng(0).choice(count, 20, replace=False):
        x, y, start = queries[track]
        for time in range(3):
            answer = rec.query(frame=int(start), xy=[[x, y]], time=time, camera=time)
            np.testing.assert_allclose(tracks[time, track], answer.points[0], atol=1e-5)
        # Where it starts a track is seen, at the pixel of its query.
        assert visible[int(start), track]
        fx, fy, cx, cy = arrays["fx_fy_cx_cy"]
        at = tracks[int(start), track]
        # Across edges in depth a query is answered by the nearest pixel of the map.
        found = [fx * at[0] / at[2] + cx, fy * at[1] / at[2] + cy]
        np.testing.assert_allclose(found, [x, y], atol=0.6)
    world = np.linalg.inv(arrays["extrinsics_w2c"].astype(np.float64))
    np.testing.assert_allclose(world, rec.world_from_camera, atol=1e-6)


def test_tapvid3d_images_are_the_frames_upright_and_in_their_colours(rec, tmp_path):
    with np.load(export(rec, "tapvid3d", tmp_path / "tracks"), allow_pickle=False) as file:
        jpegs = file["images_jpeg_bytes"]
    for jpeg, image in zip(jpegs, rec.images, strict=True):
        read = np.asarray(Image.open(io.BytesIO(jpeg)))
        assert np.abs(read.astype(int) - image).mean() < 3


def test_tapvid3d_starts_no_track_where_there_is_nothing(rec, tmp_path):
    confidence = rec.own_time_confidence.copy()
    confidence[1] = 0
    rec = replace(rec, own_time_confidence=confidence)
    options = ExportOptions(max_points=60)
    with np.load(export(rec, "tapvid3d", tmp_path / "tracks", options)) as file:
        queries = file["queries_xyt"]
    assert set(queries[:, 2]) == {0, 2} and 20 < len(queries) <= 60


# --- splats and the video


def test_splats_cover_a_plane_and_show_the_nearest():
    side = 40
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    wall = np.stack([x, y, np.full_like(x, 2.0)], axis=-1).reshape(-1, 3)
    near = wall * [0.25, 0.25, 0.5]
    points = np.concatenate([near, wall, [[0, 0, -1.0]]])
    colors = np.repeat(
        np.array([[0, 255, 0], [255, 0, 0], [0, 0, 255]], np.uint8), [1600, 1600, 1], 0
    )
    spacing = np.repeat([0.5 / side, 2 / side, 0.1], [1600, 1600, 1]).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(points))
    image = draw_points(
        points[order],
        colors[order],
        spacing[order],
        world_from_camera=np.eye(4),
        focal_px=100.0,
        image_hw=(120, 120),
    )
    # The wall is a square of 100 pixels, the near one of 50, both in the middle.
    assert (image[40:80, 40:80] == [0, 255, 0]).all()
    assert (image[15:30, 15:105] == [255, 0, 0]).all()
    assert (image[:5] == BACKDROP).all() and not (image == [0, 0, 255]).all(axis=-1).any()


def test_splats_of_nothing_are_the_backdrop():
    image = draw_points(
        np.zeros((0, 3)),
        np.zeros((0, 3), np.uint8),
        np.zeros(0, np.float32),
        world_from_camera=np.eye(4),
        focal_px=50.0,
        image_hw=(8, 10),
    )
    assert (image == BACKDROP).all()


def video_pictures(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return pictures, float(stream.average_rate)


@pytest.fixture
def small_video(monkeypatch):
    monkeypatch.setattr(mp4, "_LONGER_SIDE", 96)
    monkeypatch.setattr(mp4, "_SHORTEST_S", 1.0)


@pytest.mark.usefixtures("small_video")
def test_video_is_upright_and_of_the_frames_aspect(rec, tmp_path):
    pictures, rate = video_pictures(export(rec, "mp4", tmp_path / "v", ExportOptions(fps=3.0)))
    assert len(pictures) == 24 and rate == 24
    height, width = rec.frames.image_hw
    assert pictures[0].shape == (
        round(96 * height / max(height, width)),
        round(96 * width / max(height, width)),
        3,
    )
    first = pictures[0].astype(int)
    drawn = np.abs(first - BACKDROP).max(axis=-1) > 30
    assert drawn.mean() > 0.4
    rows, columns = np.nonzero(drawn)
    assert np.corrcoef(rows, first[drawn][:, 1])[0, 1] < -0.8
    assert np.corrcoef(columns, first[drawn][:, 0])[0, 1] > 0.8
    # The camera swings and things move.
    assert np.abs(first - pictures[6]).mean() > 2


@pytest.mark.usefixtures("small_video")
def test_video_keeps_middle_gray(tmp_path):
    pictures, _ = video_pictures(export(scene(images=gray_images), "mp4", tmp_path / "v"))
    center = pictures[0][24:30, 40:56].astype(int)
    assert np.abs(center - 128).max() <= 2


@pytest.mark.usefixtures("small_video")
def test_video_of_a_scene_without_points_is_the_backdrop(tmp_path):
    rec = scene(images=coloured_images)
    rec = replace(rec, own_time_confidence=np.zeros_like(rec.own_time_confidence))
    pictures, _ = video_pictures(export(rec, "mp4", tmp_path / "v"))
    assert np.abs(pictures[0].astype(int) - BACKDROP).max() <= 4


def test_each_time_is_shown_for_its_share_and_long_scenes_play_faster():
    shown = mp4._shown_times(np.array([0.0, 1.0, 1.5, 3.0]))
    assert len(shown) == 6 * 24
    assert [shown[:72].count(time) for time in range(3)] == [24, 12, 36]
    assert shown[:72] == shown[72:]
    long = mp4._shown_times(np.arange(601.0))
    assert len(long) == 60 * 24 and len(set(long)) == 600
    assert len(mp4._shown_times(np.array([0.0, 0.1]))) == 144
