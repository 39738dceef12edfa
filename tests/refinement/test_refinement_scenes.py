"""Refinement through `reconstruct`, stored scenes and the command, and what becomes of motion."""

import dataclasses
import json

import numpy as np
import pytest

import dynapoint
from dynapoint import cli
from dynapoint.data.frames import load_frames
from dynapoint.errors import SceneError
from dynapoint.inference.pipeline import reconstruct_frames
from dynapoint.inference.refining import small_pictures
from dynapoint.inference.scale import scaled
from dynapoint.models.cards import find_card
from dynapoint.models.kept.correction import MOVING, STILL, UNKNOWN, Correction
from dynapoint.refinement import refine as refine_module
from dynapoint.refinement.findings import Findings
from dynapoint.refinement.gate import Verdict
from dynapoint.results.on_disk.manifest import read_manifest
from dynapoint.results.pixel_map import PixelMap
from fake_model import FakeModel, picture_array
from refinement_cases import rendered


@pytest.fixture
def believed(monkeypatch):
    """Whatever is found is taken."""
    verdict = Verdict(poses=True, lens=True, depth=True)
    monkeypatch.setattr(refine_module, "judge", lambda found: verdict)


@pytest.fixture(scope="module")
def pictures():
    return rendered(frames=3, image_hw=(192, 256))[0]


def test_small_networks_are_refined_unless_told_otherwise(pictures, believed):
    network = dynapoint.load_model("nano")
    refined = dynapoint.reconstruct(pictures, network)
    plain = dynapoint.reconstruct(pictures, network, refine=False)
    assert refined.refinement.poses and plain.refinement is None
    assert not np.array_equal(refined.own_time_points, plain.own_time_points)
    assert np.isfinite(refined.own_time_points).all()
    # Own-time points lie on the rays of their pixels.
    pixels = np.argwhere(refined.own_time_confidence[2] > 0)[::97]
    xy = refined.pixel_map.to_picture(2, pixels[:, ::-1] + 0.5)
    points = refined.query(frame=2, xy=xy, time=2, camera=2).points
    shown = points[:, :2] / points[:, 2:] * refined.intrinsics[2, [0, 1], [0, 1]]
    np.testing.assert_allclose(shown + refined.intrinsics[2, :2, 2], xy, atol=0.05)


def test_a_session_in_which_numpy_raises_gets_the_same(pictures, believed):
    network = dynapoint.load_model("nano")
    plain = dynapoint.reconstruct(pictures, network)
    before = np.seterr(all="raise")
    try:
        strict = dynapoint.reconstruct(pictures, network)
        moved = strict.track(frame=0, every=16).xy
    finally:
        np.seterr(**before)
    assert np.array_equal(strict.own_time_points, plain.own_time_points)
    np.testing.assert_array_equal(moved, plain.track(frame=0, every=16).xy)


@pytest.mark.parametrize(
    ("name", "refined"),
    [("nano", True), ("dpm-nano", True), ("dept3r-nano-1", True), ("vggt", False), ("vdpm", False)],
)
def test_which_networks_are_refined(name, refined):
    assert find_card(name).refine is refined


def test_networks_of_users_are_refined_if_asked_for(believed):
    frames = load_frames(picture_array(3, 48, 64))
    assert reconstruct_frames(frames, FakeModel()).refinement is None
    assert reconstruct_frames(frames, FakeModel(), refine=True).refinement is not None


@pytest.mark.parametrize("prepare", ["default", "published"])
@pytest.mark.parametrize("broken", [False, True])
def test_broken_networks_and_crops_leave_no_nan(believed, prepare, broken):
    pictures = rendered(frames=3, image_hw=(128, 96))[0]
    frames = load_frames(pictures)
    rec = reconstruct_frames(frames, FakeModel(broken=broken), refine=True, prepare=prepare)
    for time in range(3):
        points, confidence = rec.maps(frame=1, time=time)
        assert np.isfinite(points).all() and np.isfinite(confidence).all()


def test_an_opened_scene_answers_as_the_fresh_one(tmp_path, pictures, believed):
    rec = dynapoint.reconstruct(pictures, "nano")
    xy = np.random.default_rng(0).uniform([0, 0], [256, 192], size=(50, 2))
    rec.save(tmp_path / "scene")
    opened = dynapoint.open(tmp_path / "scene")
    for frame in range(3):
        fresh, stored = rec.query(frame=frame, xy=xy), opened.query(frame=frame, xy=xy)
        assert np.array_equal(fresh.points, stored.points)
        assert np.array_equal(fresh.visible, stored.visible)
    assert opened.refinement == Findings.from_plain(rec.refinement.to_plain())
    metric = scaled(rec, 2.0, scale_from="distance")
    fresh, twice = rec.query(frame=1, xy=xy), metric.query(frame=1, xy=xy)
    np.testing.assert_allclose(twice.points, 2 * fresh.points, rtol=1e-5, atol=1e-5)
    entry = json.loads((tmp_path / "scene" / "manifest.json").read_text())
    entry["refinement"]["poses"] = "perhaps"
    (tmp_path / "scene" / "manifest.json").write_text(json.dumps(entry))
    with pytest.raises(SceneError, match="refinement"):
        read_manifest(tmp_path / "scene")
    del entry["refinement"]
    (tmp_path / "scene" / "manifest.json").write_text(json.dumps(entry))
    assert read_manifest(tmp_path / "scene").refinement is None


