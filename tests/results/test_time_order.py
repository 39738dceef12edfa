"""Photographs in any order: what plays, lists or exports frames does so in the order of time."""

import itertools
import json
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pygltflib
import pytest
from PIL import Image

from dynapoint.exports.catalog import export
from dynapoint.exports.clouds import moving_cloud, play_times_s
from dynapoint.exports.mp4 import _shown_times
from dynapoint.exports.options import ExportOptions
from dynapoint.results.time_order import DEFAULT_STEP_S, moments_s, order_of_times
from dynapoint.viewer.shown import ShownScene
from exported_scenes import scene

NAN = float("nan")
CASES = {
    "any order": [3.0, 0.0, 1.0, 2.5],
    "two cameras": [2.0, 1.0, 2.0, 1.0],
    "one moment": [5.0, 5.0, 5.0, 5.0],
    "some unknown": [NAN, 4.0, NAN, 1.0],
    "none known": [NAN, NAN, NAN, NAN],
    "as filmed": [0.0, 0.1, 0.2, 0.3],
}


def earliest_first(times):
    """Insertion, one after another: an oracle that sorts nothing by a library."""
    order = []
    for frame, time in enumerate(times):
        place = len(order)
        while place and not np.isnan(time):
            before = times[order[place - 1]]
            if before <= time:
                break
            place -= 1
        order.insert(place, frame)
    return order


@pytest.fixture(scope="module")
def filmed():
    return scene(frames=4)


@pytest.fixture(params=list(CASES))
def rec(request, filmed):
    stamps = np.array(CASES[request.param])
    return replace(filmed, frames=replace(filmed.frames, timestamps_s=stamps))


def random_times(random):
    """Some equal, some unknown, in any order."""
    times = random.choice(random.uniform(-50, 50, 6).round(3), random.integers(1, 12))
    return np.where(random.random(len(times)) < random.choice([0, 0.3]), np.nan, times)


@pytest.mark.parametrize("seed", range(60))
def test_the_order_is_that_of_times_then_of_the_source_and_unknown_ones_are_last(seed):
    times = random_times(np.random.default_rng(seed))
    assert order_of_times(times) == earliest_first(times.tolist())


@pytest.mark.parametrize("seed", range(60))
def test_known_times_begin_when_they_are_and_those_that_are_alike_share_them_evenly(seed):
    times = random_times(np.random.default_rng(seed))
    ordered = times[order_of_times(times)]
    begins = moments_s(ordered)
    assert len(begins) == len(times) + 1 and begins[0] == 0 and (np.diff(begins) > 0).all()
    known = ordered[np.isfinite(ordered)]
    distinct = sorted(set(known.tolist()))
    gaps = [b - a for a, b in itertools.pairwise(distinct)]
    if not gaps:
        np.testing.assert_allclose(begins, DEFAULT_STEP_S * np.arange(len(times) + 1))
        return
    usual = float(np.median(gaps))
    for time, gap in zip(distinct, [*gaps, usual], strict=True):
        places = np.flatnonzero(ordered == time)
        wanted = time - distinct[0] + gap * np.arange(len(places) + 1) / len(places)
        np.testing.assert_allclose(begins[places[0] : places[-1] + 2], wanted, atol=1e-9)
    unknown = len(times) - len(known)
    np.testing.assert_allclose(np.diff(begins)[len(known) :], [usual] * unknown, atol=1e-9)


def test_tum_stamps_ascend_and_poses_go_with_their_stamps(rec, tmp_path):
    table = np.loadtxt(export(rec, "tum", tmp_path / "poses"))
    stamps = rec.timestamps_s
    order = order_of_times(stamps) if np.isfinite(stamps).all() else [0, 1, 2, 3]
    assert (np.diff(table[:, 0]) >= 0).all()
    np.testing.assert_allclose(table[:, 1:4], rec.world_from_camera[order, :3, 3], atol=1e-8)
    if np.isfinite(stamps).all():
        np.testing.assert_allclose(table[:, 0], stamps[order])


def test_a_moving_cloud_and_what_the_mp4_shows_of_it_go_by_time(rec):
    cloud = moving_cloud(rec, ExportOptions(), max_points=300)
    order = order_of_times(rec.timestamps_s)
    assert cloud.times == order
    begins = play_times_s(rec, ExportOptions())
    shown = _shown_times(begins)
    # Once through from the earliest to the latest, each in its turn, then again.
    turns = [shown[0]] + [b for a, b in itertools.pairwise(shown) if b != a]
    assert turns[:4] == [0, 1, 2, 3]


