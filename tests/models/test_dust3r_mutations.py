"""Mistakes made on purpose in the pair network: each must move it away from DUSt3R's numbers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from dynapoint.models.dust3r import heads as dust3r_heads
from dynapoint.models.dust3r import network as dust3r
from dynapoint.models.dust3r.blocks import CrossBlock
from dynapoint.models.dust3r.network import DpmNetwork
from dynapoint.models.layers import dpt_head
from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.dpt_head import ResidualConvUnit
from golden_cases import STORED_FOLDER
from golden_components import outputs, read_component
from golden_dust3r import build_pair_network, check_pair_case, read_pair_case

LIMIT = 1e-9
"""Of the goldens, in units of an array's spread, in float64."""

Mistake = Callable[[DpmNetwork, pytest.MonkeyPatch], None]


def relu_in_place(network: DpmNetwork | None, patch: pytest.MonkeyPatch) -> None:
    """Skips that carry relu(x), as in VGGT."""
    original = ResidualConvUnit.forward

    def forward(self, x):  # type: ignore[no-untyped-def]
        return original(self, x.relu())

    patch.setattr(ResidualConvUnit, "forward", forward)


def first_patch(first: int) -> Mistake:
    """Patches that start elsewhere than at (0, 0)."""

    def make(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
        original = RotaryPositions.for_grid
        patch.setattr(
            RotaryPositions,
            "for_grid",
            staticmethod(lambda **given: original(**(given | {"first_patch": first}))),
        )

    return make


def own_positions_for_keys(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """Keys of the other image at positions that are all the first one's."""
    original = CrossBlock.forward

    def forward(self, x, other, *, positions, other_positions):  # type: ignore[no-untyped-def]
        origin = RotaryPositions(
            other_positions.cosine[:1].expand_as(other_positions.cosine),
            other_positions.sine[:1].expand_as(other_positions.sine),
        )
        return original(self, x, other, positions=positions, other_positions=origin)

    patch.setattr(CrossBlock, "forward", forward)


def second_sees_the_updated_first(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """The second image's block reads what the first image has just become."""
    updated: dict[str, torch.Tensor] = {}
    original = CrossBlock.forward
    second = set(map(id, network.dec_blocks2))

    def forward(self, x, other, **positions):  # type: ignore[no-untyped-def]
        if id(self) in second:
            return original(self, x, updated["first"], **positions)
        updated["first"] = original(self, x, other, **positions)
        return updated["first"]

    patch.setattr(CrossBlock, "forward", forward)


def one_decoder_for_both(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """The first image's blocks used for the second one too."""
    patch.setitem(network._modules, "dec_blocks2", network.dec_blocks)


def norm_eps(names: str) -> Mistake:
    """PyTorch's ε in the normalisations whose names have `names` in them."""

    def make(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
        layers = [
            layer
            for name, layer in network.named_modules()
            if isinstance(layer, nn.LayerNorm) and names in name
        ]
        assert layers
        for layer in layers:
            patch.setattr(layer, "eps", 1e-5)

    return make


def no_norm_of_the_other(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """The other image's tokens attended to as they are."""
    for block in (*network.dec_blocks, *network.dec_blocks2):
        patch.setattr(block.norm_y, "forward", lambda x: x)


def images_as_they_are(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """Images in [0, 1], not in [−1, 1]."""
    original = network.patch_embed.forward
    patch.setattr(network.patch_embed, "forward", lambda seen: original((seen + 1) / 2))


def heads_swapped(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """Each image read by the other one's head."""
    first, second = network.downstream_head1, network.downstream_head2
    patch.setitem(network._modules, "downstream_head1", second)
    patch.setitem(network._modules, "downstream_head2", first)


def last_level_not_normalised(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """Heads that read the decoders' last tokens as they leave the blocks."""
    patch.setattr(network.dec_norm, "forward", lambda x: x)


def other_levels(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """A level one block earlier."""
    first, second, third, last = network.config.levels
    patch.setattr(
        type(network.config), "levels", property(lambda config: (first, second, third - 1, last))
    )


def corners_not_aligned(network: DpmNetwork | None, patch: pytest.MonkeyPatch) -> None:
    """Bilinear resizing in the head by the other convention."""
    patch.setattr(
        dpt_head,
        "_resized",
        lambda x, size: functional.interpolate(x, size, mode="bilinear", align_corners=False),
    )


def each_channel_by_itself(network: DpmNetwork, patch: pytest.MonkeyPatch) -> None:
    """VGGT's activation of points."""

    def activated(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        xyz = raw[..., :3, :, :].movedim(-3, -1)
        return dpt_head.inverse_log(xyz), 1 + raw[..., 3, :, :].exp()

    patch.setattr(dust3r, "points_and_confidence", activated)


def sized_not_cropped(network: DpmNetwork | None, patch: pytest.MonkeyPatch) -> None:
    """Coarse maps resized to the next finer one's size, as in VGGT, not doubled and cropped."""

    def forward(self, maps):  # type: ignore[no-untyped-def]
        layers = (self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn)
        one, two, three, four = (k(level) for k, level in zip(layers, maps, strict=True))
        x = self.refinenet4(four, None, tuple(three.shape[-2:]))
        x = self.refinenet3(x, three, tuple(two.shape[-2:]))
        x = self.refinenet2(x, two, tuple(one.shape[-2:]))
        return self.refinenet1(x, one, (2 * one.shape[-2], 2 * one.shape[-1]))

    patch.setattr(dust3r_heads.DptScratch, "forward", forward)


def row(name: str, mistake: Mistake, *arrays: str, dpt: bool = False):
    """A mistake and the arrays that it must move; those of the linear head unless `dpt`.

    The DPT head has many weights to fill; below a small one is seen to make its mistakes.
    """
    return pytest.param(mistake, arrays, dpt, id=name, marks=[pytest.mark.slow] * dpt)


EVERYTHING = ("pts3d_1", "conf_1", "pts3d_2_in_1", "conf_2")
MISTAKES = [
    row("skips carry relu(x)", relu_in_place, *EVERYTHING, dpt=True),
    row("another level", other_levels, *EVERYTHING, dpt=True),
    row("corners not aligned", corners_not_aligned, *EVERYTHING, dpt=True),
    row("resized instead of cropped", sized_not_cropped, *EVERYTHING, dpt=True),
    # Attention sees differences of positions; only the rounding of float32 angles shows this.
    row("patches from 1", first_patch(1), "dec1_1", "dec2_1", *EVERYTHING),
    row("keys at the origin", own_positions_for_keys, "dec1_1", *EVERYTHING),
    row("second sees the updated first", second_sees_the_updated_first, "dec2_1", *EVERYTHING),
    row("one decoder for both", one_decoder_for_both, "dec2_1", *EVERYTHING),
    row("eps in the encoder", norm_eps("enc_"), "dec1_0", *EVERYTHING),
    row("eps in the decoder", norm_eps("dec_blocks."), "dec1_1", *EVERYTHING),
    row("eps of the last norm", norm_eps("dec_norm"), *EVERYTHING),
    row("eps of the other image's norm", norm_eps("norm_y"), "dec1_1", *EVERYTHING),
    row("the other image not normalised", no_norm_of_the_other, "dec1_1", *EVERYTHING),
    row("images in [0, 1]", images_as_they_are, "dec1_0", *EVERYTHING),
    row("heads swapped", heads_swapped, *EVERYTHING),
    row("last level not normalised", last_level_not_normalised, *EVERYTHING),
    row("each channel activated by itself", each_channel_by_itself, "pts3d_1", "pts3d_2_in_1"),
]


def case_of(name: str):
    case = read_pair_case(STORED_FOLDER / "dust3r" / f"{name}.npz")
    assert case
    return case, build_pair_network(case.config)


@pytest.fixture(scope="module")
def linear():
    return case_of("d1_linear_A_f64")


@pytest.fixture(scope="module")
def dpt():
    return case_of("d2_dpt_A_f64")


def deviations(case, network) -> dict[str, float]:
    return {c.array: c.deviation for c in check_pair_case(case, network).comparisons}


@pytest.mark.parametrize("kind", ["linear", pytest.param("dpt", marks=pytest.mark.slow)])
def test_without_a_mistake(request, kind):
    case, network = request.getfixturevalue(kind)
    assert max(deviations(case, network).values()) < 1e-12


@pytest.mark.parametrize(("mistake", "arrays", "dpt_head"), MISTAKES)
def test_mistakes_are_seen(request, monkeypatch, mistake, arrays, dpt_head):
    case, network = request.getfixturevalue("dpt" if dpt_head else "linear")
    mistake(network, monkeypatch)
    found = deviations(case, network)
    assert {array: found[array] for array in arrays if not found[array] > LIMIT} == {}


def test_a_case_of_other_images_is_not_run(linear):
    case, network = linear
    images = case.info["images"]
    other = replace(case, info=case.info | {"images": images | {"seed1": images["seed1"] + 1}})
    with pytest.raises(ValueError, match="images hash"):
        check_pair_case(other, network)


@pytest.mark.parametrize("mistake", [relu_in_place, corners_not_aligned, sized_not_cropped])
def test_a_small_head_sees_mistakes(monkeypatch, mistake):
    # Its grid has odd sides, so that its coarsest map is rounded up and cropped.
    path = STORED_FOLDER / "components" / "dust3r_dpt_adapter.npz"
    stored, info = read_component(path)

    def deviation() -> float:
        ours = outputs(path.stem, stored, info, torch.float64)["out64_y"]
        return float(abs(ours - stored["out64_y"]).max() / stored["out64_y"].std())

    assert deviation() < 1e-12
    mistake(None, monkeypatch)
    assert deviation() > 1e-3
