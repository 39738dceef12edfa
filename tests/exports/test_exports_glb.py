"""GLB: positions, colours, cameras and animation, read with pygltflib and trimesh."""

from dataclasses import replace

import numpy as np
import pygltflib
import pytest
import trimesh
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from dynapoint.exports import glb, y_up
from dynapoint.exports.catalog import export
from dynapoint.exports.cloud_parts import MovingCloud
from dynapoint.exports.clouds import play_times_s
from dynapoint.exports.options import ExportOptions
from exported_scenes import gray_images, scene
from fake_model import VELOCITY

FLIP = np.array([1.0, -1.0, -1.0])
TYPES = {5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@pytest.fixture(scope="module", params=["landscape", "portrait"])
def rec(request):
    rec = scene(request.param, frames=4)
    poses = rec.world_from_camera.copy()
    angles = [[0.3, -0.5, 0.2], [-0.3, 0.1, 0.4], [0.1, 0.2, -0.6]]
    poses[1:, :3, :3] = Rotation.from_rotvec(angles).as_matrix()
    stamps = np.array([1.0, 1.5, 1.75, 3.0])
    return replace(rec, world_from_camera=poses, frames=replace(rec.frames, timestamps_s=stamps))


@pytest.fixture(scope="module")
def file(rec, tmp_path_factory):
    return export(rec, "glb", tmp_path_factory.mktemp("glb") / "scene")


def values(document, index):
    """An accessor's values, read by the specification: offsets, strides and all."""
    accessor = document.accessors[index]
    view = document.bufferViews[accessor.bufferView]
    blob, dtype, width = document.binary_blob(), np.dtype(TYPES[accessor.componentType]), WIDTHS
    columns = width[accessor.type]
    stride = view.byteStride or columns * dtype.itemsize
    assert stride % dtype.itemsize == 0 and view.byteOffset % 4 == 0
    start = view.byteOffset + (accessor.byteOffset or 0)
    entries = [
        np.frombuffer(blob, dtype, columns, start + entry * stride)
        for entry in range(accessor.count)
    ]
    return np.array(entries)


def cloud_at(document, time):
    """Points (file axes) and linear colours of one time's node, without what is hidden."""
    parent = next(node for node in document.nodes if node.name == f"time_{time:04d}")
    (child,) = parent.children
    node = document.nodes[child]
    primitive = document.meshes[node.mesh].primitives[0]
    assert primitive.mode == 0
    steps = values(document, primitive.attributes.POSITION)
    accessor = document.accessors[primitive.attributes.POSITION]
    np.testing.assert_array_equal(accessor.min, steps.min(axis=0))
    np.testing.assert_array_equal(accessor.max, steps.max(axis=0))
    points = steps.astype(np.float64) * node.scale + node.translation
    colors = values(document, primitive.attributes.COLOR_0)
    if primitive.indices is not None:
        shown = values(document, primitive.indices)[:, 0]
        points, colors = points[shown], colors[shown]
    return points, colors


def srgb(linear):
    """The inverse of what the writer does, from the standard's other formula."""
    curve = 1.055 * np.power(linear, 1 / 2.4) - 0.055
    return np.round(255 * np.where(linear <= 0.0031308, 12.92 * linear, curve)).astype(int)


def test_each_times_points_are_those_of_the_maps_y_up_within_the_stated_error(rec, file):
    document = pygltflib.GLTF2().load(str(file))
    error = document.asset.extras["position_error"]
    assert 0 < error < 1e-3
    for time in range(4):
        points, colors = cloud_at(document, time)
        held = rec.maps_at(time=time)[0].reshape(-1, 3) * FLIP
        away, _ = KDTree(held).query(points, p=np.inf)
        assert away.max() <= 1.001 * error + 1e-6 and len(points) > 200
        # Image-up is file-up: greener is higher; redder is to the right.
        wall = points[:, 2] < -3
        assert np.corrcoef(points[wall, 1], colors[wall, 1])[0, 1] > 0.9
        assert np.corrcoef(points[wall, 0], colors[wall, 0])[0, 1] > 0.9


def test_a_vertex_is_the_same_point_at_all_times(rec, file):
    document = pygltflib.GLTF2().load(str(file))
    first, last = cloud_at(document, 0)[0], cloud_at(document, 3)[0]
    step = (last - first) / 3
    moved = np.abs(step).max(axis=1) > 0.01
    assert 20 < moved.sum() < len(step) - 20
    np.testing.assert_allclose(
        step[moved], np.broadcast_to(VELOCITY.numpy() * FLIP, step[moved].shape), atol=1e-3
    )


def test_middle_gray_stays_middle_gray(tmp_path):
    path = export(scene(images=gray_images), "glb", tmp_path / "gray")
    document = pygltflib.GLTF2().load(str(path))
    linear = cloud_at(document, 0)[1]
    assert (srgb(linear) == 128).all() and np.abs(linear - 0.2159).max() < 1e-3
    # An independent reader sees the same light, without the curve undone.
    geometry = next(iter(trimesh.load(path).geometry.values()))
    assert np.abs(np.asarray(geometry.colors)[:, :3].astype(int) - 55).max() <= 1


def test_all_srgb_values_come_back_exactly():
    given = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(srgb(y_up.linear_from_srgb(given).astype(np.float32)), given)


def test_trimesh_reads_the_first_time_as_it_is_shown_at_rest(rec, file):
    scene_read = trimesh.load(file)
    document = pygltflib.GLTF2().load(str(file))
    transform, geometry = scene_read.graph["points_0000"]
    placed = trimesh.transform_points(scene_read.geometry[geometry].vertices, transform)
    np.testing.assert_allclose(placed, cloud_at(document, 0)[0], atol=1e-5)
    hidden, _ = scene_read.graph["points_0001"]
    assert not hidden[:3, :3].any()


def test_exactly_one_time_is_shown_at_every_moment_and_for_as_long_as_in_the_source(rec, file):
    document = pygltflib.GLTF2().load(str(file))
    (animation,) = document.animations
    toggles = {}
    for channel in animation.channels:
        sampler = animation.samplers[channel.sampler]
        if channel.target.path == "scale":
            assert sampler.interpolation == "STEP"
            name = document.nodes[channel.target.node].name
            toggles[name] = (
                values(document, sampler.input)[:, 0],
                values(document, sampler.output),
            )
            assert (np.diff(toggles[name][0]) > 0).all()
    assert sorted(toggles) == [f"time_{time:04d}" for time in range(4)]
    begins = play_times_s(rec, ExportOptions())
    np.testing.assert_allclose(begins, [0, 0.5, 0.75, 2.0, 2.5])
    for time in range(4):
        for moment in np.linspace(begins[time] + 1e-3, begins[time + 1] - 1e-3, 5):
            shown = {}
            for name, (moments, scales) in toggles.items():
                # Before its first key an animation holds the first value.
                index = max(np.searchsorted(moments, moment, side="right") - 1, 0)
                shown[name] = scales[index].tolist()
            assert shown.pop(f"time_{time:04d}") == [1, 1, 1]
            assert all(scale == [0, 0, 0] for scale in shown.values())
    # A player that has come to the end holds the last values, and so the last time.
    ends = [toggles[f"time_{time:04d}"][1][-1].tolist() for time in range(4)]
    assert ends == [[0, 0, 0]] * 3 + [[1, 1, 1]]


def test_cameras_see_points_where_their_frames_show_them(rec, file):
    document = pygltflib.GLTF2().load(str(file))
    height, width = rec.frames.image_hw
    for frame in range(4):
        node = next(node for node in document.nodes if node.name == f"camera_{frame:04d}")
        lens = document.cameras[node.camera].perspective
        point = np.array([0.2, -0.1, 3.0])
        local = rec.world_from_camera[frame, :3, :3].T @ (
            point - rec.world_from_camera[frame, :3, 3]
        )
        wanted = rec.intrinsics[frame] @ (local / local[2])
        turn = Rotation.from_quat(node.rotation).as_matrix()
        seen = turn.T @ (point * FLIP - node.translation)
        assert seen[2] < 0 < lens.znear
        tangent = np.tan(lens.yfov / 2)
        # Normalised device coordinates of glTF 2.0, 3.10.3, to pixels with row 0 on top.
        x = seen[0] / -seen[2] / (tangent * lens.aspectRatio)
        y = seen[1] / -seen[2] / tangent
        found = [(x + 1) / 2 * width, (1 - y) / 2 * height]
        np.testing.assert_allclose(found, wanted[:2], atol=1e-6)


def test_one_camera_goes_along(rec, file):
    document = pygltflib.GLTF2().load(str(file))
    (animation,) = document.animations
    tracks = {}
    for channel in animation.channels:
        if document.nodes[channel.target.node].name == "camera":
            sampler = animation.samplers[channel.sampler]
            assert sampler.interpolation == "LINEAR"
            tracks[channel.target.path] = values(document, sampler.output)
            np.testing.assert_allclose(values(document, sampler.input)[:, 0], [0, 0.5, 0.75, 2])
    positions = rec.world_from_camera[:, :3, 3] * FLIP
    np.testing.assert_allclose(tracks["translation"], positions, atol=1e-6)
    quaternions = tracks["rotation"]
    assert ((quaternions[1:] * quaternions[:-1]).sum(axis=1) > 0).all()
    wanted = np.diag(FLIP) @ rec.world_from_camera[:, :3, :3] @ np.diag(FLIP)
    np.testing.assert_allclose(Rotation.from_quat(quaternions).as_matrix(), wanted, atol=1e-6)


def test_every_node_is_in_the_scene_once(file):
    document = pygltflib.GLTF2().load(str(file))
    below = [child for node in document.nodes for child in node.children or []]
    reached = [*document.scenes[0].nodes, *below]
    assert sorted(reached) == list(range(len(document.nodes)))


def test_one_time_stands_still(rec, tmp_path):
    path = export(rec, "glb", tmp_path / "still", ExportOptions(time=2))
    document = pygltflib.GLTF2().load(str(path))
    assert not document.animations and len(document.cameras) == 1
    assert document.nodes[0].scale == [1, 1, 1]
    (camera,) = (node for node in document.nodes if node.camera is not None)
    np.testing.assert_allclose(camera.translation, rec.world_from_camera[2, :3, 3] * FLIP)
    held = rec.maps_at(time=2)[0].reshape(-1, 3) * FLIP
    assert KDTree(held).query(cloud_at(document, 2)[0])[0].max() < 1e-3


def moving(times, count, seed=0):
    random = np.random.default_rng(seed)
    return MovingCloud(
        times=list(range(times)),
        points=random.normal(size=(times, count, 3)).astype(np.float32),
        usable=np.ones((times, count), dtype=bool),
        colors=random.integers(0, 255, (count, 3), dtype=np.uint8),
        confidence=np.ones(count, dtype=np.float32),
        spacing=np.ones(count, dtype=np.float32),
    )


def test_points_hidden_at_a_time_are_not_in_it(rec, tmp_path):
    cloud = moving(4, 50)
    cloud.usable[1, ::2] = False
    cloud.usable[2] = False
    cloud.points[1, 0] = np.nan
    cloud.points[0, 7] = 1e9
    path = tmp_path / "x.glb"
    path.write_bytes(glb._glb(rec, cloud, np.arange(5.0)))
    document = pygltflib.GLTF2().load(str(path))
    assert not document.nodes[2].children
    error = document.asset.extras["position_error"]
    assert error < 1e-3
    usable = cloud.usable.copy()
    usable[0, 7] = False
    for time in (0, 1, 3):
        points, colors = cloud_at(document, time)
        wanted = cloud.points[time, usable[time]] * FLIP
        np.testing.assert_allclose(points, wanted, atol=1.001 * error + 1e-6)
        np.testing.assert_array_equal(srgb(colors), cloud.colors[usable[time]])


def test_a_scene_without_points_is_a_file_with_cameras(rec, tmp_path):
    empty = replace(rec, own_time_confidence=np.zeros_like(rec.own_time_confidence))
    document = pygltflib.GLTF2().load(str(export(empty, "glb", tmp_path / "empty")))
    assert len(document.cameras) == 4 and not document.meshes
    assert not document.extensionsRequired


def test_a_hundred_times_stay_below_30_megabytes_whatever_is_hidden():
    for times in (1, 2, 14, 100, 1000):
        points = glb._default_points(times)
        index = 2 if points < 2**16 else 4
        assert 0 < times * points * (8 + index) + 12 * points <= 28_000_000
    assert glb._default_points(100) > 25_000


@pytest.mark.slow
def test_a_file_of_a_hundred_times_is_below_30_megabytes():
    rec = scene(frames=100)
    cloud = moving(100, glb._default_points(100))
    cloud.usable[:, 0] = False
    cloud.usable[0, 0] = True
    content = glb._glb(rec, cloud, np.arange(101.0))
    assert 25_000_000 < len(content) < 30_000_000
