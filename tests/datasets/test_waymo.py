import builtins
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynapoint.datasets.registry import open_dataset
from dynapoint.datasets.waymo_lidar import (
    Laser,
    TrackedBoxes,
    moved_by_pixel_poses,
    points_in_vehicle,
)
from dynapoint.errors import InputError
from miniatures.engine_clip import engine_clip
from miniatures.rigid_boxes import BoxScene
from miniatures.waymo import (
    DISTORTION,
    bent,
    lens,
    lidar,
    picture,
    scene_from_camera,
    scene_from_vehicle,
    write_miniature,
)

FRAMES, IMAGE_HW = 4, (36, 48)
COMPONENTS = (
    "camera_image",
    "camera_calibration",
    "vehicle_pose",
    "lidar",
    "lidar_calibration",
    "lidar_camera_projection",
    "lidar_pose",
    "lidar_box",
)
STRAIGHT = np.zeros(5)


class Size:
    frame_count, image_hw = FRAMES, IMAGE_HW


@pytest.fixture(scope="module")
def scene():
    return BoxScene(frames=FRAMES, upright=True)


@pytest.fixture(scope="module")
def straight_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("waymo")
    write_miniature(root, Size, distortion=STRAIGHT)
    return root


@pytest.fixture(scope="module")
def bent_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("waymo")
    write_miniature(root, Size)
    return root


@pytest.fixture
def root(tmp_path, straight_root):
    """A copy that a test may damage."""
    shutil.copytree(straight_root, tmp_path, dirs_exist_ok=True)
    return tmp_path


def opened(root):
    (sequence,) = open_dataset("waymo", root)
    return sequence


def component(root, name):
    (path,) = (root / "validation" / name).glob("*.parquet")
    return path


def truth_by_pixel(scene, frame):
    """Where each pixel's nearest LiDAR point is at all times, and what it hit; NaN elsewhere."""
    at = np.full((FRAMES, *IMAGE_HW, 3), np.nan)
    hit, unlabelled = np.full(IMAGE_HW, -2), np.zeros(IMAGE_HW, bool)
    nearest = np.full(IMAGE_HW, np.inf)
    camera = np.linalg.inv(scene_from_vehicle(0)) @ scene_from_camera(frame)
    for laser in (1, 2):
        seen = lidar(scene, frame, laser, IMAGE_HW, STRAIGHT)
        for row, column in np.argwhere((seen.ranges > 0) & (seen.pixel[..., 0] >= 0)):
            x, y = seen.pixel[row, column].astype(int)
            place = seen.in_vehicle_0[frame, row, column]
            z = (place - camera[:3, 3]) @ camera[:3, 2]
            if z < nearest[y, x]:
                nearest[y, x], hit[y, x] = z, seen.hit[row, column]
                at[:, y, x] = seen.in_vehicle_0[:, row, column]
                unlabelled[y, x] = seen.unlabelled[row, column]
    return at, np.where(np.isinf(nearest), np.nan, nearest), hit, unlabelled


def test_the_clip_of_the_engine_gives_size_and_length(tmp_path):
    clip = engine_clip()
    write_miniature(tmp_path, clip)

    sequence = opened(tmp_path)

    assert (sequence.frame_count, sequence.image_hw) == (clip.frame_count, clip.image_hw)


def test_lens_poses_and_pictures_of_a_straight_lens(straight_root, scene):
    sequence = opened(straight_root)

    assert (sequence.frame_count, sequence.image_hw) == (FRAMES, IMAGE_HW)
    for frame in range(FRAMES):
        np.testing.assert_allclose(sequence.intrinsics(frame), lens(IMAGE_HW))
        pose = np.linalg.inv(scene_from_vehicle(0)) @ scene_from_camera(frame)
        np.testing.assert_allclose(sequence.world_from_camera(frame), pose, atol=1e-8)
        taken = picture(scene, frame, IMAGE_HW, STRAIGHT).astype(int)
        # JPEG.
        assert np.abs(sequence.image(frame) - taken).mean() < 3


