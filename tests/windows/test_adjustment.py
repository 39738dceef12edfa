"""Adjustment over windows: exact maps stay exact, errors shrink, memory and time are bounded."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dynapoint.errors import ConfigError
from dynapoint.windows.adjustment import AdjustmentConfig, adjust_windows
from dynapoint.windows.grid_maps import gather
from dynapoint.windows.placing import Placements, placed_points
from dynapoint.windows.spans import Window
from exact_windows import WindowTruth, overlapping

NOISE = {"depth_noise": 0.02, "turn_noise_deg": 0.1, "shift_noise": 0.01}
CLOSURE = Window(frames=(*range(2, 10), *range(62, 70)), wide=True)


def errors(placements: Placements, truth: WindowTruth, step: int) -> tuple[float, float]:
    """Root mean square errors of the motion over some frames: place, and turn in degrees."""

    def motion(poses: np.ndarray) -> np.ndarray:
        return np.linalg.inv(poses[:-step]) @ poses[step:]

    off = np.linalg.inv(motion(truth.poses)) @ motion(placements.world_from_camera)
    turn = np.degrees(Rotation.from_matrix(off[:, :3, :3]).magnitude())
    return (
        float(np.sqrt((off[:, :3, 3] ** 2).sum(axis=1).mean())),
        float(np.sqrt((turn**2).mean())),
    )


def depth_error(placements: Placements, truth: WindowTruth, frames: range) -> float:
    """Root mean square of the logarithm of depth against the truth, of maps as they are placed."""
    squares = []
    for frame in frames:
        owner = int(placements.owner[frame])
        points = placed_points(truth.read(owner), frame, placements, owner)
        pose = placements.world_from_camera[frame]
        depth = ((points - pose[:3, 3]) @ pose[:3, :3])[..., 2]
        squares.append(np.log(depth / truth.depth(frame)) ** 2)
    return float(np.sqrt(np.mean(squares)))


def shaken(placements: Placements, by: float, seed: int = 0) -> Placements:
    """Cameras that are off, but for the first one's."""
    rng = np.random.default_rng(seed)
    poses = placements.world_from_camera.copy()
    count = len(poses) - 1
    turns = Rotation.from_rotvec(by * rng.normal(size=(count, 3))).as_matrix()
    poses[1:, :3, :3] = poses[1:, :3, :3] @ turns
    poses[1:, :3, 3] += by * rng.normal(size=(count, 3))
    return replace(placements, world_from_camera=poses)


@pytest.mark.parametrize("similarities", ["held", "free"])
@pytest.mark.parametrize("focal", ["fixed", "shared", "frame"])
def test_exact_maps_are_left_and_come_back_from_a_shaken_start(similarities, focal):
    windows = [*overlapping(72, 16, 8), CLOSURE]
    truth = WindowTruth(frames=72, windows=windows, round_trip=60)
    exact = truth.placements(truth.world_from_window())
    config = AdjustmentConfig(similarities=similarities, focal=focal, iterations=30)
    kept = adjust_windows(windows, truth.read, exact, config)
    assert kept.placements is exact and truth.read_order == list(range(len(windows)))
    [report] = kept.reports
    assert report.residual_before < 1e-6 and "agree within" in str(report.kept_start)
    start = shaken(exact, 0.02)
    adjusted = adjust_windows(windows, truth.read, start, config)
    [report] = adjusted.reports
    found = adjusted.placements
    assert report.kept_start is None
    assert report.residual_after < 1e-5 and report.residual_before > 0.01
    assert (np.diff(report.loss) < 0).all()
    assert np.abs(start.world_from_camera - truth.poses).max() > 0.05
    np.testing.assert_allclose(found.world_from_camera, truth.poses, atol=2e-5)
    np.testing.assert_allclose(found.world_from_window, truth.world_from_window(), atol=2e-5)
    np.testing.assert_allclose(found.map_intrinsics, exact.map_intrinsics, rtol=1e-5)
    assert np.abs(found.log_depth_change).max() < 1e-5
    assert np.array_equal(found.world_from_camera[0], np.eye(4))
    assert depth_error(found, truth, range(0, 72, 9)) < 1e-5