def test_the_command_says_what_was_refined(tmp_path, pictures, capsys):
    from PIL import Image

    paths = []
    for index, picture in enumerate(pictures):
        paths.append(str(tmp_path / f"{index}.png"))
        Image.fromarray(picture).save(paths[-1])
    assert cli.main(["reconstruct", *paths, "-o", str(tmp_path / "a"), "--no-refine"]) == 0
    assert cli.main(["reconstruct", *paths, "-o", str(tmp_path / "b")]) == 0
    capsys.readouterr()
    assert cli.main(["info", str(tmp_path / "a")]) == 0
    assert "refined" not in capsys.readouterr().out
    assert cli.main(["info", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "matches explained" in said and "cameras explain" in said
    assert cli.main(["info", str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refinement"]["start"] != "none"
    both = ["reconstruct", *paths, "-o", str(tmp_path / "c"), "--refine", "--no-refine"]
    assert cli.main(both) == 2


def test_small_pictures_show_what_the_maps_show():
    frames = load_frames(picture_array(2, 60, 80))
    whole = PixelMap(
        scale=np.tile([0.4, 0.4], (2, 1)),
        offset=np.zeros((2, 2)),
        picture_hw=np.tile([60, 80], (2, 1)),
        map_hw=(24, 32),
    )
    small = small_pictures(frames, whole, side=40)
    assert small.shape == (2, 30, 40, 3)
    means = frames.images.reshape(2, 30, 2, 40, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - means).max() <= 1
    # A map that shows the middle half, and one with a margin around the picture.
    crop = dataclasses.replace(whole, offset=np.tile([-8.0, 0.0], (2, 1)), map_hw=(24, 16))
    cropped = small_pictures(frames, crop, side=30)
    assert cropped.shape == (2, 30, 20, 3) and np.array_equal(cropped, small[:, :, 10:30])
    margin = dataclasses.replace(whole, offset=np.tile([0.0, 4.0], (2, 1)), map_hw=(32, 32))
    padded = small_pictures(frames, margin, side=40)
    assert (padded[:, :5] == 255).all() and (padded[:, 35:] == 255).all()
    assert np.array_equal(padded[:, 5:35], small)


def correction(evidence, *, turn=None, ratio=1.0, lens=1.0):
    """Between a network's cameras and refined ones, two frames of 2 x 2 pixels."""
    intrinsics = np.tile(np.array([[2.0, 0, 1], [0, 2.0, 1], [0, 0, 1]]), (2, 1, 1))
    refined = intrinsics.copy()
    refined[:, [0, 1], [0, 1]] *= lens
    poses = np.tile(np.eye(4), (2, 1, 1))
    turned = poses.copy()
    if turn is not None:
        turned[1, :3, :3] = turn
    return Correction.between(
        network_poses=poses,
        network_intrinsics=intrinsics,
        poses=turned,
        intrinsics=refined,
        depth_ratio=np.full((2, 2, 2), ratio, dtype=np.float32),
        evidence=np.array(evidence, dtype=np.uint8),
    )


def flat_points(depth=2.0):
    x, y = np.meshgrid([-0.25, 0.25], [-0.25, 0.25])
    points = np.stack([x * depth, y * depth, np.full((2, 2), depth)], axis=-1)
    return np.stack([points, points]).astype(np.float32)


def test_displacements_go_with_camera_lens_and_depth():
    rng = np.random.default_rng(0)
    displacement = rng.normal(size=(2, 2, 3)).astype(np.float32)
    own = flat_points()
    unknown = np.full((2, 2, 2), UNKNOWN)
    same = correction(unknown).placed(displacement, own, frame=1, time=0)
    np.testing.assert_allclose(same, own[1] + displacement, atol=1e-6)
    quarter = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    turned = correction(unknown, turn=quarter, ratio=3.0, lens=2.0)
    found = turned.placed(displacement, own, frame=1, time=0) - own[1]
    # Twice the focal length shows half the way across as the same way in the picture.
    wanted = 3 * (displacement * [0.5, 0.5, 1.0]) @ quarter.T
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_still_pixels_stay_unless_something_moving_is_where_they_would_be():
    own, displacement = flat_points(), np.ones((2, 2, 3), dtype=np.float32)
    evidence = np.full((2, 2, 2), STILL)
    evidence[0, 0, 0] = UNKNOWN
    moved = correction(evidence).placed(displacement, own, frame=0, time=1) - own[0]
    assert np.abs(moved[0, 0] - 1).max() < 1e-6 and not moved[0, 1].any() and not moved[1].any()
    evidence[1, 1, 1] = MOVING
    moved = correction(evidence).placed(displacement, own, frame=0, time=1) - own[0]
    assert np.abs(moved[1, 1] - 1).max() < 1e-6 and not moved[0, 1].any()
    # What moves farther away or nearer hides nothing of what was found to be still.
    apart = own.copy()
    apart[1] *= 1.5
    moved = correction(evidence).placed(displacement, apart, frame=0, time=1) - own[0]
    assert not moved[1, 1].any()
