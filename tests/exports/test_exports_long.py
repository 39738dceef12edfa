"""Long scenes of several worlds in every format: one world, thinned where it must be, and said."""

import json
import warnings

import av
import cv2
import numpy as np
import pycolmap
import pygltflib
import pytest
from PIL import Image

from dynapoint.cli import main
from dynapoint.cli.export import Export
from dynapoint.errors import ConfigError, InputError
from dynapoint.exports.catalog import FORMATS, export, part_shown
from dynapoint.exports.options import ExportOptions
from dynapoint.results.subscene import subscene
from dynapoint.results.thinning import MOST_SHOWN, MOST_TRACKED, even_choice, shown_part
from dynapoint.windows.spans import Segment
from long_scenes import long_scene

SEGMENTS = (
    Segment(start=0, stop=95),
    Segment(start=95, stop=100, kind="black", begins_with="black"),
    Segment(start=100, stop=300, begins_with="cut"),
)
COUNT = 200
# Formats that list cameras or files for every frame, whatever there are.
EVERY_FRAME = {"ply", "nuke", "colmap", "nerfstudio", "tum", "tapvid3d", "depth", "depth-exr"}


@pytest.fixture(scope="module")
def rec():
    return long_scene(300, SEGMENTS)


@pytest.fixture(scope="module")
def files(rec, tmp_path_factory):
    """Every format of the scene, and how many pictures each asked for."""
    folder = tmp_path_factory.mktemp("long")
    return {name: export(rec, name, folder / name) for name in FORMATS}


def thinned(rec):
    return [100 + place for place in even_choice(COUNT)]


# --- the rule


def test_short_scenes_are_shown_whole_and_are_the_very_scene():
    short = long_scene(30)
    for name in FORMATS:
        shown = part_shown(short, name, ExportOptions())
        if name != "sheet":
            assert shown.of(short) is short and not shown.notes
    most = long_scene(MOST_SHOWN)
    assert part_shown(most, "html", ExportOptions()).of(most) is most


@pytest.mark.parametrize("seed", range(4))
def test_thinned_frames_are_even_begin_with_the_first_and_hold_the_time(seed):
    random = np.random.default_rng(seed)
    rec, most = long_scene(97), int(random.integers(2, 40))
    for time in (None, *random.integers(0, 97, 10).tolist()):
        frames = list(shown_part(rec, most=most, time=time).frames)
        assert len(frames) == most and frames[0] == 0 and frames == sorted(set(frames))
        assert time is None or time in frames
        gaps = np.diff([frame for frame in frames if frame != time])
        assert gaps.max() <= 2 * np.ceil(96 / (most - 1))
        if time is None:
            assert frames[-1] == 96 and gaps.max() - gaps.min() <= 1


def test_the_longest_world_that_shows_something_is_taken_unless_one_is_asked_for(rec):
    assert shown_part(rec, most=None).frames == range(100, 300)
    assert shown_part(rec, most=None, segment=0).frames == range(0, 95)
    assert shown_part(rec, most=None, time=97).segment == 1
    dark = (Segment(start=0, stop=290, kind="black"), Segment(start=290, stop=300))
    assert shown_part(long_scene(300, dark), most=None).segment == 1
    for wrong in ({"segment": 3}, {"segment": -1}, {"segment": 0, "time": 100}):
        with pytest.raises(InputError, match="segment"):
            shown_part(rec, most=None, **wrong)
    with pytest.raises(ConfigError, match="max_frames"):
        ExportOptions(max_frames=0)


# --- every format


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_left_out_is_said(rec, name):
    notes = part_shown(rec, name, ExportOptions()).notes
    assert notes[0].startswith("segment 2 alone, frames 100 to 299; the scene has 3")
    words = {"colmap": "points come from 120 of 200", "sheet": "24 of its 200 frames"}
    words["nerfstudio"] = words["colmap"]
    if name in words or name not in EVERY_FRAME:
        assert words.get(name, "120 of its 200 frames, evenly spaced") in notes[1]
    else:
        assert len(notes) == 1


