"""The parts against numbers that the official V-DPM and VGGT code produced (tests/data).

Weights and images are made here from the rule that those numbers were made by: each entry from a
normal generator seeded by its name. Everything is compared in float64.
"""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dynapoint.models import attention
from dynapoint.models.aggregator import Aggregator
from dynapoint.models.attention import Attention, RotaryPositions
from dynapoint.models.blocks import Block, ConditionalBlock
from dynapoint.models.camera_head import CameraHead
from dynapoint.models.config import AggregatorConfig, CameraHeadConfig, TimeDecoderConfig
from dynapoint.models.network import place
from dynapoint.models.pose_encoding import (
    camera_from_world,
    encode_cameras,
    intrinsics_px,
    invert_rigid,
    matrix_from_quaternion_xyzw,
    quaternion_xyzw_from_matrix,
)
from dynapoint.models.time_decoder import TimeDecoder

GOLDENS = Path(__file__).parent / "data" / "goldens.npz"
POSE_BIAS = [0, 0, 0, 0, 0, 0, 0.25, 0.3, 0.3]


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDENS) as arrays:
        loaded = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return lambda part, name: loaded[f"{part}/{name}"]


def filled(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The value of the entry `name` of a state dict, float32 widened to float64."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    z = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    leaf = name.rpartition(".")[2]
    if leaf.endswith("weight") and len(shape) > 1:
        gain = 0.1 if name.endswith("pose_branch.fc2.weight") else 1.0
        z = z * gain / math.sqrt(math.prod(shape[1:]))
    elif leaf.endswith("weight"):
        z = 1 + 0.1 * z
    elif leaf.endswith("bias"):
        z = 0.02 * z + (POSE_BIAS if name.endswith("pose_branch.fc2.bias") else 0)
    elif leaf == "gamma":
        z = 0.3 + 0.05 * z
    else:
        z = 0.5 * z
    return torch.from_numpy(z.astype(np.float32)).double()


def fill(module: nn.Module, prefix: str, renamed: tuple[str, str] = ("", "")) -> nn.Module:
    """Fill all parameters by their published names: prefix, then the name with a part replaced."""
    module.double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(filled(prefix + name.replace(*renamed), tuple(parameter.shape)))
    return module


def positions_at(rows_columns: torch.Tensor, head_width: int) -> RotaryPositions:
    """Rotary positions of any tokens, picked out of a grid that holds them all."""
    side = int(rows_columns.max())
    grid = RotaryPositions.for_grid(
        specials=1,
        grid_hw=(side, side),
        head_width=head_width,
        base=100.0,
        like=torch.zeros((), dtype=torch.float64),
    )
    half = head_width // 2
    # A special token sits at 0; patch (r, c) sits at (r + 1, c + 1).
    row = torch.where(rows_columns[:, 0] > 0, 1 + (rows_columns[:, 0] - 1) * side, 0)
    column = torch.where(rows_columns[:, 1] > 0, rows_columns[:, 1], 0)
    cosine = torch.cat([grid.cosine[row, :half], grid.cosine[column, half:]], dim=-1)
    sine = torch.cat([grid.sine[row, :half], grid.sine[column, half:]], dim=-1)
    return RotaryPositions(cosine, sine)


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference in units of the golden values' spread."""
    assert ours.shape == theirs.shape
    return float((ours.detach() - theirs).abs().max() / theirs.std())


@pytest.mark.parametrize("case", ["a", "c"])
def test_rotary_positions(golden, case):
    x, where = golden("rope2d", f"in_{case}").double(), golden("rope2d", f"pos_{case}")
    assert (where == where[:1]).all()
    turned = positions_at(where[0], x.shape[-1]).apply(x)
    assert distance(turned, golden("rope2d", f"out64_{case}")) < 1e-9


def test_rotary_positions_of_a_grid_of_patches_after_special_tokens(golden):
    # Case a is six special tokens and a grid of 4 × 5 patches: our own layout, as it is used.
    x = golden("rope2d", "in_a").double()
    ours = RotaryPositions.for_grid(
        specials=6, grid_hw=(4, 5), head_width=x.shape[-1], base=100.0, like=x
    )
    assert distance(ours.apply(x), golden("rope2d", "out64_a")) < 1e-9


def test_rotary_tables(golden):
    like = torch.zeros((), dtype=torch.float32)
    ours = RotaryPositions.for_grid(
        specials=1, grid_hw=(1, 19), head_width=64, base=100.0, like=like
    )
    assert torch.allclose(ours.cosine[:, 32:], golden("rope2d", "cos_dim32_len20"), atol=1e-6)
    assert torch.allclose(ours.sine[:, 32:], golden("rope2d", "sin_dim32_len20"), atol=1e-6)


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [("in_x", "unit"), ("in_xs", "small")])
def test_block(golden, monkeypatch, explicit, inputs, outputs):
    if not explicit:
        monkeypatch.setattr(attention, "EXPLICIT_SOFTMAX_MAX_KEYS", 0)
    block = fill(Block(32, 2, mlp_ratio=4.0, scale_init=0.01, qk_norm=True), "aa_block.")
    positions = positions_at(golden("block_alternating", "in_pos")[0], 16)
    ours = block(golden("block_alternating", inputs).double(), positions=positions)
    assert distance(ours, golden("block_alternating", f"out64_{outputs}")) < 1e-9


