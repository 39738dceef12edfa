"""Virtual KITTI's reader against the truth of the clip that a miniature was written from."""

import shutil

import numpy as np
import pytest

from dynapoint.datasets.registry import open_dataset
from miniatures import damage
from miniatures.engine_clip import engine_clip
from miniatures.virtual_kitti import (
    UNUSED,
    WORLD_FROM_CLIP,
    vehicles,
    world_from_vehicle,
    write_miniature,
)

# Depth is in centimetres.
STEP_M = 0.01


@pytest.fixture(scope="module")
def clip():
    return engine_clip()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clip):
    root = tmp_path_factory.mktemp("vkitti")
    write_miniature(root, clip)
    return root


@pytest.fixture
def copy(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "vkitti")
    return tmp_path / "vkitti"


@pytest.fixture(scope="module")
def sequence(whole):
    (found,) = open_dataset("virtual-kitti", whole, "clone")
    return found


def in_world(points):
    return points @ WORLD_FROM_CLIP[:3, :3].T + WORLD_FROM_CLIP[:3, 3]


def test_pictures_cameras_and_depth_are_those_of_the_clip(sequence, clip):
    assert sequence.name == "Scene01/clone"
    assert sequence.frame_count == clip.frame_count and sequence.image_hw == clip.image_hw
    for i in range(clip.frame_count):
        difference = sequence.image(i).astype(int) - clip.images[i]
        assert np.abs(difference).mean() < 3
        np.testing.assert_allclose(sequence.depth(i), clip.depth[i], atol=STEP_M / 2 + 1e-6)
        np.testing.assert_allclose(sequence.intrinsics(i), clip.intrinsics[i], rtol=1e-14)
        pose = WORLD_FROM_CLIP @ clip.world_from_camera[i]
        np.testing.assert_allclose(sequence.world_from_camera(i), pose, atol=2e-5)
    assert np.isnan(clip.depth).any()


def test_instances_are_the_vehicles_and_have_their_poses(sequence, clip):
    poses = sequence.object_poses()
    assert len(poses) == max(vehicles(clip)) + 1 and np.isnan(poses[UNUSED]).all()
    for track, body in vehicles(clip).items():
        placed = world_from_vehicle(clip, body)
        for i in range(clip.frame_count):
            seen = clip.instance[i] == body
            np.testing.assert_array_equal(sequence.instances(i) == track + 1, seen)
            if seen.any():
                np.testing.assert_allclose(poses[track, i], placed[i], atol=1e-6)
            else:
                assert np.isnan(poses[track, i]).all()


def test_what_moves_is_what_moves_at_any_time(sequence, clip):
    for i in range(clip.frame_count):
        np.testing.assert_array_equal(sequence.moving(i), clip.moving[i])
    assert clip.moving.any()


def test_points_go_with_their_vehicles(sequence, clip):
    """Within the centimetre of depth that the points themselves are off."""
    assert sequence.holds.motion == "sparse"
    rigid = 0
    for i in range(clip.frame_count):
        lens = clip.intrinsics[i]
        slack = STEP_M * (0.5 + np.hypot(*clip.image_hw) / lens[0, 0])
        for t in range(clip.frame_count):
            points, truth = sequence.points(i, t), in_world(clip.points[t, i])
            still = ~clip.moving[i]
            np.testing.assert_allclose(points[still], truth[still], atol=slack)
            for track, body in vehicles(clip).items():
                on_it = (clip.instance[i] == body) & clip.moving[i]
                if np.isnan(sequence.object_poses()[track, t]).any():
                    assert np.isnan(points[on_it]).all()
                elif on_it.any() and is_rigid(clip, body):
                    rigid += i != t
                    np.testing.assert_allclose(points[on_it], truth[on_it], atol=slack)
    assert rigid > 20


def is_rigid(clip, body):
    """Whether the body keeps its shape, as far as frame 0 shows."""
    points = clip.points[:, 0][:, clip.instance[0] == body]
    if points.shape[1] < 5:
        return False
    apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    return np.ptp(apart, axis=0).max() < 1e-3


