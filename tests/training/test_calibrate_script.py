"""scripts/calibrate.py: known laws are recovered, errors are by definition, records are written."""

import importlib.util
import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

import dynapoint
from dynapoint.evaluation.clips import TruthClip
from dynapoint.models.calibration import Calibration
from dynapoint.models.catalog import load_model
from dynapoint.whole_file import sha256_of
from fake_model import FakeModel, picture_array
from folders import ROOT
from test_calibration import on_curve, random_calibration
from test_open import weights_of


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("calibrate", ROOT / "scripts" / "calibrate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def law(confidence):
    """Mean errors that a made-up network has."""
    return 0.05 + 0.6 / confidence


def made_up(script, seed: int, *, share: float, refined: bool, count: int = 40_000):
    """Points whose errors follow the law, at other times twice it, and are seen by a known one."""
    rng = np.random.default_rng(seed)
    own, visible = rng.random(count) < 0.3, rng.random(count)
    visible[rng.random(count) < 0.1] = 0
    confidence = 1 + np.exp(rng.normal(0.5, 1, count))
    mean = share * law(confidence) * np.where(own, 1, 2)
    return script.Measured(
        refined=refined,
        own_time=own,
        confidence=confidence,
        error=mean * rng.exponential(size=count),
        visible=visible,
        seen=rng.random(count) < 0.2 + 0.7 * visible**2,
    )


def test_a_known_law_is_recovered(script):
    curves = script.fit(made_up(script, 0, share=1.0, refined=False))
    told = np.linspace(1.3, 5, 50)
    np.testing.assert_allclose(curves.own_time(told), law(told), rtol=0.08)
    np.testing.assert_allclose(curves.other_times(told), 2 * law(told), rtol=0.08)
    told = np.linspace(0.05, 0.95, 50)
    np.testing.assert_allclose(curves.visible(told), 0.2 + 0.7 * told**2, atol=0.03)
    other = made_up(script, 1, share=1.0, refined=False)
    for rows in script.tenths(curves, other).values():
        np.testing.assert_allclose(rows["predicted"], rows["measured"], rtol=0.1)


def test_means_that_break_the_order_are_pooled(script, monkeypatch):
    """Four groups of two: means 4, 1, 3, 1; the second and third become 2, by hand."""
    monkeypatch.setattr(script, "KNOTS", 4)
    said = np.array([7, 1, 2, 8, 3, 4, 5, 6], dtype=float)
    true = np.array([0, 3, 5, 2, 0, 2, 2, 4], dtype=float)
    curve = script.fitted_curve(said, true, increasing=False)
    assert curve.at == (1.5, 3.5, 5.5, 7.5)
    np.testing.assert_allclose(curve.gives, (4, 2, 2, 1))
    # Equal numbers are one knot; a curve may be level.
    level = script.fitted_curve(np.ones(8), true, increasing=True)
    assert level.at == (1.0,)


def test_tenths_are_means_of_tenths(script):
    points = made_up(script, 5, share=1.0, refined=False, count=2_000)
    curves = script.fit(points)
    rows = script.tenths(curves, points)["own_time"]
    own = np.flatnonzero(points.own_time)
    order = own[np.argsort(points.confidence[own], kind="stable")]
    tenth = np.array_split(order, 10)[3]
    wanted = np.mean([on_curve(curves.own_time, float(points.confidence[k])) for k in tenth])
    assert rows["predicted"][3] == pytest.approx(wanted, abs=1e-4)
    assert rows["measured"][3] == pytest.approx(points.error[tenth].mean(), abs=1e-4)


def test_how_far_folds_are_off_is_not_averaged_away(script):
    """Clips whose errors are once half, once double: means over folds agree, `off` tells."""
    parts = [
        made_up(script, k, share=(0.5, 2.0)[k % 2], refined=False, count=4_000) for k in range(2)
    ]
    rows = script.checked_on_others(parts)["own_time"]
    np.testing.assert_allclose(rows["predicted"], rows["measured"], rtol=0.2)
    # Predicted over measured is 4 in one fold and 1 / 4 in the other.
    np.testing.assert_allclose(rows["off"], np.sqrt((3**2 + 0.75**2) / 2), rtol=0.3)
    same = [made_up(script, k, share=1.0, refined=False, count=40_000) for k in range(4)]
    assert max(script.checked_on_others(same)["other_times"]["off"]) < 0.1


def test_errors_are_of_points_under_one_scale(script, monkeypatch):
    """Truth that is the answer at three times its size, but for one point moved by known ways."""
    images = picture_array(10, 40, 64)
    rec = dynapoint.reconstruct(images, FakeModel(64))
    grid = (10, 16)
    clip = TruthClip(
        name="made up",
        images=images,
        points=np.zeros((10, 10, *grid, 3), np.float32),
        visible=np.zeros((10, 10, *grid), bool),
        instance=np.zeros((10, *grid), np.uint8),
        intrinsics=np.eye(3),
        world_from_camera=np.tile(np.eye(4), (10, 1, 1)),
        stride=4,
    )
    answers = [rec.query(frame=frame, xy=clip.grid_xy).points for frame in range(10)]
    truth = 3 * np.stack(answers, axis=1).reshape(clip.points.shape)
    shifted = truth.copy()
    # Other times do not count for the scale; sky counts for nothing.
    shifted[4, 6, 2, 3] += (0.0, 0.5, 0.0)
    shifted[5, 5, 0, 0] = np.nan
    visible = np.random.default_rng(0).random(clip.visible.shape) < 0.5
    found = script.measure(
        replace(clip, points=shifted, visible=visible), FakeModel(64), refine=False
    )
    own = np.stack([shifted[t, t] for t in range(10)])
    unit = np.linalg.norm(own[np.isfinite(own).all(-1)], axis=-1).mean()
    assert len(found.error) == (10 + 2 * 9) * 160 - 1 and found.own_time.sum() == 1599
    large = np.flatnonzero(found.error > 1e-3)
    assert len(large) == 1 and not found.own_time[large[0]] and not found.refined
    assert found.error[large[0]] == pytest.approx(0.5 / unit, rel=1e-3)
    # Points come by frame and time: own times, then frame 0 at times 1 ..., then frame 6.
    assert large[0] == 1599 + 9 * 160 + 4 * 160 + 2 * 16 + 3
    np.testing.assert_array_equal(found.seen[1599 : 1599 + 160], visible[1, 0].ravel())
    # What an earlier run found does not act on this one.
    calibrated = replace(rec, calibration=random_calibration())
    monkeypatch.setattr(script, "reconstruct", lambda *_, **__: calibrated)
    again = script.measure(replace(clip, points=truth), None, refine=False)
    assert not np.array_equal(calibrated.tracks().visible, rec.tracks().visible)
    np.testing.assert_array_equal(np.delete(again.visible, 5 * 160), found.visible)


def test_record_beside_weights_is_written_and_read(script, tmp_path, monkeypatch, capsys):
    weights = weights_of("nano", tmp_path)
    record = weights.with_suffix(".json")
    old = {"sha256": sha256_of(weights), "calibration": asdict(random_calibration())}
    record.write_text(json.dumps({"licence": "Apache-2.0"} | old))
    shares = iter([1.0, 0.5] * 4)

    def measured(clip, network, *, refine):
        return made_up(script, clip.seed, share=next(shares), refined=refine)

    monkeypatch.setattr(script, "measure", measured)
    monkeypatch.setattr(script, "scores_of_16", lambda network: {"leak_m8": 0.0123456})
    monkeypatch.setattr(
        script,
        "engine_clip",
        lambda number, first, hw: SimpleNamespace(name="made up", seed=number),
    )
    assert script.main([str(weights), "--clips", "4"]) == 0
    said = json.loads(record.read_text())
    assert said["licence"] == "Apache-2.0" and said["sha256"] == sha256_of(weights)
    assert said["clips16"] == {"leak_m8": 0.01235}
    told = load_model("nano", weights=weights).info.calibration
    assert told == Calibration.from_plain(said["calibration"]) != random_calibration()
    ratio = told.refined.own_time(np.array([2.0, 3.0])) / told.network.own_time(np.array([2.0, 3]))
    np.testing.assert_allclose(ratio, 0.5, rtol=0.06)
    assert "refined  visible      measured" in capsys.readouterr().out
    unrefined = made_up(script, 0, share=1, refined=False)
    monkeypatch.setattr(script, "measure", lambda *_, refine: unrefined)
    assert script.main([str(weights), "--clips", "2"]) == 1
    assert "0 clips were refined" in capsys.readouterr().err


def test_engine_clip_is_its_own_truth(script):
    """A pixel's own-time point falls on the pixel; the clip of a number is always the same."""
    clip = script.engine_clip(7, 900, (48, 64))
    assert clip.name == "articulated 901" and clip.points.shape == (10, 10, 12, 16, 3)
    for frame in (0, 9):
        own = clip.points[frame, frame].reshape(-1, 3).astype(float)
        pose = clip.world_from_camera[frame]
        local = (own - pose[:3, 3]) @ pose[:3, :3]
        pixels = local @ clip.intrinsics.T
        known = np.isfinite(own).all(axis=1)
        assert known.sum() > 50
        places = pixels[known, :2] / pixels[known, 2:]
        np.testing.assert_allclose(places, clip.grid_xy[known], atol=0.02)
