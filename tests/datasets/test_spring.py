"""Spring's reader against the truth of the clip that a miniature was written from."""

import shutil
import sys

import numpy as np
import pytest

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import InputError
from miniatures import damage
from miniatures.engine_clip import engine_clip
from miniatures.spring import WORLD_FROM_CLIP, moved, write_miniature


@pytest.fixture(scope="module")
def clip():
    return engine_clip()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, clip):
    root = tmp_path_factory.mktemp("spring")
    write_miniature(root, clip)
    return root


@pytest.fixture
def copy(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "spring")
    return tmp_path / "spring"


@pytest.fixture(scope="module")
def sequence(whole):
    (found,) = open_dataset("spring", whole)
    return found


def in_world(points):
    return points @ WORLD_FROM_CLIP[:3, :3].T + WORLD_FROM_CLIP[:3, 3]


def test_pictures_cameras_and_depth_are_those_of_the_clip(sequence, clip):
    assert (sequence.dataset, sequence.name) == ("spring", "0001")
    assert sequence.frame_count == clip.frame_count and sequence.image_hw == clip.image_hw
    for i in range(clip.frame_count):
        np.testing.assert_array_equal(sequence.image(i), clip.images[i])
        np.testing.assert_allclose(sequence.depth(i), clip.depth[i], rtol=1e-6)
        np.testing.assert_allclose(sequence.intrinsics(i), clip.intrinsics[i], rtol=1e-14)
        pose = WORLD_FROM_CLIP @ clip.world_from_camera[i]
        np.testing.assert_allclose(sequence.world_from_camera(i), pose, atol=1e-6)
    assert np.isnan(clip.depth).any() and not np.isnan(clip.depth).all()


def test_points_are_known_at_the_own_time_and_those_beside_it(sequence, clip):
    holds = sequence.holds
    assert holds.motion == "sparse" and holds.lens and holds.poses and holds.depth and holds.metric
    for i in range(clip.frame_count):
        for t in range(clip.frame_count):
            points = sequence.points(i, t)
            if abs(i - t) > 1:
                assert np.isnan(points).all() and not sequence.visible(i, t).any()
                continue
            np.testing.assert_allclose(points, in_world(clip.points[t, i]), atol=2e-4)
            np.testing.assert_array_equal(sequence.visible(i, t), clip.visible[t, i])
    # The clip moves more than that.
    assert (
        max(np.nanmax(np.abs(clip.points[i + 1, i] - clip.points[i, i])) for i in range(5)) > 0.02
    )


def test_what_moves_is_what_moves_to_the_frames_beside(sequence, clip):
    last = clip.frame_count - 1
    for i in range(clip.frame_count):
        moving = np.zeros(clip.image_hw, bool)
        for t in (i - 1, i + 1):
            if 0 <= t <= last:
                moving |= moved(clip, i, t)
        np.testing.assert_array_equal(sequence.moving(i), moving)
        assert not (moving & ~clip.moving[i]).any()
    assert 0 < clip.moving.mean() < 1


def test_what_moves_in_one_direction_only_moves(copy, clip):
    from PIL import Image

    black = Image.new("1", (2 * clip.image_hw[1], 2 * clip.image_hw[0]))
    black.save(copy / "train/0001/maps/rigidmap_BW_left/rigidmap_BW_left_0003.png")
    black.save(copy / "train/0001/maps/rigidmap_FW_left/rigidmap_FW_left_0004.png")
    (sequence,) = open_dataset("spring", copy)
    for i, t in ((2, 3), (3, 2)):
        assert moved(clip, i, t).any()
        np.testing.assert_array_equal(sequence.moving(i), moved(clip, i, t))


def test_it_holds_what_was_downloaded(copy):
    for part in ("flow_FW_left", "flow_BW_left", "maps"):
        shutil.rmtree(copy / "train/0001" / part)
    (sequence,) = open_dataset("spring", copy)
    assert sequence.holds.motion == "own_time" and sequence.holds.depth
    assert not sequence.holds.moving and not sequence.holds.visible
    for call in (lambda: sequence.points(0, 1), lambda: sequence.moving(0)):
        damage.refused(call, "spring")
    shutil.rmtree(copy / "train/0001/cam_data")
    (sequence,) = open_dataset("spring", copy)
    assert not sequence.holds.depth and not sequence.holds.poses


def test_one_direction_of_motion_is_enough(copy, clip):
    shutil.rmtree(copy / "train/0001/flow_BW_left")
    (sequence,) = open_dataset("spring", copy)
    assert sequence.holds.motion == "sparse"
    assert np.isfinite(sequence.points(2, 3)).any() and np.isnan(sequence.points(2, 1)).all()


