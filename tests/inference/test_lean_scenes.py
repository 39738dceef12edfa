"""Scenes saved lean: smaller by what is told, off by no more than is told, one recipe for all."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint import cli
from dynapoint.errors import SceneError
from dynapoint.geometry.arrays import points_on_rays
from dynapoint.results.on_disk.fewer_bits import SHARES, Scale, from_codes, to_codes
from dynapoint.results.on_disk.manifest import read_manifest
from dynapoint.results.reconstruction import Reconstruction
from dynapoint.results.scene_points import FrameTracks
from fake_model import FakeModel, picture_array
from test_manifest_damage import WRONG, damaged, places
from video_files import write_video


def scenes_of(rec: Reconstruction, folder: Path) -> tuple[Reconstruction, Reconstruction]:
    """The same reconstruction opened from a whole scene and from a lean one."""
    rec.save(folder / "whole")
    rec.save(folder / "lean", lean=True)
    return dynapoint.open(folder / "whole"), dynapoint.open(folder / "lean")


@pytest.fixture
def rough() -> Reconstruction:
    """Depths over four decades, half of the pixels still, some that mean nothing."""
    rng = np.random.default_rng(4)
    rec = dynapoint.reconstruct(picture_array(3, 48, 80), FakeModel(64))
    shape = rec.own_time_confidence.shape
    depth = np.exp(rng.uniform(-3, 6, shape))
    confidence = np.exp(rng.uniform(-2, 3, shape)).astype(np.float32)
    confidence[rng.random(shape) < 0.1] = 0
    points = np.stack(
        [
            points_on_rays(depth[frame], rec.map_intrinsics[frame], rec.world_from_camera[frame])
            for frame in range(3)
        ]
    )
    # These lie on no ray, and one of them behind its camera.
    nothing = confidence == 0
    points[nothing] += rng.normal(0, 50, (nothing.sum(), 3))
    moved = rng.normal(0, 1, points.shape) * (rng.random((*shape[1:], 1)) < 0.5)
    moved[0] = 0
    points = points.astype(np.float32)
    tracks = FrameTracks(
        points=(points[0] + moved).astype(np.float32),
        visible=rng.random(shape).astype(np.float32),
        confidence=np.exp(rng.uniform(-2, 3, shape)).astype(np.float32),
    )
    return replace(rec, own_time_points=points, own_time_confidence=confidence, kept_tracks=tracks)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_numbers_on_a_scale_are_off_by_no_more_than_it_says(dtype):
    rng = np.random.default_rng(0)
    for _ in range(20):
        low, high = np.sort(np.exp(rng.uniform(-9, 9, 2))).astype(np.float32)
        values = np.exp(rng.uniform(np.log(low), np.log(high), (5, 40))).astype(np.float32)
        values[0, :3] = low, high, 0
        ratios = Scale.by_ratios(values)
        assert (ratios.low, ratios.high) == (low, high)
        codes = to_codes(values, ratios, dtype)
        found = from_codes(codes, ratios)
        assert codes.dtype == dtype and found.dtype == np.float32
        np.testing.assert_array_equal(found[0, :3], [low, high, 0])
        known = values > 0
        assert (codes[known] > 0).all()
        errors = np.abs(found[known] / values[known].astype(np.float64) - 1)
        assert errors.max() <= ratios.error(dtype) + 2e-7
        np.testing.assert_array_equal(to_codes(found, ratios, dtype), codes)
        shares = rng.random((4, 30)).astype(np.float32)
        shares[0, :2] = 0, 1
        found = from_codes(to_codes(shares, SHARES, dtype), SHARES)
        np.testing.assert_array_equal(found[0, :2], [0, 1])
        assert np.abs(found - shares).max() <= SHARES.error(dtype) + 1e-7


def test_beyond_a_scale_is_its_end_and_one_value_is_a_scale():
    scale = Scale(low=0.5, high=2.0, ratios=True)
    found = from_codes(to_codes(np.array([[0.1, 9.0, 0.0]]), scale, np.uint8), scale)
    np.testing.assert_array_equal(found, [[0.5, 2.0, 0.0]])
    alike = np.full((2, 3), 7.25, np.float32)
    scale = Scale.by_ratios(alike)
    assert scale.error(np.uint8) == 0
    np.testing.assert_array_equal(from_codes(to_codes(alike, scale, np.uint8), scale), alike)
    none = np.zeros((2, 3), np.float32)
    scale = Scale.by_ratios(none)
    np.testing.assert_array_equal(from_codes(to_codes(none, scale, np.uint8), scale), none)
    for low, high in ((2.0, 1.0), (0.0, 1.0), (1.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="is no scale"):
            Scale(low=low, high=high, ratios=True)


def test_what_is_lost_is_no_more_than_the_documents_say(rough, tmp_path):
    whole, lean = scenes_of(rough, tmp_path)
    known = whole.own_time_confidence > 0
    for name in ("world_from_camera", "intrinsics", "timestamps_s", "source_frame_index"):
        np.testing.assert_array_equal(getattr(lean, name), getattr(whole, name))
    np.testing.assert_array_equal(lean.own_time_confidence > 0, known)
    # Nine decades of e in 65,534 steps; float32 loses more than the files do where points are far
    # from the origin.
    off = np.abs(lean.own_time_depth[known] / whole.own_time_depth[known] - 1)
    assert off.max() < 1e-4
    far = np.linalg.norm(
        whole.own_time_points - whole.world_from_camera[:, None, None, :3, 3], axis=-1
    )
    beside = np.linalg.norm(lean.own_time_points - whole.own_time_points, axis=-1)
    assert (beside[known] / far[known]).max() < 1e-4
    ratios = [
        lean.own_time_confidence[known] / whole.own_time_confidence[known],
        lean.tracks().confidence / whole.tracks().confidence,
    ]
    assert max(np.abs(ratio - 1).max() for ratio in ratios) < 0.012
    assert np.abs(lean.tracks().visible - whole.tracks().visible).max() < 0.002
    # Tracks: as far off as where they start, and a two-thousandth of how far they go, whatever
    # their own-time confidence is.
    moved = np.abs(whole.tracks().points - whole.own_time_points[0])
    allowed = beside[0][..., None] * known[0][..., None] + moved / 2048 + 3e-5
    start_lost = ~known[0][..., None] * np.abs(whole.tracks().points - lean.own_time_points[0])
    off_tracks = np.abs(lean.tracks().points - whole.tracks().points)
    assert (off_tracks <= allowed + start_lost / 2048).all()


def test_what_stands_still_does_so_exactly(rough, tmp_path):
    whole, lean = scenes_of(rough, tmp_path)
    still = (whole.tracks().points == whole.tracks().points[0]).all(axis=(0, -1))
    still &= whole.own_time_confidence[0] > 0
    assert 0.3 < still.mean() < 0.7
    found = lean.tracks().points
    np.testing.assert_array_equal(found[:, still], np.stack([found[0, still]] * 3))
    known = whole.own_time_confidence[0] > 0
    np.testing.assert_array_equal(found[0, known], lean.own_time_points[0, known])


def test_points_beside_their_rays_are_kept_as_points(rough, tmp_path):
    known = rough.own_time_confidence > 0
    points = rough.own_time_points.copy()
    frame, row, column = np.argwhere(known)[7]
    points[frame, row, column] += 0.01 * np.linalg.norm(points[frame, row, column])
    rough = replace(rough, own_time_points=points)
    _, lean = scenes_of(rough, tmp_path)
    entry = read_manifest(tmp_path / "lean").arrays["own_time_points"]
    assert (entry.dtype, entry.scale) == ("float16", None)
    np.testing.assert_array_equal(lean.own_time_points, points.astype(np.float16))


def test_how_large_it_is(rough, tmp_path):
    scenes_of(rough, tmp_path)
    manifest = read_manifest(tmp_path / "lean")
    pixels = manifest.frame_count * manifest.map_hw[0] * manifest.map_hw[1]
    maps = [name for name, entry in manifest.arrays.items() if "height" in entry.axes]
    size = sum((tmp_path / "lean" / f"{name}.npy").stat().st_size for name in maps)
    # Depth 2 bytes, motion 6, four scores one each, of which one is for frame 0 alone.
    assert size == pixels * 11 + pixels // 3 + 128 * len(maps)
    listed = {
        path.relative_to(tmp_path / "lean").as_posix() for path in (tmp_path / "lean").rglob("*")
    }
    assert listed == {*manifest.files, "frames"}


def contents(scene: Path) -> dict[str, bytes]:
    """Every file of a scene but its manifest."""
    files = [path for path in scene.rglob("*") if path.is_file() and path.suffix != ".json"]
    return {path.relative_to(scene).as_posix(): path.read_bytes() for path in files}


def test_the_command_and_python_write_the_same(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=4)
    command = ["reconstruct", str(video), "-o", str(tmp_path / "command"), "--lean"]
    assert cli.main(command) == 0
    rec = dynapoint.reconstruct(video)
    rec.save(tmp_path / "python", lean=True)
    assert contents(tmp_path / "command") == contents(tmp_path / "python")
    one, other = (
        json.loads((tmp_path / k / "manifest.json").read_text()) for k in ("command", "python")
    )
    del one["refinement"]["seconds"], other["refinement"]["seconds"]
    assert one == other and one["version"] == 4
    # Where places are seen is measured in pictures that are made from the frames.
    lean = dynapoint.open(tmp_path / "python")
    assert rec.pictures is not None and lean.pictures is not None
    for frame in range(4):
        assert lean.pictures[frame].shape == rec.pictures[frame].shape
        apart = lean.pictures[frame].astype(float) - rec.pictures[frame]
        assert np.abs(apart).mean() < 3


def test_saved_again_nothing_more_is_lost(rough, tmp_path):
    _, lean = scenes_of(rough, tmp_path)
    lean.save(tmp_path / "again", lean=True)
    again, before = (contents(tmp_path / name) for name in ("again", "lean"))
    # It is drawn from the frames, which are smaller now.
    del again["contact_sheet.jpg"], before["contact_sheet.jpg"]
    assert again == before
    lean.save(tmp_path / "large")
    large = dynapoint.open(tmp_path / "large")
    assert read_manifest(tmp_path / "large").lean is False
    np.testing.assert_array_equal(large.own_time_points, lean.own_time_points)
    np.testing.assert_array_equal(large.tracks().points, lean.tracks().points)
    np.testing.assert_array_equal(large.images, lean.images)
    dynapoint.open(tmp_path / "whole").save(tmp_path / "late", lean=True)
    late = dynapoint.open(tmp_path / "late")
    np.testing.assert_array_equal(late.own_time_points, lean.own_time_points)


def test_it_says_of_itself_what_the_whole_scene_says(rough, tmp_path):
    whole, lean = scenes_of(rough, tmp_path)
    assert json.loads((tmp_path / "whole" / "self_check.json").read_text()) == json.loads(
        (tmp_path / "lean" / "self_check.json").read_text()
    )
    told, found = rough.self_check(), lean.self_check()
    for name, value in vars(told).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    (tmp_path / "lean" / "self_check.json").write_text('{"grade": 1, "lines": [], "signals": {}}')
    with pytest.raises(SceneError, match="holds no network"):
        lean.self_check()
    assert whole.frame_count == 3


def test_its_contact_sheet_is_a_smaller_picture_of_the_same(rough, tmp_path):
    scenes_of(rough, tmp_path)
    large, small = tmp_path / "whole" / "contact_sheet.png", tmp_path / "lean" / "contact_sheet.jpg"
    assert small.stat().st_size < large.stat().st_size
    pictures = [np.asarray(Image.open(path).convert("RGB"), float) for path in (large, small)]
    assert np.abs(pictures[0] - pictures[1]).mean() < 6


def test_half_precision_of_earlier_lean_scenes_opens(rough, tmp_path):
    whole, _ = scenes_of(rough, tmp_path)
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    path = tmp_path / "half" / "manifest.json"
    content = json.loads(path.read_text())
    for name in ("own_time_points", "track_points", "track_visible"):
        file = tmp_path / "half" / f"{name}.npy"
        np.save(file, np.load(file).astype(np.float16))
        content["arrays"][name]["dtype"] = "float16"
    path.write_text(json.dumps(content))
    half = dynapoint.open(tmp_path / "half")
    np.testing.assert_array_equal(half.own_time_points, whole.own_time_points.astype(np.float16))
    assert half.tracks().visible.dtype == np.float32 and not half.tracks().visible.flags.writeable


def test_every_damaged_entry_of_an_array_is_refused_or_makes_no_difference(rough, tmp_path):
    scenes_of(rough, tmp_path)
    path = tmp_path / "lean" / "manifest.json"
    content = json.loads(path.read_text())

    def held():
        rec = dynapoint.open(tmp_path / "lean")
        tracks = rec.tracks()
        return [rec.own_time_points, rec.own_time_confidence, tracks.points, tracks.visible]

    wanted, refused, tried = held(), 0, 0
    for way in places(content["arrays"], ("arrays",)):
        for wrong in random.Random(str(way)).sample(WRONG, 6):
            # Other numbers make another scale, which nothing tells from the right one.
            if way[-1] in ("low", "high") and isinstance(wrong, float):
                continue
            if way[-1] == "ratios" and isinstance(wrong, bool):
                continue
            path.write_text(json.dumps(damaged(content, way, wrong)))
            tried += 1
            try:
                found = held()
            except SceneError as error:
                refused += 1
                assert "\n" not in str(error), (way, wrong)
                continue
            for mine, theirs in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(mine, theirs, err_msg=f"{way}: {wrong!r}")
    assert refused > 0.9 * tried > 300
