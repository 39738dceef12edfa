"""Preparing images for a network, cleaning what it gives, and `reconstruct` as a whole."""

from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

import dynapoint
from dynapoint.errors import ConfigError, InputError, ModelError
from dynapoint.inference.cleaning import (
    clean_intrinsics,
    clean_maps,
    clean_own_time,
    clean_poses,
    ray_fallback,
)
from dynapoint.inference.prepare import network_images, network_size
from dynapoint.models.protocol import PLAIN, ModelInfo
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.results.pixel_map import PixelMap
from dynapoint.types import PointMaps
from fake_model import FakeModel, picture_array
from golden_networks import fill_part


@pytest.mark.parametrize(
    ("image_hw", "expected"),
    [
        ((480, 854), (88, 160)),
        ((852, 480), (160, 88)),
        ((500, 500), (160, 160)),
        ((100, 5000), (16, 160)),
        ((5000, 100), (160, 16)),
        ((1, 1), (160, 160)),
    ],
)
def test_network_size_keeps_aspect_in_whole_patches(image_hw, expected):
    assert network_size(image_hw, image_side=160, patch_size=8) == expected


def test_network_size_rounds_the_longer_side_too():
    assert network_size((300, 400), image_side=518, patch_size=16) == (384, 512)


def test_network_size_refuses_nothing():
    with pytest.raises(ConfigError):
        network_size((0, 10), image_side=160, patch_size=8)


def test_resizing_keeps_places_without_crop_or_shift():
    rng = np.random.default_rng(0)
    height, width, small = 90, 170, (32, 64)
    slope = rng.uniform(20, 100, 2)
    y, x = np.mgrid[:height, :width] + 0.5
    ramp = slope[0] * x / width + slope[1] * y / height
    image = np.round(ramp)[..., None].repeat(3, -1).astype(np.uint8)
    resized = network_images(image[None], small)
    assert resized.shape == (1, 1, 3, 32, 64) and resized.dtype == torch.float32
    y, x = np.mgrid[:32, :64] + 0.5
    expected = (slope[0] * x / 64 + slope[1] * y / 32) / 255
    inner = (slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(resized[0, 0, 0].numpy()[inner], expected[inner], atol=1.0 / 255)


def test_making_smaller_averages_what_a_sample_would_alias():
    stripes = np.zeros((1, 256, 256, 3), np.uint8)
    stripes[:, :, ::2] = 255
    resized = network_images(stripes, (64, 64))
    np.testing.assert_allclose(resized.numpy()[..., 2:-2], 0.5, atol=0.02)


def test_poses_become_proper_and_relative_to_frame_0():
    rng = np.random.default_rng(2)
    truth = np.tile(np.eye(4), (6, 1, 1))
    truth[:, :3, :3] = Rotation.random(6, rng=rng).as_matrix()
    truth[:, :3, 3] = rng.normal(size=(6, 3))
    poses = clean_poses(truth)
    assert np.array_equal(poses[0], np.eye(4))
    np.testing.assert_allclose(poses, np.linalg.inv(truth[0]) @ truth, atol=1e-12)
    noisy = truth.copy()
    noisy[:, :3, :3] += rng.normal(size=(6, 3, 3)) * 0.02
    rotations = clean_poses(noisy)[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (6, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
    noisy[3] = np.nan
    assert np.array_equal(clean_poses(noisy)[3], clean_poses(noisy)[2])


def test_intrinsics_that_make_no_sense_become_a_guess():
    good = np.array([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]])
    bad = good.copy()
    bad[0, 0] = -1
    cleaned = clean_intrinsics(np.stack([good, bad, good * np.nan]), (48, 64))
    assert np.array_equal(cleaned[0], good)
    assert np.array_equal(cleaned[1], cleaned[2]) and cleaned[1, 0, 0] == 64


def test_maps_are_cleaned_where_needed_and_nowhere_else():
    rng = np.random.default_rng(4)
    points = rng.normal(size=(5, 6, 3)).astype(np.float32)
    confidence = rng.uniform(1, 2, (5, 6)).astype(np.float32)
    broken, doubt = points.copy(), confidence.copy()
    broken[1, 2, 0], broken[3, 3, 2], broken[0, 0, 1] = np.nan, -np.inf, 1e30
    doubt[4, 4], doubt[4, 5] = np.inf, -3.0
    cleaned, trust = clean_maps(broken, doubt, np.full((5, 6, 3), 7.0))
    replaced = np.zeros((5, 6), bool)
    replaced[1, 2] = replaced[3, 3] = replaced[0, 0] = True
    assert (cleaned[replaced] == 7).all()
    assert np.array_equal(cleaned[~replaced], points[~replaced])
    replaced[4, 4] = replaced[4, 5] = True
    assert (trust[replaced] == 0).all() and (trust[~replaced] > 0).all()


def test_own_time_maps_are_copied_only_to_be_cleaned():
    rng = np.random.default_rng(5)
    points = rng.uniform(1, 2, (3, 4, 5, 3)).astype(np.float32)
    confidence = rng.uniform(1, 2, (3, 4, 5)).astype(np.float32)
    camera = np.array([[5.0, 0, 2.5], [0, 5, 2], [0, 0, 1]])
    cameras = dict(
        world_from_camera=np.tile(np.eye(4), (3, 1, 1)),
        intrinsics=np.tile(camera, (3, 1, 1)),
        pixel_map=PixelMap(
            scale=np.ones((3, 2)),
            offset=np.zeros((3, 2)),
            picture_hw=np.tile([4, 5], (3, 1)),
            map_hw=(4, 5),
        ),
    )
    cleaned, trust = clean_own_time(points, confidence, **cameras)
    assert cleaned is points and trust is confidence
    points[1, 2, 3], confidence[2, 0, 0] = np.nan, -1
    given = points.copy(), confidence.copy()
    cleaned, trust = clean_own_time(points, confidence, **cameras)
    assert np.array_equal(points, given[0], equal_nan=True)
    assert np.array_equal(confidence, given[1])
    assert np.argwhere(trust == 0).tolist() == [[1, 2, 3], [2, 0, 0]]
    others = trust > 0
    assert np.array_equal(cleaned[others], points[others])
    stand_in = ray_fallback(points[1], np.eye(4), camera)
    np.testing.assert_allclose(cleaned[1, 2, 3], stand_in[2, 3], rtol=1e-6)


def test_stand_in_lies_on_the_rays_even_if_nothing_is_finite():
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.1, -0.3, 0.2]).as_matrix()
    pose[:3, 3] = [1, 2, 3]
    intrinsics = np.array([[50.0, 0, 8], [0, 40, 6], [0, 0, 1]])
    points = ray_fallback(np.full((12, 16, 3), np.nan, np.float32), pose, intrinsics)
    camera = (points - pose[:3, 3]) @ pose[:3, :3]
    np.testing.assert_allclose(camera[..., 2], 1.0)
    projected = camera @ intrinsics.T
    y, x = np.mgrid[:12, :16] + 0.5
    np.testing.assert_allclose(projected[..., 0], x)
    np.testing.assert_allclose(projected[..., 1], y)


