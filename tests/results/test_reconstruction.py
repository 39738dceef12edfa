"""`Reconstruction.query`: places, surfaces, cameras, times and refusals."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from scipy.spatial.transform import Rotation

import dynapoint
import fake_model
from dynapoint.data.frames import load_frames
from dynapoint.errors import DynapointError, InputError, ShapeError
from dynapoint.inference import predict
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.sampling import pixel_sampler, surface_cells
from fake_model import (
    BOX_DEPTH,
    CAMERA_STEP,
    ROLL_STEP_RAD,
    VELOCITY,
    WALL_DEPTH,
    FakeModel,
    SquareFake,
    picture_array,
)

SIZES = [(96, 160), (160, 96), (120, 120), (97, 211), (33, 20)]


@pytest.fixture(scope="module", params=SIZES, ids=str)
def rec(request) -> Reconstruction:
    return dynapoint.reconstruct(picture_array(5, *request.param), SquareFake())


def random_xy(rec: Reconstruction, count: int = 500, seed: int = 0) -> np.ndarray:
    height, width = rec.frames.image_hw
    return np.random.default_rng(seed).uniform(0, [width, height], (count, 2))


def in_world(points: np.ndarray, pose: np.ndarray) -> np.ndarray:
    return points @ pose[:3, :3].T + pose[:3, 3]


def test_first_camera_is_exactly_the_identity(rec):
    assert np.array_equal(rec.world_from_camera[0], np.eye(4))
    np.testing.assert_allclose(
        rec.world_from_camera[:, 0, 3], CAMERA_STEP * np.arange(5), atol=1e-6
    )
    turns = Rotation.from_rotvec(np.outer(ROLL_STEP_RAD * np.arange(5), [0, 0, 1])).as_matrix()
    np.testing.assert_allclose(rec.world_from_camera[:, :3, :3], turns, atol=1e-6)


def test_points_lie_on_their_pixels_rays_in_original_pixels(rec):
    xy = random_xy(rec)
    frame = 3
    points = rec.query(frame=frame, xy=xy, time=frame, camera=frame).points.astype(np.float64)
    projected = points @ rec.intrinsics[frame].T
    map_pixel = np.array(rec.frames.image_hw[::-1]) / np.array(rec.map_hw[::-1])
    # Across an edge the nearest map pixel answers, at most half a map pixel away in each axis.
    off = np.abs(projected[:, :2] / projected[:, 2:] - xy)
    assert (off <= 0.5 * map_pixel + 1e-3).all()
    assert np.median(off) < 1e-3


def test_depth_is_never_between_two_surfaces(rec):
    depth = rec.query(frame=2, xy=random_xy(rec, 3000), time=2, camera=2).points[:, 2]
    near, far = np.isclose(depth, BOX_DEPTH, atol=1e-4), np.isclose(depth, WALL_DEPTH, atol=1e-4)
    assert (near | far).all() and near.any() and far.any()


def test_tracks_stay_on_one_surface(rec):
    xy = random_xy(rec, 3000)
    result = rec.query(frame=1, xy=xy)
    moved = result.points[4] - result.points[1]
    box = result.points[1][:, 2] < 3
    np.testing.assert_allclose(moved[box], np.tile(VELOCITY.numpy() * 3, (box.sum(), 1)), atol=1e-5)
    assert np.abs(moved[~box]).max() == 0


def test_camera_k_equals_transforming_world_points(rec):
    xy = random_xy(rec)
    world = rec.query(frame=1, xy=xy, time=4).points
    for camera in range(5):
        there = rec.query(frame=1, xy=xy, time=4, camera=camera).points
        np.testing.assert_allclose(
            in_world(there.astype(np.float64), rec.world_from_camera[camera]), world, atol=1e-5
        )


def test_all_times_are_the_single_times_stacked(rec):
    xy = random_xy(rec, 50)
    stacked = rec.query(frame=2, xy=xy, time=None, camera=1)
    assert stacked.points.shape == (5, 50, 3)
    assert stacked.valid.shape == stacked.visible.shape == stacked.confidence.shape == (5, 50)
    for time in range(5):
        single = rec.query(frame=2, xy=xy, time=time, camera=1)
        for name in ("points", "valid", "visible", "confidence"):
            assert np.array_equal(getattr(stacked, name)[time], getattr(single, name))


def test_types_and_ranges(rec):
    result = rec.query(frame=0, xy=random_xy(rec), time=3)
    assert result.points.dtype == result.visible.dtype == result.confidence.dtype == np.float32
    assert result.valid.dtype == bool and result.valid.all()
    assert np.isfinite(result.points).all()
    assert result.visible.min() >= 0 and result.visible.max() <= 1
    assert (result.confidence > 0).all()


def test_valid_is_false_only_outside(rec):
    height, width = rec.frames.image_hw
    xy = [[0, 0], [width, height], [-0.01, 3], [width + 0.01, 3], [3, -1e9], [3, height + 5]]
    result = rec.query(frame=0, xy=xy, time=1)
    assert result.valid.tolist() == [True, True, False, False, False, False]
    assert np.isfinite(result.points).all()
    assert (result.visible[2:] == 0).all() and (result.confidence[2:] == 0).all()


def test_no_places_give_empty_answers(rec):
    result = rec.query(frame=0, xy=np.empty((0, 2)))
    assert result.points.shape == (5, 0, 3) and result.valid.shape == (5, 0)


def test_lists_and_integers_are_places_too(rec):
    as_list = rec.query(frame=0, xy=[[3, 5]], time=2)
    as_array = rec.query(frame=np.int64(0), xy=np.array([[3.0, 5.0]], np.float32), time=2)
    assert np.array_equal(as_list.points, as_array.points)


BAD_INDICES = [-1, 5, 1.0, "0", True, [0]]


@pytest.mark.parametrize("bad", BAD_INDICES, ids=repr)
@pytest.mark.parametrize("name", ["frame", "time", "camera"])
def test_indices_that_are_no_frame_are_refused(rec, name, bad):
    arguments = {"frame": 0, "time": 0, "camera": 0} | {name: bad}
    with pytest.raises((InputError, TypeCheckError)):
        rec.query(xy=[[1.0, 1.0]], **arguments)


def test_frame_none_is_refused(rec):
    with pytest.raises((InputError, TypeCheckError)):
        rec.query(frame=None, xy=[[1.0, 1.0]], time=0)


BAD_XY = [
    [1.0, 2.0],
    [[1.0, 2.0, 3.0]],
    [[[1.0, 2.0]]],
    [[True, False]],
    [["1", "2"]],
    [[1.0, 2.0], [3.0]],
    [[1j, 2.0]],
    [[None, 1.0]],
    3.0,
    None,
]


@pytest.mark.parametrize("bad", BAD_XY, ids=repr)
def test_xy_of_another_shape_or_kind_is_refused(rec, bad):
    with pytest.raises((ShapeError, TypeCheckError)):
        rec.query(frame=0, xy=bad, time=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_xy_not_finite_is_refused(rec, bad):
    with pytest.raises(InputError, match="not finite"):
        rec.query(frame=0, xy=[[1.0, 2.0], [bad, 1.0]], time=0)


def test_messages_say_what_was_found_and_wanted(rec):
    with pytest.raises(DynapointError, match=r"time is 7 but the 5 frames used are 0 to 4"):
        rec.query(frame=0, xy=[[1.0, 1.0]], time=7)


def test_bilinear_is_exact_on_a_map_linear_in_the_pixel():
    rng = np.random.default_rng(3)
    height, width = 21, 34
    slope, offset = rng.normal(size=(2, 3)), rng.normal(size=3)
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    linear = centres @ slope + offset
    cells = np.ones((height - 1, width - 1), bool)
    xy = rng.uniform(0, [width, height], (1000, 2))
    read = pixel_sampler(cells, xy).points(linear)
    np.testing.assert_allclose(read, xy @ slope + offset, atol=1e-12)


def test_nearest_is_taken_across_an_edge():
    depth = np.where(np.arange(8) < 4, 1.0, 2.0)[None].repeat(6, axis=0)
    cells = surface_cells(depth)
    assert (~cells).sum() == 5 and not cells[:, 3].any()
    values = np.arange(48.0).reshape(6, 8)
    xy = np.array([[3.9, 2.3], [4.1, 2.3], [4.1, 2.7]])
    # Rows 1 and 2 have centres 1.5 and 2.5, columns 3 and 4 have 3.5 and 4.5.
    assert pixel_sampler(cells, xy).scores(values).tolist() == [
        values[2, 3],
        values[2, 4],
        values[2, 4],
    ]


def test_a_steep_plane_is_one_surface():
    rows, columns = np.mgrid[:48, :64] + 0.5
    ground = 1.6 * 60 / (rows - 4 + 1e-9)
    cells = surface_cells(np.where(rows > 5, ground, 1e6))
    ratio = ground[13:-1] / ground[14:]
    assert ratio.max() > 1.1 and cells[13:].all()
    assert surface_cells(1 / (0.02 * columns + 0.03 * rows + 0.1)).all()


def test_depth_that_is_not_positive_joins_nothing():
    depth = np.ones((5, 5))
    depth[2, 2] = -1.0
    assert (~surface_cells(depth)).sum() == 4


def test_the_wall_is_hidden_behind_the_box_in_a_later_frame(monkeypatch):
    # A box that goes with a camera that does not turn is where every frame's own map shows it.
    monkeypatch.setattr(fake_model, "VELOCITY", torch.tensor([CAMERA_STEP, 0.0, 0.0]))
    model = FakeModel(96, roll_step_rad=0.0)
    rec = dynapoint.reconstruct(picture_array(4, 96, 96), model)
    world = rec.query(frame=0, xy=random_xy(rec, 2000), time=3)
    camera = rec.query(frame=0, xy=random_xy(rec, 2000), time=3, camera=3)
    projected = camera.points @ rec.intrinsics[3].T.astype(np.float32)
    xy = projected[:, :2] / projected[:, 2:]
    wall = camera.points[:, 2] > 3
    covered = (np.abs(xy[:, 0] / 96 - 0.4) < 0.12) & (np.abs(xy[:, 1] / 96 - 0.5) < 0.17)
    assert (wall & covered).any()
    assert world.visible[wall & covered].max() < 0.01
    clear = (xy > 1).all(1) & (xy < 95).all(1) & ~(np.abs(xy[:, 0] / 96 - 0.4) < 0.2)
    assert world.visible[wall & clear].min() > 0.9


def test_own_time_is_visible_for_sure(rec):
    assert (rec.query(frame=2, xy=random_xy(rec), time=2).visible == 1).all()


def test_output_that_is_not_finite_is_replaced_and_least_confident():
    rec = dynapoint.reconstruct(picture_array(3, 64, 64), FakeModel(64, broken=True))
    xy = np.array([[0.5, 0.5], [1.5, 1.5], [2.5, 2.5], [30.5, 40.5]])
    for time in range(3):
        result = rec.query(frame=1, xy=xy, time=time)
        assert np.isfinite(result.points).all()
        assert (result.confidence[:3] == 0).all() and result.confidence[3] > 0
        # The stand-in lies at the frame's median depth, which is the wall's.
        np.testing.assert_allclose(result.points[:2, 2], WALL_DEPTH, atol=1e-4)


def test_further_times_are_decoded_once_and_only_on_demand():
    model = FakeModel()
    rec = dynapoint.reconstruct(picture_array(4, 64, 64), model)
    assert model.decoded == []
    for _ in range(2):
        rec.query(frame=2, xy=[[5.0, 5.0]], time=0)
        rec.query(frame=2, xy=[[5.0, 5.0]], time=2)
    assert model.decoded == [(2, 0)]


def test_what_is_kept_is_bounded_and_the_answers_are_the_same(monkeypatch):
    pictures = picture_array(5, 64, 64)
    expected = dynapoint.reconstruct(pictures, FakeModel(64)).tracks()
    monkeypatch.setattr(predict, "_CACHE_BYTES", 2 * 64 * 64 * 16)
    model = FakeModel(64)
    rec = dynapoint.reconstruct(pictures, model)
    for name in ("points", "visible", "confidence"):
        assert np.array_equal(getattr(rec.tracks(), name), getattr(expected, name))
    model.decoded.clear()
    for time in (4, 3, 1, 4):
        rec.maps(frame=0, time=time)
    assert model.decoded == [(0, 1), (0, 4)]


def test_times_one_by_one_are_the_tracks_and_are_not_kept():
    model = FakeModel(64)
    rec = dynapoint.reconstruct(picture_array(4, 64, 64), model)
    one_by_one = list(rec.track_times(frame=2))
    assert sorted(model.decoded) == [(2, 0), (2, 1), (2, 3)]
    tracks = rec.tracks(frame=2)
    assert sorted(model.decoded) == sorted(2 * [(2, 0), (2, 1), (2, 3)])
    for time, (points, visible, confidence) in enumerate(one_by_one):
        assert np.array_equal(points, tracks.points[time])
        assert np.array_equal(visible, tracks.visible[time])
        assert np.array_equal(confidence, tracks.confidence[time])
    # What has been kept is not decoded again.
    model.decoded.clear()
    assert len(list(rec.track_times(frame=2))) == 4 and model.decoded == []


def test_all_frames_at_one_time_are_decoded_together(monkeypatch):
    model = FakeModel(64)
    rec = dynapoint.reconstruct(picture_array(4, 64, 64), model)
    rec.maps(frame=3, time=2)
    calls = []
    decode = model.decode
    monkeypatch.setattr(
        model, "decode", lambda *a, **k: calls.append((k["time"], k["frames"])) or decode(*a, **k)
    )
    points, confidence = rec.maps_at(time=2)
    assert calls == [(2, [0, 1])]
    for frame in range(4):
        assert np.array_equal(points[frame], rec.maps(frame=frame, time=2)[0])
        assert np.array_equal(confidence[frame], rec.maps(frame=frame, time=2)[1])
    assert len(calls) == 1
    with pytest.raises(InputError, match="time is 4"):
        rec.maps_at(time=4)


def test_own_time_maps_cannot_be_overwritten():
    rec = dynapoint.reconstruct(picture_array(2, 24, 24), FakeModel(16))
    for array in (rec.own_time_points, rec.own_time_confidence, rec.maps(frame=1, time=1)[0]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_tracks_agree_with_queries_at_map_centres():
    rec = dynapoint.reconstruct(picture_array(4, 64, 64), FakeModel(64))
    tracks = rec.tracks()
    xy = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), -1).reshape(-1, 2)
    result = rec.query(frame=0, xy=xy)
    np.testing.assert_allclose(tracks.points.reshape(4, -1, 3), result.points, atol=1e-6)
    np.testing.assert_allclose(tracks.visible.reshape(4, -1), result.visible, atol=1e-5)
    np.testing.assert_allclose(tracks.confidence.reshape(4, -1), result.confidence, atol=1e-6)


def test_a_single_frame_is_a_scene():
    rec = dynapoint.reconstruct(load_frames(picture_array(1, 40, 70)).images, FakeModel())
    assert rec.query(frame=0, xy=[[35.0, 20.0]]).points.shape == (1, 1, 3)


def test_copies_and_pickles_answer_the_same(rec):
    """With whatever was worked out before, which `replace` begins anew."""
    xy = random_xy(rec, 20)
    wanted = rec.query(frame=1, xy=xy)
    flow = rec.optical_flow(frame=1, to_time=2).flow_px
    kept = dataclasses.replace(rec, kept_tracks=rec.tracks())
    for other in (kept, copy.deepcopy(rec), pickle.loads(pickle.dumps(kept))):
        assert type(other) is Reconstruction
        assert np.array_equal(other.query(frame=1, xy=xy).points, wanted.points)
        assert np.array_equal(other.optical_flow(frame=1, to_time=2).flow_px, flow)


@pytest.mark.parametrize("name", ["Reconstruction", "FrameTracks", "QueryResult", "PointDecoder"])
def test_pickles_of_before_find_their_classes(name):
    """They name the module that these classes stood in."""
    assert pickle.loads(f"cdynapoint.results.reconstruction\n{name}\n.".encode()).__name__ == name
