"""TUM-dynamics and Bonn: the form of the TUM RGB-D benchmark."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from dynapoint.datasets.registry import open_dataset
from dynapoint.datasets.tum_format import TumSequence, associate
from dynapoint.errors import InputError
from folders import SHARED
from miniatures import bonn, tum_dynamics
from miniatures.damage import cut_off, emptied, garbled, missing, refused
from miniatures.other_cameras import clip_from_elsewhere
from miniatures.tum_format import RATE_HZ, START_S, write_folder

WRITERS = {"tum-dynamics": tum_dynamics, "bonn": bonn}
# fx, fy, cx, cy of pictures of 640 x 480, pixel centres at integers, as their pages print them.
LENS = {
    "tum-dynamics": (535.4, 539.2, 320.1, 247.6),
    "bonn": (542.822841, 542.576870, 315.593520, 237.756098),
}
SPLIT = {"tum-dynamics": "dynamic", "bonn": "all"}
STEP_M = 1 / 5000
EXTRACT = SHARED / "examples" / "tum_fr1_rpy_a"


@pytest.fixture(params=WRITERS)
def key(request):
    return request.param


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    roots = {}
    for key, writer in WRITERS.items():
        roots[key] = tmp_path_factory.mktemp(key)
        writer.write_miniature(roots[key], clip_from_elsewhere(), sequences=2)
    return roots


@pytest.fixture
def root(key, written, tmp_path):
    """A set that may be damaged."""
    return shutil.copytree(written[key], tmp_path / "set")


def known_depth(clip):
    """What 16 bits can hold of the clip's depth."""
    return np.where(clip.depth * 5000 > 65535, np.nan, clip.depth)


def test_the_miniature_reads_back_as_the_clip(key, root):
    clip = clip_from_elsewhere()
    sequences = open_dataset(key, root)
    assert [sequence.name for sequence in sequences] == list(WRITERS[key].NAMES[:2])
    for sequence in sequences:
        assert sequence.dataset == key
        assert (sequence.frame_count, sequence.image_hw) == (clip.frame_count, clip.image_hw)
        assert sequence.holds.poses
        first = np.linalg.inv(sequence.world_from_camera(0))
        for frame in range(clip.frame_count):
            np.testing.assert_array_equal(sequence.image(frame), clip.images[frame])
            z = known_depth(clip)[frame]
            np.testing.assert_allclose(sequence.depth(frame), z, rtol=1e-6, atol=STEP_M / 2 + 1e-6)
            pose = first @ sequence.world_from_camera(frame)
            np.testing.assert_allclose(pose, clip.world_from_camera[frame], atol=1e-6)
        np.testing.assert_allclose(
            sequence.times_s - START_S, np.arange(clip.frame_count) / RATE_HZ, atol=1e-5
        )


def test_the_lens_is_the_published_one_for_smaller_pictures(key, root):
    """A ray of a pixel is that of the same part of a picture of 640 x 480."""
    sequence = open_dataset(key, root)[0]
    height, width = sequence.image_hw
    fx, fy, cx, cy = LENS[key]
    row, column = 3, 20
    ray = np.linalg.solve(sequence.intrinsics(2), [column + 0.5, row + 0.5, 1])
    x, y = (column + 0.5) * 640 / width - 0.5, (row + 0.5) * 480 / height - 0.5
    np.testing.assert_allclose(ray, [(x - cx) / fx, (y - cy) / fy, 1], rtol=1e-12)
    z = sequence.depth(2)[row, column]
    point = sequence.world_from_camera(2) @ [*(z * ray), 1]
    np.testing.assert_allclose(sequence.points(2, 2)[row, column], point[:3], rtol=1e-5)
    with pytest.raises(InputError, match="another time"):
        sequence.points(2, 3)


def test_poses_are_of_the_world_that_the_files_have(tmp_path):
    """Without the change of the test above to the first camera's frame."""
    clip = clip_from_elsewhere()
    poses = np.tile(np.eye(4), (clip.frame_count, 1, 1))
    poses[:, :3, :3] = Rotation.random(clip.frame_count, random_state=3).as_matrix()
    poses[:, :3, 3] = np.random.default_rng(3).normal(size=(clip.frame_count, 3))
    write_folder(tmp_path / "rgbd_dataset_freiburg3_walking_xyz", clip, poses)
    write_folder(tmp_path / "rgbd_bonn_crowd2", clip, bonn.markers(poses))
    for key in WRITERS:
        (sequence,) = open_dataset(key, tmp_path)
        for frame in range(clip.frame_count):
            np.testing.assert_allclose(sequence.world_from_camera(frame), poses[frame], atol=1e-7)


