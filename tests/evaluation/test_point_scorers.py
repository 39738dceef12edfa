"""Scorers of points on an engine clip: the truth, shifted truth by its formula, invariances."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from scipy.spatial import KDTree

from drawn import examples, rigid_motions
from dynapoint.datasets.sequence import Holds
from dynapoint.errors import ShapeError
from dynapoint.evaluation import score
from dynapoint.evaluation.clips import TruthClip
from dynapoint.evaluation.predictors import (
    FlatScene,
    TrueGeometryNothingMoved,
    TruthPredictor,
)
from dynapoint.evaluation.protocols.sampling import PairsFrom, pair_task
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.flow import score_flow
from dynapoint.evaluation.scorers.motion import score_motion
from dynapoint.evaluation.scorers.object_pose import score_object_pose
from dynapoint.evaluation.scorers.point_maps import by_source_and_time, true_maps
from dynapoint.evaluation.scorers.relative import score_relative
from dynapoint.evaluation.scorers.surface import score_surface
from dynapoint.evaluation.scorers.tracking import score_tracking
from dynapoint.evaluation.scorers.two_view import score_two_view
from engine_sequence import EngineSequence, true_answer
from miniatures.engine_clip import engine_clip

FIRST, SECOND = 1, 4
FOUR = ((0, 0), (0, 1), (1, 0), (1, 1))
SHIFT = np.array([0.3, -0.2, 0.5])
SCORERS = (
    score_two_view,
    score_tracking,
    score_relative,
    score_flow,
    score_object_pose,
    score_surface,
    score_motion,
)


@pytest.fixture(scope="module")
def sequence():
    return EngineSequence(engine_clip())


@pytest.fixture(scope="module")
def task(sequence):
    return pair_task(sequence, (FIRST, SECOND), stride=1, swapped=True)


def by_metric(measured):
    assert len({each.metric for each in measured}) == len(measured)
    return {each.metric: each.value for each in measured}


def clip_maps(clip, camera):
    """The four maps of the pair in a camera, in float64, straight from the clip."""
    pose = clip.world_from_camera[camera]
    frames = (FIRST, SECOND)
    world = np.stack([clip.points[frames[time], frames[source]] for source, time in FOUR])
    return ((world - pose[:3, 3]) @ pose[:3, :3]).reshape(4, -1, 3)


def shifted(answer, shift=SHIFT, factor=2.5):
    return replace(
        answer,
        points=(factor * (answer.points + shift)).astype(np.float32),
        swapped_points=(0.7 * (answer.swapped_points + shift)).astype(np.float32),
    )


def means(errors):
    return [np.nanmean(of_map) for of_map in errors]


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_the_truth_is_perfect_in_any_unit(scorer, sequence, task):
    answer = true_answer(task, sequence)
    for unit in (1.0, 37.0):
        said = shifted(answer, shift=0, factor=unit)
        for metric, value in by_metric(scorer(task, sequence, said)).items():
            if metric.startswith("f_"):
                assert value == 1
            elif metric.startswith("match_recall"):
                assert value > 0.99
            else:
                limit = 0.05 if "deg" in metric else 2e-5
                assert value == pytest.approx(0, abs=limit), metric


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_an_answer_that_says_nothing_has_no_score(scorer, sequence, task):
    said = by_metric(scorer(task, sequence, true_answer(task, sequence)))
    nothing = by_metric(scorer(task, sequence, Answer()))
    assert list(nothing) == list(said)
    assert all(math.isnan(value) for value in nothing.values())


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_maps_of_another_shape_are_refused(scorer, sequence, task):
    answer = true_answer(task, sequence)
    cropped = Answer(points=answer.points[:, :-1])
    with pytest.raises(ShapeError, match=r"shape \(4, 23, 32, 3\); wanted \(4, 24, 32, 3\)"):
        scorer(task, sequence, cropped)


def test_shifted_truth_has_the_epe_of_the_formula(sequence, task):
    found = by_metric(score_two_view(task, sequence, shifted(true_answer(task, sequence))))
    truth = clip_maps(sequence.clip, FIRST)
    said = truth + SHIFT
    true_length, said_length = (np.linalg.norm(side, axis=-1) for side in (truth, said))
    joint = said / np.nanmean(said_length) - truth / np.nanmean(true_length)
    each = said / np.nanmean(said_length, axis=1)[:, None, None]
    each = each - truth / np.nanmean(true_length, axis=1)[:, None, None]
    for index, (source, time) in enumerate(FOUR):
        for ending, gap in (("", joint), ("_each", each)):
            expected = np.nanmean(np.linalg.norm(gap[index], axis=-1))
            assert expected > 0.02
            assert found[f"epe_p{source}t{time}{ending}"] == pytest.approx(expected, rel=1e-4)


def test_shifted_truth_has_the_tracking_error_of_the_formula(sequence):
    frames = (1, 3, 5)
    task = Task(
        dataset="engine", sequence="clip", name="tracks", frames=frames,
        maps=tuple((0, time) for time in range(3)),
    )  # fmt: skip
    answer = true_answer(task, sequence)
    drift = np.arange(3)[:, None, None, None] * SHIFT
    found = by_metric(
        score_tracking(task, sequence, replace(answer, points=answer.points + np.float32(drift)))
    )
    pose = sequence.clip.world_from_camera[1]
    truth = np.stack([(sequence.clip.points[t, 1] - pose[:3, 3]) @ pose[:3, :3] for t in frames])
    lengths = [np.linalg.norm(side, axis=-1) for side in (truth, truth + drift)]
    gap = (truth + drift) / np.nanmean(lengths[1]) - truth / np.nanmean(lengths[0])
    assert found["epe"] == pytest.approx(np.nanmean(np.linalg.norm(gap, axis=-1)), rel=1e-4)
    of_each = [
        np.nanmean(np.linalg.norm(
            (truth + drift)[t] / np.nanmean(lengths[1][t]) - truth[t] / np.nanmean(lengths[0][t]),
            axis=-1,
        ))
        for t in range(3)
    ]  # fmt: skip
    assert found["epe_each"] == pytest.approx(np.mean(of_each), rel=1e-4)


def test_shifted_truth_has_the_relative_error_of_the_formula(sequence, task):
    found = by_metric(score_relative(task, sequence, shifted(true_answer(task, sequence))))
    truth = clip_maps(sequence.clip, FIRST)
    true_length, said_length = (np.linalg.norm(side, axis=-1) for side in (truth, truth + SHIFT))
    units = [np.nanmedian(lengths[[0, 3]]) for lengths in (true_length, said_length)]
    gap = np.linalg.norm((truth + SHIFT) / units[1] - truth / units[0], axis=-1)
    errors = gap / (true_length / units[0])
    for (source, time), expected in zip(FOUR, means(errors), strict=True):
        assert found[f"rel_p{source + 1}t{time + 1}"] == pytest.approx(expected, rel=1e-4)
        assert expected > 0.02


def test_shifted_truth_has_the_flow_of_the_formula(sequence, task):
    found = by_metric(score_flow(task, sequence, shifted(true_answer(task, sequence))))
    cameras = [clip_maps(sequence.clip, camera) for camera in (FIRST, SECOND)]
    said, units = [], []
    for truth in cameras:
        lengths = [np.linalg.norm(side[[0, 3]], axis=-1) for side in (truth, truth + SHIFT)]
        units.append(np.nanmedian(lengths[0]))
        said.append((truth + SHIFT) * units[-1] / np.nanmedian(lengths[1]))
    # Positions in FOUR: P1(t1) 0, P1(t2) 1, P2(t1) 2, P2(t2) 3.
    for name, after, before in (
        ("scene_forward", (1, 1), (0, 0)),
        ("scene_backward", (0, 2), (1, 3)),
        ("object_forward", (0, 1), (0, 0)),
        ("object_backward", (0, 2), (0, 3)),
    ):
        flows = [maps[after[0]][after[1]] - maps[before[0]][before[1]] for maps in (said, cameras)]
        expected = np.nanmean(np.linalg.norm(flows[0] - flows[1], axis=-1))
        assert expected > 1e-3
        assert found[f"epe_{name}_truth_unit"] == pytest.approx(expected, rel=1e-3)
        assert found[f"epe_{name}"] == pytest.approx(expected / units[0], rel=1e-3)


def test_an_answer_of_one_call_has_object_flow_alone(sequence, task):
    answer = replace(true_answer(task, sequence), swapped_points=None)
    found = by_metric(score_flow(task, sequence, answer))
    assert math.isnan(found["epe_scene_forward"]) and math.isnan(found["epe_scene_backward"])
    assert found["epe_object_forward"] == pytest.approx(0, abs=1e-5)


def test_the_engine_sequence_has_objects_that_move_and_turn(sequence):
    """Else the tests of objects would show nothing."""
    poses = sequence.object_poses()
    known = np.isfinite(poses).all(axis=(1, 2, 3))
    gone = np.linalg.norm(poses[:, SECOND, :3, 3] - poses[:, FIRST, :3, 3], axis=-1)
    shown = sequence.instances(FIRST)
    counts = np.array([(shown == row + 1).sum() for row in range(len(poses))])
    assert (known & (gone > 0.05) & (counts >= 16)).any()
    assert not np.isfinite(poses).all()  # One that deforms, or is hardly seen.


def test_shifted_objects_have_the_error_of_the_formula(sequence, task):
    """All points of the second time go by a shift: every object's motion is off by it alone."""
    answer = true_answer(task, sequence)
    points = answer.points.copy()
    points[1] += np.float32(SHIFT)
    measured = score_object_pose(task, sequence, replace(answer, points=points))
    found = by_metric(measured)
    truth = clip_maps(sequence.clip, FIRST)
    unit = np.nanmedian(np.linalg.norm(truth[[0, 3]], axis=-1))
    shift = np.linalg.norm(SHIFT)
    for ending, expected in (
        ("", shift / unit), ("_truth_unit", shift), ("_moving", shift / unit),
    ):  # fmt: skip
        assert found[f"rpe_translation{ending}"] == pytest.approx(expected, rel=1e-3)
    assert found["rpe_rotation_deg"] == pytest.approx(0, abs=0.05)
    weights = {each.metric: each.weight for each in measured}
    poses, shown = sequence.object_poses(), sequence.instances(FIRST)
    counted = sum(
        np.isfinite(poses[row]).all()
        and (np.isfinite(truth[:2]).all(axis=(0, 2)) & (shown.reshape(-1) == row + 1)).sum() >= 16
        for row in range(len(poses))
    )
    assert weights["rpe_rotation_deg"] == counted > weights["rpe_rotation_deg_moving"] >= 1