def test_pictures_are_undistorted(tmp_path):
    class Large:
        frame_count, image_hw = 1, (144, 192)

    write_miniature(tmp_path, Large)
    scene = BoxScene(frames=1, upright=True)
    taken, pinhole = (
        picture(scene, 0, Large.image_hw, how).astype(int) for how in (DISTORTION, STRAIGHT)
    )

    undistorted = opened(tmp_path).image(0)

    # What is left are edges, which lie between pixels, and the corners.
    assert np.abs(undistorted - pinhole).mean() < 0.5 * np.abs(taken - pinhole).mean()


def test_pixels_of_points_are_undistorted(bent_root, scene):
    sequence = opened(bent_root)
    points, pose = sequence.points(2, 2), sequence.world_from_camera(2)

    rows, columns = np.nonzero(~np.isnan(points[..., 0]))
    local = (points[rows, columns] - pose[:3, 3]) @ pose[:3, :3]
    slope = local[:, :2] / local[:, 2:]
    matrix = sequence.intrinsics(2)
    straight, curved = (
        one * matrix[[0, 1], [0, 1]] + matrix[:2, 2] - np.stack([columns, rows], -1) - 0.5
        for one in (slope, bent(slope, DISTORTION))
    )
    # Half a pixel of the picture as it was taken, half a pixel of this one.
    assert np.abs(straight).max() < 1.15
    assert np.abs(curved).max() > 1.5


def test_depth_and_points_are_the_nearest_ones_of_the_lidars(straight_root, scene):
    sequence = opened(straight_root)

    for frame in (0, 2):
        at, z, hit, unlabelled = truth_by_pixel(scene, frame)
        depth = sequence.depth(frame)
        assert (np.isnan(depth) == np.isnan(z)).all()
        assert np.nanmax(np.abs(depth - z)) < 3e-3
        for time in range(FRAMES):
            points = sequence.points(frame, time)
            known = hit != -2
            if time != frame:
                known &= ~unlabelled
                known &= ~((hit == 1) & (time == FRAMES - 1))
            assert (np.isnan(points).any(axis=-1) == ~known).all()
            # Poses of pixels are float32 at 14 km: a millimetre.
            assert np.abs(points - at[time])[known].max() < 3e-3
        assert {0, 1, 2, -1} <= set(hit.ravel())
        assert unlabelled.any()
        moves = np.linalg.norm(at[3] - at[frame], axis=-1)
        assert moves[(hit == 0) | (hit == 1)].min() > 0.05


