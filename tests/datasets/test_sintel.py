"""Sintel's reader against the truth of the clip that a miniature was written from."""

import shutil
import struct

import numpy as np
import pytest

from dynapoint.datasets.registry import open_dataset
from miniatures import damage
from miniatures.engine_clip import engine_clip
from miniatures.sintel import WORLD_FROM_CLIP, write_miniature


@pytest.fixture(scope="module")
def clip():
    return engine_clip()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clip):
    root = tmp_path_factory.mktemp("sintel")
    write_miniature(root, clip, sequences=2)
    return root


@pytest.fixture
def copy(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "sintel")
    return tmp_path / "sintel"


def test_pictures_are_those_of_the_rendering(whole, clip):
    final, other = open_dataset("sintel", whole)
    assert [final.name, other.name] == ["alley_1", "ambush_4"]
    clean = open_dataset("sintel", whole, "clean")[0]
    assert final.frame_count == clip.frame_count and final.image_hw == clip.image_hw
    for i in range(clip.frame_count):
        np.testing.assert_array_equal(final.image(i), clip.images[i])
        np.testing.assert_array_equal(clean.image(i), 255 - clip.images[i])


def test_cameras_depth_and_points_are_those_of_the_clip(whole, clip):
    sequence = open_dataset("sintel", whole)[0]
    holds = sequence.holds
    assert holds.lens and holds.poses and holds.depth and holds.moving
    assert holds.motion == "own_time"
    for i in range(clip.frame_count):
        np.testing.assert_array_equal(sequence.depth(i), clip.depth[i].astype(np.float32))
        np.testing.assert_allclose(sequence.intrinsics(i), clip.intrinsics[i], rtol=1e-14)
        pose = WORLD_FROM_CLIP @ clip.world_from_camera[i]
        np.testing.assert_allclose(sequence.world_from_camera(i), pose, atol=1e-6)
        points = clip.points[i, i] @ WORLD_FROM_CLIP[:3, :3].T + WORLD_FROM_CLIP[:3, 3]
        np.testing.assert_allclose(sequence.points(i, i), points, atol=2e-5)
    assert np.isnan(clip.depth).any()
    damage.refused(lambda: sequence.points(0, 1), "sintel", "another time")


def test_what_moves_is_black_in_the_maps(whole, clip):
    sequence = open_dataset("sintel", whole)[0]
    for i in range(clip.frame_count - 1):
        step = np.nan_to_num(clip.points[i + 1, i] - clip.points[i, i])
        np.testing.assert_array_equal(sequence.moving(i), np.linalg.norm(step, axis=-1) > 1e-6)
    assert sequence.moving(0).any() and not sequence.moving(0).all()
    damage.refused(lambda: sequence.moving(clip.frame_count - 1), "sintel", "last frame")


def test_it_holds_what_was_downloaded(copy):
    for part in ("depth", "rigidity"):
        shutil.rmtree(copy / "training" / part)
    sequence = open_dataset("sintel", copy)[0]
    assert sequence.holds.poses and not sequence.holds.depth and not sequence.holds.moving
    damage.refused(lambda: sequence.moving(0), "sintel")


FILES = {
    "final/alley_1/frame_0002.png": lambda s: s.image(1),
    "depth/alley_1/frame_0002.dpt": lambda s: s.depth(1),
    "camdata_left/alley_1/frame_0002.cam": lambda s: s.world_from_camera(1),
    "rigidity/alley_1/frame_0002.png": lambda s: s.moving(1),
}


@pytest.mark.parametrize("harm", damage.DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(copy, clip, name, harm):
    path = copy / "training" / name
    harm(path)
    bad, good = open_dataset("sintel", copy)
    damage.refused(lambda: FILES[name](bad), path)
    np.testing.assert_array_equal(good.image(1), clip.images[1])


def test_headers_that_lie_are_refused(copy):
    sequence = open_dataset("sintel", copy)[0]
    depth = copy / "training/depth/alley_1/frame_0001.dpt"
    depth.write_bytes(struct.pack("<fii", 202021.25, 4, 2) + bytes(32))
    damage.refused(lambda: sequence.depth(0), depth, "4 x 2", "32 x 24")
    depth.write_bytes(struct.pack("<fii", 202021.25, -4, -2) + bytes(32))
    damage.refused(lambda: sequence.depth(0), depth)
    depth.write_bytes(struct.pack("<f", 202021.25))
    damage.refused(lambda: sequence.depth(0), depth)
    camera = copy / "training/camdata_left/alley_1/frame_0001.cam"
    camera.write_bytes(struct.pack("<f21d", 202021.25, *[float("nan")] * 21))
    damage.refused(lambda: sequence.intrinsics(0), camera, "not finite")
    for flip in (0.0, -1.0):
        turned = [flip, 0, 0, 3, 0, 1, 0, 4, 0, 0, 1, 5]
        camera.write_bytes(struct.pack("<f21d", 202021.25, *range(9), *turned))
        damage.refused(
            lambda: sequence.world_from_camera(0),
            camera,
            "no rigid motion" if flip == 0 else "mirrors",
        )


def test_other_folders_are_refused(tmp_path, copy):
    damage.refused(lambda: open_dataset("sintel", tmp_path), tmp_path / "training", "wanted")
    shutil.rmtree(copy / "training/clean")
    damage.refused(lambda: open_dataset("sintel", copy, "clean"), copy / "training/clean")
    (copy / "training/clean").mkdir()
    damage.refused(
        lambda: open_dataset("sintel", copy, "clean"), copy / "training/clean", "alley_1"
    )
