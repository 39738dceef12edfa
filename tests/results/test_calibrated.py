"""What a scene's confidence means: by whose curve, fresh, saved whole and lean, and in parts."""

from dataclasses import replace

import numpy as np
import pytest

import dynapoint
from dynapoint.exports.answer_files import write_arrays
from dynapoint.refinement.findings import Findings
from dynapoint.results.reconstruction import Reconstruction
from fake_model import FakeModel, picture_array
from test_calibration import on_curve, random_calibration

TOLD = random_calibration(7)
XY = [[9.5, 12.0], [30.25, 20.0], [-40.0, 5.0]]


@pytest.fixture(scope="module")
def plain() -> Reconstruction:
    """Four frames, confidence of many sizes, some 0; of no known meaning."""
    rec = dynapoint.reconstruct(picture_array(4, 32, 48), FakeModel(48))
    rng = np.random.default_rng(1)
    confidence = np.exp(rng.uniform(-2, 3, rec.own_time_confidence.shape)).astype(np.float32)
    confidence[rng.random(confidence.shape) < 0.1] = 0
    return replace(rec, own_time_confidence=confidence)


@pytest.fixture(scope="module")
def told(plain) -> Reconstruction:
    return replace(plain, calibration=TOLD)


def errors_of(curve, confidence):
    """By the definition, one number after another."""
    flat = [on_curve(curve, float(c)) if c > 0 else np.nan for c in np.ravel(confidence)]
    return np.reshape(flat, np.shape(confidence))


def test_networks_that_are_not_calibrated_say_so(plain, tmp_path):
    assert plain.calibration is None
    assert plain.expected_error(frame=1, time=2) is None
    assert plain.query(frame=0, xy=XY).expected_error is None
    tracks = plain.track(frame=0, every=4)
    assert tracks.expected_error is None
    with np.load(write_arrays(tracks, tmp_path / "t.npz", overwrite=False)) as file:
        assert set(file) == {"source_xy", "points", "xy", "visible", "confidence"}


@pytest.mark.parametrize("found", [None, Findings(poses=True), Findings(depth=True)])
def test_maps_are_by_the_curve_of_their_kind(told, found):
    rec = replace(told, refinement=found)
    curves = TOLD.refined if found == Findings(depth=True) else TOLD.network
    for frame, time in ((1, None), (1, 1), (1, 3), (0, 2)):
        own = time in (None, frame)
        confidence = rec.maps(frame=frame, time=frame if own else time)[1]
        wanted = errors_of(curves.own_time if own else curves.other_times, confidence)
        found = rec.expected_error(frame=frame, time=time)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert np.isnan(rec.expected_error(frame=1)).any()


def test_frames_of_one_time_share_their_own_time(told):
    times = np.array([0.0, 1.0, 1.0, 2.0])
    rec = replace(told, frames=replace(told.frames, timestamps_s=times))
    assert rec.frames.own_times(1).tolist() == [False, True, True, False]
    confidence = rec.maps(frame=1, time=2)[1]
    wanted = errors_of(TOLD.network.own_time, confidence)
    np.testing.assert_allclose(rec.expected_error(frame=1, time=2), wanted, rtol=1e-6)


def test_queries_and_tracks_say_the_same(told, plain):
    for answer, raw in (
        (told.query(frame=1, xy=XY), plain.query(frame=1, xy=XY)),
        (told.track(frame=1, xy=XY), plain.track(frame=1, xy=XY)),
        (told.track(frame=1, every=3), plain.track(frame=1, every=3)),
    ):
        np.testing.assert_array_equal(answer.confidence, raw.confidence)
        for time in range(4):
            curve = TOLD.network.own_time if time == 1 else TOLD.network.other_times
            wanted = errors_of(curve, raw.confidence[time])
            np.testing.assert_allclose(answer.expected_error[time], wanted, rtol=1e-6)
            # A frame's own pixels are seen for sure, and what is outside the picture is not.
            seen = raw.visible[time]
            if time != 1:
                seen = [on_curve(TOLD.network.visible, float(v)) if v > 0 else 0 for v in seen]
            np.testing.assert_allclose(answer.visible[time], seen, rtol=1e-6)
    once = told.query(frame=1, xy=XY, time=2)
    whole = told.query(frame=1, xy=XY)
    np.testing.assert_array_equal(once.expected_error, whole.expected_error[2])
    assert np.isnan(once.expected_error[2]) and not once.valid[2]


def test_tracks_of_frame_0_hold_calibrated_visibility(told, plain):
    found, raw = told.tracks().visible, plain.tracks().visible
    wanted = [on_curve(TOLD.network.visible, float(v)) if v > 0 else 0 for v in raw[2].ravel()]
    np.testing.assert_allclose(found[2].ravel(), wanted, rtol=1e-6)
    np.testing.assert_array_equal(found[0], raw[0])


def test_saved_scenes_keep_it_whole_and_lean(told, plain, tmp_path):
    told.save(tmp_path / "whole")
    told.save(tmp_path / "lean", lean=True)
    whole, lean = dynapoint.open(tmp_path / "whole"), dynapoint.open(tmp_path / "lean")
    assert whole.calibration == lean.calibration == TOLD
    for time in (0, 2):
        fresh = told.expected_error(frame=0, time=time)
        np.testing.assert_array_equal(whole.expected_error(frame=0, time=time), fresh)
        # Confidence is stored in 8 bits there.
        own = whole.frames.own_times(0)[time]
        confidence = lean.maps(frame=0, time=time)[1]
        curve = TOLD.network.own_time if own else TOLD.network.other_times
        wanted = errors_of(curve, confidence)
        np.testing.assert_allclose(lean.expected_error(frame=0, time=time), wanted, rtol=1e-6)
    # Calibrated once, when they were written.
    np.testing.assert_array_equal(whole.tracks().visible, told.tracks().visible)
    plain.save(tmp_path / "plain")
    assert dynapoint.open(tmp_path / "plain").calibration is None


def test_parts_keep_it(told):
    part = told.span(1, 4)
    np.testing.assert_array_equal(
        part.expected_error(frame=1, time=0), told.expected_error(frame=2, time=1)
    )
