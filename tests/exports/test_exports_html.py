"""HTML: what a page holds, unpacked by other means than its own script."""

import base64
import json
import re
import zlib
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import KDTree

from dynapoint.exports import html, web_packing, web_scene
from dynapoint.exports.catalog import export
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.tracks import held_tracks
from exported_scenes import coloured_images, gray_images, scene
from fake_model import CAMERA_STEP, VELOCITY, WALL_DEPTH

FRAMES = 4


class Page:
    """A page's manifest and chunks."""

    def __init__(self, path):
        self.text = path.read_text(encoding="utf-8")
        self.manifest = json.loads(self._part("manifest"))
        self.chunks = self._part("chunks")
        box = self.manifest["box"]
        self.low, self.size, self.error = (np.array(box[name]) for name in ("low", "size", "error"))

    def _part(self, name):
        return re.search(rf'id="{name}">(.*?)</script>', self.text, re.DOTALL).group(1)

    def raw(self, index):
        start, end = self.manifest["chunks"][index]
        return base64.b64decode(self.chunks[start:end], validate=True)

    def inflated(self, index):
        return np.frombuffer(zlib.decompress(self.raw(index)), dtype=np.uint8)

    def places(self, content, rows, columns):
        """World positions (row, column, 3): sums of differences, by NumPy."""
        count = 3 * rows * columns
        low, high = content[:count], content[count : 2 * count]
        differences = (low.astype(np.int64) + 256 * high.astype(np.int64)).reshape(3, rows, columns)
        steps = differences.cumsum(axis=1).cumsum(axis=2) % 65536
        return self.low + self.size * np.moveaxis(steps, 0, -1) / 65535

    def own(self, index):
        """Points, ranks and motion of a time's own cloud."""
        rows, columns = self.manifest["grid"]
        count = rows * columns
        content = self.inflated(self.manifest["clouds"][index]["chunk"])
        assert len(content) == 8 * count
        rank, motion = (part.reshape(rows, columns) for part in np.split(content[6 * count :], 2))
        return self.places(content, rows, columns), rank, motion

    def fused(self):
        """Still points, paths, where those are usable, and colours, ranks and motion of both."""
        facts, times = self.manifest["fused"], len(self.manifest["times"])
        still, movers = facts["still"], facts["movers"]
        paths = self.inflated(facts["pathChunk"])
        paint = self.inflated(facts["paintChunk"]).reshape(6, still + movers)
        return (
            self.places(self.inflated(facts["stillChunk"]), 1, still)[0],
            self.places(paths, times, movers),
            paths[6 * times * movers :].reshape(times, movers) == 255,
            paint,
        )


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def rec(request):
    return scene(request.param, frames=FRAMES)


@pytest.fixture(scope="module")
def page(rec, tmp_path_factory):
    return Page(export(rec, "html", tmp_path_factory.mktemp("html") / "scene"))


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def level(request, tmp_path_factory):
    """A reconstruction whose cameras do not roll, and its page."""
    rec = scene(request.param, frames=FRAMES, roll_step_rad=0.0)
    return rec, Page(export(rec, "html", tmp_path_factory.mktemp("html") / "scene"))


def box_pixels(rec):
    """The pixels of the nearer box, which moves."""
    return rec.own_time_points[0][..., 2] < WALL_DEPTH - 0.1


def test_own_clouds_are_the_maps_within_the_stated_error(rec, page):
    assert tuple(page.manifest["grid"]) == rec.map_hw
    assert (page.error <= page.size / 65535 / 2 * (1 + 1e-12)).all()
    for frame in range(FRAMES):
        points, rank, _ = page.own(frame)
        assert (rank > 0).all()
        assert (np.abs(points - rec.own_time_points[frame]) <= page.error * 1.001 + 1e-6).all()