FILES = {
    "frame_left/frame_left_0002.png": lambda s: s.image(1),
    "disp1_left/disp1_left_0002.dsp5": lambda s: s.depth(1),
    "disp2_FW_left/disp2_FW_left_0002.dsp5": lambda s: s.points(1, 2),
    "flow_BW_left/flow_BW_left_0002.flo5": lambda s: s.points(1, 0),
    "maps/rigidmap_FW_left/rigidmap_FW_left_0002.png": lambda s: s.moving(1),
    "maps/matchmap_flow_BW_left/matchmap_flow_BW_left_0002.png": lambda s: s.visible(1, 0),
    "cam_data/intrinsics.txt": lambda s: s.intrinsics(1),
    "cam_data/extrinsics.txt": lambda s: s.world_from_camera(1),
}


@pytest.mark.parametrize("harm", damage.DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(copy, name, harm):
    path = copy / "train/0001" / name
    harm(path)
    (sequence,) = open_dataset("spring", copy)
    damage.refused(lambda: FILES[name](sequence), path)


def test_maps_of_another_size_are_refused(copy):
    import h5py

    path = copy / "train/0001/disp1_left/disp1_left_0001.dsp5"
    with h5py.File(path, "w") as file:
        file["disparity"] = np.ones((24, 32), np.float32)
    (sequence,) = open_dataset("spring", copy)
    damage.refused(lambda: sequence.depth(0), path, "24x32", "48x64")
    with h5py.File(path, "w") as file:
        file["flow"] = np.ones((48, 64), np.float32)
    damage.refused(lambda: sequence.depth(0), path, "no disparity")


def test_a_point_seen_by_two_lenses_by_hand(tmp_path):
    """The lens zooms from f = 100 to f = 200 while a point moves away from 2 m to 4 m."""
    import h5py
    from PIL import Image

    folder = tmp_path / "train/0001"
    for part in ("frame_left", "disp1_left", "disp2_FW_left", "flow_FW_left", "cam_data"):
        (folder / part).mkdir(parents=True)
    for number in (1, 2):
        picture = Image.fromarray(np.zeros((2, 2, 3), np.uint8))
        picture.save(folder / f"frame_left/frame_left_{number:04d}.png")
    (folder / "cam_data/intrinsics.txt").write_text("100 100 1 1\n200 200 1 1\n")
    still = "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n"
    # The second camera stands 3 to the right of the world's origin.
    (folder / "cam_data/extrinsics.txt").write_text(still + still.replace("1 0 0 0", "1 0 0 -3", 1))
    maps = {
        "disp1_left/disp1_left_0001.dsp5": ("disparity", 100 * 0.065 / 2),
        "disp2_FW_left/disp2_FW_left_0001.dsp5": ("disparity", 200 * 0.065 / 4),
        # From pixel (0.5, 0.5) to (11, 1).
        "flow_FW_left/flow_FW_left_0001.flo5": ("flow", [10.5, 0.5]),
    }
    for name, (key, value) in maps.items():
        with h5py.File(folder / name, "w") as file:
            file[key] = np.broadcast_to(np.float32(value), (4, 4, *np.shape(value)))
    (sequence,) = open_dataset("spring", tmp_path)
    np.testing.assert_allclose(sequence.points(0, 0)[0, 0], [-0.01, -0.01, 2], rtol=1e-6)
    np.testing.assert_allclose(sequence.points(0, 1)[0, 0], [3.2, 0, 4], rtol=1e-6, atol=1e-6)


def test_other_sequences_can_be_read_when_one_is_bad(copy, clip):
    shutil.copytree(copy / "train/0001", copy / "train/0002")
    shutil.rmtree(copy / "train/0001/frame_left")
    bad, good = open_dataset("spring", copy)
    np.testing.assert_array_equal(good.image(3), clip.images[3])
    damage.refused(lambda: bad.frame_count, copy / "train/0001/frame_left")


def test_other_folders_are_refused(tmp_path, copy):
    damage.refused(lambda: open_dataset("spring", tmp_path / "none"), tmp_path / "none/train")
    (tmp_path / "empty/train").mkdir(parents=True)
    damage.refused(lambda: open_dataset("spring", tmp_path / "empty"), "0001", "wanted")
    # The folder above is taken, too.
    assert len(open_dataset("spring", copy.parent)) == 1


def test_without_h5py_it_says_what_to_install(sequence, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"h5py.*dynapoint\[datasets\]"):
        sequence.depth(0)