def test_a_range_image_by_hand():
    # A laser turned by a right angle: the first column's middle looks at 135 degrees less 90.
    pose = np.array([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
    laser = Laser(
        name=1, vehicle_from_laser=pose, inclinations=np.array([-0.5, 0.0]), lowest=0.0, highest=0.0
    )
    ranges = np.array([[2.0, 2, 2, 2], [1, 1, 1, 1]])

    points = points_in_vehicle(ranges, laser)

    root = np.sqrt(0.5)
    # In the vehicle, columns look at 135, 45, -45 and -135 degrees.
    np.testing.assert_allclose(points[0, 0], [1 - 2 * root, 2 + 2 * root, 3], atol=1e-12)
    np.testing.assert_allclose(points[0, 2], [1 + 2 * root, 2 - 2 * root, 3], atol=1e-12)
    np.testing.assert_allclose(
        points[1, 1],
        [1 + root * np.cos(0.5), 2 + root * np.cos(0.5), 3 - np.sin(0.5)],
        atol=1e-12,
    )
    with pytest.raises(ValueError, match="3 rows, 2 inclinations"):
        points_in_vehicle(np.ones((3, 4)), laser)


def test_uniform_inclinations_are_at_the_middles_of_rows():
    laser = Laser(name=2, vehicle_from_laser=np.eye(4), inclinations=None, lowest=-1.0, highest=1.0)

    assert laser.of_rows(4).tolist() == [0.75, 0.25, -0.25, -0.75]


def test_poses_of_pixels_turn_about_x_then_y_then_z():
    random = np.random.default_rng(0)
    poses, points = random.normal(size=(20, 6)), random.normal(size=(20, 3))
    wanted = []
    for (roll, pitch, yaw, *place), point in zip(poses, points, strict=True):
        x = [[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]]
        y = [[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]]
        z = [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
        wanted.append(np.array(z) @ np.array(y) @ np.array(x) @ point + place)

    np.testing.assert_allclose(moved_by_pixel_poses(points, poses), wanted, atol=1e-12)


def test_points_in_and_near_boxes_by_hand():
    poses = np.full((2, 2, 4, 4), np.nan)
    poses[0, 0], poses[1, 0], poses[0, 1] = np.eye(4), np.eye(4), np.eye(4)
    poses[1, 0, :3, 3], poses[0, 1, :3, 3] = [3.0, 0, 0], [0, 0, 5]
    boxes = TrackedBoxes(world_from_box=poses, sizes=np.full((2, 2, 3), 4.0))
    points = np.array([[0, 0, 0], [1.2, 0, 0], [1.9, 0, 0], [0, 2.05, 0], [0, 2.2, 0.0]])

    box, near = boxes.holding(points, 0, 0.1)

    assert box.tolist() == [0, 0, 1, -1, -1]
    assert near.tolist() == [False, False, False, True, False]
    moved = boxes.carried(points, box, 0, 1)
    np.testing.assert_array_equal(moved[:2], points[:2] + np.array([0, 0, 5]))
    assert np.isnan(moved[2]).all()
    np.testing.assert_array_equal(moved[3:], points[3:])


@pytest.mark.parametrize("name", COMPONENTS)
def test_each_file_missing_or_cut_off_is_named(root, name):
    path = component(root, name)
    data = path.read_bytes()

    def read():
        sequence = opened(root)
        sequence.image(0)
        sequence.points(0, 1)

    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=f"{name}/.*parquet: damaged") as error:
        read()
    assert "\n" not in str(error.value)
    table = pa.table({"key.other": [1]})
    pq.write_table(table, path)
    with pytest.raises(InputError, match=f"{name}/.*parquet: damaged .it has no column"):
        read()
    path.unlink()
    wanted = "no .* in it; wanted" if name == "camera_image" else f"{name}/.*: no such file"
    with pytest.raises(InputError, match=wanted):
        read()


@pytest.mark.parametrize("name", sorted({*COMPONENTS} - {"lidar_box", "lidar_calibration"}))
def test_each_file_without_rows_is_named(root, name):
    path = component(root, name)
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    sequence = opened(root)

    with pytest.raises(InputError, match=f"{name}/.*parquet: damaged .it has (no|0|nothing)"):
        sequence.image(0)
        sequence.points(0, 0)


def test_a_segment_without_labels_stands_still(root):
    path = component(root, "lidar_box")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    sequence = opened(root)

    now, then = sequence.points(0, 0), sequence.points(0, 3)

    known = ~np.isnan(then)
    np.testing.assert_array_equal(now[known], then[known])
    assert known.sum() > 0.5 * (~np.isnan(now)).sum()


def test_a_segment_without_lidars_is_refused(root):
    path = component(root, "lidar_calibration")
    pq.write_table(pq.read_table(path).slice(0, 0), path)

    with pytest.raises(InputError, match=r"lidar_calibration/.*: damaged .it has no LiDAR"):
        opened(root).depth(0)


def test_one_bad_segment_does_not_hide_the_others(root):
    path = component(root, "camera_image")
    first = path.with_name("0" + path.name)
    first.write_bytes(b"PAR1")

    bad, good = open_dataset("waymo", root)

    good.points(0, 1)
    with pytest.raises(InputError, match=f"{first.name}: damaged"):
        bad.image(0)


def changed(root, name, column, values):
    path = component(root, name)
    table = pq.read_table(path)
    index = table.column_names.index(column)
    field = table.schema.field(column)
    pq.write_table(table.set_column(index, field, pa.array(values(table), field.type)), path)


def test_points_just_outside_of_labels_are_unknown_at_other_times(root, scene):
    # Half of this, less the labels' margin: surfaces stand out by 3 cm.
    for axis in "xyz":
        key = f"[LiDARBoxComponent].box.size.{axis}"
        changed(root, "lidar_box", key, lambda table, key=key: np.asarray(table[key]) - 0.16)
    _, _, hit, _ = truth_by_pixel(scene, 0)
    sequence = opened(root)

    known = ~np.isnan(sequence.points(0, 1)).any(axis=-1)

    assert not known[hit >= 0].any()
    assert known[hit == -1].any()
    assert not np.isnan(sequence.points(0, 0))[hit >= 0].any()


def test_labels_count_in_zones_without_labels(root, scene):
    key = "[LiDARComponent].range_image_return1.values"

    def all_in_zones(table):
        images = [np.array(values).reshape(-1, 4) for values in table[key].to_pylist()]
        for image in images:
            image[:, 3] = 1
        return [image.ravel() for image in images]

    changed(root, "lidar", key, all_in_zones)
    _, _, hit, _ = truth_by_pixel(scene, 0)

    known = ~np.isnan(opened(root).points(0, 1)).any(axis=-1)

    assert (known == (hit >= 0)).all()


@pytest.mark.parametrize(
    ("name", "column", "values", "fault"),
    [
        ("camera_image", "[CameraImageComponent].image",
         lambda table: [b"\xff\xd8x"] * len(table), "the picture of frame 0"),
        ("camera_calibration", "[CameraCalibrationComponent].width",
         lambda table: [5] * len(table), r"frame 0 is \(36, 48, 3\), not \(36, 5, 3\)"),
        ("camera_calibration", "[CameraCalibrationComponent].intrinsic.f_u",
         lambda table: [None] * len(table), "f_u has missing values"),
        ("vehicle_pose", "key.frame_timestamp_micros",
         lambda table: list(range(len(table))), "nothing at time"),
        ("vehicle_pose", "[VehiclePoseComponent].world_from_vehicle.transform",
         lambda table: [None] * len(table), "no list of 4 x 4"),
        ("lidar", "[LiDARComponent].range_image_return1.shape",
         lambda table: [[1, 2, 4]] * len(table), r"values of shape \(1, 2, 4\)"),
        ("lidar", "[LiDARComponent].range_image_return1.values",
         lambda table: [None] * len(table), "range images of"),
        ("lidar_pose", "[LiDARPoseComponent].range_image_return1.shape",
         lambda table: [[s[1], s[0], s[2]] for s in
                        table["[LiDARPoseComponent].range_image_return1.shape"].to_pylist()],
         "not"),
        ("lidar_calibration", "[LiDARCalibrationComponent].beam_inclination.values",
         lambda table: [[0.1, 0.2]] * len(table), "26 rows, 2 inclinations"),
    ],
)  # fmt: skip
def test_each_fault_in_a_file_is_one_line(root, name, column, values, fault):
    changed(root, name, column, values)
    # Two files that do not fit: the one that has the pixels is named.
    where = {"26 rows": "lidar", "frame 0": "camera_image"}.get(fault[:7], name)

    with pytest.raises(InputError, match=f"{where}/.*parquet: damaged .*{fault}"):
        sequence = opened(root)
        sequence.image(0)
        sequence.points(0, 0)


def test_without_pyarrow_there_is_one_line(root, monkeypatch):
    imported = builtins.__import__

    def without(name, *rest, **options):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return imported(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"needs pyarrow.*pip install 'dynapoint\[datasets\]'"):
        opened(root).image(0)


def test_a_folder_without_segments_is_refused(tmp_path):
    with pytest.raises(InputError, match="camera_image: no such folder; wanted SPLIT"):
        open_dataset("waymo", tmp_path)
