"""Every loss term against numbers worked out by hand."""

import dataclasses
import math

import pytest
import torch
from conftest import toy_truth

from dynapoint.models.nano.matching import CELL_PX
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.training import objective
from dynapoint.training.losses import (
    LossWeights,
    PublishedLoss,
    camera_term,
    confidence_term,
    confidence_weighted_regression,
    huber,
    masked_mean,
    match_errors,
    mean_distance,
    motion_term,
    norm,
    own_time_terms,
    per_example_mean,
)
from dynapoint.training.objective import (
    camera_truth,
    choose_pairs,
    own_time_truth,
    sample_loss,
    true_matches,
)
from dynapoint.training.published_objective import published_loss


def flags(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_masked_mean_pools_pixels_and_per_example_mean_does_not():
    values = torch.tensor([[1.0, 2, 3, 4], [10, 99, 99, 99]])
    mask = flags([1, 1, 1, 1], [1, 0, 0, 0])
    # (1 + 2 + 3 + 4 + 10) / 5 = 4;  (2.5 + 10) / 2 = 6.25.
    assert masked_mean(values, mask).item() == 4
    assert per_example_mean(values, mask).item() == 6.25


def test_examples_without_valid_pixels_do_not_count():
    values = torch.tensor([[1.0, 2], [5, 5]])
    # Of the first example (1 + 2) / 2; the second has nothing.
    assert per_example_mean(values, flags([1, 1], [0, 0])).item() == 1.5
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    assert masked_mean(values, nothing).item() == 0
    assert per_example_mean(values, nothing).item() == 0


def points_at(*distances: float) -> torch.Tensor:
    """One example of points on the x axis."""
    points = torch.zeros(1, len(distances), 3)
    points[0, :, 0] = torch.tensor(distances)
    return points


def test_mean_distance_clips_at_ten_medians():
    points = points_at(1, 1, 2, 3, 93)
    mask = flags([1, 1, 1, 1, 1])
    # Median 2, so 93 counts as 20: (1 + 1 + 2 + 3 + 20) / 5 = 5.4; unclipped it is 100 / 5.
    assert mean_distance(points, mask).item() == pytest.approx(5.4)
    assert mean_distance(points, mask, clip_at_medians=None).item() == pytest.approx(20)
    # Only valid points count: (1 + 1 + 2) / 3.
    assert mean_distance(points, flags([1, 1, 1, 0, 0])).item() == pytest.approx(4 / 3)
    # Two clipped at 2 · 1: (1 + 1 + 2 + 2 + 2) / 5.
    assert mean_distance(points, mask, clip_at_medians=1.0).item() == pytest.approx(8 / 5)


def test_mean_distance_of_nothing_is_a_small_positive_number():
    assert 0 < mean_distance(points_at(1, 2), flags([0, 0])).item() < 1e-5
    assert 0 < mean_distance(points_at(0, 0), flags([1, 1])).item() < 1e-5


def test_huber():
    error = torch.tensor([0.0, 0.05, 0.1, 0.3], requires_grad=True)
    # δ = .1: .05² / .2 = .0125; at .1 both forms give .05; .3 − .05 = .25.
    values = huber(error, 0.1)
    assert torch.allclose(values, torch.tensor([0.0, 0.0125, 0.05, 0.25]))
    values.sum().backward()
    assert torch.allclose(error.grad, torch.tensor([0.0, 0.5, 1, 1]))


def test_norm_has_a_finite_gradient_at_zero():
    vectors = torch.tensor([[0.0, 0, 0], [3, 4, 0]], requires_grad=True)
    values = norm(vectors)
    assert torch.allclose(values, torch.tensor([0.0, 5]), atol=1e-5)
    values.sum().backward()
    assert torch.allclose(vectors.grad, torch.tensor([[0.0, 0, 0], [0.6, 0.8, 0]]), atol=1e-5)


def as_map(points: torch.Tensor) -> torch.Tensor:
    return points[:, None, None]


def test_own_time_terms():
    truth, mask = as_map(points_at(2, 4, 6)), flags([1, 1, 1])[None, None]
    # Truth / 4 = (.5, 1, 1.5). The prediction (1, 1, 4) / 2 = (.5, .5, 2) errs by 0, .5, .5.
    point, log_distance = own_time_terms(as_map(points_at(1, 1, 4)), truth, mask)
    assert point.item() == pytest.approx(1 / 3, abs=1e-5)
    # Raw distances: |log 1/.5| + |log 1/1| + |log 4/1.5| over 3.
    expected = (math.log(2) + 0 + math.log(8 / 3)) / 3
    assert log_distance.item() == pytest.approx(expected, abs=1e-5)


def test_own_time_error_ignores_scale_and_the_log_term_does_not():
    truth, mask = as_map(points_at(2, 4, 6)), flags([1, 1, 1])[None, None]
    point, log_distance = own_time_terms(7 * truth, truth, mask)
    assert point.item() == pytest.approx(0, abs=1e-5)
    # Distances are wanted in units of the mean: 7 · 4 too large.
    assert log_distance.item() == pytest.approx(math.log(28), abs=1e-5)


def test_motion_term_weighs_moving_and_still_pixels_alike():
    truth = as_map(points_at(0.2, 0, 0, 0, 0.009))
    predicted = as_map(points_at(0.1, 0, 0.04, 0, 0.009))
    mask = flags([1, 1, 1, 1, 1])[None, None]
    # One mover (.2 > .01) errs by .1; the four still ones by 0, .04, 0, 0: mean .01.
    plain = motion_term(predicted, truth, mask, moving_above=0.01, quadratic_below=0.0)
    assert plain.item() == pytest.approx(0.5 * 0.1 + 0.5 * 0.01, abs=1e-5)
    # δ = .1: .1 → .05; .04 → .0016 / .2 = .008, over four.
    smooth = motion_term(predicted, truth, mask, moving_above=0.01, quadratic_below=0.1)
    assert smooth.item() == pytest.approx(0.5 * 0.05 + 0.5 * 0.002, abs=1e-5)
    # Without the mover its half is zero.
    still = motion_term(
        predicted, truth, flags([0, 1, 1, 1, 1])[None, None], moving_above=0.01, quadratic_below=0.0
    )
    assert still.item() == pytest.approx(0.005, abs=1e-5)


def test_confidence_term_is_least_where_confidence_is_alpha_over_error():
    # C e − α log C has its minimum at C = α / e; C = 1 + exp(logit).
    error, alpha = torch.tensor([0.02, 0.05]), 0.2
    best = torch.log(alpha / error - 1)
    mask = flags([1, 1])[0]
    at_best = confidence_term(best, error, mask, alpha=alpha)
    # 10 · .02 − .2 log 10 and 4 · .05 − .2 log 4, averaged.
    assert at_best.item() == pytest.approx(0.2 - 0.1 * math.log(40), abs=1e-6)
    for change in (-0.3, 0.3):
        assert confidence_term(best + change, error, mask, alpha=alpha) > at_best
    logits = best.clone().requires_grad_()
    confidence_term(logits, error, mask, alpha=alpha).backward()
    assert logits.grad.abs().max() < 1e-6


def test_confidence_does_not_teach_geometry():
    error = torch.tensor([0.3, 0.4], requires_grad=True)
    logits = torch.zeros(2, requires_grad=True)
    confidence_term(logits, error, flags([1, 0])[0], alpha=0.2).backward()
    assert error.grad is None
    assert logits.grad[0] != 0 and logits.grad[1] == 0


def test_match_term_spreads_the_target_over_four_cells():
    # A map of 2 × 3 cells of 4 px. (7, 3) px is cell coordinate x = 7/4 − .5 = 1.25, y = .25:
    # weights (1, 0) .75 · .75, (2, 0) .25 · .75, (1, 1) .75 · .25, (2, 1) .25 · .25.
    probability = torch.tensor([[[0.05, 0.3, 0.1, 0.05, 0.2, 0.1, 0.2]]])
    xy = torch.tensor([[[7.0, 3.0]]])
    yes = flags([1])
    found = masked_mean(match_errors(probability.log(), xy, yes, (2, 3)), yes)
    expected = -(
        0.5625 * math.log(0.3)
        + 0.1875 * math.log(0.1)
        + 0.1875 * math.log(0.2)
        + 0.0625 * math.log(0.1)
    )
    assert found.item() == pytest.approx(expected, abs=1e-5)
    # Hidden: the last bin alone.
    hidden = masked_mean(match_errors(probability.log(), xy, ~yes, (2, 3)), yes)
    assert hidden.item() == pytest.approx(-math.log(0.2), abs=1e-5)
    assert masked_mean(match_errors(probability.log(), xy, yes, (2, 3)), ~yes).item() == 0


@pytest.mark.parametrize(
    ("xy", "cell"), [((2, 2), 0), ((10, 6), 5), ((0.1, 0.1), 0), ((12, 8), 5), ((6, 2), 1)]
)
def test_match_term_at_centres_and_beyond_the_last_centre_wants_one_cell(xy, cell):
    logits = torch.randn(1, 1, 7)
    found = masked_mean(
        match_errors(logits, torch.tensor([[xy]]).float(), flags([1]), (2, 3)), flags([1])
    )
    assert found.item() == pytest.approx(-logits.log_softmax(-1)[0, 0, cell].item(), abs=1e-5)


def test_camera_term_weighs_stages_and_parts():
    truth = torch.zeros(1, 1, 9)
    # Errors per stage: translation .3 each, quaternion .2 each, field of view .4 each:
    # 1 · .3 + 1 · .2 + .5 · .4 = .7.
    stage = torch.tensor([0.3] * 3 + [0.2] * 4 + [0.4] * 2)[None, None]
    # Of two stages only the first errs: weight .6, averaged over two.
    only_first = torch.stack([stage, truth])
    assert camera_term(only_first, truth).item() == pytest.approx(0.6 * 0.7 / 2)
    only_last = torch.stack([truth, -stage])
    assert camera_term(only_last, truth).item() == pytest.approx(0.7 / 2)
    # Translations that are lost count as 100 each at most.
    lost = truth.clone()
    lost[..., 0] = 1e6
    assert camera_term(lost[None], truth).item() == pytest.approx(100 / 3)


def test_papers_regression():
    truth, predicted = points_at(2, 6), points_at(1, 5)
    confidence, mask = torch.tensor([[2.0, 1.0]]), flags([1, 1])
    arguments = {"alpha": 0.2, "per_example": False}
    # V-DPM: truth / 4 = (.5, 1.5), prediction as it is: errors .5, 3.5.
    # (2 · .5 − .2 log 2 + 3.5 − 0) / 2.
    v_dpm = confidence_weighted_regression(
        predicted, confidence, truth, mask, normalise_prediction=False, **arguments
    )
    assert v_dpm.item() == pytest.approx((1 - 0.2 * math.log(2) + 3.5) / 2, abs=1e-5)
    # DPM: prediction / 3 = (1/3, 5/3): errors 1/6 both. (2/6 − .2 log 2 + 1/6) / 2.
    dpm = confidence_weighted_regression(
        predicted, confidence, truth, mask, normalise_prediction=True, **arguments
    )
    assert dpm.item() == pytest.approx((0.5 - 0.2 * math.log(2)) / 2, abs=1e-5)


def test_papers_normaliser_is_not_clipped():
    truth, mask = points_at(1, 1, 1, 97), flags([1, 1, 1, 1])
    # Mean distance 25, not clipped at 10 medians: the prediction 0 errs by .04, .04, .04, 3.88.
    loss = confidence_weighted_regression(
        torch.zeros_like(truth),
        torch.ones(1, 4),
        truth,
        mask,
        normalise_prediction=False,
        per_example=False,
    )
    assert loss.item() == pytest.approx(1.0, abs=1e-5)


def test_papers_regression_per_example():
    # Two examples, errors 1 each in the first (two pixels), 3 in the second (one pixel).
    truth = torch.cat([points_at(1, 1), points_at(1, 5)])
    predicted = torch.cat([points_at(2, 2), points_at(4, 7)])
    mask, one = flags([1, 1], [1, 0]), torch.ones(2, 2)
    arguments = {"normalise_prediction": False}
    mean = confidence_weighted_regression(
        predicted, one, truth, mask, per_example=True, **arguments
    )
    pooled = confidence_weighted_regression(
        predicted, one, truth, mask, per_example=False, **arguments
    )
    assert mean.item() == pytest.approx((1 + 3) / 2, abs=1e-5)
    assert pooled.item() == pytest.approx((1 + 1 + 3) / 3, abs=1e-5)


def test_papers_regression_in_a_given_unit():
    # Truth / 2 and / 4: errors 3 − 1 and 3 − 5/4, of one pixel each.
    loss = confidence_weighted_regression(
        torch.cat([points_at(3), points_at(3)]),
        torch.ones(2, 1),
        torch.cat([points_at(2), points_at(5)]),
        flags([1], [1]),
        normalise_prediction=False,
        per_example=True,
        unit=torch.tensor([2.0, 4.0]),
    )
    assert loss.item() == pytest.approx((2 + 1.75) / 2, abs=1e-5)


def test_joint_normaliser_of_stacked_maps():
    # Four maps are one cloud: one mean distance for all of them, (1 + 3) / 2 = 2.
    truth = torch.stack([points_at(1)[0], points_at(3)[0]])[None]
    predicted = torch.zeros(1, 2, 1, 3)
    loss = confidence_weighted_regression(
        predicted,
        torch.ones(1, 2, 1),
        truth,
        torch.ones(1, 2, 1, dtype=torch.bool),
        normalise_prediction=False,
        per_example=True,
    )
    assert loss.item() == pytest.approx((0.5 + 1.5) / 2, abs=1e-5)


def in_float64(sample):
    """The sample with all its numbers in float64."""
    parts = {f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)}
    return dataclasses.replace(
        sample, **{k: v.double() for k, v in parts.items() if v.is_floating_point()}
    )


