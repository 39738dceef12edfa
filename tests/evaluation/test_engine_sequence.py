"""The helper that other tests take as truth is right itself."""

import numpy as np
import pytest

from dynapoint.evaluation.protocols.task import Task
from engine_sequence import EngineSequence, true_answer
from miniatures.engine_clip import engine_clip


@pytest.fixture(scope="module")
def sequence():
    return EngineSequence(engine_clip())


def test_points_depth_lens_and_poses_agree(sequence):
    for frame in range(sequence.frame_count):
        by_depth = super(EngineSequence, sequence).points(frame, frame)
        np.testing.assert_allclose(sequence.points(frame, frame), by_depth, atol=1e-4)
        shown = np.isfinite(sequence.depth(frame))
        np.testing.assert_array_equal(shown, sequence.instances(frame) > 0)


def test_object_poses_carry_the_points_of_their_pixels(sequence):
    poses = sequence.object_poses()
    carried = 0
    for row in np.flatnonzero(np.isfinite(poses).all(axis=(1, 2, 3))):
        np.testing.assert_allclose(np.linalg.det(poses[row, :, :3, :3]), 1)
        for frame in range(sequence.frame_count):
            pixels = sequence.instances(frame) == row + 1
            before = sequence.points(frame, frame)[pixels].astype(np.float64)
            for time in range(sequence.frame_count):
                motion = poses[row, time] @ np.linalg.inv(poses[row, frame])
                after = before @ motion[:3, :3].T + motion[:3, 3]
                np.testing.assert_allclose(sequence.points(frame, time)[pixels], after, atol=2e-3)
            carried += int(pixels.sum())
    assert carried > 100


def test_the_true_answer_says_all_that_is_asked_in_the_first_camera(sequence):
    tracks = sequence.tracks()
    first = 0
    lens = sequence.intrinsics(first)
    start = tracks.xyz[first] @ lens.T
    xy = start[:, :2] / start[:, 2:]
    task = Task(
        dataset="engine", sequence="clip", name="all", frames=(0, 3, 5), maps=((0, 2), (1, 1)),
        swapped=True, depth=True, cameras=True, moving=True, track_xy=tuple(map(tuple, xy)),
        stride=2,
    )  # fmt: skip
    answer = true_answer(task, sequence)
    # The world is the camera of frame 0.
    np.testing.assert_allclose(answer.points[0], sequence.points(0, 5)[1::2, 1::2], atol=1e-5)
    np.testing.assert_allclose(answer.points[1], sequence.points(3, 3)[1::2, 1::2], atol=1e-5)
    np.testing.assert_allclose(answer.swapped_points[1, ..., 2], answer.depth[1], atol=1e-4)
    np.testing.assert_array_equal(answer.depth[2], sequence.depth(5)[1::2, 1::2])
    np.testing.assert_allclose(answer.world_from_camera[2], sequence.world_from_camera(5))
    np.testing.assert_array_equal(answer.moving[1], sequence.moving(3)[1::2, 1::2])
    np.testing.assert_allclose(answer.tracks, tracks.xyz[[0, 3, 5]], atol=1e-5)
    np.testing.assert_array_equal(answer.tracks_visible, tracks.visible[[0, 3, 5]])
    # Tracks start at pixels of the first frame, and so have the points of these.
    columns, rows = np.floor(xy).astype(int).T
    np.testing.assert_allclose(tracks.xyz[5], sequence.points(0, 5)[rows, columns], atol=1e-6)


def test_the_true_answer_is_in_the_camera_of_the_first_frame_shown(sequence):
    task = Task(
        dataset="engine", sequence="clip", name="all", frames=(4, 1), maps=((1, 1), (1, 0)),
        swapped=True, depth=True, cameras=True,
    )  # fmt: skip
    answer = true_answer(task, sequence)
    step = sequence.world_from_camera(4)[:3, 3] - sequence.world_from_camera(1)[:3, 3]
    assert np.linalg.norm(step) > 0.05  # Else nothing here would show a wrong camera.
    for maps, camera in ((answer.points, 4), (answer.swapped_points, 1)):
        pose = sequence.world_from_camera(camera)
        back = maps.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        np.testing.assert_allclose(back[0], sequence.points(1, 1), atol=1e-4)
        np.testing.assert_allclose(back[1], sequence.points(1, 4), atol=1e-4)
    there = sequence.world_from_camera(4) @ answer.world_from_camera[1]
    np.testing.assert_allclose(there, sequence.world_from_camera(1), atol=1e-12)
    np.testing.assert_array_equal(answer.depth[1], sequence.depth(1))
