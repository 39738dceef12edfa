"""Scorers of whole sequences: a shifted truth is exactly as wrong as the formulas say."""

from dataclasses import replace

import numpy as np
import pytest
from evo.core import metrics
from evo.core.trajectory import PosePath3D
from scipy.spatial.transform import Rotation

from dynapoint.datasets.sequence import Holds
from dynapoint.errors import ShapeError
from dynapoint.evaluation.measures.world_error import world_errors
from dynapoint.evaluation.protocols.task import Answer
from dynapoint.evaluation.protocols.whole_sampling import (
    GridOfFirstFrame,
    TracksOfFirstFrame,
    WholeSequence,
)
from dynapoint.evaluation.scorers.cameras import path_scores, score_cameras
from dynapoint.evaluation.scorers.combined import Combined
from dynapoint.evaluation.scorers.cost import score_cost
from dynapoint.evaluation.scorers.depth import DepthLimit, DepthScorer
from dynapoint.evaluation.scorers.masks import score_masks
from dynapoint.evaluation.scorers.tapvid3d import score_tapvid3d
from dynapoint.evaluation.scorers.world_points import score_world_points
from dynapoint.evaluation.scorers.world_tracks import score_world_tracks
from engine_sequence import EngineSequence, true_answer
from miniatures.engine_clip import engine_clip


def clip() -> EngineSequence:
    # Its camera moves and turns, a fifth of it moves, and some is sky.
    return EngineSequence(engine_clip(seed=38))


def asked(sampling, sequence=None):
    sequence = clip() if sequence is None else sequence
    (task,) = sampling(sequence)
    return task, sequence, true_answer(task, sequence)


def by_key(measured) -> dict[str, float]:
    assert len({each.metric for each in measured}) == len(measured)
    return {each.metric: each.value for each in measured}


# Depth


def test_depth_that_is_too_large_by_a_share_is_so_until_it_is_fitted():
    task, sequence, truth = asked(WholeSequence(depth=True, stride=2))
    found = by_key(DepthScorer()(task, sequence, replace(truth, depth=1.3 * truth.depth)))
    assert found["abs_rel_none"] == pytest.approx(0.3, rel=1e-5)
    assert found["delta_none"] == 0
    for fit in ("median", "scale_l1", "scale_l2", "line_l1", "line_l2", "line_adam"):
        assert found[f"abs_rel_{fit}"] == pytest.approx(0, abs=1e-4)
        assert found[f"delta_{fit}"] == 100


def test_depth_that_is_shifted_needs_a_shift():
    task, sequence, truth = asked(WholeSequence(depth=True))
    found = by_key(DepthScorer()(task, sequence, replace(truth, depth=truth.depth + 2)))
    depth = np.stack([sequence.depth(frame) for frame in task.frames]).astype(np.float64)
    depth = depth[np.isfinite(depth)]
    assert found["abs_rel_none"] == pytest.approx((2 / depth).mean(), rel=1e-5)
    assert found["rmse_none"] == pytest.approx(2, rel=1e-5)
    scale = np.median(depth) / np.median(depth + 2)
    wrong = np.abs(scale * (depth + 2) - depth) / depth
    assert found["abs_rel_median"] == pytest.approx(wrong.mean(), rel=1e-4)
    assert found["abs_rel_line_l1"] == pytest.approx(0, abs=1e-5)
    assert found["abs_rel_line_l2"] == pytest.approx(0, abs=1e-5)
    assert found["abs_rel_line_adam"] > 0.01


def test_limits_are_those_of_the_set():
    task, sequence, truth = asked(WholeSequence(depth=True))
    middle = float(np.nanmedian(truth.depth))
    scorer = DepthScorer(fits=("none",), limits=(DepthLimit(dataset="engine", farthest=middle),))
    measured = scorer(task, sequence, truth)
    assert measured[0].weight == (truth.depth < middle).sum() < np.isfinite(truth.depth).sum()
    others = DepthScorer(fits=("none",), limits=(DepthLimit(dataset="other", farthest=middle),))
    assert others(task, sequence, truth)[0].weight == np.isfinite(truth.depth).sum()