@pytest.mark.parametrize("seed", [0, 1])
def test_noise_is_averaged_where_windows_share_frames(seed):
    windows = overlapping(96, 16, 8)
    truth = WindowTruth(frames=96, windows=windows, seed=seed, **NOISE)
    start = truth.placements(truth.world_from_window())
    adjusted = adjust_windows(windows, truth.read, start)
    assert adjusted.reports[0].residual_after < 0.7 * adjusted.reports[0].residual_before
    for step in (1, 20):
        before, after = errors(start, truth, step), errors(adjusted.placements, truth, step)
        # Two findings of each frame: down to 0.71 of what one tells.
        assert 0.6 * before[0] < after[0] < 0.85 * before[0]
        assert 0.6 * before[1] < after[1] < 0.85 * before[1]
    frames = range(8, 88, 5)
    before, after = (depth_error(each, truth, frames) for each in (start, adjusted.placements))
    assert after < 0.85 * before
    again = adjust_windows(windows, truth.read, start)
    assert np.array_equal(again.placements.world_from_camera, adjusted.placements.world_from_camera)
    assert np.array_equal(again.placements.log_depth_change, adjusted.placements.log_depth_change)


def test_wrong_windows_are_corrected_if_similarities_are_free():
    windows = overlapping(64, 16, 8)
    truth = WindowTruth(frames=64, windows=windows, depth_noise=0.005)
    right = truth.world_from_window()
    wrong = right.copy()
    wrong[3, :3, :3] *= 1.05
    wrong[3, :3, 3] += 0.1
    start = truth.placements(wrong)
    config = AdjustmentConfig(similarities="free", iterations=30)
    found = adjust_windows(windows, truth.read, start, config).placements

    def off(matrices: np.ndarray) -> float:
        scales = np.cbrt(np.linalg.det(matrices[:, :3, :3]) / np.linalg.det(right[:, :3, :3]))
        return float(np.abs(np.log(scales)).max())

    assert off(wrong) > 0.04 and off(found.world_from_window) < 0.01
    assert errors(found, truth, 8)[0] < 0.3 * errors(start, truth, 8)[0]


@pytest.mark.parametrize("similarities", ["held", "free"])
def test_a_frozen_past_gives_what_the_whole_gives(similarities):
    windows = overlapping(112, 16, 8)
    truth = WindowTruth(frames=112, windows=windows, **NOISE)
    start = truth.placements(truth.world_from_window())
    config = AdjustmentConfig(similarities=similarities, iterations=40)
    whole = adjust_windows(windows, truth.read, start, config).placements
    truth.read_order.clear()
    free_from = 10
    last = adjust_windows(windows, truth.read, whole, config, free_from=free_from).placements
    assert truth.read_order == [9, 10, 11, 12]
    held = windows[free_from].start
    for new, old in (
        (last.world_from_camera[:held], whole.world_from_camera[:held]),
        (last.log_depth_change[:held], whole.log_depth_change[:held]),
        (last.world_from_window[:free_from], whole.world_from_window[:free_from]),
    ):
        assert np.array_equal(new, old)
    # The past as the whole has it: nothing changes. As it was at the start: hardly anything.
    np.testing.assert_allclose(last.world_from_camera, whole.world_from_camera, atol=2e-3)
    from_start = adjust_windows(windows, truth.read, start, config, free_from=free_from)
    moved = np.abs(from_start.placements.world_from_camera - whole.world_from_camera)[held:]
    assert moved.max() < (2e-3 if similarities == "held" else 0.1)


