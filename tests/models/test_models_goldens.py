"""Parts of `nano` that the published networks have too, in the forms that only `nano` uses.

tests/models/test_published_goldens.py compares the parts as the published networks use them.
"""

import numpy as np
import pytest
import torch

from dynapoint.models.layers import attention
from dynapoint.models.layers.attention import Attention, RotaryPositions
from dynapoint.models.layers.blocks import ConditionalBlock
from dynapoint.models.layers.pose_encoding import camera_from_world
from dynapoint.models.nano.placing import place
from golden_cases import STORED_FOLDER
from golden_components import outputs, positions_at, read_component
from golden_networks import fill_part


def golden(part: str, name: str) -> torch.Tensor:
    stored, _ = read_component(STORED_FOLDER / "components" / f"{part}.npz")
    return torch.from_numpy(stored[name])


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference in units of the golden values' spread."""
    assert ours.shape == theirs.shape
    return float((ours.detach() - theirs).abs().max() / theirs.std())


def test_rotary_positions_of_a_grid_of_patches_after_special_tokens():
    # Case a is six special tokens and a grid of 4 × 5 patches: our own layout, as it is used.
    x = golden("rope2d", "in_a").double()
    ours = RotaryPositions.for_grid(
        specials=6, grid_hw=(4, 5), head_width=x.shape[-1], base=100.0, like=x
    )
    assert distance(ours.apply(x), golden("rope2d", "out64_a")) < 1e-9


def test_rotary_positions_are_no_coarser_for_patches_in_half_precision():
    grid = {"specials": 1, "grid_hw": (37, 28), "head_width": 16, "base": 100.0}
    half = RotaryPositions.for_grid(like=torch.zeros(1, dtype=torch.bfloat16), **grid)
    full = RotaryPositions.for_grid(like=torch.zeros(1), **grid)
    assert torch.equal(half.cosine, full.cosine)
    assert torch.equal(half.sine, full.sine)


@pytest.mark.parametrize("part", ["block_alternating", "block_conditional", "block_dino"])
def test_blocks_with_the_fused_kernel(monkeypatch, part):
    # The few tokens of these cases take the written-out softmax otherwise.
    monkeypatch.setattr(attention, "EXPLICIT_SOFTMAX_MAX_KEYS", 0)
    stored, info = read_component(STORED_FOLDER / "components" / f"{part}.npz")
    ours = outputs(part, stored, info, torch.float64)
    assert ours
    for name, value in ours.items():
        assert np.abs(value - stored[name]).max() < 1e-9 * stored[name].std()


def test_conditional_block_with_itself_as_context_changes_nothing():
    # Attention to the same keys twice is attention to them once.
    block = fill_part(
        ConditionalBlock(32, 2, condition=32, mlp_ratio=4.0, scale_init=0.01, zero_modulation=True),
        "cond_block.",
    )
    condition = golden("block_conditional", "in_cond").double().flatten(0, 1).squeeze(1)
    positions = positions_at(golden("block_conditional", "in_pos")[0], 16, torch.float64)
    x = golden("block_conditional", "in_x").double()
    ours = block(x, condition, positions=positions, context=x, context_positions=positions)
    assert distance(ours, golden("block_conditional", "out64_frame_unit")) < 1e-9


def test_attention_to_itself_as_context():
    layer = Attention(32, 2, qk_norm=True).double()
    x = torch.randn(2, 7, 32, dtype=torch.float64)
    assert torch.allclose(layer(x), layer(x, context=x), atol=1e-12)


def test_placing_of_depth():
    pose = camera_from_world(golden("rotations_cameras", "in_enc").double()[0])
    depth = golden("rotations_cameras", "in_depth").double().squeeze(-1)
    height, width = depth.shape[1:]
    intrinsics = golden("rotations_cameras", "out_intrinsics").double()[0].clone()
    x, y = torch.arange(width).double(), torch.arange(height).double()
    ray_x = (x - intrinsics[:, 0, 2, None]) / intrinsics[:, 0, 0, None]
    ray_y = (y - intrinsics[:, 1, 2, None]) / intrinsics[:, 1, 1, None]
    length = (1 + ray_x[:, None, :] ** 2 + ray_y[:, :, None] ** 2).sqrt()
    # Their pixel centres are whole numbers, ours half-integers: the principal point moves along.
    intrinsics[:, :2, 2] += 0.5
    ours = place((depth * length).log()[None], pose[None], intrinsics[None])[0]
    theirs = golden("rotations_cameras", "out_unprojected")
    assert torch.allclose(ours, theirs, atol=1e-4)
