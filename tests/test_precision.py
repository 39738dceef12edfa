"""Half precision is chosen where it is quick, and only there, unless it is asked for."""

import pytest

from dynapoint.models import catalog, compute
from dynapoint.models.catalog import load_model
from dynapoint.models.compute import default_options
from dynapoint.models.precision import cpu_multiplies_bf16
from dynapoint.models.published import PublishedNetwork
from dynapoint.models.published_config import vdpm_miniature
from dynapoint.models.published_weights import save_published
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
    monkeypatch.setitem(catalog.PUBLISHED, "vdpm", vdpm_miniature)
    for asked, wanted in ((None, precision), ("float32", "float32"), ("bfloat16", "bfloat16")):
        model = load_model("vdpm", weights=tmp_path / "vdpm.pt", device="cpu", precision=asked)
        assert model.options.precision == wanted
