"""Stored scenes: round trip, whole or not at all, and checks that name what is wrong."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import dynapoint
from dynapoint.errors import OutputError, SceneError
from dynapoint.results.on_disk import store
from dynapoint.results.on_disk.output_folder import check_output, whole_folder
from dynapoint.results.reconstruction import Reconstruction
from fake_model import FakeModel, picture_array


@pytest.fixture(scope="module")
def rec() -> Reconstruction:
    return dynapoint.reconstruct(picture_array(4, 48, 80), FakeModel(32))


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_round_trip(rec, tmp_path):
    rec.save(tmp_path / "scene.whatever")
    scene = store.read_arrays(tmp_path / "scene.whatever")
    tracks = rec.tracks()
    pairs = {
        "world_from_camera": rec.world_from_camera,
        "intrinsics": rec.intrinsics,
        "map_from_image": rec.pixel_map.map_from_image,
        "picture_hw": rec.pixel_map.picture_hw,
        "timestamps_s": rec.timestamps_s,
        "source_frame_index": rec.source_frame_index,
        "own_time_points": rec.own_time_points,
        "own_time_confidence": rec.own_time_confidence,
        "track_points": tracks.points,
        "track_visible": tracks.visible,
        "track_confidence": tracks.confidence,
    }
    for name, value in pairs.items():
        stored = scene.arrays[name]
        assert isinstance(stored, np.memmap) and not stored.flags.writeable
        assert stored.dtype == value.dtype and np.array_equal(stored, value), name
    assert scene.arrays["images"].shape == (4, *rec.map_hw, 3)
    manifest = scene.manifest
    assert (manifest.model, manifest.image_hw, manifest.map_hw) == (
        "FakeModel",
        (48, 80),
        rec.map_hw,
    )
    assert manifest.package_version == dynapoint.__version__
    assert set(listing(tmp_path / "scene.whatever")) == {"frames", *manifest.files}
    assert not [path for path in tmp_path.iterdir() if path.name != "scene.whatever"]


def test_tracks_are_written_without_being_held(tmp_path):
    count = 150
    rec = dynapoint.reconstruct(picture_array(count, 64, 64), FakeModel(64), frames=count)
    assert rec.own_time_depth.shape == (count, 64, 64)
    one_time = 64 * 64 * 16
    tracemalloc.start()
    tracks = store.write_tracks(rec, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * one_time < count * one_time / 4
    assert isinstance(tracks.points, np.memmap) and tracks.points.shape == (count, 64, 64, 3)
    held = rec.tracks()
    for name in ("points", "visible", "confidence"):
        assert np.array_equal(getattr(tracks, name), getattr(held, name))


def test_arrays_are_plain_and_the_manifest_says_what_they_are(rec, tmp_path):
    rec.save(tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["format"] == "dynapoint-scene" and manifest["version"] == 3
    for name, entry in manifest["arrays"].items():
        array = np.load(tmp_path / "s" / f"{name}.npy", allow_pickle=False)
        assert list(array.shape) == entry["shape"] and array.dtype == entry["dtype"]
        assert len(entry["axes"]) == array.ndim
    assert np.array_equal(np.load(tmp_path / "s" / "world_from_camera.npy")[0], np.eye(4))


def test_missing_parents_are_made(rec, tmp_path):
    rec.save(tmp_path / "a" / "b" / "c")
    assert dynapoint.open(tmp_path / "a" / "b" / "c").frame_count == 4


def test_a_scene_is_replaced_only_if_told_to(rec, tmp_path):
    rec.save(tmp_path / "s")
    with pytest.raises(OutputError, match="--overwrite"):
        rec.save(tmp_path / "s")
    (tmp_path / "s" / "contact_sheet.png").unlink()
    rec.save(tmp_path / "s", overwrite=True)
    assert (tmp_path / "s" / "contact_sheet.png").exists()
    assert listing(tmp_path)[0] == "s" and all(name.startswith("s") for name in listing(tmp_path))


@pytest.mark.parametrize("kind", ["file", "folder", "empty", "other_manifest", "text_manifest"])
def test_what_is_no_scene_is_never_replaced(rec, tmp_path, kind):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("precious")
    else:
        out.mkdir()
        if kind == "folder":
            (out / "thesis.txt").write_text("precious")
        elif kind == "other_manifest":
            (out / "manifest.json").write_text('{"format": "other"}')
        elif kind == "text_manifest":
            (out / "manifest.json").write_text("precious")
    before = listing(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists and is"):
            rec.save(out, overwrite=overwrite)
    assert listing(tmp_path) == before


def test_a_scene_with_other_files_in_it_is_not_replaced(rec, tmp_path):
    rec.save(tmp_path / "s")
    (tmp_path / "s" / "notes.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        rec.save(tmp_path / "s", overwrite=True)
    assert (tmp_path / "s" / "notes.txt").read_text() == "precious"


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_midway_leaves_what_was_there(rec, tmp_path, monkeypatch, existing, failure):
    out = tmp_path / "deep" / "er" / "s"
    if existing:
        rec.save(out)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    names = listing(tmp_path)
    real, written = np.save, []

    def failing(path, array, **options):
        if len(written) == 5:
            raise failure
        written.append(path)
        real(path, array, **options)

    monkeypatch.setattr(store.np, "save", failing)
    expected = OutputError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as error:
        rec.save(out, overwrite=True)
    if expected is OutputError:
        assert "No space left" in str(error.value)
    assert len(written) == 5
    assert listing(tmp_path) == names
    assert before == {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()
    }


def test_a_failed_rename_puts_the_old_scene_back(rec, tmp_path, monkeypatch):
    rec.save(tmp_path / "s")
    before = listing(tmp_path)
    monkeypatch.setattr(
        Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error"))
    )
    with pytest.raises(OutputError, match="Input/output"):
        rec.save(tmp_path / "s", overwrite=True)
    assert listing(tmp_path) == before
    assert dynapoint.open(tmp_path / "s").frame_count == 4


def test_paths_that_cannot_be_written_are_found_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file" / "scene", tmp_path / "file" / "deep" / "scene"):
        with pytest.raises(OutputError, match="cannot be written"):
            check_output(out, overwrite=False)
    for out in (tmp_path / ("n" * 300) / "scene", tmp_path / "new" / ("n" * 300)):
        with pytest.raises(OutputError, match="cannot be written"):
            check_output(out, overwrite=False)
    assert listing(tmp_path) == ["file"]
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(OutputError, match="cannot be written"):
            check_output(tmp_path / "locked" / "scene", overwrite=False)


def test_checking_leaves_nothing(tmp_path):
    check_output(tmp_path / "a" / "b", overwrite=False)
    assert listing(tmp_path) == []


def test_any_error_inside_cleans_up(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "a" / "b", overwrite=False):
        raise ZeroDivisionError
    assert listing(tmp_path) == []


def test_the_result_has_the_rights_of_any_new_folder(rec, tmp_path):
    (tmp_path / "plain").mkdir()
    rec.save(tmp_path / "s")
    assert (tmp_path / "s").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_damage_is_named(rec, tmp_path):
    def scene(name: str) -> Path:
        rec.save(tmp_path / name)
        return tmp_path / name

    def refuses(folder: Path, match: str) -> None:
        with pytest.raises(SceneError, match=match) as error:
            dynapoint.open(folder)
        assert "\n" not in str(error.value)

    refuses(tmp_path / "none", "none does not exist")
    (tmp_path / "bare").mkdir()
    refuses(tmp_path / "bare", "holds no manifest.json")
    (scene("gone") / "intrinsics.npy").unlink()
    refuses(tmp_path / "gone", r"intrinsics\.npy is missing")
    path = scene("short") / "track_points.npy"
    path.write_bytes(path.read_bytes()[:500])
    refuses(tmp_path / "short", r"track_points\.npy is damaged")
    np.save(scene("odd") / "own_time_points.npy", np.zeros((4, 2, 2, 3), np.float32))
    refuses(tmp_path / "odd", r"own_time_points\.npy holds float32 \(4, 2, 2, 3\)")
    np.save(scene("kind") / "timestamps_s.npy", np.zeros(4, np.float32))
    refuses(tmp_path / "kind", r"timestamps_s\.npy holds float32")
    path = scene("future") / "manifest.json"
    path.write_text(path.read_text().replace('"version": 3', '"version": 99'))
    refuses(tmp_path / "future", "version 99")
    path = scene("lacking") / "manifest.json"
    path.write_text(path.read_text().replace('"map_hw"', '"mop_hw"'))
    refuses(tmp_path / "lacking", "map_hw")
    (scene("words") / "manifest.json").write_text("words")
    refuses(tmp_path / "words", "cannot be read as JSON")
