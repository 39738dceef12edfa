"""Registration of two windows whose errors are known, against the exact similarity."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from dynapoint.geometry.sim3 import exp_sim3, invert_similarity, log_sim3
from dynapoint.geometry.similarity import fit_similarity_robustly
from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene
from dynapoint.windows.registration import CommonTime, Registration, register
from dynapoint.windows.window_maps import WindowMaps
from two_windows import HW, Errors, MadeClip, made_clip, pinhole_rays, two_windows

OURS = Errors(depth=0.035, frame_scale=0.02, turn=0.003, shift=0.006)


def off(found: Registration, wanted: np.ndarray) -> np.ndarray:
    """The right perturbation from what was found to the truth."""
    return log_sim3(invert_similarity(found.first_from_second) @ wanted)


def changed(window: WindowMaps, frames: slice, **what: float) -> WindowMaps:
    """A window with other points or confidences in some frames."""
    arrays = {name: getattr(window, name).copy() for name in what}
    for name, values in what.items():
        arrays[name][frames] = values
    return replace(window, **arrays)


@pytest.mark.parametrize("seed", range(6))
def test_exact_maps_give_the_exact_similarity(seed):
    rng = np.random.default_rng(seed)
    units = tuple(10 ** rng.uniform(-2, 3, size=2))
    first, second, wanted = two_windows(rng, units=units)
    # The second world stands anywhere.
    elsewhere = exp_sim3(rng.normal(size=7) * [2, 2, 2, *[units[1]] * 3, 0])
    elsewhere[:3, 3] *= 5
    points = second.points @ elsewhere[:3, :3].T + elsewhere[:3, 3]
    second = replace(
        second,
        points=points.astype(np.float32),
        world_from_camera=elsewhere @ second.world_from_camera,
    )
    found = register(first, second)
    # Only points' last digits in float32 are lost.
    error = off(found, wanted @ invert_similarity(elsewhere)) / [1, 1, 1, *[units[1]] * 3, 1]
    assert np.abs(error).max() < 2e-6
    assert found.doubt is None
    assert found.frames == (4, 5, 6, 7)
    assert found.explained > 0.99
    assert found.residual_deg < 1e-3 and found.residual_log_depth < 1e-5


def spoiled(rng: np.random.Generator, window: WindowMaps) -> WindowMaps:
    """Half of the pixels are wrong: a part goes another way, and beyond it there is garbage."""
    points = window.points.copy()
    half = HW[1] // 4
    points[:, :, :half] += np.array([0.6, -0.3, 0.5], np.float32) * np.median(np.abs(points))
    far = points[:, :, half : 2 * half]
    far *= rng.uniform(3, 30, size=(*far.shape[:3], 1)).astype(np.float32)
    return replace(window, points=points)


@pytest.mark.parametrize("seed", range(4))
def test_half_of_the_pixels_may_be_wrong(seed):
    rng = np.random.default_rng(seed)
    first, second, wanted = two_windows(rng)
    found = register(first, spoiled(rng, second))
    assert np.abs(off(found, wanted)).max() < 1e-4
    assert 0.4 < found.explained < 0.6


@pytest.mark.parametrize("seed", range(3))
def test_cameras_may_all_be_wrong(seed):
    """Then points decide, from any pose."""
    rng = np.random.default_rng(seed)
    first, second, wanted = two_windows(rng)
    cameras = second.world_from_camera @ exp_sim3(rng.normal(size=(8, 7)) * [1, 1, 1, 0, 0, 0, 0])
    found = register(first, replace(second, world_from_camera=cameras))
    assert np.abs(off(found, wanted)).max() < 2e-3


def test_moving_pixels_register_windows_by_themselves():
    """Nothing stands still: what all pixels show jumps between frames, in both windows alike."""
    rng = np.random.default_rng(5)
    first, second, wanted = two_windows(rng)
    jumps = rng.normal(size=(12, *HW, 1)) * 0.3
    moved = []
    for window, from_first in ((first, np.eye(4)), (second, invert_similarity(wanted))):
        step = jumps[list(window.frames)] * (from_first[:3, :3] @ [0.5, 1.0, 0.3])
        moved.append(replace(window, points=(window.points + step).astype(np.float32)))
    found = register(*moved)
    assert np.abs(off(found, wanted)).max() < 1e-5
    assert found.explained > 0.99


def test_units_do_not_matter():
    rng = np.random.default_rng(6)
    first, second, _ = two_windows(rng, OURS)
    plain = register(first, second)
    cameras = second.world_from_camera.copy()
    cameras[:, :3, 3] *= 512
    other = register(first, replace(second, points=second.points * 512, world_from_camera=cameras))
    size = np.diag([512.0, 512, 512, 1])
    np.testing.assert_allclose(
        other.first_from_second @ size, plain.first_from_second, rtol=1e-6, atol=1e-8
    )
    units = np.array([1, 1, 1, 512, 512, 512, 1.0])
    np.testing.assert_allclose(
        other.information * units * units[:, None], plain.information, rtol=1e-4,
        atol=1e-6 * np.abs(plain.information).max(),
    )  # fmt: skip
    assert other.residual_deg == pytest.approx(plain.residual_deg, rel=1e-4)
    assert other.explained == pytest.approx(plain.explained, abs=1e-3)


def test_the_other_way_round_is_the_inverse():
    rng = np.random.default_rng(7)
    first, second, _ = two_windows(rng, OURS)
    there, back = register(first, second), register(second, first)
    around = log_sim3(there.first_from_second @ back.first_from_second)
    # Half a sigma at most: robust weights are not the same both ways.
    sigmas = np.sqrt(np.diag(np.linalg.inv(back.information)))
    assert (np.abs(around) < 0.5 * sigmas).all()


@pytest.mark.parametrize(
    "errors",
    [
        OURS,
        Errors(depth=0.02, cells=3, frame_scale=0.05, turn=0.006, shift=0.003),
        Errors(depth=0.05, cells=8, frame_scale=0.01, turn=0.002, shift=0.02),
    ],
)
def test_information_is_honest(errors):
    """Squared errors in sigmas are about as large as seven normal numbers have it."""
    rng = np.random.default_rng(8)
    squares, wrong, said = [], [], []
    for _ in range(16):
        first, second, wanted = two_windows(rng, errors, units=(3.0, 0.2))
        found = register(first, second)
        error = off(found, wanted)
        squares.append(error @ found.information @ error)
        wrong.append(error)
        said.append(np.diag(np.linalg.inv(found.information)))
    assert 0.5 < np.mean(squares) / 7 < 2
    assert np.mean(np.array(squares) < chi2.ppf(0.5, 7)) > 0.2
    ratio = np.mean(np.square(wrong), axis=0) / np.mean(said, axis=0)
    assert (ratio > 0.25).all() and (ratio < 4).all()


def test_errors_are_at_the_floor_of_frames():
    """Four frames whose cameras are off by σ in two windows allow no less than σ·√(2/4)."""
    rng = np.random.default_rng(9)
    errors = Errors(depth=0.03, turn=0.004, frame_scale=0.03)
    wrong = []
    for _ in range(16):
        first, second, wanted = two_windows(rng, errors)
        wrong.append(off(register(first, second), wanted))
    square = np.mean(np.square(wrong), axis=0)
    floor = np.sqrt(2 / 4)
    assert 0.75 * floor * 0.004 < np.sqrt(square[:3].mean()) < 1.25 * floor * 0.004
    # Smooth errors of a picture, of 5 x 7 cells, add to the frame's own.
    assert np.sqrt(square[6]) < 1.4 * floor * np.hypot(0.03, 0.03 / np.sqrt(8))


def test_errors_along_rays_do_not_turn_the_world():
    rng = np.random.default_rng(10)
    ours, procrustes = [], []
    for _ in range(6):
        first, second, wanted = two_windows(rng, Errors(depth=0.1, cells=3))
        ours.append(np.linalg.norm(off(register(first, second), wanted)[:3]))
        clouds = [w.points[w.local([4, 5, 6, 7])].reshape(1, -1, 3) for w in (second, first)]
        source, target = (torch.from_numpy(cloud) for cloud in clouds)
        matrix = fit_similarity_robustly(source, target, torch.ones(source.shape[:2])).numpy()[0]
        procrustes.append(np.linalg.norm(log_sim3(invert_similarity(matrix) @ wanted)[:3]))
    assert np.degrees(np.mean(ours)) < 0.05
    assert np.mean(procrustes) > 10 * np.mean(ours)


def test_confidence_decides_whom_to_believe():
    """Of two halves that contradict each other the surer one is right."""
    rng = np.random.default_rng(11)
    first, second, wanted = two_windows(rng)
    wrong = exp_sim3(np.array([0.1, -0.05, 0.1, 0.3, 0.2, -0.3, 0.1]))
    points, confidence = second.points.copy(), second.confidence.copy()
    half = HW[0] * 3 // 5
    points[:, :half] = points[:, :half] @ wrong[:3, :3].T + wrong[:3, 3]
    confidence[:, :half] *= 0.05
    cameras = second.world_from_camera @ exp_sim3(rng.normal(size=(8, 7)) * [1, 1, 1, 0, 0, 0, 0])
    second = replace(second, points=points, confidence=confidence, world_from_camera=cameras)
    assert np.abs(off(register(first, second), wanted)).max() < 3e-3


def test_points_that_are_not_numbers_are_left_out():
    rng = np.random.default_rng(12)
    first, second, wanted = two_windows(rng)
    second = changed(second, slice(0, 2), points=np.nan)
    assert np.abs(off(register(first, second), wanted)).max() < 1e-5


def at_common_time(rng: np.random.Generator) -> tuple[WindowMaps, WindowMaps, np.ndarray, list]:
    """Windows that know of one frame alone, and maps of it at the other three times."""
    first, second, wanted = two_windows(rng)
    ours, theirs = first.points[4], second.points[0]
    further = []
    for time in (5, 6, 7):
        step = np.array([0.2, -0.1, 0.1]) * (time - 4)
        back = np.linalg.inv(wanted[:3, :3]) @ step
        further.append(
            CommonTime(
                frame=4, time=time,
                first_points=(ours + step).astype(np.float32),
                second_points=(theirs + back).astype(np.float32),
                first_confidence=np.ones(HW, np.float32), second_confidence=np.ones(HW, np.float32),
            )
        )  # fmt: skip
    return first, changed(second, slice(0, 4), confidence=0.0), wanted, further


def test_maps_at_common_times_are_evidence():
    first, second, wanted, further = at_common_time(np.random.default_rng(13))
    found = register(first, second, further=further)
    assert np.abs(off(found, wanted)).max() < 1e-5
    assert found.pixels > 1000
    assert np.linalg.eigvalsh(found.information).min() > 0
    with pytest.raises(ValueError, match="frame 11 is not in both windows"):
        register(first, second, further=[replace(further[0], frame=11)])


def test_maps_of_different_sizes_are_refused():
    rng = np.random.default_rng(14)
    first, second, _ = two_windows(rng)
    smaller = replace(second, points=second.points[:, ::2], confidence=second.confidence[:, ::2])
    with pytest.raises(ValueError, match="64x36 and 64x18"):
        register(first, smaller)


def test_no_shared_frame_is_said():
    rng = np.random.default_rng(15)
    clip = made_clip(rng)
    first, _ = clip.window(rng, range(4))
    second, _ = clip.window(rng, range(6, 9))
    found = register(first, second)
    assert found.doubt is not None and "share no frame" in found.doubt
    assert (found.information == 0).all() and found.pixels == 0 and found.frames == ()


@pytest.mark.parametrize("count", [0, 2, 50])
def test_few_sure_pixels_are_said(count):
    """Then cameras decide, of which frames' errors are not known to be small."""
    rng = np.random.default_rng(16)
    first, second, wanted = two_windows(rng)
    whole = register(first, second)
    confidence = np.zeros_like(first.confidence)
    confidence[5].reshape(-1)[rng.permutation(HW[0] * HW[1])[:count]] = 1
    found = register(replace(first, confidence=confidence), second)
    assert found.doubt is not None and f"only {count} pixels" in found.doubt
    assert np.abs(off(found, wanted)).max() < 1e-5
    assert np.trace(found.information) < 0.2 * np.trace(whole.information)


