"""Known poses: read, refused, told to the network, and back in the answers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial.transform import Rotation

import dynapoint
from dynapoint import cli
from dynapoint.data.frames import load_frames
from dynapoint.errors import ConfigError, InputError, ModelError
from dynapoint.inference.known_poses import known_poses, read_poses
from dynapoint.models.da3 import weights as da3_weights
from dynapoint.models.da3.config import da3_miniature
from dynapoint.models.da3.network import Da3Network
from fake_model import FakeModel, picture_array
from golden_da3 import build_da3_network, published_tensors
from video_files import write_video

HW = (60, 80)
LENS = [70.0, 70.0, 40.0, 30.0]


def random_poses(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.random(count, rng=rng).as_matrix()
    poses[:, :3, 3] = rng.standard_normal((count, 3))
    return poses


def tum_lines(poses: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    turns = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    return np.concatenate([times_s[:, None], poses[:, :3, 3], turns], axis=1)


@pytest.fixture(scope="module")
def network() -> Da3Network:
    return build_da3_network(da3_miniature(), dtype=torch.float32)


def test_all_ways_of_giving_them(tmp_path):
    poses = random_poses(5)
    np.save(tmp_path / "a.npy", poses)
    np.save(tmp_path / "rows.npy", poses[:, :3])
    np.savetxt(tmp_path / "a.tum", tum_lines(poses, np.arange(5)))
    for given in (poses, poses.tolist(), tmp_path / "a.npy", tmp_path / "rows.npy"):
        assert np.allclose(read_poses(given).world_from_camera, poses, atol=1e-12)
        assert read_poses(given).times_s is None
    said = read_poses(str(tmp_path / "a.tum"))
    assert np.allclose(said.world_from_camera, poses, atol=1e-9)
    assert np.array_equal(said.times_s, np.arange(5))


def test_whose_they_are(tmp_path):
    poses = random_poses(12)
    frames = load_frames(picture_array(12, *HW), dynapoint.FrameSelection(max_frames=4))
    index = frames.source_frame_index
    assert len(index) == 4 and index[1] not in (0, 1)
    assert np.array_equal(known_poses(poses, frames), poses[index])
    assert np.array_equal(known_poses(poses[:4], frames), poses[:4])
    with pytest.raises(InputError, match="7 poses for 4 frames of a source of 12"):
        known_poses(poses[:7], frames)


def test_times_tell_whose_they_are(tmp_path):
    video = write_video(tmp_path / "a.mp4", frames=6, size_wh=(80, 60))
    frames = load_frames(video, dynapoint.FrameSelection(max_frames=3))
    poses = random_poses(40)
    times = frames.timestamps_s[0] + np.linspace(-1, 3, 40)
    times[[7, 20, 33]] = frames.timestamps_s + 0.004
    np.savetxt(tmp_path / "a.txt", tum_lines(poses, times))
    assert np.allclose(known_poses(tmp_path / "a.txt", frames), poses[[7, 20, 33]], atol=1e-9)
    np.savetxt(tmp_path / "b.txt", tum_lines(poses, times + 100))
    with pytest.raises(InputError, match=r"no pose within 0.02 s of frame 0 and 2 others"):
        known_poses(tmp_path / "b.txt", frames)


def bad(change) -> np.ndarray:  # type: ignore[no-untyped-def]
    poses = random_poses(4)
    change(poses)
    return poses


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.eye(4), r"shape \(4, 4\)"),
        (np.zeros((0, 4, 4)), r"shape \(0, 4, 4\)"),
        (bad(lambda p: p.__setitem__((2, 0, 0), 3.0)), "pose 2 of poses is no rotation"),
        (bad(lambda p: p.__setitem__((1, 0, 3), np.nan)), "pose 1 of poses is no rotation"),
        (bad(lambda p: p.__setitem__((3, 3, 0), 0.5)), "pose 3 of poses is no rotation"),
        # A mirror image.
        (bad(lambda p: p.__setitem__((0, slice(3), 0), -p[0, :3, 0])), "pose 0 of poses"),
        (Path("nowhere.tum"), "nowhere.tum does not exist"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(InputError, match=message) as caught:
        read_poses(given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", "1 lines of 3 numbers"),
        ("0 1 2 3 0 0 0 1\n1 1 2 3 0 0 0 0\n", "line 1 of poses .* quaternion of length 0;"),
        ("0 1 2 nan 0 0 0 1\n", "all finite"),
        ("a b c d\n", "cannot be read"),
        ("", "0 lines"),
        ("\x93", "cannot be read"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_files_that_are_refused(tmp_path, text, message):
    (tmp_path / "a.tum").write_text(text)
    with pytest.raises(InputError, match=message):
        read_poses(tmp_path / "a.tum")


def test_answers_are_in_the_given_cameras(network):
    poses = random_poses(4)
    pictures = picture_array(4, *HW)
    rec = dynapoint.reconstruct(pictures, network, intrinsics=LENS, poses=poses, refine=False)
    assert np.allclose(rec.world_from_camera, np.linalg.inv(poses[0]) @ poses, atol=1e-6)
    wanted = [[70, 0, 40], [0, 70, 30], [0, 0, 1]]
    assert np.allclose(rec.intrinsics, wanted, atol=1e-9)
    assert rec.settings["poses"] == rec.settings["intrinsics"] == "given"
    # The point of a pixel of the maps, which are of 112 x 84, lies on its ray.
    place = np.array([28.5, 62.5]) / 1.4
    point = rec.query(frame=2, xy=[place], time=2).points[0]
    seen = np.linalg.inv(rec.world_from_camera[2]) @ np.append(point, 1)
    assert seen[:2] / seen[2] * 70 + [40, 30] == pytest.approx(place, abs=1e-3)
    # In another unit of length all answers are in it.
    far = poses.copy()
    far[:, :3, 3] *= 25
    other = dynapoint.reconstruct(pictures, network, intrinsics=LENS, poses=far, refine=False)
    there = other.query(frame=2, xy=[place], time=2).points[0]
    assert there == pytest.approx(25 * point, rel=1e-3)
    plain = dynapoint.reconstruct(pictures, network, refine=False)
    assert not np.allclose(plain.world_from_camera, rec.world_from_camera, atol=0.1)
    assert "poses" not in plain.settings


def test_refinement_leaves_known_poses_where_they_are(network):
    poses = random_poses(3)
    rec = dynapoint.reconstruct(
        picture_array(3, *HW), network, intrinsics=LENS, poses=poses, refine=True
    )
    assert rec.refinement.known_poses and "poses" not in rec.refinement.changed
    assert "given" in rec.refinement.lines()[0]
    assert np.allclose(rec.world_from_camera, np.linalg.inv(poses[0]) @ poses, atol=1e-6)


def test_refusals_before_anything_runs(network):
    pictures, poses = picture_array(3, *HW), random_poses(3)
    with pytest.raises(ConfigError, match="poses need intrinsics"):
        dynapoint.reconstruct(pictures, network, poses=poses)
    with pytest.raises(ModelError, match="model FakeModel takes no known poses"):
        dynapoint.reconstruct(pictures, FakeModel(), intrinsics=LENS, poses=poses)
    with pytest.raises(ModelError, match="model nano takes no known poses"):
        dynapoint.reconstruct(pictures, "nano", intrinsics=LENS, poses=poses)
    with pytest.raises(InputError, match="2 poses for 3 frames"):
        dynapoint.reconstruct(pictures, network, intrinsics=LENS, poses=poses[:2])
    with pytest.raises(ConfigError, match="clips that the network sees at once"):
        dynapoint.reconstruct(
            pictures, network, intrinsics=LENS, poses=poses, frames="all", window=2, overlap=1
        )


def test_the_command_and_its_scene(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(da3_weights, "da3_small", da3_miniature)
    monkeypatch.setenv("DYNAPOINT_HOME", str(tmp_path))
    save_file(published_tensors(da3_miniature()), tmp_path / "da3-small.safetensors")
    video = write_video(tmp_path / "a.mp4", frames=3, size_wh=(80, 60))
    poses = random_poses(3)
    np.savetxt(tmp_path / "a.tum", tum_lines(poses, np.arange(3)))
    words = ["reconstruct", video, "--model", "da3-small", "-o", tmp_path / "a.4d", "--no-refine"]
    told = ["--intrinsics", "70,70,40,30", "--poses", tmp_path / "a.tum"]
    assert cli.main([str(word) for word in (*words, *told)]) == 0
    capsys.readouterr()
    rec = dynapoint.open(tmp_path / "a.4d")
    assert rec.model_name == "da3-miniature" and rec.settings["poses"] == "given"
    assert np.allclose(rec.world_from_camera, np.linalg.inv(poses[0]) @ poses, atol=1e-6)
    # The scene's network and what it kept of the clip answer: a still world.
    at = {"frame": 1, "xy": [[30.5, 20.5]]}
    assert np.allclose(rec.query(**at, time=2).points, rec.query(**at, time=1).points, atol=1e-6)
    long = ["--frames", "all", "--window", "2", "--overlap", "1", "--overwrite"]
    assert cli.main([str(word) for word in (*words, *told, *long)]) == 1
    assert "clips that the network sees at once" in capsys.readouterr().err
