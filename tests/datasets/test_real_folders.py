"""Folders of real pictures with cameras.json, from miniatures with known truth."""

import json

import numpy as np
import pytest
from PIL import Image

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import InputError
from miniatures.engine_clip import engine_clip
from miniatures.real_folders import UNIT, write_lidar, write_miniature


def opened(root):
    return open_dataset("real-folders", root)


def test_depth_poses_and_lens_come_back(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip, sequences=2)
    sequence = opened(tmp_path)[1]
    assert (sequence.name, sequence.frame_count) == ("room_1", 6)
    holds = sequence.holds
    assert holds.metric and holds.poses and holds.depth and holds.moving
    assert holds.motion == "sparse" and not holds.instances
    known = (clip.depth > 0) & (clip.depth * UNIT < 65534)
    assert known.mean() > 0.7
    for frame in range(6):
        np.testing.assert_array_equal(sequence.image(frame), clip.images[frame])
        np.testing.assert_allclose(sequence.intrinsics(frame), clip.intrinsics[frame], atol=1e-12)
        np.testing.assert_allclose(sequence.world_from_camera(frame), clip.world_from_camera[frame])
        np.testing.assert_array_equal(sequence.moving(frame), clip.moving[frame])
        depth = sequence.depth(frame)
        np.testing.assert_array_equal(np.isfinite(depth), known[frame])
        far = np.abs(depth - clip.depth[frame])[known[frame]]
        assert far.max() < 0.51 / UNIT
        error = np.linalg.norm(sequence.points(frame, frame) - clip.points[frame, frame], axis=-1)
        # Half a unit along the axis is more along an oblique ray.
        assert np.nanmax(error[known[frame]]) < 1 / UNIT


def test_scene_flow_in_the_world(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip)
    (sequence,) = opened(tmp_path)
    known = np.isfinite(sequence.depth(0))
    error = np.linalg.norm(sequence.points(0, 1) - clip.points[1, 0], axis=-1)
    assert np.nanmax(error[known]) < 1 / UNIT
    assert np.isnan(sequence.points(1, 0)).all() and np.isnan(sequence.points(0, 2)).all()


@pytest.mark.parametrize("measured", [True, False])
def test_scene_flow_in_the_camera_holds_the_camera_s_motion(tmp_path, measured):
    clip = engine_clip()
    write_miniature(tmp_path, clip)
    folder = tmp_path / "room_0"
    (folder / "scene_flow_world_00000_to_00001.npz").unlink()
    at = [np.linalg.inv(clip.world_from_camera[time]) for time in (0, 1)]
    before = clip.points[0, 0] @ at[0][:3, :3].T + at[0][:3, 3]
    after = clip.points[1, 0] @ at[1][:3, :3].T + at[1][:3, 3]
    valid = np.isfinite(after).all(axis=-1)
    valid[::2] = False
    flow = np.nan_to_num(after - before).astype(np.float32)
    np.savez(folder / "scene_flow_00000_to_00001.npz", sflow_m=flow, valid=valid)
    if not measured:
        told = json.loads((folder / "cameras.json").read_text())
        (folder / "cameras.json").write_text(json.dumps({**told, "pose_source": "none: unknown"}))
    (sequence,) = opened(folder)
    assert sequence.holds.poses == measured
    wanted = clip.points[1, 0] if measured else after
    error = np.linalg.norm(sequence.points(0, 1) - wanted, axis=-1)
    known = np.isfinite(sequence.depth(0)) & valid
    np.testing.assert_array_equal(np.isfinite(error), known)
    assert np.nanmax(error) < 1.1 / UNIT
    if not measured:
        with pytest.raises(InputError, match="has no poses"):
            sequence.world_from_camera(0)


def boxed(tmp_path, clip):
    """Random points on the rays of pixels, a third each still, in a box, and in one that leaves."""
    rng = np.random.default_rng(5)
    frames, count = clip.frame_count, 90
    height, width = clip.image_hw
    row, column = rng.integers(0, height, count), rng.integers(0, width, count)
    z = rng.uniform(2, 9, count)
    pixel = np.stack([column + 0.5, row + 0.5, np.ones(count)], axis=1)
    start = (pixel @ np.linalg.inv(clip.intrinsics[0]).T) * z[:, None]
    number = np.repeat([0, 7, 40_000_000_000], 30)
    poses, points = {}, np.repeat(start[None], frames, axis=0)
    for key in (7, 40_000_000_000):
        poses[key] = np.tile(np.eye(4), (frames, 1, 1))
        for time in range(frames):
            turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            poses[key][time, :3, :3] = turn * np.sign(np.linalg.det(turn))
            poses[key][time, :3, 3] = rng.normal(size=3)
        inverse = np.linalg.inv(poses[key][0])
        here = start[number == key] @ inverse[:3, :3].T + inverse[:3, 3]
        for time in range(frames):
            pose = poses[key][time]
            points[time, number == key] = here @ pose[:3, :3].T + pose[:3, 3]
    poses[40_000_000_000][3] = np.nan
    write_lidar(tmp_path / "street", clip, points=points, number=number, poses=poses)
    return points, number, poses, (row, column, z)


