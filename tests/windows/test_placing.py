"""Where windows, frames and their points lie, against worlds that are known exactly."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dynapoint.windows.contradictions import (
    cameras_by,
    disagreement_deg,
    log_unit_of,
    overruled_windows,
)
from dynapoint.windows.placing import (
    Placements,
    camera_of,
    chained,
    depth_change,
    placed_points,
    with_gauge,
)
from dynapoint.windows.spans import Segment, Window, WindowSizes
from dynapoint.windows.wide import wide_windows
from dynapoint.windows.window_maps import WindowMaps

LENS = np.array([[30.0, 0, 16], [0, 30.0, 12], [0, 0, 1]])
HW = (24, 32)


def pose(rng: np.random.Generator, *, turn: float = 0.5, way: float = 1.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(rng.normal(0, turn, 3)).as_matrix()
    matrix[:3, 3] = rng.normal(0, way, 3)
    return matrix


def similarity(rng: np.random.Generator) -> np.ndarray:
    matrix = pose(rng)
    matrix[:3, :3] *= rng.uniform(0.3, 3.0)
    return matrix


def path(rng: np.random.Generator, count: int) -> np.ndarray:
    """Cameras of which each is a small step from the one before."""
    poses = [np.eye(4)]
    for _ in range(count - 1):
        poses.append(poses[-1] @ pose(rng, turn=0.03, way=0.02))
    return np.stack(poses)


def rays() -> np.ndarray:
    rows, columns = np.mgrid[: HW[0], : HW[1]] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    return pixels @ np.linalg.inv(LENS).T


def window_maps(frames, world_from_camera, depth, scale=1.0) -> WindowMaps:
    """What a window says, without error, in its own world and unit."""
    own = np.linalg.inv(world_from_camera[frames[0]]) @ world_from_camera[list(frames)]
    own[:, :3, 3] *= scale
    inside = rays() * (scale * depth[list(frames)])[..., None]
    points = inside @ own[:, None, :3, :3].swapaxes(-1, -2) + own[:, None, None, :3, 3]
    return WindowMaps(
        frames=tuple(frames),
        world_from_camera=own,
        map_intrinsics=np.tile(LENS, (len(frames), 1, 1)),
        points=points.astype(np.float32),
        confidence=np.ones((len(frames), *HW), np.float32),
    )


def unit_of(plain, wide):
    return lambda index, by: log_unit_of(plain[index], wide[by])


def placed(windows, cameras, owner, change=None) -> Placements:
    return Placements(
        world_from_window=windows,
        world_from_camera=cameras,
        map_intrinsics=np.tile(LENS, (len(cameras), 1, 1)),
        owner=np.array(owner),
        log_depth_change=change,
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_camera_goes_with_the_similarity_of_its_window(seed):
    """Points of a camera go where the similarity takes them, but for the camera's own unit."""
    rng = np.random.default_rng(seed)
    matrix, camera = similarity(rng), pose(rng)
    found = camera_of(matrix, camera)
    scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
    points = np.concatenate([rng.normal(size=(10, 3)), np.ones((10, 1))], axis=1)
    scaled = points * [scale, scale, scale, 1]
    np.testing.assert_allclose(scaled @ found.T, points @ (matrix @ camera).T, atol=1e-9)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-12)


