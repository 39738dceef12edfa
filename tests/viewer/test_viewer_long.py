"""Long scenes in the viewer: every frame can be had, what is worked out of all is thinned."""

import io

import numpy as np
import pytest
from test_viewer import WHOLE, own_cloud, parts, places, quiet

from dynapoint.errors import InputError
from dynapoint.results.subscene import subscene
from dynapoint.results.thinning import MOST_SHOWN, even_choice
from dynapoint.viewer.serving import Request
from dynapoint.viewer.shown import ShownScene
from dynapoint.viewer.site import Site
from dynapoint.windows.spans import Segment
from long_scenes import VELOCITY, long_scene

FRAMES = 400
SEGMENTS = (
    Segment(start=0, stop=60),
    Segment(start=60, stop=62, kind="frozen", begins_with="frozen"),
    Segment(start=62, stop=400, begins_with="cut"),
)


def ask(site, *path):
    path = ("scene", *path)
    return site.answer(Request(method="GET", path=path, query={}, body=io.BytesIO(), length=0))


@pytest.fixture
def shown():
    return ShownScene(long_scene(FRAMES))


def test_every_frame_has_its_cloud_and_picture_and_none_holds_the_others(shown):
    for frame in (0, 201, FRAMES - 1):
        facts, points, certainty, motion = own_cloud(shown, frame)
        error = np.abs(points - shown.rec.own_time_points[frame].reshape(-1, 3))
        assert (error <= np.array(facts["size"]) / 65535 * 0.51 + 1e-6).all()
        assert certainty.min() > 0 and not (motion & 254).any()
        assert shown.picture(frame)
    assert shown.rec.frames.drawn == [0, 201, FRAMES - 1] and not shown.rec.decoder.asked
    assert len(shown.page_facts["cameras"]) == FRAMES


def test_motion_is_worked_out_frame_by_frame_and_few_are_kept(shown):
    shown.find_motion(quiet)
    assert {frame for frame, _ in shown.rec.decoder.asked} == {0}
    _, _, _, motion = own_cloud(shown, 250, motion=True)
    box = shown.rec.decoder.moving.reshape(-1)
    assert motion[box].min() > 200 and motion[~box].max() < 60
    asked = len(shown.rec.decoder.asked)
    own_cloud(shown, 250, motion=True)
    assert len(shown.rec.decoder.asked) == asked
    for frame in range(100):
        own_cloud(shown, frame, motion=True)
    assert len(shown._motion_of_frame) == 64


def test_what_is_fused_moves_at_the_nearest_of_an_even_choice_of_times(shown):
    facts, _ = parts(shown.fuse(quiet))
    count = facts["movers"]
    fused = even_choice(FRAMES)
    assert count > 5 and shown.page_facts["fusedTimes"] == MOST_SHOWN == len(fused)
    where = {}
    for time in (0, 5, 200, 399):
        _, content = parts(shown.path(time))
        where[time] = places(facts, content, count)[0]
    for time, found in where.items():
        nearest = min(fused, key=lambda frame: abs(frame - time))
        moved = (found - where[0])[np.linalg.norm(found - where[0], axis=1) > 1e-6]
        if nearest:
            wanted = np.broadcast_to(VELOCITY * nearest, moved.shape)
            np.testing.assert_allclose(moved, wanted, atol=2e-3)
    asked = {time for _, time in shown.rec.decoder.asked}
    assert asked <= set(fused)


@pytest.mark.parametrize(("frame", "first"), [(0, 0), (30, 0), (200, 140), (399, 280)])
def test_tracks_are_followed_at_the_times_about_their_frame(shown, frame, first):
    facts, content = parts(shown.tracks(frame, WHOLE))
    assert (facts["first"], facts["steps"]) == (first, MOST_SHOWN)
    count = facts["count"]
    points = np.frombuffer(content, "<f4", 3 * count * MOST_SHOWN).reshape(MOST_SHOWN, count, 3)
    maps = shown.rec.own_time_points[frame].reshape(-1, 3)
    np.testing.assert_array_equal(points[frame - first], maps)
    colours = np.frombuffer(content, np.uint8, 4 * count, 12 * count * MOST_SHOWN)
    motion, box = colours[3 * count :], shown.rec.decoder.moving.reshape(-1)
    assert motion[box].min() > 200 and motion[~box].max() < 60
    assert {time for _, time in shown.rec.decoder.asked} <= set(range(first, first + MOST_SHOWN))


def test_short_scenes_are_followed_and_fused_at_all_times():
    short = ShownScene(subscene(long_scene(30), range(30)))
    facts, _ = parts(short.tracks(10, WHOLE))
    assert (facts["first"], facts["steps"]) == (0, 30)
    assert short.page_facts["fusedTimes"] == 30


def test_every_world_has_a_page_of_its_own_and_the_longest_comes_first():
    site = Site(long_scene(FRAMES, SEGMENTS))
    try:
        pages = {key: ask(site, key).content.decode() for key in ("1", "1-0", "1-1")}
        assert all(text.count('"current":true') == 1 for text in pages.values())
        assert '"sourceFrames":[62,63' in pages["1"] and '"sourceFrames":[0,1' in pages["1-0"]
        assert '"href":"/scene/1-1/","shows":false' in pages["1"]
        with pytest.raises(InputError, match="0 to 59"):
            ask(site, "1-0", "cloud", "60")
        assert ask(site, "1-2").status == 302
    finally:
        site.close()


def test_a_download_is_of_the_world_that_is_shown(tmp_path):
    rec = long_scene(FRAMES, SEGMENTS)
    for number, count in ((0, 60), (2, 338)):
        (tmp_path / str(number)).mkdir()
        path = ShownScene(rec, number).write("tum", tmp_path / str(number))
        assert len(np.loadtxt(path)) == count
