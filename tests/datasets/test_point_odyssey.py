"""PointOdyssey, from a miniature of its layout."""

import numpy as np
import pytest

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import ConfigError, InputError
from miniatures.engine_clip import engine_clip
from miniatures.followed import cut_off, lopsided, refused, same_clip, same_motion
from miniatures.point_odyssey import NOT_VALID, write_miniature

STEP = 1000 / 65535


@pytest.fixture
def clip():
    return lopsided(engine_clip())


def test_the_truth_is_read_back(clip, tmp_path):
    write_miniature(tmp_path, clip, sequences=2)
    for split in ("test", "val", "train"):
        sequences = open_dataset("pointodyssey", tmp_path, split)
        assert [sequence.name for sequence in sequences] == ["scene0_3rd", "scene1_3rd"]
    sequence = open_dataset("pointodyssey", tmp_path)[1]
    assert sequence.holds.metric and sequence.holds.motion == "sparse"
    nearest = np.nanmin(clip.depth)
    same_clip(clip, sequence, depth_error=(-1e-6, STEP / nearest))
    same_motion(clip, sequence, unknown=NOT_VALID)
    for frame in range(clip.frame_count):
        difference = sequence.image(frame).astype(int) - clip.images[frame]
        assert np.abs(difference).mean() < 4


def test_depth_is_rounded_down_to_steps(clip, tmp_path):
    write_miniature(tmp_path, clip)
    (sequence,) = open_dataset("pointodyssey", tmp_path)
    step = (clip.depth[2] - sequence.depth(2)) / STEP
    assert np.nanmin(step) > -1e-3 and np.nanmax(step) < 1.001 and np.nanmax(step) > 0.5


def test_numbers_of_sixteen_bits(clip, tmp_path):
    """The authors' code writes them, so cameras have to come out rigid all the same."""
    write_miniature(tmp_path, clip, types=np.float16)
    (sequence,) = open_dataset("pointodyssey", tmp_path)
    for frame in range(clip.frame_count):
        turn = sequence.world_from_camera(frame)[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    same_motion(clip, sequence, unknown=NOT_VALID, close=0.05)


def test_a_sequence_without_points_in_space(clip, tmp_path):
    write_miniature(tmp_path, clip)
    folder = tmp_path / "test/scene0_3rd"
    arrays = {**np.load(folder / "anno.npz"), "trajs_3d": np.array([None])}
    np.savez(folder / "anno.npz", **arrays)
    shapes = {**np.load(folder / "info.npz"), "trajs_3d": np.zeros(0)}
    np.savez(folder / "info.npz", **shapes)
    (sequence,) = open_dataset("pointodyssey", tmp_path)
    assert sequence.holds.motion == "own_time" and not sequence.holds.tracks
    assert np.isfinite(sequence.points(1, 1)).any()
    for call in (
        sequence.tracks,
        lambda: sequence.points(0, 1),
        lambda: sequence.visible(0, 1),
        lambda: sequence.track_xyz(0),
    ):
        with pytest.raises(InputError, match="pointodyssey has no"):
            call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("rgbs/rgb_00002.jpg", lambda s: s.image(2)),
        ("depths/depth_00003.png", lambda s: s.depth(3)),
        ("anno.npz", lambda s: s.tracks()),
        ("anno.npz", lambda s: s.intrinsics(0)),
        ("info.npz", lambda s: s.world_from_camera(0)),
    ],
)
def test_a_damaged_file_is_named(clip, tmp_path, name, call):
    write_miniature(tmp_path, clip, sequences=2)
    path = tmp_path / "test/scene0_3rd" / name
    for damage in (cut_off, lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        damage(path)
        bad, good = open_dataset("pointodyssey", tmp_path)
        if name.startswith("rgbs") and not path.exists():
            refused(path, lambda bad=bad: bad.image(2))
            refused(path.parent, lambda bad=bad: bad.tracks())
        else:
            refused(path, lambda bad=bad: call(bad))
        call(good)


def test_wrong_arrays_are_named(clip, tmp_path):
    write_miniature(tmp_path, clip)
    folder = tmp_path / "test/scene0_3rd"
    path = folder / "anno.npz"
    right = dict(np.load(path))
    (sequence,) = open_dataset("pointodyssey", tmp_path)
    for key, value, call in (
        ("trajs_3d", right["trajs_3d"][:-1], sequence.tracks),
        ("visibs", right["visibs"][:, 1:], sequence.tracks),
        ("trajs_3d", np.array([None]), sequence.tracks),
        ("intrinsics", right["intrinsics"][0], lambda: sequence.intrinsics(0)),
        ("intrinsics", 0 * right["intrinsics"], lambda: sequence.intrinsics(0)),
        ("extrinsics", 2 * right["extrinsics"], lambda: sequence.world_from_camera(0)),
    ):
        np.savez(path, **{**right, key: value})
        refused(path, call)
    np.savez(path, **{key: value for key, value in right.items() if key != "valids"})
    assert "no valids" in refused(path, sequence.tracks)
    depth = folder / "depths/depth_00000.png"
    depth.write_bytes((folder / "masks/mask_00000.png").read_bytes())
    refused(depth, lambda: sequence.depth(0))


def test_a_folder_that_is_not_the_set(clip, tmp_path):
    refused(tmp_path / "test", lambda: open_dataset("pointodyssey", tmp_path))
    (tmp_path / "test").mkdir()
    assert "wanted" in refused(tmp_path / "test", lambda: open_dataset("pointodyssey", tmp_path))
    with pytest.raises(ConfigError, match="no split"):
        open_dataset("pointodyssey", tmp_path, "sample")