def points_loss_by_hand(maps, truth, known, units, *, alpha) -> float:
    """C · ‖x − x*/unit‖ − α log C: mean over the valid pixels of each example, then over these."""
    means = []
    for example in range(len(truth)):
        terms = [
            float(c) * math.dist(x.tolist(), (y / units[example]).tolist()) - alpha * math.log(c)
            for x, c, y, k in zip(
                maps.points[example].reshape(-1, 3),
                maps.confidence[example].reshape(-1),
                truth[example].reshape(-1, 3),
                known[example].reshape(-1),
                strict=True,
            )
            if k
        ]
        if terms:
            means.append(sum(terms) / len(terms))
    return sum(means) / len(means)


def camera_loss_by_hand(encodings, sample, units) -> float:
    """VGGT's camera loss without a tensor operation over frames."""
    iterations, batch, frames = encodings.shape[:3]
    height, width = sample.images.shape[-2:]
    total = 0.0
    for k in range(iterations):
        parts: dict[str, list[float]] = {"translation": [], "rotation": [], "view": []}
        for b in range(batch):
            for i in range(frames):
                found = encodings[k, b, i].tolist()
                pose = torch.linalg.inv(sample.world_from_camera[b, i])
                # The cameras of the toy truth do not turn.
                true = [*(pose[:3, 3] / units[b]).tolist(), 0.0, 0.0, 0.0, 1.0]
                true.append(2 * math.atan(height / 2 / float(sample.intrinsics[b, i, 1, 1])))
                true.append(2 * math.atan(width / 2 / float(sample.intrinsics[b, i, 0, 0])))
                error = [abs(x - y) for x, y in zip(found, true, strict=True)]
                parts["translation"] += [min(e, 100.0) for e in error[:3]]
                parts["rotation"] += error[3:7]
                parts["view"] += error[7:]
        mean = {name: sum(errors) / len(errors) for name, errors in parts.items()}
        stage = mean["translation"] + mean["rotation"] + 0.5 * mean["view"]
        total += 0.6 ** (iterations - 1 - k) * stage
    return total / iterations