def test_what_moves_is_told_from_what_stands_still(rec, page):
    _, _, motion = page.own(1)
    moves = motion > 127
    assert (moves == box_pixels(rec)).mean() > 0.99
    joined = motion & 1
    apart = box_pixels(rec)[:-1, :-1] != box_pixels(rec)[1:, 1:]
    assert not joined[:-1, :-1][apart].any() and joined[:-1, :-1][~apart].mean() > 0.9
    assert not joined[-1].any() and not joined[:, -1].any()


def test_fused_points_stand_still_or_follow_their_exact_paths(rec, page):
    still, paths, usable, paint = page.fused()
    assert len(still) > 100 and paths.shape[1] > 20 and usable.all()
    np.testing.assert_allclose(still[:, 2], WALL_DEPTH, atol=1e-3)
    steps = np.diff(paths, axis=0)
    exact = np.broadcast_to(VELOCITY.numpy(), steps.shape)
    assert (np.abs(steps - exact) <= 2 * page.error * 1.01 + 1e-5).all()
    for time in range(FRAMES):
        held = rec.maps_at(time=time)[0].reshape(-1, 3)
        assert KDTree(held).query(paths[time])[0].max() < 1e-3
    motion = paint[5]
    assert (motion[: len(still)] < 80).all() and (motion[len(still) :] > 80).all()


def test_colours_are_those_of_the_frames_unchanged(level):
    rec, page = level
    still, *_, paint = page.fused()
    # The cameras only step to the right, so that every wall point has its row's green.
    height = rec.frames.picture_hw[0, 0]
    focal = rec.intrinsics[0, 1, 1]
    row = still[:, 1] / still[:, 2] * focal + height / 2
    green = 220 - (row - 0.5) / (height - 1) * 190
    assert np.abs(paint[1, : len(still)] - green).max() < 6
    picture = np.asarray(Image.open(BytesIO(page.raw(page.manifest["pictures"][2]))))
    assert np.abs(picture.astype(int)[5:-5, 5:-5, 2] - 80).max() <= 4
    assert picture.shape[0] / picture.shape[1] == pytest.approx(rec.map_hw[0] / rec.map_hw[1], 0.05)


def test_cameras_have_their_true_field_of_view(rec, page):
    for frame, camera in enumerate(page.manifest["cameras"]):
        pose = np.array(camera["pose"]).reshape(4, 4).T
        np.testing.assert_array_equal(pose, rec.world_from_camera[frame])
        assert pose[0, 3] == pytest.approx(CAMERA_STEP * frame)
        corners = np.array(camera["corners"]).reshape(4, 2)
        focal, center = rec.intrinsics[frame, [0, 1], [0, 1]], rec.intrinsics[frame, :2, 2]
        height, width = rec.frames.picture_hw[frame]
        pixels = corners * focal + center
        np.testing.assert_allclose(pixels, [[0, 0], [width, 0], [width, height], [0, height]])


def test_tracks_are_those_of_the_first_frame(rec, page):
    count = page.manifest["tracks"]["count"]
    content = page.inflated(page.manifest["tracks"]["chunk"])
    points = content[: 12 * FRAMES * count].view("<f4").reshape(FRAMES, count, 3)
    tracks = rec.tracks().points.reshape(FRAMES, -1, 3)
    distance, which = KDTree(tracks[0]).query(points[0])
    assert count > 100 and distance.max() == 0
    np.testing.assert_array_equal(points, tracks[:, which])


def test_the_page_asks_for_nothing_and_forbids_it(page):
    without_chunks = page.text.replace(page.chunks, "")
    assert "default-src 'none'" in without_chunks
    assert not re.search(r"(?:src|href)=\"(?!data:,)", without_chunks)
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", without_chunks)


def test_names_cannot_break_out_of_the_page(rec, tmp_path):
    name = '</script><script>alert("%%chunks%%")</script>'
    frames = replace(rec.frames, name=name)
    page = Page(export(replace(rec, frames=frames), "html", tmp_path / "x"))
    assert page.manifest["name"] == name and page.text.count("<script>") == 1