def conditional_block() -> ConditionalBlock:
    block = ConditionalBlock(
        32, 2, condition=32, mlp_ratio=4.0, scale_init=0.01, zero_modulation=True
    )
    return fill(block, "cond_block.")


def test_modulation(golden):
    condition = golden("block_conditional", "in_cond").double().flatten(0, 1).squeeze(1)
    ours = torch.cat(conditional_block().modulation(condition[:, None]), dim=-1)[:, 0]
    assert distance(ours, golden("block_conditional", "out64_modulation")) < 1e-9


@pytest.mark.parametrize(("inputs", "outputs"), [("in_x", "unit"), ("in_xs", "small")])
def test_conditional_block_over_frames(golden, inputs, outputs):
    condition = golden("block_conditional", "in_cond").double().flatten(0, 1).squeeze(1)
    positions = positions_at(golden("block_conditional", "in_pos")[0], 16)
    x = golden("block_conditional", inputs).double()
    ours = conditional_block()(x, condition, positions=positions)
    assert distance(ours, golden("block_conditional", f"out64_frame_{outputs}")) < 1e-9


def test_conditional_block_with_itself_as_context_changes_nothing(golden):
    # Attention to the same keys twice is attention to them once.
    condition = golden("block_conditional", "in_cond").double().flatten(0, 1).squeeze(1)
    positions = positions_at(golden("block_conditional", "in_pos")[0], 16)
    x = golden("block_conditional", "in_x").double()
    ours = conditional_block()(
        x, condition, positions=positions, context=x, context_positions=positions
    )
    assert distance(ours, golden("block_conditional", "out64_frame_unit")) < 1e-9


def test_attention_to_itself_as_context():
    layer = Attention(32, 2, qk_norm=True).double()
    x = torch.randn(2, 7, 32, dtype=torch.float64)
    assert torch.allclose(layer(x), layer(x, context=x), atol=1e-12)


def published_camera_head() -> CameraHead:
    config = CameraHeadConfig(
        trunk_depth=2, heads=4, iterations=4, layer_scale_init=0.01, start_encoding=(0.0,) * 9
    )
    return fill(CameraHead(config, 64), "camera_head.")


def iterate(head: CameraHead, tokens: torch.Tensor, iterations: int) -> torch.Tensor:
    raw, results = None, []
    for _ in range(iterations):
        raw = head.step(tokens, raw)
        results.append(head.activate(raw))
    return torch.stack(results)


@pytest.mark.parametrize(("inputs", "outputs"), [("in_tok", "unit"), ("in_tok_small", "small")])
def test_camera_head(golden, inputs, outputs):
    tokens = golden("camera_head", inputs).double()[:, :, 0]
    ours = iterate(published_camera_head(), tokens, 4)
    assert distance(ours, golden("camera_head", f"out64_{outputs}")) < 1e-9


def test_camera_head_of_one_iteration(golden):
    tokens = golden("camera_head", "in_tok").double()[:, :, 0]
    ours = iterate(published_camera_head(), tokens, 1)[0]
    assert distance(ours, golden("camera_head", "out64_unit_1_iteration")) < 1e-9


def test_camera_head_feeds_back_what_was_not_yet_activated(golden):
    head = published_camera_head()
    with torch.no_grad():
        head.pose_branch.fc2.bias.neg_()
    tokens = golden("camera_head_negative_fov", "in_tok").double()[:, :, 0]
    ours = iterate(head, tokens, 4)
    assert (ours[..., 7:] == 0).any()
    assert distance(ours, golden("camera_head_negative_fov", "out64_pose")) < 1e-9


