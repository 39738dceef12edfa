"""Motion of objects and distance of surfaces against SciPy, evo and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from drawn import clouds, examples, rigid_motions, scales, sources, turns
from dynapoint.evaluation.measures.object_pose import fitted_motion, object_motion_error
from dynapoint.evaluation.measures.surface import aligned_cloud, surface_errors

geometry = pytest.importorskip("evo.core.geometry")


def moved(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def motion_of(turn, shift):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, shift
    return matrix


# --- objects


def test_hand_worked_object_motion():
    before = np.array([(1.0, 0, 0), (0, 1, 0), (0, 0, 1), (-1, -1, -1)]) + np.array([0, 0, 5.0])
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    true = motion_of(quarter, (1, 0, 0))
    centre = np.array([0.0, 0, 5])
    # Said: it turns by 60 degrees about its middle and goes on by (1, 2, 0).
    turn = Rotation.from_euler("z", 60, degrees=True).as_matrix()
    after = (before - centre) @ turn.T + centre + (1, 2, 0)
    found = object_motion_error(before, after, true, centre)
    assert found.rotation_deg == pytest.approx(30)
    assert found.translation == pytest.approx(2)
    # Twice as large about its middle: the turn is the same, and the middle goes the same way.
    grown = 2 * (after - centre - (1, 2, 0)) + centre + (1, 2, 0)
    found = object_motion_error(before, grown, true, centre, with_scale=True)
    assert found.rotation_deg == pytest.approx(30)
    assert found.translation == pytest.approx(2)


def test_a_scale_in_the_fit_changes_the_translation_alone():
    rng = np.random.default_rng(2)
    before = rng.normal(size=(30, 3)) + np.array([0, 0, 4.0])
    after = 1.5 * before + rng.normal(size=(30, 3)) * 0.05
    centre = before.mean(axis=0) + np.array([0, 0, 0.5])
    plain, scaled = (
        object_motion_error(before, after, np.eye(4), centre, with_scale=scale)
        for scale in (False, True)
    )
    assert plain.rotation_deg == pytest.approx(scaled.rotation_deg, abs=1e-9)
    assert abs(plain.translation - scaled.translation) > 0.1


@examples(60)
@given(clouds(6, 30), rigid_motions(reach=5), rigid_motions(reach=5), sources(), st.booleans())
def test_object_motion_is_that_of_scipy_and_evo(before, motion, true, rng, with_scale):
    after = moved(motion, before) + rng.normal(size=before.shape) * 0.3
    centre = rng.normal(size=3)
    turn, _ = Rotation.align_vectors(after - after.mean(axis=0), before - before.mean(axis=0))
    rotation, shift, scale = geometry.umeyama_alignment(before.T, after.T, with_scale)
    found = object_motion_error(before, after, true, centre, with_scale=with_scale)
    gap = (turn.inv() * Rotation.from_matrix(true[:3, :3])).magnitude()
    # The angle of two turns nearly half a turn apart is as good as its cosine.
    assert found.rotation_deg == pytest.approx(np.rad2deg(gap), abs=1e-4)
    np.testing.assert_allclose(rotation, turn.as_matrix(), atol=1e-6)
    end = scale * rotation @ centre + shift
    assert found.translation == pytest.approx(np.linalg.norm(end - moved(true, centre)), abs=1e-6)


@examples(40)
@given(clouds(6, 30), rigid_motions(reach=3), rigid_motions(reach=3), sources())
def test_the_camera_in_which_objects_move_does_not_matter(before, motion, camera, rng):
    after = moved(motion, before) + rng.normal(size=before.shape) * 0.1
    true = motion @ motion_of(Rotation.from_euler("y", 0.2).as_matrix(), (0.1, 0, 0))
    centre = rng.normal(size=3)
    first = object_motion_error(before, after, true, centre)
    second = object_motion_error(
        moved(camera, before),
        moved(camera, after),
        camera @ true @ np.linalg.inv(camera),
        moved(camera, centre),
    )
    assert second.rotation_deg == pytest.approx(first.rotation_deg, abs=1e-5)
    assert second.translation == pytest.approx(first.translation, abs=1e-6)


def test_points_that_are_not_finite_take_part_in_the_fit_as_the_origin():
    rng = np.random.default_rng(4)
    before, after = rng.normal(size=(2, 12, 3))
    broken, at_origin = before.copy(), before.copy()
    broken[3, 1], at_origin[3] = np.nan, 0
    np.testing.assert_array_equal(fitted_motion(broken, after), fitted_motion(at_origin, after))
    assert not np.allclose(fitted_motion(at_origin, after), fitted_motion(before, after))


# --- surfaces


def test_hand_worked_surface():
    truth = np.array([(0.0, 0, 1), (0, 0, 2), (0, 0, 4)])
    predicted = np.array([(0.0, 0, 1), (0, 0, 2.5)])
    found = surface_errors(truth, predicted, thresholds=(0.1, 0.5, 2.0))
    assert found.accuracy == pytest.approx((0 + 0.5) / 2)
    assert found.accuracy_median == pytest.approx(0.25)
    assert found.completeness == pytest.approx((0 + 0.5 + 1.5) / 3)
    assert found.completeness_median == pytest.approx(0.5)
    assert found.precision == (0.5, 1, 1)
    np.testing.assert_allclose(found.recall, (1 / 3, 2 / 3, 1))
    np.testing.assert_allclose(found.f_scores, (0.4, 0.8, 1))


def test_surfaces_that_are_nowhere_near_have_an_f_score_of_zero():
    found = surface_errors(np.zeros((3, 3)), np.ones((2, 3)), thresholds=(0.1,))
    assert found.f_scores == (0.0,)


@examples(40)
@given(clouds(1, 40), clouds(1, 40), sources())
def test_surface_errors_are_those_of_all_distances(truth, predicted, rng):
    apart = cdist(truth, predicted)
    limits = (0.5, 2.0, 5.0)
    found = surface_errors(truth, predicted[rng.permutation(len(predicted))], thresholds=limits)
    assert found.accuracy == pytest.approx(apart.min(axis=0).mean())
    assert found.completeness == pytest.approx(apart.min(axis=1).mean())
    assert found.accuracy_median == pytest.approx(np.median(apart.min(axis=0)))
    assert found.completeness_median == pytest.approx(np.median(apart.min(axis=1)))
    for limit, precision, recall in zip(limits, found.precision, found.recall, strict=True):
        assert precision == pytest.approx((apart.min(axis=0) <= limit).mean())
        assert recall == pytest.approx((apart.min(axis=1) <= limit).mean())


@examples(40)
@given(clouds(4, 30), scales(), turns(), sources())
def test_alignments_undo_what_they_say(truth, scale, turn, rng):
    truth = truth + np.array([0, 0, 20.0])
    said = scale * truth @ turn.T + rng.normal(size=3) * scale
    np.testing.assert_allclose(aligned_cloud(truth, said), truth, atol=1e-6)
    np.testing.assert_allclose(
        aligned_cloud(truth, scale * truth, alignment="median"), truth, rtol=1e-9
    )
    np.testing.assert_array_equal(aligned_cloud(truth, said, alignment="none"), said)


@examples(40)
@given(clouds(6, 30), sources())
def test_the_similarity_is_that_of_evo_and_the_median_that_of_sorting(truth, rng):
    said = truth[:, ::-1] * 0.3 + rng.normal(size=truth.shape)
    rotation, shift, scale = geometry.umeyama_alignment(said.T, truth.T, True)
    np.testing.assert_allclose(
        aligned_cloud(truth, said), scale * said @ rotation.T + shift, atol=1e-6
    )
    ratio = np.median(np.sqrt((truth**2).sum(1))) / np.median(np.sqrt((said**2).sum(1)))
    np.testing.assert_allclose(aligned_cloud(truth, said, alignment="median"), said * ratio)
