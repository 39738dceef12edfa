"""Which followed point a pixel shows, against the definition in loops; poses made rigid."""

import numpy as np
import pytest

from dynapoint.datasets.poses import inverted_poses
from dynapoint.datasets.registry import READERS, dataset_card
from dynapoint.datasets.sequence import Holds
from dynapoint.datasets.tracked import TrackedSequence, tracks_on_pixels
from dynapoint.errors import ConfigError, InputError


def shown_by_definition(z, pixels, image_hw, depth, step):
    found = np.full(image_hw, -1)
    for row in range(image_hw[0]):
        for column in range(image_hw[1]):
            nearest = np.inf
            for track, (x, y) in enumerate(pixels):
                within = column <= x < column + 1 and row <= y < row + 1
                if not within or not 0 < z[track] < nearest:
                    continue
                if depth is not None and abs(z[track] - depth[row, column]) > (
                    0.03 * z[track] + step
                ):
                    continue
                nearest, found[row, column] = z[track], track
    return found


@pytest.mark.parametrize("with_depth", [False, True])
def test_tracks_on_pixels_are_those_of_the_definition(with_depth):
    rng = np.random.default_rng(3)
    image_hw = (5, 7)
    z = rng.uniform(-1, 3, 200)
    z[rng.random(200) < 0.1] = np.nan
    pixels = rng.uniform(-1, 8, (200, 2))
    pixels[rng.random(200) < 0.1] = np.nan
    pixels[:4] = [[0, 0], [7, 2], [2, 5], [6.999, 4.999]]
    depth = rng.uniform(1, 2, image_hw).astype(np.float32) if with_depth else None
    if depth is not None:
        depth[1, 1] = np.nan
    found = tracks_on_pixels(z, pixels, image_hw, depth=depth, depth_step=0.2)
    expected = shown_by_definition(z, pixels, image_hw, depth, 0.2)
    assert (found == expected).all()
    assert 5 < (found >= 0).sum() < (30 if with_depth else 36)


def test_no_track_is_no_error():
    assert (tracks_on_pixels(np.zeros(0), np.zeros((0, 2)), (2, 3)) == -1).all()


class Followed(TrackedSequence):
    """Two points before a camera in the origin: one that moves to the right, one that is hidden."""

    dataset, name, frame_count, image_hw = "made", "up", 3, (2, 4)

    def __init__(self, **holds):
        self.holds = Holds(lens=True, poses=True, **holds)

    def image(self, frame):
        return np.zeros((*self.image_hw, 3), np.uint8)

    def intrinsics(self, frame):
        return np.array([[1, 0, 2], [0, 1, 1], [0, 0, 1.0]])

    def world_from_camera(self, frame):
        return np.eye(4)

    def depth(self, frame):
        return np.full(self.image_hw, 1 + frame, np.float32)

    def track_xyz(self, frame):
        return np.array([[-1.5 + frame, -0.5, 1], [0.2, 0.2, 2]], np.float32)

    def track_visible(self, frame):
        return np.array([frame < 2, False])


def test_points_and_visibility_by_hand():
    sequence = Followed(tracks=True, visible=True, motion="sparse")
    points = sequence.points(0, 2)
    assert points[0, 0].tolist() == [0.5, -0.5, 1]
    assert np.isnan(points).sum() == 7 * 3
    assert np.argwhere(sequence.visible(0, 1)).tolist() == [[0, 0]]
    assert not sequence.visible(0, 2).any()
    assert np.isnan(sequence.points(2, 0)).all()
    assert sequence.points(1, 1)[0, 1].tolist() == [-0.5, -0.5, 1]
    tracks = sequence.tracks()
    assert tracks.xyz.shape == (3, 2, 3)
    assert tracks.visible.tolist() == [[True, False], [True, False], [False, False]]


def test_a_point_that_does_not_fit_the_depth_is_not_what_a_pixel_shows():
    """In frame 0 the depth of all pixels is the point's z; in frame 1 it is twice as much."""
    sequence = Followed(tracks=True, visible=True, depth=True, motion="sparse")
    assert np.isfinite(sequence.points(0, 2)[0, 0]).all()
    assert np.isnan(sequence.points(1, 2)).all() and not sequence.visible(1, 0).any()
    # A frame's own time is that of its depth.
    assert sequence.visible(0, 0).all() and (sequence.points(0, 0)[..., 2] == 1).all()


def test_a_sequence_that_follows_no_point_knows_nothing(monkeypatch):
    sequence = Followed(tracks=True, visible=True, motion="sparse")
    monkeypatch.setattr(sequence, "track_xyz", lambda frame: np.zeros((0, 3), np.float32))
    monkeypatch.setattr(sequence, "track_visible", lambda frame: np.zeros(0, bool))
    assert np.isnan(sequence.points(0, 1)).all() and not sequence.visible(0, 1).any()
    assert sequence.tracks().xyz.shape == (3, 0, 3)


def test_what_is_not_followed_is_refused():
    sequence = Followed()
    for call in (sequence.tracks, lambda: sequence.points(0, 1), lambda: sequence.visible(0, 1)):
        with pytest.raises(InputError, match="made has no"):
            call()


def test_poses_of_few_bits_become_rigid(tmp_path):
    rng = np.random.default_rng(5)
    exact = np.tile(np.eye(4), (20, 1, 1))
    for pose in exact:
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        pose[:3, :3], pose[:3, 3] = turn * np.linalg.det(turn), rng.uniform(-4, 4, 3)
    inverse = inverted_poses(exact.astype(np.float16), tmp_path)
    np.testing.assert_allclose(inverse @ exact, np.tile(np.eye(4), (20, 1, 1)), atol=6e-3)
    turns = inverse[:, :3, :3]
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (20, 1, 1)), atol=1e-12
    )
    assert np.abs(inverted_poses(exact, tmp_path) - np.linalg.inv(exact)).max() < 1e-12


@pytest.mark.parametrize(
    "wrong",
    [np.diag([1, 1, 1.1, 1]), np.diag([1, 1, -1, 1.0]), np.zeros((4, 4)), np.full((4, 4), np.nan)],
    ids=["scaled", "mirrored", "zero", "nan"],
)
def test_poses_that_are_none_are_refused(wrong, tmp_path):
    with pytest.raises(InputError, match="pose"):
        inverted_poses(np.stack([np.eye(4), wrong]), tmp_path / "file")


def test_one_module_serves_several_keys():
    keys = [key for key, module in READERS.items() if module == "world_track"]
    assert len(keys) == 5
    assert [dataset_card(key).key for key in keys] == keys
    assert dataset_card("tapvid3d").key == "tapvid3d"
    with pytest.raises(ConfigError, match="no data set 'worldtrack'"):
        dataset_card("worldtrack")
