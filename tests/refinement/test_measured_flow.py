"""Flow measured in pictures, against the exact flow of warped and rendered pictures."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

import dynapoint
from dynapoint.errors import SceneError
from dynapoint.geometry.arrays import pixel_centres as centres_of
from dynapoint.geometry.arrays import points_in_camera, project
from dynapoint.geometry.between_pixels import flow_between_pixels
from dynapoint.geometry.pinhole import pixel_centres
from dynapoint.reductions.correspondence import match_seen
from dynapoint.refinement import measured_flow as module
from dynapoint.refinement.measured_flow import Guess, measured_flow
from dynapoint.results import seen_places
from dynapoint.results.on_disk.saving import save
from exact_scenes import exact_scene
from fake_model import picture_array

HW, MAP_HW = (120, 160), (30, 40)


def noise_picture(seed, hw=HW):
    """Smooth noise over all grey levels."""
    noise = np.random.default_rng(seed).normal(size=hw).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def warped_pair(seed):
    """Two pictures, and the exact flow from the first to the second at any place of the first."""
    rng = np.random.default_rng(seed)
    turn, grow = rng.uniform(-0.05, 0.05), rng.uniform(0.95, 1.05)
    shift = rng.uniform(-6, 6, size=2)
    matrix = grow * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array(HW[::-1]) / 2

    def flow(xy):
        return (xy - centre) @ matrix.T + centre + shift - xy

    first = noise_picture(seed)
    # What is shown at a place of the second picture comes from this place of the first.
    place = np.stack(np.meshgrid(np.arange(HW[1]) + 0.5, np.arange(HW[0]) + 0.5), axis=-1)
    source = (place - centre - shift) @ np.linalg.inv(matrix).T + centre - 0.5
    second = cv2.remap(
        first, *np.moveaxis(source.astype(np.float32), -1, 0), cv2.INTER_CUBIC, borderMode=4
    )
    return first, second, flow


def map_flow(flow):
    """Exact flow at the pixels of a map, in its pixels, and which end well inside the picture."""
    xy = np.stack(np.meshgrid(np.arange(MAP_HW[1]) + 0.5, np.arange(MAP_HW[0]) + 0.5), axis=-1)
    scale = np.array([HW[1] / MAP_HW[1], HW[0] / MAP_HW[0]])
    exact = flow(xy * scale)
    end = xy * scale + exact
    inside = ((end > 8) & (end < np.array(HW[::-1]) - 8)).all(axis=-1)
    return (exact / scale).astype(np.float32), inside


def both_ways(first, second, guess, still):
    """Measured flow from a guess for the way there, and none for the way back."""
    nothing = Guess(flow=np.zeros_like(guess), still=np.zeros_like(still))
    return measured_flow(first, second, Guess(flow=guess, still=still), nothing)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("off", [0.0, 1.0, 40.0])
def test_flow_is_found_whatever_the_guess(seed, off):
    """In pixels of the map, of which each is four of the pictures."""
    first, second, flow = warped_pair(seed)
    exact, inside = map_flow(flow)
    guess = exact + off * np.random.default_rng(seed).normal(size=exact.shape).astype(np.float32)
    nothing = np.zeros(MAP_HW, dtype=bool)
    found, back = both_ways(first, second, guess, nothing)
    error = np.linalg.norm(found - exact, axis=-1)[inside]
    flat = exact.reshape(-1, 2).astype(np.float64)
    xy = np.stack(np.meshgrid(np.arange(MAP_HW[1]) + 0.5, np.arange(MAP_HW[0]) + 0.5), axis=-1)
    home, _ = flow_between_pixels(back, np.ones(MAP_HW), xy.reshape(-1, 2) + flat)
    assert np.median(np.linalg.norm(flat + home, axis=-1)[inside.reshape(-1)]) < 0.05
    assert inside.mean() > 0.5 and found.dtype == np.float32
    assert np.median(error) < 0.05 and np.quantile(error, 0.95) < 0.3


def test_a_right_guess_of_what_stands_still_is_kept_to_the_bit_and_a_wrong_one_is_not():
    first, second, flow = warped_pair(5)
    exact, inside = map_flow(flow)
    still = np.zeros(MAP_HW, dtype=bool)
    still[:, 20:] = True
    kept, _ = both_ways(first, second, exact, still)
    same = (kept == exact).all(axis=-1)
    assert same[inside & still].mean() > 0.95 and same[~still].mean() < 0.05
    wrong = exact + np.float32(2)
    moved, _ = both_ways(first, second, wrong, still)
    assert not (moved == wrong).all(axis=-1)[inside].any()
    assert np.median(np.linalg.norm(moved - exact, axis=-1)[inside & still]) < 0.05


def test_flow_that_does_not_come_home_has_to_explain_more(monkeypatch):
    """Pictures that have nothing in common: flow fits something, and does not come home."""
    first, second = noise_picture(1), noise_picture(2)
    guess = np.random.default_rng(3).uniform(-1, 1, size=(*MAP_HW, 2)).astype(np.float32)
    still = np.ones(MAP_HW, dtype=bool)
    kept = {}
    for levels in (1.0, 6.0, 30.0):
        monkeypatch.setattr(module, "_PREFERENCE_LOST", levels)
        kept[levels] = (both_ways(first, second, guess, still)[0] == guess).all(axis=-1).mean()
    assert kept[1.0] < kept[6.0] < kept[30.0] and kept[30.0] > 0.7
    # What is not known to stand still is not where it explains less.
    others = (both_ways(first, second, guess, ~still)[0] == guess).all(axis=-1).mean()
    assert 0 < others < kept[1.0]


def test_plain_pictures_leave_what_stands_still_where_it_was():
    plain = np.full(HW, 90, dtype=np.uint8)
    rng = np.random.default_rng(0)
    guess = rng.uniform(-3, 3, size=(*MAP_HW, 2)).astype(np.float32)
    found, _ = both_ways(plain, plain, guess, np.ones(MAP_HW, dtype=bool))
    np.testing.assert_array_equal(found, guess)


@pytest.mark.parametrize("hw", [(1, 1), (7, 50), (31, 33), (40, 3)])
def test_any_size_and_any_guess_will_do(hw):
    rng = np.random.default_rng(1)
    one, other = (rng.integers(0, 256, size=hw, dtype=np.uint8) for _ in range(2))
    guess = rng.normal(size=(5, 6, 2)).astype(np.float32) * np.float32(1e30)
    before = guess.copy()
    for found in both_ways(one, other, guess, rng.random((5, 6)) < 0.5):
        assert found.shape == guess.shape and np.isfinite(found).all()
    np.testing.assert_array_equal(guess, before)


def test_matches_at_places_seen():
    """True places of visible points are valid, with the true distance of the two maps."""
    rng = np.random.default_rng(2)
    count = 200
    start = torch.from_numpy(rng.uniform([0, 0], [32, 24], size=(count, 2)))
    end = torch.from_numpy(rng.uniform([0, 0], [32, 24], size=(count, 2)))
    end[:10] = torch.nan
    end[10:20, 0] = 33.0
    points = torch.from_numpy(rng.normal(size=(2, 24, 32, 3)))
    sure = torch.ones(24, 32)
    miss = torch.from_numpy(rng.uniform(-3, 3, size=(count, 2)))
    found = match_seen(start, points[0], sure, points[1], sure, end_px=end, home_px=start + miss)
    assert found.xy_px[:20].isnan().all() and not found.valid[:20].any()
    worst = miss[20:].abs().amax(dim=1)
    assert torch.equal(found.valid[20:], worst <= 2) and torch.equal(found.mutual[20:], worst <= 1)
    torch.testing.assert_close(found.xy_px[20:], end[20:])
    torch.testing.assert_close(found.score[20:], 1 / (1 + worst**2))
    centres = pixel_centres((24, 32), dtype=torch.float64).reshape(-1, 2)
    other = torch.from_numpy(rng.permutation(24 * 32))
    exact = match_seen(
        centres, points[0], sure, points[1], sure, end_px=centres[other], home_px=centres
    )
    apart = (points[0].reshape(-1, 3) - points[1].reshape(-1, 3)[other]).norm(dim=1)
    torch.testing.assert_close(exact.distance, apart)
    assert exact.mutual.all()


SHIFT_PX = np.array([3.0, -2.0])


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def shifted(request):
    """A scene whose maps are wrong and whose pictures say that all goes by `SHIFT_PX` of them."""
    rec = exact_scene(request.param, crop_px=2.0)
    height, width = (6 * side for side in rec.map_hw)
    whole = noise_picture(7, (height + 40, width + 40))
    pictures = []
    for frame in range(rec.frame_count):
        column, row = (20 - frame * SHIFT_PX).astype(int)
        pictures.append(whole[row : row + height, column : column + width])
    return dataclasses.replace(rec, pictures=np.stack(pictures))


def test_answers_in_pictures_follow_the_pictures(shifted):
    """Places in original pixels, of which maps may show a part; answers agree with each other."""
    rec = shifted
    scale = np.array(rec.pictures.shape[:0:-1]) / rec.map_hw[::-1]
    exact = (SHIFT_PX / scale) / rec.pixel_map.scale[0]
    inner = np.zeros(rec.map_hw, dtype=bool)
    inner[4:-4, 4:-4] = True
    flow = rec.optical_flow(frame=1, to_time=2)
    np.testing.assert_allclose(flow.flow_px[inner], np.tile(exact, (inner.sum(), 1)), atol=0.05)
    back = rec.optical_flow(frame=2, to_time=1)
    np.testing.assert_allclose(back.flow_px[inner], np.tile(-exact, (inner.sum(), 1)), atol=0.05)
    rows, columns = np.nonzero(inner)
    start = rec.pixel_map.to_picture(1, np.stack([columns, rows], axis=1) + 0.5)
    end = start + flow.flow_px[inner]
    whole = rec.match(frame=1, to_frame=2)
    assert whole.mutual[inner].all() and whole.valid[inner].all()
    np.testing.assert_allclose(whole.xy_px[inner], end, atol=1e-3)
    some = rec.match(frame=1, to_frame=2, xy=start[::7])
    np.testing.assert_allclose(some.xy_px, end[::7], atol=1e-3)
    tracks = rec.track(frame=1, mask=inner)
    np.testing.assert_allclose(tracks.xy[2], end, atol=1e-3)
    np.testing.assert_allclose(tracks.xy[1], start, atol=1e-3)
    np.testing.assert_allclose(rec.track(frame=1, xy=start[::7]).xy[2], end[::7], atol=1e-3)
    # Between pixels too.
    between = start[::7] + 0.4
    np.testing.assert_allclose(
        rec.match(frame=1, to_frame=2, xy=between).xy_px, between + exact, atol=0.1
    )


def test_points_are_left_alone_and_without_pictures_maps_answer(shifted):
    plain = dataclasses.replace(shifted, pictures=None)
    np.testing.assert_array_equal(shifted.track(frame=0).points, plain.track(frame=0).points)
    pose, lens = plain.world_from_camera[2], plain.intrinsics[2]
    points = plain.maps(frame=0, time=2)[0].astype(np.float64)
    xy = project(points_in_camera(points, pose), lens)
    start = plain.pixel_map.to_picture(0, centres_of(plain.map_hw))
    flow = plain.optical_flow(frame=0, to_time=2).flow_px
    np.testing.assert_allclose(flow, xy - start, atol=2e-3)
    assert np.abs(flow - shifted.optical_flow(frame=0, to_time=2).flow_px).max() > 1


def test_an_opened_scene_measures_the_same(tmp_path):
    pictures = picture_array(3, 96, 128)
    rec = dynapoint.reconstruct(pictures, dynapoint.load_model("nano"), refine=True)
    save(rec, tmp_path / "scene")
    opened = dynapoint.open(tmp_path / "scene")
    np.testing.assert_array_equal(opened.pictures, rec.pictures)
    assert rec.pictures.shape == (3, 96, 128)
    for frame, time in [(0, 1), (2, 1), (1, 1)]:
        fresh, stored = (each.optical_flow(frame=frame, to_time=time) for each in (rec, opened))
        np.testing.assert_array_equal(fresh.flow_px, stored.flow_px)
        fresh, stored = (each.match(frame=frame, to_frame=time) for each in (rec, opened))
        for field in dataclasses.fields(fresh):
            np.testing.assert_array_equal(getattr(fresh, field.name), getattr(stored, field.name))
        np.testing.assert_array_equal(rec.track(frame=frame).xy, opened.track(frame=frame).xy)


@pytest.mark.parametrize("kind", ["missing", "cut", "frames"])
def test_damaged_pictures_are_named(tmp_path, kind):
    rec = dataclasses.replace(exact_scene(), pictures=np.zeros((4, 8, 9), dtype=np.uint8))
    folder = tmp_path / "scene"
    save(rec, folder)
    np.testing.assert_array_equal(dynapoint.open(folder).pictures, rec.pictures)
    path = folder / "pictures.npy"
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        np.save(path, rec.pictures[:3])
    with pytest.raises(SceneError, match="pictures"):
        dynapoint.open(folder)


def test_flow_is_kept_within_bounds(shifted, monkeypatch):
    monkeypatch.setattr(seen_places, "_KEPT_BYTES", 0)
    rec = dataclasses.replace(shifted)
    first = seen_places.seen_flow(rec, 0, 1)
    for pair in [(1, 2), (2, 3), (3, 2)]:
        seen_places.seen_flow(rec, *pair)
    assert len(rec._flows) == 2
    np.testing.assert_array_equal(seen_places.seen_flow(rec, 0, 1).flow_px, first.flow_px)