# Cameras


def test_one_camera_that_is_turned():
    task, sequence, truth = asked(WholeSequence(cameras=True))
    poses = truth.world_from_camera.copy()
    turn = Rotation.from_rotvec(np.radians([0, 2.5, 0])).as_matrix()
    poses[-1, :3, :3] = poses[-1, :3, :3] @ turn
    found = by_key(score_cameras(task, sequence, replace(truth, world_from_camera=poses)))
    frames = len(poses)
    assert found["ate"] == pytest.approx(0, abs=1e-6)
    assert found["rpe_rotation"] == pytest.approx(2.5 / np.sqrt(frames - 1), rel=1e-6)
    # Pairs with the last frame are 2.5 degrees off, in a share of 2 / frames.
    assert found["auc_3"] == pytest.approx(100 * (1 - 2 / 3 * 2 / frames), rel=1e-6)
    assert found["auc_30"] == pytest.approx(100 * (1 - 2 / 30 * 2 / frames), rel=1e-6)
    assert found["rotation"] == pytest.approx(0, abs=1e-5)


def test_another_world_and_unit_change_nothing_but_a_longer_lens_does():
    task, sequence, truth = asked(WholeSequence(cameras=True))
    world = np.eye(4)
    world[:3, :3] = Rotation.from_rotvec([0.3, 0.1, -1]).as_matrix()
    poses = world @ truth.world_from_camera
    poses[:, :3, 3] = 3 * poses[:, :3, 3] + (1, 2, 3)
    lens = truth.intrinsics.copy()
    lens[:, 0, 0] *= 1.1
    answer = replace(truth, world_from_camera=poses, intrinsics=lens)
    found = by_key(score_cameras(task, sequence, answer))
    assert found["ate"] == pytest.approx(0, abs=1e-5)
    assert found["rpe_translation"] == pytest.approx(0, abs=1e-5)
    assert found["auc_3"] == pytest.approx(100)
    assert found["focal"] == pytest.approx(10, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_paths_are_scored_as_evo_does(seed):
    draw = np.random.default_rng(seed)
    truth, predicted = (np.tile(np.eye(4), (20, 1, 1)) for _ in range(2))
    truth[:, :3, 3] = draw.normal(size=(20, 3)).cumsum(axis=0)
    truth[:, :3, :3] = Rotation.from_rotvec(0.5 * draw.normal(size=(20, 3))).as_matrix()
    predicted[:, :3, 3] = 0.3 * truth[:, :3, 3] + 0.1 * draw.normal(size=(20, 3))
    noise = Rotation.from_rotvec(0.1 * draw.normal(size=(20, 3))).as_matrix()
    predicted[:, :3, :3] = truth[:, :3, :3] @ noise
    paths = [PosePath3D(poses_se3=list(poses)) for poses in (truth, predicted)]
    paths[1].align(paths[0], correct_scale=True)
    relations = metrics.PoseRelation
    found = []
    for metric in (
        metrics.APE(relations.translation_part),
        metrics.RPE(relations.translation_part, delta=1, all_pairs=True),
        metrics.RPE(relations.rotation_angle_deg, delta=1, all_pairs=True),
    ):
        metric.process_data(tuple(paths))
        found.append(metric.get_statistic(metrics.StatisticsType.rmse))
    np.testing.assert_allclose(path_scores(truth, predicted), found, rtol=1e-6)


def test_a_pose_that_is_not_finite_is_that_of_the_first_frame_and_turned_round():
    task, sequence, truth = asked(WholeSequence(cameras=True))
    poses, first = truth.world_from_camera.copy(), truth.world_from_camera.copy()
    poses[3] = np.nan
    first[3] = np.eye(4)
    found, still = (
        by_key(score_cameras(task, sequence, replace(truth, world_from_camera=each)))
        for each in (poses, first)
    )
    assert found["ate"] == still["ate"] > 0
    assert found["rpe_translation"] == still["rpe_translation"]
    frames = len(poses)
    assert found["rpe_rotation"] == pytest.approx(180 * np.sqrt(2 / (frames - 1)), rel=1e-4)
    assert found["auc_30"] == pytest.approx(100 * (1 - 2 / frames), rel=1e-6)


@pytest.mark.parametrize(
    "no_pose",
    [
        np.zeros((4, 4)),
        np.ones((4, 4)),
        np.full((4, 4), 3e38),
        np.diag([1.0, 1, 1, 0]),
        np.diag([-1.0, 1, 1, 1]),
        np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 2, 3, 1]]),
    ],
    ids=["zeros", "ones", "huge", "no last row", "mirrored", "transposed"],
)
def test_a_matrix_that_is_no_pose_counts_as_one_that_is_not_finite(no_pose):
    task, sequence, truth = asked(WholeSequence(cameras=True))
    poses, unknown = (truth.world_from_camera.copy() for _ in range(2))
    poses[2], unknown[2] = no_pose, np.nan
    answers = (replace(truth, world_from_camera=each) for each in (poses, unknown))
    found, expected = (by_key(score_cameras(task, sequence, each)) for each in answers)
    assert found == expected and found["rpe_rotation"] > 1


