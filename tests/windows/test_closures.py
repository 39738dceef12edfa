"""Loops: closed where a place is seen again, with the right similarity; refused elsewhere."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest
import torch

from dynapoint.geometry.sim3 import exp_sim3
from dynapoint.refinement.views import rotation_from_vector
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.windows import closures
from dynapoint.windows.closure_fit import fit_closure, things_of
from dynapoint.windows.closures import Closure, close, find_closures
from dynapoint.windows.places import Candidate
from dynapoint.windows.spans import Window
from dynapoint.windows.window_maps import WindowMaps
from refinement_cases import angle_deg

HW = (192, 256)
FRAMES = 3
HERE, THERE = range(FRAMES), range(FRAMES, 2 * FRAMES)
WINDOWS = (Window(frames=tuple(HERE)), Window(frames=tuple(THERE)))
CANDIDATE = Candidate(first=1, second=4, first_window=0, second_window=1, alike=1.0)


@lru_cache
def revisited(seed: int) -> tuple[np.ndarray, tuple[WindowMaps, WindowMaps], np.ndarray]:
    """Grey pictures of a path and of the way back beside it, exact windows, and how they lie."""
    config = SceneConfig(frames=2 * FRAMES, difficulty=1.0, still_camera=0.0)
    scene = random_scene(seed, config, aspect=HW[1] / HW[0])
    rng = np.random.default_rng(seed)
    beside = np.eye(4)
    beside[:3, :3] = rotation_from_vector(0.05 * rng.normal(size=3))
    beside[:3, 3] = 0.05 * rng.normal(size=3)
    path = scene.world_from_camera[:FRAMES].astype(np.float64)
    poses = np.concatenate([path, path[::-1] @ beside])
    scene = replace(scene, world_from_camera=poses.astype(np.float32))
    clip = render_clips([scene], image_hw=HW, seed=seed)
    every = torch.arange(2 * FRAMES)[None]
    own = [clip.points(every[:, [i]], every[:, [i]])[0, 0, 0] for i in range(2 * FRAMES)]
    points = torch.stack(own).numpy()
    poses = clip.world_from_camera[0].double().numpy()
    lens = clip.intrinsics[0].double().numpy()
    second_from_world = _similarity(rng) @ np.linalg.inv(poses[FRAMES])
    windows = (
        _window(HERE, poses[:FRAMES], lens[:FRAMES], points[:FRAMES], np.eye(4)),
        _window(THERE, poses[FRAMES:], lens[FRAMES:], points[FRAMES:], second_from_world),
    )
    grey = np.stack([cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in clip.images[0].numpy()])
    return grey, windows, np.linalg.inv(second_from_world)


def _similarity(rng: np.random.Generator) -> np.ndarray:
    change = np.concatenate([0.3 * rng.normal(size=3), rng.normal(size=3), [0.4 * rng.normal()]])
    return exp_sim3(change)


def _window(frames, poses, lens, points, own_from_world) -> WindowMaps:
    scale = np.cbrt(np.linalg.det(own_from_world[:3, :3]))
    cameras = own_from_world @ poses
    cameras[:, :3, :3] /= scale
    known = np.isfinite(points).all(-1)
    moved = np.nan_to_num(points) @ own_from_world[:3, :3].T + own_from_world[:3, 3]
    return WindowMaps(
        frames=tuple(frames),
        world_from_camera=cameras,
        map_intrinsics=lens,
        points=moved.astype(np.float32),
        confidence=known.astype(np.float32),
    )


def _off(closure: Closure, windows, truth) -> tuple[float, float, float]:
    """Degrees, way as a share of the distance, and logarithm of scale between the two frames."""
    first, second = windows[0].world_from_camera[1], windows[1].world_from_camera[1]
    found, true = (
        np.linalg.inv(first) @ each @ second for each in (closure.first_from_second, truth)
    )
    scales = [np.cbrt(np.linalg.det(each[:3, :3])) for each in (found, true)]
    distance = np.median(np.linalg.norm(windows[0].points[1], axis=-1))
    way = np.linalg.norm(found[:3, 3] - true[:3, 3]) / distance
    turn = angle_deg(found[:3, :3] / scales[0], true[:3, :3] / scales[1])
    return float(turn), float(way), float(np.log(scales[0] / scales[1]))


def _closed(grey, windows) -> Closure:
    return close(
        CANDIDATE, WINDOWS, picture_of=lambda frame: grey[frame], maps_of=lambda i: windows[i]
    )


@pytest.mark.parametrize("seed", [102, 105, 107])
def test_a_place_seen_again_closes_the_loop(seed):
    grey, windows, truth = revisited(seed)
    closure = _closed(grey, windows)
    assert closure.refused is None
    turn, way, scale = _off(closure, windows, truth)
    assert turn < 0.3 and way < 0.006 and abs(scale) < 0.03
    assert closure.pairs >= 3 and closure.explained > 0.7 and closure.alike > 0.6
    assert np.linalg.eigvalsh(closure.information).min() > 0


def test_another_place_is_refused():
    grey, windows, _ = revisited(102)
    other, others, _ = revisited(105)
    mixed = np.concatenate([grey[:FRAMES], other[FRAMES:]])
    closure = _closed(mixed, (windows[0], others[1]))
    assert closure.refused is not None and "match" in closure.refused
    assert not closure.information.any()


def test_one_poster_in_two_places_is_refused():
    """It matches perfectly, and stands in a third of the picture; the rest differs."""
    grey, windows, _ = revisited(102)
    other, others, _ = revisited(105)
    noise = np.random.default_rng(0).integers(0, 255, (36, 48)).astype(np.uint8)
    poster = cv2.resize(noise, (150, 112), interpolation=cv2.INTER_CUBIC)
    mixed = np.concatenate([grey[:FRAMES], other[FRAMES:]]).copy()
    mixed[:FRAMES, 30:142, 40:190] = poster
    mixed[FRAMES:, 40:152, 60:210] = poster
    closure = _closed(mixed, (windows[0], others[1]))
    assert closure.matches > 50
    assert closure.refused is not None
    # The last check alone would have seen it.
    assert closure.alike < closures._LEAST_ALIKE


def test_maps_that_contradict_each_other_are_refused():
    grey, windows, _ = revisited(102)
    rng = np.random.default_rng(1)
    ratio = np.exp(rng.normal(size=(FRAMES, 12, 16))).astype(np.float32)
    smooth = np.stack([cv2.resize(each, HW[::-1]) for each in ratio])
    second = windows[1]
    camera = second.world_from_camera[:, None, None, :3, 3].astype(np.float32)
    bent = camera + (second.points - camera) * smooth[..., None]
    closure = _closed(grey, (windows[0], replace(second, points=bent)))
    assert closure.refused is not None


def _things(rng, *, matches=120, apart=0.3):
    """Things and the similarity that they follow exactly."""
    truth = _similarity(rng)
    scale = np.cbrt(np.linalg.det(truth[:3, :3]))
    second_points = rng.uniform([-2, -1.5, 3], [2, 1.5, 8], size=(matches, 3))
    second_camera = exp_sim3(np.concatenate([0.1 * rng.normal(size=6), [0]]))
    step = np.concatenate([0.1 * rng.normal(size=3), apart * rng.normal(size=3), [0]])
    first_camera = truth @ second_camera @ exp_sim3(step)
    first_camera[:3, :3] /= scale
    first_points = second_points @ truth[:3, :3].T + truth[:3, 3]
    lens = np.array([[250.0, 0, 128], [0, 255, 96], [0, 0, 1]])

    def seen(points, camera):
        inside = (points - camera[:3, 3]) @ camera[:3, :3]
        image = inside @ lens.T
        return image[:, :2] / image[:, 2:]

    window = WindowMaps(
        frames=(0,),
        world_from_camera=np.eye(4)[None],
        map_intrinsics=lens[None],
        points=np.zeros((1, *HW, 3), dtype=np.float32),
        confidence=np.ones((1, *HW), dtype=np.float32),
    )
    empty = things_of(window, window, [(0, 0, np.zeros((0, 2)), np.zeros((0, 2)))])
    return truth, replace(
        empty,
        first_px=seen(first_points, first_camera),
        second_px=seen(second_points, second_camera),
        first_points=first_points,
        second_points=second_points,
        first_camera=np.tile(first_camera, (matches, 1, 1)),
        second_camera=np.tile(second_camera, (matches, 1, 1)),
        first_lens=np.tile(lens, (matches, 1, 1)),
        second_lens=np.tile(lens, (matches, 1, 1)),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("apart", [0.0, 0.4])
def test_exact_matches_give_the_similarity_also_where_cameras_only_turned(seed, apart):
    truth, things = _things(np.random.default_rng(seed), apart=apart)
    np.testing.assert_allclose(fit_closure(things).first_from_second, truth, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_a_third_of_wrong_matches_and_noise_leave_the_answer_within_its_sigmas(seed):
    rng = np.random.default_rng(seed)
    truth, things = _things(rng)
    first_px = things.first_px + 0.5 * rng.normal(size=things.first_px.shape)
    first_px[::3] = rng.uniform(0, [256, 192], size=first_px[::3].shape)
    away = things.second_points - things.second_camera[:, :3, 3]
    noisy = away * np.exp(0.03 * rng.normal(size=(len(away), 1)))
    second_points = things.second_camera[:, :3, 3] + noisy
    fit = fit_closure(replace(things, first_px=first_px, second_points=second_points))
    off = np.linalg.inv(truth) @ fit.first_from_second
    scale = np.cbrt(np.linalg.det(off[:3, :3]))
    turn = cv2.Rodrigues(off[:3, :3] / scale)[0].ravel()
    error = np.concatenate([turn, off[:3, 3], [np.log(scale)]])
    assert error @ fit.information @ error < 20.0
    assert 0.55 < (fit.missed_px < 3).mean() < 0.75


def test_units_of_the_second_world_change_nothing_but_the_scale():
    _, things = _things(np.random.default_rng(7))
    rng = np.random.default_rng(8)
    things = replace(things, first_px=things.first_px + rng.normal(size=things.first_px.shape))
    fit = fit_closure(things)
    camera = things.second_camera.copy()
    camera[:, :3, 3] *= 10
    larger = fit_closure(
        replace(things, second_camera=camera, second_points=10 * things.second_points)
    )
    scaled = fit.first_from_second @ np.diag([0.1, 0.1, 0.1, 1.0])
    np.testing.assert_allclose(larger.first_from_second, scaled, atol=1e-4)
    unit = np.array([1, 1, 1, 0.1, 0.1, 0.1, 1])
    expected = fit.information * unit * unit[:, None]
    np.testing.assert_allclose(
        larger.information, expected, rtol=0.02, atol=0.02 * np.abs(expected).max()
    )


def test_matches_at_edges_of_depth_have_no_sure_place():
    depth = np.full((24, 32), 2.0, dtype=np.float32)
    depth[:, 16:] = 4.0
    x, y = np.meshgrid(np.arange(32) + 0.5, np.arange(24) + 0.5)
    lens = np.array([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]])
    points = np.stack([(x - 16) / 30 * depth, (y - 12) / 30 * depth, depth], -1)[None]
    window = WindowMaps(
        frames=(3,),
        world_from_camera=np.eye(4)[None],
        map_intrinsics=lens[None],
        points=points.astype(np.float32),
        confidence=np.ones((1, 24, 32), dtype=np.float32),
    )
    places = np.array([[5.2, 7.9], [16.1, 9.0], [25.7, 3.3]])
    things = things_of(window, window, [(3, 3, places, places)])
    wanted = [[(5.2 - 16) / 15, (7.9 - 12) / 15, 2], [(25.7 - 16) / 7.5, (3.3 - 12) / 7.5, 4]]
    np.testing.assert_allclose(things.first_points, wanted, atol=1e-5)
    np.testing.assert_allclose(things.first_px, places[[0, 2]])


def _candidate(first_window, second_window, alike):
    return Candidate(
        first=10 * first_window,
        second=10 * second_window,
        first_window=first_window,
        second_window=second_window,
        alike=alike,
    )


def _unasked(_index):
    raise AssertionError("nothing is to be asked")


def _search(monkeypatch, pairs, wrong=()):
    """What is tried of candidates, if those of some first windows are refused."""

    def closed(candidate, windows, *, picture_of, maps_of):
        refused = "wrong" if candidate.first_window in wrong else None
        return Closure(
            candidate=candidate,
            first_from_second=np.eye(4),
            information=np.eye(7),
            refused=refused,
        )

    monkeypatch.setattr(closures, "close", closed)
    candidates = [_candidate(*pair, 1.0 - 0.01 * i) for i, pair in enumerate(pairs)]
    windows = [Window(frames=(10 * i,)) for i in range(40)]
    found = find_closures(candidates, windows, picture_of=_unasked, maps_of=_unasked)
    return [(each.candidate.first_window, each.candidate.second_window) for each in found]


def test_windows_beside_those_joined_or_refused_twice_are_not_tried(monkeypatch):
    pairs = [(0, 20), (1, 21), (0, 30), (0, 10), (5, 15), (6, 15), (5, 16), (5, 25)]
    tried = _search(monkeypatch, pairs, wrong=(5, 6))
    assert tried == [(0, 20), (0, 30), (5, 15), (6, 15), (5, 25)]


def test_one_loop_is_closed_for_four_windows(monkeypatch):
    pairs = [(first, second) for first in range(0, 20, 2) for second in range(20, 40, 2)]
    assert len(_search(monkeypatch, pairs)) == 10
    assert len(_search(monkeypatch, pairs, wrong=range(40))) <= 40