def flat_clip(rng: np.random.Generator, normal: np.ndarray) -> MadeClip:
    """A wall, normal @ point = 4."""
    clip = made_clip(rng)
    rays = np.einsum("fij,hwj->fhwi", clip.world_from_camera[:, :3, :3], clip.rays)
    ahead = 4 - clip.world_from_camera[:, :3, 3] @ normal
    depth = ahead[:, None, None] / (rays @ normal)
    assert (depth > 0).all()
    return replace(clip, depth=depth)


@pytest.mark.parametrize("errors", [Errors(), OURS])
@pytest.mark.parametrize("normal", [[0.0, 0.0, 1.0], [0.3, 0.5, 1.0]])
def test_planes_are_said(errors, normal):
    rng = np.random.default_rng(17)
    clip = flat_clip(rng, np.array(normal))
    first, second, wanted = two_windows(rng, errors, clip=clip)
    found = register(first, second)
    assert found.doubt is not None and "is flat" in found.doubt
    error = off(found, wanted)
    assert error @ found.information @ error < chi2.ppf(0.9999, 7)


def test_windows_that_contradict_each_other_are_said():
    rng = np.random.default_rng(18)
    first, second, _ = two_windows(rng)
    usual = register(first, second)
    other = made_clip(np.random.default_rng(99))
    second, _ = other.window(rng, range(4, 12))
    second = replace(second, points=rng.permuted(second.points, axis=1))
    found = register(first, second)
    assert found.doubt is not None and "contradict" in found.doubt and "degrees" in found.doubt
    assert found.explained < 0.3
    assert np.trace(found.information) < 0.02 * np.trace(usual.information)


