"""Answers of a whole reconstruction, against a scene whose cameras and motion are written down."""

import numpy as np
import pytest
import torch
from PIL import Image

import dynapoint
from dynapoint.cli import main
from dynapoint.errors import InputError, ShapeError
from dynapoint.exports.catalog import export
from dynapoint.exports.sheet import _objects_panel
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.results.panels import image_panel
from fake_model import (
    BOX_DEPTH,
    CAMERA_STEP,
    ROLL_STEP_RAD,
    VELOCITY,
    WALL_DEPTH,
    FakeModel,
    picture_array,
    rolls,
    seen_from,
)
from ply_files import ply_elements

FRAMES = 4


@pytest.fixture(scope="module")
def rec():
    """Pictures larger than the maps, so that map and original pixels differ."""
    return dynapoint.reconstruct(picture_array(FRAMES, 96, 128), FakeModel(64))


@pytest.fixture(scope="module")
def box(rec):
    """Which map pixels of every frame show the box."""
    return rec.own_time_points[..., 2] < (BOX_DEPTH + WALL_DEPTH) / 2


def test_intrinsics_are_in_original_pixels(rec):
    for fitted in (rec.fit_intrinsics(), rec.fit_intrinsics(shared=False, principal_point=True)):
        np.testing.assert_allclose(fitted.intrinsics, rec.intrinsics, rtol=1e-4, atol=1e-2)
        assert fitted.intrinsics.shape == (FRAMES, 3, 3)


def test_camera_motion_is_that_of_the_scene(rec):
    found = rec.camera_motion()
    np.testing.assert_allclose(found.world_from_camera, rec.world_from_camera, atol=1e-4)
    assert (found.inlier_share > 0.99).all()
    for method in ("pnp", "procrustes"):
        apart = rec.camera_disagreement(method=method)
        assert apart.rotation_deg.max() < 0.01 and apart.translation.max() < 1e-4


def test_flows_are_the_velocities(rec, box):
    moved = rec.object_flow(frame=1, to_time=3)
    np.testing.assert_allclose(
        moved.flow[box[1]], np.tile(2 * VELOCITY, (box[1].sum(), 1)), atol=1e-5
    )
    np.testing.assert_allclose(moved.flow[~box[1]], 0, atol=1e-6)
    seen = rec.scene_flow(frame=1, to_time=3)
    start = rec.own_time_points[1]
    first, last = (rec.world_from_camera[time] for time in (1, 3))
    carried = seen_from(last, start + moved.flow) - seen_from(first, start)
    np.testing.assert_allclose(seen.flow, carried, atol=1e-5)
    back = rec.object_flow(frame=1, from_time=3, to_time=1)
    np.testing.assert_allclose(back.flow, -moved.flow, atol=1e-6)


def test_optical_flow_of_the_wall_is_its_parallax(rec, box):
    flow = rec.optical_flow(frame=0, to_time=2)
    assert rec.images.shape[1] > 1.5 * rec.map_hw[0]
    # The wall's pixels roll about the principal point, and slide as the camera steps.
    focal, centre = rec.intrinsics[0, 0, 0], rec.intrinsics[0, :2, 2]
    roll = rolls(torch.tensor([-2 * ROLL_STEP_RAD]))[0, :2, :2].double().numpy()
    pixel = rec.track(frame=0).source_xy.reshape(*rec.map_hw, 2)[~box[0]]
    slid = pixel - centre - [2 * CAMERA_STEP * focal / WALL_DEPTH, 0]
    parallax = slid @ roll.T + centre - pixel
    np.testing.assert_allclose(flow.flow_px[~box[0]], parallax, atol=1e-3)


def test_the_box_moves_and_nothing_else(rec, box):
    np.testing.assert_array_equal(rec.motion(frame=2).probability > 0.5, box[2])
    between = rec.motion_between(frame=2, to_time=0)
    np.testing.assert_array_equal(between.probability > 0.5, box[2])
    objects = rec.objects()
    assert len(objects.pixels) == 1
    np.testing.assert_array_equal(objects.instance > 0, box)
    some = rec.objects(frames=[1, 3])
    np.testing.assert_array_equal(some.instance > 0, box[[1, 3]])


def test_a_thing_is_followed_as_one(rec, box):
    thing = rec.rigid_object(frame=1, mask=box[1])
    shifts = thing.target_from_source[:, :3, 3]
    np.testing.assert_allclose(shifts, np.outer(np.arange(FRAMES) - 1, VELOCITY), atol=1e-4)
    centre = rec.own_time_points[1][box[1]].mean(axis=0)
    np.testing.assert_allclose(thing.box_centre[1], centre, atol=0.05)
    with pytest.raises(ShapeError, match="mask"):
        rec.rigid_object(frame=1, mask=box[1][:-1])


