"""What is said and drawn of scenes of many frames and several worlds."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from dynapoint.cli import scene as scene_command
from dynapoint.errors import InputError, SceneError
from dynapoint.results import check_stretches, checks, contact_sheet
from dynapoint.results.on_disk.saving import save
from dynapoint.results.subscene import subscene
from dynapoint.results.summary import segment_lines, summarize
from dynapoint.results.thinning import MOST_SHOWN
from dynapoint.windows.spans import Segment
from long_scenes import long_scene

SEGMENTS = (
    Segment(start=0, stop=95),
    Segment(start=95, stop=100, kind="black", begins_with="black"),
    Segment(start=100, stop=300, begins_with="cut"),
)


@pytest.fixture(scope="module")
def rec():
    return long_scene(300, SEGMENTS)


# --- words


def test_segments_are_listed_with_times_kinds_and_why_they_begin(rec):
    assert segment_lines(rec) == [
        "0: frames 0 to 94 (0.00 to 3.13 s), scene",
        "1: frames 95 to 99 (3.17 to 3.30 s), black, nothing to show, "
        "begins where black begins or ends",
        "2: frames 100 to 299 (3.33 to 9.97 s), scene, begins with a cut",
    ]
    assert "3 segments, each a world of its own: 2 scenes, 1 black" in repr(rec)
    assert segment_lines(long_scene(5)) == [] and "segment" not in repr(long_scene(5))


def test_no_step_leads_from_one_world_into_the_next():
    rec = long_scene(60, (Segment(start=0, stop=30), Segment(start=30, stop=60)))
    poses = rec.world_from_camera.copy()
    poses[30:, :3, 3] *= 100.0
    far = replace(rec, world_from_camera=poses)
    found, parts = summarize(far), [summarize(far.segment(k)) for k in (0, 1)]
    assert found.camera_path == pytest.approx(sum(part.camera_path for part in parts))
    assert found.largest_displacement == parts[1].largest_displacement
    assert found.largest_turn_deg == pytest.approx(max(part.largest_turn_deg for part in parts))


def test_info_prints_segments_below_the_frames(rec, tmp_path, monkeypatch, capsys):
    save(long_scene(3), tmp_path / "a.4d")
    opened = scene_command._facts(tmp_path / "a.4d")
    facts = {**opened, **asdict(summarize(rec)), "segment_lines": segment_lines(rec)}
    lines = scene_command._lines(facts)
    at = next(index for index, line in enumerate(lines) if line.startswith("frames: 300"))
    assert lines[at + 1] == "segment 0: frames 0 to 94 (0.00 to 3.13 s), scene"
    assert lines[at + 3].startswith("segment 2: ") and lines[at + 4].startswith("maps: ")
    plain = json.loads(json.dumps(facts))["segments"][1]
    assert plain == {"start": 95, "stop": 100, "kind": "black", "begins_with": "black"}


# --- the self-check


def test_short_scenes_are_checked_whole():
    rec = long_scene(MOST_SHOWN)
    assert not check_stretches.is_long(rec)
    assert rec.self_check().grade == checks._checked(rec).grade


@pytest.mark.parametrize("seed", range(6))
def test_stretches_are_neighbours_of_one_world_and_stand_for_all_frames_that_show(seed):
    random = np.random.default_rng(seed)
    cuts = [0, *sorted(random.choice(np.arange(1, 1000), 6, replace=False).tolist()), 1000]
    kinds = random.choice(["scene", "scene", "black", "frozen"], 7)
    kinds[seed % 7] = "scene"
    parts = tuple(
        Segment(start=a, stop=b, kind=kind)
        for a, b, kind in zip(cuts, cuts[1:], kinds.tolist(), strict=False)
    )
    stretches = check_stretches.stretches_of(long_scene(1000, parts, map_hw=(2, 2)))
    homes = [
        next(
            k for k, p in enumerate(parts) if p.start <= s.frames.start and s.frames.stop <= p.stop
        )
        for s in stretches
    ]
    assert set(homes) == {k for k, part in enumerate(parts) if part.kind == "scene"}
    assert all(len(s.frames) <= 24 for s in stretches) and len(stretches) <= 15
    for home in set(homes):
        stood_for = sum(s.weight for s, k in zip(stretches, homes, strict=True) if k == home)
        assert stood_for == pytest.approx(parts[home].count)


def test_signals_are_means_by_frames_and_frames_keep_their_numbers(rec):
    found, stretches = rec.self_check(), check_stretches.stretches_of(rec)
    each = [checks._checked(subscene(rec, stretch.frames)) for stretch in stretches]
    weights = [stretch.weight for stretch in stretches]
    for name in ("grade", "still_drift", "roughness", "cameras_grade"):
        values = np.array([getattr(check, name) for check in each], dtype=float)
        known = np.isfinite(values)
        if known.any():
            wanted = np.average(values[known], weights=np.array(weights)[known])
            assert getattr(found, name) == pytest.approx(wanted)
    assert found.camera_jump == max(check.camera_jump for check in each)
    looked_at = np.isfinite(found.frame_expected_error)
    assert looked_at.sum() == len({f for stretch in stretches for f in stretch.frames})
    assert not looked_at[95:100].any() and looked_at[0] and looked_at[299]
    lines = checks.check_lines(found)
    assert any(line.startswith(f"looked at {looked_at.sum()} of 300 frames") for line in lines)
    json.loads(checks.check_text(found))


def test_a_worse_world_lowers_the_grade_by_its_share():
    parts = (Segment(start=0, stop=100), Segment(start=100, stop=200))
    rec = long_scene(200, parts)
    noise = np.random.default_rng(0).normal(1.0, 0.08, rec.own_time_points.shape[:3])
    points, noise[:100] = rec.own_time_points.copy(), 1.0
    points *= noise[..., None]
    worse = replace(rec, own_time_points=points.astype(np.float32))
    good, bad = (worse.segment(k).self_check().grade for k in (0, 1))
    assert bad < good - 0.1
    assert worse.self_check().grade == pytest.approx((good + bad) / 2, abs=0.1)


def test_a_scene_in_which_nothing_shows_is_not_trusted():
    rec = long_scene(200, (Segment(start=0, stop=200, kind="black"),))
    assert rec.self_check().grade == 0.0


def test_without_a_network_and_without_a_stored_check_the_error_is_said(rec):
    class Gone:
        def decode(self, frames, time, *, keep=True):
            raise SceneError("no network")

    with pytest.raises(SceneError, match="no network"):
        replace(rec, decoder=Gone()).self_check()


# --- the contact sheet


def test_the_sheet_shows_the_longest_world_thinned_and_a_picture_of_each(rec, monkeypatch):
    words = []
    original = contact_sheet._text

    def noted(text, *others):
        words.append(text)
        return original(text, *others)

    monkeypatch.setattr(contact_sheet, "_text", noted)
    fresh = long_scene(300, SEGMENTS)
    sheet = contact_sheet.draw(fresh)
    assert "images" not in vars(fresh.frames)
    assert words[:3] == segment_lines(fresh)
    assert "frame 100's points and their ways" in words
    assert {time for _, time in fresh.decoder.asked} <= set(range(100, 300))
    # One map of one frame a time shown, and no more.
    assert len(fresh.decoder.asked) <= MOST_SHOWN
    assert sheet.height > contact_sheet.draw(fresh.segment(2)).height


def test_many_segments_leave_room_for_the_sheet():
    parts = tuple(Segment(start=4 * k, stop=4 * k + 4) for k in range(50))
    many = contact_sheet.draw(long_scene(200, parts))
    few = contact_sheet.draw(long_scene(200, (*parts[:1], Segment(start=4, stop=200))))
    assert many.height < few.height + 3 * contact_sheet._panel_size(long_scene(1))[1]


def test_tracks_at_hand_are_cut_to_the_part_that_is_drawn():
    rec = long_scene(200)
    tracks = rec.tracks()
    asked = len(rec.decoder.asked)
    contact_sheet.draw(rec, tracks)
    assert len(rec.decoder.asked) == asked


# --- the figure


def test_a_figure_is_of_one_world_and_asks_for_no_more_than_it_draws(rec):
    pytest.importorskip("matplotlib")
    fresh = long_scene(300, SEGMENTS)
    made = fresh.figure("tracks", "cameras", frame=100)
    titles = [axis.get_title() for axis in made.axes]
    assert titles == ["frame 100's points, seen from frame 299", "cameras and frame 100 from above"]
    times = {time for _, time in fresh.decoder.asked}
    assert times <= set(range(100, 300)) and len(times) <= MOST_SHOWN
    (path,) = [line for line in made.axes[1].lines if line.get_label() == "cameras"]
    assert len(path.get_xdata()) == 200
    with pytest.raises(InputError, match="frames 100 to 299"):
        fresh.figure("tracks", frame=100, time=20)