def test_published_loss_by_hand():
    torch.manual_seed(5)
    network = PublishedNetwork(vdpm_miniature()).double()
    with torch.no_grad():
        for parameter in network.camera_head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    batch, frames = 3, 3
    sample = in_float64(toy_truth(batch, frames, 28, 42, seed=2))
    # Unlike examples: one has sky nearly everywhere, one is known at its own times only, and one
    # has no truth at all for its target times.
    valid = sample.valid.clone()
    valid[0, :, 5:] = False
    supervised = sample.supervised.clone()
    supervised[1] = torch.eye(frames, dtype=torch.bool)
    supervised[2] &= torch.eye(frames, dtype=torch.bool)
    sample = dataclasses.replace(sample, valid=valid, supervised=supervised)
    targets = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 2, 0]])
    loss = PublishedLoss(alpha=0.3, camera=7.0)
    with torch.no_grad():
        parts = published_loss(network, sample, loss, targets)
        encoded = network.encode(sample.images)
        decoded = network.decode_views(encoded, targets, frames=range(frames))
    rows = range(frames)
    units = []
    for b in range(batch):
        own = torch.cat([sample.points[b, i, i][valid[b, i]] for i in rows])
        units.append(float(own.norm(dim=1).mean()))
    own_truth = torch.stack([torch.stack([p[i, i] for i in rows]) for p in sample.points])
    moved_truth = torch.stack(
        [torch.stack([sample.points[b, targets[b, i], i] for i in rows]) for b in range(batch)]
    )
    own_known = valid
    moved_known = torch.stack(
        [
            torch.stack([valid[b, i] & supervised[b, targets[b, i], i] for i in rows])
            for b in range(batch)
        ]
    )
    assert moved_known.flatten(1).any(dim=1).tolist() == [True, True, False]
    own = points_loss_by_hand(encoded.own_time, own_truth, own_known, units, alpha=0.3)
    moved = points_loss_by_hand(decoded, moved_truth, moved_known, units, alpha=0.3)
    camera = camera_loss_by_hand(encoded.encodings, sample, units)
    assert parts.own_time.item() == pytest.approx(own, rel=1e-10)
    assert parts.decoded.item() == pytest.approx(moved, rel=1e-10)
    assert parts.camera.item() == pytest.approx(camera, rel=1e-7)
    assert parts.total.item() == pytest.approx(own + moved + 7 * camera, rel=1e-7)