def test_tracks_in_space_and_in_the_images(rec, box):
    whole = rec.track(frame=1)
    pixels = whole.source_xy.reshape(*rec.map_hw, 2)
    np.testing.assert_allclose(pixels[3, 5], [11.0, 7.0], atol=1e-4)
    points = whole.points.reshape(FRAMES, *rec.map_hw, 3)
    np.testing.assert_allclose(
        points[3][box[1]] - points[1][box[1]], np.tile(2 * VELOCITY, (box[1].sum(), 1)), atol=1e-5
    )
    np.testing.assert_allclose(whole.xy[1], whole.source_xy, atol=1e-3)
    assert (whole.visible[1] == 1).all()
    places = whole.source_xy[::37]
    np.testing.assert_allclose(rec.track(frame=1, xy=places).xy, whole.xy[:, ::37], atol=2e-2)
    assert rec.track(frame=1, every=4).points.shape[1] == len(whole.source_xy) // 16
    assert rec.track(frame=0, mask=box[0]).points.shape[1] == box[0].sum()
    wall = ~box[1].reshape(-1)
    shown = ((whole.xy[3] > 0) & (whole.xy[3] < [128, 96])).all(axis=1)
    covered = (whole.visible[3] < 0.5) & wall & shown
    # Only what the box, a step to the right by then, stands before is hidden.
    assert 0 < covered.sum() < 0.1 * wall.sum()


def test_tracks_are_alike_whichever_way_they_are_asked_for(rec):
    """Places outside the picture are known as little as pixels without confidence."""
    whole, places = rec.track(frame=1, every=8), rec.track(frame=1, xy=[[20.5, 9.5], [-3, 9.5]])
    for tracks in (whole, places):
        kinds = {np.asarray(getattr(tracks, name)).dtype for name in ("points", "xy", "visible")}
        assert kinds == {np.dtype(np.float32)} and tracks.source_xy.dtype == np.float32
    assert np.isfinite(places.points[:, 0]).all() and np.isfinite(places.xy[:, 0]).all()
    assert np.isnan(places.points[:, 1]).all() and np.isnan(places.xy[:, 1]).all()
    assert (places.visible[:, 1] == 0).all() and (places.confidence[:, 1] == 0).all()
    with pytest.raises(ShapeError, match="mask"):
        rec.track(frame=1, mask=np.ones((3, 3), dtype=bool))


def test_matches_follow_what_moves(rec, box):
    """At the time of frame 2 the box of frame 0 stands where frame 2's own points say."""
    match = rec.match(frame=0, to_frame=2)
    flow = rec.optical_flow(frame=0, to_time=2)
    centres = np.moveaxis(np.indices(rec.map_hw)[::-1], 0, -1) + 0.5
    pixels = rec.pixel_map.to_picture(0, centres)
    wanted = pixels + flow.flow_px
    good = match.valid & match.mutual & ~box[0]
    assert good[~box[0]].mean() > 0.6
    apart = np.linalg.norm(match.xy_px[good] - wanted[good], axis=-1)
    assert np.median(apart) < 0.1
    places = [pixels[5, 40], pixels[20, 50], [-1, 5], [5, 97]]
    some = rec.match(frame=0, to_frame=2, xy=places)
    np.testing.assert_allclose(some.xy_px[0], match.xy_px[5, 40], atol=1e-3)
    np.testing.assert_allclose(some.distance[1], match.distance[20, 50], atol=1e-6)
    assert np.isnan(some.xy_px[2:]).all() and not some.valid[2:].any(), "outside the picture"
    with pytest.raises(ShapeError, match="original pixels"):
        rec.match(frame=0, to_frame=2, xy=[1.0, 2.0])


def test_places_are_original_pixels_of_pictures_of_any_size(tmp_path):
    """Pictures of unlike sizes and scales, x and y apart, cropped or padded, against projection."""
    for index, (height, width) in enumerate([(50, 120), (120, 80), (90, 90)]):
        Image.fromarray(picture_array(1, height, width)[0]).save(tmp_path / f"{index}.png")
    rec = dynapoint.reconstruct(tmp_path, FakeModel(32), prepare="published")
    sizes, scales = rec.pixel_map.picture_hw, rec.pixel_map.scale
    assert (sizes[0] != sizes[1]).all() and not np.allclose(scales[0], scales[1])
    a, b = 0, 2
    xy = np.random.default_rng(3).uniform(0, [120, 50], (200, 2))
    xy[-1] = [121, 10]
    points = rec.query(frame=a, xy=xy, time=b).points.astype(np.float64)
    eyes = points_in_camera(points, rec.world_from_camera[b])
    wanted = project(eyes, rec.intrinsics[b])
    tracks = rec.track(frame=a, xy=xy)
    known = tracks.confidence > 0
    assert known[b].mean() > 0.5
    np.testing.assert_allclose(tracks.source_xy, xy, rtol=1e-6)
    np.testing.assert_allclose(tracks.xy[b, known[b]], wanted[known[b]], atol=1e-3)
    of_pixels = rec.track(frame=a, every=4)
    assert of_pixels.source_xy.shape == (64, 2)
    seen = project(
        points_in_camera(of_pixels.points[b].astype(np.float64), rec.world_from_camera[b]),
        rec.intrinsics[b],
    )
    assert np.isfinite(seen).all(axis=1).mean() >= 0.5, "the rest was added around the picture"
    np.testing.assert_allclose(of_pixels.xy[b], seen, atol=1e-3)
    found = rec.match(frame=a, to_frame=b, xy=xy)
    good = found.valid & found.mutual
    assert good[:-1].mean() > 0.3 and not good[-1]
    # Beside the box the wall is hidden, and the nearest of it that is seen is another place.
    apart = np.linalg.norm(found.xy_px - wanted, axis=1)[good]
    assert np.quantile(apart, 0.8) < 0.05 and apart.max() < 1 / scales[b].min()
    flow = rec.optical_flow(frame=a, to_time=b)
    rows, columns = np.nonzero(flow.valid)
    places = rec.pixel_map.to_picture(a, np.stack([columns, rows], axis=1) + 0.5)
    points = rec.maps(frame=a, time=b)[0][rows, columns].astype(np.float64)
    seen = project(points_in_camera(points, rec.world_from_camera[b]), rec.intrinsics[b])
    np.testing.assert_allclose(places + flow.flow_px[rows, columns], seen, atol=1e-2)
    assert (flow.flow_px[~flow.valid] == 0).all()


