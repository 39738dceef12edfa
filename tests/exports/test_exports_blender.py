"""Blender and Nuke: cameras by the programs' own formulas, and in Blender itself where it is."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from dynapoint.exports.blender import Z_UP_FROM_OPENCV, blender_lens
from dynapoint.exports.catalog import export
from dynapoint.exports.nuke import frame_numbers, nuke_rotations_deg
from dynapoint.exports.options import ExportOptions
from dynapoint.results.time_order import order_of_times
from exact_scenes import exact_scene
from exported_scenes import scene

UNEVEN = [3.0, 0.0, 1.0, 2.5]


def square(rec, aspect=1.0):
    """The scene with pixels of one aspect, as videos have them; focal lengths vary."""
    lens = rec.intrinsics.copy()
    lens[:, 1, 1] = lens[:, 0, 0] * aspect
    return replace(rec, intrinsics=lens)


@pytest.fixture(scope="module", params=["landscape", "portrait", "wide pixels", "uneven times"])
def rec(request):
    shape = "portrait" if request.param == "portrait" else "landscape"
    made = square(exact_scene(shape), 0.9 if request.param == "wide pixels" else 1.0)
    if request.param != "uneven times":
        return made
    return replace(made, frames=replace(made.frames, timestamps_s=np.array(UNEVEN)))


@pytest.fixture(scope="module")
def folder(rec, tmp_path_factory):
    fused = ExportOptions(show="fused")
    return export(rec, "blender", tmp_path_factory.mktemp("blender") / "scene", fused)


def facts(folder):
    return json.loads((folder / "scene.json").read_text())


def seen_by_blender(points, about, place):
    """Pixels of the render, from the view plane as Blender's source works it out.

    `BKE_camera_params_compute_viewplane`: sides of the picture, shifted, in units of a pixel's
    width at depth 1.
    """
    lens, (wide, high) = about["camera"], about["resolution"]
    tall = lens["pixel_aspect"][1] / lens["pixel_aspect"][0]
    factor = wide if lens["sensor_fit"] == "HORIZONTAL" else tall * high
    pixel = lens["sensor"] / lens["lens"][place] / factor
    left = (-wide / 2 + lens["shift_x"][place] * factor) * pixel
    bottom = (-high * tall / 2 + lens["shift_y"][place] * factor) * pixel
    turn = Rotation.from_quat(np.roll(lens["rotation_quaternion"][place], -1)).as_matrix()
    local = (points - lens["location"][place]) @ turn
    plane = local[:, :2] / -local[:, 2:]
    return np.stack(
        [(plane[:, 0] - left) / pixel, high - (plane[:, 1] - bottom) / pixel / tall], axis=1
    )


def test_blenders_camera_sees_every_point_at_its_pixel(rec, folder):
    about, random = facts(folder), np.random.default_rng(0)
    assert min(about["camera"]["pixel_aspect"]) == 1
    for place, frame in enumerate(order_of_times(rec.timestamps_s)):
        height, width = rec.frames.picture_hw[frame]
        xy = random.uniform([0, 0], [width, height], (50, 2))
        rays = np.column_stack([xy, np.ones(50)]) @ np.linalg.inv(rec.intrinsics[frame]).T
        world = rays * random.uniform(1, 9, (50, 1)) @ rec.world_from_camera[frame, :3, :3].T
        world = (world + rec.world_from_camera[frame, :3, 3]) @ Z_UP_FROM_OPENCV.T
        np.testing.assert_allclose(seen_by_blender(world, about, place), xy, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_pictures_of_other_sizes_are_fitted_into_the_middle(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(30, 900, (3, 2)).astype(float)
    high, wide = (int(side) for side in random.integers(30, 900, 2))
    focal, center = random.uniform(50, 900, 3), sizes[:, ::-1] * random.uniform(0.2, 0.8, (3, 2))
    lens = np.zeros((3, 3, 3))
    lens[:, 0, 0] = lens[:, 1, 1] = focal
    lens[:, :2, 2], lens[:, 2, 2] = center, 1
    found = blender_lens(lens, sizes, (high, wide))
    assert found.pixel_aspect == (1, 1)
    assert found.sensor_fit == ("HORIZONTAL" if wide >= high else "VERTICAL")
    side = max(wide, high)
    for index, (height, width) in enumerate(sizes):
        fit = min(high / height, wide / width)
        middle = (center[index] - [width / 2, height / 2]) * fit
        assert found.lens_mm[index] * side / 36 == pytest.approx(focal[index] * fit)
        np.testing.assert_allclose(found.shift[index] * side, middle * [-1, 1], atol=1e-9)


def test_the_timeline_is_that_of_the_times(rec, folder):
    about = facts(folder)
    uneven = rec.timestamps_s.tolist() == UNEVEN
    rate = about["fps"] / about["fps_base"]
    stamps = np.sort(rec.timestamps_s)
    np.testing.assert_allclose((np.array(about["frames"]) - 1) / rate, stamps - stamps[0])
    assert about["even"] is not uneven and about["frame_start"] == 1
    assert about["frame_end"] == np.ceil(about["frames"][-1])
    for place, frame in enumerate(order_of_times(rec.timestamps_s)):
        picture = np.asarray(Image.open(folder / about["pictures"][place]))
        np.testing.assert_array_equal(picture, rec.images[frame])


def test_points_are_those_of_the_scene_with_z_up(rec, folder):
    held = np.load(folder / "points.npz")
    for place, frame in enumerate(order_of_times(rec.timestamps_s)):
        points = np.concatenate([held["still_points"], held[f"time_{place:04d}_points"]])
        maps = rec.maps_at(time=frame)[0].reshape(-1, 3)
        away, _ = KDTree(maps).query(points @ Z_UP_FROM_OPENCV)
        assert np.median(away) < 1e-5 and len(points) > 500
    assert (held["still_radius"] > 0).all() and held["still_colors"].max() <= 1


def test_own_pixels_are_each_frames_and_nothing_is_still(rec, tmp_path):
    made = export(rec, "blender", tmp_path / "own", ExportOptions(show="own"))
    held, frame = np.load(made / "points.npz"), order_of_times(rec.timestamps_s)[1]
    assert not len(held["still_points"])
    points = held["time_0001_points"] @ Z_UP_FROM_OPENCV
    np.testing.assert_allclose(points, rec.own_time_points[frame].reshape(-1, 3), atol=1e-6)


def test_the_script_is_python_and_names_no_other_file(folder):
    text = (folder / "make_scene.py").read_text()
    ast.parse(text)
    assert "dynapoint" in text and str(folder) not in text


PROOF = """
import json, runpy, sys
import bpy, numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector
folder, places = sys.argv[1], np.load(sys.argv[2])
bpy.ops.wm.read_factory_settings(use_empty=True)
runpy.run_path(folder + "/make_scene.py")
scene, about = bpy.context.scene, json.load(open(folder + "/scene.json"))
size = np.array([scene.render.resolution_x, scene.render.resolution_y])
seen = []
for place, frame in enumerate(about["frames"]):
    scene.frame_set(int(frame), subframe=frame - int(frame))
    camera = scene.camera.evaluated_get(bpy.context.evaluated_depsgraph_get())
    views = [world_to_camera_view(scene, camera, Vector(point)) for point in places[place]]
    seen.append([[view.x * size[0], (1 - view.y) * size[1]] for view in views])
    shown = [o.name for o in bpy.data.objects if o.type == "MESH" and not o.hide_render]
    assert shown == ["still", f"time_{place:04d}"], shown
    pictures = scene.camera.data.background_images
    assert len(pictures) == 1 or [p.alpha for p in pictures].index(1.0) == place