def test_glb_shows_each_frame_when_its_time_is(rec, tmp_path):
    path = export(rec, "glb", tmp_path / "scene", ExportOptions(max_points=300))
    document = pygltflib.GLTF2().load(str(path))

    def values(index):
        accessor = document.accessors[index]
        view, width = document.bufferViews[accessor.bufferView], accessor.type[-1]
        width = 1 if accessor.type == "SCALAR" else int(width)
        start = view.byteOffset + (accessor.byteOffset or 0)
        read = np.frombuffer(document.binary_blob(), np.float32, accessor.count * width, start)
        return read.reshape(accessor.count, width)

    begins, order = play_times_s(rec, ExportOptions()), order_of_times(rec.timestamps_s)
    (animation,) = document.animations
    for channel in animation.channels:
        node = document.nodes[channel.target.node]
        sampler = animation.samplers[channel.sampler]
        keys, output = values(sampler.input)[:, 0], values(sampler.output)
        assert (np.diff(keys) > 0).all()
        if node.name == "camera" and channel.target.path == "translation":
            np.testing.assert_allclose(keys, begins[:-1], atol=1e-5)
            flip = np.array([1, -1, -1])
            held = rec.world_from_camera[order, :3, 3] * flip
            np.testing.assert_allclose(output, held, atol=1e-6)
        elif node.name.startswith("time_"):
            place = order.index(int(node.name[-4:]))
            shown = keys[np.argmax(output[:, 0] > 0)]
            assert shown == pytest.approx(begins[place], abs=1e-5)


def test_usd_moves_by_time(rec, tmp_path):
    pytest.importorskip("pxr", reason="usd-core is not installed")
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(export(rec, "usd", tmp_path / "scene")))
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/scene/camera"))
    place = camera.GetOrderedXformOps()[0].GetAttr()
    codes = np.array(place.GetTimeSamples())
    begins, order = play_times_s(rec, ExportOptions()), order_of_times(rec.timestamps_s)
    np.testing.assert_allclose(codes / stage.GetTimeCodesPerSecond(), begins[:-1], atol=1e-3)
    held = [np.array(place.Get(code)) * [1, -1, -1] for code in codes]
    np.testing.assert_allclose(held, rec.world_from_camera[order, :3, 3], atol=1e-9)


def blue_of(jpeg):
    """Which frame a picture is of."""
    return round((np.asarray(Image.open(BytesIO(jpeg)))[..., 2].mean() - 40) / 20)


def test_pages_and_the_viewer_count_frames_by_time(rec, tmp_path):
    order = order_of_times(rec.timestamps_s)
    text = export(rec, "html", tmp_path / "page", ExportOptions(max_points=300)).read_text()
    manifest = json.loads(re.search(r'id="manifest"[^>]*>(.*?)</script>', text, re.DOTALL)[1])
    assert manifest["times"] == order
    begins = play_times_s(rec, ExportOptions())
    np.testing.assert_allclose(manifest["beginsS"], begins, atol=1e-6)
    poses = np.array([camera["pose"] for camera in manifest["cameras"]])
    np.testing.assert_allclose(poses[:, 12:15], rec.world_from_camera[order, :3, 3])
    shown = ShownScene(rec)
    assert shown.page_facts["times"] == order
    assert [blue_of(shown.picture(place)) for place in range(4)] == order
    # The first place's own tracks begin where its own cloud lies.
    assert shown.tracks(0, (0.0, 0.0, 1.0, 1.0)) != shown.tracks(3, (0.0, 0.0, 1.0, 1.0))


def test_tapvid3d_counts_frames_by_time(rec, tmp_path):
    held = np.load(export(rec, "tapvid3d", tmp_path / "tracks"))
    order = order_of_times(rec.timestamps_s)
    assert [blue_of(bytes(jpeg)) for jpeg in held["images_jpeg_bytes"]] == order
    np.testing.assert_allclose(
        held["extrinsics_w2c"], np.linalg.inv(rec.world_from_camera[order]), atol=1e-6
    )
    # A track goes through the pixel that it was asked at, in the frame that it was asked in.
    fx, fy, cx, cy = held["fx_fy_cx_cy"]
    for (x, y, place), track in zip(held["queries_xyt"], range(10**6), strict=False):
        at = held["tracks_XYZ"][int(place), track]
        # To a pixel of the map, for at edges the nearest one answers; a frame later it is 1.6 off.
        np.testing.assert_allclose(at[:2] / at[2] * [fx, fy] + [cx, cy], [x, y], atol=0.8)


def test_rerun_scrubs_through_the_order_of_time(rec, tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    from test_exports_rerun import Recording, image_of

    read = Recording(export(rec, "rerun", tmp_path / "scene"))
    blues = [round((image_of(read, place)[..., 2].mean() - 40) / 20) for place in range(4)]
    assert blues == order_of_times(rec.timestamps_s)