def test_no_format_holds_all_pictures_at_once(rec, files):
    assert "images" not in vars(rec.frames)
    assert set(rec.frames.drawn) <= set(range(100, 300))


def test_cameras_of_text_formats_are_those_of_every_frame(rec, files):
    rows = np.loadtxt(files["tum"])
    np.testing.assert_allclose(rows[:, 1:4], rec.world_from_camera[100:, :3, 3], atol=1e-8)
    np.testing.assert_allclose(rows[:, 0], rec.timestamps_s[100:], atol=1e-6)
    rows = np.loadtxt(files["nuke"])
    np.testing.assert_allclose(
        rows[:, 1:4], rec.world_from_camera[100:, :3, 3] * [1, -1, -1], atol=1e-8
    )


def test_colmap_has_every_camera_and_points_seen_from_an_even_choice(rec, files):
    model = pycolmap.Reconstruction(str(files["colmap"] / "sparse" / "0"))
    assert model.num_images() == COUNT and model.num_points3D() > 50
    images = [model.images[index] for index in sorted(model.images)]
    for frame, image in enumerate(images):
        wanted = rec.world_from_camera[100 + frame, :3, 3]
        np.testing.assert_allclose(image.projection_center(), wanted, atol=1e-12)
    seen = {frame for frame, image in enumerate(images) if image.num_points3D}
    assert seen and seen <= {frame - 100 for frame in thinned(rec)}
    masks = sorted((files["colmap"] / "masks").iterdir())
    assert len(masks) == COUNT
    # The box moves at all times, also in frames that gave no points.
    middle = [cv2.imread(str(mask), 0)[15, 20] for mask in masks]
    corner = [cv2.imread(str(mask), 0)[2, 2] for mask in masks]
    assert np.mean(middle) < 10 and np.mean(corner) > 245
    note = json.loads((files["colmap"] / "export.json").read_text())["note"]
    assert "segment 2 alone" in note and "points come from 120" in note


def test_nerfstudio_has_every_frame_with_its_files(rec, files):
    about = json.loads((files["nerfstudio"] / "transforms.json").read_text())
    assert len(about["frames"]) == COUNT
    for frame in about["frames"]:
        for name in ("file_path", "mask_path", "depth_file_path"):
            assert (files["nerfstudio"] / frame[name]).is_file()


def test_depth_of_every_frame_is_on_one_scale(rec, files):
    about = json.loads((files["depth"] / "depth.json").read_text())
    paths = sorted(files["depth"].glob("*.png"))
    assert len(paths) == COUNT == len(list(files["depth-exr"].glob("*.exr")))
    largest = max(rec.depth_of(frame).max() for frame in range(100, 300))
    assert about["largest_depth"] == pytest.approx(float(largest))
    for frame in (0, 77, 199):
        value = cv2.imread(str(paths[frame]), cv2.IMREAD_UNCHANGED)[15, 20] * about["scale"]
        found = rec.query(
            frame=100 + frame, xy=[[20.5, 15.5]], time=100 + frame, camera=100 + frame
        )
        assert abs(value - found.points[0, 2]) <= about["scale"]


def test_clouds_of_every_time(rec, files):
    assert len(list(files["ply"].glob("time_*.ply"))) == COUNT
    assert b"element vertex 192" in (files["ply"] / "time_0199.ply").read_bytes()[:400]


def test_animations_hold_an_even_choice_of_times(rec, files):
    document = pygltflib.GLTF2().load(str(files["glb"]))
    assert sum(node.name.startswith("time_") for node in document.nodes) == MOST_SHOWN
    assert "120 of its 200" in document.asset.extras["note"]
    positions = np.array([n.translation for n in document.nodes if n.name.startswith("camera_")])
    wanted = rec.world_from_camera[thinned(rec), :3, 3] * [1, -1, -1]
    np.testing.assert_allclose(positions, wanted, atol=1e-6)
    about = json.loads((files["blender"] / "scene.json").read_text())
    assert (
        len(about["frames"]) == MOST_SHOWN == len(list((files["blender"] / "pictures").iterdir()))
    )


