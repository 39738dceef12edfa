"""The whole refinement on rendered clips whose truth is known, and where there is nothing to do."""

from dataclasses import replace

import numpy as np
import pytest

from dynapoint.models.kept.correction import MOVING, STILL
from dynapoint.refinement import refine as refine_module
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.flow import FlowField
from dynapoint.refinement.refine import _half_trusted, refine
from dynapoint.refinement.setting import Answer, prepare
from dynapoint.refinement.sharpened import Sharpened
from dynapoint.refinement.views import rotation_from_vector
from refinement_cases import angle_deg, placed, rendered

HW = (192, 256)


def disturbed(truth, *, turn_deg=1.0, depth=0.01, lens=0.0, seed=0):
    """An answer that is off by so much: smooth errors of depth, turned cameras, another lens."""
    import cv2

    rng = np.random.default_rng(seed)
    frames, (height, width) = len(truth.points), truth.map_hw
    noise = rng.normal(size=(frames, 5, 6))
    noise = np.stack([cv2.resize(each, (width, height)) for each in noise])
    noise = depth * noise / noise.std()
    intrinsics = truth.intrinsics.copy()
    intrinsics[:, [0, 1], [0, 1]] *= np.exp(lens)
    axes = rng.normal(size=(frames, 3))
    axes *= np.radians(turn_deg) / np.linalg.norm(axes, axis=1, keepdims=True)
    poses = truth.world_from_camera.copy()
    poses[1:, :3, :3] = poses[1:, :3, :3] @ rotation_from_vector(axes[1:])
    return placed(truth.depth * np.exp(noise), poses, intrinsics, truth.confidence)


def turn_error(answer, truth):
    return float(np.median(angle_deg(answer.world_from_camera, truth.world_from_camera)[1:]))


def assert_sound(refined, answer):
    """Finite, of the same shapes, and rigid."""
    better = refined.answer
    for name in ("world_from_camera", "intrinsics", "points", "confidence"):
        value, given = getattr(better, name), getattr(answer, name)
        assert (
            value.shape == given.shape and value.dtype == given.dtype and np.isfinite(value).all()
        )
    rotation = better.world_from_camera[:, :3, :3]
    product = rotation @ rotation.transpose(0, 2, 1)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), atol=1e-6)
    assert np.array_equal(better.world_from_camera[0], np.eye(4))
    assert np.isfinite(refined.depth_ratio).all() and (refined.depth_ratio > 0).all()


def test_noise_of_large_networks_comes_out_at_a_third():
    colors, truth, _ = rendered(frames=4, image_hw=HW)
    answer = disturbed(truth)
    refined = refine(colors, answer, known_lens=True)
    assert_sound(refined, answer)
    assert refined.found.poses and refined.found.depth
    assert turn_error(answer, truth) > 0.8
    assert turn_error(refined.answer, truth) < turn_error(answer, truth) / 3


def test_wrong_depth_and_lens_are_mended():
    colors, truth, _ = rendered(frames=4, image_hw=HW)
    answer = disturbed(truth, turn_deg=3.0, depth=0.2, lens=0.15)
    refined = refine(colors, answer)
    assert_sound(refined, answer)
    assert refined.found.poses and refined.found.explained > refined.found.explained_before
    assert turn_error(refined.answer, truth) < 0.4 * turn_error(answer, truth)
    known = truth.confidence > 0

    def depth_error(found):
        off = np.log(found.depth[known] / truth.depth[known])
        return np.abs(off - np.median(off)).mean()

    assert depth_error(refined.answer) < depth_error(answer)


@pytest.mark.parametrize("depth", [0.01, 0.1])
def test_depths_that_are_better_than_flow_stay_and_others_are_mended(depth):
    colors, truth, _ = rendered(frames=4, image_hw=HW)
    known = truth.confidence > 0

    def error(found):
        off = np.log(found.depth[known] / truth.depth[known])
        return np.abs(off - np.median(off)).mean()

    answer = disturbed(truth, turn_deg=1.0, depth=depth)
    refined = refine(colors, answer)
    assert refined.found.depth
    assert error(refined.answer) < (1.1 if depth < 0.05 else 0.8) * error(answer)