def test_objects_that_hardly_move_do_not_count_as_moving(sequence, task):
    """All goes by half a per cent of the median distance besides: less than the limit."""
    clip = sequence.clip
    truth = clip_maps(clip, FIRST)
    step = 0.005 * np.nanmedian(np.linalg.norm(truth[[0, 3]], axis=-1))
    drift = np.arange(clip.frame_count) / (SECOND - FIRST) * step
    points = clip.points + drift[:, None, None, None, None] * np.array([1.0, 0, 0])
    drifting = EngineSequence(replace(clip, points=points))
    weights = []
    for where in (sequence, drifting):
        measured = score_object_pose(task, where, true_answer(task, where))
        weights.append({each.metric: each.weight for each in measured})
    assert weights[0]["rpe_rotation_deg_moving"] < weights[0]["rpe_rotation_deg"]
    assert weights[1] == weights[0]


def test_nothing_moved_has_the_objects_own_motion_as_error(sequence, task):
    answer = true_answer(task, sequence)
    points = answer.points.copy()
    points[1] = points[0]
    found = by_metric(score_object_pose(task, sequence, replace(answer, points=points)))
    poses, shown = sequence.object_poses(), sequence.instances(FIRST)
    truth = clip_maps(sequence.clip, FIRST)
    angles, paths = [], []
    for row in range(len(poses)):
        pixels = np.isfinite(truth[:2]).all(axis=(0, 2)) & (shown.reshape(-1) == row + 1)
        if np.isfinite(poses[row]).all() and pixels.sum() >= 16:
            turn = poses[row, FIRST, :3, :3].T @ poses[row, SECOND, :3, :3]
            angles.append(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
            paths.append(np.linalg.norm(poses[row, SECOND, :3, 3] - poses[row, FIRST, :3, 3]))
    assert found["rpe_rotation_deg"] == pytest.approx(np.mean(angles), abs=0.02)
    assert found["rpe_translation_truth_unit"] == pytest.approx(np.mean(paths), rel=1e-3)


def test_objects_of_a_set_without_poses_are_not_scored(sequence, task):
    class Bare(EngineSequence):
        def __init__(self, clip):
            super().__init__(clip)
            self.holds = Holds(lens=True, poses=True, depth=True, motion="dense")

    found = score_object_pose(task, Bare(sequence.clip), true_answer(task, sequence))
    assert all(math.isnan(each.value) and each.weight == 0 for each in found)


def test_shifted_surface_is_scored_by_its_formula(sequence):
    task = Task(
        dataset="engine", sequence="clip", name="frames", frames=(FIRST, SECOND),
        maps=((0, 0), (1, 1)),
    )  # fmt: skip
    answer = true_answer(task, sequence)
    bent = answer.points.copy()
    bent[1] += np.float32(SHIFT)  # Of the second frame alone, so that no similarity undoes it.
    found = by_metric(score_surface(task, sequence, replace(answer, points=3 * bent)))
    maps = clip_maps(sequence.clip, FIRST)[[0, 3]]
    known = np.isfinite(maps).all(axis=-1)
    truth = maps[known]
    said = (maps + np.array([np.zeros(3), SHIFT])[:, None])[known]
    lengths = [np.median(np.linalg.norm(side, axis=-1)) for side in (truth, said)]
    said = said * lengths[0] / lengths[1]
    there, back = (
        one.query(other)[0] / lengths[0]
        for one, other in ((KDTree(truth), said), (KDTree(said), truth))
    )
    shares = [(distance <= 0.05).mean() for distance in (there, back)]
    expected = {
        "accuracy": there.mean(), "accuracy_median": np.median(there),
        "completeness": back.mean(), "completeness_median": np.median(back),
        "f_0.05": 2 * shares[0] * shares[1] / sum(shares),
    }  # fmt: skip
    for metric, value in expected.items():
        assert found[f"{metric}_median_scale"] == pytest.approx(value, rel=5e-3)
        # The similarity does not make it right either, nor worse.
        assert found[metric] != pytest.approx(value, rel=5e-3)


# --- what may not matter


@examples(4)
@given(rigid_motions(reach=5))
def test_where_the_world_lies_does_not_matter(motion):
    clip = engine_clip()
    moved = replace(
        clip,
        points=clip.points @ motion[:3, :3].T + motion[:3, 3],
        world_from_camera=motion @ clip.world_from_camera,
    )
    here, there = EngineSequence(clip), EngineSequence(moved)
    task = pair_task(here, (FIRST, SECOND), stride=2, swapped=True)
    answer = shifted(true_answer(task, here))
    for scorer in (score_two_view, score_relative, score_flow, score_object_pose, score_surface):
        first, second = (by_metric(scorer(task, where, answer)) for where in (here, there))
        np.testing.assert_allclose(
            list(second.values()), list(first.values()), rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_the_order_of_maps_does_not_matter(scorer, sequence, task):
    answer = shifted(true_answer(task, sequence))
    order = [2, 0, 3, 1]
    other_task = replace(task, maps=tuple(task.maps[k] for k in order))
    other = replace(
        answer, points=answer.points[order], swapped_points=answer.swapped_points[order]
    )
    first = by_metric(scorer(task, sequence, answer))
    second = by_metric(scorer(other_task, sequence, other))
    assert second == pytest.approx(first, nan_ok=True, rel=1e-6)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_what_is_said_where_no_truth_is_known_does_not_matter(scorer, sequence, task):
    answer = shifted(true_answer(task, sequence))
    sky = ~np.isfinite(true_maps(task, sequence)).all(axis=-1).reshape(answer.points.shape[:3])
    assert sky.any()
    first = by_metric(scorer(task, sequence, answer))
    for nonsense in (1e6, np.nan):
        points, swapped = answer.points.copy(), answer.swapped_points.copy()
        points[sky] = swapped[sky] = nonsense
        other = replace(answer, points=points, swapped_points=swapped)
        assert by_metric(scorer(task, sequence, other)) == pytest.approx(first, nan_ok=True)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_points_that_are_not_finite_count_as_the_origin(scorer, sequence, task):
    answer = shifted(true_answer(task, sequence))
    lost = np.random.default_rng(1).random(answer.points.shape[:3]) < 0.2
    found = []
    for value in (np.nan, 0.0):
        points, swapped = answer.points.copy(), answer.swapped_points.copy()
        points[lost] = swapped[lost] = value
        said = replace(answer, points=points, swapped_points=swapped)
        found.append(by_metric(scorer(task, sequence, said)))
    assert found[0] == pytest.approx(found[1], nan_ok=True)
    assert found[0] != pytest.approx(by_metric(scorer(task, sequence, answer)), nan_ok=True)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
def test_truth_that_is_not_there_gives_no_score_and_no_error(scorer, sequence, task):
    class OwnTime(EngineSequence):
        """A set that knows nothing of other times, and asks nobody for it."""

        def __init__(self, clip):
            super().__init__(clip)
            self.holds = replace(self.holds, motion="own_time")

        def points(self, frame, time):
            assert frame == time
            return super().points(frame, time)

    answer = shifted(true_answer(task, sequence))
    found = by_metric(scorer(task, OwnTime(sequence.clip), answer))
    unknown = {
        score_two_view: {"epe_p0t1", "epe_p1t0", "epe_p0t1_each", "epe_p1t0_each"},
        score_tracking: set(),
        score_relative: {"rel_p1t2", "rel_p2t1"},
        score_surface: set(),
    }.get(scorer, set(found))
    assert {metric for metric, value in found.items() if math.isnan(value)} == unknown


def test_four_maps_are_needed_where_all_are_compared(sequence, task):
    short = replace(task, maps=((0, 0), (0, 1), (1, 1)))
    with pytest.raises(ShapeError, match=r"does not ask the maps \[\(1, 0\)\]"):
        by_source_and_time(short, true_maps(short, sequence))


# --- motion, beside `evaluation.score`


class Wavering(TruthPredictor):
    """The truth, the farther off the later the frame is, so that no two pairs are alike."""

    def predict(self, clip, frames, times=None, source_frames=None):
        truth = super().predict(clip, frames, times, source_frames)
        noise = np.random.default_rng(frames[0]).normal(size=truth.points.shape)
        return replace(truth, points=truth.points + 0.1 * (1 + frames[0]) * noise)


@pytest.mark.parametrize("predictor", [TrueGeometryNothingMoved(), FlatScene(), Wavering()])
def test_motion_pools_to_what_evaluate_gives(predictor, sequence, monkeypatch):
    """The same clip by the older path: other truth, other predictor, sums instead of weights."""
    margin, starts, stride = 2, (0, 3), 2
    clip = sequence.clip
    grid = np.s_[..., stride // 2 :: stride, stride // 2 :: stride]
    truth = TruthClip(
        name="clip",
        images=clip.images,
        points=np.moveaxis(np.moveaxis(clip.points, -1, 0)[grid], 0, -1).astype(np.float32),
        visible=clip.visible[grid],
        instance=np.zeros(clip.instance[grid].shape, np.uint8),
        intrinsics=clip.intrinsics[0],
        world_from_camera=clip.world_from_camera,
        stride=stride,
    )
    monkeypatch.setattr(score, "PAIR_STARTS", {margin: starts})
    expected = score.evaluate([truth], predictor).pooled.margins[margin]
    found = {}
    for task in PairsFrom(starts=starts, margin=margin, stride=stride)(sequence):
        said = predictor.predict(truth, task.frames, source_frames=(0, 1)).points
        rows, columns = task.grid_hw(sequence.image_hw)
        maps = [said[time, source].reshape(rows, columns, 3) for source, time in task.maps]
        answer = Answer(points=np.stack(maps).astype(np.float32))
        for each in score_motion(task, sequence, answer):
            found.setdefault(each.metric, []).append((each.value, each.weight))
    assert len(found["leak"]) == 2
    pooled = {
        metric: sum(value * weight for value, weight in pairs) / sum(w for _, w in pairs)
        for metric, pairs in found.items()
    }
    assert pooled == pytest.approx(
        {
            "own_time_epe": expected.pairs.own_time_epe,
            "motion_ratio": expected.pairs.motion_ratio,
            "leak": expected.pairs.leak,
            "match_recall": expected.matches.recall,
            "match_recall_moving": expected.matches.recall_moving,
            "epe": expected.pairs.four_map_epe,
        },
        rel=1e-5, abs=1e-6,
    )  # fmt: skip


def test_a_set_that_does_not_say_what_is_seen_has_no_match_recall(sequence, task):
    class Blind(EngineSequence):
        def __init__(self, clip):
            super().__init__(clip)
            self.holds = replace(self.holds, visible=False)

    found = by_metric(score_motion(task, Blind(sequence.clip), true_answer(task, sequence)))
    assert math.isnan(found["match_recall"]) and found["motion_ratio"] == pytest.approx(0, abs=1e-5)
