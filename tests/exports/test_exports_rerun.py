"""rerun: what a recording holds, read with the library's own reader."""

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dynapoint.errors import OutputError
from dynapoint.exports.catalog import export
from dynapoint.exports.options import ExportOptions
from exact_scenes import NORMAL, VELOCITY, exact_scene
from exported_scenes import gray_images

pytest.importorskip("rerun", reason="rerun-sdk is not installed: rerun is NOT tested")
from rerun.chunk import RrdReader

TIMELINES = {"frame", "seconds"}


class Recording:
    """The rows of each entity, as {column: value}, in order of the frame."""

    def __init__(self, path):
        self.reader = RrdReader(path)
        self.rows, self.static, self.timelines = {}, set(), set()
        for chunk in self.reader.stream().to_chunks():
            if chunk.is_static:
                self.static.add(chunk.entity_path)
            else:
                self.timelines |= set(chunk.timeline_names)
            for row in chunk.to_record_batch().to_pylist():
                at = self.rows.setdefault(chunk.entity_path, {}).setdefault(row.get("frame"), {})
                at.update({key: value for key, value in row.items() if value is not None})

    def value(self, entity, column, frame=None):
        return np.array(self.rows[entity][frame][column])


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def rec(request):
    return exact_scene(request.param)


@pytest.fixture(scope="module")
def read(rec, tmp_path_factory):
    return Recording(export(rec, "rerun", tmp_path_factory.mktemp("rerun") / "scene"))


def test_it_holds_the_entities_on_both_timelines(rec, read):
    every = {"/world/camera", "/world/camera/image", "/world/points"}
    for entity in every:
        assert sorted(read.rows[entity]) == list(range(rec.frame_count))
    assert sorted(read.rows["/world/tracks"]) == [1, 2, 3]
    assert {"/world", "/world/static"} <= read.static
    assert TIMELINES <= read.timelines
    for frame, row in read.rows["/world/points"].items():
        assert row["seconds"].total_seconds() == pytest.approx(rec.timestamps_s[frame])
    assert [entry.application_id for entry in read.reader.recordings()] == ["dynapoint"]
    assert len(read.reader.blueprints()) == 1


