"""TartanAir's reader against the truth of the clip that a miniature was written from."""

import shutil

import numpy as np
import pytest

from dynapoint.datasets.registry import open_dataset
from miniatures import damage
from miniatures.engine_clip import engine_clip
from miniatures.tartanair import FOCAL_PER_WIDTH, WORLD_FROM_CLIP, write_miniature


@pytest.fixture(scope="module")
def clip():
    """The set has one lens, so the clip is drawn with it."""
    return engine_clip(focal_per_width=FOCAL_PER_WIDTH)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clip):
    root = tmp_path_factory.mktemp("tartanair")
    write_miniature(root, clip, sequences=2)
    return root


@pytest.fixture
def copy(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "tartanair")
    return tmp_path / "tartanair"


def in_world(points):
    return points @ WORLD_FROM_CLIP[:3, :3].T + WORLD_FROM_CLIP[:3, 3]


def test_pictures_cameras_and_depth_are_those_of_the_clip(whole, clip):
    sequence = open_dataset("tartanair", whole)[0]
    assert sequence.frame_count == clip.frame_count and sequence.image_hw == clip.image_hw
    for i in range(clip.frame_count):
        np.testing.assert_array_equal(sequence.image(i), clip.images[i])
        np.testing.assert_array_equal(sequence.depth(i), clip.depth[i].astype(np.float32))
        np.testing.assert_allclose(sequence.intrinsics(i), clip.intrinsics[i], rtol=1e-6)
        pose = WORLD_FROM_CLIP @ clip.world_from_camera[i]
        np.testing.assert_allclose(sequence.world_from_camera(i), pose, atol=1e-7)
    assert np.isnan(clip.depth).any()


def test_the_lens_is_the_documented_one_at_full_size(copy):
    from PIL import Image

    sequence = open_dataset("tartanair", copy)[0]
    path = copy / "ocean/Easy/P000/image_left/000000_left.png"
    Image.fromarray(np.zeros((480, 640, 3), np.uint8)).save(path)
    np.testing.assert_array_equal(sequence.intrinsics(0), [[320, 0, 320], [0, 320, 240], [0, 0, 1]])


def test_points_are_those_of_a_still_world(whole, clip):
    sequence = open_dataset("tartanair", whole)[0]
    assert sequence.holds.motion == "still" and sequence.holds.metric
    for i in range(clip.frame_count):
        own = sequence.points(i, i)
        np.testing.assert_allclose(own, in_world(clip.points[i, i]), atol=3e-5)
        for t in range(clip.frame_count):
            np.testing.assert_array_equal(sequence.points(i, t), own)
            still = ~clip.moving[i]
            np.testing.assert_allclose(own[still], in_world(clip.points[t, i])[still], atol=3e-5)


def test_levels_are_splits_and_doubled_folders_are_read(copy):
    names = [sequence.name for sequence in open_dataset("tartanair", copy)]
    assert names == ["ocean/Easy/P000", "ocean/Hard/P000"]
    assert [s.name for s in open_dataset("tartanair", copy, "hard")] == names[1:]
    # As some archives unpack.
    (copy / "ocean").rename(copy / "inner")
    (copy / "ocean").mkdir()
    (copy / "inner").rename(copy / "ocean/ocean")
    assert [sequence.name for sequence in open_dataset("tartanair", copy)] == names


def test_it_holds_what_was_downloaded(copy):
    shutil.rmtree(copy / "ocean/Easy/P000/depth_left")
    sequence = open_dataset("tartanair", copy)[0]
    assert sequence.holds.poses and not sequence.holds.depth
    assert sequence.holds.motion == "own_time"


FILES = {
    "image_left/000001_left.png": lambda s: s.image(1),
    "depth_left/000001_left_depth.npy": lambda s: s.depth(1),
    "pose_left.txt": lambda s: s.world_from_camera(1),
}


@pytest.mark.parametrize("harm", damage.DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(copy, clip, name, harm):
    path = copy / "ocean/Easy/P000" / name
    harm(path)
    bad, good = open_dataset("tartanair", copy)
    damage.refused(lambda: FILES[name](bad), path)
    np.testing.assert_array_equal(good.image(1), clip.images[1])


def test_a_picture_left_out_is_named(copy):
    path = copy / "ocean/Easy/P000/image_left/000003_left.png"
    path.unlink()
    sequence = open_dataset("tartanair", copy)[0]
    damage.refused(lambda: sequence.image(0), path, "000004_left.png")


def test_other_arrays_are_refused(copy):
    path = copy / "ocean/Easy/P000/depth_left/000000_left_depth.npy"
    sequence = open_dataset("tartanair", copy)[0]
    np.save(path, np.ones((12, 16), np.float32))
    damage.refused(lambda: sequence.depth(0), path, "16 x 12", "32 x 24")
    np.save(path, np.ones((24, 32, 3), np.uint8))
    damage.refused(lambda: sequence.depth(0), path, "uint8")
    poses = copy / "ocean/Easy/P000/pose_left.txt"
    poses.write_text("0 0 0 0 0 0 0\n" * sequence.frame_count)
    damage.refused(lambda: sequence.world_from_camera(0), poses, "row 1")


def test_other_folders_are_refused(tmp_path):
    damage.refused(lambda: open_dataset("tartanair", tmp_path / "none"), tmp_path / "none")
    damage.refused(lambda: open_dataset("tartanair", tmp_path), tmp_path, "wanted ENV/Easy/P000")
