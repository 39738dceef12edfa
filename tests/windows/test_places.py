"""Where a clip looks as it did before: found there, nowhere else, in bounded memory."""

from functools import lru_cache

import cv2
import numpy as np
import pytest

from dynapoint.refinement.shared_features import features_in
from dynapoint.windows.closure_pairs import check_pair
from dynapoint.windows.places import Places, owner_of
from dynapoint.windows.spans import Window

HW = (96, 128)
COUNT = 41


def _texture(seed: int, hw: tuple[int, int], cell: int = 6) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (hw[0] // cell, hw[1] // cell))
    return cv2.resize(noise.astype(np.uint8), hw[::-1], interpolation=cv2.INTER_CUBIC)


@lru_cache
def _there_and_back() -> list[np.ndarray]:
    """A camera that moves along a wall and back, a little higher."""
    wall = _texture(0, (140, 700))
    half = COUNT // 2
    pictures = []
    for frame in range(COUNT):
        x = 25 * (half - abs(frame - half)) + (6 if frame > half else 0)
        y = 10 if frame <= half else 18
        pictures.append(wall[y : y + HW[0], x : x + HW[1]])
    return pictures


def _windows(size: int = 6, overlap: int = 2, segments: int = 1) -> list[Window]:
    starts = range(0, COUNT - overlap, size - overlap)
    return [
        Window(
            frames=tuple(range(start, min(start + size, COUNT))),
            segment=start * segments // COUNT,
        )
        for start in starts
    ]


def _looked(pictures, **options) -> Places:
    places = Places(**options)
    for frame, picture in enumerate(pictures):
        places.look(frame, picture)
    return places


def test_places_seen_again_come_first():
    windows = _windows()
    found = _looked(_there_and_back()).candidates(windows)
    assert len(found) >= 3
    for each in found[:3]:
        assert abs(each.first + each.second - (COUNT - 1)) <= 2
        assert each.first in windows[each.first_window].frames
        assert each.second in windows[each.second_window].frames
    assert all(each.second_window - each.first_window >= 3 for each in found)
    assert [each.alike for each in found] == sorted((each.alike for each in found), reverse=True)
    pairs = [(each.first_window, each.second_window) for each in found]
    assert len(set(pairs)) == len(pairs)


def test_nothing_is_found_where_nothing_is_seen_again_nor_across_segments():
    other = [_texture(100 + frame, HW) for frame in range(COUNT)]
    assert _looked(other).candidates(_windows()) == ()
    assert _looked([np.full(HW, 90, np.uint8)] * COUNT).candidates(_windows()) == ()
    halves = _windows(segments=2)
    for each in _looked(_there_and_back()).candidates(halves):
        assert halves[each.first_window].segment == halves[each.second_window].segment


def test_a_run_that_goes_on_finds_the_same():
    pictures, windows = _there_and_back(), _windows()
    unbroken = _looked(pictures)
    broken = _looked(pictures[:17])
    resumed = Places.of(broken.kept)
    for frame in range(17, COUNT):
        resumed.look(frame, pictures[frame])
    assert resumed.candidates(windows) == unbroken.candidates(windows)


@pytest.mark.parametrize("most", [5, 8])
def test_memory_is_bounded_and_what_is_kept_is_evenly_spaced(most):
    places = _looked(_there_and_back(), most=most)
    frames = sorted(places.kept)
    assert most // 2 <= len(frames) <= most
    assert len(set(np.diff(frames))) == 1 and frames[0] == 0
    assert max(each.nbytes for each in places.kept.values()) <= 128 * 128
    again = Places.of(places.kept, most=most)
    step = frames[1] - frames[0]
    again.look(frames[-1] + step - 1, np.zeros(HW, np.uint8))
    assert sorted(again.kept) == frames


def test_frames_belong_to_the_window_that_has_them_in_its_middle():
    windows = [Window(frames=tuple(range(0, 10))), Window(frames=tuple(range(6, 16)))]
    assert [owner_of(frame, windows) for frame in (0, 7, 8, 9, 15, 16)] == [0, 0, 1, 1, 1, -1]


def _checked(first: np.ndarray, second: np.ndarray):
    return check_pair(features_in(first), features_in(second), first.shape)


def test_pictures_of_a_camera_that_turned_agree_where_the_turn_puts_them():
    wall = _texture(3, (240, 320))
    lens = np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]])
    turn = lens @ cv2.Rodrigues(np.array([0.05, -0.1, 0.08]))[0] @ np.linalg.inv(lens)
    check = _checked(wall, cv2.warpPerspective(wall, turn, (320, 240)))
    assert check.refused is None and check.model == "homography" and check.inliers > 50
    # OpenCV's pictures count pixels from their centres.
    ahead = cv2.perspectiveTransform(check.first_px[:, None] - 0.5, turn)[:, 0] + 0.5
    assert np.median(np.linalg.norm(ahead - check.second_px, axis=1)) < 0.5


def test_other_pictures_and_a_small_part_alone_are_refused():
    one, other = _texture(4, (240, 320)), _texture(5, (240, 320))
    assert "features match" in str(_checked(one, other).refused)
    assert "features match" in str(_checked(one, np.zeros_like(one)).refused)
    other[80:150, 100:180] = one[80:150, 110:190]
    check = _checked(one, other)
    assert check.inliers >= 16 and "parts of the picture" in str(check.refused)


def test_what_is_laid_over_a_video_is_no_place():
    """Marks in the corners and edges of two different pictures."""
    one, other = _texture(6, (480, 640)), _texture(7, (480, 640))
    for row in (5, 215, 425):
        for column in (5, 295, 585):
            if (row, column) != (215, 295):
                mark = _texture(row + column, (48, 48), cell=6)
                one[row : row + 48, column : column + 48] = mark
                other[row : row + 48, column : column + 48] = mark
    check = _checked(one, other)
    assert check.inliers >= 16 and "laid over" in str(check.refused)


def test_tiles_that_repeat_tell_nothing():
    tile = _texture(8, (48, 48))
    tiles = np.tile(tile, (5, 7))
    assert _checked(tiles[:192, :256], tiles[24:216, 24:280]).refused is not None
