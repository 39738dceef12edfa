"""Toy networks, images and truths that several test files share; every random number is seeded."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from dynapoint.models.cards import CARDS
from dynapoint.models.layers import compute
from dynapoint.models.nano.config import NetworkConfig, tiny
from dynapoint.models.nano.network import VideoPointMapNetwork
from dynapoint.models.nano.small_networks import build_network
from dynapoint.types import TruthSample

# Without the extra `cluster` there is nothing of it to test.
collect_ignore_glob = (
    [] if all(map(find_spec, ("pyarrow", "fsspec", "aiohttp"))) else ["cluster/test_*.py"]
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tests are small: more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _plain_precision(monkeypatch):
    """Answers are compared in float32, whatever this processor is quick at."""
    monkeypatch.setattr(compute, "cpu_multiplies_bf16", lambda: False)


@pytest.fixture
def own_cards():
    """Cards that a test registers are known to no other test."""
    known = dict(CARDS)
    yield
    CARDS.clear()
    CARDS.update(known)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shake(network: Any, seed: int = 0) -> Any:
    """Give every parameter random values of a sensible size, so that no branch is switched off."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if name.endswith("log_temperature"):
                value = math.log(0.1) + 0.1 * noise
            elif parameter.ndim >= 2:
                value = noise / math.sqrt(math.prod(parameter.shape[1:]))
            elif name.endswith("weight"):
                value = 1 + 0.1 * noise
            else:
                value = 0.1 * noise
            parameter.copy_(value)
        # Poses stay near plausible ones, so that most points lie before the cameras.
        network.camera_head.pose_branch.fc2.weight.mul_(0.05)
        network.geometry_head.out.weight.mul_(0.2)
        network.motion_head.out.weight.mul_(0.2)
    return network


@pytest.fixture
def shaken() -> Callable[..., VideoPointMapNetwork]:
    """A maker of small networks with all weights random."""

    def make(config: NetworkConfig | None = None, seed: int = 0) -> VideoPointMapNetwork:
        return shake(build_network(config or tiny()), seed).eval()

    return make


def images(
    frames: int = 3, height: int = 16, width: int = 24, *, batch: int = 1, seed: int = 0
) -> torch.Tensor:
    """Random smooth images, float32 (batch, frame, 3, height, width) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch * frames, 3, height // 4, width // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return smooth.unflatten(0, (batch, frames))


def toy_truth(
    batch: int = 2, frames: int = 2, height: int = 16, width: int = 24, seed: int = 0
) -> TruthSample:
    """A bumpy wall whose left half drifts sideways, seen by cameras that step to the right.

    The top row is sky. Every number is exact: points of frame i at time t are its own-time points
    plus the velocity times (t − i), in the world, which is camera 0.
    """
    generator = torch.Generator().manual_seed(seed)
    focal = float(width)
    intrinsics = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    ray = torch.stack([(x - width / 2) / focal, (y - height / 2) / focal, torch.ones_like(x)], -1)
    depth = 2 + 0.2 * torch.rand(batch, frames, height, width, generator=generator)
    poses = torch.eye(4).repeat(batch, frames, 1, 1)
    poses[..., 0, 3] = 0.05 * torch.arange(frames)
    own = ray * depth[..., None] + poses[:, :, None, None, :3, 3]
    moving = (x < width / 2).expand(batch, frames, -1, -1)
    velocity = torch.tensor([0.1, 0.02, -0.05]) * moving[..., None]
    steps = torch.arange(frames)[:, None] - torch.arange(frames)
    points = own[:, None] + velocity[:, None] * steps[:, :, None, None, None]
    valid = torch.ones(batch, frames, height, width, dtype=torch.bool)
    valid[:, :, 0] = False
    every = torch.ones(batch, frames, frames, dtype=torch.bool)
    return TruthSample(
        images=images(frames, height, width, batch=batch, seed=seed),
        points=torch.where(valid[:, None, ..., None], points, 0.0),
        valid=valid,
        visible=valid[:, None].expand(-1, frames, -1, -1, -1).clone(),
        moving=moving & valid,
        supervised=every,
        world_from_camera=poses,
        intrinsics=intrinsics.expand(batch, frames, 3, 3).clone(),
    )


class FixedStream:
    """The same sample at every step of a training run, or another one where `at` says so."""

    def __init__(self, sample, phase, at=None):
        self.fixed, self.phase, self.at = sample, phase, at or {}

    def sample(self, step):
        return self.at.get(step, self.fixed)

    def phase_of(self, step):
        return self.phase
