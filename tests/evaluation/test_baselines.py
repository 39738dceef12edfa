"""Baselines against exact cases: shifted pictures, exact matches, rendered clips."""

from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dynapoint.datasets.sequence import Holds, TruthSequence
from dynapoint.evaluation.baselines.flow_maps import FlowedMaps
from dynapoint.evaluation.baselines.sfm import StructureFromMotion
from dynapoint.evaluation.baselines.two_view import TwoViewGeometry, relative_pose
from dynapoint.evaluation.methods.method import MethodInfo, Question
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.trajectory import path_errors
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.training.mixture import held_still

SHIFT = np.array([3, 2])
HW = (64, 80)


class Shifted(TruthSequence):
    """Pictures of one texture, each shifted further by whole pixels."""

    dataset, name, image_hw, holds = "shifted", "one", HW, Holds()

    def __init__(self, frames):
        self.frame_count = frames
        rng = np.random.default_rng(1)
        coarse = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
        self._wide = np.kron(coarse, np.ones((4, 4, 1), np.uint8))

    def image(self, frame):
        x, y = 40 - frame * SHIFT
        return self._wide[y : y + HW[0], x : x + HW[1]].copy()


class RandomMaps:
    """Random own-time maps, others are never asked."""

    info = MethodInfo(name="random")

    def __init__(self):
        self.rows = np.random.default_rng(2).random((3, *HW, 3), np.float32)

    def answer(self, question):
        task = question.task
        assert all(source == time for source, time in task.maps) and not task.track_xy
        hold = slice(task.stride // 2, None, task.stride)
        maps = np.stack([self.rows[k][hold, hold] for k, _ in task.maps])
        return Answer(points=maps, world_from_camera=np.tile(np.eye(4), (3, 1, 1)))


def question(sequence, **given):
    frames = tuple(range(sequence.frame_count))
    task = Task(dataset="d", sequence="s", name="n", frames=frames, **given)
    return Question(task=task, truth=sequence)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_map_of_another_time_is_looked_up_where_flow_says(stride):
    inner = RandomMaps()
    asked = question(Shifted(3), maps=((0, 1), (0, 0), (2, 1)), stride=stride)
    found = FlowedMaps(inner).answer(asked)
    assert found.points.shape == (3, *asked.task.grid_hw(HW), 3)
    hold = slice(stride // 2, None, stride)
    np.testing.assert_array_equal(found.points[1], inner.rows[0][hold, hold])
    # The nearest entry of the grid to the exact place, in the middle of the picture.
    middle = slice(20 // stride, 40 // stride)
    for index, (source, sign) in ((0, (0, 1)), (2, (2, -1))):
        rows, columns = (
            np.rint(
                (np.arange(stride // 2, HW[k], stride) + sign * SHIFT[1 - k] - stride // 2) / stride
            )
            for k in (0, 1)
        )
        held = inner.rows[1][hold, hold]
        wanted = held[
            np.clip(rows, 0, held.shape[0] - 1).astype(int)[:, None],
            np.clip(columns, 0, held.shape[1] - 1).astype(int),
        ]
        right = (found.points[index] == wanted).all(axis=-1)[middle, middle]
        # Halves are rounded either way by the smallest error of the flow.
        assert right.mean() > (0.9 if stride == 1 else 0.2), source
    assert (found.points[0] != inner.rows[0][hold, hold]).any()


def test_tracks_follow_the_flow_from_frame_to_frame():
    inner = RandomMaps()
    asked = question(Shifted(3), track_xy=((30.5, 25.5), (40.5, 30.5), (79.5, 63.5)))
    found = FlowedMaps(inner).answer(asked)
    for frame in range(3):
        for track, (x, y) in enumerate(asked.task.track_xy[:2]):
            column, row = int(x) + frame * SHIFT[0], int(y) + frame * SHIFT[1]
            np.testing.assert_array_equal(
                found.tracks[frame, track], inner.rows[frame][row, column]
            )
    assert found.tracks_visible[:, :2].all()
    # The last one leaves the picture: it stays where it was, unseen.
    assert not found.tracks_visible[1:, 2].any()
    np.testing.assert_array_equal(found.tracks[2, 2], found.tracks[0, 2])


def test_a_step_is_found_from_exact_matches_with_outliers():
    rng = np.random.default_rng(3)
    lens = np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]])
    for _ in range(5):
        points = rng.uniform([-2, -1.5, 3], [2, 1.5, 8], (200, 3))
        rotation = Rotation.from_rotvec(rng.normal(0, 0.1, 3)).as_matrix()
        position = rng.normal(0, 0.5, 3)
        second_points = (points - position) @ rotation
        pixels = [each @ lens.T for each in (points, second_points)]
        first, second = (each[:, :2] / each[:, 2:] for each in pixels)
        wrong = rng.random(200) < 0.3
        second[wrong] += rng.uniform(-80, 80, (wrong.sum(), 2))
        step = relative_pose(first, second, lens, lens)
        np.testing.assert_allclose(step.first_from_second[:3, :3], rotation, atol=2e-3)
        direction = position / np.linalg.norm(position)
        np.testing.assert_allclose(step.first_from_second[:3, 3], direction, atol=1e-2)
        held = points[step.agrees] / np.linalg.norm(position)
        good = ~wrong[step.agrees]
        off = np.linalg.norm(step.points - held, axis=1) / np.linalg.norm(held, axis=1)
        assert np.median(off[good]) < 0.01
        assert good.mean() > 0.95 and step.agrees.sum() > 120


def test_without_matches_there_is_no_step():
    assert relative_pose(np.zeros((3, 2)), np.zeros((3, 2)), np.eye(3), np.eye(3)) is None


@cache
def still_scene():
    """A walk through a scene in which nothing moves."""
    config = SceneConfig(frames=6, still_camera=0.0, difficulty=1.0)
    scene = held_still(random_scene(12, config, aspect=4 / 3))
    return render_clips([scene], image_hw=(240, 320), seed=12)


class StillScene(TruthSequence):
    dataset, name, image_hw, frame_count = "still", "one", (240, 320), 6
    holds = Holds(lens=True, poses=True)

    def image(self, frame):
        return still_scene().images[0, frame].numpy()

    def intrinsics(self, frame):
        return still_scene().intrinsics[0, frame].double().numpy()

    def world_from_camera(self, frame):
        return still_scene().world_from_camera[0, frame].double().numpy()


def errors_in_still_scene(answer):
    truth = np.stack([StillScene().world_from_camera(frame) for frame in range(6)])
    return path_errors(truth, answer.world_from_camera)


STANDS_STILL = Answer(world_from_camera=np.tile(np.eye(4), (6, 1, 1)))


@pytest.mark.parametrize("known_lens", [True, False])
def test_chained_cameras_of_a_rendered_clip(known_lens):
    asked = question(StillScene(), cameras=True, known_lens=known_lens)
    found = TwoViewGeometry().answer(asked)
    errors, still = errors_in_still_scene(found), errors_in_still_scene(STANDS_STILL)
    assert errors.ate < 0.5 * still.ate
    assert errors.rpe_rotation_deg < 0.25 * still.rpe_rotation_deg
    assert (found.intrinsics[0, 0, 0] == StillScene().intrinsics(0)[0, 0]) == known_lens


def test_structure_from_motion_solves_a_rendered_clip():
    pytest.importorskip("pycolmap")
    found = StructureFromMotion().answer(question(StillScene(), cameras=True))
    assert errors_in_still_scene(found).ate < 0.05 * errors_in_still_scene(STANDS_STILL).ate
    assert abs(found.intrinsics[0, 0, 0] / StillScene().intrinsics(0)[0, 0] - 1) < 0.05
    known = StructureFromMotion().answer(question(StillScene(), cameras=True, known_lens=True))
    assert known.intrinsics[0, 0, 0] == pytest.approx(StillScene().intrinsics(0)[0, 0])


def test_a_camera_that_only_turns_takes_no_step():
    rng = np.random.default_rng(4)
    lens = np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]])
    points = rng.uniform([-2, -1.5, 3], [2, 1.5, 8], (200, 3))
    rotation = Rotation.from_rotvec(rng.normal(0, 0.1, 3)).as_matrix()
    pixels = [each @ lens.T for each in (points, points @ rotation)]
    first, second = (each[:, :2] / each[:, 2:] for each in pixels)
    second += rng.normal(0, 0.1, second.shape)
    second[:40] += 30
    step = relative_pose(first, second, lens, lens)
    np.testing.assert_allclose(step.first_from_second[:3, :3], rotation, atol=1e-3)
    np.testing.assert_array_equal(step.first_from_second[:3, 3], 0)
    assert not step.agrees.any()


def test_what_cannot_be_solved_has_no_answer():
    pytest.importorskip("pycolmap")

    class Grey(Shifted):
        def image(self, frame):
            return np.full((*HW, 3), 128, np.uint8)

    asked = question(Grey(3), cameras=True)
    assert StructureFromMotion().answer(asked).world_from_camera is None
    still = TwoViewGeometry().answer(asked).world_from_camera
    np.testing.assert_array_equal(still, np.tile(np.eye(4), (3, 1, 1)))