def test_times_are_the_sources_seconds(rec, tmp_path):
    stamps = np.array([1.0, 1.5, 1.75, 3.0])
    uneven = replace(rec, frames=replace(rec.frames, timestamps_s=stamps))
    assert Page(export(uneven, "html", tmp_path / "x")).manifest["beginsS"] == [
        0,
        0.5,
        0.75,
        2,
        2.5,
    ]


def test_one_time_alone(rec, tmp_path):
    page = Page(export(rec, "html", tmp_path / "x", ExportOptions(time=2)))
    assert page.manifest["times"] == [2] and len(page.manifest["clouds"]) == 1
    points, *_ = page.own(0)
    assert (np.abs(points - rec.own_time_points[2]) <= page.error * 1.001 + 1e-6).all()
    still, paths, _, _ = page.fused()
    assert len(still) > 100 and not paths.shape[1]
    assert KDTree(rec.maps_at(time=2)[0].reshape(-1, 3)).query(still)[0].max() < 1e-3


def test_a_scene_of_one_frame(tmp_path):
    page = Page(export(scene(frames=1), "html", tmp_path / "x"))
    assert page.manifest["beginsS"] == [0, 0.1] and len(page.fused()[0]) > 100


def test_points_without_confidence_are_nowhere(rec, tmp_path):
    confidence = rec.own_time_confidence.copy()
    confidence[:, :, : rec.map_hw[1] // 2] = 0
    points = rec.own_time_points.copy()
    points[:, 0, 0] = np.nan
    half = replace(rec, own_time_confidence=confidence, own_time_points=points)
    page = Page(export(half, "html", tmp_path / "half"))
    _, rank, _ = page.own(1)
    assert not rank[:, : rec.map_hw[1] // 2].any() and (rank[:, rec.map_hw[1] // 2 :] > 0).all()
    assert page.manifest["clouds"][1]["shown"] == (rank > 0).sum()
    nothing = replace(rec, own_time_confidence=np.zeros_like(confidence))
    page = Page(export(nothing, "html", tmp_path / "nothing"))
    assert page.manifest["fused"]["still"] == page.manifest["fused"]["movers"] == 0
    assert not page.own(0)[1].any() and (page.size == 1).all()


def test_far_points_do_not_blow_up_the_box(rec, tmp_path):
    points = rec.own_time_points.copy()
    points[1, 3, 4] = [0, 0, 1e6]
    page = Page(export(replace(rec, own_time_points=points), "html", tmp_path / "x"))
    assert page.size.max() < 20 and page.own(1)[1][3, 4] == 0


def test_filters_hide_points(rec, tmp_path):
    shape = rec.own_time_confidence.shape
    confidence = np.random.default_rng(0).uniform(1, 9, shape).astype(np.float32)
    graded = replace(rec, own_time_confidence=confidence)
    half = Page(export(graded, "html", tmp_path / "x", ExportOptions(confidence_percentile=50.0)))
    for frame in range(FRAMES):
        shown = half.own(frame)[1] > 0
        np.testing.assert_array_equal(shown, confidence[frame] >= np.median(confidence[frame]))
    black = scene("landscape", frames=2, images=lambda *size: 0 * coloured_images(*size))
    dark = Page(export(black, "html", tmp_path / "y", ExportOptions(hide_pixels="black")))
    assert not dark.own(0)[1].any() and dark.manifest["fused"]["still"] == 0


def test_max_points_bounds_both_clouds(rec, tmp_path):
    page = Page(export(rec, "html", tmp_path / "x", ExportOptions(max_points=300)))
    assert np.prod(page.manifest["grid"]) <= 300
    assert 100 < page.manifest["fused"]["still"] + page.manifest["fused"]["movers"] <= 300


def test_clouds_are_thinned_until_the_page_is_small(level, tmp_path, monkeypatch):
    rec, page = level
    chunks = page.manifest["chunks"]
    spans = [chunks[cloud["chunk"]] for cloud in page.manifest["clouds"]]
    before, clouds = spans[0][0], spans[-1][1] - spans[0][0]
    start, end = chunks[page.manifest["fused"]["pathChunk"]]
    limit = 100_000 + len(json.dumps(page.manifest)) + before - (end - start) // 2 + clouds // 3
    monkeypatch.setattr(html, "_DEFAULT_CHARACTERS", limit)
    monkeypatch.setattr(html, "_MOVER_CHARACTERS", (end - start) // 2)
    small = Page(export(rec, "html", tmp_path / "x"))
    assert len(small.text) <= limit
    assert np.prod(small.manifest["grid"]) < np.prod(page.manifest["grid"])
    fewer, all_of_them = small.manifest["fused"]["movers"], page.manifest["fused"]["movers"]
    assert 0 < fewer < all_of_them
    # Those that are left are larger.
    assert small.manifest["fused"]["spacing"][1] > page.manifest["fused"]["spacing"][1]


def test_a_hundred_large_frames_stay_below_30_megabytes():
    """Packed noise, which nothing squeezes, at the size of the largest networks' maps."""
    random = np.random.default_rng(0)
    rows, columns = 168, 296
    y, x = np.mgrid[:rows, :columns]
    points = np.stack([x / columns, y / rows, 2 + 0.2 * np.sin(x / 30)], axis=-1)
    points = (points + random.normal(0, 0.01, points.shape)).astype(np.float32)
    cloud = web_scene.GridCloud(
        points=points,
        confidence=random.uniform(1, 9, (rows, columns)).astype(np.float32),
        on_edge=np.zeros((rows, columns), dtype=bool),
        motion=random.uniform(0, 1, (rows, columns)).astype(np.float32),
        joined=np.ones((rows - 1, columns - 1), dtype=bool),
        footprint=0.01,
    )
    box = web_packing.box_around([points.reshape(-1, 3)])
    packed = html._packed_cloud(cloud, box, np.sort(cloud.confidence.ravel()))
    # Less than a byte for each byte, so that halving the grid is the worst that happens.
    assert len(packed) < 8 * rows * columns


def test_gray_pictures_stay_gray(tmp_path):
    page = Page(export(scene(images=gray_images, frames=2), "html", tmp_path / "x"))
    assert (page.fused()[3][:3] == 128).all()
    assert (np.asarray(Image.open(BytesIO(page.raw(page.manifest["pictures"][0])))) == 128).all()


def test_differences_undo_whatever_the_sizes():
    random = np.random.default_rng(1)
    for rows, columns in ((1, 1), (1, 9), (7, 1), (5, 8), (3, 0)):
        steps = random.integers(0, 65536, (rows, columns, 3)).astype(np.uint16)
        content = web_packing.differences(steps)
        low, high = (part.astype(np.int64) for part in np.split(content, 2))
        summed = (low + 256 * high).reshape(3, rows, columns).cumsum(axis=2).cumsum(axis=1)
        np.testing.assert_array_equal(np.moveaxis(summed % 65536, 0, -1), steps)


def test_hiding_a_share_never_hides_more():
    confidence = np.array([2, 1, 1, 1, 5, 0], dtype=np.float32)
    rank = web_packing.ranks(confidence, np.sort(confidence[:-1]))
    for percent in range(1, 100):
        hidden = rank[:-1] < 1 + 254 * percent / 100
        assert hidden.mean() <= percent / 100
    assert rank[-1] == 0 and rank[4] == 255 and rank[1] == rank[2] < rank[0]


def test_paths_hold_still_where_they_are_unknown():
    paths = np.arange(12, dtype=np.float32).reshape(4, 1, 3)
    usable = np.array([[False], [True], [False], [True]])
    held = held_tracks(paths, usable)
    np.testing.assert_array_equal(held[:, 0, 0], [3, 3, 3, 9])