def test_depths_that_too_few_matches_tell_stay(monkeypatch):
    colors, truth, _ = rendered(frames=4, image_hw=HW)
    answer = disturbed(truth, turn_deg=2.0, depth=0.2)
    told = refine(colors, answer)
    assert told.found.depth and told.found.parallax > 0.02
    monkeypatch.setattr(refine_module, "LEAST_PARALLAX", told.found.parallax + 0.01)
    untold = refine(colors, answer)
    assert_sound(untold, answer)
    assert untold.found.poses and not untold.found.depth
    assert np.array_equal(untold.answer.world_from_camera, told.answer.world_from_camera)
    # Frames still agree on what stands still.
    changes = [np.abs(np.log(each.depth_ratio)).mean() for each in (untold, told)]
    assert 0 < changes[0] < 0.7 * changes[1]


def test_cameras_are_better_at_the_scale_of_what_their_matches_err_by(monkeypatch):
    colors, truth, _ = rendered(frames=6, image_hw=HW)
    answer = disturbed(truth, turn_deg=2.0, depth=0.3)
    sharp = refine(colors, answer, known_lens=True)
    monkeypatch.setattr(
        refine_module,
        "sharpen",
        lambda solution, *_, **__: Sharpened(
            solution=solution, noise_px=1.0, lens_sigma=1.0, lens_freed=False
        ),
    )
    blunt = refine(colors, answer, known_lens=True)
    assert blunt.found.explained > 0.9, "matches tell all of this clip"
    assert turn_error(sharp.answer, truth) < 0.5 * turn_error(blunt.answer, truth)


@pytest.mark.parametrize(("sigma", "wanted"), [(0.02, 2500.0), (0.05, 400.0), (0.3, 100.0)])
def test_trust_in_matches_is_the_inverse_variance_of_the_depths_they_correct(sigma, wanted):
    rng = np.random.default_rng(0)
    information = rng.uniform(0, 40_000, size=200_000)
    noise = (0.35 / np.maximum(information, 1e-9)) ** 0.5
    change = sigma * rng.normal(size=len(noise)) + noise * rng.normal(size=len(noise))
    assert _half_trusted(change, information) == pytest.approx(wanted, rel=0.1)
    # Nothing is known of depths that no match tells.
    assert _half_trusted(change, np.zeros_like(information)) == 100.0


def test_two_runs_are_the_same_and_neither_changes_what_it_is_given():
    colors, truth, _ = rendered(frames=3, image_hw=HW)
    answer = disturbed(truth, turn_deg=2.0, depth=0.1)
    kept = answer.points.copy()
    first, second = refine(colors, answer), refine(colors, answer)
    assert np.array_equal(first.answer.points, second.answer.points)
    assert np.array_equal(first.evidence, second.evidence)
    assert first.found == second.found and np.array_equal(answer.points, kept)


def test_pixels_that_move_are_told_from_still_ones():
    colors, truth, moving = rendered(frames=4, image_hw=HW)
    refined = refine(colors, disturbed(truth, turn_deg=0.5, depth=0.01), known_lens=True)
    still = refined.evidence == STILL
    assert still.mean() > 0.2
    assert (still & ~moving).sum() / still.sum() > 0.9


@pytest.mark.parametrize("frames", [1, 2])
def test_few_frames(frames):
    colors, truth, _ = rendered(frames=3, image_hw=HW)
    colors, truth = (
        colors[:frames],
        Answer(
            world_from_camera=truth.world_from_camera[:frames],
            intrinsics=truth.intrinsics[:frames],
            points=truth.points[:frames],
            confidence=truth.confidence[:frames],
        ),
    )
    answer = disturbed(truth, turn_deg=1.0)
    refined = refine(colors, answer)
    assert_sound(refined, answer)
    if frames == 1:
        assert refined.answer is answer and refined.found == Findings()
        assert refined.found.lines() == [
            "cameras are the network's own: no matches to refine them by"
        ]


