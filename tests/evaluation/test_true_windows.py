"""True windows: exact without noise, and with noise as wrong as they say."""

import numpy as np
import pytest

from dynapoint.evaluation.true_windows import EXACT, TrueWindows, WindowNoise
from dynapoint.geometry.arrays import (
    pixel_centres,
    points_in_camera,
    project,
    rotation_angle_rad,
    transform_points,
)
from dynapoint.synthetic.long_clip import LongClip

SIZE = (36, 64)
FRAMES = (60, 66, 72, 78)


@pytest.fixture(scope="module")
def clip() -> LongClip:
    return LongClip(1, 400, image_hw=SIZE)


def depths(points: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    return np.stack([points_in_camera(p, c)[..., 2] for p, c in zip(points, cameras, strict=True)])


def test_without_noise_windows_are_the_truth(clip: LongClip) -> None:
    oracle = TrueWindows(clip, EXACT)
    units = set()
    for frames in (FRAMES, (5, 66, 300)):
        window = oracle.window(frames)
        world = oracle.world_from_window(frames)
        assert np.array_equal(window.world_from_camera[0], np.eye(4))
        truth = np.stack([clip.points(frame, frame) for frame in frames])
        np.testing.assert_allclose(transform_points(world, window.points), truth, atol=1e-5)
        scale = np.cbrt(np.linalg.det(world[:3, :3]))
        units.add(round(float(scale), 3))
        cameras = world @ window.world_from_camera
        cameras[:, :3, :3] /= scale
        np.testing.assert_allclose(cameras, clip.world_from_camera[list(frames)], atol=1e-9)
        moved = transform_points(world, oracle.decoded(frames, frames[0], frames[-1]))
        np.testing.assert_allclose(moved, clip.points(frames[0], frames[-1]), atol=1e-5)
    assert len(units) == 2


def test_noise_has_the_size_that_it_is_said_to_have(clip: LongClip) -> None:
    noise = WindowNoise(sigma=0.02, pixel=0.5, jitter=0.25, wrong=0.04)
    means, whites, turns, shifts, wrong, unsure = [], [], [], [], [], []
    for seed in range(12):
        oracle = TrueWindows(clip, noise, seed=seed)
        window = oracle.window(FRAMES)
        scale = np.cbrt(np.linalg.det(oracle.world_from_window(FRAMES)[:3, :3]))
        true = clip.world_from_camera[list(FRAMES)]
        real = depths(np.stack([clip.points(frame, frame) for frame in FRAMES]), true)
        error = np.log(depths(window.points, window.world_from_camera) * scale / real)
        off = np.abs(error) > 0.12
        wrong.append(off.mean())
        unsure.append((window.confidence[~off] < 1).mean())
        error[off] = np.nan
        # Neighbours have the same smooth error.
        whites.append(np.nanvar(np.diff(error, axis=2)) / 2)
        means.append(np.nanmean(error**2))
        relative = np.linalg.inv(true[0]) @ true
        turns.append(rotation_angle_rad(relative[1:, :3, :3], window.world_from_camera[1:, :3, :3]))
        gap = window.world_from_camera[1:, :3, 3] * scale - relative[1:, :3, 3]
        shifts.append(np.linalg.norm(gap, axis=-1) / np.median(real[1:], axis=(1, 2)))
    assert np.sqrt(np.mean(means)) == pytest.approx(0.02 * np.sqrt(1.25), rel=0.25)
    assert np.sqrt(np.mean(whites)) == pytest.approx(0.01, rel=0.1)
    for found in (turns, shifts):
        assert np.sqrt(np.mean(np.square(found)) / 3) == pytest.approx(0.005, rel=0.25)
    assert np.mean(wrong) == pytest.approx(0.04, abs=0.02)
    assert np.mean(unsure) == pytest.approx(0.04, abs=0.02)


def test_maps_and_cameras_fit_together(clip: LongClip) -> None:
    window = TrueWindows(clip, seed=3).window(FRAMES)
    for points, camera, matrix in zip(
        window.points, window.world_from_camera, window.map_intrinsics, strict=True
    ):
        xy = project(points_in_camera(points.astype(float), camera), matrix)
        np.testing.assert_allclose(xy, pixel_centres(SIZE), atol=5e-3)


def test_the_same_question_has_the_same_answer_and_windows_differ(clip: LongClip) -> None:
    oracle = TrueWindows(clip)
    first = oracle.window(FRAMES)
    other = oracle.window((66, 72, 90))
    again = TrueWindows(clip).window(FRAMES)
    assert np.array_equal(first.points, again.points)
    assert np.array_equal(first.confidence, again.confidence)
    seen = [
        depths(window.points[[k]], window.world_from_camera[[k]])[0]
        for window, k in ((first, 1), (other, 0))
    ]
    ratio = np.log(seen[0] / seen[1])
    assert np.std(ratio[np.abs(ratio - np.median(ratio)) < 0.1]) > 0.01


def test_the_decoder_leaves_still_points_and_moves_the_rest(clip: LongClip) -> None:
    oracle = TrueWindows(clip, WindowNoise(sigma=0.02, leak=0.1))
    frames = (40, 50, 60, 70)
    own, moved = (oracle.decoded(frames, 60, time) for time in (60, 40))
    window = oracle.window(frames)
    assert np.array_equal(own, window.points[2])
    world = oracle.world_from_window(frames)
    true = clip.points(60, 40) - clip.points(60, 60)
    error = np.linalg.norm((moved - own) @ world[:3, :3].T - true, axis=-1)
    depth = depths(clip.points(60, 60)[None], clip.world_from_camera[[60]])[0]
    moves = np.linalg.norm(true, axis=-1) > 0.2
    assert moves.any()
    assert np.median((error / depth)[~moves]) == pytest.approx(0.002 * 1.54, rel=0.2)
    assert 0.01 < np.median(error[moves] / np.linalg.norm(true, axis=-1)[moves]) < 0.06


def test_windows_across_a_cut_are_refused() -> None:
    oracle = TrueWindows(LongClip(1, 20, image_hw=SIZE, cuts=(10,)))
    with pytest.raises(ValueError, match="several scenes"):
        oracle.window((8, 12))
    with pytest.raises(ValueError, match="increasing"):
        oracle.window((3, 2))
    with pytest.raises(ValueError, match="does not hold"):
        oracle.decoded((2, 3), 2, 5)
