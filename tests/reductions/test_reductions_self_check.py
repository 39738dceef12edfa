"""Self-check: known faults raise the signals that they should, by the amount that they should."""

import itertools
import math

import numpy as np
import pytest
import torch

import dynapoint
from dynapoint.geometry.pinhole import pixel_centres, unproject
from dynapoint.geometry.rigid import transform_points
from dynapoint.reductions.grades import error_of_grade
from dynapoint.reductions.self_check import (
    _EXPONENTS,
    SelfCheck,
    chosen_pairs,
    grade_of,
    self_check,
)
from dynapoint.results.checks import check, check_lines
from exact_pairs import exact_clip
from fake_model import FakeModel, picture_array

_HW, _FRAMES, _FOCAL = (48, 64), 5, 60.0


def wall(*, slant=0.0, step=0.1, seed=0):
    """A textured wall before cameras that step to the right: nothing moves, all is exact."""
    height, width = _HW
    intrinsics = torch.tensor([[_FOCAL, 0, width / 2], [0, _FOCAL, height / 2], [0, 0, 1]])
    intrinsics = intrinsics.double().repeat(_FRAMES, 1, 1)
    poses = torch.eye(4, dtype=torch.float64).repeat(_FRAMES, 1, 1)
    poses[:, 0, 3] = step * torch.arange(_FRAMES)
    xy = pixel_centres(_HW, dtype=torch.float64).flatten(0, 1)
    ray = unproject(xy, torch.ones(len(xy), dtype=torch.float64), intrinsics[0])
    # Depths at which the rays meet the plane z + slant x = 4 of the world.
    depth = (4 - slant * poses[:, :1, 3]) / (1 + slant * ray[:, 0])
    points = transform_points(poses, ray * depth[..., None])
    phase = torch.rand(3, generator=torch.Generator().manual_seed(seed)).double() * 6
    waves = torch.sin(4 * points[..., :1] + phase) * torch.sin(4 * points[..., 1:2] + 2 * phase)
    images = (127.5 + 127 * waves).round().to(torch.uint8).unflatten(1, _HW)
    confidence = torch.full((_FRAMES, *_HW), 100.0, dtype=torch.float64)
    return {
        "points": points.unflatten(1, _HW),
        "confidence": confidence,
        "images": images,
        "world_from_camera": poses,
        "intrinsics": intrinsics,
    }


def still(scene):
    """Decoded maps of a scene in which nothing moves."""
    return {pair: scene["points"][pair[0]].clone() for pair in chosen_pairs(_FRAMES)}


def test_the_truth_contradicts_itself_nowhere():
    scene = wall()
    found = self_check(**scene, decoded=still(scene))
    assert found.depth_disagreement < 1e-12 and found.reprojection_error < 1e-12
    assert found.still_drift == 0 and found.moving_share == 0
    # What comes back does so through the nearest pixel's centre: half a pixel at most.
    assert found.cycle_error < 0.5 * 2**0.5 / _FOCAL
    assert found.color_difference < 0.1
    assert found.expected_error == pytest.approx(0.01)
    assert math.isnan(found.moving_cycle_error)
    assert found.grade > 0.9
    assert check_lines(found)[1:] == []


def test_engine_truth_with_movers_agrees_up_to_pixels():
    clip = exact_clip(1_000_000_261, frames=4, image_hw=_HW)
    order = torch.arange(4)[None]
    truth = clip.truth(order, order)
    own = torch.stack([truth.points[0, i, i] for i in range(4)])
    found = self_check(
        own,
        truth.valid[0].float() * 100,
        clip.images[0],
        clip.world_from_camera[0],
        clip.intrinsics[0],
        decoded={(i, t): truth.points[0, t, i] for i, t in chosen_pairs(4)},
    )
    assert found.reprojection_error < 1e-4
    assert found.depth_disagreement < 0.01 and found.cycle_error < 0.02
    assert found.still_drift < 1e-6
    assert found.moving_share > 0.02
    assert found.color_difference < 0.7
    assert found.grade > 0.8


@pytest.mark.parametrize("scale", [0.7, 1.1, 1.5])
def test_a_frame_of_another_scale_is_named(scale):
    scene = wall()
    eye = scene["world_from_camera"][2, :3, 3]
    scene["points"][2] = eye + scale * (scene["points"][2] - eye)
    found = self_check(**scene, decoded=still(scene))
    wanted = abs(math.log(scale))
    # Frame 2 has two partners in each direction; its neighbours have it for one of theirs.
    assert found.frame_disagreement[2] == pytest.approx(wanted, rel=1e-9)
    assert float(found.frame_disagreement.max()) == pytest.approx(wanted, rel=1e-9)
    assert found.scale_change == pytest.approx(wanted / 5**0.5, rel=1e-9)
    lines = " ".join(check_lines(found))
    assert "frame 2 differs" in lines or ("frames" in lines and "2" in lines)