def test_published_loss_ignores_what_has_no_truth():
    network, sample = PublishedNetwork(vdpm_miniature()), toy_truth(2, 3, 28, 42)
    targets = torch.tensor([[1, 1, 1], [0, 2, 2]])
    supervised = sample.supervised.clone()
    supervised[0, 1, 0] = supervised[1, 2, 1] = False
    masked = dataclasses.replace(sample, supervised=supervised)
    other = sample.points.clone()
    other[0, 1, 0] += 9
    other[1, 2, 1] += 9
    # These times are asked of no frame.
    other[0, 2, 0] += 9
    other[1, 1, 2] += 9
    changed = dataclasses.replace(masked, points=other)
    with torch.no_grad():
        before, after, known = (
            published_loss(network, each, PublishedLoss(), targets).decoded.item()
            for each in (masked, changed, dataclasses.replace(sample, points=other))
        )
    assert after == before
    assert abs(known - before) > 0.1


def test_pairs_are_different_ordered_and_never_own_time():
    generator = torch.Generator().manual_seed(0)
    for frames, most in ((2, 2), (4, 5), (6, 100)):
        sources, targets = choose_pairs(frames, most, generator)
        pairs = list(zip(sources, targets, strict=True))
        assert len(set(pairs)) == len(pairs) == min(most, frames * (frames - 1))
        assert all(i != t and 0 <= min(i, t) and max(i, t) < frames for i, t in pairs)


