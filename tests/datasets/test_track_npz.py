"""TAPVid-3D and WorldTrack, from miniatures of their layouts."""

import io

import numpy as np
import pytest
from PIL import Image

from dynapoint.datasets.registry import open_dataset
from dynapoint.errors import InputError
from miniatures import tapvid3d, world_track
from miniatures.engine_clip import engine_clip
from miniatures.followed import (
    cut_off,
    followed,
    lopsided,
    moved,
    refused,
    same_clip,
    same_motion,
)

WITH_DEPTH = ("worldtrack-po", "worldtrack-ds")
SPLITS = ("drivetrack", "adt", "pstudio")


@pytest.fixture
def clip():
    return lopsided(engine_clip())


@pytest.fixture
def world(clip, tmp_path):
    world_track.write_miniature(tmp_path, clip, sequences=2)
    return tmp_path


@pytest.mark.parametrize("key", [*WITH_DEPTH, "worldtrack-adt"])
def test_the_truth_is_read_back(key, clip, world):
    first, sequence = open_dataset(key, world)
    assert first.name < sequence.name and sequence.dataset == key
    assert sequence.holds.depth == (key in WITH_DEPTH)
    assert sequence.holds.tracks and sequence.holds.visible and sequence.holds.metric
    same_clip(clip, sequence, depth_error=(-1e-6, 1e-6) if key in WITH_DEPTH else None)
    same_motion(clip, sequence)
    stored = np.load(sequence.path)["images_jpeg_bytes"]
    for frame in range(clip.frame_count):
        assert np.abs(sequence.image(frame).astype(int) - clip.images[frame]).mean() < 4
        decoded = Image.open(io.BytesIO(stored[frame]))
        assert (sequence.image(frame) == np.asarray(decoded)).all()


def test_depth_without_tracks(clip, world):
    sequence = open_dataset("worldtrack-tum", world)[0]
    assert sequence.holds.motion == "own_time" and not sequence.holds.tracks
    first = np.linalg.inv(sequence.world_from_camera(0))
    points = moved(first, sequence.points(2, 2))
    np.testing.assert_allclose(points, clip.points[2, 2], atol=1e-4)
    for call in (sequence.tracks, lambda: sequence.track_xyz(0), lambda: sequence.visible(0, 0)):
        with pytest.raises(InputError, match="worldtrack-tum has no"):
            call()


@pytest.mark.parametrize(("key", "split"), [("panoptic", "test"), ("tapvid3d", "pstudio")])
def test_a_camera_that_stands_still(key, split, clip, tmp_path):
    """Without poses the world is the camera: the same tracks, seen from there."""
    world_track.write_miniature(tmp_path, clip)
    tapvid3d.write_miniature(tmp_path, clip)
    (sequence,) = open_dataset(key, tmp_path, split)
    row, column, places, seen = followed(clip)
    tracks = sequence.tracks()
    for frame in range(clip.frame_count):
        assert (sequence.world_from_camera(frame) == np.eye(4)).all()
        camera = np.linalg.inv(clip.world_from_camera[frame])
        np.testing.assert_allclose(tracks.xyz[frame], moved(camera, places[frame]), atol=1e-5)
    assert (tracks.visible == seen).all()
    # Without depth the points of a frame's own time are those of the tracks as well.
    own = sequence.points(0, 0)[row[seen[0]], column[seen[0]]]
    np.testing.assert_allclose(own, places[0][seen[0]], atol=1e-5)
    assert sequence.visible(0, 0).sum() == seen[0].sum()
    for call in (lambda: sequence.depth(0), lambda: sequence.moving(0)):
        with pytest.raises(InputError, match=f"{key} has no"):
            call()


def test_tapvid3d_with_poses(clip, tmp_path):
    tapvid3d.write_miniature(tmp_path, clip, sequences=2)
    for split in SPLITS:
        assert len(open_dataset("tapvid3d", tmp_path, split)) == 2
    for sequence in (
        open_dataset("tapvid3d", tmp_path)[1],
        open_dataset("tapvid3d", tmp_path, "adt")[0],
    ):
        same_clip(clip, sequence, depth_error=None)
        same_motion(clip, sequence)