# Points and tracks


def test_points_and_tracks_of_another_unit_are_perfect_and_shifted_ones_are_not():
    shift = np.array([0.3, 0, 0])
    for sampling, scorer, name, prefix in (
        (TracksOfFirstFrame(), score_world_tracks, "tracks", "track"),
        (WholeSequence(own_maps=True), score_world_points, "points", "recon"),
    ):
        task, sequence, truth = asked(sampling)
        found = by_key(scorer(task, sequence, replace(truth, **{name: 7 * getattr(truth, name)})))
        assert found[f"{prefix}_apd"] == 100
        assert found[f"{prefix}_epe"] == pytest.approx(0, abs=1e-5)
        moved = getattr(truth, name) + shift.astype(np.float32)
        off = by_key(scorer(task, sequence, replace(truth, **{name: moved})))
        compared = getattr(truth, name).astype(np.float64).reshape(-1, 3)
        if name == "points":
            depth = np.stack([sequence.depth(frame) for frame in task.frames]).ravel()
            compared = compared[(depth > 0.1) & (depth < 5)]
        lengths = [np.linalg.norm(each, axis=-1) for each in (compared, compared + shift)]
        scale = np.median(lengths[0]) / np.median(lengths[1])
        left = np.linalg.norm(scale * (compared + shift) - compared, axis=-1)
        within = [np.mean(left <= near) for near in (0.1, 0.3, 0.5, 1.0)]
        assert off[f"{prefix}_epe"] == pytest.approx(left.mean(), rel=1e-4)
        assert off[f"{prefix}_apd"] == pytest.approx(100 * np.mean(within), abs=0.5)


def test_only_pixels_of_near_depth_are_reconstructed():
    task, sequence, truth = asked(WholeSequence(own_maps=True))
    depth = np.stack([sequence.depth(frame) for frame in task.frames])
    outside = ~((depth > 0.1) & (depth < 5))
    assert 0 < outside.sum() < depth.size
    points = np.where(outside[..., None], np.float32(1e6), truth.points)
    assert by_key(score_world_points(task, sequence, replace(truth, points=points)))[
        "recon_apd"
    ] == pytest.approx(100)


def test_tracks_that_move_are_scored_apart():
    task, sequence, truth = asked(TracksOfFirstFrame())
    still = np.broadcast_to(truth.tracks[:1], truth.tracks.shape)
    found = by_key(score_world_tracks(task, sequence, replace(truth, tracks=still)))
    motion = np.linalg.norm(np.diff(truth.tracks, axis=0), axis=-1).sum(axis=0)
    moving = motion > 0.01
    assert 0 < moving.sum() < len(moving)
    alone = world_errors(truth.tracks[:, moving], still[:, moving])
    assert found["moving_epe"] == pytest.approx(alone.epe, rel=1e-4)
    assert found["moving_apd"] == pytest.approx(alone.apd, abs=1e-3)
    assert found["moving_epe"] > found["track_epe"] > 0