def test_the_documented_transform_of_bonn_up_to_its_factor(tmp_path):
    """T_ROS^-1 T T_ROS T_m of a pose is the camera's but for the factor 1.0593."""
    clip = clip_from_elsewhere()
    markers = np.tile(np.eye(4), (clip.frame_count, 1, 1))
    markers[:, :3, :3] = Rotation.random(clip.frame_count, random_state=4).as_matrix()
    markers[:, :3, 3] = np.random.default_rng(4).normal(size=(clip.frame_count, 3))
    write_folder(tmp_path / "rgbd_bonn_crowd2", clip, markers)
    (sequence,) = open_dataset("bonn", tmp_path)
    for frame in range(clip.frame_count):
        told = np.linalg.inv(bonn.T_ROS) @ markers[frame] @ bonn.T_ROS @ bonn.T_M
        pose = sequence.world_from_camera(frame)
        np.testing.assert_allclose(pose[:3, 3], told[:3, 3], atol=1e-7)
        np.testing.assert_allclose(pose[:3, :3] * 1.0593, told[:3, :3], atol=2e-4)
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-7)


def test_pictures_without_a_pose(tmp_path):
    """TUM-dynamics leaves them out; Bonn counts them, and has no poses then."""
    clip = clip_from_elsewhere()
    for name in ("rgbd_dataset_freiburg3_sitting_xyz", "rgbd_bonn_crowd2"):
        write_folder(tmp_path / name, clip, clip.world_from_camera, picture_before=True)
    (tum,), (crowd,) = open_dataset("tum-dynamics", tmp_path), open_dataset("bonn", tmp_path)
    assert (tum.frame_count, crowd.frame_count) == (clip.frame_count, clip.frame_count + 1)
    assert (tum.holds.poses, crowd.holds.poses) == (True, False)
    np.testing.assert_array_equal(tum.image(0), crowd.image(1))
    path = tmp_path / "rgbd_bonn_crowd2" / "groundtruth.txt"
    assert "no pose within 0.02 s" in refused(lambda: crowd.world_from_camera(0), path)
    crowd.world_from_camera(1)


def test_depth_of_a_picture_without_any_is_unknown(tmp_path):
    clip = clip_from_elsewhere()
    for name in ("rgbd_dataset_freiburg3_sitting_xyz", "rgbd_bonn_crowd2"):
        write_folder(tmp_path / name, clip, clip.world_from_camera, without_depth=(2,))
    for key in WRITERS:
        (sequence,) = open_dataset(key, tmp_path)
        assert np.isnan(sequence.depth(2)).all()
        z = known_depth(clip)[3]
        np.testing.assert_allclose(sequence.depth(3), z, atol=STEP_M, rtol=1e-6)


def test_bonn_by_place_takes_the_lists_row_by_row(tmp_path):
    """The list of depth begins one frame early: row by row, depth is a frame late."""
    clip = clip_from_elsewhere()
    bonn.write_miniature(tmp_path, clip)
    (sequence,) = open_dataset("bonn", tmp_path, "by_place")
    assert sequence.depth(0)[0, 0] == 1.0
    for frame in range(1, clip.frame_count):
        z = known_depth(clip)[frame - 1]
        np.testing.assert_allclose(sequence.depth(frame), z, atol=STEP_M, rtol=1e-6)


def test_which_folders_are_sequences(tmp_path):
    clip = clip_from_elsewhere()
    for name in ("freiburg3_walking_xyz", "freiburg3_cabinet", "freiburg1_rpy"):
        write_folder(tmp_path / f"rgbd_dataset_{name}", clip, clip.world_from_camera)
    (tmp_path / "rgbd_dataset_freiburg3_walking_rpy.tgz").write_bytes(b"")
    named = {
        split: [sequence.name for sequence in open_dataset("tum-dynamics", tmp_path, split)]
        for split in ("dynamic", "all")
    }
    assert named == {"dynamic": ["walking_xyz"], "all": ["cabinet", "walking_xyz"]}
    shutil.rmtree(tmp_path / "rgbd_dataset_freiburg3_walking_xyz")
    assert "walking_*" in refused(lambda: open_dataset("tum-dynamics", tmp_path), tmp_path)
    bonn.write_miniature(tmp_path / "rgbd_bonn_dataset", clip)
    assert [sequence.name for sequence in open_dataset("bonn", tmp_path)] == ["balloon2"]


def read_all(sequence):
    for frame in (0, 2):
        sequence.image(frame)
        sequence.points(frame, frame)


@pytest.mark.parametrize("damage", [cut_off, emptied, garbled, missing])
@pytest.mark.parametrize("which", ["rgb.txt", "depth.txt", "groundtruth.txt", "picture", "depth"])
def test_a_bad_file_is_named_and_hides_no_other_sequence(key, root, damage, which):
    frames = open_dataset(key, root)[0].frames
    path = {"picture": frames.pictures[2], "depth": frames.depths[2]}.get(which)
    path = path or frames.pictures[0].parent.parent / which
    if damage is cut_off and which in ("rgb.txt", "depth.txt"):
        # Cut within a time: a cut within a name would name a file that is not there.
        path.write_text(path.read_text().rsplit(" ", 1)[0])
    else:
        damage(path)
    bad, good = open_dataset(key, root)
    refused(lambda: read_all(bad), path)
    read_all(good)