def test_a_moving_vehicle_that_nobody_sees_is_nowhere(copy):
    """A parked one stays where it is, and one that the right camera sees is known."""
    track, parked = 0, max(vehicles(engine_clip()))
    path = copy / "Scene01/clone/pose.txt"
    text = path.read_text()
    path.write_text(text.replace("\n2 0 0 ", "\n2 1 0 "))
    assert path.read_text() != text
    (sequence,) = open_dataset("virtual-kitti", copy, "clone")
    (whole,) = open_dataset("virtual-kitti", copy, "fog")
    np.testing.assert_array_equal(sequence.points(0, 2), whole.points(0, 2))
    gone = [line for line in text.splitlines() if not line.startswith(("2 0 0 ", f"2 0 {parked} "))]
    assert len(gone) == len(text.splitlines()) - 2
    path.write_text("\n".join(gone))
    (sequence,) = open_dataset("virtual-kitti", copy, "clone")
    points, shown = sequence.points(0, 2), sequence.instances(0)
    assert np.isnan(points[shown == track + 1]).all() and (shown == track + 1).any()
    assert np.isfinite(points[shown == parked + 1]).all() and (shown == parked + 1).any()


def test_variations_are_splits(whole):
    names = [sequence.name for sequence in open_dataset("virtual-kitti", whole)]
    assert names == ["Scene01/clone", "Scene01/fog"]
    damage.refused(lambda: open_dataset("virtual-kitti", whole, "rain"), whole, "Scene*/rain")


def test_it_holds_what_was_downloaded(copy):
    shutil.rmtree(copy / "Scene01/clone/frames/instanceSegmentation")
    (sequence,) = open_dataset("virtual-kitti", copy, "clone")
    assert sequence.holds.motion == "own_time" and not sequence.holds.instances
    for call in (lambda: sequence.points(0, 1), lambda: sequence.moving(0)):
        damage.refused(call, "virtual-kitti")


FILES = {
    "frames/rgb/Camera_0/rgb_00001.jpg": lambda s: s.image(1),
    "frames/depth/Camera_0/depth_00001.png": lambda s: s.depth(1),
    "frames/instanceSegmentation/Camera_0/instancegt_00001.png": lambda s: s.instances(1),
    "intrinsic.txt": lambda s: s.intrinsics(5),
    "extrinsic.txt": lambda s: s.world_from_camera(5),
    "pose.txt": lambda s: s.object_poses(),
    "bbox.txt": lambda s: s.moving(0),
    "info.txt": lambda s: s.object_poses(),
}


HARMS = [
    (name, harm)
    for name in FILES
    for harm in damage.DAMAGES
    # The first half of this one is a table, too, and pose.txt has all vehicles.
    if (name, harm) != ("info.txt", damage.cut_off)
]


@pytest.mark.parametrize(("name", "harm"), HARMS)
def test_a_damaged_file_is_named(copy, name, harm):
    path = copy / "Scene01/clone" / name
    harm(path)
    (sequence,) = open_dataset("virtual-kitti", copy, "clone")
    damage.refused(lambda: FILES[name](sequence), path)


def test_tables_that_lie_are_refused(copy):
    folder = copy / "Scene01/clone"
    path = folder / "extrinsic.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-2]))
    (sequence,) = open_dataset("virtual-kitti", copy, "clone")
    damage.refused(lambda: sequence.world_from_camera(0), path, "no frame 5")
    path = folder / "info.txt"
    path.write_text("trackID label model color\n300 Car SUV Red\n")
    damage.refused(sequence.object_poses, folder / "pose.txt", "300")


def test_other_folders_are_refused(tmp_path):
    damage.refused(lambda: open_dataset("virtual-kitti", tmp_path / "none"), tmp_path / "none")
    damage.refused(lambda: open_dataset("virtual-kitti", tmp_path), tmp_path, "wanted Scene01")
