"""A scene as a figure of matplotlib: what its panels hold, and what is said without the library."""

import builtins
from dataclasses import replace

import numpy as np
import pytest

import dynapoint
from dynapoint.errors import ConfigError, InputError
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.figure import checked_panels
from dynapoint.results.panels import MOTION_SCALE, grid_of
from fake_model import FakeModel, picture_array

_HW = (48, 96)


@pytest.fixture(scope="module")
def rec():
    pytest.importorskip("matplotlib")
    return dynapoint.reconstruct(picture_array(4, *_HW), FakeModel(64))


def drawn(axis):
    return np.ma.filled(axis.images[0].get_array().astype(float), np.nan)


def test_all_panels_or_those_named(rec, tmp_path):
    whole = rec.figure()
    titles = [axis.get_title() for axis in whole.axes if axis.get_title()]
    assert [title.split()[0] for title in titles] == ["depth", "frame", "motion", "cameras"]
    whole.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    one = rec.figure("cameras")
    assert [axis.get_title() for axis in one.axes] == ["cameras and frame 0 from above"]


@pytest.mark.parametrize("frame", [0, 2])
def test_depth_is_that_of_the_frame_in_its_pixels(rec, frame):
    axis = rec.figure("depth", frame=frame).axes[0]
    np.testing.assert_allclose(drawn(axis), rec.own_time_depth[frame])
    left, right, low, top = axis.images[0].get_extent()
    assert (left, right, low, top) == pytest.approx((0, _HW[1], _HW[0], 0))


@pytest.mark.parametrize(("frame", "time"), [(0, 3), (2, 0), (1, 1)])
def test_motion_is_a_share_of_the_distance(rec, frame, time):
    axis = rec.figure("motion", frame=frame, time=time).axes[0]
    moved = rec.maps(frame=frame, time=time)[0] - rec.own_time_points[frame]
    in_camera = points_in_camera(
        rec.own_time_points[frame].astype(np.float64), rec.world_from_camera[frame]
    )
    share = np.linalg.norm(moved, axis=-1) / np.linalg.norm(in_camera, axis=-1)
    np.testing.assert_allclose(drawn(axis), 100 * share, rtol=1e-4, atol=1e-5)
    assert axis.images[0].get_clim() == (0, 100 * MOTION_SCALE)
    assert (time == frame) == (share.max() == 0)


@pytest.mark.parametrize(("frame", "time"), [(0, 3), (2, 0)])
def test_tracks_end_where_their_points_project(rec, frame, time):
    axis = rec.figure("tracks", frame=frame, time=time).axes[0]
    rows, columns = grid_of(rec.map_hw)
    points = rec.tracks(frame=frame).points[time][rows, columns].astype(np.float64)
    xy = project(points_in_camera(points, rec.world_from_camera[time]), rec.intrinsics[time])
    dots = np.array([line.get_xydata()[0] for line in axis.lines if line.get_marker() == "."])
    np.testing.assert_allclose(dots, xy, rtol=1e-5, atol=1e-4)
    ways = [line.get_xydata() for line in axis.lines if line.get_marker() != "."]
    assert {len(way) for way in ways} == {abs(time - frame) + 1}


def test_cameras_are_where_they_are(rec):
    poses = rec.world_from_camera.copy()
    poses[:, :3, 3] = np.random.default_rng(0).normal(size=(4, 3))
    poses[0] = np.eye(4)
    axis = replace(rec, world_from_camera=poses).figure("cameras").axes[0]
    np.testing.assert_allclose(axis.lines[0].get_xydata(), poses[:, [2, 0], 3])
    (left, right), (low, top) = axis.get_xlim(), axis.get_ylim()
    assert left < poses[:, 2, 3].min() and right > poses[:, 2, 3].max()
    # Right of the first camera is below.
    assert low > poses[:, 0, 3].max() and top < poses[:, 0, 3].min()


def test_what_cannot_be_drawn_is_said_in_one_line(rec, monkeypatch):
    with pytest.raises(ConfigError, match=r"no panel 'dept'; give some of depth, tracks, motion"):
        checked_panels(["depth", "dept"])
    with pytest.raises(InputError):
        rec.figure("depth", frame=9)
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install dynapoint\[plot\]") as caught:
        rec.figure()
    assert "\n" not in str(caught.value)