@pytest.mark.parametrize("share", [0.003, 0.05])
def test_a_drift_of_the_background_is_measured(share):
    scene = wall()
    decoded = {
        pair: maps + share * (maps - scene["world_from_camera"][pair[0], :3, 3])
        for pair, maps in still(scene).items()
    }
    found = self_check(**scene, decoded=decoded)
    assert found.still_drift == pytest.approx(share, rel=1e-9)
    assert found.moving_share == 0
    assert any("drift" in line for line in check_lines(found)) == (share > 0.01)


def test_a_cycle_that_does_not_close_is_measured():
    scene = wall(step=0.0)
    # To time t and back, but for a step sideways on the way back.
    decoded = still(scene)
    for frame, time in decoded:
        if time == 0:
            decoded[frame, time] = decoded[frame, time] + torch.tensor([0.0, 0.0, 0.8])
    found = self_check(**scene, decoded=decoded)
    wall_points = scene["points"][0]
    distance = wall_points.norm(dim=-1)
    # Cycles that begin at time 0 miss by .8. Those that begin elsewhere go to a depth of 4.8 and so
    # meet the pixel whose ray is 4 / 4.8 as steep.
    first = (0.8 / distance).median()
    second = (wall_points[..., :2].norm(dim=-1) * (1 - 4 / 4.8) / distance).median()
    assert found.cycle_error == pytest.approx(float(first + second) / 2, rel=0.03)


def test_movers_whose_cycles_do_not_close_are_told_from_a_background_that_does():
    scene = wall(step=0.0)
    decoded = still(scene)
    box = (slice(15, 30), slice(20, 40))
    for frame, time in decoded:
        decoded[frame, time][box] += torch.tensor([0.0, 0.0, -1.0])
    found = self_check(**scene, decoded=decoded)
    assert found.moving_share == pytest.approx(15 * 20 / (48 * 64), rel=0.1)
    assert found.cycle_error < 0.01
    # The box comes one unit nearer on the way and one unit nearer again on the way back.
    assert 0.2 < found.moving_cycle_error < 0.35
    assert any("moving points" in line for line in check_lines(found))


@pytest.mark.parametrize("shift_px", [0.5, 3.0])
def test_cameras_beside_their_maps_are_found(shift_px):
    scene = wall()
    scene["intrinsics"][:, 0, 2] += shift_px
    found = self_check(**scene, decoded={})
    assert found.reprojection_error == pytest.approx(shift_px / _FOCAL, rel=1e-9)
    assert any("reprojection" in line for line in check_lines(found)) == (shift_px > 0.6)


def test_pictures_that_do_not_belong_together_differ_as_by_chance():
    scene = wall()
    noise = torch.randint(0, 256, scene["images"].shape, generator=torch.Generator().manual_seed(1))
    scene["images"] = noise.to(torch.uint8)
    assert self_check(**scene, decoded={}).color_difference == pytest.approx(1.0, abs=0.05)


def test_doubt_at_edges_far_away_and_of_single_frames_is_read_off_confidence():
    scene = wall(slant=0.8, step=0.0)
    confidence = scene["confidence"]
    confidence[:] = 10.0
    confidence[3] = 5.0
    found = self_check(**scene, decoded={})
    assert found.expected_error == pytest.approx((4 * 0.1 + 0.2) / 5)
    np.testing.assert_allclose(found.frame_expected_error, [0.1, 0.1, 0.1, 0.2, 0.1])
    assert found.far_doubt == pytest.approx(1.0, rel=0.05)
    far = scene["points"].norm(dim=-1) > scene["points"].norm(dim=-1).quantile(0.7)
    found = self_check(**{**scene, "confidence": torch.where(far, 2.0, 8.0).double()}, decoded={})
    assert found.far_doubt == pytest.approx(4.0)
    scene["points"][:, :, 32:] *= 1.5
    edge = torch.zeros(_FRAMES, *_HW, dtype=torch.bool)
    edge[:, :, 31:33] = True
    found = self_check(**{**scene, "confidence": torch.where(edge, 1.0, 3.0).double()}, decoded={})
    assert found.edge_doubt == pytest.approx(3.0)


