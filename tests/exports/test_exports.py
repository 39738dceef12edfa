"""Exports: names, paths and options, PLY and TUM."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from dynapoint.cli import main
from dynapoint.errors import ConfigError, InputError, OutputError
from dynapoint.exports import outputs
from dynapoint.exports.catalog import FORMATS, export
from dynapoint.exports.clouds import own_time_cloud, play_times_s
from dynapoint.exports.options import ExportOptions
from dynapoint.results.on_disk.saving import save
from dynapoint.results.pictures import map_pictures
from exported_scenes import coloured_images, gray_images, scene
from ply_files import ply_comments, ply_elements


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def rec(request):
    return scene(request.param)


def read_ply(path):
    vertex = ply_elements(path)["vertex"]
    points = np.stack([vertex[axis] for axis in "xyz"], axis=1)
    colors = np.stack([vertex[channel] for channel in ("red", "green", "blue")], axis=1)
    return points, colors, vertex["confidence"]


def turned(rec):
    """The same scene with cameras that turn, far from the half-turn where signs are ambiguous."""
    poses = rec.world_from_camera.copy()
    poses[1:, :3, :3] = Rotation.from_rotvec([[0.3, -0.5, 0.2], [-0.9, 0.1, 0.4]]).as_matrix()
    return replace(rec, world_from_camera=poses)


# --- names, paths and options


def test_an_unknown_format_is_an_error_that_lists_all(rec, tmp_path):
    with pytest.raises(ConfigError) as caught:
        export(rec, "stl", tmp_path / "x")
    assert all(name in str(caught.value) for name in FORMATS) and "'stl'" in str(caught.value)


def test_every_writer_of_the_catalogue_exists():
    for name, known in FORMATS.items():
        module, function = known.writer.split(":")
        writer = getattr(__import__(f"dynapoint.exports.{module}", fromlist=[function]), function)
        assert callable(writer), name


def test_a_missing_suffix_is_appended_and_no_name_changes_the_format(rec, tmp_path):
    assert export(rec, "tum", tmp_path / "a.v2") == tmp_path / "a.v2.txt"
    assert export(rec, "tum", tmp_path / "b.TXT") == tmp_path / "b.TXT"
    assert export(rec, "tum", tmp_path / "c.ply") == tmp_path / "c.ply.txt"
    assert (tmp_path / "c.ply.txt").read_text().startswith("#")
    assert export(rec, "ply", tmp_path / "d.ply") == tmp_path / "d.ply"
    assert (tmp_path / "d.ply").is_dir()
    wanted = {"a.v2.txt", "b.TXT", "c.ply.txt", "d.ply"}
    assert {path.name for path in tmp_path.iterdir()} == wanted


def test_files_are_replaced_only_if_told(rec, tmp_path):
    path = tmp_path / "deep" / "poses.txt"
    export(rec, "tum", path)
    first = path.read_text()
    path.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        export(rec, "tum", path)
    assert path.read_text() == "mine"
    export(rec, "tum", path, ExportOptions(overwrite=True))
    assert path.read_text() == first
    with pytest.raises(OutputError, match="folder"):
        export(rec, "tum", _folder(tmp_path / "f.txt"), ExportOptions(overwrite=True))


def _folder(path):
    path.mkdir()
    return path


def test_folders_are_replaced_only_if_they_are_earlier_exports(rec, tmp_path):
    folder = tmp_path / "cloud"
    export(rec, "ply", folder)
    again = ExportOptions(overwrite=True)
    with pytest.raises(OutputError, match="--overwrite"):
        export(rec, "ply", folder)
    export(rec, "depth", folder, again)
    about = json.loads((folder / "export.json").read_text())
    assert about["to"] == "depth" and "depth.json" in about["files"]
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        export(rec, "ply", folder, again)
    assert (folder / "thesis.tex").exists() and (folder / "depth.json").exists()
    foreign = _folder(tmp_path / "foreign")
    (foreign / "a.txt").write_text("a")
    with pytest.raises(OutputError, match="no export"):
        export(rec, "ply", foreign, again)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_failure_midway_leaves_nothing(rec, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dynapoint.exports.ply.ply_bytes", fail)
    for options in (ExportOptions(), ExportOptions(time=0)):
        with pytest.raises(OutputError, match="No space left"):
            export(rec, "ply", tmp_path / "x", options)
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_one_line_that_names_the_extra(rec, tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(outputs.importlib, "import_module", missing)
    with pytest.raises(OutputError, match=r"pip install dynapoint\[usd\]"):
        outputs.require("pxr", extra="usd", format_name="usd")


@pytest.mark.parametrize(
    "bad",
    [
        {"max_points": 0},
        {"confidence_percentile": 100.0},
        {"confidence_percentile": -1.0},
        {"confidence_percentile": float("nan")},
        {"fps": 0.0},
        {"fps": float("inf")},
    ],
)
def test_options_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        ExportOptions(**bad)


@pytest.mark.parametrize("to", ["ply", "glb", "tum", "depth", "mp4"])
@pytest.mark.parametrize("time", [-1, 3])
def test_a_time_that_is_none_is_refused_before_anything_is_written(rec, tmp_path, to, time):
    with pytest.raises(InputError, match="0 to 2"):
        export(rec, to, tmp_path / "x", ExportOptions(time=time))
    assert not list(tmp_path.iterdir())


def test_times_are_played_as_in_the_source_unless_told(rec):
    stamps = np.array([2.0, 2.5, 4.0])
    rec = replace(rec, frames=replace(rec.frames, timestamps_s=stamps))
    np.testing.assert_allclose(play_times_s(rec, ExportOptions()), [0, 0.5, 2.0, 3.0])
    np.testing.assert_allclose(play_times_s(rec, ExportOptions(fps=4.0)), [0, 0.25, 0.5, 0.75])
    for odd in ([0.0, 0.0, 1.0], [0.0, np.nan, 1.0], [2.0, 1.0, 0.0]):
        other = replace(rec, frames=replace(rec.frames, timestamps_s=np.array(odd)))
        assert (np.diff(play_times_s(other, ExportOptions())) > 0).all()


def test_of_the_least_confident_the_share_asked_for_is_hidden(rec):
    random = np.random.default_rng(0).uniform(1, 2, rec.own_time_confidence.shape)
    rec = replace(rec, own_time_confidence=random.astype(np.float32))
    whole = own_time_cloud(rec, 1, ExportOptions())
    part = own_time_cloud(rec, 1, ExportOptions(confidence_percentile=30.0))
    assert len(part.points) == pytest.approx(0.7 * len(whole.points), abs=1)
    assert part.confidence.min() >= np.sort(whole.confidence)[-len(part.points)]


@pytest.mark.parametrize(("background", "value"), [("black", 3), ("white", 252)])
def test_background_is_left_out(background, value):
    def half(frames, height, width):
        images = coloured_images(frames, height, width)
        images[:, :, : width // 2] = value
        return images

    rec = scene(images=half)
    whole = own_time_cloud(rec, 0, ExportOptions())
    cloud = own_time_cloud(rec, 0, ExportOptions(hide_pixels=background))
    assert len(cloud.points) == pytest.approx(len(whole.points) / 2, rel=0.05)
    assert np.abs(cloud.colors.astype(int) - value).max(axis=1).min() > 12


# --- PLY


def test_ply_per_time_holds_each_frames_own_points(rec, tmp_path):
    folder = export(rec, "ply", tmp_path / "cloud")
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["export.json", *(f"time_{time:04d}.ply" for time in range(3))]
    for time in range(3):
        points, colors, confidence = read_ply(folder / f"time_{time:04d}.ply")
        np.testing.assert_array_equal(points, rec.own_time_points[time].reshape(-1, 3))
        np.testing.assert_array_equal(confidence, rec.own_time_confidence[time].ravel())
        np.testing.assert_array_equal(colors, map_pictures(rec, [time])[0].reshape(-1, 3))


def test_ply_up_is_minus_y_and_right_is_x_as_its_comment_says(rec, tmp_path):
    path = export(rec, "ply", tmp_path / "cloud", ExportOptions(time=1))
    points, colors, _ = read_ply(path)
    wall = points[:, 2] > 3
    points, colors = points[wall], colors[wall].astype(float)
    assert np.corrcoef(points[:, 1], colors[:, 1])[0, 1] < -0.95
    assert np.corrcoef(points[:, 0], colors[:, 0])[0, 1] > 0.95
    assert any("y down" in comment for comment in ply_comments(path))


def test_ply_fused_holds_points_of_the_maps_at_that_time(rec, tmp_path):
    points, _, confidence = read_ply(export(rec, "ply", tmp_path / "cloud", ExportOptions(time=2)))
    held = rec.maps_at(time=2)[0].reshape(-1, 3)
    assert KDTree(held).query(points)[0].max() == 0
    assert len(points) < len(held) and (confidence > 0).all()
    # Nothing is far from what is held.
    assert KDTree(points).query(held)[0].max() < 0.5


def test_ply_keeps_middle_gray_and_the_number_of_points_asked_for(tmp_path):
    rec = scene(images=gray_images)
    for options in (ExportOptions(max_points=100), ExportOptions(max_points=100, time=0)):
        path = export(rec, "ply", tmp_path / f"cloud{options.time}", options)
        for file in [path] if path.is_file() else path.glob("*.ply"):
            points, colors, _ = read_ply(file)
            assert 50 <= len(points) <= 100 and (colors == 128).all()


def test_pixels_with_confidence_0_leave_no_points(rec, tmp_path):
    confidence = rec.own_time_confidence.copy()
    confidence[1] = 0
    rec = replace(rec, own_time_confidence=confidence)
    folder = export(rec, "ply", tmp_path / "cloud")
    assert len(read_ply(folder / "time_0001.ply")[0]) == 0
    assert len(read_ply(folder / "time_0000.ply")[0]) > 0
    for time in range(3):
        path = export(rec, "ply", tmp_path / f"fused{time}", ExportOptions(time=time))
        points = read_ply(path)[0]
        held = rec.maps_at(time=time)[0]
        assert KDTree(held[[0, 2]].reshape(-1, 3)).query(points)[0].max() == 0


def test_a_scene_of_which_nothing_is_usable_gives_empty_files(rec, tmp_path):
    rec = replace(rec, own_time_confidence=np.zeros_like(rec.own_time_confidence))
    for name in ("ply", "glb", "tum", "tapvid3d", "depth", "depth-exr"):
        assert export(rec, name, tmp_path / name).exists()
    assert len(read_ply(tmp_path / "ply" / "time_0000.ply")[0]) == 0


# --- TUM


def test_tum_lines_lead_back_to_the_cameras(rec, tmp_path):
    rec = turned(rec)
    stamps = np.array([0.25, 1.5, 1234567890.123456])
    rec = replace(rec, frames=replace(rec.frames, timestamps_s=stamps))
    lines = export(rec, "tum", tmp_path / "poses").read_text().splitlines()
    assert lines[0].startswith("#")
    table = np.array([[float(word) for word in line.split(" ")] for line in lines[1:]])
    assert table.shape == (3, 8)
    np.testing.assert_allclose(table[:, 0], stamps, atol=1e-6)
    np.testing.assert_allclose(table[:, 1:4], rec.world_from_camera[:, :3, 3], atol=1e-8)
    np.testing.assert_allclose(table[0, 4:], [0, 0, 0, 1])
    # By hand from (x, y, z, w), that no convention of a library can hide a wrong order.
    for (x, y, z, w), pose in zip(table[:, 4:], rec.world_from_camera, strict=True):
        row = [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]
        np.testing.assert_allclose(row, pose[0, :3], atol=1e-7)


def test_tum_without_timestamps_has_frame_indices_and_says_so(rec, tmp_path):
    unknown = replace(rec.frames, timestamps_s=np.array([0.0, np.nan, 1.0]))
    text = export(replace(rec, frames=unknown), "tum", tmp_path / "poses").read_text()
    assert "frame indices" in text.splitlines()[0]
    assert [float(line.split()[0]) for line in text.splitlines()[1:]] == [0, 1, 2]


# --- the command


def test_the_command_writes_a_stored_scene_and_says_where(rec, tmp_path, capsys):
    stored = tmp_path / "room.4d"
    save(rec, stored)
    given = ["export", str(stored), "--to", "ply", "-o", str(tmp_path / "cloud")]
    more = ["--max-points", "50", "--confidence", "10", "--hide-pixels", "black"]
    assert main([*given, *more]) == 0
    assert str(tmp_path / "cloud") in capsys.readouterr().out
    points, _, _ = read_ply(tmp_path / "cloud" / "time_0002.ply")
    assert len(points) == 50
    away, _ = KDTree(rec.own_time_points[2].reshape(-1, 3)).query(points)
    assert away.max() < 1e-5
    assert main(given) == 1 and "--overwrite" in capsys.readouterr().err
    assert main([*given, "--overwrite"]) == 0
    assert len(read_ply(tmp_path / "cloud" / "time_0002.ply")[0]) > 50
    assert main(["export", str(stored), "--to", "tum", "-o", str(tmp_path / "poses")]) == 0
    assert (tmp_path / "poses.txt").exists()
    assert "poses.txt" in capsys.readouterr().out
    assert main(["export", str(stored), "-o", str(tmp_path / "by_suffix.tum")]) == 0
    assert "tum in" in capsys.readouterr().out and (tmp_path / "by_suffix.tum").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--to", "stl"], "glb"),
        ([], "x does not say the format; give one of ply"),
        (["--to", "ply", "--max-points", "0"], "max_points"),
        (["--to", "ply", "--confidence", "100"], "confidence"),
    ],
)
def test_the_command_refuses_what_makes_no_sense_before_it_opens_the_scene(
    tmp_path, capsys, wrong, said
):
    given = ["export", str(tmp_path / "none.4d"), "-o", str(tmp_path / "x"), *wrong]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
