"""One focal length in the pictures' own pixels; scores on real pictures against exact answers."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import dynapoint
from dynapoint.errors import InputError
from dynapoint.evaluation.real_folders import read_real_clip
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.layers.pose_encoding import encode_cameras, intrinsics_px
from dynapoint.models.nano.config import comparison_dept3r, tiny
from dynapoint.models.nano.small_networks import build_network
from dynapoint.training.logs import RunLog
from dynapoint.training.real_validation import read_real_clips, score_real_clip


@pytest.mark.parametrize("aspect", [0.8, 1.0, 1.3])
def test_stretched_pictures_have_one_focal_length(aspect):
    fov = torch.rand(5, 2) * 1.5 + 0.3
    encoding = torch.cat([torch.zeros(5, 7), fov], dim=1)
    square = intrinsics_px(encoding, (40, 60), square_pixels=True)
    found = intrinsics_px(encoding, (40, 60), square_pixels=True, pixel_aspect=aspect)
    torch.testing.assert_close(found[:, 0, 0] / found[:, 1, 1], torch.full((5,), aspect))
    torch.testing.assert_close(found[:, 0, 0] * found[:, 1, 1], square[:, 0, 0] ** 2)
    assert torch.equal(found[:, :2, 2], square[:, :2, 2])


@pytest.mark.parametrize("size", [(100, 131), (131, 100), (97, 250)])
@pytest.mark.parametrize("system", ["vdpm", "dept3r"])
def test_scenes_are_not_stretched(size, system):
    torch.manual_seed(1)
    config = tiny() if system == "vdpm" else comparison_dept3r("small")
    network = build_network(config).eval()
    pictures = np.random.default_rng(0).integers(0, 255, (3, *size, 3), dtype=np.uint8)
    rec = dynapoint.reconstruct(pictures, network)
    np.testing.assert_allclose(rec.intrinsics[:, 0, 0], rec.intrinsics[:, 1, 1], rtol=1e-5)
    np.testing.assert_allclose(rec.intrinsics[:, 0, 2], size[1] / 2, rtol=1e-6)
    # Points of a frame lie on the rays of its own lens.
    rows, columns = rec.map_hw
    inverse = np.linalg.inv(rec.pixel_map.map_from_image[0] @ rec.intrinsics[0])
    x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ inverse.T
    points = rec.own_time_points[0]
    np.testing.assert_allclose(points, rays * points[..., 2:], rtol=1e-3, atol=1e-4)


def folder_of_truth(folder, *, frames=4, size=(48, 64), poses=True, seed=0):
    """A folder with random pictures, random smooth depth and random poses; returns the truth."""
    rng = np.random.default_rng(seed)
    height, width = size
    (folder / "images").mkdir(parents=True)
    (folder / "depth").mkdir()
    focal, told, depths = 55.0, [], []
    for frame in range(frames):
        picture = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"images/{frame}.png")
        ramp = np.linspace(1, 2, width)[None] * np.linspace(1, 1.5, height)[:, None]
        depth = (1000 * ramp * rng.uniform(1, 2)).astype(np.uint16)
        depth[0, 0] = 0
        Image.fromarray(depth).save(folder / f"depth/{frame}.png")
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = turn * np.sign(np.linalg.det(turn)), rng.normal(size=3)
        depths.append(depth)
        told.append(
            {"file": f"images/{frame}.png", "depth": f"depth/{frame}.png", "T_wc": pose.tolist()}
            | {"K_fx_fy_cx_cy": [focal, focal, width / 2 - 0.5, height / 2 - 0.5]}
        )
    source = "motion capture" if poses else "none: placeholders"
    (folder / "cameras.json").write_text(json.dumps({"pose_source": source, "frames": told}))
    return np.stack(depths).astype(np.float64)


class Knowing(torch.nn.Module):
    """Answers with the truth of a clip, changed as the test wants it."""

    def __init__(self, clip, *, focal=1.0, bend=0.0, turn_deg=0.0):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.clip, self.focal, self.bend, self.turn_deg = clip, focal, bend, turn_deg

    def encode(self, images, request):
        clip, (rows, columns) = self.clip, images.shape[-2:]
        height, width = clip.images.shape[1:3]
        lens = torch.from_numpy(clip.intrinsics.copy())
        lens[:, 0] *= columns / width
        lens[:, 1] *= rows / height
        assert request.pixel_aspect == pytest.approx(float(lens[0, 0, 0] / lens[0, 1, 1]))
        lens[:, [0, 1], [0, 1]] *= self.focal
        poses = torch.from_numpy(clip.world_from_camera.copy())
        angle = np.radians(self.turn_deg)
        turn = torch.eye(4, dtype=torch.float64)
        turn[:2, :2] = torch.tensor(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
        poses[1:] = poses[1:] @ turn
        row = ((np.arange(rows) + 0.5) * height / rows).astype(int)
        column = ((np.arange(columns) + 0.5) * width / columns).astype(int)
        depth = torch.from_numpy(clip.depth[:, row][:, :, column].astype(np.float64))
        depth = 3 * depth.clamp_min(1) ** (1 + self.bend)
        x, y = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        pixels = torch.from_numpy(np.stack([x, y, np.ones_like(x)], axis=-1))
        own = (pixels @ torch.linalg.inv(lens).mT[:, None]) * depth[..., None]
        points = own @ poses[:, None, :3, :3].mT + poses[:, None, None, :3, 3]
        cameras = SimpleNamespace(world_from_camera=poses[None], intrinsics=lens[None])
        return SimpleNamespace(own_time=SimpleNamespace(points=points[None]), cameras=cameras)


def test_the_truth_scores_nothing(tmp_path):
    depths = folder_of_truth(tmp_path / "clip")
    (clip,) = read_real_clips((tmp_path / "clip",))
    np.testing.assert_array_equal(clip.depth, depths)
    assert clip.intrinsics[0, 0, 2] == 32 and clip.intrinsics[0, 1, 2] == 24
    scores = score_real_clip(Knowing(clip), clip, pixels=1024, multiple=8)
    assert scores.abs_rel < 1e-9 and scores.focal_percent < 1e-9
    assert scores.rotation_deg < 1e-9 and scores.true_rotation_deg > 5
    assert scores.depth_spread == pytest.approx(1, abs=1e-6)
    assert scores.flat_abs_rel > 0.1


def test_known_errors_score_what_they_are(tmp_path):
    folder_of_truth(tmp_path / "clip", seed=3)
    clip = read_real_clip(tmp_path / "clip", 4)
    wrong = Knowing(clip, focal=1.3, bend=0.5, turn_deg=7)
    scores = score_real_clip(wrong, clip, pixels=1024, multiple=8)
    assert scores.focal_percent == pytest.approx(30, abs=1e-6)
    assert scores.rotation_deg == pytest.approx(7, abs=1e-6)
    assert scores.depth_spread == pytest.approx(1.5, rel=1e-3)
    assert scores.abs_rel > 0.05


def test_placeholders_of_poses_are_not_scored(tmp_path):
    folder_of_truth(tmp_path / "clip", poses=False)
    clip = read_real_clip(tmp_path / "clip", 2)
    assert clip.world_from_camera is None and len(clip.images) == 2
    known = dataclasses.replace(clip, world_from_camera=np.tile(np.eye(4), (2, 1, 1)))
    scores = score_real_clip(Knowing(known), clip, pixels=1024, multiple=8)
    assert np.isnan(scores.rotation_deg) and scores.abs_rel < 1e-9
    log = RunLog(tmp_path)
    log.scores(3, 12, "clip", vars(scores))
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert "rotation_deg" not in line and line["focal_percent"] < 1e-6 and line["step"] == 3


@pytest.mark.parametrize("damage", ["no cameras", "no picture", "half a lens", "no text"])
def test_folders_without_truth_are_refused(tmp_path, damage):
    folder_of_truth(tmp_path / "clip")
    path = tmp_path / "clip" / "cameras.json"
    told = json.loads(path.read_text())
    if damage == "no cameras":
        path.unlink()
    elif damage == "no picture":
        for frame in told["frames"]:
            (tmp_path / "clip" / frame["file"]).unlink()
    elif damage == "half a lens":
        told["frames"][0]["K_fx_fy_cx_cy"] = [1, 2]
        path.write_text(json.dumps(told))
    else:
        path.write_text("{")
    with pytest.raises(InputError, match="clip"):
        read_real_clip(tmp_path / "clip", 3)


def test_encodings_of_lenses_survive_the_round_trip():
    pose = invert_rigid(torch.eye(4).expand(2, 4, 4))
    lens = torch.tensor([[50.0, 0, 30], [0, 50, 20], [0, 0, 1]]).expand(2, 3, 3)
    again = intrinsics_px(encode_cameras(pose, lens, (40, 60)), (40, 60), square_pixels=True)
    torch.testing.assert_close(again, lens)