def test_ordinary_errors_are_not_doubted():
    rng = np.random.default_rng(19)
    for _ in range(5):
        first, second, _ = two_windows(rng, OURS)
        assert register(first, second).doubt is None


@pytest.mark.parametrize("seed", [4, 6, 7, 8])
def test_rendered_clips_in_two_windows(seed):
    """Sixteen frames of scenes with movers (half of the picture in 4 and 6), six of them shared."""
    config = SceneConfig(frames=16, difficulty=1.0, still_camera=0.0)
    clip = render_clips([random_scene(seed, config, aspect=4 / 3)], image_hw=(54, 72), seed=0)
    depth = clip.depth(torch.arange(16)[None])[0].double().numpy()
    sky = np.isnan(depth)
    made = MadeClip(
        clip.world_from_camera[0].double().numpy(),
        np.where(sky, 1e3, depth),
        pinhole_rays((54, 72), clip.intrinsics[0, 0].double().numpy()),
        clip.intrinsics[0, 0].double().numpy(),
    )
    rng = np.random.default_rng(seed)
    windows, worlds = [], []
    for frames, unit in ((range(11), 2.0), (range(5, 16), 0.3)):
        maps, from_clip = made.window(rng, frames, OURS, unit=unit)
        windows.append(replace(maps, confidence=maps.confidence * ~sky[list(frames)]))
        worlds.append(from_clip)
    found = register(*windows)
    error = off(found, worlds[0] @ invert_similarity(worlds[1]))
    assert found.doubt is None and len(found.frames) == 6
    assert np.degrees(np.linalg.norm(error[:3])) < 0.4
    assert np.linalg.norm(error[3:6]) < 0.02 * 0.3 * np.median(depth[~sky])
    assert abs(error[6]) < 0.04
    assert error @ found.information @ error < chi2.ppf(0.9999, 7)
