"""Scenes of a network of a still world, end to end: what moves, kept and asked without weights."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dynapoint
from dynapoint import cli
from dynapoint.inference import storing
from dynapoint.models.cards import CARDS, ModelCard
from dynapoint.models.da3 import weights as da3_weights
from dynapoint.models.da3.config import da3_miniature
from dynapoint.models.kept.own_time import OwnTimeDecoder
from dynapoint.models.protocol import PLAIN, ModelInfo
from dynapoint.types import Cameras, PointMaps
from fake_model import picture_array
from golden_da3 import published_tensors
from moving_box import BOX, HALF, HW, box_scene
from ply_files import ply_elements

FRAMES = 4
# Pictures and maps have so many times the rows and columns of the scene's own.
TIMES = 4
SCENE = box_scene(frames=FRAMES, step=(0.3, 0.03, 0.08))


def truth(frame, time, hw):
    """Where pixels of a map are at a time, which are the box's, and which are far from it."""
    xy = np.stack(np.meshgrid(*(np.arange(side) + 0.5 for side in hw[::-1])), axis=-1)
    points, what = SCENE.seen(frame, xy * HW[1] / hw[1])
    moved = SCENE.boxes[time] @ np.linalg.inv(SCENE.boxes[frame])
    box = what == BOX
    there = np.where(box[..., None], points @ moved[:3, :3].T + moved[:3, 3], points)
    near = cv2.dilate(box.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    return points, there, box, ~near


@dataclass(frozen=True, kw_only=True)
class StillEncoded:
    """What the stand-in keeps."""

    own_time: PointMaps
    cameras: Cameras


class StillNetwork:
    """The true maps of the box's scene at their own times, and nothing of what moves."""

    patch_size, image_side = 1, TIMES * HW[1]

    def __init__(self, source):
        self.info = ModelInfo(name="still-1", source=source, still_world=True, takes_poses=True)

    def encode(self, images, request=PLAIN):
        request.check(self.info, images.shape[1])
        hw = tuple(images.shape[-2:])
        own = np.stack([truth(k, k, hw)[0] for k in range(FRAMES)]).astype(np.float32)
        lens = np.tile(np.diag([TIMES, TIMES, 1]) @ SCENE.lens, (FRAMES, 1, 1)).astype(np.float32)
        return StillEncoded(
            own_time=PointMaps(
                points=torch.from_numpy(own)[None], confidence=torch.ones(1, FRAMES, *hw)
            ),
            cameras=Cameras(
                world_from_camera=torch.from_numpy(SCENE.poses.astype(np.float32))[None],
                intrinsics=torch.from_numpy(lens)[None],
            ),
        )

    def decode(self, encoded, *, time, frames):
        return OwnTimeDecoder().decode(encoded, time=time, frames=frames)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The scene in memory, and its folder, after its network's weights are gone."""
    folder = tmp_path_factory.mktemp("still")
    card = ModelCard(
        name="still-1",
        parameters=1,
        licence="none",
        source="this test",
        weights_file="still-1.safetensors",
        loader=StillNetwork,
        kinds={"still-1": StillEncoded},
        still_world=True,
        refine=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CARDS, card.name, card)
        patch.setenv("DYNAPOINT_HOME", str(folder))
        # As weights of published networks are, these are too large for scenes.
        patch.setattr(storing, "LARGEST_WEIGHTS_BYTES", 0)
        save_file({"one": torch.ones(1)}, folder / card.weights_file)
        pictures = np.stack([SCENE.picture(k, times=TIMES) for k in range(FRAMES)])
        lens = [TIMES * SCENE.lens[k] for k in ((0, 0), (1, 1), (0, 2), (1, 2))]
        rec = dynapoint.reconstruct(pictures, card.name, intrinsics=lens, poses=SCENE.poses)
        rec.save(folder / "box.4d")
        (folder / card.weights_file).unlink()
        yield rec, folder / "box.4d"


def test_what_stands_still_is_exactly_where_it_was_and_what_moves_moves(saved):
    _, folder = saved
    rec = dynapoint.open(folder)
    for frame, time in [(0, 3), (1, 2), (2, 0), (3, 1)]:
        own, there, box, far = truth(frame, time, rec.map_hw)
        points, confidence = rec.maps(frame=frame, time=time)
        before, sure = rec.maps(frame=frame, time=frame)
        assert np.array_equal(points[far], before[far]) and far.mean() > 0.6
        assert np.array_equal(confidence[far], sure[far])
        length = np.linalg.norm(there - own, axis=-1)[box].mean()
        error = np.linalg.norm((points - before) - (there - own), axis=-1)[box]
        assert np.median(error) < 0.08 * length and error.mean() < 0.2 * length


def test_the_opened_scene_says_what_the_one_in_memory_says_without_weights(saved):
    rec, folder = saved
    opened = dynapoint.open(folder)
    assert opened.decoder.further_questions()[0]
    xy = np.random.default_rng(0).uniform([0, 0], np.array(HW[::-1]) * TIMES, size=(60, 2))
    for time in range(FRAMES):
        for frame in range(FRAMES):
            for ours, theirs in zip(
                rec.maps(frame=frame, time=time), opened.maps(frame=frame, time=time), strict=True
            ):
                assert np.array_equal(ours, theirs)
        fresh, stored = (each.query(frame=2, xy=xy, time=time) for each in (rec, opened))
        for name in ("points", "visible", "confidence"):
            assert np.array_equal(getattr(fresh, name), getattr(stored, name))
    fresh, stored = (each.track(frame=3, every=16) for each in (rec, opened))
    assert np.array_equal(fresh.points, stored.points) and np.array_equal(fresh.xy, stored.xy)
    moved = np.ptp(fresh.points, axis=0).max(axis=-1)
    assert (moved == 0).mean() > 0.5 and (moved > 0.3).any()


def test_exports_of_the_opened_scene_have_its_motion(saved, tmp_path):
    rec, folder = saved
    words = ["export", folder, "--to", "ply", "--time", "3", "-o", tmp_path / "opened.ply"]
    assert cli.main([str(word) for word in words]) == 0
    rec.export(tmp_path / "memory.ply", time=3)
    clouds = [ply_elements(tmp_path / name)["vertex"] for name in ("opened.ply", "memory.ply")]
    # Frames of saved scenes are JPEGs, so that colours differ.
    opened, memory = (np.stack([each[axis] for axis in "xyz"], axis=-1) for each in clouds)
    assert np.array_equal(opened, memory)
    first, last = (
        (opened - SCENE.boxes[time, :3, 3]) @ SCENE.boxes[time, :3, :3] for time in (0, 3)
    )
    on_it = (np.abs(last) < HALF + 0.1).all(axis=-1)
    # Where the box was in the beginning and is no more: without motion frame 0's stands there.
    left = (np.abs(first) < HALF + 0.1).all(axis=-1) & (first[:, 0] < -0.1)
    assert on_it.sum() > 10_000 and left.sum() < 0.03 * on_it.sum()


def test_a_long_clip_in_windows_needs_no_weights_either(tmp_path, monkeypatch):
    monkeypatch.setattr(da3_weights, "da3_small", da3_miniature)
    monkeypatch.setattr(storing, "LARGEST_WEIGHTS_BYTES", 0)
    monkeypatch.setenv("DYNAPOINT_HOME", str(tmp_path))
    save_file(published_tensors(da3_miniature()), tmp_path / "da3-small.safetensors")
    rec = dynapoint.reconstruct(
        picture_array(5, 60, 80), "da3-small", frames="all", window=3, overlap=1, refine=False
    )
    rec.save(tmp_path / "long.4d")
    (tmp_path / "da3-small.safetensors").unlink()
    opened = dynapoint.open(tmp_path / "long.4d")
    assert opened.decoder.further_questions()[0]
    for frame, time in [(1, 2), (4, 2), (1, 4), (3, 0)]:
        for ours, theirs in zip(
            rec.maps(frame=frame, time=time), opened.maps(frame=frame, time=time), strict=True
        ):
            assert np.array_equal(ours, theirs)
