"""The renderer on a GPU against the same on a CPU; run by `make test-gpu` where there is one."""

import pytest
import torch
from torch.nn import functional

from dynapoint.synthetic.render import render_clips
from dynapoint.synthetic.scene import SceneConfig, random_scene

IMAGE_HW = (96, 128)


def away_from_edges(face: torch.Tensor) -> torch.Tensor:
    """Pixels whose whole 3 × 3 neighbourhood meets one face; (clip, frame, height, width)."""
    images = face.flatten(0, 1)[:, None].double()
    high = functional.max_pool2d(images, 3, stride=1, padding=1)
    low = -functional.max_pool2d(-images, 3, stride=1, padding=1)
    return (high == low)[:, 0].view(face.shape)


def test_pixels_away_from_edges_are_those_with_equal_neighbours():
    face = torch.zeros(1, 1, 4, 5, dtype=torch.int32)
    face[..., 3:] = 7
    assert away_from_edges(face)[0, 0, 0].tolist() == [True, True, False, False, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_draws_the_same_clips():
    config = SceneConfig(frames=4, difficulty=1.0)
    scenes = [random_scene(seed, config, aspect=4 / 3) for seed in range(6)]
    cpu = render_clips(scenes, image_hw=IMAGE_HW, seed=3)
    gpu = render_clips(scenes, image_hw=IMAGE_HW, seed=3, device="cuda")
    difference = (cpu.images.int() - gpu.images.cpu().int()).abs()
    assert (difference <= 2).double().mean() >= 0.999
    inner = away_from_edges(cpu.face)
    assert inner.double().mean() > 0.3
    assert torch.equal(cpu.face[inner], gpu.face.cpu()[inner])
    again = render_clips(scenes, image_hw=IMAGE_HW, seed=3, device="cuda")
    assert torch.equal(gpu.images, again.images) and torch.equal(gpu.face, again.face)