def test_true_matches_of_the_toy_wall():
    sample = toy_truth(batch=1)
    xy, visible, valid = true_matches(sample, torch.tensor([0]), torch.tensor([1]))
    assert xy.shape == (1, 4 * 6, 2)
    # Cell (1, 2) is looked at by its pixel (6, 10); that point moves with the left half by
    # (.1, .02, −.05), and camera 1 stands .05 to the right; f = 24, centre (12, 8).
    x, y, z = sample.points[0, 0, 0, 6, 10].tolist()
    moved = (x + 0.1 - 0.05, y + 0.02, z - 0.05)
    expected = (24 * moved[0] / moved[2] + 12 - 0.5, 24 * moved[1] / moved[2] + 8 - 0.5)
    assert torch.allclose(xy[0, 1 * 6 + 2], torch.tensor(expected), atol=1e-4)
    assert visible.all() and valid.all()


def test_matches_of_a_frame_with_itself_are_cell_centres():
    from dynapoint.models.nano.motion_hints import cell_centres

    xy, _, _ = true_matches(toy_truth(batch=1), torch.tensor([0]), torch.tensor([0]))
    assert torch.allclose(xy[0], cell_centres((4, 6), xy), atol=1e-4)


def test_camera_truth_is_in_units_of_the_mean_distance():
    sample = toy_truth(batch=2)
    truth = camera_truth(sample, torch.tensor([2.0, 4.0]))
    # camera_from_world of frame 1 is a shift by −.05; f = width, so fov_w = 2 atan(1/2).
    assert torch.allclose(truth[:, 1, 0], torch.tensor([-0.025, -0.0125]))
    assert torch.allclose(truth[..., 3:7], torch.tensor([0.0, 0, 0, 1]).expand(2, 2, 4))
    assert torch.allclose(truth[..., 8], torch.tensor(2 * math.atan(0.5)))
    assert torch.allclose(truth[..., 7], torch.tensor(2 * math.atan(16 / 24 / 2)))


