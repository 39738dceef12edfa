"""KITTI's drives with annotated depth."""

import shutil

import numpy as np
import pytest
from PIL import Image

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import InputError
from miniatures import kitti
from miniatures.damage import cut_off, emptied, garbled, missing, refused
from miniatures.other_cameras import clip_from_elsewhere

STEP_M = 1 / 256


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    kitti.write_miniature(root, clip_from_elsewhere(), sequences=2)
    return root


@pytest.fixture
def root(written, tmp_path):
    """A set that may be damaged."""
    return shutil.copytree(written, tmp_path / "set")


def test_the_miniature_reads_back_as_the_clip(root):
    clip = clip_from_elsewhere()
    drives = open_dataset("kitti", root)
    assert [drive.name for drive in drives] == list(kitti.DRIVES[:2])
    for drive in drives:
        assert (drive.frame_count, drive.image_hw) == (clip.frame_count, clip.image_hw)
        assert (drive.holds.lens, drive.holds.poses, drive.holds.metric) == (True, True, True)
        first = np.linalg.inv(drive.world_from_camera(0))
        for frame in range(clip.frame_count):
            np.testing.assert_array_equal(drive.image(frame), clip.images[frame])
            z = np.where(clip.depth[frame] < STEP_M / 2, np.nan, clip.depth[frame])
            np.testing.assert_allclose(drive.depth(frame), z, atol=STEP_M / 2 + 1e-6, rtol=1e-6)
            np.testing.assert_allclose(drive.intrinsics(frame), clip.intrinsics[0], rtol=1e-9)
            pose = drive.world_from_camera(frame)
            np.testing.assert_allclose(first @ pose, clip.world_from_camera[frame], atol=2e-6)
            points = (pose @ np.linalg.inv(clip.world_from_camera[frame]))[:3] @ np.concatenate(
                [clip.points[frame, frame], np.ones((*clip.image_hw, 1))], axis=-1
            ).reshape(-1, 4).T
            np.testing.assert_allclose(
                drive.points(frame, frame).reshape(-1, 3), points.T, atol=2 * STEP_M, rtol=1e-5
            )


def test_the_world_is_where_the_first_packet_was(root):
    """The camera of the first frame is 2.5 m east, 1.5 m south and .7 m above it."""
    drive = open_dataset("kitti", root)[0]
    camera = drive.world_from_camera(0)[:3, 3]
    np.testing.assert_allclose(camera, [2.5, -1.5, 0.7], atol=1e-6)


def test_the_first_110_frames_of_a_drive_of_val(tmp_path):
    kitti.write_miniature(tmp_path, clip_from_elsewhere())
    (drive,) = open_dataset("kitti", tmp_path)
    truth = tmp_path / "val" / drive.name / "proj_depth" / "groundtruth" / "image_02"
    for number in range(20, 140):
        (truth / f"{number:010d}.png").write_bytes(b"")
    (drive,), (whole,) = (open_dataset("kitti", tmp_path, split) for split in ("val", "val_whole"))
    assert (drive.frame_count, whole.frame_count) == (110, clip_from_elsewhere().frame_count + 120)
    (tmp_path / "val").rename(tmp_path / "train")
    (trained,) = open_dataset("kitti", tmp_path, "train")
    assert trained.frame_count == whole.frame_count


@pytest.mark.parametrize(
    ("gone", "lens", "poses"),
    [
        ("calib_cam_to_cam.txt", False, False),
        ("calib_velo_to_cam.txt", True, False),
        ("calib_imu_to_velo.txt", True, False),
        ("oxts", True, False),
    ],
)
def test_depth_does_not_need_calibration_or_packets(root, gone, lens, poses):
    day = root / kitti.DATE
    if gone == "oxts":
        (day / kitti.DRIVES[0] / "oxts").rename(day / "elsewhere")
    else:
        (day / gone).unlink()
    drive = open_dataset("kitti", root)[0]
    assert (drive.holds.lens, drive.holds.poses) == (lens, poses)
    drive.depth(0)
    for has, asked in ((lens, drive.intrinsics), (poses, drive.world_from_camera)):
        if has:
            asked(0)
        else:
            with pytest.raises(InputError, match="kitti has no"):
                asked(0)


def read_all(drive):
    for frame in (0, 2):
        drive.image(frame)
        drive.points(frame, frame)


def files_of(root, number):
    name = f"{number:010d}"
    raw = root / kitti.DATE / kitti.DRIVES[0]
    truth = root / "val" / kitti.DRIVES[0] / "proj_depth" / "groundtruth" / "image_02"
    return (
        raw / "image_02" / "data" / f"{name}.png",
        raw / "oxts" / "data" / f"{name}.txt",
        truth / f"{name}.png",
    )


@pytest.mark.parametrize("damage", [cut_off, emptied, garbled, missing])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_bad_file_is_named_and_hides_no_other_drive(root, damage, which):
    path = files_of(root, 7)[which]
    damage(path)
    bad, good = open_dataset("kitti", root)
    read_all(good)
    if damage is missing and which == 2:
        # A frame without truth is not counted.
        assert bad.frame_count == good.frame_count - 1
    else:
        refused(lambda: read_all(bad), path)


@pytest.mark.parametrize("damage", [cut_off, emptied, garbled])
@pytest.mark.parametrize("name", ["cam_to_cam", "velo_to_cam", "imu_to_velo"])
def test_a_bad_calibration_is_named(root, damage, name):
    path = root / kitti.DATE / f"calib_{name}.txt"
    damage(path)
    drive = open_dataset("kitti", root)[0]
    refused(lambda: drive.world_from_camera(0), path)


def test_truth_of_another_size_is_refused(root):
    path = files_of(root, 6)[2]
    Image.fromarray(np.ones((5, 7), np.uint16)).save(path)
    drive = open_dataset("kitti", root)[0]
    assert "7 x 5" in refused(lambda: drive.depth(1), path)


def test_a_packet_of_another_length_is_refused(root):
    path = files_of(root, 6)[1]
    path.write_text("49 8 112 0 0 0\n")
    drive = open_dataset("kitti", root)[0]
    assert "6 columns" in refused(lambda: drive.world_from_camera(1), path)


def test_a_folder_that_is_not_the_set_is_refused(root, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    assert "wanted ROOT" in refused(lambda: open_dataset("kitti", empty), empty)
    (empty / "val").mkdir()
    assert "wanted ROOT" in refused(lambda: open_dataset("kitti", empty), empty)
    (empty / "val" / "2011_09_26_drive_0002_sync").mkdir()
    (drive,) = open_dataset("kitti", empty)
    refused(lambda: drive.frame_count, empty / "val" / "2011_09_26_drive_0002_sync")
