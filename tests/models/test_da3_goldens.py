"""Depth Anything 3 against the official code's numbers, and mistakes that these must see.

tests/data/goldens/da3 holds some of the golden cases, thinned; test_published_goldens.py goes
through them. The whole collection is the folder DYNAPOINT_GOLDENS_DA3, or ../shared/goldens_da3.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import goldens
from dynapoint.models.da3 import backbone as da3_backbone
from dynapoint.models.da3 import heads as da3_heads
from dynapoint.models.da3.backbone import Backbone
from dynapoint.models.da3.heads import DepthHead, RayHead
from dynapoint.models.da3.network import Da3Network
from dynapoint.models.da3.reference_view import chosen_view
from dynapoint.models.layers.dpt_head import ResidualConvUnit, with_positions
from folders import SHARED
from golden_cases import STORED_FOLDER
from golden_da3 import (
    build_da3_network,
    check_da3_case,
    config_from_reference,
    da3_filled,
    public_entries,
    read_da3_case,
)

WHOLE = Path(os.environ.get("DYNAPOINT_GOLDENS_DA3", SHARED / "goldens_da3"))
STORED = STORED_FOLDER / "da3"
Mistake = Callable[[Da3Network, pytest.MonkeyPatch], None]


def whole_turns(*, turned: bool) -> Mistake:
    """Blocks across views that know where patches are, or nothing of positions."""

    def make(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
        original = Backbone._turns

        def turns(self, grid_hw, views, like):  # type: ignore[no-untyped-def]
            within, _ = original(self, grid_hw, views, like)
            return within, within.repeat(views) if turned else None

        patch.setattr(Backbone, "_turns", turns)

    return make


def norm_eps(value: float, *names: str) -> Mistake:
    """Another ε in the normalisations whose names end so, in the backbone or the heads."""

    def make(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
        layers = [
            layer
            for name, layer in network.named_modules()
            if isinstance(layer, nn.LayerNorm)
            and name.endswith(names)
            and name.startswith(("backbone", "heads.pyramid"))
        ]
        assert layers and all(layer.eps != value for layer in layers)
        for layer in layers:
            patch.setattr(layer, "eps", value)

    return make


def positions(*, offset: float, antialias: bool) -> Mistake:
    """The positional embedding resized in another way."""

    def make(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
        def resized(self: Backbone, grid_hw: tuple[int, int]) -> torch.Tensor:
            side = self.trained_grid
            grid = self.pos_embed[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
            how = (
                {"scale_factor": tuple((n + offset) / side for n in grid_hw)}
                if offset
                else {"size": grid_hw}
            )
            grid = functional.interpolate(grid, mode="bicubic", antialias=antialias, **how)
            patches = grid.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)
            return torch.cat([self.pos_embed[:, :1], patches], dim=1)

        patch.setattr(Backbone, "positions", resized)

    return make


def features_changed(change: Callable) -> Mistake:  # type: ignore[type-arg]
    """Something else given to the heads."""

    def make(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
        original = Backbone.forward

        def forward(self, images, known=None, **given):  # type: ignore[no-untyped-def]
            return change(self, original(self, images, known, **given))

        patch.setattr(Backbone, "forward", forward)

    return make


def both_normed(backbone, features):  # type: ignore[no-untyped-def]
    """The closing norm on the tokens of the last block within views too."""
    halves = [layer.chunk(2, dim=-1) for layer in features.patches]
    return replace(features, patches=tuple(torch.cat([backbone.norm(a), b], -1) for a, b in halves))


def halves_swapped(backbone, features):  # type: ignore[no-untyped-def]
    """The two halves of what the heads read in the other order."""
    return replace(
        features,
        patches=tuple(
            torch.cat(layer.chunk(2, dim=-1)[::-1], dim=-1) for layer in features.patches
        ),
    )


def camera_normed(backbone, features):  # type: ignore[no-untyped-def]
    """Camera tokens after the closing norm."""
    halves = [token.chunk(2, dim=-1) for token in features.camera_tokens]
    return replace(
        features,
        camera_tokens=tuple(torch.cat([a, backbone.norm(b)], dim=-1) for a, b in halves),
    )


def relu_in_skips(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
    """Residual units whose skip carries relu(x), as in VGGT."""
    for unit in network.modules():
        if isinstance(unit, ResidualConvUnit):
            patch.setattr(unit, "relu_in_skip", True)


def no_selection(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
    """View 0 first, whatever the tokens say."""
    patch.setattr(network.backbone, "strategy", "first")


def selected_late(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
    """The view chosen by the tokens of one block later."""
    original, across = chosen_view, Backbone._across
    first, second = network.backbone.blocks[:2]
    # Both are within views, so that what they give does not depend on the order of these.
    assert network.config.across_from == 2

    def forward(self, x, grid_hw, start, known):  # type: ignore[no-untyped-def]
        after = second(first(x.flatten(0, 1))).view_as(x)[:, :, 0]
        patch.setattr(da3_backbone, "chosen_view", lambda _, strategy: original(after, strategy))
        return across(self, x, grid_hw, start, known)

    patch.setattr(Backbone, "_across", forward)


def level_0_of_rays(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
    """The convolutions of a level of the ray head that is not used."""
    entries = public_entries(network)
    rays = network.heads.rays
    parts = {"output_conv1": "output_conv1_aux.0.", "output_conv": "output_conv2_aux.0.0."}
    parts["output_last"] = "output_conv2_aux.0.5."
    for ours, theirs in parts.items():
        for name, value in getattr(rays, ours).named_parameters():
            published = f"model.head.scratch.{theirs}{name}"
            other = da3_filled(published, entries[published])
            patch.setattr(value, "data", torch.from_numpy(other).to(value.dtype))


def relu_between_convolutions(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
    """Activations in the ray head's row of convolutions."""
    assert network.heads.rays is not None
    layers = network.heads.rays.output_conv1
    row = [each for layer in layers for each in (layer, nn.ReLU())][:-1]
    patch.setitem(network.heads.rays._modules, "output_conv1", nn.Sequential(*row))