def test_rerun_verifies_it_and_shows_our_layout(tmp_path, monkeypatch):
    """A layout that is merely the default came too late for the viewer, which made its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = export(exact_scene(frames=2), "rerun", tmp_path / "a")
    for command in (["verify"], ["print", "-v"]):
        ran = subprocess.run(
            [sys.executable, "-m", "rerun", "rrd", *command, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    assert "make_active: true" in ran.stdout


def test_the_world_is_declared_as_it_is(read):
    # The library's numbers for right, down and forward.
    assert read.value("/world", "ViewCoordinates:xyz").ravel().tolist() == [3, 2, 5]


def test_cameras_are_ours_and_image_points_lie_on_their_pixels(rec, read):
    height, width = rec.frames.image_hw
    for frame in range(rec.frame_count):
        turn = read.value("/world/camera", "Transform3D:mat3x3", frame).reshape(3, 3).T
        center = read.value("/world/camera", "Transform3D:translation", frame).ravel()
        lens = read.value("/world/camera", "Pinhole:image_from_camera", frame).reshape(3, 3).T
        np.testing.assert_allclose(turn, rec.world_from_camera[frame, :3, :3], atol=1e-6)
        np.testing.assert_allclose(center, rec.world_from_camera[frame, :3, 3], atol=1e-6)
        size = read.value("/world/camera", "Pinhole:resolution", frame).ravel()
        assert size.tolist() == [width, height]
        points = read.value("/world/points", "Points3D:positions", frame).reshape(-1, 3)
        in_camera = (points - center) @ turn
        xy = (in_camera / in_camera[:, 2:]) @ lens.T
        rows, columns = np.divmod(np.arange(len(points)), rec.map_hw[1])
        pixel = np.stack([columns + 0.5, rows + 0.5], axis=1) / rec.pixel_map.scale[frame]
        np.testing.assert_allclose(xy[:, :2], pixel, atol=1e-3)


def image_of(read, frame):
    blob = np.array(read.value("/world/camera/image", "EncodedImage:blob", frame), dtype=np.uint8)
    return cv2.imdecode(blob.ravel(), cv2.IMREAD_COLOR)[..., ::-1]


def test_images_are_the_frames(rec, read):
    for frame in range(rec.frame_count):
        off = image_of(read, frame).astype(int) - rec.images[frame]
        assert abs(off).max() < 12 and abs(off).mean() < 3


def colors_of(read, entity, frame=None):
    packed = read.value(entity, "Points3D:colors", frame).ravel().astype(np.uint32)
    return np.stack([packed >> shift & 255 for shift in (24, 16, 8)], axis=1)


def test_the_still_cloud_is_the_wall_with_its_colours(read):
    points = read.value("/world/static", "Points3D:positions").reshape(-1, 3)
    np.testing.assert_allclose(points @ NORMAL, 4.0, atol=1e-5)
    colors = colors_of(read, "/world/static")
    assert len(points) > 500
    assert np.corrcoef(colors[:, 0], points[:, 0])[0, 1] > 0.8
    assert np.corrcoef(colors[:, 1], -points[:, 1])[0, 1] > 0.8


def test_tracks_trail_what_moves(read):
    for frame in (1, 3):
        strips = np.array(read.rows["/world/tracks"][frame]["LineStrips3D:strips"])
        assert strips.shape[0] > 50 and strips.shape[1:] == (frame + 1, 3)
        steps = np.diff(strips, axis=1)
        np.testing.assert_allclose(steps, np.broadcast_to(VELOCITY, steps.shape), atol=1e-5)


def test_mid_grey_stays_mid_grey(tmp_path):
    read = Recording(export(exact_scene(images=gray_images), "rerun", tmp_path / "a"))
    for frame in range(4):
        assert (image_of(read, frame) == 128).all()
        assert (colors_of(read, "/world/points", frame) == 128).all()


def test_one_frame_one_time_thinned_and_nothing_usable(rec, tmp_path):
    one = Recording(export(exact_scene(frames=1), "rerun", tmp_path / "one"))
    assert sorted(one.rows["/world/points"]) == [0] and "/world/tracks" not in one.rows
    third = export(rec, "rerun", tmp_path / "third", ExportOptions(time=2, max_points=50))
    third = Recording(third)
    assert sorted(third.rows["/world/points"]) == [2]
    assert third.value("/world/points", "Points3D:positions", 2).reshape(-1, 3).shape == (50, 3)
    nothing = np.zeros_like(rec.own_time_confidence)
    decoder = type(rec.decoder)(rec.own_time_points, nothing, rec.decoder.moving, 1.0)
    empty = replace(rec, own_time_confidence=nothing, decoder=decoder)
    empty = Recording(export(empty, "rerun", tmp_path / "none"))
    assert sorted(empty.rows["/world/camera"]) == [0, 1, 2, 3]
    assert empty.value("/world/static", "Points3D:positions").size == 0


@pytest.mark.parametrize(
    ("times", "wanted"),
    [([np.nan] * 4, [0, 0.1, 0.2, 0.3]), ([5, np.nan, 6, 7], [5, 6, 7, 8])],
)
def test_times_that_are_not_known_follow_the_others(rec, tmp_path, times, wanted):
    unknown = replace(rec, frames=replace(rec.frames, timestamps_s=np.array(times)))
    read = Recording(export(unknown, "rerun", tmp_path / "a"))
    seconds = [read.rows["/world/points"][frame]["seconds"].total_seconds() for frame in range(4)]
    np.testing.assert_allclose(seconds, wanted)


@pytest.mark.parametrize("size", [1e-4, 1e6])
def test_any_size_of_scene(tmp_path, size):
    read = Recording(export(exact_scene(size=size), "rerun", tmp_path / "a"))
    points = read.value("/world/static", "Points3D:positions").reshape(-1, 3)
    np.testing.assert_allclose(points @ NORMAL / size, 4.0, rtol=1e-5)


def test_a_full_disk_is_an_error_and_leaves_nothing(rec, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        export(rec, "rerun", tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named_with_its_extra(rec, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(OutputError, match=r"dynapoint\[rerun\]"):
        export(rec, "rerun", tmp_path / "a")
    assert not list(tmp_path.iterdir())
