"""A part of a scene gives the answers of the whole, and copies neither maps nor pictures."""

from dataclasses import replace

import numpy as np
import pytest

import dynapoint
from dynapoint.errors import InputError
from dynapoint.geometry.arrays import points_in_camera
from dynapoint.results.on_disk.saving import save
from dynapoint.results.subscene import main_segment, subscene
from dynapoint.windows.joining import Joining
from dynapoint.windows.spans import Segment
from exported_scenes import scene
from long_scenes import long_scene

TWO = (
    Segment(start=0, stop=20),
    Segment(start=20, stop=26, kind="black", begins_with="black"),
    Segment(start=26, stop=60, begins_with="cut"),
)


def same_answers(part, whole, numbers, exact=True):
    """Maps, queries and tracks of a part against those of the whole at the same times."""
    compare = np.testing.assert_array_equal if exact else close
    origin = whole.world_from_camera[numbers[0]]

    def placed(points):
        return points if exact else points_in_camera(points.astype(np.float64), origin)

    xy = np.array([[3.3, 4.4], [20.0, 15.0], [37.2, 26.8]])
    for frame, number in ((0, numbers[0]), (len(numbers) // 2, numbers[len(numbers) // 2])):
        for time, moment in enumerate(numbers):
            for found, wanted in zip(
                part.maps(frame=frame, time=time),
                whole.maps(frame=number, time=moment),
                strict=True,
            ):
                compare(found, placed(wanted) if found.ndim == 3 else wanted)
        found, wanted = part.query(frame=frame, xy=xy), whole.query(frame=number, xy=xy)
        compare(found.points, placed(wanted.points[numbers]))
        # In its own camera a point is in one place whatever the world.
        seen = part.query(frame=frame, xy=xy, time=1, camera=1).points
        wanted_seen = whole.query(frame=number, xy=xy, time=numbers[1], camera=numbers[1]).points
        compare(seen, wanted_seen)
        for name in ("visible", "confidence", "valid"):
            compare(getattr(found, name), getattr(wanted, name)[numbers])
        compare(part.depth_of(frame), whole.depth_of(number))


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("numbers", [range(0, 12), range(0, 40, 7), [0, 3, 4, 11, 30]])
def test_in_the_same_world_answers_are_those_of_the_whole_to_the_last_bit(numbers):
    whole = long_scene(60)
    same_answers(subscene(whole, numbers), whole, list(numbers))


@pytest.mark.parametrize("numbers", [range(9, 21), [5, 8, 30, 31]])
def test_in_another_world_answers_are_those_of_the_whole_turned(numbers):
    whole = long_scene(60)
    part = subscene(whole, numbers)
    assert np.array_equal(part.world_from_camera[0], np.eye(4))
    same_answers(part, whole, list(numbers), exact=False)


def test_a_part_of_a_part_is_a_part_of_the_whole():
    whole = long_scene(60)
    nested = subscene(subscene(whole, range(0, 60, 3)), [0, 4, 5, 11])
    same_answers(nested, whole, [0, 12, 15, 33])
    turned = subscene(subscene(whole, range(10, 50)), [7, 8, 20])
    same_answers(turned, whole, [17, 18, 30], exact=False)


def test_tracks_at_hand_stay_at_hand():
    fresh = long_scene(30)
    whole = replace(fresh, kept_tracks=fresh.tracks())
    part = subscene(whole, range(0, 30, 2))
    asked = len(whole.decoder.asked)
    np.testing.assert_array_equal(part.tracks().points, whole.kept_tracks.points[::2])
    assert len(whole.decoder.asked) == asked
    assert subscene(whole, range(1, 30)).kept_tracks is None


def test_nothing_is_copied_where_frames_are_evenly_apart_and_pictures_never():
    whole = long_scene(40)
    for numbers in (range(0, 20), range(0, 40, 4)):
        part = subscene(whole, numbers)
        assert np.shares_memory(part.own_time_points, whole.own_time_points)
        assert np.shares_memory(part.own_time_confidence, whole.own_time_confidence)
    part = subscene(whole, [2, 9])
    assert not whole.frames.drawn
    np.testing.assert_array_equal(part.frames.picture(1), whole.frames.picture(9))
    assert whole.frames.drawn == [9, 9]
    assert part.images.shape == (2, 30, 40, 3) and part.source_frame_index.tolist() == [2, 9]


def test_a_segment_is_a_scene_in_the_world_that_it_has():
    whole = long_scene(60, TWO)
    part = whole.segment(2)
    assert part.frame_count == 34 and not part.segments
    assert np.shares_memory(part.own_time_points, whole.own_time_points)
    same_answers(part, whole, list(range(26, 60)))
    assert whole.segment(0).frame_count == 20 and main_segment(whole) == 2
    for wrong in (-1, 3):
        with pytest.raises(InputError, match="has 3"):
            whole.segment(wrong)
    alone = long_scene(5)
    assert alone.segment(0) is alone


def test_a_part_of_several_segments_has_them_each_with_its_own_world():
    whole = long_scene(60, TWO)
    part = subscene(whole, [4, 5, 22, 30, 40, 41])
    assert [(s.start, s.stop, s.kind) for s in part.segments] == [
        (0, 2, "scene"),
        (2, 3, "black"),
        (3, 6, "scene"),
    ]
    for first in (0, 3):
        assert np.array_equal(part.world_from_camera[first], np.eye(4))
    close(part.depth_of(5), whole.depth_of(41))
    found = part.maps(frame=3, time=5)[0]
    wanted = points_in_camera(whole.maps(frame=30, time=41)[0], whole.world_from_camera[30])
    close(found, wanted)


def test_what_is_no_part_is_refused():
    whole = long_scene(10)
    for wrong in ([], [3, 2], [1, 1], [0, 10], [-1, 2]):
        with pytest.raises(InputError):
            subscene(whole, wrong)
    assert whole.span(2, 5).frame_count == 3
    for start, stop in ((5, 5), (0, 11), (7, 3)):
        with pytest.raises(InputError):
            whole.span(start, stop)


def test_a_span_of_a_stored_scene_is_saved_with_the_very_frames(tmp_path):
    fresh = scene(frames=5)
    save(fresh, tmp_path / "whole.4d")
    opened = replace(dynapoint.open(tmp_path / "whole.4d"), decoder=fresh.decoder)
    opened.span(1, 4).save(tmp_path / "part.4d")
    part = dynapoint.open(tmp_path / "part.4d")
    assert part.frame_count == 3
    for frame in range(3):
        original = tmp_path / f"whole.4d/frames/{frame + 1:06d}.jpg"
        copy = tmp_path / f"part.4d/frames/{frame:06d}.jpg"
        assert copy.read_bytes() == original.read_bytes()
    found = part.query(frame=0, xy=[[30.0, 20.0]], time=2, camera=2).points
    wanted = opened.query(frame=1, xy=[[30.0, 20.0]], time=3, camera=3).points
    close(found, wanted)


def test_a_part_of_a_scene_in_windows_sees_points_as_the_whole_does():
    """What is not sure is not seen there, which a part is to say too."""
    whole = replace(long_scene(60, TWO), joining=Joining(windows=3, window=24, overlap=8))
    part = subscene(whole, [0, 1, 5, 30])
    found = part.query(frame=0, xy=[[5.0, 5.0]])
    np.testing.assert_array_equal(
        found.visible, whole.query(frame=0, xy=[[5.0, 5.0]]).visible[[0, 1, 5, 30]]
    )
    assert found.visible[3, 0] == 0 and found.visible[0, 0] == 1