def test_reconstruct_uses_at_most_the_frames_asked_for():
    rec = dynapoint.reconstruct(picture_array(30, 40, 40), FakeModel(), frames=7)
    assert rec.frame_count == 7 and rec.frames.note == "7 of 30 frames used, evenly spaced"
    assert rec.source_frame_index.tolist() == [0, 5, 10, 14, 19, 24, 29]
    assert rec.model_name == "FakeModel" and rec.timestamps_s[-1] == 29


def test_reconstruct_uses_24_frames_unless_told_otherwise():
    assert dynapoint.reconstruct(picture_array(30, 24, 24), FakeModel(16)).frame_count == 24


def test_reconstruct_refuses_before_the_network_is_needed(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        dynapoint.reconstruct(tmp_path / "none.mp4", FakeModel())
    with pytest.raises(ConfigError, match="frames is 0"):
        dynapoint.reconstruct(picture_array(2, 24, 24), FakeModel(), frames=0)


def test_progress_changes_nothing(capsys, monkeypatch):
    monkeypatch.setattr("dynapoint.progress._NEW_LEAST_S", 0.0)
    monkeypatch.setattr("dynapoint.progress._NEW_SHARE", 0.0)
    pictures = picture_array(3, 32, 32)
    loud = dynapoint.reconstruct(pictures, FakeModel(), progress=True)
    quiet = dynapoint.reconstruct(pictures, FakeModel())
    assert np.array_equal(loud.tracks(frame=1).points, quiet.tracks(frame=1).points)
    assert capsys.readouterr().err.splitlines() == ["read", "network", "time 1 of 3"]
    quiet.tracks()
    assert capsys.readouterr().err == ""


def test_maps_of_another_size_are_refused():
    class Smaller(FakeModel):
        def encode(self, images):
            encoded = super().encode(images)
            own = encoded.own_time
            cut = PointMaps(points=own.points[:, :, ::2], confidence=own.confidence[:, :, ::2])
            return type(encoded)(own_time=cut, cameras=encoded.cameras, moving=encoded.moving)

    with pytest.raises(ModelError, match="size of its images"):
        dynapoint.reconstruct(picture_array(2, 32, 32), Smaller())


def test_a_model_that_is_none():
    with pytest.raises(ModelError, match="model is a PurePosixPath; give the name of a network"):
        dynapoint.reconstruct(picture_array(2, 16, 16), model=PurePosixPath("w.safetensors"))


class Hungry(FakeModel):
    """Asks for more memory than there is: 4 PB of it when encoding, in so many words later."""

    def __init__(self, stage: str, error: Exception | None = None) -> None:
        super().__init__()
        self.stage, self.error = stage, error

    def encode(self, images):
        if self.stage == "encode":
            torch.empty(10**15)
        return super().encode(images)

    def decode(self, encoded, *, time, frames):
        raise self.error


def test_lack_of_memory_is_one_line_that_says_what_to_do():
    pictures = picture_array(3, 40, 64)
    with pytest.raises(ModelError, match="3 frames of 64x40; use fewer frames") as raised:
        dynapoint.reconstruct(pictures, Hungry("encode"))
    assert "\n" not in str(raised.value)
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError()):
        rec = dynapoint.reconstruct(pictures, Hungry("decode", error))
        with pytest.raises(ModelError, match="to decode time 0; use fewer frames"):
            rec.query(frame=1, xy=[[3, 3]], time=0)


