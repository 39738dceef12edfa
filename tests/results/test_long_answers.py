"""Answers of long clips: true where a network saw a frame, and bounded in what they ask."""

from dataclasses import replace

import numpy as np
import pytest

from dynapoint.data.frames import Frames
from dynapoint.exports.clouds import moving_cloud
from dynapoint.exports.long_clouds import seen_through, turns_of
from dynapoint.exports.options import ExportOptions
from dynapoint.exports.web_scene import leaves_first_view, split_cloud
from dynapoint.results import contact_sheet
from dynapoint.results.contact_sheet import draw
from dynapoint.results.pixel_map import PixelMap
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.windows.joining import Joining
from exported_scenes import coloured_images
from long_clips import moving_clip, windowed

COUNT, MAP_HW = 80, (18, 24)
WALL, MOVER = 0, 1


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(3)
    clip = moving_clip(rng, count=COUNT, map_hw=MAP_HW, occluder=False)
    decoder, told = windowed(clip, rng)
    height, width = MAP_HW
    maps = decoder._clip
    rec = Reconstruction(
        frames=Frames(
            images=coloured_images(COUNT, height, width),
            timestamps_s=np.arange(COUNT) / 10.0,
            source_frame_index=np.arange(COUNT),
            name="long",
        ),
        world_from_camera=clip.poses,
        intrinsics=np.tile(clip.lens, (COUNT, 1, 1)),
        own_time_points=maps.points,
        own_time_confidence=maps.confidence,
        pixel_map=PixelMap(
            scale=np.ones((COUNT, 2)),
            offset=np.zeros((COUNT, 2)),
            picture_hw=np.tile(np.array(MAP_HW), (COUNT, 1)),
            map_hw=MAP_HW,
        ),
        decoder=decoder,
        model_name="exact",
        joining=Joining(windows=len(told), window=24, overlap=8),
    )
    return clip, rec, told


def _asked(told):
    return sum(len(window.asked) for window in told)