def test_rotations(golden):
    quaternion = golden("rotations_cameras", "in_quat").double()
    matrix = matrix_from_quaternion_xyzw(quaternion)
    assert torch.allclose(
        matrix, golden("rotations_cameras", "out_mat").double(), atol=1e-5, rtol=1e-5
    )
    back = quaternion_xyzw_from_matrix(golden("rotations_cameras", "out_mat").double())
    theirs = golden("rotations_cameras", "out_quat_back").double()
    # With w = 0 both signs are right.
    theirs = theirs * torch.where((theirs * back).sum(-1, keepdim=True) < 0, -1, 1)
    assert torch.allclose(back, theirs, atol=1e-3)


def test_pose_encodings(golden):
    encoding = golden("rotations_cameras", "in_enc").double()
    pose = camera_from_world(encoding)
    image_hw = (154, 210)
    intrinsics = intrinsics_px(encoding, image_hw)
    extrinsics = golden("rotations_cameras", "out_extrinsics").double()
    assert torch.allclose(pose[..., :3, :], extrinsics, atol=1e-5)
    assert torch.allclose(
        intrinsics, golden("rotations_cameras", "out_intrinsics").double(), rtol=1e-5
    )
    back = encode_cameras(pose, intrinsics, image_hw)
    assert torch.allclose(back, golden("rotations_cameras", "out_enc_back").double(), atol=1e-5)


def test_inverse_and_placing_of_depth(golden):
    pose = camera_from_world(golden("rotations_cameras", "in_enc").double()[0])
    inverse = golden("rotations_cameras", "out_inverse_se3").double()
    assert torch.allclose(invert_rigid(pose), inverse, atol=1e-5)
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


@pytest.fixture(scope="module")
def aggregated(golden):
    """Our aggregator on the images of the golden case s1_conv128 B, four frames, batch of two."""
    rng = np.random.Generator(np.random.PCG64(12))
    batch, frames, height, width = 2, 4, 42, 56
    c, a, b = (rng.random((batch, frames, 3, 1, 1)) for _ in range(3))
    noise = rng.random((batch, frames, 3, height, width))
    y = (np.arange(height) / (height - 1))[:, None]
    x = np.arange(width) / (width - 1)
    images = (0.4 * c + 0.2 * a * y + 0.2 * b * x + 0.2 * noise).astype(np.float32)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None].double()
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None].double()
    normal = (torch.from_numpy(images).double() - mean) / std
    embed = fill(nn.Conv2d(3, 128, 14, stride=14), "aggregator.patch_embed.proj.")
    maps = embed(normal.flatten(0, 1))
    patches = maps.flatten(2).transpose(1, 2).unflatten(0, (batch, frames))
    config = AggregatorConfig(width=128, depth=4, heads=4, layer_scale_init=0.01)
    network = fill(Aggregator(config), "aggregator.")
    with torch.no_grad():
        return network(patches, (3, 4), keep=(0, 1, 2, 3))


def test_aggregator(golden, aggregated):
    index = golden("s1_conv128_B_f64", "token_index")
    theirs = golden("s1_conv128_B_f64", "agg_tokens")
    ours = torch.stack([layer[:, :, index, ::16] for layer in aggregated.layers])
    assert distance(ours, theirs) < 1e-8


def test_aggregator_keeps_the_layers_asked_for(golden, aggregated):
    assert len(aggregated.layers) == 4
    assert aggregated.layers[0].shape == (2, 4, 6 + 12, 256)


def test_time_decoder(golden, aggregated):
    config = TimeDecoderConfig(
        depth=2,
        heads=4,
        layer_scale_init=0.01,
        scope="all",
        modulation_init="default",
        target_flag=False,
    )
    decoder = fill(
        TimeDecoder(config, width=256, condition=256), "decoder.", ("_blocks.", "_blocks.0.")
    )
    positions = RotaryPositions.for_grid(
        specials=6, grid_hw=(3, 4), head_width=64, base=100.0, like=aggregated.layers[0]
    )
    index = golden("s1_conv128_B_f64", "token_index")
    theirs = golden("s1_conv128_B_f64", "dec_tokens")
    conditions = aggregated.layers[-1][:, :, 1]
    for place_in_file, time in enumerate((0, 3)):
        for layer, tokens in enumerate(aggregated.layers):
            with torch.no_grad():
                ours = decoder(tokens, conditions, positions, sources=range(4), targets=[time] * 4)
            chosen = ours[:, :, index, ::16]
            assert distance(chosen, theirs[place_in_file, layer]) < 1e-8