def loss_of(network, sample, weights: LossWeights | None = None):
    """All parts of the loss as numbers."""
    with torch.no_grad():
        encoded = network.encode(sample.images)
        parts = sample_loss(
            network,
            encoded,
            sample,
            weights or LossWeights(),
            sources=[0, 1, 2],
            targets=[1, 0, 1],
            generator=torch.Generator().manual_seed(0),
        )
    return {f.name: getattr(parts, f.name).item() for f in dataclasses.fields(parts)}


def garbled(sample, where: torch.Tensor):
    """The sample with other points and visibility in the (time, frame) maps of `where`."""
    chosen = where[None, ..., None, None]
    return dataclasses.replace(
        sample,
        points=torch.where(chosen[..., None], sample.points * 3 + 1, sample.points),
        visible=sample.visible ^ chosen,
    )


@pytest.mark.parametrize("map_", [(1, 0), (0, 1), (1, 1), (1, 2)])
def test_unsupervised_maps_do_not_change_the_loss(shaken, map_):
    network, sample = shaken(), toy_truth(frames=3)
    where = torch.zeros(3, 3, dtype=torch.bool)
    where[map_] = True
    masked = dataclasses.replace(sample, supervised=sample.supervised & ~where)
    assert loss_of(network, garbled(masked, where)) == pytest.approx(
        loss_of(network, masked), abs=1e-6
    )
    # The same change where there is supervision does change it.
    changed = loss_of(network, garbled(sample, where))["total"]
    assert abs(changed - loss_of(network, sample)["total"]) > 1e-3


