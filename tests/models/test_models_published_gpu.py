"""The published networks on a GPU: the same answers as on a CPU, in parts where memory is short."""

import copy

import pytest
import torch

from dynapoint.models.layers.compute import ComputeOptions, default_options
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.published import PublishedNetwork

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture
def networks():
    torch.manual_seed(7)
    on_cpu = PublishedNetwork(vdpm_miniature()).double().eval()
    return on_cpu, copy.deepcopy(on_cpu).cuda()


def decoded(network, images):
    with torch.no_grad():
        encoded = network.encode(images)
        return network.decode_times(encoded, times=[0, 3], frames=[0, 2])


def test_a_gpu_gives_the_same_numbers_in_float64(networks):
    images = torch.rand(1, 4, 3, 56, 42, dtype=torch.float64)
    on_cpu, on_gpu = networks
    ours, theirs = decoded(on_cpu, images), decoded(on_gpu, images.cuda())
    # Positions are float32 even then, as published, and every device rounds its own way.
    change = (ours.points - theirs.points.cpu()).abs().max() / ours.points.std()
    assert change < 1e-5


def test_half_precision_as_the_public_code_uses_it(networks):
    images = torch.rand(1, 4, 3, 56, 42)
    on_cpu, on_gpu = networks
    on_gpu.float().use(default_options("cuda"))
    exact = decoded(on_cpu, images.double())
    half = decoded(on_gpu, images.cuda())
    change = (half.points.cpu() - exact.points).std() / exact.points.std()
    assert 1e-6 < change < 0.05


def test_short_memory_is_answered_by_smaller_parts(networks):
    _, network = networks
    network.float().use(ComputeOptions(decoder_tokens_at_once=10**9, head_frames_at_once=1024))
    images = torch.rand(1, 12, 3, 140, 140).cuda()
    with torch.no_grad():
        encoded = network.encode(images)
        small = network.use(ComputeOptions()).decode_times(encoded, times=range(12), frames=[0])
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 300e6) / total)
        try:
            network.use(ComputeOptions(decoder_tokens_at_once=10**9, head_frames_at_once=1024))
            large = network.decode_times(encoded, times=range(12), frames=[0])
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.allclose(small.points, large.points, atol=1e-3)