def convolved_after_the_resize(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
    """The depth head's first convolution at the images' size."""

    def forward(self: DepthHead, levels, image_hw):  # type: ignore[no-untyped-def]
        x = functional.interpolate(
            self.chain(levels), size=image_hw, mode="bilinear", align_corners=True
        )
        x = with_positions(self.output_conv1(x), image_hw[1] / image_hw[0])
        return self.output_conv2(x)

    patch.setattr(DepthHead, "forward", forward)


def no_embedding(*, at_the_end: bool) -> Mistake:
    """No embedding of places in the pyramid, or none behind the chains."""

    def make(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
        original, inside = with_positions, []

        def leaving_out(cls):  # type: ignore[no-untyped-def]
            forward = cls.forward

            def marked(self, *given):  # type: ignore[no-untyped-def]
                # The pyramid has been through when these run.
                inside.append(True)
                try:
                    return forward(self, *given)
                finally:
                    inside.pop()

            patch.setattr(cls, "forward", marked)

        leaving_out(DepthHead)
        leaving_out(RayHead)
        patch.setattr(
            da3_heads,
            "with_positions",
            lambda x, aspect: x if bool(inside) == at_the_end else original(x, aspect),
        )

    return make


def four_heads(network: Da3Network, patch: pytest.MonkeyPatch) -> None:
    """A camera encoder of 4 heads."""
    for block in network.camera_encoder.trunk:
        attention: Any = block.attn
        assert attention.heads == 16
        patch.setattr(attention, "heads", 4)
        patch.setattr(attention, "head_width", network.config.width // 4)


BLOCKS = (".norm1", ".norm2")
MISTAKES: dict[str, Mistake] = {
    "global_true_pos": whole_turns(turned=True),
    "global_no_rope": whole_turns(turned=False),
    "final_norm_eps": norm_eps(1e-6, "backbone.norm"),
    "block_eps": norm_eps(1e-5, *BLOCKS),
    "qk_eps": norm_eps(1e-6, ".q_norm", ".k_norm"),
    "pos_no_offset": positions(offset=0.0, antialias=False),
    "pos_antialias": positions(offset=0.1, antialias=True),
    "norm_both": features_changed(both_normed),
    "swap_halves": features_changed(halves_swapped),
    "cam_token_normed": features_changed(camera_normed),
    "relu_in_place": relu_in_skips,
    "no_select": no_selection,
    "select_late": selected_late,
    "aux_level_0": level_0_of_rays,
    "aux_relu": relu_between_convolutions,
    "conv1_after_resize": convolved_after_the_resize,
    "no_uv": no_embedding(at_the_end=False),
    "no_uv_end": no_embedding(at_the_end=True),
    "head_eps": norm_eps(1e-6, "pyramid.norm"),
    "cam_enc_heads": four_heads,
}
MOVED = json.loads((STORED / "mutations.json").read_text())
"""How far each mistake moves an independent implementation from the goldens, in float64."""


@pytest.fixture(scope="module")
def cases():
    return {
        name: read_da3_case(STORED / f"{name}_f64.npz") for name in ("t1_dual64_A", "t1_dual64_D")
    }


@pytest.fixture(scope="module")
def network(cases):
    return build_da3_network(cases["t1_dual64_A"].config)


def deviations(case, network):
    report = check_da3_case(case, network)
    return {c.array: c.deviation for c in report.comparisons}, report.passed


@pytest.mark.parametrize("name", ["t1_dual64_A", "t1_dual64_D"])
def test_without_a_mistake(cases, network, name):
    found, passed = deviations(cases[name], network)
    assert passed and max(found.values()) < 1e-7


def test_every_known_mistake_is_made():
    assert set(MISTAKES) == set(MOVED) and len(MISTAKES) == 20


def check_distances(cases, network, moved, *, lowest, highest):
    """We move as far as the independent implementation; where it does not move, we do not."""
    seen = False
    for name, arrays in moved.items():
        if max(arrays.values()) < 1e-10:
            continue
        ours, passed = deviations(cases[name], network)
        assert not passed
        seen = True
        for array, theirs in arrays.items():
            if theirs < 1e-10:
                assert ours[array] < 1e-7, array
            else:
                assert lowest < ours[array] / theirs < highest, (name, array, ours[array], theirs)
    assert seen


# Of mistakes that are much alike one is in the quick suite.
QUICK = (
    "global_no_rope final_norm_eps qk_eps pos_no_offset swap_halves relu_in_place select_late "
    "aux_level_0 head_eps cam_enc_heads"
).split()


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in MISTAKES],
)
def test_mistakes_are_seen(cases, network, monkeypatch, mistake):
    MISTAKES[mistake](network, monkeypatch)
    # The stored arrays are thinner by half along rows, columns and tokens: the worst may be gone.
    check_distances(cases, network, MOVED[mistake], lowest=0.2, highest=1.15)


@pytest.fixture
def one_case(tmp_path):
    """A copy of the smallest case, and a function that changes what is said of it."""
    for path in STORED.glob("t2_mono64*"):
        shutil.copy(path, tmp_path)

    def change(file, *keys, value):  # type: ignore[no-untyped-def]
        described = json.loads((tmp_path / file).read_text())
        inner = described
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        (tmp_path / file).write_text(json.dumps(described))
        (report,) = goldens.check_folder(tmp_path, only=[], skip_full=False)
        return report

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("t2_mono64_A.json/images/seed", 7, "images hash"),
        ("t2_mono64.json/weights_sha256", "0" * 64, None),
        ("t2_mono64_A.json/weights_sha256", "0" * 64, "weights hash"),
        ("t2_mono64_A.json/config", "nowhere.json", "no nowhere.json"),
        ("t2_mono64.json/config/cat_token", True, "no such network"),
        ("t2_mono64.json/config/vit/mlp_ratio", 2, "no such network"),
        ("t2_mono64.json/cls", "another.Net", "not of a"),
        ("t2_mono64.json/entries", [["model.other", [3]]], "missing"),
    ],
)
def test_broken_cases_are_reported(one_case, path, value, message):
    file, *keys = path.split("/")
    report = one_case(file, *keys, value=value)
    assert report.passed == (message is None)
    assert message is None or message in report.error