def test_the_lens_and_jumps_of_the_camera_are_read_off_the_cameras():
    scene = wall()
    scene["world_from_camera"][3:, 0, 3] += 1.1
    found = self_check(**scene, decoded={})
    assert found.camera_jump == pytest.approx(1.2 / 0.1)
    assert found.field_of_view_deg == pytest.approx(math.degrees(2 * math.atan(32 / _FOCAL)))
    assert any("jumps" in line for line in check_lines(found))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_scale_changes_nothing(scale):
    scene = wall(slant=0.3)
    scene["points"] += 0.02 * torch.randn(scene["points"].shape).double()
    plain = self_check(**scene, decoded=still(scene))
    scene["points"] *= scale
    scene["world_from_camera"][:, :3, 3] *= scale
    scaled = self_check(**scene, decoded=still(scene))
    for name in SelfCheck.__dataclass_fields__:
        np.testing.assert_allclose(
            getattr(scaled, name), getattr(plain, name), rtol=1e-6, atol=1e-9
        )


def test_more_noise_never_raises_the_grade():
    scene = wall(slant=0.3)
    noise = torch.randn(scene["points"].shape).double()
    eyes = scene["world_from_camera"][:, None, None, :3, 3]
    grades = []
    for level in (0.0, 0.02, 0.1, 0.3):
        noisy = {**scene, "points": eyes + (scene["points"] - eyes) * (1 + level * noise[..., :1])}
        noisy["confidence"] = torch.full_like(scene["confidence"], 1 / (0.01 + level))
        grades.append(self_check(**noisy, decoded=still(noisy)).grade)
    assert all(a > b for a, b in itertools.pairwise(grades))
    assert 0 <= grades[-1] < grades[0] <= 1


def test_the_grade_falls_with_every_signal_and_stays_within_its_bounds():
    usual = {name: middle for name, (_, middle) in _EXPONENTS.items()}
    for name in _EXPONENTS:
        grades = [grade_of({**usual, name: usual[name] * k}) for k in (0, 0.1, 1, 2, 100)]
        assert grades == sorted(grades, reverse=True) and grades[1] > grades[3]
        assert 0 <= grades[-1] and grades[0] <= 1
        assert name == "expected_error" or grade_of({**usual, name: math.nan}) == grade_of(usual)
    assert error_of_grade(0.5) == pytest.approx(0.2)


def test_nothing_usable_has_no_grade():
    scene = wall()
    for spoilt in (
        {**scene, "confidence": scene["confidence"] * 0},
        {**scene, "points": scene["points"] * torch.nan},
    ):
        found = self_check(**spoilt, decoded=still(scene))
        assert found.grade == 0
        assert math.isnan(found.expected_error) and math.isnan(found.cycle_error)
        assert len(check_lines(found)) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_single_frames_two_points_and_holes_have_an_answer(dtype):
    scene = wall()
    one = {
        name: value[:1] if name == "images" else value[:1].to(dtype)
        for name, value in scene.items()
    }
    found = self_check(**one, decoded={})
    assert math.isnan(found.depth_disagreement) and found.grade is None
    assert "no grade" in check_lines(found)[0]
    assert found.frame_expected_error.dtype == dtype
    two = torch.zeros_like(scene["confidence"])
    two[0, 5, 5] = two[3, 9, 9] = 10
    found = self_check(**{**scene, "confidence": two}, decoded=still(scene))
    assert math.isnan(found.depth_disagreement) and found.expected_error == pytest.approx(0.1)
    holes = scene["points"].clone()
    holes[:, ::3, ::5] = torch.nan
    found = self_check(**{**scene, "points": holes}, decoded=still(scene))
    assert found.depth_disagreement < 1e-9 and found.still_drift == 0


@pytest.mark.parametrize("frames", [1, 2, 3, 6, 24, 100])
def test_chosen_pairs_come_both_ways_and_span_the_clip(frames):
    pairs = chosen_pairs(frames)
    assert len(pairs) == len(set(pairs)) == 2 * min(5, frames - 1)
    assert all((time, frame) in pairs and frame != time for frame, time in pairs)
    assert frames == 1 or (0, frames - 1) in pairs
    assert all(0 <= index < frames for pair in pairs for index in pair)


def test_a_reconstruction_is_checked_and_described():
    rec = dynapoint.reconstruct(picture_array(6, 48, 64), FakeModel())
    found = check(rec)
    assert isinstance(found.frame_disagreement, np.ndarray)
    assert found.reprojection_error < 1e-5 and found.still_drift == 0
    assert found.moving_share > 0.05
    first = check_lines(found)[0]
    assert f"{found.grade:.2f} of 1" in first
