"""Maps finer than the network's: exact mixes, edges on the pictures' edges, all times alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import dynapoint
from dynapoint.data.frames import load_frames
from dynapoint.inference.finer import FINE_SIDE
from dynapoint.inference.pipeline import reconstruct_frames
from dynapoint.inference.scale import scaled
from dynapoint.models.kept.correction import MOVING, STILL
from dynapoint.models.kept.encoded_files import read_encoded, write_encoded
from dynapoint.models.kept.finer_maps import TAPS, WHOLE, FinerMaps, Mix, doubted, nearest_places
from dynapoint.models.kept.placed_encoding import PlacedEncoding
from dynapoint.refinement.finer import finer_maps
from dynapoint.refinement.setting import Answer
from dynapoint.results.on_disk.saving import save
from fake_model import FakeModel, picture_array

COARSE, FINE, REACH = (24, 32), (48, 64), 3
DARK, LIGHT = (40, 60, 90), (210, 190, 120)


def posed(rng):
    """A camera somewhere."""
    pose = np.eye(4)
    pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pose[:3, :3] *= np.sign(np.linalg.det(pose[:3, :3]))
    pose[:3, 3] = rng.normal(size=3)
    return pose


def rays(hw, intrinsics):
    x, y = np.meshgrid(np.arange(hw[1]) + 0.5, np.arange(hw[0]) + 0.5)
    return np.stack([*(np.stack([x, y]) - intrinsics[:2, 2, None, None]), np.ones(hw)], -1) / [
        intrinsics[0, 0],
        intrinsics[1, 1],
        1,
    ]


def answer_of(depth, *, pose=None, confidence=None):
    """One frame of given depth on the rays of its pixels."""
    hw = depth.shape
    lens = np.array([[30.0, 0, hw[1] / 2 + 0.7], [0, 31.0, hw[0] / 2 - 0.4], [0, 0, 1]])
    pose = np.eye(4) if pose is None else pose
    points = (rays(hw, lens) * depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    return Answer(
        world_from_camera=pose[None],
        intrinsics=lens[None],
        points=points[None].astype(np.float32),
        confidence=np.ones((1, *hw), np.float32) if confidence is None else confidence[None],
    )


def painted(right):
    """A picture of two colours."""
    picture = np.empty((*right.shape, 3), dtype=np.uint8)
    picture[~right], picture[right] = DARK, LIGHT
    return picture[None]


@pytest.mark.parametrize("hw", [(48, 64), (41, 67), COARSE])
def test_a_mix_is_the_weighted_sum_of_the_pixels_that_it_names(hw):
    rng = np.random.default_rng(0)
    side = 2 * REACH + 1
    row, column = nearest_places(hw[0], COARSE[0]), nearest_places(hw[1], COARSE[1])
    for places, count, coarse in ((row, hw[0], COARSE[0]), (column, hw[1], COARSE[1])):
        centre = (np.arange(count) + 0.5) / count
        distance = np.abs(centre[:, None] - (np.arange(coarse) + 0.5) / coarse)
        assert np.allclose(distance[np.arange(count), places], distance.min(axis=1))
    taps = rng.integers(0, side * side, (2, *hw, TAPS)).astype(np.uint8)
    down, across = taps // side - REACH, taps % side - REACH
    at_row, at_column = row[:, None, None] + down, column[:, None] + across
    inside = (at_row >= 0) & (at_row < COARSE[0]) & (at_column >= 0) & (at_column < COARSE[1])
    shares = np.where(inside, rng.integers(0, WHOLE // TAPS, taps.shape), 0).astype(np.uint8)
    values = rng.normal(size=(*COARSE, 5)).astype(np.float32)
    dense = np.zeros((2, *hw, COARSE[0] * COARSE[1]))
    place = at_row.clip(0, COARSE[0] - 1) * COARSE[1] + at_column.clip(0, COARSE[1] - 1)
    frame, y, x, _ = np.indices(taps.shape)
    np.add.at(dense, (frame, y, x, place), shares / WHOLE)
    mix = Mix(
        taps=torch.from_numpy(taps), shares=torch.from_numpy(shares), reach=REACH, coarse_hw=COARSE
    )
    for index in range(2):
        np.testing.assert_allclose(
            mix.of(values, index), dense[index] @ values.reshape(-1, 5), atol=1e-5
        )


def test_what_is_the_same_everywhere_stays_so_to_the_last_bit():
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 255, (1, *FINE, 3), dtype=np.uint8)
    confidence = np.where(rng.uniform(size=COARSE) < 0.1, 0, 2.5).astype(np.float32)
    fine, finer = finer_maps(colors, answer_of(np.full(COARSE, 4.0), confidence=confidence))
    assert (fine.points[0, ..., 2] == 4.0).all()
    assert set(np.unique(finer.carried(np.full((*COARSE, 1), 255.0), 0))) == {255.0}
    nearest = np.repeat(np.repeat(confidence, 2, 0), 2, 1)
    np.testing.assert_array_equal(fine.confidence[0] == 0, nearest == 0)


@pytest.mark.parametrize("hw", [(48, 64), (41, 67), COARSE])
def test_confidence_is_bilinear_and_nothing_where_the_nearest_is(hw):
    confidence = np.random.default_rng(6).uniform(0.5, 3, COARSE).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(confidence)[None, None], hw, mode="bilinear", align_corners=False
    )[0, 0].numpy()
    np.testing.assert_allclose(doubted(confidence, hw), expected, atol=1e-5)
    confidence[5:9, 7:11] = 0
    row, column = nearest_places(hw[0], COARSE[0]), nearest_places(hw[1], COARSE[1])
    nothing = np.outer((row >= 5) & (row < 9), (column >= 7) & (column < 11))
    np.testing.assert_array_equal(doubted(confidence, hw) == 0, nothing)


@pytest.mark.parametrize("fine_hw", [(48, 64), (77, 103)])
def test_planes_are_left_as_they_are(fine_hw):
    """Also where colours differ and where not all is usable; points are on the finer rays."""
    rng = np.random.default_rng(2)
    pose = posed(rng)
    y, x = (np.indices(COARSE) + 0.5) / np.array(COARSE)[:, None, None]
    confidence = np.where(rng.uniform(size=COARSE) < 0.05, 0, 1).astype(np.float32)
    answer = answer_of(1 / (0.2 + 0.1 * x + 0.25 * y), pose=pose, confidence=confidence)
    fine, _ = finer_maps(rng.integers(0, 255, (1, *fine_hw, 3), dtype=np.uint8), answer)
    y, x = (np.indices(fine_hw) + 0.5) / np.array(fine_hw)[:, None, None]
    lens = answer.intrinsics[0].copy()
    lens[:2] *= np.array([[fine_hw[1] / COARSE[1]], [fine_hw[0] / COARSE[0]]])
    np.testing.assert_allclose(fine.intrinsics[0], lens)
    expected = rays(fine_hw, lens) / (0.2 + 0.1 * x + 0.25 * y)[..., None]
    expected = expected @ pose[:3, :3].T + pose[:3, 3]
    np.testing.assert_allclose(fine.points[0], expected, atol=2e-5)


@pytest.mark.parametrize(("off", "ramp"), [(-3, 0), (1, 0), (-3, 1), (-2, 1), (-1, 1), (0, 2)])
def test_edges_of_depth_come_out_on_edges_of_the_picture(off, ramp):
    """The coarse edge is so many coarse pixels off, and may go over from one side to the other."""
    column = np.arange(COARSE[1]) + 0.5
    share = np.clip((column - (16 + off)) / max(2 * ramp, 1e-9) + 0.5, 0, 1)
    depth = np.tile(1 / (0.5 + share * (0.2 - 0.5)), (COARSE[0], 1))
    right = np.broadcast_to(np.arange(FINE[1]) >= 32, FINE)
    fine, finer = finer_maps(painted(right), answer_of(depth))
    found = fine.points[0, ..., 2]
    np.testing.assert_allclose(found[~right], 2.0, rtol=0.02)
    np.testing.assert_allclose(found[right], 5.0, rtol=0.02)
    # What belongs to one side moves with it.
    moves = np.repeat((share > 0.5)[None, :, None].astype(np.float32), COARSE[0], axis=0)
    carried = finer.carried(moves, 0)[..., 0]
    assert carried[right].min() > 0.9 and carried[~right].max() < 0.1


def test_without_colours_edges_stay_within_a_coarse_pixel_and_sharp():
    depth = np.where(np.arange(COARSE[1]) < 13, 2.0, 5.0) + np.zeros(COARSE)
    fine, _ = finer_maps(np.full((1, *FINE, 3), 99, np.uint8), answer_of(depth))
    found = fine.points[0, ..., 2]
    assert (found[:, :26] == 2.0).all() and (found[:, 28:] == 5.0).all()
    assert set(np.unique(found)) == {2.0, 5.0}


def test_what_moves_is_not_mixed_with_what_does_not():
    """On one plane, where depth tells nothing of where the mover ends."""
    evidence = np.full((1, *COARSE), STILL, np.uint8)
    evidence[:, 8:16, 10:20] = MOVING
    colors = painted(np.repeat(np.repeat(evidence[0] == MOVING, 2, 0), 2, 1))
    answer = answer_of(np.full(COARSE, 3.0))
    marks = (evidence[0] == MOVING)[..., None].astype(np.float32)
    _, apart = finer_maps(colors, answer, evidence)
    carried = apart.carried(marks, 0)
    assert set(np.unique(carried)) == {0.0, 1.0}
    # Corners may be lost, whose colours mix.
    expected = np.repeat(np.repeat(marks[..., 0], 2, 0), 2, 1)
    assert (carried[..., 0] != expected).sum() <= 4
    _, joined = finer_maps(colors, answer)
    assert ((joined.carried(marks, 0) > 0) & (joined.carried(marks, 0) < 1)).any()


def test_points_off_their_rays_behind_cameras_or_not_to_be_used_are_kept():
    rng = np.random.default_rng(3)
    answer = answer_of(rng.uniform(2, 2.1, COARSE))
    points = answer.points.copy()
    points[0] += [0.3, -0.2, 0.0]
    points[0, :12] = [0.5, 0.25, -3.0]
    confidence = answer.confidence.copy()
    confidence[0, :12] = 0
    colors = np.full((1, *FINE, 3), 99, np.uint8)
    plain, _ = finer_maps(colors, answer)
    fine, _ = finer_maps(colors, replace(answer, points=points, confidence=confidence))
    assert np.isfinite(fine.points).all()
    np.testing.assert_allclose(
        fine.points[0, 38:], plain.points[0, 38:] + [0.3, -0.2, 0], atol=1e-3
    )
    np.testing.assert_allclose(
        fine.points[0, :8], np.broadcast_to([0.5, 0.25, -3.0], (8, 64, 3)), atol=0.3
    )
    assert not fine.confidence[0, :24].any() and (fine.confidence[0, 24:] > 0).all()


@pytest.fixture(scope="module")
def frames():
    return load_frames(picture_array(3, 150, 200))


@pytest.mark.parametrize(
    ("hw", "expected"), [((150, 200), (150, 200)), ((600, 320), (224, 119)), ((70, 70), (70, 70))]
)
def test_the_size_follows_the_pictures(hw, expected):
    rec = reconstruct_frames(load_frames(picture_array(1, *hw)), FakeModel(), refine=True)
    assert rec.map_hw == expected and max(expected) <= FINE_SIDE
    assert rec.own_time_points.shape == (1, *expected, 3)
    np.testing.assert_allclose(
        rec.pixel_map.to_picture(0, np.array(expected, float)[::-1]), hw[::-1]
    )
    plain = reconstruct_frames(load_frames(picture_array(1, *hw)), FakeModel(), refine=False)
    np.testing.assert_allclose(rec.intrinsics, plain.intrinsics)


@pytest.mark.parametrize("image_side", [224, 256])
def test_maps_that_are_as_fine_are_left_alone(image_side):
    frames = load_frames(picture_array(2, 300, 400))
    rec = reconstruct_frames(frames, FakeModel(image_side), refine=True)
    plain = reconstruct_frames(frames, FakeModel(image_side), refine=False)
    assert rec.map_hw == plain.map_hw


def test_other_times_are_displaced_as_the_network_says(frames):
    """The box moves by so much, the wall not at all, and own times are own-time maps."""
    rec = reconstruct_frames(frames, FakeModel(), refine=True)
    rng = np.random.default_rng(4)
    for frame, time in ((0, 2), (2, 1)):
        moved = rec.maps(frame=frame, time=time)[0] - rec.own_time_points[frame]
        depth = rec.depth_of(frame)
        expected = np.array([0.25, 0.0, 0.05]) * (time - frame)
        assert (moved[depth > 3.9] == 0).mean() > 0.98
        np.testing.assert_allclose(np.median(moved[depth < 2.1], axis=0), expected, atol=1e-5)
    finer = rec.decoder._placed.finer
    values = rng.normal(size=(*finer.points.shape[1:3], 3)).astype(np.float32)
    np.testing.assert_array_equal(
        finer.carried(values, 1), finer.finer.of(finer.sharpened.of(values, 1), 1)
    )


def test_masks_and_pictures_of_several_sizes(tmp_path):
    frames = load_frames(picture_array(2, 150, 200))
    ignore = np.zeros((2, 150, 200), bool)
    ignore[1, 30:70, 20:90] = True
    rec = reconstruct_frames(replace(frames, ignore=ignore), FakeModel(), refine=True)
    assert (rec.own_time_confidence[1][30:70, 20:90] == 0).all()
    assert rec.own_time_confidence[1][75:, 95:].min() > 0
    tall = reconstruct_frames(
        load_frames(picture_array(2, 300, 150)), FakeModel(), prepare="published", refine=True
    )
    assert tall.map_hw[1] > 64 and np.isfinite(tall.own_time_points).all()
    np.testing.assert_allclose(
        tall.pixel_map.map_from_image[0, 1, 1] / tall.pixel_map.map_from_image[0, 0, 0],
        1,
        atol=0.02,
    )


@pytest.mark.parametrize("factor", [None, 3.7])
def test_an_opened_scene_answers_as_the_fresh_one(tmp_path, factor):
    fresh = dynapoint.reconstruct(picture_array(3, 150, 200), "nano")
    assert fresh.map_hw == (150, 200)
    fresh = fresh if factor is None else scaled(fresh, factor, scale_from="distance")
    save(fresh, tmp_path / "scene.4d")
    opened = dynapoint.open(tmp_path / "scene.4d")
    for frame, time in ((0, 1), (1, 0), (2, 0), (1, 2)):
        for one, other in zip(
            fresh.maps(frame=frame, time=time), opened.maps(frame=frame, time=time), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_finer_maps_are_kept_bit_for_bit(tmp_path):
    rng = np.random.default_rng(5)
    _, finer = finer_maps(
        rng.integers(0, 255, (1, *FINE, 3), dtype=np.uint8), answer_of(rng.uniform(1, 9, COARSE))
    )
    placed = replace(PlacedEncoding.of({"a": torch.ones(1)}, 1), finer=finer)
    write_encoded(placed, tmp_path / "encoded")
    back = read_encoded(tmp_path / "encoded").finer
    assert isinstance(back, FinerMaps) and back.finer.coarse_hw == COARSE
    for name in ("taps", "shares"):
        assert torch.equal(getattr(back.finer, name), getattr(finer.finer, name))
        assert torch.equal(getattr(back.sharpened, name), getattr(finer.sharpened, name))
    assert torch.equal(back.points, finer.points)
    assert torch.equal(back.scaled(2.0).points, 2 * finer.points)
