"""Which scenes are shown fused, and which by each frame's own pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dynapoint.exports import mp4
from dynapoint.exports.clouds import own_time_cloud
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.shown_pixels import fusion_shows_ghosts
from exact_scenes import exact_scene


def stored(folder, **signals):
    """An exact scene that says so of itself."""
    rec = exact_scene()
    content = {"grade": 0.5, "lines": [], "signals": signals}
    folder.mkdir()
    (folder / "self_check.json").write_text(json.dumps(content))
    return replace(rec, folder=folder)


def test_frames_that_agree_exactly_are_fused_and_disturbed_ones_are_not():
    rec = exact_scene()
    assert not fusion_shows_ghosts(rec)
    random = np.random.default_rng(0)
    off = rec.own_time_points.copy()
    for frame in range(1, rec.frame_count):
        origin = rec.world_from_camera[frame, :3, 3]
        off[frame] = origin + (off[frame] - origin) * random.choice([0.75, 1.35])
    assert fusion_shows_ghosts(replace(rec, own_time_points=off.astype(np.float32)))


@pytest.mark.parametrize(
    ("signals", "ghosts"),
    [
        ({"depth_disagreement": 0.04, "still_drift": 0.04, "moving_cycle_error": 0.29}, False),
        ({"depth_disagreement": 0.06}, True),
        ({"still_drift": 0.06, "depth_disagreement": None}, True),
        ({"moving_cycle_error": 0.31}, True),
        ({"depth_disagreement": None, "still_drift": None, "moving_cycle_error": None}, False),
        ({}, False),
    ],
)
def test_a_stored_check_decides_and_options_override_it(tmp_path, signals, ghosts):
    rec = stored(tmp_path / "scene.4d", **signals)
    assert ExportOptions().shows_own(rec) is ghosts
    assert ExportOptions(show="own").shows_own(rec)
    assert not ExportOptions(show="fused").shows_own(rec)


def test_own_pixels_are_seen_from_where_their_own_camera_is():
    rec, options = exact_scene(), ExportOptions()
    moments = mp4._moments(rec, options, own=True)
    for frame, moment in enumerate(moments):
        np.testing.assert_array_equal(moment.points, own_time_cloud(rec, frame, options).points)
    shown = [0, 1, 2, 3]
    poses = mp4._swing(rec, moments, [0, 1, 2, 3], shown, own=True)
    for frame, pose in enumerate(poses):
        own = rec.world_from_camera[frame]
        # It turns about a place straight ahead of the frame's camera, and looks at it.
        ahead = np.linalg.inv(pose) @ [
            *(own[:3, 3] + mp4._distance(moments[frame].points, own) * own[:3, 2]),
            1,
        ]
        np.testing.assert_allclose(ahead[:2], 0, atol=1e-9)
        angle = np.degrees(np.arccos(np.clip(pose[:3, 2] @ own[:3, 2], -1, 1)))
        assert angle < 17
