"""Brisk cameras: how many there are, and how much farther they go and turn."""

import numpy as np
import pytest

from dynapoint.errors import ConfigError
from dynapoint.synthetic.cameras import CameraPath, random_camera_path
from dynapoint.synthetic.scene import SceneConfig, random_scene

_TAU = np.linspace(0.0, 1.0, 6)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_cameras_that_move_for_certain_are_as_many_as_asked_for(share: float) -> None:
    # All others stand still.
    config = SceneConfig(frames=3, difficulty=0.3, still_camera=1.0, brisk=share)
    poses = [random_scene(seed, config, aspect=1.0).world_from_camera for seed in range(150)]
    moved = [not np.allclose(pose, np.eye(4), atol=1e-4) for pose in poses]
    # Three standard deviations of 150 draws are .12.
    assert np.mean(moved) == pytest.approx(share, abs=0.12)


def test_shares_are_checked() -> None:
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="brisk"):
            SceneConfig(brisk=share)


def _path(seed: int, briskness: float) -> CameraPath:
    return random_camera_path(
        np.random.Generator(np.random.PCG64(seed)),
        tau=_TAU,
        difficulty=0.5,
        aspect=4 / 3,
        moving=True,
        briskness=briskness,
    )


def _way(path: CameraPath) -> float:
    """The farthest from the start, over the distance of what the camera looks at."""
    eyes = path.stage_from_camera[:, :3, 3]
    return float(np.linalg.norm(eyes - eyes[0], axis=1).max()) / path.distance


def _turn_deg(path: CameraPath) -> float:
    """The largest angle from the first view direction."""
    looks = path.stage_from_camera[:, :3, 2]
    return float(np.degrees(np.arccos(np.clip(looks @ looks[0], -1.0, 1.0))).max())


def test_brisk_cameras_go_and_turn_farther() -> None:
    calm, brisk = ([_path(seed, each) for seed in range(120)] for each in (1.0, 2.5))
    assert np.median([_way(path) for path in brisk]) > 1.7 * np.median([_way(p) for p in calm])
    turns = [_turn_deg(path) for path in brisk]
    assert np.median(turns) > 1.4 * np.median([_turn_deg(path) for path in calm])
    assert max(_way(path) for path in brisk) < 1.6
    # Nothing else of a seed's camera is another one.
    for slow, fast in zip(calm, brisk, strict=True):
        assert (slow.focal_per_height, slow.distance) == (fast.focal_per_height, fast.distance)
        np.testing.assert_array_equal(
            slow.stage_from_camera[0, :3, 3:], fast.stage_from_camera[0, :3, 3:]
        )