def test_the_stage_of_usd_is_valid(rec, files):
    usd = pytest.importorskip("pxr.Usd")
    from pxr import UsdValidation

    stage = usd.Stage.Open(str(files["usd"]))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    found = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [error.GetMessage() for error in found] == []
    assert (
        len(stage.GetPrimAtPath("/scene/camera").GetAttribute("xformOp:translate").GetTimeSamples())
        == MOST_SHOWN
    )
    assert "120 of its 200" in stage.GetRootLayer().customLayerData["note"]


def test_the_recording_of_rerun_holds_an_even_choice_of_times(rec, files):
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    rows = set()
    for chunk in RrdReader(files["rerun"]).stream().to_chunks():
        if chunk.entity_path == "/world/camera/image":
            rows |= set(chunk.to_record_batch().column("frame").to_pylist())
    assert rows == set(range(MOST_SHOWN))


def test_tracks_are_at_every_time_up_to_the_longest_of_the_benchmark(rec, files):
    with np.load(files["tapvid3d"]) as arrays:
        assert arrays["tracks_XYZ"].shape[0] == COUNT == len(arrays["images_jpeg_bytes"])
        assert arrays["visibility"].mean() > 0.5
    longer = long_scene(500)
    assert len(part_shown(longer, "tapvid3d", ExportOptions()).frames) == MOST_TRACKED


def test_pages_videos_and_sheets(rec, files):
    text = files["html"].read_text(encoding="utf-8")
    manifest = json.loads(text.split('id="manifest">')[1].split("</script>")[0])
    assert manifest["sourceFrames"] == thinned(rec) and "120 of its 200" in manifest["note"]
    with av.open(str(files["mp4"])) as video:
        assert float(video.duration / av.time_base) >= 6
    with Image.open(files["sheet"]) as sheet:
        assert sheet.width > 1000


# --- choices


def test_a_time_is_that_of_the_scene_and_brings_its_world(rec, tmp_path):
    path = export(rec, "ply", tmp_path / "a.ply", ExportOptions(time=50))
    alone = export(rec.segment(0), "ply", tmp_path / "b.ply", ExportOptions(time=50))
    assert path.read_bytes() == alone.read_bytes()
    export(rec, "depth", tmp_path / "depth", ExportOptions(time=150))
    about = json.loads((tmp_path / "depth" / "depth.json").read_text())
    assert about["frames"] == [50] and about["timestamps_s"] == [pytest.approx(5.0)]
    with pytest.raises(InputError, match="segment 0 has frames 0 to 94"):
        export(rec, "glb", tmp_path / "c", ExportOptions(time=150, segment=0))


def test_a_world_and_a_number_of_frames_can_be_asked_for(rec, tmp_path):
    options = ExportOptions(segment=0, max_frames=10)
    rows = np.loadtxt(export(rec, "tum", tmp_path / "a", options))
    wanted = rec.world_from_camera[even_choice(95, 10), :3, 3]
    np.testing.assert_allclose(rows[:, 1:4], wanted, atol=1e-8)
    part = subscene(rec, even_choice(95, 10))
    assert len(rows) == 10 == part.frame_count


def test_python_warns_and_the_command_says_it(rec, tmp_path, monkeypatch, capsys):
    with pytest.warns(UserWarning, match="segment 2 alone"):
        rec.export(tmp_path / "a.tum")
    with warnings.catch_warnings(action="error"):
        rec.segment(0).export(tmp_path / "b.tum")
    monkeypatch.setattr(Export, "open", lambda self: rec)
    given = ["export", "long.4d", "-o", str(tmp_path / "c.tum"), "--max-frames", "7"]
    assert main(given) == 0
    said = capsys.readouterr().out.splitlines()
    assert (
        said[0].startswith("tum in") and "segment 2 alone" in said[1] and "7 of its 200" in said[2]
    )
    assert main([*given, "--overwrite", "--json", "--segment", "0"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert "segment 0 alone" in notes[0] and "7 of its 95" in notes[1]