def test_a_camera_that_stands_still_is_found_to_stand_still():
    import cv2

    colors, truth, _ = rendered(frames=3, image_hw=HW)
    colors = np.repeat(colors[:1], 3, axis=0)
    # Something passes through the picture.
    passing = np.random.default_rng(0).integers(0, 255, size=(10, 10, 3)).astype(np.uint8)
    passing = passing.repeat(4, axis=0).repeat(4, axis=1)
    for frame in range(3):
        colors[frame, 60 + 7 * frame :][:40, 100:140] = passing
    still = Answer(
        world_from_camera=np.tile(np.eye(4), (3, 1, 1)),
        intrinsics=truth.intrinsics,
        points=np.repeat(truth.points[:1], 3, axis=0),
        confidence=np.repeat(truth.confidence[:1], 3, axis=0),
    )
    answer = disturbed(still, turn_deg=1.0)
    refined = refine(colors, answer)
    assert_sound(refined, answer)
    assert refined.found.start == "still"
    assert np.array_equal(refined.answer.world_from_camera, np.tile(np.eye(4), (3, 1, 1)))
    stood = refined.evidence == STILL
    found, before = refined.answer.depth, answer.depth
    # Maps are twice as fine as the grid, so that what moves follows its surroundings at its border.
    moved = (refined.evidence == MOVING).astype(np.uint8)
    inside = np.stack([cv2.erode(each, np.ones((5, 5))) for each in moved]) > 0
    np.testing.assert_allclose(found[inside], before[inside], rtol=1e-4)
    # Frames that show the same place have the mean of their depths there.
    always = stood.all(axis=0) & (truth.confidence[0] > 0)
    spread, spread_before = (np.ptp(np.log(each[:, always]), axis=0) for each in (found, before))
    assert spread.mean() < 0.3 * spread_before.mean()
    right = still.depth[:, always]
    off, off_before = (np.abs(np.log(each[:, always] / right)) for each in (found, before))
    assert off.mean() < 0.75 * off_before.mean()
    passed = refined.evidence[1, 72:102, 105:135]
    assert (passed == MOVING).mean() > 0.7 and (refined.evidence[1, :50] != MOVING).all()
    assert (refined.evidence == STILL).mean() > 0.2


def turned_views(turns, seed=1_000_600_040):
    """Pictures of a camera that turns in one place (homographies of one), and its lens."""
    import cv2

    (picture, *_), truth, _ = rendered(seed, frames=3, image_hw=HW)
    large = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    lens = np.array([[230.0, 0, 128], [0, 230, 96], [0, 0, 1]])
    from_large = np.linalg.inv([[230.0, 0, 256], [0, 230, 192], [0, 0, 1]])
    views = [
        cv2.warpPerspective(large, lens @ turn.T @ from_large, HW[::-1], flags=cv2.INTER_LINEAR)
        for turn in turns
    ]
    return np.stack(views), lens, truth


@pytest.mark.parametrize("seed", range(3))
def test_a_camera_that_turns_in_one_place_is_found_to_go_nowhere(seed):
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.uniform(-0.06, 0.06, size=(4, 3)) * [1, 1, 0.3], axis=0)
    turns = rotation_from_vector(np.concatenate([np.zeros((1, 3)), steps]))
    colors, lens, truth = turned_views(turns)
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, :3, :3] = turns
    exact = placed(
        np.repeat(truth.depth[:1], 5, axis=0),
        poses,
        np.tile(lens, (5, 1, 1)),
        np.ones((5, *HW), dtype=np.float32),
    )
    answer = disturbed(exact, turn_deg=2.0, depth=0.3, seed=seed)
    answer.world_from_camera[1:, :3, 3] = 0.02 * rng.normal(size=(4, 3))
    refined = refine(colors, answer)
    assert_sound(refined, answer)
    assert refined.found.start == "turning" and refined.found.poses and not refined.found.depth
    assert (refined.answer.world_from_camera[:, :3, 3] == 0).all()
    assert turn_error(refined.answer, exact) < 0.15 < turn_error(answer, exact)


