"""The grade of cameras: high for true ones, next to nothing for wrong ones."""

import math
from dataclasses import replace

import numpy as np
import pytest

import dynapoint
from dynapoint.reductions.camera_grade import camera_error, path_roughness
from dynapoint.reductions.grades import grade_of_error
from dynapoint.refinement.agreement import agreement
from fake_model import FakeModel, picture_array
from refinement_cases import rendered


def poses(places):
    made = np.tile(np.eye(4), (len(places), 1, 1))
    made[:, :3, 3] = places
    return made


def test_a_straight_path_is_smooth_and_one_to_and_fro_is_not():
    rng = np.random.default_rng(0)
    straight = np.arange(9.0)[:, None] * rng.normal(size=3)
    assert path_roughness(poses(straight), 1.0) == pytest.approx(0.0, abs=1e-12)
    # Every step is undone by the next one: bends are twice as long as steps.
    there_and_back = np.where(np.arange(9)[:, None] % 2, rng.normal(size=3), 0.0)
    assert path_roughness(poses(there_and_back), 1.0) == pytest.approx(2.0)
    # Places along a walk whose steps are independent: sqrt(2).
    walk = rng.normal(size=(20_000, 3)).cumsum(axis=0)
    assert path_roughness(poses(walk), 1.0) == pytest.approx(math.sqrt(2), rel=0.02)
    assert math.isnan(path_roughness(poses(straight[:2]), 1.0))
    assert path_roughness(poses(np.zeros((4, 3))), 1.0) == 0.0


def test_a_shiver_of_a_camera_that_stands_is_no_roughness():
    shiver = 1e-6 * np.random.default_rng(1).normal(size=(8, 3))
    assert path_roughness(poses(shiver), 4.0) < 1e-2


def test_worse_signals_never_grade_higher():
    rng = np.random.default_rng(2)
    for _ in range(200):
        explained, missed, roughness = rng.uniform(0, [1, 2, 2])
        error = camera_error(explained=explained, missed=missed, roughness=roughness)
        worse = camera_error(
            explained=explained * rng.uniform(),
            missed=missed + rng.uniform(),
            roughness=roughness + rng.uniform(),
        )
        assert 0 < error <= worse and grade_of_error(worse) <= grade_of_error(error) < 1
    assert grade_of_error(0.2) == pytest.approx(0.5)
    assert math.isnan(grade_of_error(camera_error(explained=math.nan, missed=0.0, roughness=0.0)))


@pytest.fixture(scope="module")
def clip():
    colors, truth = rendered()[:2]
    return colors, truth


def test_true_cameras_agree_with_the_pictures_and_wrong_ones_do_not(clip):
    colors, truth = clip
    true = agreement(colors, truth)
    assert true.explained > 0.85 and true.missed < 0.1
    wrong = truth.world_from_camera.copy()
    wrong[1:] = wrong[1:][::-1]
    wrong[1:, :3, 3] += np.random.default_rng(3).normal(size=(len(wrong) - 1, 3))
    off = agreement(colors, replace(truth, world_from_camera=wrong))
    assert off.explained < 0.5 * true.explained and off.missed > 5 * true.missed
    grades = [
        grade_of_error(
            camera_error(
                explained=found.explained,
                missed=found.missed,
                roughness=path_roughness(cameras, 4.0),
            )
        )
        for found, cameras in ((true, truth.world_from_camera), (off, wrong))
    ]
    assert grades[0] > 0.5 and grades[1] < 0.15


def test_a_scene_says_what_its_cameras_are_worth():
    found = dynapoint.reconstruct(picture_array(4, 64, 96), FakeModel()).self_check()
    assert 0 <= found.cameras_grade <= 1 and found.path_roughness >= 0
    alone = dynapoint.reconstruct(picture_array(1, 64, 96), FakeModel()).self_check()
    assert math.isnan(alone.cameras_grade)


def test_pictures_without_texture_say_nothing_of_cameras():
    grey = np.full((3, 64, 96, 3), 128, dtype=np.uint8)
    assert math.isnan(dynapoint.reconstruct(grey, FakeModel()).self_check().cameras_grade)