def test_other_errors_of_a_network_are_not_taken_for_lack_of_memory():
    rec = dynapoint.reconstruct(picture_array(2, 24, 24), Hungry("decode", RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        rec.tracks()


class WithReference(FakeModel):
    """Leaves a choice of the reference frame, and says which was chosen."""

    info = ModelInfo(name="chooser", takes_reference=True)

    def encode(self, images, request=PLAIN):
        self.reference = request.reference
        return super().encode(images)


def test_reference_reaches_networks_that_leave_a_choice():
    pictures, model = picture_array(3, 24, 24), WithReference()
    for reference in (2, 0):
        rec = dynapoint.reconstruct(pictures, model, reference=reference)
        assert model.reference == reference
        assert np.array_equal(rec.world_from_camera[0], np.eye(4))
    for reference in (3, -1):
        with pytest.raises(InputError, match=f"reference is {reference} but the 3 frames used are"):
            dynapoint.reconstruct(pictures, model, reference=reference)
    with pytest.raises(ModelError, match="model FakeModel leaves no choice of the reference frame"):
        dynapoint.reconstruct(pictures, FakeModel(), reference=1)


def test_images_may_come_in_any_order(tmp_path):
    network = fill_part(PublishedNetwork(vdpm_miniature()).eval(), "", torch.float32)
    names = ["9.png", "10.png", "b.png", "a.png"]
    for name, picture in zip(names, picture_array(4, 48, 64), strict=True):
        Image.fromarray(picture).save(tmp_path / name)
    paths = [tmp_path / name for name in names]
    order = [0, 3, 1, 2]
    rec = dynapoint.reconstruct(paths, network)
    shuffled = dynapoint.reconstruct([paths[k] for k in order], network)
    # In a folder, names are sorted: 9, 10, a, b.
    in_folder = dynapoint.reconstruct(tmp_path, network)
    assert np.array_equal(in_folder.images, rec.images[[0, 1, 3, 2]])
    np.testing.assert_allclose(shuffled.world_from_camera, rec.world_from_camera[order], atol=1e-4)
    np.testing.assert_allclose(shuffled.intrinsics, rec.intrinsics[order], rtol=1e-4)
    xy = np.random.default_rng(0).uniform(0, [64, 48], (40, 2))
    moved = rec.query(frame=1, xy=xy)
    # Frames and times differ, so that nothing below holds by itself.
    assert np.abs(np.diff(moved.points, axis=0)).mean() > 0.01 * np.abs(moved.points).mean()
    assert np.abs(rec.world_from_camera[1] - rec.world_from_camera[2]).max() > 0.01
    for frame in range(4):
        for time in range(4):
            ours = shuffled.query(frame=frame, xy=xy, time=time)
            theirs = rec.query(frame=order[frame], xy=xy, time=order[time])
            np.testing.assert_allclose(ours.points, theirs.points, rtol=1e-3, atol=1e-3)