def test_sky_does_not_change_the_loss(shaken):
    network, sample = shaken(), toy_truth(frames=3)
    sky = ~sample.valid[:, None, ..., None]
    other = dataclasses.replace(sample, points=torch.where(sky, 7.0, sample.points))
    assert loss_of(network, other) == pytest.approx(loss_of(network, sample), abs=1e-6)


def test_loss_ignores_the_scene_s_scale(shaken):
    network, sample = shaken(), toy_truth(frames=3)
    poses = sample.world_from_camera.clone()
    poses[..., :3, 3] *= 10
    larger = dataclasses.replace(sample, points=sample.points * 10, world_from_camera=poses)
    assert loss_of(network, larger) == pytest.approx(loss_of(network, sample), abs=1e-4)


def test_total_is_the_weighted_sum(shaken):
    network, sample = shaken(), toy_truth(frames=3)
    factors = {
        "own_time": 2.0,
        "log_distance": 3.0,
        "motion": 5.0,
        "camera": 7.0,
        "match": 11.0,
        "confidence": 13.0,
    }
    parts = loss_of(network, sample, LossWeights(**factors))
    expected = sum(factor * parts[name] for name, factor in factors.items())
    assert all(parts[name] > 0 for name in ("own_time", "log_distance", "motion", "camera"))
    assert parts["total"] == pytest.approx(expected, rel=1e-5)


def test_own_time_truth_is_the_diagonal():
    sample = toy_truth(frames=3)
    truth = own_time_truth(sample)
    for frame in range(3):
        assert torch.equal(truth[:, frame], sample.points[:, frame, frame])


def test_at_most_six_pairs_of_a_sample_teach_matches(shaken, monkeypatch):
    network, asked = shaken(), []
    plain = objective.match_loss

    def spy(*arguments, sources, targets, cells):
        asked.append(list(zip(sources, targets, strict=True)))
        return plain(*arguments, sources=sources, targets=targets, cells=cells)

    monkeypatch.setattr(objective, "match_loss", spy)
    for frames, seed in ((3, 0), (4, 0), (4, 0), (4, 1)):
        sample = toy_truth(batch=1, frames=frames)
        with torch.no_grad():
            sample_loss(
                network,
                network.encode(sample.images),
                sample,
                LossWeights(),
                sources=[0],
                targets=[1],
                generator=torch.Generator().manual_seed(seed),
            )
    assert [len(set(pairs)) for pairs in asked] == [6, 6, 6, 6]
    assert asked[0] == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert asked[1] == asked[2] != asked[3]


def test_the_loss_of_matches_is_the_mean_of_that_of_its_cells(shaken):
    network, sample = shaken(), toy_truth(batch=2, frames=2)
    with torch.no_grad():
        encoded = network.encode(sample.images)
    count = (encoded.image_hw[0] // CELL_PX) * (encoded.image_hw[1] // CELL_PX)
    # Without movers the loss is half a mean over valid cells, which parts of the cells add up to.
    still = dataclasses.replace(sample, moving=torch.zeros_like(sample.moving))

    def summed(cells):
        inner = slice(CELL_PX // 2, None, CELL_PX)
        valid = still.valid[:, [0, 1]][..., inner, inner].flatten(2)[..., cells].sum()
        loss = objective.match_loss(
            network, encoded, still, sources=[0, 1], targets=[1, 0], cells=cells
        )
        return loss.detach() * valid, valid

    whole, parts = summed(list(range(count))), [summed(list(range(k, count, 3))) for k in range(3)]
    torch.testing.assert_close(sum(each[0] for each in parts), whole[0])
    assert sum(each[1] for each in parts) == whole[1]


def test_cells_that_teach_matches_are_some_of_large_images():
    generator = torch.Generator().manual_seed(0)
    assert objective.choose_cells((16, 24), 24, generator) == list(range(24))
    drawn = [objective.choose_cells((64, 88), 100, generator) for _ in range(2)]
    for cells in drawn:
        assert len(set(cells)) == 100
        assert cells == sorted(cells)
        assert 0 <= cells[0] and cells[-1] < 16 * 22
    assert drawn[0] != drawn[1]
