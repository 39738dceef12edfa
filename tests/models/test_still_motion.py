"""What a still world's scene keeps of its motion: kept bit for bit, brought to maps of any size."""

import numpy as np
import pytest
import torch

from dynapoint.inference.predict import NetworkDecoder
from dynapoint.models.kept.correction import MOVING, Correction
from dynapoint.models.kept.encoded_files import read_encoded, write_encoded
from dynapoint.models.kept.placed_encoding import PlacedEncoding
from dynapoint.models.kept.still_motion import (
    CARRIED,
    CONFIDENCE,
    GUESSED,
    SEEN,
    StillWorldMotion,
    grid_hw,
    grid_places,
)
from dynapoint.models.protocol import ModelInfo
from dynapoint.models.vggt.published import PublishedEncoding
from dynapoint.types import Cameras, PointMaps

FRAMES = 3


def plane(hw, depth=2.0):
    """Points of a wall before a camera at the origin."""
    y, x = np.meshgrid(*(np.arange(side) / max(hw) for side in hw), indexing="ij")
    return np.stack([x * depth, y * depth, np.full(hw, depth)], axis=-1).astype(np.float32)


def some_motion(hw, step, *, seed=0):
    """Every third pixel of the grid moves in frame 0, none in frame 1, all in frame 2."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(grid_hw(hw, step)))
    pixels = [np.arange(0, count, 3), np.arange(0), np.arange(count)]
    total = sum(len(each) for each in pixels)
    known = rng.choice([SEEN, CARRIED, GUESSED], size=(FRAMES, total)).astype(np.uint8)
    return StillWorldMotion(
        step=step,
        first=torch.from_numpy(np.cumsum([0, *(len(each) for each in pixels)])),
        pixel=torch.from_numpy(np.concatenate(pixels).astype(np.int32)),
        displacement=torch.from_numpy(rng.normal(size=(FRAMES, total, 3)).astype(np.float32)),
        known=torch.from_numpy(known),
    )


def correction_of(motion, hw):
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    lens = np.tile(np.eye(3), (FRAMES, 1, 1))
    return Correction.between(
        network_poses=poses,
        network_intrinsics=lens,
        poses=poses,
        intrinsics=lens,
        depth_ratio=np.ones((FRAMES, *hw), dtype=np.float32),
        evidence=np.full((FRAMES, *hw), MOVING, dtype=np.uint8),
        still_motion=motion,
    )


def test_on_maps_of_the_grid_values_are_as_they_are():
    hw = (5, 7)
    motion = some_motion(hw, 1)
    moved, left = motion.moved(plane(hw), np.eye(4), frame=0, time=2)
    place = motion.pixel[: motion.first[1]].numpy()
    assert np.array_equal(moved.reshape(-1, 3)[place], motion.displacement[2, : len(place)])
    assert np.array_equal(left.reshape(-1)[place], CONFIDENCE[motion.known[2, : len(place)]])
    others = np.setdiff1d(np.arange(35), place)
    assert not moved.reshape(-1, 3)[others].any() and (left.reshape(-1)[others] == 1).all()
    for frame, time in ((1, 0), (0, 0)):
        moved, left = motion.moved(plane(hw), np.eye(4), frame=frame, time=time)
        assert not moved.any() and (left == 1).all()


@pytest.mark.parametrize(("hw", "step"), [((9, 12), 2), ((13, 11), 3), ((8, 8), 5)])
def test_between_the_grids_pixels_surfaces_are_not_mixed(hw, step):
    """Against weights worked out pixel by pixel: bilinear, and like in depth."""
    rng = np.random.default_rng(3)
    own = plane(hw)
    own[:, hw[1] // 2 :] *= 2
    own *= 1 + 0.002 * rng.normal(size=(*hw, 1)).astype(np.float32)
    motion = some_motion(hw, step)
    rows, columns = (grid_places(n, s, step) for n, s in zip(grid_hw(hw, step), hw, strict=True))
    for frame in (0, 2):
        start, end = motion.first[frame], motion.first[frame + 1]
        value = dict(
            zip(motion.pixel[start:end].tolist(), motion.displacement[1, start:end], strict=True)
        )
        moved, _ = motion.moved(own, np.eye(4), frame=frame, time=1)
        for row in range(hw[0]):
            for column in range(hw[1]):
                mean, moving, total = np.zeros(3), 0.0, 0.0
                at = (row - step // 2) / step, (column - step // 2) / step
                for k in (int(np.floor(at[0])), int(np.floor(at[0])) + 1):
                    for m in (int(np.floor(at[1])), int(np.floor(at[1])) + 1):
                        r, c = np.clip(k, 0, len(rows) - 1), np.clip(m, 0, len(columns) - 1)
                        off = np.log(own[rows[r], columns[c], 2] / own[row, column, 2]) / 0.04
                        share = (1 - abs(at[0] - k)) * (1 - abs(at[1] - m))
                        share *= np.exp(-min(off * off, 40))
                        total += share
                        if (found := value.get(r * len(columns) + c)) is not None:
                            mean, moving = mean + share * found.numpy(), moving + share
                wanted = mean / moving if moving > 0.5 * total else np.zeros(3)
                if abs(moving / total - 0.5) > 1e-3:
                    np.testing.assert_allclose(moved[row, column], wanted, atol=2e-4)


class StillNetwork:
    """Gives what it encoded at every time; its encoding is the published one of a miniature."""

    patch_size, image_side = 1, 7
    info = ModelInfo(name="still", still_world=True)

    def encode(self, images):
        raise NotImplementedError

    def decode(self, encoded, *, time, frames):
        own, wanted = encoded.own_time, list(frames)
        return PointMaps(points=own.points[:, wanted], confidence=own.confidence[:, wanted])


def encoding(points, confidence):
    """A kind that scenes can keep."""
    one = torch.zeros(1, FRAMES, 1, 2)
    return PublishedEncoding(
        own_time=PointMaps(
            points=torch.from_numpy(points)[None], confidence=torch.from_numpy(confidence)[None]
        ),
        cameras=Cameras(
            world_from_camera=torch.eye(4).repeat(1, FRAMES, 1, 1),
            intrinsics=torch.eye(3).repeat(1, FRAMES, 1, 1),
        ),
        encodings=torch.zeros(1, 1, FRAMES, 9),
        depth=None,
        levels=(one,),
        first_from_reference=None,
        image_hw=(5, 7),
    )


def test_an_opened_scene_answers_to_the_last_bit_and_confidence_says_what_is_guessed(tmp_path):
    hw = (5, 7)
    own = np.tile(plane(hw), (FRAMES, 1, 1, 1))
    confidence = np.linspace(0.5, 2, FRAMES * 35, dtype=np.float32).reshape(FRAMES, *hw)
    confidence[0, 0, 0] = 0
    placed = PlacedEncoding(
        encoded=encoding(own, confidence),
        world_from_network=torch.eye(4, dtype=torch.float64),
        target_of_frame=torch.arange(FRAMES),
        correction=correction_of(some_motion(hw, 1), hw),
    )
    write_encoded(placed, tmp_path / "kept")
    answers = [
        NetworkDecoder(StillNetwork(), each, own, confidence).decode([0, 1, 2], 1)
        for each in (placed, read_encoded(tmp_path / "kept"))
    ]
    motion = placed.correction.still_motion
    for frame in range(FRAMES):
        (points, trust), (again, trust_again) = (each[frame] for each in answers)
        assert np.array_equal(points, again) and np.array_equal(trust, trust_again)
        moved, left = motion.moved(own[frame], np.eye(4), frame=frame, time=1)
        assert np.array_equal(points, own[frame] + moved)
        np.testing.assert_allclose(trust, confidence[frame] * left)
    assert trust.any() and np.array_equal(answers[0][1][0], own[1])


def test_all_grows_with_the_scene():
    hw = (5, 7)
    correction = correction_of(some_motion(hw, 1), hw)
    own = np.tile(plane(hw), (FRAMES, 1, 1, 1))
    once, left = correction.carried(own, frame=2, time=0)
    twice, left_again = correction.scaled(3.0).carried(3 * own, frame=2, time=0)
    np.testing.assert_allclose(twice, 3 * once, rtol=1e-5, atol=1e-5)
    assert np.array_equal(left, left_again)


def test_without_known_motion_all_stands_still():
    hw = (5, 7)
    own = np.tile(plane(hw), (FRAMES, 1, 1, 1))
    points, left = correction_of(None, hw).carried(own, frame=0, time=2)
    assert points is not None and np.array_equal(points, own[0]) and (left == 1).all()
