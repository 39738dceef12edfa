"""Starts: poses from features that frames in any order share, and chains of poses from flow."""

import numpy as np
import pytest

from dynapoint.refinement import features
from dynapoint.refinement.chain import chain_of_poses, pose_of_points
from dynapoint.refinement.features import start_from_features
from dynapoint.refinement.matches import Matches
from dynapoint.refinement.setting import Answer, prepare
from dynapoint.refinement.views import rigid_places, rotation_from_vector
from refinement_cases import angle_deg

HW, MAP_HW = (96, 128), (48, 64)
FOCAL = 64.0


def room(frames=5, *, lens=1.0, depth_noise=0.0, seed=0):
    """A wavy wall seen by cameras that turn and move a lot; the network knows none of that."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[1:, :3, :3] = rotation_from_vector(rng.uniform(-0.25, 0.25, size=(frames - 1, 3)))
    poses[1:, :3, 3] = rng.uniform(-0.6, 0.6, size=(frames - 1, 3))
    points = rng.uniform([-2.5, -2, 3], [2.5, 2, 6], size=(600, 3))
    intrinsics = np.tile(np.array([[FOCAL, 0, 32], [0, FOCAL, 24], [0, 0, 1]]), (frames, 1, 1))
    seen = np.einsum("fij,pj->fpi", poses[:, :3, :3], points) + poses[:, None, :3, 3]
    places = seen[..., :2] / seen[..., 2:] * 2 * FOCAL + [64, 48]
    inside = (places > 1).all(-1) & (places < [127, 95]).all(-1)
    depth = np.full((frames, *MAP_HW), 4.5) * np.exp(
        depth_noise * rng.normal(size=(frames, *MAP_HW))
    )
    ray = np.stack(
        np.meshgrid((np.arange(64) + 0.5 - 32) / FOCAL, (np.arange(48) + 0.5 - 24) / FOCAL), -1
    )
    ray = np.concatenate([ray, np.ones((*MAP_HW, 1))], axis=-1)
    guessed = intrinsics.copy()
    guessed[:, [0, 1], [0, 1]] *= lens
    answer = Answer(
        world_from_camera=np.tile(np.eye(4), (frames, 1, 1)),
        intrinsics=guessed,
        points=(ray * depth[..., None]).astype(np.float32),
        confidence=np.ones((frames, *MAP_HW), dtype=np.float32),
    )
    colors = rng.integers(0, 255, size=(frames, *HW, 3)).astype(np.uint8)
    return prepare(colors, answer, one_lens=True), poses, places, inside


@pytest.fixture
def shared(monkeypatch):
    """Features and matches are those of a room, a tenth of them wrong."""

    def use(places, inside):
        frames = list(range(len(places)))
        monkeypatch.setattr(features, "_detected", lambda setting, pictures: frames)

        def matched(first, second):
            both = inside[first] & inside[second]
            there = places[second, both].copy()
            wrong = np.random.default_rng(first).random(len(there)) < 0.1
            there[wrong] = np.random.default_rng(second).uniform(0, 96, size=(wrong.sum(), 2))
            return places[first, both], there

        monkeypatch.setattr(features, "_matched", matched)

    return use


@pytest.mark.parametrize("lens", [1.0, 1.25])
def test_frames_in_any_order_find_their_places(shared, lens):
    setting, poses, places, inside = room(lens=lens)
    shared(places, inside)
    found = start_from_features(setting, None)
    assert angle_deg(found.views.camera_from_world, poses).max() < 1.0
    assert abs(found.views.log_lens + np.log(lens)) < 0.03
    shift, true = (each[1:, :3, 3] for each in (found.views.camera_from_world, poses))
    scale = (shift * true).sum() / (true * true).sum()
    assert 0.7 < scale < 1.4
    assert np.abs(shift - scale * true).max() < 0.05
    assert all(first < second for first, second in found.pairs)
    again = start_from_features(setting, None)
    assert np.array_equal(found.views.camera_from_world, again.views.camera_from_world)


def test_a_known_lens_stays(shared):
    setting, poses, places, inside = room()
    shared(places, inside)
    found = start_from_features(setting, None, known_lens=True)
    assert found.views.log_lens == 0
    assert angle_deg(found.views.camera_from_world, poses).max() < 0.6


def test_a_frame_that_shares_nothing_makes_no_start(shared):
    setting, _, places, inside = room()
    inside = inside.copy()
    inside[2] = False
    shared(places, inside)
    assert start_from_features(setting, None) is None


def test_features_of_one_picture_match_themselves():
    setting, *_ = room(2)
    picture = setting.meter.pictures[:1].repeat(2, axis=0)
    found = features._detected(setting, picture)
    first, second = features._matched(found[0], found[1])
    assert len(first) > 20 and np.array_equal(first, second)
    assert (first > 0).all() and (first < [128, 96]).all()


def test_points_and_their_places_give_the_pose():
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 2], [1, 1, 5], size=(200, 3))
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_vector(np.array([0.1, -0.2, 0.05]))
    pose[:3, 3] = [0.3, -0.1, 0.2]
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    focal = np.array([250.0, 240.0])
    places = seen[:, :2] / seen[:, 2:] * focal
    places[:40] += rng.uniform(-50, 50, size=(40, 2))
    found = pose_of_points(points, places, focal)
    np.testing.assert_allclose(found.second_from_first, pose, atol=2e-3)
    assert 0.75 < found.share < 0.85
    assert pose_of_points(points[:10], places[:10], focal) is None
    assert pose_of_points(np.ones((100, 3)), np.zeros((100, 2)), focal) is None


def test_a_chain_follows_matches_and_else_the_network():
    setting, poses, _, _ = room(4)
    depth = setting.views.log_depth
    views = type(setting.views)(camera_from_world=poses, log_lens=0.0, log_depth=depth)
    target = np.array([[1, 0], [0, 2], [1, 2], [3, 3]])
    places, ahead = rigid_places(views, setting.normal, setting.lens, target)
    weight = (ahead > 0).astype(np.float32)
    weight[target == np.arange(4)[:, None]] = 0
    matches = Matches(target=target, place_px=places.astype(np.float32), weight=weight)
    found = chain_of_poses(setting, matches)
    np.testing.assert_allclose(found[:3], poses[:3], atol=2e-3)
    # The network says that frame 3 stands where frame 2 does.
    np.testing.assert_allclose(found[3], found[2], atol=1e-12)
