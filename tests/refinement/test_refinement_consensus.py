"""Depths on which frames agree: closed forms, surfaces that lie behind one another, and a room."""

import numpy as np
import pytest

from dynapoint.geometry.arrays import points_on_rays
from dynapoint.models.kept.correction import MOVING, STILL, UNKNOWN
from dynapoint.refinement.consensus import agreed_change, spread_change
from dynapoint.refinement.field import affinity_of
from dynapoint.refinement.setting import prepare
from dynapoint.refinement.views import rotation_from_vector
from refinement_cases import placed

HW = (24, 32)
LENS = np.array([[40.0, 0, 16], [0, 40.0, 12], [0, 0, 1]])


def setting_of(depth, poses, confidence=None):
    """Maps with these depths along the axes of these cameras (world-from-camera)."""
    frames = len(depth)
    if confidence is None:
        confidence = np.ones((frames, *HW), dtype=np.float32)
    answer = placed(depth, poses, np.tile(LENS, (frames, 1, 1)), confidence)
    return prepare(np.zeros((frames, 96, 128, 3), dtype=np.uint8), answer, one_lens=True)


def standing(frames):
    return np.tile(np.eye(4), (frames, 1, 1))


def moved(frames, rng, *, turn=0.1, shift=0.3):
    poses = standing(frames)
    poses[1:, :3, :3] = rotation_from_vector(turn * rng.normal(size=(frames - 1, 3)))
    poses[1:, :3, 3] = shift * rng.normal(size=(frames - 1, 3))
    return poses


def plane_depth(poses, normal, distance):
    """Depths of the plane n·x = d along the axes of cameras."""
    ray = points_on_rays(np.ones(HW), LENS, np.eye(4))
    along = np.einsum("fij,hwj->fhwi", poses[:, :3, :3], ray) @ normal
    return (distance - poses[:, :3, 3] @ normal)[:, None, None] / along


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("frames", [2, 5])
def test_before_a_standing_camera_all_frames_get_their_mean(frames, seed):
    rng = np.random.default_rng(seed)
    log_depth = rng.uniform(0, 2, size=(1, *HW)) + 0.03 * rng.normal(size=(frames, 1, 1))
    setting = setting_of(np.exp(log_depth), standing(frames))
    change = agreed_change(setting, setting.views, np.ones((frames, *HW), dtype=bool))
    wanted = np.broadcast_to(log_depth.mean(0), log_depth.shape)
    np.testing.assert_allclose(log_depth + change, wanted, atol=1e-5)


def test_frames_that_agree_change_nothing():
    rng = np.random.default_rng(3)
    poses = moved(4, rng)
    setting = setting_of(plane_depth(poses, np.array([0, 0, 1.0]), 4.0), poses)
    change = agreed_change(setting, setting.views, np.ones((4, *HW), dtype=bool))
    # What is seen lies up to half a pixel beside the pixel's centre.
    assert np.abs(change).max() < 5e-3


@pytest.mark.parametrize("seed", range(4))
def test_depths_of_a_slanted_plane_come_nearer_to_the_truth(seed):
    rng = np.random.default_rng(seed)
    poses = moved(6, rng, turn=0.05, shift=0.2)
    truth = plane_depth(poses, np.array([0.2, -0.3, 0.93]), 4.0)
    log_depth = np.log(truth) + 0.05 * rng.normal(size=(6, 1, 1))
    setting = setting_of(np.exp(log_depth), poses)
    change = agreed_change(setting, setting.views, np.ones((6, *HW), dtype=bool))
    before = log_depth - np.log(truth)
    after = before + change
    # Common to all frames is what no mean takes away.
    spread = [np.abs(each - each.mean()).mean() for each in (before, after)]
    assert spread[1] < 0.5 * spread[0]


def test_what_moves_or_is_not_used_takes_no_part():
    rng = np.random.default_rng(5)
    log_depth = np.full((3, *HW), 1.0) + 0.02 * rng.normal(size=(3, 1, 1))
    still = np.ones((3, *HW), dtype=bool)
    still[:, :, 20:] = False
    confidence = np.ones((3, *HW), dtype=np.float32)
    confidence[1] = 0
    setting = setting_of(np.exp(log_depth), standing(3), confidence)
    change = agreed_change(setting, setting.views, still)
    assert (change[:, :, 20:] == 0).all() and (change[1] == 0).all()
    half = (log_depth[2] - log_depth[0])[0, 0] / 2
    np.testing.assert_allclose(change[0, :, :20], half, atol=1e-5)
    np.testing.assert_allclose(change[2, :, :20], -half, atol=1e-5)


def test_a_surface_stays_apart_from_the_one_behind_it():
    """A box a fifth before a wall, which the other frames see around."""
    poses = standing(3)
    poses[1:, 0, 3] = 0.5, -0.5
    depth = plane_depth(poses, np.array([0, 0, 1.0]), 5.0)
    x = (np.arange(32) + 0.5 - 16) / 40
    for frame in range(3):
        on_box = np.abs(x * 4.0 + poses[frame, 0, 3]) < 0.6
        depth[frame][:, on_box] = 4.0
    setting = setting_of(depth, poses)
    change = agreed_change(setting, setting.views, np.ones((3, *HW), dtype=bool))
    assert np.abs(change).max() < 0.01


def test_nothing_still_changes_nothing():
    rng = np.random.default_rng(6)
    poses = moved(3, rng)
    setting = setting_of(np.exp(rng.uniform(0, 1, size=(3, *HW))), poses)
    assert (agreed_change(setting, setting.views, np.zeros((3, *HW), dtype=bool)) == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_unknown_changes_as_what_is_around_it(seed):
    rng = np.random.default_rng(seed)
    evidence = np.full((2, *HW), STILL, dtype=np.uint8)
    evidence[0, 8:14, 10:20] = UNKNOWN
    evidence[1, :, 16:] = MOVING
    evidence[1, 8:14, 24:30] = UNKNOWN
    constant = rng.uniform(-0.2, 0.2)
    change = np.where(evidence == STILL, constant, 0.0)
    alike = affinity_of(np.zeros((2, *HW, 3)), np.zeros((2, *HW)))
    spread = spread_change(change, evidence, alike)
    known = evidence != UNKNOWN
    assert np.array_equal(spread[known], change[known])
    np.testing.assert_allclose(spread[0], constant, rtol=0.1)
    assert np.abs(spread[1, 8:14, 24:30]).max() < 0.1 * abs(constant)
    # At an edge of the pictures the change stops.
    colors = np.zeros((2, *HW, 3))
    colors[0, 8:14, 10:20] = 255
    apart = spread_change(change, evidence, affinity_of(colors, np.zeros((2, *HW))))
    assert np.abs(apart[0, 8:14, 10:20]).max() < 0.8 * abs(constant)