def test_a_case_in_float64_starts_from_the_cameras_beside_it(cases):
    case = cases["t1_dual64_D"]
    given = case.cameras()
    assert given["in_extrinsics_normalised"].dtype == torch.float64
    with np.load(case.path) as stored:
        wanted = stored["in_intrinsics"].astype(np.float64)
    assert np.array_equal(given["in_intrinsics"].numpy(), wanted)


def test_configurations_by_name_and_by_sizes():
    assert config_from_reference("x", "da3-base").width == 768
    said = json.loads((STORED / "t1_dual64.json").read_text())["config"]
    assert config_from_reference("x", said).across_from == 2
    said["rope_start"] = 3
    with pytest.raises(ValueError, match="no such network"):
        config_from_reference("x", said)


whole = pytest.mark.skipif(
    not WHOLE.is_dir(), reason="no goldens; set DYNAPOINT_GOLDENS_DA3 to their folder"
)


@whole
@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_move_whole_arrays_as_far_as_known(network, monkeypatch, mistake):
    cases = {name: read_da3_case(WHOLE / f"{name}_f64.npz") for name in MOVED[mistake]}
    MISTAKES[mistake](network, monkeypatch)
    # They are known to two digits.
    check_distances(cases, network, MOVED[mistake], lowest=0.93, highest=1.07)


def check_whole(*names):
    reports = list(goldens.check_folder(WHOLE, only=list(names), skip_full=False))
    broken = [goldens.text_of(report) for report in reports if not report.passed]
    assert not broken, "\n".join(broken)
    return reports


@whole
def test_manifests():
    assert len(check_whole("manifests/*")) >= 3


@whole
@pytest.mark.slow
def test_whole_collection_but_for_full_size():
    assert len(check_whole("t?_*", "components/*", "small*")) >= 19


@whole
@pytest.mark.slow
def test_full_size():
    assert check_whole("base*")