def test_lidar_points_move_with_their_boxes(tmp_path):
    clip = engine_clip()
    points, number, poses, (row, column, z) = boxed(tmp_path, clip)
    (sequence,) = opened(tmp_path)
    holds = sequence.holds
    assert holds.motion == "sparse" and holds.instances and holds.object_poses and holds.metric
    depth, instances = sequence.depth(0), sequence.instances(0)
    # Of several points of a pixel the nearest is meant: worked out point by point.
    nearest = {}
    for k in range(len(z)):
        place = (row[k], column[k])
        if place not in nearest or z[k] < z[nearest[place]]:
            nearest[place] = k
    assert np.isfinite(depth).sum() == len(nearest) < len(z)
    for place, k in nearest.items():
        assert depth[place] == pytest.approx(z[k], rel=1e-6)
        assert instances[place] == {0: 0, 7: 1, 40_000_000_000: 2}[number[k]]
        for time in (0, 2, 3, 5):
            found = sequence.points(0, time)[place]
            if time == 3 and number[k] == 40_000_000_000:
                assert np.isnan(found).all()
            else:
                np.testing.assert_allclose(found, points[time, k], atol=1e-4)
    np.testing.assert_allclose(sequence.object_poses()[0], poses[7])
    np.testing.assert_allclose(sequence.object_poses()[1], poses[40_000_000_000])


def test_lidar_points_fall_into_the_pixels_around_integers(tmp_path):
    clip = engine_clip()
    boxed(tmp_path, clip)
    path = tmp_path / "street" / "lidar" / "00001.npz"
    uv = np.array(
        [[-0.51, 3], [-0.49, 3], [4.49, 23.49], [31.6, 2], [6, 23.51], [8, 8], [9, np.nan]]
    )
    z = np.array([1, 2, 3, 4, 5, -6.0, 7])
    np.savez(path, uv=uv, z=z, instance=np.zeros(7, int))
    depth = opened(tmp_path)[0].depth(1)
    assert {tuple(each) for each in np.argwhere(np.isfinite(depth))} == {(3, 0), (23, 4)}
    assert depth[3, 0] == 2 and depth[23, 4] == 3


def test_pictures_with_masks_alone(tmp_path):
    clip = engine_clip()
    for name in ("images", "masks"):
        (tmp_path / "car" / name).mkdir(parents=True)
    for frame in (0, 2):
        Image.fromarray(clip.images[frame]).save(tmp_path / f"car/images/{frame:05d}.png")
        mask = np.where(clip.moving[frame], 255, 0).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / f"car/masks/{frame:05d}.png")
    (sequence,) = opened(tmp_path)
    assert sequence.frame_count == 2 and not sequence.holds.lens
    np.testing.assert_array_equal(sequence.image(1), clip.images[2])
    np.testing.assert_array_equal(sequence.moving(1), clip.moving[2])
    (tmp_path / "car/masks/00002.png").unlink()
    with pytest.raises(InputError, match=r"00002.png: no such file"):
        sequence.moving(1)


def test_units_that_are_not_said(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip)
    path = tmp_path / "room_0" / "cameras.json"
    told = json.loads(path.read_text())
    del told["depth"]
    path.write_text(json.dumps(told))
    (sequence,) = opened(tmp_path)
    assert not sequence.holds.metric
    with Image.open(tmp_path / "room_0/depth/00000.png") as values:
        raw = np.asarray(values).astype(float)
    np.testing.assert_array_equal(np.nan_to_num(sequence.depth(0)), np.where(raw > 65534, 0, raw))


@pytest.mark.parametrize(
    ("name", "content", "ask", "said"),
    [
        ("cameras.json", b"{", lambda s: s.frame_count, "room_0 cannot be read"),
        ("cameras.json", b'{"frames": [3]}', lambda s: s.holds, "room_0 cannot be read"),
        ("depth/00001.png", None, lambda s: s.depth(1), "00001.png: no such file"),
        ("depth/00001.png", b"\x89PNG", lambda s: s.depth(1), "00001.png: damaged"),
        ("images/00001.png", b"\x89PNG", lambda s: s.image(1), "00001.png"),
        ("scene_flow_world_00000_to_00001.npz", b"PK", lambda s: s.points(0, 1), "npz: damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, ask, said):
    write_miniature(tmp_path, engine_clip(), sequences=2)
    path = tmp_path / "room_0" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    bad, good = opened(tmp_path)
    ask(good)
    with pytest.raises(InputError, match=said) as caught:
        ask(bad)
    assert "\n" not in str(caught.value)


def test_flow_and_depth_of_another_size(tmp_path):
    write_miniature(tmp_path, engine_clip())
    folder = tmp_path / "room_0"
    np.savez(folder / "scene_flow_world_00000_to_00001.npz", flow=np.zeros((4, 4, 3)))
    Image.fromarray(np.ones((4, 4), np.uint16)).save(folder / "depth/00002.png")
    (sequence,) = opened(folder)
    with pytest.raises(InputError, match=r"npz: damaged \(it is of shape"):
        sequence.points(0, 1)
    with pytest.raises(InputError, match=r"00002\.png: damaged \(it is of shape"):
        sequence.depth(2)


def test_folders_of_something_else(tmp_path):
    with pytest.raises(InputError, match="no folder of pictures with truth"):
        opened(tmp_path)