def test_tracks_of_places_go_through_all_windows(scene):
    clip, rec, _ = scene
    which = clip.own(0)[1].reshape(MAP_HW)
    row, column = np.argwhere(which == MOVER)[len(np.argwhere(which == MOVER)) // 2]
    tracks = rec.track(xy=[[column + 0.5, row + 0.5]])
    truth = np.stack([clip.at(0, time).reshape(*MAP_HW, 3)[row, column] for time in range(COUNT)])
    np.testing.assert_allclose(tracks.points[:, 0], truth, atol=1e-4)
    assert tracks.visible[:, 0].min() > 0.5
    of_map = rec.tracks()
    np.testing.assert_allclose(of_map.points[:, row, column], truth, atol=1e-4)


def test_what_is_lost_is_not_seen(scene):
    _, rec, _ = scene
    for _, (_, visible, confidence) in zip(range(COUNT), rec.track_times(frame=0), strict=True):
        assert (visible[confidence == 0] == 0).all()
    _, confidence = rec.maps(frame=0, time=79)
    row, column = np.argwhere(confidence == 0)[0]
    found = rec.query(frame=0, xy=[[column + 0.5, row + 0.5]], time=79)
    assert found.visible[0] == 0 and found.confidence[0] == 0 and found.valid[0]


def test_motion_is_that_of_the_windows_that_hold_the_frame(scene):
    clip, rec, told = scene
    rec.decoder._maps._kept.clear()
    before = _asked(told)
    for frame in (0, 40, 79):
        found = rec.motion(frame=frame).probability
        which = clip.own(frame)[1].reshape(MAP_HW)
        assert found[which == MOVER].min() > 0.5
        assert found[which == WALL].max() < 0.5
    assert _asked(told) - before <= 24 + 40 + 24


def test_objects_by_default_are_those_about_the_time(scene):
    clip, rec, _ = scene
    found = rec.objects(time=40)
    span = rec.decoder.span(40)
    assert found.instance.shape == (len(span), *MAP_HW)
    for place in (0, len(span) // 2):
        which = clip.own(span[place])[1].reshape(MAP_HW)
        assert (found.instance[place][which == MOVER] == 1).mean() > 0.8
    # Frames of other windows are handed over to the time.
    far = rec.objects(frames=[0, 40, 79], time=40)
    for place, frame in enumerate((0, 40, 79)):
        which = clip.own(frame)[1].reshape(MAP_HW)
        assert (far.instance[place][which == MOVER] == 1).mean() > 0.8


def test_rigid_objects_are_followed_through_all_windows(scene):
    clip, rec, _ = scene
    mask = clip.own(0)[1].reshape(MAP_HW) == MOVER
    found = rec.rigid_object(frame=0, mask=mask)
    shape = clip.shapes[MOVER]
    for time in (0, 30, 79):
        truth = shape.pose(time) @ np.linalg.inv(shape.pose(0))
        np.testing.assert_allclose(found.target_from_source[time], truth, atol=2e-3)


def test_clouds_hold_still_things_of_all_frames_and_moving_ones_of_the_time(scene):
    clip, rec, told = scene
    rec.decoder._maps._kept.clear()
    before = _asked(told)
    cloud = rec.fuse(time=60)
    # Two ends of a span for each frame, and the time for those that were seen together with it.
    assert _asked(told) - before <= 3 * COUNT
    assert cloud.seen.shape == (len(cloud.points), COUNT)
    assert cloud.seen[np.arange(len(cloud.points)), cloud.frame].all()
    which = np.stack([clip.own(frame)[1].reshape(MAP_HW) for frame in range(COUNT)])
    moves = which[cloud.frame, cloud.row, cloud.column] == MOVER
    assert moves.any()
    pose = np.linalg.inv(clip.shapes[MOVER].pose(60))
    inside = cloud.points[moves] @ pose[:3, :3].T + pose[:3, 3]
    assert np.abs(inside[:, 2]).max() < 1e-3
    still = rec.background()
    assert not (which[still.frame, still.row, still.column] == MOVER).any()
    assert len(np.unique(still.frame)) > COUNT // 2


def test_cameras_are_those_of_the_scene(scene):
    clip, rec, _ = scene
    by_pnp = rec.camera_motion()
    np.testing.assert_allclose(by_pnp.world_from_camera, clip.poses, atol=1e-3)
    by_procrustes = rec.camera_motion_by_procrustes(time=40)
    np.testing.assert_allclose(by_procrustes.world_from_camera, clip.poses, atol=1e-3)
    assert rec.camera_disagreement().rotation_deg.max() < 0.1
    fitted = rec.fit_intrinsics()
    np.testing.assert_allclose(fitted.intrinsics[:, 0, 0], clip.lens[0, 0], rtol=1e-3)


def test_flow_and_matches_of_far_frames(scene):
    clip, rec, _ = scene
    flow = rec.optical_flow(frame=0, to_time=79)
    truth = clip.at(0, 79)
    seen = clip.seen(truth, 79) & (rec.maps(frame=0, time=79)[1].reshape(-1) > 0)
    pose = clip.poses[79]
    camera = (truth - pose[:3, 3]) @ pose[:3, :3] @ clip.lens.T
    x, y = np.meshgrid(np.arange(MAP_HW[1]) + 0.5, np.arange(MAP_HW[0]) + 0.5)
    wanted = camera[:, :2] / camera[:, 2:] - np.stack([x, y], axis=-1).reshape(-1, 2)
    off = np.linalg.norm(flow.flow_px.reshape(-1, 2) - wanted, axis=1)[seen]
    assert np.quantile(off, 0.95) < 0.05
    moved = rec.object_flow(frame=0, to_time=79)
    off = np.linalg.norm(moved.flow.reshape(-1, 3) - (truth - clip.own(0)[0]), axis=1)[seen]
    assert np.quantile(off, 0.95) < 0.01
    assert rec.scene_flow(frame=0, to_time=79).flow.shape == (*MAP_HW, 3)
    assert rec.motion_between(frame=0, to_time=79).probability.shape == MAP_HW
    found = rec.match(frame=0, to_frame=79)
    both = seen & found.valid.reshape(-1)
    places = found.xy_px.reshape(-1, 2)[both]
    assert np.median(np.linalg.norm(places - (camera[:, :2] / camera[:, 2:])[both], axis=1)) < 0.6


def test_a_part_knows_the_spans_of_its_frames(scene):
    _, rec, _ = scene
    part = rec.span(20, 60)
    assert rec.decoder.span(20) == range(40)
    assert part.decoder.span(0) == range(20)
    assert part.decoder.span(39) == range(28, 40)


def test_moving_clouds_show_what_moves_at_every_time_and_hand_nothing_over(scene):
    clip, rec, told = scene
    rec.decoder._maps._kept.clear()
    before = _asked(told)
    cloud = moving_cloud(rec, ExportOptions(), max_points=4000)
    # Two ends of a span for 16 sources and one of these for each time, each with its own time.
    assert _asked(told) - before <= 2 * (2 * 16 + COUNT)
    assert len(cloud.moves) <= 4000 and 0.02 < cloud.moves.mean() < 0.6
    still = cloud.points[:, ~cloud.moves]
    assert (still == still[0]).all() and cloud.usable[:, ~cloud.moves].all()
    flat = clip.shapes[WALL].pose(0)
    assert np.abs(((still[0] - flat[:3, 3]) @ flat[:3, :3])[:, 2]).max() < 1e-3
    for time in range(COUNT):
        shown = cloud.points[time, cloud.moves & cloud.usable[time]]
        pose = clip.shapes[MOVER].pose(time)
        inside = (shown - pose[:3, 3]) @ pose[:3, :3]
        # Nearly all: a pixel that moves with a true share of one half is seen as both.
        assert len(shown) and np.median(np.abs(inside[:, 2])) < 1e-3
    split = split_cloud(rec, ExportOptions(), max_points=4000)
    assert len(split.still) and (split.usable.sum(axis=1) > 0).all()


def test_what_rests_and_then_goes_is_seen_through(scene):
    clip, rec, _ = scene
    frames = list(range(0, COUNT, 8))
    found = seen_through(rec, frames)
    own = np.stack([clip.own(frame)[1].reshape(MAP_HW) for frame in frames])
    assert not found[own == WALL].any()
    assert found[own == MOVER].mean() > 0.5
    resting = replace(
        rec,
        own_time_points=np.repeat(rec.own_time_points[:1], COUNT, axis=0),
        world_from_camera=np.repeat(rec.world_from_camera[:1], COUNT, axis=0),
    )
    assert not seen_through(resting, frames).any()


def test_frames_are_added_where_none_tells_of_a_time(scene):
    _, rec, _ = scene
    for sources in ([0], [40], [0, 79]):
        turns = turns_of(rec, sources, range(COUNT))
        assert all(time in rec.decoder.span(turn) for time, turn in enumerate(turns))
        assert set(sources) <= set(turns) and len(set(turns)) <= 5
    every = turns_of(rec, range(COUNT), range(COUNT))
    assert every == list(range(COUNT))


def test_a_sheet_shows_the_motion_of_its_rows_own_frames(scene):
    clip, rec, told = scene
    before = _asked(told)
    frames = [0, 26, 53, 79]
    found = contact_sheet._movement_in_windows(rec, frames, (150, 100))
    assert _asked(told) - before <= 4 * 2 * 13
    moves = np.stack([clip.own(frame)[1].reshape(MAP_HW) for frame in frames]) == MOVER
    shares = found.motion.shares
    assert all(moves[row].any() for row in range(4))
    assert shares[~moves].max() < 1e-3 < shares[moves].min()
    assert draw(rec).width > 750


def test_the_view_follows_a_camera_that_leaves_what_it_saw_first(scene):
    _, rec, _ = scene
    away = rec.own_time_points.copy()
    away[-1, :, :, 0] += 100
    assert leaves_first_view(replace(rec, own_time_points=away))
    same = np.broadcast_to(rec.own_time_points[:1], rec.own_time_points.shape)
    assert not leaves_first_view(replace(rec, own_time_points=same))
