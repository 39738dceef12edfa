"""Calibration of confidence: curves by their definition, and the record beside weights."""

import copy
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from dynapoint.errors import ModelError
from dynapoint.models.calibration import AnswerCurves, Calibration, Curve, calibration_beside
from dynapoint.models.catalog import load_model
from dynapoint.whole_file import sha256_of
from test_manifest_damage import WRONG, damaged, places
from test_open import weights_of


def random_curve(rng: np.random.Generator, knots: int, *, rises: bool) -> Curve:
    at, gives = np.cumsum(rng.uniform(0.01, 2, knots)), np.cumsum(rng.uniform(0, 1, knots))
    gives = gives if rises else gives[::-1]
    return Curve(at=tuple(at.tolist()), gives=tuple(gives.tolist()))


def random_calibration(seed: int = 0) -> Calibration:
    rng = np.random.default_rng(seed)
    answers = [
        AnswerCurves(
            own_time=random_curve(rng, 5, rises=False),
            other_times=random_curve(rng, 4, rises=False),
            visible=random_curve(rng, 3, rises=True),
        )
        for _ in range(2)
    ]
    return Calibration(network=answers[0], refined=answers[1])


def on_curve(curve: Curve, value: float) -> float:
    """The definition, knot by knot."""
    if value <= curve.at[0]:
        return curve.gives[0]
    for k in range(1, len(curve.at)):
        if value <= curve.at[k]:
            share = (value - curve.at[k - 1]) / (curve.at[k] - curve.at[k - 1])
            return (1 - share) * curve.gives[k - 1] + share * curve.gives[k]
    return curve.gives[-1]


@pytest.mark.parametrize("rises", [False, True])
@pytest.mark.parametrize("knots", [1, 2, 9])
def test_curve_is_straight_between_knots_and_level_beyond(knots, rises):
    rng = np.random.default_rng(knots)
    curve = random_curve(rng, knots, rises=rises)
    values = rng.uniform(-1, curve.at[-1] + 1, (7, 11)).astype(np.float32)
    found = curve(values)
    wanted = [[on_curve(curve, float(value)) for value in row] for row in values]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    ordered = curve(np.sort(values.ravel()))
    assert (np.diff(ordered) * (1 if rises else -1) >= 0).all()


def test_answer_curves_choose_by_time_and_know_nothing_of_zero():
    curves = random_calibration().network
    confidence = np.array([0.0, 0.3, 1.0, 4.0, 99.0], dtype=np.float32)
    for own, curve in ((True, curves.own_time), (False, curves.other_times)):
        found = curves.expected_error(confidence, own_time=own)
        assert np.isnan(found[0]) and found.dtype == np.float32
        np.testing.assert_array_equal(found[1:], curve(confidence[1:]))
    seen = curves.probability(confidence)
    assert seen[0] == 0
    np.testing.assert_array_equal(seen[1:], curves.visible(confidence[1:]))


@pytest.mark.parametrize(
    ("at", "gives"),
    [
        ((), ()),
        ((1.0, 2.0), (1.0,)),
        ((1.0, 1.0), (1.0, 2.0)),
        ((2.0, 1.0), (1.0, 2.0)),
        ((1.0, 2.0, 3.0), (1.0, 2.0, 1.5)),
        ((1.0, float("nan")), (1.0, 2.0)),
        ((1.0, 2.0), (1.0, float("inf"))),
    ],
)
def test_what_is_no_monotone_curve_is_refused(at, gives):
    with pytest.raises(ValueError, match="curve"):
        Curve(at=at, gives=gives)


def test_plain_values_give_the_same_again_and_damaged_ones_an_error():
    told = random_calibration()
    plain = json.loads(json.dumps(asdict(told)))
    assert Calibration.from_plain(plain) == told
    refused = 0
    for way in places(plain):
        for wrong in [*WRONG, 10**400]:
            changed = damaged(copy.deepcopy(plain), way, wrong)
            try:
                Calibration.from_plain(changed)
            except ValueError:
                refused += 1
            else:
                # Only a number may pass for another.
                assert type(wrong) in (int, float) and isinstance(way[-1], int)
    assert refused > 500


def test_record_beside_weights_tells(tmp_path: Path):
    weights = weights_of("nano", tmp_path)
    record, told = weights.with_suffix(".json"), random_calibration(3)
    sha256 = sha256_of(weights)
    assert calibration_beside(weights, sha256) is None
    for text in ("{", "[]", "3", "{}", json.dumps({"calibration": asdict(told)})):
        record.write_text(text)
        assert calibration_beside(weights, sha256) is None
    record.write_text(json.dumps({"sha256": "0" * 64, "calibration": asdict(told)}))
    assert load_model("nano", weights=weights).info.calibration is None
    record.write_text(json.dumps({"sha256": sha256, "calibration": asdict(told)}))
    assert load_model("nano", weights=weights).info.calibration == told
    record.write_text(json.dumps({"sha256": sha256, "calibration": {"network": 3}}))
    with pytest.raises(
        ModelError, match=r"nano-5\.json garbles the calibration.*remove that entry"
    ):
        load_model("nano", weights=weights)