def test_segments_are_worlds_of_their_own_and_windows_can_be_left_out():
    first, second = overlapping(32, 16, 8), overlapping(40, 16, 8)
    moved = [
        Window(frames=tuple(frame + 32 for frame in window.frames), segment=1) for window in second
    ]
    lonely = Window(frames=tuple(range(72, 80)), segment=2)
    windows = [*first, *moved, lonely]
    truth = WindowTruth(frames=80, windows=windows, **NOISE)
    start = truth.placements(truth.world_from_window())
    result = adjust_windows(windows, truth.read, start)
    assert [report.segment for report in result.reports] == [0, 1]
    found = result.placements
    assert np.array_equal(found.world_from_camera[32], start.world_from_camera[32])
    assert np.array_equal(found.world_from_camera[72:], start.world_from_camera[72:])
    assert not np.array_equal(found.world_from_camera[40], start.world_from_camera[40])
    alone = adjust_windows(windows[: len(first)], truth.read, truth_part(start, 32, len(first)))
    np.testing.assert_array_equal(alone.placements.world_from_camera, found.world_from_camera[:32])
    truth.read_order.clear()
    without = adjust_windows(windows, truth.read, start, left_out=[1]).placements
    assert 1 not in truth.read_order
    only_there = [frame for frame in range(8, 24) if start.owner[frame] == 1]
    assert np.array_equal(
        without.world_from_camera[only_there], start.world_from_camera[only_there]
    )


def truth_part(start: Placements, frames: int, windows: int) -> Placements:
    return Placements(
        world_from_window=start.world_from_window[:windows],
        world_from_camera=start.world_from_camera[:frames],
        map_intrinsics=start.map_intrinsics[:frames],
        owner=start.owner[:frames],
    )


def test_what_cannot_be_adjusted_keeps_its_start_and_says_why():
    windows = overlapping(32, 16, 8)
    truth = WindowTruth(frames=32, windows=windows, **NOISE)
    start = truth.placements(truth.world_from_window())

    def blind(index):
        maps = truth.read(index)
        return replace(maps, confidence=np.zeros_like(maps.confidence))

    unsure = adjust_windows(windows, blind, start)
    assert unsure.placements is start and "no pixel" in str(unsure.reports[0].kept_start)
    hurried = adjust_windows(windows, truth.read, start, AdjustmentConfig(iterations=0))
    assert hurried.placements is start and "did not fall" in str(hurried.reports[0].kept_start)

    def contradicting(index):
        maps = truth.read(index)
        return replace(maps, points=maps.points * np.float32(40.0 if index == 1 else 1.0))

    torn = adjust_windows(windows, contradicting, start, AdjustmentConfig(rounding=1.0))
    assert torn.placements is start and "contradict" in str(torn.reports[0].kept_start)
    assert torn.reports[0].residual_after == torn.reports[0].residual_before > 0.5
    for wrong in ({"side": 0}, {"controls": (0, 4)}, {"rounding": -1.0}, {"along": 0.0}):
        with pytest.raises(ConfigError):
            AdjustmentConfig(**wrong)
    other = adjust_windows(windows, truth.read, start).placements
    with pytest.raises(ValueError, match="rows and columns"):
        adjust_windows(windows, truth.read, other, AdjustmentConfig(controls=(2, 2)))


def test_bad_pixels_do_no_harm():
    windows = overlapping(48, 16, 8)
    truth = WindowTruth(frames=48, windows=windows, **NOISE)
    start = truth.placements(truth.world_from_window())
    plain = adjust_windows(windows, truth.read, start).placements

    def spoiled(index):
        maps = truth.read(index)
        points, confidence = maps.points.copy(), maps.confidence.copy()
        points[:, :4] = np.nan
        points[:, 4, :12] *= -1
        confidence[:, 5] = 0.0
        points[::3, 6:, ::8] *= 3
        return replace(maps, points=points, confidence=confidence)

    found = adjust_windows(windows, spoiled, start).placements
    assert np.isfinite(found.world_from_camera).all()
    assert np.isfinite(found.log_depth_change).all()
    assert errors(found, truth, 1)[1] < 1.3 * errors(plain, truth, 1)[1]


def test_long_segments_have_coarser_grids_and_memory_stays_small():
    windows = overlapping(240, 16, 8)
    truth = WindowTruth(frames=240, windows=windows, map_hw=(30, 40), **NOISE)
    start = truth.placements(truth.world_from_window())
    chosen = list(enumerate(windows))
    fine, coarse = (
        gather(chosen, truth.read, range(240), start, side=20, pixels=pixels)
        for pixels in (10**6, 30_000)
    )
    assert fine.points.shape[2] == 15 * 20 and coarse.points.shape[2] * len(coarse.frame) <= 30_000
    tracemalloc.start()
    adjust_windows(windows, truth.read, start, AdjustmentConfig(pixels=30_000, iterations=3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