def test_depth_of_another_size_is_refused(key, root):
    sequence = open_dataset(key, root)[0]
    Image.fromarray(np.ones((5, 7), np.uint16)).save(sequence.frames.depths[1])
    assert "7 x 5" in refused(lambda: sequence.depth(1), sequence.frames.depths[1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# timestamp tx ty tz qx qy qz qw\n", ""),
        ("1.0 0 0 0 0 0 0 1\n", "no pose within 0.02 s"),
        (f"{START_S} 0 0 0 0 0 0 0\n", "unit quaternions"),
        (f"{START_S} 0 0 0 0 0 1\n", "7 columns"),
        (f"{START_S} 0 0 nan 0 0 0 1\n", "unit quaternions"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt:UserWarning")
def test_trajectories_that_are_none(text, said, tmp_path):
    tum_dynamics.write_miniature(tmp_path, clip_from_elsewhere())
    (sequence,) = open_dataset("tum-dynamics", tmp_path)
    path = sequence.folder / "groundtruth.txt"
    path.write_text(text)
    assert said in refused(lambda: sequence.frame_count, path)


def test_a_folder_that_is_not_the_set_is_refused(key, tmp_path):
    assert "wanted ROOT" in refused(lambda: open_dataset(key, tmp_path), tmp_path)
    refused(lambda: open_dataset(key, tmp_path / "nowhere"), tmp_path / "nowhere")


times = st.lists(st.integers(0, 60), unique=True, max_size=12)


@settings(max_examples=150, deadline=None)
@given(times, times, st.integers(1, 9))
def test_partners_are_those_of_the_benchmarks_own_script(first, second, within):
    """By definition: of all pairs near enough, the closest one first; equal ones by their times.

    Times are whole numbers of 1/64 s, so that differences are exact.
    """
    partners = {}
    pairs = [(abs(a - b), a, b) for a in first for b in second if abs(a - b) < within]
    while pairs:
        _, a, b = min(pairs)
        partners[a] = b
        pairs = [pair for pair in pairs if pair[1] != a and pair[2] != b]
    found = associate(np.array(first) / 64, np.array(second) / 64, within / 64)
    wanted = [second.index(partners[a]) if a in partners else -1 for a in first]
    assert found.tolist() == wanted


@pytest.mark.skipif(
    not EXTRACT.is_dir(), reason="the shared examples are not beside the repository"
)
def test_points_of_a_real_recording_lie_where_another_frame_measured_them(tmp_path):
    """An extract of freiburg1_rpy, undistorted: its list of frames is put into the form of TUM."""
    told = json.loads((EXTRACT / "cameras.json").read_text())["frames"]
    there = [each for each in told if (EXTRACT / each["file"]).is_file()]
    lists = {"rgb.txt": "", "depth.txt": "", "groundtruth.txt": ""}
    for each in there:
        time, pose = each["timestamp_s"], np.array(each["T_wc"])
        turn = Rotation.from_matrix(pose[:3, :3]).as_quat()
        lists["rgb.txt"] += f"{time:.6f} {EXTRACT / each['file']}\n"
        lists["depth.txt"] += f"{time + 0.005:.6f} {EXTRACT / each['depth']}\n"
        lists["groundtruth.txt"] += (
            f"{time:.6f} " + " ".join(map(str, [*pose[:3, 3], *turn])) + "\n"
        )
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    sequence = TumSequence(
        tmp_path,
        dataset="tum-dynamics",
        name="rpy",
        lens=tuple(there[0]["K_fx_fy_cx_cy"]),
        only_posed=True,
    )
    assert (sequence.frame_count, sequence.image_hw) == (len(there), (480, 640))
    assert sequence.image(0).shape == (480, 640, 3)
    seen_from, other = 0, 6
    np.testing.assert_allclose(sequence.world_from_camera(other), there[other]["T_wc"], atol=1e-5)
    points = sequence.points(seen_from, seen_from)[::4, ::4].reshape(-1, 3)

    def error(world_from_camera):
        """Between depth measured by the other frame and that of the first frame's points in it."""
        inside = (points - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
        inside = inside[inside[:, 2] > 0]
        column, row, _ = (sequence.intrinsics(other) @ (inside / inside[:, 2:]).T).astype(int)
        seen = (0 <= column) & (column < 640) & (0 <= row) & (row < 480)
        measured = sequence.depth(other)[row[seen], column[seen]]
        return np.nanmedian(abs(measured / inside[seen, 2] - 1))

    assert error(sequence.world_from_camera(other)) < 0.01
    assert error(sequence.world_from_camera(seen_from)) > 0.02
