"""Errors of point maps and of flow: hand-worked, by loops written anew, and what may not matter."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawn import examples, scales, sources, turns
from dynapoint.evaluation.measures.flow import flow_errors
from dynapoint.evaluation.measures.normalised import mean_where_known, normalised_map_errors
from dynapoint.evaluation.measures.relative import relative_map_errors

NAN = float("nan")


def length(vector):
    return math.sqrt(sum(float(value) ** 2 for value in vector))


def finite(point):
    return point if all(math.isfinite(value) for value in point) else [0.0, 0.0, 0.0]


def known(point):
    return all(math.isfinite(value) for value in point)


def pixels_of(truth, maps):
    return [(k, p) for k in maps for p in range(truth.shape[1]) if known(truth[k, p])]


def epe_by_loops(truth, predicted, groups):
    """The definition, one point after another; maps of a group share a factor."""
    errors = np.full(truth.shape[:2], NAN)
    for maps in groups:
        pixels = pixels_of(truth, maps)
        if not pixels:
            continue
        true_mean = sum(length(truth[at]) for at in pixels) / len(pixels)
        said_mean = sum(length(finite(predicted[at])) for at in pixels) / len(pixels)
        for at in pixels:
            gap = [
                a / (said_mean or 1.0) - b / true_mean
                for a, b in zip(finite(predicted[at]), truth[at], strict=True)
            ]
            errors[at] = length(gap)
    return errors


def median_by_sorting(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def relative_by_loops(truth, predicted, scale_maps):
    errors = np.full(truth.shape[:2], NAN)
    own = pixels_of(truth, scale_maps)
    true_unit = median_by_sorting([length(truth[at]) for at in own]) if own else 1.0
    said_unit = median_by_sorting([length(finite(predicted[at])) for at in own]) if own else 1.0
    for at in pixels_of(truth, range(len(truth))):
        gap = [
            a / (said_unit or 1.0) - b / true_unit
            for a, b in zip(finite(predicted[at]), truth[at], strict=True)
        ]
        errors[at] = length(gap) / (length(truth[at]) / true_unit)
    return errors


@st.composite
def map_pairs(draw, maps=4, grid=7):
    """True and predicted maps: a share of the truth unknown, a share predicted not finite."""
    rng = draw(sources())
    truth = rng.normal(size=(maps, grid, 3)) + np.array([0, 0, 3.0])
    predicted = truth * rng.uniform(0.3, 3) + rng.normal(size=truth.shape) * 0.3
    truth[rng.random((maps, grid)) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = NAN
    broken = rng.random((maps, grid)) < draw(st.sampled_from([0.0, 0.2]))
    predicted[broken, rng.integers(3)] = rng.choice([np.nan, np.inf, -np.inf])
    return truth, predicted


# --- V-DPM's error


def test_hand_worked_epe_of_maps_under_one_scale_and_under_their_own():
    truth = np.array([[(0.0, 0, 1)], [(0.0, 0, 3)]])
    predicted = np.array([[(0.0, 0, 7)], [(0.0, 0, 7)]])
    joint = normalised_map_errors(truth, predicted)
    # The truth over its mean distance, 2, is .5 and 1.5; the prediction over its own 1 and 1.
    np.testing.assert_allclose(joint, [[0.5], [0.5]])
    # A factor for each map hides that the maps do not fit each other.
    np.testing.assert_allclose(normalised_map_errors(truth, predicted, normaliser="each"), 0)


@examples(60)
@given(map_pairs())
def test_epe_is_its_definition(maps):
    truth, predicted = maps
    for normaliser, groups in (("joint", [range(4)]), ("each", [[0], [1], [2], [3]])):
        found = normalised_map_errors(truth, predicted, normaliser=normaliser)
        np.testing.assert_allclose(found, epe_by_loops(truth, predicted, groups), rtol=1e-9)


@examples(40)
@given(map_pairs(), scales(), scales(), turns())
def test_units_and_the_cameras_turn_do_not_change_epe_and_relative_error(
    maps, unit, other_unit, turn
):
    truth, predicted = maps
    others = (
        unit * truth @ turn.T,
        other_unit
        * np.where(np.isfinite(predicted).all(axis=-1, keepdims=True), predicted, np.nan)
        @ turn.T,
    )
    for normaliser in ("joint", "each"):
        np.testing.assert_allclose(
            normalised_map_errors(*others, normaliser=normaliser),
            normalised_map_errors(truth, predicted, normaliser=normaliser),
            rtol=1e-7, atol=1e-9,
        )  # fmt: skip
    np.testing.assert_allclose(
        relative_map_errors(*others, scale_maps=(0, 3)),
        relative_map_errors(truth, predicted, scale_maps=(0, 3)),
        rtol=1e-7, atol=1e-9,
    )  # fmt: skip


@examples(40)
@given(map_pairs(), sources())
def test_order_of_maps_and_what_is_said_of_unknown_pixels_do_not_matter(maps, rng):
    truth, predicted = maps
    order = rng.permutation(4)
    own_time = [int(np.flatnonzero(order == k)[0]) for k in (0, 3)]
    elsewhere = predicted.copy()
    elsewhere[np.isnan(truth).any(axis=-1)] = rng.normal(size=3) * 1e6
    for found, expected in (
        (normalised_map_errors(truth, elsewhere), normalised_map_errors(truth, predicted)),
        (
            normalised_map_errors(truth[order], predicted[order]),
            normalised_map_errors(truth, predicted)[order],
        ),
        (
            relative_map_errors(truth, elsewhere, scale_maps=(0, 3)),
            relative_map_errors(truth, predicted, scale_maps=(0, 3)),
        ),
        (
            relative_map_errors(truth[order], predicted[order], scale_maps=own_time),
            relative_map_errors(truth, predicted, scale_maps=(0, 3))[order],
        ),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_prediction_without_a_finite_point_has_an_error_of_one():
    truth = np.random.default_rng(0).normal(size=(4, 5, 3)) + np.array([0, 0, 4.0])
    lost = np.full_like(truth, np.inf)
    assert mean_where_known(normalised_map_errors(truth, lost)) == pytest.approx(1)
    np.testing.assert_allclose(relative_map_errors(truth, lost, scale_maps=(0, 3)), 1)


def test_the_mean_of_nothing_is_nothing():
    assert math.isnan(mean_where_known(np.full((2, 3), NAN)))
    assert mean_where_known(np.array([NAN, 1.0, 3.0])) == 2.0


# --- DPM's relative error


def test_hand_worked_relative_error():
    truth = np.array([[(0.0, 0, 2)], [(0.0, 3, 0)], [(NAN, 0, 0)], [(0.0, 0, 4)]])
    predicted = np.array([[(0.0, 0, 1)], [(2.0, 0, 0)], [(1.0, 1, 1)], [(0.0, 0, 3)]])
    # Median distances of maps 0 and 3: 3 and 2.
    found = relative_map_errors(truth, predicted, scale_maps=(0, 3))[:, 0]
    np.testing.assert_allclose(found, [0.25, math.sqrt(2), NAN, 0.125])


@examples(60)
@given(map_pairs(), st.sampled_from([(0, 3), (1,), ()]))
def test_relative_error_is_its_definition(maps, scale_maps):
    truth, predicted = maps
    found = relative_map_errors(truth, predicted, scale_maps=scale_maps)
    np.testing.assert_allclose(
        found, relative_by_loops(truth, predicted, scale_maps), rtol=1e-9, atol=1e-12
    )


def test_a_point_at_the_cameras_centre_has_no_relative_error():
    truth = np.array([[(0.0, 0, 0), (0, 0, 2)]])
    np.testing.assert_allclose(
        relative_map_errors(truth, truth + 1e-9, scale_maps=(0,)), [[NAN, 0]], atol=1e-8
    )


# --- DPM's flow

FLOWS = ("scene_forward", "scene_backward", "object_forward", "object_backward")


def flows_by_hand(truth, predicted, unit):
    """The four differences as the paper writes them; maps `P[camera, image, time]`, from 1."""

    def named(maps):
        return {
            (image, time, camera): maps[camera - 1, image - 1, time - 1]
            for image in (1, 2) for time in (1, 2) for camera in (1, 2)
        }  # fmt: skip

    def middle(maps, camera):
        pixels = [
            finite(maps[i, i, camera][p])
            for i in (1, 2)
            for p in range(truth.shape[-2])
            if known(true[i, i, camera][p])
        ]
        return (median_by_sorting([length(point) for point in pixels]) if pixels else 0) or 1.0

    true, said = named(truth), named(predicted)
    scaled = {
        key: np.array([finite(point) for point in points])
        * middle(true, key[2]) / middle(said, key[2])
        for key, points in said.items()
    }  # fmt: skip
    found = []
    for after, before in (
        ((1, 2, 2), (1, 1, 1)),
        ((2, 1, 1), (2, 2, 2)),
        ((1, 2, 1), (1, 1, 1)),
        ((2, 1, 1), (2, 2, 1)),
    ):
        errors = [
            length((scaled[after][p] - scaled[before][p]) - (true[after][p] - true[before][p]))
            for p in range(truth.shape[-2])
            if known(true[after][p]) and known(true[before][p])
        ]
        whole = sum(errors) / len(errors) if errors else NAN
        found.append(whole / (middle(true, 1) if unit == "median" else 1.0))
    return found


def values_of(errors):
    return [getattr(errors, name) for name in FLOWS]


def test_hand_worked_flow():
    # One pixel each. Image 1's point goes from z = 2 to z = 4 in camera 1; camera 2 stands 1 ahead.
    truth = np.zeros((2, 2, 2, 1, 3))
    truth[0, 0, :, 0, 2] = (2, 4)  # P1(t1, 1), P1(t2, 1)
    truth[0, 1, :, 0, 2] = (6, 6)  # P2(t1, 1), P2(t2, 1): stands still.
    truth[1] = truth[0] - (0, 0, 1)
    predicted = truth.copy()
    predicted[0, 0, 1, 0, 0] = 3.0  # P1(t2, 1) is off by 3.
    predicted[1, 1, 1, 0, 1] = 4.0  # P2(t2, 2) by 4, where it is 5: its length is sqrt(41).
    found = flow_errors(truth, predicted, unit="truth")
    assert found.object_forward == pytest.approx(3)
    assert found.object_backward == pytest.approx(0)
    # Call 2's median distance is said to be (1 + sqrt(41)) / 2, and truly (1 + 5) / 2.
    factor = 3 / ((1 + math.sqrt(41)) / 2)
    assert found.scene_forward == pytest.approx(abs(3 * factor - 2 - (3 - 2)))
    gap = (0, 4 * factor, 5 - 5 * factor)
    assert found.scene_backward == pytest.approx(length(gap))
    # The first call's true median distance is (2 + 6) / 2.
    np.testing.assert_allclose(
        np.array(values_of(flow_errors(truth, predicted))) * 4, values_of(found)
    )


@st.composite
def calls(draw):
    truth, predicted = draw(map_pairs(maps=8, grid=5))
    return truth.reshape(2, 2, 2, 5, 3), predicted.reshape(2, 2, 2, 5, 3)


@examples(60)
@given(calls(), st.sampled_from(["median", "truth"]))
def test_flow_is_its_definition(maps, unit):
    truth, predicted = maps
    found = flow_errors(truth, predicted, unit=unit)
    np.testing.assert_allclose(
        values_of(found), flows_by_hand(truth, predicted, unit), rtol=1e-9, atol=1e-12
    )
    alone = flow_errors(truth, predicted[:1], unit=unit)
    np.testing.assert_array_equal(values_of(alone), [NAN, NAN, *values_of(found)[2:]])


@examples(40)
@given(calls(), scales(), scales(), scales())
def test_flow_does_not_depend_on_units(maps, unit, first, second):
    truth, predicted = maps
    predicted = np.where(np.isfinite(predicted).all(axis=-1, keepdims=True), predicted, np.nan)
    other = predicted * np.array([first, second]).reshape(2, 1, 1, 1, 1)
    expected = values_of(flow_errors(truth, predicted))
    np.testing.assert_allclose(
        values_of(flow_errors(unit * truth, other)), expected, rtol=1e-7, atol=1e-9
    )
    lengths = values_of(flow_errors(unit * truth, other, unit="truth"))
    by_hand = np.array(values_of(flow_errors(truth, predicted, unit="truth"))) * unit
    np.testing.assert_allclose(lengths, by_hand, rtol=1e-7, atol=1e-9 * unit)


@examples(30)
@given(calls())
def test_the_other_order_of_frames_makes_forward_backward(maps):
    truth, predicted = (side[::-1, ::-1, ::-1] for side in maps)
    swapped = values_of(flow_errors(truth, predicted, unit="truth"))
    straight = values_of(flow_errors(*maps, unit="truth"))
    # Object flow is then in the other camera, which is another number.
    np.testing.assert_allclose(swapped[:2], straight[1::-1], rtol=1e-9)


def test_points_that_stand_still_have_no_flow_in_the_world_however_the_camera_moves():
    """Each call's own median would make some: the two calls are brought to the truth instead."""
    rng = np.random.default_rng(5)
    own = rng.uniform(1, 5, (2, 20, 3))
    truth = np.stack([np.stack([own, own], axis=1), np.stack([own, own], axis=1) - (0, 0, 0.5)])
    predicted = truth * np.array([0.2, 9.0]).reshape(2, 1, 1, 1, 1)
    np.testing.assert_allclose(values_of(flow_errors(truth, predicted)), 0, atol=1e-12)