def test_windows_are_chained_within_segments():
    rng = np.random.default_rng(0)
    windows = [Window(frames=(k, k + 1), segment=k // 3) for k in range(6)]
    steps = [similarity(rng) for _ in range(5)]
    found = chained(windows, steps)
    np.testing.assert_array_equal(found[0], np.eye(4))
    np.testing.assert_array_equal(found[3], np.eye(4))
    np.testing.assert_allclose(found[2], steps[0] @ steps[1])
    np.testing.assert_allclose(found[5], steps[3] @ steps[4])


@pytest.mark.parametrize("seed", range(3))
def test_points_land_where_their_cameras_see_them(seed):
    """From a window's own world and unit, and with a change of depth, to the truth."""
    rng = np.random.default_rng(seed)
    truth = path(rng, 10)
    depth = rng.uniform(1, 5, (10, *HW))
    scale = rng.uniform(0.2, 4)
    maps = window_maps(range(3, 8), truth, depth, scale)
    back = truth[3].copy()
    back[:3, :3] /= scale
    change = rng.normal(0, 0.1, (10, 3, 4)).astype(np.float32)
    placements = placed(back[None], truth, [0] * 10, change)
    found = placed_points(maps, 5, placements, 0)
    deeper = depth[5] * depth_change(placements, 5, HW)
    wanted = (rays() * deeper[..., None]) @ truth[5][:3, :3].T + truth[5][:3, 3]
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_each_segments_world_is_its_first_camera():
    rng = np.random.default_rng(1)
    cameras = np.concatenate([pose(rng) @ path(rng, 5), pose(rng) @ path(rng, 4)])
    windows = np.stack([similarity(rng), similarity(rng)])
    owner = [0] * 5 + [1] * 4
    segments = [Segment(start=0, stop=5), Segment(start=5, stop=9)]
    moved, found = with_gauge(placed(windows, cameras, owner), segments)
    for segment, index in zip(segments, (0, 1), strict=True):
        start = segment.start
        np.testing.assert_array_equal(found[start], np.eye(4))
        back = np.linalg.inv(cameras[start])
        np.testing.assert_allclose(found[start + 3], back @ cameras[start + 3], atol=1e-12)
        np.testing.assert_allclose(moved[index], back @ windows[index], atol=1e-12)


def test_scaled_placements_are_those_of_a_larger_world():
    rng = np.random.default_rng(2)
    before = placed(similarity(rng)[None], path(rng, 4), [0] * 4)
    after = before.scaled(3.0, 3.0)
    np.testing.assert_allclose(
        after.world_from_camera[:, :3, 3], 3 * before.world_from_camera[:, :3, 3]
    )
    np.testing.assert_allclose(
        after.world_from_camera[:, :3, :3], before.world_from_camera[:, :3, :3]
    )
    np.testing.assert_allclose(after.world_from_window[:, :3], 3 * before.world_from_window[:, :3])


def test_every_segment_may_have_a_scale_of_its_own():
    rng = np.random.default_rng(3)
    windows = np.stack([similarity(rng) for _ in range(3)])
    before = placed(windows, path(rng, 4), [0, 0, 1, 1])
    after = before.scaled(np.array([2.0, 5.0, 2.0]), np.array([2.0, 2.0, 5.0, 5.0]))
    for window, factor in enumerate((2.0, 5.0, 2.0)):
        wanted = before.world_from_window[window] * np.array([factor] * 3 + [1.0])[:, None]
        np.testing.assert_allclose(after.world_from_window[window], wanted)
    for frame, factor in enumerate((2.0, 2.0, 5.0, 5.0)):
        wanted = before.world_from_camera[frame].copy()
        wanted[:3, 3] *= factor
        np.testing.assert_allclose(after.world_from_camera[frame], wanted)


def test_wide_windows_share_frames_with_all_ordinary_ones():
    sizes = WindowSizes(window=24, overlap=8)
    segments = [
        Segment(start=0, stop=200),
        Segment(start=200, stop=230),
        Segment(start=230, stop=400),
    ]
    windows = [
        Window(frames=tuple(range(start, min(start + 24, segment.stop))), segment=index)
        for index, segment in enumerate(segments)
        for start in range(segment.start, segment.stop - 8, 16)
    ]
    wide = wide_windows(segments, windows, sizes)
    assert all(each.wide for each in wide)
    # Two windows need no third.
    assert {each.segment for each in wide} == {0, 2}
    for index in (0, 2):
        mine = [each for each in wide if each.segment == index]
        for window in (each for each in windows if each.segment == index):
            shared = [len(set(each.frames) & set(window.frames)) for each in mine]
            assert max(shared) >= min(4, len(window.frames) // 4)
        for one, other in itertools.pairwise(mine):
            assert len(set(one.frames) & set(other.frames)) >= 12
        for each in mine:
            assert len(each.frames) <= 24
            assert segments[index].start <= each.start and each.stop <= segments[index].stop
    assert wide_windows(segments, windows, WindowSizes(window=4, overlap=3)) == ()


@pytest.mark.parametrize("seed", range(3))
def test_cameras_that_follow_a_mover_are_overruled(seed):
    """A window whose turns drift gets the true cameras of every fourth frame, in its own unit."""
    rng = np.random.default_rng(seed)
    truth, depth = path(rng, 60), rng.uniform(1, 5, (60, *HW))
    wide = [
        window_maps(range(0, 48, 4), truth, depth, 0.5),
        window_maps(range(12, 60, 4), truth, depth, 2.0),
    ]
    wrong = truth.copy()
    drift = Rotation.from_rotvec([0, np.radians(1.5), 0]).as_matrix()
    for frame in range(20, 40):
        step = np.linalg.inv(truth[frame - 1]) @ truth[frame]
        step[:3, :3] = step[:3, :3] @ drift
        wrong[frame] = wrong[frame - 1] @ step
    good = window_maps(range(0, 20), truth, depth, 3.0)
    bad = window_maps(range(18, 40), wrong, depth, 3.0)
    assert disagreement_deg(good, wide[0]) < 1e-3
    assert disagreement_deg(bad, wide[1]) > 2
    [found] = overruled_windows([good, bad], wide, unit_of([good, bad], wide))
    assert found.window == 1
    wanted = np.linalg.inv(truth[18]) @ truth[18:40]
    wanted[:, :3, 3] *= 3.0
    keyframes = [k for k in range(22) if (18 + k) % 4 == 0]
    first = wanted[keyframes[0]]
    relative = np.linalg.inv(found.world_from_camera[keyframes[0]]) @ found.world_from_camera
    np.testing.assert_allclose(
        relative[keyframes], np.linalg.inv(first) @ wanted[keyframes], atol=1e-4
    )
    # Between them what the window says is bent to fit: 1.5 degrees a frame become hardly any.
    between = (
        found.world_from_camera[:-1, :3, :3].swapaxes(1, 2) @ found.world_from_camera[1:, :3, :3]
    )
    true = wanted[:-1, :3, :3].swapaxes(1, 2) @ wanted[1:, :3, :3]
    inside = slice(keyframes[0], keyframes[-1])
    off = Rotation.from_matrix(between.swapaxes(1, 2) @ true).magnitude()[inside]
    assert np.degrees(off).max() < 0.4


def test_exact_cameras_stay(seed=0):
    rng = np.random.default_rng(seed)
    truth, depth = path(rng, 40), rng.uniform(1, 5, (40, *HW))
    maps, wide = (
        window_maps(range(5, 25), truth, depth, 2.0),
        window_maps(range(0, 40, 4), truth, depth),
    )
    np.testing.assert_allclose(
        cameras_by(maps, wide, log_unit_of(maps, wide)), maps.world_from_camera, atol=1e-5
    )


def test_wide_windows_that_contradict_each_other_overrule_nobody():
    rng = np.random.default_rng(4)
    truth, other = path(rng, 60), path(rng, 60)
    depth = rng.uniform(1, 5, (60, *HW))
    wide = [window_maps(range(0, 48, 4), truth, depth), window_maps(range(12, 60, 4), other, depth)]
    bad = window_maps(range(18, 40), path(rng, 60), depth)
    assert overruled_windows([bad], wide, unit_of([bad], wide)) == []
