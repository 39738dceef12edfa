"""Dynamic Replica, from a miniature of its layout."""

import gzip
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import InputError
from miniatures.dynamic_replica import write_miniature
from miniatures.engine_clip import engine_clip
from miniatures.followed import cut_off, lopsided, refused, same_clip, same_motion

FIRST = "0a0b00-3_obj_source_left"


@pytest.fixture
def clip():
    return lopsided(engine_clip())


def test_the_truth_is_read_back(clip, tmp_path):
    write_miniature(tmp_path, clip, sequences=2)
    for split in ("test", "valid", "train"):
        sequences = open_dataset("dynamic-replica", tmp_path, split)
        assert [s.name for s in sequences] == [FIRST, "1a1b00-4_obj_source_left"]
    sequence = open_dataset("dynamic-replica", tmp_path)[0]
    assert sequence.holds.motion == "sparse" and sequence.holds.tracks
    # float16 has eleven bits.
    same_clip(clip, sequence, depth_error=(-(2**-11), 2**-11))
    same_motion(clip, sequence)
    for frame in range(clip.frame_count):
        assert (sequence.image(frame) == clip.images[frame]).all()


def edited(tmp_path, change):
    """Change every entry of the annotations of the test split."""
    path = tmp_path / "test/frame_annotations_test.jgz"
    entries = json.loads(gzip.decompress(path.read_bytes()))
    for entry in entries:
        change(entry)
    path.write_bytes(gzip.compress(json.dumps(entries).encode()))
    return path


def test_both_formats_of_lenses_and_the_scale_of_depth(clip, tmp_path):
    write_miniature(tmp_path, clip)
    height, width = clip.image_hw

    def change(entry):
        view, half = entry["viewpoint"], min(width, height) / 2
        view["intrinsics_format"] = "NDC_norm_image_bounds"
        for key in ("focal_length", "principal_point"):
            x, y = view[key]
            view[key] = [x * half / (width / 2), y * half / (height / 2)]
        entry["depth"]["scale_adjustment"] = 0.5

    edited(tmp_path, change)
    (sequence,) = open_dataset("dynamic-replica", tmp_path)
    np.testing.assert_allclose(sequence.intrinsics(3), clip.intrinsics[3], rtol=1e-9)
    np.testing.assert_allclose(sequence.depth(3) * 2, clip.depth[3], rtol=2**-11)


def test_a_sequence_without_trajectories(clip, tmp_path):
    write_miniature(tmp_path, clip)
    edited(tmp_path, lambda entry: entry.pop("trajectories", None))
    (sequence,) = open_dataset("dynamic-replica", tmp_path)
    assert sequence.holds.motion == "own_time"
    assert np.isfinite(sequence.points(1, 1)).any()
    for call in (
        sequence.tracks,
        lambda: sequence.points(0, 1),
        lambda: sequence.visible(0, 1),
        lambda: sequence.track_xyz(0),
    ):
        with pytest.raises(InputError, match="dynamic-replica has no"):
            call()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        (f"images/{FIRST}-0002.png", lambda s: s.image(2)),
        (f"depths/{FIRST}_0003.geometric.png", lambda s: s.depth(3)),
        ("trajectories/000004.pth", lambda s: s.tracks()),
    ],
)
def test_a_damaged_file_is_named(clip, tmp_path, name, call):
    write_miniature(tmp_path, clip, sequences=2)
    path = tmp_path / "test" / FIRST / name
    for damage in (cut_off, lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        damage(path)
        bad, good = open_dataset("dynamic-replica", tmp_path)
        refused(path, lambda bad=bad: call(bad))
        call(good)


def test_damaged_annotations_are_named(clip, tmp_path):
    write_miniature(tmp_path, clip)
    path = tmp_path / "test/frame_annotations_test.jgz"
    right = path.read_bytes()

    def opened():
        return open_dataset("dynamic-replica", tmp_path)

    for change in (
        lambda entry: entry.pop("viewpoint"),
        lambda entry: entry["viewpoint"].update(intrinsics_format="pixels"),
        lambda entry: entry["viewpoint"].update(R=[[1, 0], [0, 1]]),
        lambda entry: entry["image"].update(size=[4]),
        lambda entry: entry.update(camera_name="right"),
    ):
        edited(tmp_path, change)
        refused(path, opened)
        path.write_bytes(right)
    edited(tmp_path, lambda entry: entry["viewpoint"].update(R=(2 * np.eye(3)).tolist()))
    (sequence,) = opened()
    refused(path, lambda: sequence.world_from_camera(0))
    path.write_bytes(b"no gzip")
    refused(path, opened)
    path.write_bytes(right[:200])
    refused(path, opened)
    path.unlink()
    refused(path, opened)
    refused(tmp_path / "valid2", lambda: open_dataset("dynamic-replica", tmp_path / "valid2"))


def test_other_sizes_are_named(clip, tmp_path):
    write_miniature(tmp_path, clip)
    folder = tmp_path / "test" / FIRST
    (sequence,) = open_dataset("dynamic-replica", tmp_path)
    depth = folder / f"depths/{FIRST}_0001.geometric.png"
    Image.fromarray(np.ones((3, 4), np.uint16)).save(depth)
    refused(depth, lambda: sequence.depth(1))
    image = folder / f"images/{FIRST}-0001.png"
    Image.fromarray(np.ones((3, 4, 3), np.uint8)).save(image)
    refused(image, lambda: sequence.image(1))
    points = folder / "trajectories/000001.pth"
    content = torch.load(points, weights_only=True)
    for key, value in (
        ("traj_3d_world", content["traj_3d_world"][1:]),
        ("verts_inds_vis", content["verts_inds_vis"][None]),
        ("traj_3d_world", "none"),
    ):
        torch.save({**content, key: value}, points)
        refused(points, sequence.tracks)
    torch.save(
        {key: value[1:] for key, value in content.items() if key != "img"},
        points,
    )
    assert "points, not" in refused(points, sequence.tracks)
