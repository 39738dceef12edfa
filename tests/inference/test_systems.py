"""Every system answers everything: tiny networks of all six models through one product path."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import pytest
import torch

import dynapoint
from dynapoint.errors import ModelError
from dynapoint.inference.pipeline import reconstruct
from dynapoint.models.catalog import load_model
from dynapoint.models.dust3r.config import dpm_miniature
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.layers.config import QueryConfig
from dynapoint.models.nano.config import tiny
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.pairwise import AlignmentConfig, PairwiseVideo
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.dept3r import Dept3rNetwork
from dynapoint.models.vggt.dept3r_config import dept3r_miniature
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.results import contact_sheet
from fake_model import picture_array


def randomised(network: torch.nn.Module) -> Any:
    """All weights random, so that every answer depends on everything; points lie before cameras."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("log_temperature"):
                continue
            if parameter.ndim >= 2:
                parameter.copy_(noise / math.sqrt(math.prod(parameter.shape[1:])))
            else:
                parameter.add_(0.1 * noise)
            if "pose_branch" in name:
                parameter.mul_(0.05)
            if name.endswith(("pose_branch.fc2.bias", "head.4.bias")):
                parameter[-2:] += 0.5
        if isinstance(network, DpmNetwork):
            for name, parameter in network.named_parameters():
                if name.endswith("head.4.bias"):
                    parameter[2] += 3.0
                if name.endswith("head.4.weight"):
                    parameter.mul_(0.3)
    return network.eval()


FEW_STEPS = AlignmentConfig(iterations=5)
SYSTEMS = {
    "vdpm": lambda: randomised(PublishedNetwork(vdpm_miniature())),
    "dpm": lambda: PairwiseVideo(randomised(DpmNetwork(dpm_miniature())), alignment=FEW_STEPS),
    "dept3r": lambda: randomised(Dept3rNetwork(dept3r_miniature())),
    "nano": lambda: randomised(build_network(tiny())),
    "dpm-nano": lambda: PairwiseVideo(
        randomised(build_network(dataclasses.replace(tiny(), decoder=None))), alignment=FEW_STEPS
    ),
    "dept3r-nano": lambda: randomised(
        build_network(dataclasses.replace(tiny(), decoder=None, query=QueryConfig()))
    ),
}
FRAMES, HEIGHT, WIDTH = 4, 60, 80


@functools.cache
def model_of(name: str) -> Any:
    return SYSTEMS[name]()


@functools.cache
def reconstruction_of(name: str):
    return reconstruct(picture_array(FRAMES, HEIGHT, WIDTH), model=model_of(name))


@pytest.fixture(params=sorted(SYSTEMS))
def name(request) -> str:
    return request.param


@pytest.fixture
def rec(name):
    return reconstruction_of(name)


def test_cameras(rec):
    assert np.allclose(rec.world_from_camera[0], np.eye(4), atol=1e-6)
    rotation = rec.world_from_camera[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-4)
    assert np.ptp(rec.world_from_camera[:, :3, 3]) > 0
    assert (rec.intrinsics[:, 0, 0] > 1).all()
    assert np.allclose(rec.intrinsics[:, :2, 2], [WIDTH / 2, HEIGHT / 2], atol=1e-3)


def test_own_time_maps(rec):
    assert rec.own_time_points.shape == (FRAMES, *rec.map_hw, 3)
    assert np.isfinite(rec.own_time_points).all()
    assert (rec.own_time_confidence > 0).any()
    assert rec.own_time_points.std(axis=(1, 2)).min() > 0


def test_all_frames_at_one_time_and_one_frame_at_all_times(rec):
    at_time, _ = rec.maps_at(time=2)
    tracks = rec.tracks(frame=1)
    for frame in range(FRAMES):
        single, _ = rec.maps(frame=frame, time=2)
        assert np.allclose(at_time[frame], single, rtol=1e-4, atol=1e-5)
    assert np.allclose(tracks.points[2], at_time[1], rtol=1e-4, atol=1e-5)
    # A frame at its own time is its own-time map; at other times things have moved.
    assert np.array_equal(at_time[2], rec.own_time_points[2])
    moved = [t for t in range(FRAMES) if not np.allclose(tracks.points[t], tracks.points[1])]
    assert moved == [0, 2, 3]


def test_queries(rec):
    xy = np.array([[20.5, 30.5], [61.0, 12.25]])
    asked = rec.query(frame=1, xy=xy)
    assert asked.points.shape == (FRAMES, 2, 3)
    assert np.isfinite(asked.points).all()
    assert ((asked.visible >= 0) & (asked.visible <= 1)).all()
    one = rec.query(frame=1, xy=xy, time=3, camera=3)
    world = np.linalg.inv(rec.world_from_camera[3]) @ np.append(asked.points[3, 0], 1)
    assert np.allclose(one.points[0], world[:3], rtol=1e-3, atol=1e-4)


def test_pictures_and_files(rec, tmp_path):
    picture = contact_sheet.draw(rec)
    assert picture.size[0] > 100
    rec.save(tmp_path / "scene.4d")
    kept = dynapoint.open(tmp_path / "scene.4d")
    assert np.array_equal(kept.own_time_points, rec.own_time_points)
    assert np.array_equal(kept.tracks().points[3], rec.maps(frame=0, time=3)[0])


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 60, 80), (2, 90, 50), (2, 64, 64)])
def test_single_images_pairs_and_portraits(name, frames, height, width):
    rec = reconstruct(picture_array(frames, height, width), model=model_of(name))
    assert rec.own_time_points.shape[0] == frames
    assert (rec.map_hw[0] > rec.map_hw[1]) == (height > width)
    at_end, _ = rec.maps_at(time=frames - 1)
    assert np.isfinite(at_end).all()


@pytest.mark.parametrize("name", ["dpm", "dept3r"])
def test_models_without_public_weights_say_so_in_one_line(name):
    with pytest.raises(ModelError, match="weights") as caught:
        load_model(name)
    assert "\n" not in str(caught.value)
    assert "--weights" in str(caught.value)
