"""Half precision is chosen where it is quick, and only there, unless it is asked for."""

import pytest
import torch
from conftest import images
from safetensors.torch import load_file

from dynapoint.models.catalog import load_model
from dynapoint.models.layers import attention, compute
from dynapoint.models.layers.compute import default_options
from dynapoint.models.layers.precision import cpu_multiplies_bf16
from dynapoint.models.nano.stem import GroupNorm, conv_norm
from dynapoint.models.nano.weights import save_network
from dynapoint.models.vggt import weights as vggt_weights
from dynapoint.models.vggt.config import vdpm_miniature
from dynapoint.models.vggt.published import PublishedNetwork
from dynapoint.models.vggt.weights import save_published
from dynapoint.training import hardware

PLAIN = "flags\t\t: fpu sse2 avx2 fma avx512f avx512_vnni amx_tile amx_int8\n"


@pytest.mark.parametrize(
    ("flags", "quick"),
    [
        (PLAIN, False),
        (PLAIN.replace("fma", "fma avx512_bf16"), True),
        (PLAIN.replace("fma", "fma amx_bf16"), True),
        (PLAIN.replace("fma", "avx512_bf16_lookalike"), False),
        ("", False),
    ],
)
def test_flags_of_the_processor(tmp_path, flags, quick):
    (tmp_path / "cpuinfo").write_text("processor : 0\n" + flags)
    assert cpu_multiplies_bf16(tmp_path / "cpuinfo") is quick
    assert not cpu_multiplies_bf16(tmp_path / "none")


@pytest.mark.parametrize(("quick", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_what_a_cpu_computes_in_unless_told(tmp_path, monkeypatch, quick, precision):
    monkeypatch.setattr(compute, "cpu_multiplies_bf16", lambda: quick)
    monkeypatch.setattr(hardware, "cpu_multiplies_bf16", lambda: quick)
    assert default_options("cpu").precision == precision
    assert default_options("cpu").head_precision == "float32"
    assert default_options("meta").precision == "float32"
    assert (hardware.autocast_dtype("auto", "cpu") is None) is not quick
    save_published(PublishedNetwork(vdpm_miniature()), tmp_path / "vdpm.pt")
    monkeypatch.setattr(vggt_weights, "vdpm", vdpm_miniature)
    for asked, wanted in ((None, precision), ("float32", "float32"), ("bfloat16", "bfloat16")):
        model = load_model("vdpm", weights=tmp_path / "vdpm.pt", device="cpu", precision=asked)
        assert model.options.precision == wanted


@pytest.fixture
def norms_in_float32(monkeypatch):
    """Norms as autocast has them on a GPU: whatever comes in, float32 comes out."""
    for name in ("layer_norm", "group_norm"):
        plain = getattr(torch.nn.functional, name)

        def norm(x, *arguments, plain=plain):
            with torch.autocast("cpu", enabled=False):
                return plain(x.float(), *arguments)

        monkeypatch.setattr(torch.nn.functional, name, norm)


def test_normalised_queries_and_maps_train_in_half_precision(norms_in_float32, monkeypatch):
    seen, plain = [], attention.attend

    def spy(q, k, v):
        seen.append((q.dtype, k.dtype, v.dtype))
        return plain(q.to(v.dtype), k.to(v.dtype), v)

    monkeypatch.setattr(attention, "attend", spy)
    layer = attention.Attention(16, 2, qk_norm=True)
    tokens = torch.randn(2, 5, 16)
    half, single = torch.bfloat16, torch.float32
    for training, wanted in ((True, (half, half, half)), (False, (single, single, half))):
        layer.train(training)
        with torch.autocast("cpu", dtype=half):
            layer(tokens)
        assert seen.pop() == wanted
    layer.train()(tokens)
    assert seen.pop() == (single, single, single)
    maps = torch.randn(2, 8, 4, 4, dtype=half)
    with torch.autocast("cpu", dtype=half):
        assert GroupNorm(2, 8)(maps).dtype == half
        assert conv_norm(3, 8, stride=1, groups=2)(torch.rand(1, 3, 4, 4)).dtype == half
    assert torch.equal(GroupNorm(2, 8)(maps.float()), torch.nn.GroupNorm(2, 8)(maps.float()))


def test_order_in_memory_changes_neither_answers_nor_files(shaken, tmp_path):
    network = shaken()
    video = images(2)
    plain = network.encode(video).own_time.points
    save_network(network, tmp_path / "plain.safetensors", record={})
    network.to(memory_format=torch.channels_last)
    assert network.stem.to_half[0].weight.is_contiguous(memory_format=torch.channels_last)
    again = network.encode(video).own_time.points
    torch.testing.assert_close(again, plain, rtol=1e-3, atol=1e-3)
    save_network(network, tmp_path / "last.safetensors", record={})
    first, second = (load_file(tmp_path / f"{name}.safetensors") for name in ("plain", "last"))
    assert all(torch.equal(second[key], value) for key, value in first.items())