def test_fusion_keeps_the_box_once_and_the_background_leaves_it_out(rec):
    fused, still = rec.fuse(time=1), rec.background(max_points=500)
    assert (fused.points[:, 2] < 3).any() and fused.seen.shape == (len(fused.points), FRAMES)
    assert len(still.points) <= 500
    np.testing.assert_allclose(still.points[:, 2], WALL_DEPTH, atol=1e-4)


def test_the_scene_agrees_with_itself(rec):
    found = rec.self_check()
    assert found.depth_disagreement < 1e-3 and found.reprojection_error < 1e-4


@pytest.mark.parametrize("shape", [(96, 128), (128, 64)])
def test_the_sheet_marks_what_moves_and_nothing_else(tmp_path, shape):
    shown = dynapoint.reconstruct(picture_array(3, *shape), FakeModel(64))
    path = export(shown, "sheet", tmp_path / "answers")
    with Image.open(path) as sheet:
        assert path.name == "answers.png" and sheet.format == "PNG" and sheet.width > 900
    height, width = shown.map_hw
    size = (2 * width, 2 * height)
    darkened = Image.blend(image_panel(shown, 1, size), Image.new("RGB", size), 0.55)
    panel = np.asarray(_objects_panel(shown, 1, size)).astype(int)
    marked = np.abs(panel - np.asarray(darkened)).max(axis=-1) > 8
    moving = shown.own_time_points[1, ..., 2] < (BOX_DEPTH + WALL_DEPTH) / 2
    np.testing.assert_array_equal(marked, np.kron(moving, np.ones((2, 2), dtype=bool)))


def test_what_is_not_there_is_said(rec):
    with pytest.raises(InputError, match="frame"):
        rec.object_flow(frame=FRAMES, to_time=0)
    with pytest.raises(InputError, match="at least one"):
        rec.objects(frames=[])


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene of the shipped network on pictures it can make nothing of."""
    import cv2

    folder = tmp_path_factory.mktemp("answers")
    for index, picture in enumerate(picture_array(3, 48, 64)):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    output = folder / "waves.4d"
    assert main(["reconstruct", str(folder), "-o", str(output)]) == 0
    return output


@pytest.mark.parametrize(
    "command, array",
    [
        (["tracks", "--every", "8"], "points"),
        (["flow", "--to-time", "2"], "flow"),
        (["flow", "--kind", "optical"], "flow_px"),
        (["segment", "--to-time", "1"], "probability"),
        (["match"], "xy_px"),
        (["objects"], "instance"),
        (["fuse", "--time", "1", "--max-points", "300"], "points"),
        (["fuse", "--static"], "points"),
    ],
)
def test_commands_write_arrays(scene, tmp_path, capsys, command, array):
    name, *options = command
    assert main([name, str(scene), *options, "-o", str(tmp_path / "answer")]) == 0
    assert "answer.npz" in capsys.readouterr().out
    with np.load(tmp_path / "answer.npz") as arrays:
        assert np.isfinite(arrays[array][~np.isnan(arrays[array])]).all() and arrays[array].size
    assert main([name, str(scene), *options, "-o", str(tmp_path / "answer")]) == 1
    assert "overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["tracks", "--every", "8"], ["fuse"]])
def test_clouds_and_tracks_as_ply(scene, tmp_path, command):
    name, *options = command
    path = tmp_path / "answer.ply"
    assert main([name, str(scene), *options, "--to", "ply", "-o", str(path)]) == 0
    elements = ply_elements(path)
    assert len(elements["vertex"]) > 10
    if name == "tracks":
        edges, vertices = elements["edge"], elements["vertex"]
        assert (vertices["track"][edges["vertex1"]] == vertices["track"][edges["vertex2"]]).all()
        steps = vertices["time"][edges["vertex2"]] - vertices["time"][edges["vertex1"]]
        assert (steps == 1).all()
