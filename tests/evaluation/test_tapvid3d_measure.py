"""TAPVid-3D's scores: a hand-worked case, and the definition in loops."""

import numpy as np
import pytest

from dynapoint.evaluation.measures.tapvid3d import focal_at_256, track_scores


def video(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.normal(size=(6, 9, 3)) + np.array([0, 0, 5.0])
    predicted = 0.25 * (truth + draw.normal(size=truth.shape) * draw.uniform(0, 0.3, (6, 9, 1)))
    return {
        "truth": truth,
        "truth_visible": draw.random((6, 9)) < 0.7,
        "predicted": predicted,
        "predicted_visible": draw.random((6, 9)) < 0.7,
    }


def in_loops(clip: dict[str, np.ndarray], focal: float, scale: str) -> tuple[float, float, float]:
    """Point by point, as the paper tells it."""
    truth, seen = clip["truth"], clip["truth_visible"]
    predicted, said = clip["predicted"], clip["predicted_visible"]
    frames, tracks = seen.shape
    places = [(t, n) for t in range(frames) for n in range(tracks)]
    both = [p for p in places if seen[p] and said[p]]
    middle = np.median([np.linalg.norm(truth[p]) for p in both])
    factor = middle / np.median([np.linalg.norm(predicted[p]) for p in both])
    jaccards, shares = [], []
    for pixels in (1, 2, 4, 8, 16):
        hits = right = wrong = count = 0
        for t, n in places:
            if scale == "per_trajectory":
                factor = truth[0, n, 2] / predicted[0, n, 2]
            if scale == "none":
                factor = 1
            distance = np.sqrt(((factor * predicted[t, n] - truth[t, n]) ** 2).sum())
            near = distance < pixels * truth[t, n, 2] / focal
            count += seen[t, n]
            right += seen[t, n] and near
            hits += seen[t, n] and said[t, n] and near
            wrong += said[t, n] and not (seen[t, n] and near)
        jaccards.append(hits / (count + wrong))
        shares.append(right / count)
    agreed = np.mean([seen[p] == said[p] for p in places])
    return 100 * float(np.mean(jaccards)), 100 * float(np.mean(shares)), 100 * float(agreed)


@pytest.mark.parametrize("scale", ["median", "per_trajectory", "none"])
@pytest.mark.parametrize("seed", range(4))
def test_the_definition_in_loops(scale, seed):
    clip = video(seed)
    if scale == "none":
        clip["predicted"] *= 4
    scores = track_scores(**clip, focal_px=80.0, scale=scale)
    found = (scores.average_jaccard, scores.points_within, scores.occlusion_accuracy)
    assert found == pytest.approx(in_loops(clip, 80.0, scale), rel=1e-9)
    assert 1 < scores.average_jaccard < 90


def test_hand_worked():
    """Two points at depth 2 under f = 100: a pixel is .02 there."""
    truth = np.array([[[0, 0, 2.0], [1, 0, 2.0]], [[0, 0, 2.0], [1, 0, 2.0]]])
    predicted = truth.copy()
    predicted[1, 0, 0] = 0.05  # two and a half pixels
    scores = track_scores(
        truth=truth,
        truth_visible=np.array([[True, True], [True, False]]),
        predicted=predicted,
        predicted_visible=np.ones((2, 2), bool),
        focal_px=100.0,
        scale="none",
    )
    # Three are visible; near are 2, 2, 3, 3, 3. Wrongly visible is the hidden one, and at 1 and 2
    # pixels the one that is off.
    assert scores.points_within == pytest.approx(100 * (2 / 3 + 2 / 3 + 3) / 5)
    assert scores.average_jaccard == pytest.approx(100 * (2 / 5 + 2 / 5 + 3 * 3 / 4) / 5)
    assert scores.occlusion_accuracy == 75


def test_scale_and_order_do_not_matter():
    clip = video(3)
    scores = track_scores(**clip, focal_px=60.0)
    other = {key: value[::-1, ::-1] for key, value in clip.items()}
    other["predicted"] = 5 * other["predicted"]
    again = track_scores(**other, focal_px=60.0)
    assert again.average_jaccard == pytest.approx(scores.average_jaccard)
    assert again.points_within == pytest.approx(scores.points_within)


def test_what_is_missing():
    clip = video(1)
    scores = track_scores(**clip, focal_px=60.0)
    clip["predicted"] = clip["predicted"].copy()
    clip["predicted"][2:] = np.nan
    worse = track_scores(**clip, focal_px=60.0)
    assert worse.points_within < scores.points_within
    assert worse.occlusion_accuracy == scores.occlusion_accuracy
    # A visible point without a place is not compared; adding one changes nothing.
    holes = {key: value.copy() for key, value in clip.items()}
    holes["truth"] = np.concatenate([holes["truth"], np.full((6, 1, 3), np.nan)], axis=1)
    holes["predicted"] = np.concatenate([holes["predicted"], np.ones((6, 1, 3))], axis=1)
    for key in ("truth_visible", "predicted_visible"):
        holes[key] = np.concatenate([holes[key], np.ones((6, 1), bool)], axis=1)
    assert track_scores(**holes, focal_px=60.0) == worse
    nothing = dict(clip, truth_visible=np.zeros((6, 9), bool))
    assert np.isnan(track_scores(**nothing, focal_px=60.0).points_within)
    blind = dict(clip, predicted_visible=np.zeros((6, 9), bool))
    assert track_scores(**blind, focal_px=60.0).average_jaccard == 0


def test_focal_length_of_small_pictures():
    lens = np.diag([800.0, 200.0, 1.0])
    assert focal_at_256(lens, (512, 1024)) == pytest.approx(200)
