"""Weights stored in fewer bits: what is rounded, and what is not."""

import pytest
import torch
from torch import nn

from dynapoint.models.layers.compact import CompactLinear, linear_rows, store_compactly
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.published import PublishedNetwork


@pytest.fixture
def layer():
    torch.manual_seed(3)
    return nn.Linear(48, 20)


def test_bfloat16_weights_are_rounded_and_nothing_else(layer):
    x = torch.randn(5, 48)
    wanted = x @ layer.weight.bfloat16().float().T + layer.bias
    assert torch.allclose(CompactLinear(layer, "bfloat16")(x), wanted, atol=1e-5)
    assert not torch.allclose(layer(x), wanted, atol=1e-5)


def test_int8_weights_are_within_half_a_step_of_each_output(layer):
    compact = CompactLinear(layer, "int8")
    step = layer.weight.abs().amax(dim=1) / 127
    error = compact.weight.float() * compact.scale[:, None] - layer.weight
    assert (error.abs() <= 0.5001 * step[:, None]).all()
    x = torch.randn(5, 48)
    bound = 0.5001 * x.abs().sum(dim=1)[:, None] * step
    assert ((compact(x) - layer(x)).abs() <= bound + 1e-5).all()


@pytest.mark.parametrize("storage", ["bfloat16", "int8"])
def test_some_rows_are_those_of_all_rows(layer, storage):
    x = torch.randn(2, 3, 48)
    compact = CompactLinear(layer, storage)
    assert torch.allclose(linear_rows(compact, x, slice(4, 9)), compact(x)[..., 4:9], atol=1e-6)
    assert torch.allclose(linear_rows(layer, x, slice(4, 9)), layer(x)[..., 4:9], atol=1e-6)


@pytest.mark.parametrize(("storage", "limit"), [("bfloat16", 0.01), ("int8", 0.02)])
def test_a_network_with_a_compact_decoder_hardly_changes(storage, limit):
    torch.manual_seed(4)
    network = PublishedNetwork(vdpm_miniature()).eval()
    images = torch.rand(1, 2, 3, 56, 42)
    with torch.no_grad():
        encoded = network.encode(images)
        before = network.decode_times(encoded, times=[1], frames=[0])
        floats = sum(p.numel() for p in network.decoder.parameters())
        store_compactly(network.decoder, storage)
        after = network.decode_times(encoded, times=[1], frames=[0])
    assert sum(p.numel() for p in network.decoder.parameters()) < floats / 10
    spread = before.points.std()
    change = (after.points - before.points).std() / spread
    assert 0 < change < limit


def test_zero_weights_stay_zero():
    layer = nn.Linear(4, 3)
    nn.init.zeros_(layer.weight)
    compact = CompactLinear(layer, "int8")
    x = torch.randn(2, 4)
    assert torch.allclose(compact(x), layer.bias.expand(2, -1))