def test_a_camera_that_goes_somewhere_does_not_only_turn():
    colors, truth, _ = rendered(frames=4, image_hw=HW)
    refined = refine(colors, disturbed(truth, turn_deg=2.0, depth=0.2))
    assert refined.found.poses and refined.found.start != "turning"
    assert (refined.answer.world_from_camera[1:, :3, 3] != 0).any()


def test_portrait_and_maps_of_another_size():
    colors, truth, _ = rendered(frames=3, image_hw=(128, 96))
    small = Answer(
        world_from_camera=truth.world_from_camera,
        intrinsics=np.diag([0.5, 0.5, 1.0]) @ truth.intrinsics,
        points=np.ascontiguousarray(truth.points[:, 1::2, 1::2]),
        confidence=np.ascontiguousarray(truth.confidence[:, 1::2, 1::2]),
    )
    refined = refine(colors, small)
    assert_sound(refined, small)


@pytest.mark.parametrize("hw", [(192, 256), (20, 30), (8, 200)])
def test_blank_pictures_leave_all_as_it_was(hw):
    colors = np.full((3, *hw, 3), 120, dtype=np.uint8)
    depth = np.ones((3, 12, 16))
    intrinsics = np.tile(np.array([[16.0, 0, 8], [0, 16.0, 6], [0, 0, 1]]), (3, 1, 1))
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = [0, 0.1, 0.2]
    answer = placed(depth, poses, intrinsics, np.ones((3, 12, 16), dtype=np.float32))
    refined = refine(colors, answer)
    assert refined.answer is answer and not refined.found.poses
    assert (refined.depth_ratio == 1).all()


def test_nothing_usable_leaves_all_as_it_was():
    colors, truth, _ = rendered(frames=3, image_hw=HW)
    answer = replace(truth, confidence=np.zeros_like(truth.confidence))
    assert refine(colors, answer).answer is answer
    behind = replace(truth, points=-truth.points)
    assert_sound(refine(colors, behind), behind)


def test_known_lens_and_poses_are_taken_as_given():
    colors, truth, _ = rendered(frames=3, image_hw=HW)
    answer = disturbed(truth, turn_deg=0.0, depth=0.1)
    refined = refine(colors, answer, known_lens=True, known_poses=True)
    assert refined.found.known_poses and "poses" not in refined.found.changed
    np.testing.assert_allclose(refined.answer.intrinsics, truth.intrinsics, rtol=1e-9)
    np.testing.assert_allclose(refined.answer.world_from_camera, truth.world_from_camera, atol=1e-6)


def test_ignored_pixels_change_nothing():
    colors, truth, _ = rendered(frames=3, image_hw=HW)
    confidence = truth.confidence.copy()
    confidence[:, :, :100] = 0
    answer = disturbed(replace(truth, confidence=confidence), turn_deg=1.0)
    spoiled = colors.copy()
    rng = np.random.default_rng(0)
    spoiled[:, :, :60] = rng.integers(0, 255, spoiled[:, :, :60].shape)
    refined = refine(spoiled, answer)
    assert_sound(refined, answer)
    assert not refined.evidence[:, :, :98].any()


def test_flow_may_come_from_elsewhere():
    colors, truth, _ = rendered(frames=3, image_hw=HW)
    answer = disturbed(truth, turn_deg=2.0, depth=0.1)
    meter = prepare(colors, answer, one_lens=True).meter
    from dynapoint.refinement.flow import PairToMeasure

    given = meter.measure([PairToMeasure(first=i, second=i + 1) for i in range(2)])
    mine, others = refine(colors, answer), refine(colors, answer, neighbours=given)
    assert np.array_equal(mine.answer.points, others.answer.points)
    larger = [tuple(field.resized(384, 512) for field in pair) for pair in given]
    assert isinstance(larger[0][0], FlowField)
    assert_sound(refine(colors, answer, neighbours=larger), answer)