@pytest.mark.parametrize(
    ("key", "split", "folder"),
    [("tapvid3d", "adt", "adt"), ("worldtrack-adt", "test", "adt_mini")],
)
def test_a_moving_camera_without_poses_is_refused(key, split, folder, clip, tmp_path):
    path = tmp_path / folder / "Lite_release_3.npz"
    tapvid3d.write_clip(path, clip, poses=False)
    (sequence,) = open_dataset(key, tmp_path, split)
    assert not sequence.holds.poses and not sequence.holds.tracks
    assert sequence.image(0).shape == (*clip.image_hw, 3)
    for call in (
        sequence.tracks,
        lambda: sequence.world_from_camera(0),
        lambda: sequence.points(0, 1),
        lambda: sequence.visible(0, 1),
    ):
        assert "extrinsics_w2c" in refused(path, call)


def every_call(sequence):
    return (
        lambda: sequence.frame_count,
        lambda: sequence.image_hw,
        lambda: sequence.image(0),
        lambda: sequence.intrinsics(0),
        lambda: sequence.world_from_camera(0),
        sequence.tracks,
    )


def test_a_damaged_file_is_named(world):
    path = open_dataset("worldtrack-po", world)[0].path
    for damage in (cut_off, lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        before = open_dataset("worldtrack-po", world)[0]
        damage(path)
        for call in every_call(before):
            refused(path, call)
        if path.exists():
            bad, good = open_dataset("worldtrack-po", world)
            for call in every_call(bad):
                refused(path, call)
            for call in every_call(good):
                call()


@pytest.mark.parametrize(
    ("key", "change", "call"),
    [
        ("images_jpeg_bytes", lambda a: a[:-1], lambda s: s.tracks()),
        ("images_jpeg_bytes", lambda a: a[:, None], lambda s: s.frame_count),
        ("images_jpeg_bytes", lambda a: a.astype(object), lambda s: s.image(0)),
        ("images_jpeg_bytes", lambda a: a.astype("S40"), lambda s: s.image(1)),
        ("tracks_XYZ", lambda a: a[..., :2], lambda s: s.tracks()),
        ("visibility", lambda a: a[:, 1:], lambda s: s.tracks()),
        ("fx_fy_cx_cy", lambda a: a[:3], lambda s: s.intrinsics(0)),
        ("fx_fy_cx_cy", lambda a: -a, lambda s: s.intrinsics(0)),
        ("extrinsics_w2c", lambda a: a[1:], lambda s: s.world_from_camera(0)),
        ("extrinsics_w2c", lambda a: a * np.nan, lambda s: s.world_from_camera(0)),
        ("depth_map", lambda a: a[:, 1:], lambda s: s.depth(0)),
        ("depth_map", lambda a: a[0], lambda s: s.depth(0)),
    ],
)
def test_wrong_arrays_are_named(key, change, call, world):
    path = open_dataset("worldtrack-po", world)[0].path
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, key: change(arrays[key])})
    bad, good = open_dataset("worldtrack-po", world)
    refused(path, lambda: call(bad))
    call(good)


def test_a_place_that_is_not_finite_is_unknown(clip, world):
    path = open_dataset("worldtrack-ds", world)[0].path
    arrays = dict(np.load(path))
    arrays["tracks_XYZ"][2, 5, 1] = np.inf
    np.savez(path, **arrays)
    sequence = open_dataset("worldtrack-ds", world)[0]
    same_motion(clip, sequence, unknown=[(2, 5)])


def test_a_file_that_changes_is_read_again(clip, world):
    sequence = open_dataset("worldtrack-po", world)[0]
    before = sequence.intrinsics(0), sequence.track_xyz(0), sequence.depth(0), sequence.image(0)
    arrays = dict(np.load(sequence.path))
    for key in ("fx_fy_cx_cy", "tracks_XYZ", "depth_map"):
        arrays[key] = arrays[key] * 2
    arrays["images_jpeg_bytes"] = arrays["images_jpeg_bytes"][::-1]
    np.savez_compressed(sequence.path, **arrays)
    after = sequence.intrinsics(0), sequence.track_xyz(0), sequence.depth(0), sequence.image(0)
    for old, new in zip(before, after, strict=True):
        assert not np.array_equal(old, new, equal_nan=True)


def test_a_folder_that_is_not_the_set(tmp_path):
    for key, folder in (("tapvid3d", "drivetrack"), ("panoptic", "pstudio_mini")):
        refused(tmp_path / folder, lambda key=key: open_dataset(key, tmp_path))
        (tmp_path / folder).mkdir()
        assert ".npz" in refused(tmp_path / folder, lambda key=key: open_dataset(key, tmp_path))