np.save(sys.argv[3], np.array(seen))
bpy.ops.wm.read_factory_settings(use_empty=True)
runpy.run_path(sys.argv[5] + "/make_scene.py")
scene = bpy.context.scene
scene.render.engine, scene.render.filepath = "CYCLES", sys.argv[4]
scene.cycles.samples, scene.render.threads_mode, scene.render.threads = 16, "FIXED", 1
bpy.ops.render.render(write_still=True)
"""


@pytest.mark.slow
def test_blender_itself_sees_every_point_at_its_pixel_and_renders_the_frame(rec, folder, tmp_path):
    """BPY_PYTHON is a Python that has `bpy`, which wants a NumPy of its own."""
    python = os.environ.get("BPY_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import bpy"], capture_output=True, check=False).returncode:
        pytest.skip("bpy is not installed (BPY_PYTHON): scenes are NOT opened in Blender")
    random, places, wanted = np.random.default_rng(1), [], []
    order = order_of_times(rec.timestamps_s)
    for frame in order:
        xy = random.uniform([0, 0], rec.frames.picture_hw[frame, ::-1], (30, 2))
        rays = np.column_stack([xy, np.ones(30)]) @ np.linalg.inv(rec.intrinsics[frame]).T
        world = rays * random.uniform(1, 9, (30, 1)) @ rec.world_from_camera[frame, :3, :3].T
        places.append((world + rec.world_from_camera[frame, :3, 3]) @ Z_UP_FROM_OPENCV.T)
        wanted.append(xy)
    np.save(tmp_path / "places.npy", places)
    # Its own pixels, for what all frames see of this wall has the mean of their colours.
    export(rec, "blender", tmp_path / "own", ExportOptions(show="own"))
    files = [str(tmp_path / name) for name in ("places.npy", "seen.npy", "render.png", "own")]
    proof = tmp_path / "proof.py"
    proof.write_text(PROOF)
    subprocess.run([python, str(proof), str(folder), *files], check=True, capture_output=True)
    assert np.abs(np.load(tmp_path / "seen.npy") - wanted).max() < 0.01
    render = np.asarray(Image.open(tmp_path / "render.png").convert("RGB")).astype(int)
    inside = (slice(8, -8), slice(8, -8))
    assert np.median(np.abs(render - rec.images[order[0]])[inside]) < 6


# --- Nuke


def composed(x_deg, y_deg, z_deg):
    """About z, then x, then y, each matrix by hand."""
    x, y, z = np.radians([x_deg, y_deg, z_deg])
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    return np.array(about_y) @ about_x @ about_z


def test_nukes_angles_compose_to_any_rotation_and_go_on_without_jumps():
    rotations = Rotation.random(200, random_state=4).as_matrix()
    for rotation, angles in zip(rotations, nuke_rotations_deg(rotations), strict=True):
        np.testing.assert_allclose(composed(*angles), rotation, atol=1e-12)
    turning = Rotation.from_euler("y", np.arange(0, 900, 7.0)[:, None], degrees=True).as_matrix()
    angles = nuke_rotations_deg(turning)
    np.testing.assert_allclose(np.diff(angles[:, 1]), 7, atol=1e-9)


def test_chan_lines_are_the_cameras_y_up_in_the_order_of_time(rec, tmp_path):
    path = export(rec, "nuke", tmp_path / "camera")
    assert path.suffix == ".chan"
    table = np.loadtxt(path)
    flip = np.diag([1.0, -1, -1])
    # Where they are uneven at 0, 1, 2.5 and 3 s, whose median step is 1 s.
    assert table[:, 0].tolist() == [1, 2, 3, 4]
    for row, frame in zip(table, order_of_times(rec.timestamps_s), strict=True):
        pose = rec.world_from_camera[frame]
        np.testing.assert_allclose(row[1:4], flip @ pose[:3, 3], atol=1e-8)
        np.testing.assert_allclose(composed(*row[4:7]), flip @ pose[:3, :3] @ flip, atol=1e-8)
        # The field of view between the middles of the upper and lower side of a centred picture.
        height, focal = rec.frames.picture_hw[frame, 0], rec.intrinsics[frame, 1, 1]
        assert np.tan(np.radians(row[7] / 2)) * focal * 2 == pytest.approx(height, abs=1e-5)


@pytest.mark.parametrize("seed", range(30))
def test_frame_numbers_are_the_nearest_and_never_twice(seed):
    random = np.random.default_rng(seed)
    begins = np.concatenate([[0], np.cumsum(random.choice([0.02, 0.1, 0.5], 12))])
    numbers = frame_numbers(begins)
    assert numbers[0] == 1 and (np.diff(numbers) >= 1).all()
    wanted = np.round(begins[:-1] / np.median(np.diff(begins))).astype(int) + 1
    if (np.diff(wanted) >= 1).all():
        np.testing.assert_array_equal(numbers, wanted)
    assert (numbers >= wanted).all()


def test_a_chan_is_recognised_by_its_suffix(tmp_path):
    assert scene().export(tmp_path / "walk.chan") == Path(tmp_path / "walk.chan")
