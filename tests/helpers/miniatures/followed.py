"""What the sets of followed points share in their miniatures and tests."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from dynapoint.errors import InputError


def followed(clip):
    """Points of every other pixel of frame 0 through an engine clip.

    Returns:
        Rows and columns of the pixels, places (frame, track, xyz) in the clip's world, visibility
        (frame, track).
    """
    whole = np.isfinite(clip.points[:, 0]).all(axis=(0, -1))
    row, column = np.nonzero(whole & (np.indices(clip.image_hw).sum(axis=0) % 2 == 0))
    return row, column, clip.points[:, 0, row, column], clip.visible[:, 0, row, column]


def slanted_world(seed=4):
    """world_from_clip: a rigid motion, so that no camera is the world of the set."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix[:3, :3] *= np.linalg.det(matrix[:3, :3])
    matrix[:3, 3] = rng.uniform(-3, 3, 3)
    return matrix


def moved(matrix, points):
    """Points of shape (..., 3) moved by a 4 x 4 matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def jpeg(picture):
    """A picture as the bytes of a JPEG file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def cut_off(path):
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def refused(path, call):
    """The message of the one line in which a call names a file that it cannot use."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 600
    return message


def same_clip(clip, sequence, *, depth_error, close=1e-4):
    """What each of these readers has to give of an engine clip, in the camera of frame 0.

    Args:
        depth_error: Least and largest allowed value of (true minus read) depth by true depth; None
            where the set has no depth.
    """
    first = np.linalg.inv(sequence.world_from_camera(0))
    assert sequence.frame_count == clip.frame_count and sequence.image_hw == clip.image_hw
    for frame in range(clip.frame_count):
        pose = first @ sequence.world_from_camera(frame)
        np.testing.assert_allclose(pose, clip.world_from_camera[frame], atol=close)
        np.testing.assert_allclose(sequence.intrinsics(frame), clip.intrinsics[frame], rtol=1e-6)
        if depth_error is None:
            continue
        depth, truth = sequence.depth(frame), clip.depth[frame]
        assert (np.isfinite(depth) == np.isfinite(truth)).all() and np.isfinite(depth).any()
        part = (truth - depth)[np.isfinite(depth)] / truth[np.isfinite(depth)]
        assert part.min() >= depth_error[0] and part.max() <= depth_error[1]
        error = np.linalg.norm(
            moved(first, sequence.points(frame, frame)) - clip.points[frame, frame], axis=-1
        )
        length = np.linalg.norm(clip.points[frame, frame] - pose[:3, 3], axis=-1)
        assert np.nanmax(error / length) < max(map(abs, depth_error)) + 1e-5
        assert (sequence.visible(frame, frame) == np.isfinite(truth)).all()


def same_motion(clip, sequence, *, unknown=(), close=1e-4):
    """Tracks, points and visibility of the pixels of frame 0 that `followed` follows.

    Args:
        unknown: (frame, track) that the set does not know.
    """
    row, column, places, seen = followed(clip)
    known = np.ones(seen.shape, bool)
    for frame, track in unknown:
        known[frame, track] = False
    first = np.linalg.inv(sequence.world_from_camera(0))
    tracks = sequence.tracks()
    expected = np.where(known[..., None], places, np.nan)
    np.testing.assert_allclose(moved(first, tracks.xyz), expected, atol=close)
    assert (tracks.visible == (seen & known)).all()
    shown = np.zeros(clip.image_hw, bool)
    shown[row, column] = (seen & known)[0]
    assert shown.sum() > 50
    for time in range(1, clip.frame_count):
        points = moved(first, sequence.points(0, time))
        expected = np.full((*clip.image_hw, 3), np.nan)
        expected[row, column] = np.where(known[time, :, None], places[time], np.nan)
        expected[~shown] = np.nan
        np.testing.assert_allclose(points, expected, atol=close)
        visible = np.zeros(clip.image_hw, bool)
        visible[row, column] = (seen & known)[time]
        assert (sequence.visible(0, time) == (visible & shown)).all()


def lopsided(clip):
    """Every second column of a part of an engine clip: its lens is off-centre and fx is not fy."""
    rows, columns = slice(3, None), slice(5, None, 2)
    intrinsics = clip.intrinsics.copy()
    intrinsics[:, 1, 2] -= 3
    # A centre at 5 + 2 k + 0.5 is now at k + 0.5.
    intrinsics[:, 0, 2] = (intrinsics[:, 0, 2] - 5.5) / 2 + 0.5
    intrinsics[:, 0, 0] /= 2
    return dataclasses.replace(
        clip,
        images=clip.images[:, rows, columns],
        depth=clip.depth[:, rows, columns],
        points=clip.points[:, :, rows, columns],
        visible=clip.visible[:, :, rows, columns],
        instance=clip.instance[:, rows, columns],
        moving=clip.moving[:, rows, columns],
        intrinsics=intrinsics,
    )