def test_tapvid_sees_points_in_the_camera_of_each_frame():
    task, sequence, truth = asked(TracksOfFirstFrame(cameras=True))
    found = by_key(score_tapvid3d(task, sequence, truth))
    assert found["aj_3d_median"] == found["apd_3d_none"] == found["occlusion_median"] == 100
    # Scaled with its poses the answer is the same; with the poses alone it is not.
    poses = truth.world_from_camera.copy()
    poses[:, :3, 3] *= 2
    both = replace(truth, tracks=2 * truth.tracks, world_from_camera=poses)
    again = by_key(score_tapvid3d(task, sequence, both))
    assert again["aj_3d_median"] == again["aj_3d_per_trajectory"] == 100 > again["aj_3d_none"]
    wrong = by_key(score_tapvid3d(task, sequence, replace(truth, world_from_camera=poses)))
    assert wrong["aj_3d_median"] < 100
    # A method that says nothing of what is hidden sees all.
    blind = by_key(score_tapvid3d(task, sequence, replace(truth, tracks_visible=None)))
    assert blind["occlusion_median"] == pytest.approx(100 * truth.tracks_visible.mean())


def test_a_task_of_other_tracks_is_refused():
    task, sequence, truth = asked(TracksOfFirstFrame())
    with pytest.raises(ShapeError, match="predict again"):
        score_world_tracks(replace(task, track_xy=task.track_xy[:-1]), sequence, truth)


# Masks and cost


def test_masks_are_scored_frame_by_frame():
    task, sequence, truth = asked(WholeSequence(moving=True))
    moving = truth.moving.copy()
    moving[0] = ~moving[0]
    found = by_key(score_masks(task, sequence, replace(truth, moving=moving)))
    frames = len(moving)
    # The mask turned round overlaps nothing, and has the same boundary.
    assert found["j_mean"] == pytest.approx(100 * (frames - 1) / frames)
    assert found["f_mean"] == pytest.approx(100)
    assert found["jf_mean"] == pytest.approx((found["j_mean"] + found["f_mean"]) / 2)


def test_cost_is_what_the_answer_says():
    task, sequence, truth = asked(GridOfFirstFrame(frames=3, stride=8))
    found = by_key(score_cost(task, sequence, replace(truth, seconds=2.0, peak_mib=300.0)))
    assert found == {"peak_mib": 300, "seconds": 2}
    assert np.isnan(by_key(score_cost(task, sequence, truth))["peak_mib"])


# What was not asked, known or answered

EVERY_SCORER = Combined(
    (
        DepthScorer(),
        score_cameras,
        score_world_tracks,
        score_world_points,
        score_tapvid3d,
        score_masks,
    )
)


def test_nothing_is_said_of_what_was_not_answered():
    task, sequence, _ = asked(WholeSequence(depth=True, cameras=True, moving=True, own_maps=True))
    assert all(np.isnan(value) for value in by_key(EVERY_SCORER(task, sequence, Answer())).values())


def test_nothing_is_said_of_what_a_set_does_not_have():
    task, sequence, truth = asked(WholeSequence(depth=True, cameras=True, moving=True))
    sequence.holds = Holds()
    assert all(np.isnan(value) for value in by_key(EVERY_SCORER(task, sequence, truth)).values())


@pytest.mark.parametrize(
    ("names", "scorer"),
    [
        (("depth",), DepthScorer()),
        (("world_from_camera",), score_cameras),
        (("moving",), score_masks),
        (("points",), score_world_points),
        (("tracks",), score_world_tracks),
        (("tracks", "world_from_camera"), score_tapvid3d),
    ],
)
def test_answers_of_another_size_are_refused(names, scorer):
    if "tracks" in names:
        task, sequence, truth = asked(TracksOfFirstFrame(cameras=True))
    else:
        everything = WholeSequence(depth=True, cameras=True, moving=True, own_maps=True)
        task, sequence, truth = asked(everything)
    short = Answer(**{name: getattr(truth, name)[:-1] for name in names})
    with pytest.raises(ShapeError, match=f"{task.key} has .*; predict this task again"):
        scorer(task, sequence, short)
