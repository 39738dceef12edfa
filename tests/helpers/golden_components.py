"""Golden inputs and outputs of single parts of the networks, run in float32 and in float64.

Each part is a function of its stored inputs that gives our outputs by the goldens' names: `unit`
answers the arrays `out_unit` (float32) and `out64_unit` (float64), or one called just that.
"""

import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynapoint.data.frames import load_frames
from dynapoint.geometry.quaternion import matrix_from_quaternion_xyzw, quaternion_xyzw_from_matrix
from dynapoint.geometry.rigid import invert_rigid
from dynapoint.inference.prepare import prepare_images
from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.blocks import Block, ConditionalBlock
from dynapoint.models.layers.camera_head import CameraHead
from dynapoint.models.layers.config import CameraHeadConfig, DptHeadConfig, PatchEmbedConfig
from dynapoint.models.layers.dino import DinoEncoder
from dynapoint.models.layers.dpt_head import DptHead, FusionBlock, ResidualConvUnit, with_positions
from dynapoint.models.layers.pose_encoding import (
    camera_from_world,
    encode_cameras,
    intrinsics_px,
)
from dynapoint.models.vggt.parts import depth_maps, point_maps
from golden_da3_components import (
    normalize_extrinsics,
    nothing,
    pose_encoding,
    preprocess,
    ray_pose,
    reference_view,
    uv_embed,
)
from golden_dust3r import (
    block_croco_decoder,
    block_croco_encoder,
    dust3r_dpt_adapter,
    dust3r_postprocess,
)
from golden_networks import fill_part, image_batch

Arrays = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is known of one component file.

    `give` computes outputs from floating-point inputs of one precision; `limit` is that of float32
    outputs; `not_ours` says which stored arrays are no business of these networks, and why.
    """

    give: Callable[[Arrays, dict[str, Any], torch.dtype], Arrays]
    limit: float = 1e-5
    not_ours: str = r"$"
    why: str = ""


def positions_at(rows_columns: Tensor, head_width: int, dtype: torch.dtype) -> RotaryPositions:
    """Rotary positions of any tokens, picked out of a grid that holds them all."""
    side = int(rows_columns.max())
    grid = RotaryPositions.for_grid(
        specials=1,
        grid_hw=(side, side),
        head_width=head_width,
        base=100.0,
        like=torch.zeros((), dtype=dtype),
    )
    half = head_width // 2
    # A special token sits at 0; patch (r, c) sits at (r + 1, c + 1).
    row = torch.where(rows_columns[:, 0] > 0, 1 + (rows_columns[:, 0] - 1) * side, 0)
    column = torch.where(rows_columns[:, 1] > 0, rows_columns[:, 1], 0)
    cosine = torch.cat([grid.cosine[row, :half], grid.cosine[column, half:]], dim=-1)
    sine = torch.cat([grid.sine[row, :half], grid.sine[column, half:]], dim=-1)
    return RotaryPositions(cosine, sine)


def rope2d(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Turned channels, and the tables that they are turned by."""
    ours = {}
    for case in (name.removeprefix("in_") for name in stored if name.startswith("in_")):
        x, where = stored[f"in_{case}"], stored[f"pos_{case}"]
        assert (where == where[:1]).all()
        ours[case] = positions_at(where[0], x.shape[-1], dtype).apply(x)
    line = RotaryPositions.for_grid(
        specials=1, grid_hw=(1, 19), head_width=64, base=100.0, like=torch.zeros((), dtype=dtype)
    )
    return ours | {"cos_dim32_len20": line.cosine[:, 32:], "sin_dim32_len20": line.sine[:, 32:]}


def dpt_uv_embed(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The head's embedding of places, and the places themselves out of its slowest sines."""
    ours = {}
    for name, theirs in stored.items():
        columns, rows, width, height = (int(n) for n in re.findall(r"_[whWH](\d+)", name))
        channels = 4 if name.startswith("uv") else int(re.search(r"_C(\d+)", name)[1])  # type: ignore[index]
        empty = torch.zeros(1, channels, rows, columns, dtype=dtype)
        embedding = 10 * with_positions(empty, width / height)[0].permute(1, 2, 0)
        full = embedding[..., [0, 2]].arcsin() if name.startswith("uv") else embedding
        step = next(s for s in range(1, rows + 1) if full[::s, ::s].shape == theirs.shape)
        ours[name] = full[::step, ::step]
    return ours


def activations(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Points, depth, confidences and pose encodings from raw values."""
    raw = stored["in_x"][None]
    points = point_maps(raw)
    depths = [depth_maps(raw[:, :, [k, 3]]).depth[0] for k in range(3)]
    return {
        "inv_log": points.points[0],
        "conf_expp1": points.confidence[0],
        "exp": torch.stack(depths, dim=-1),
        "pose": CameraHead.activate(stored["in_pose"]),
    }


def dino_tokens(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Positional embeddings of many sizes; tokens before the blocks and after the last norm."""
    args = info["args"]
    config = PatchEmbedConfig(
        depth=args["depth"],
        heads=args["num_heads"],
        registers=args["num_register_tokens"],
        trained_side=args["img_size"],
    )
    encoder = fill_part(DinoEncoder(config, args["embed_dim"]), info["fill_prefix"], dtype)
    before: list[Tensor] = []
    encoder.blocks[0].register_forward_pre_hook(lambda module, inputs: before.append(inputs[0]))
    seeds = {size: int(seed) for seed, size in re.findall(r"(\d+) for (\d+x\d+)", info["inputs"])}
    ours = {}
    for name in stored:
        found = re.fullmatch(r"(pos|tokens|xnorm_patch)_(\d+)x(\d+)_step(\d+)", name)
        assert found is not None, name
        kind, (height, width, step) = found[1], (int(n) for n in found.groups()[1:])
        if kind == "pos":
            ours[name] = encoder.positions((height // 14, width // 14))[0, ::step, ::2]
            continue
        images = image_batch((2, 1, 3, height, width), seeds[f"{height}x{width}"])[:, 0]
        after = encoder(torch.from_numpy(np.float32(4) * images - np.float32(2)).to(dtype))
        ours[name] = (before[-1] if kind == "tokens" else after)[:, ::step]
    return ours


def block_dino(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """DINOv2's block on tokens of ordinary and of tiny size."""
    block = Block(32, 2, mlp_ratio=4.0, scale_init=1.0, qk_norm=False, norm_eps=1e-6)
    block = fill_part(block, info["fill_prefix"], dtype)
    return {"unit": block(stored["in_x"]), "small": block(stored["in_xs"])}


def block_alternating(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The aggregator's block."""
    block = Block(32, 2, mlp_ratio=4.0, scale_init=0.01, qk_norm=True)
    block = fill_part(block, info["fill_prefix"], dtype)
    positions = positions_at(stored["in_pos"][0], 16, dtype)
    return {
        key: block(stored[name], positions=positions)
        for key, name in (("unit", "in_x"), ("small", "in_xs"))
    }


def block_conditional(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The decoder's block on frames, and on all frames at once with a condition for each."""
    block = ConditionalBlock(
        32, 2, condition=32, mlp_ratio=4.0, scale_init=0.01, zero_modulation=False
    )
    block = fill_part(block, info["fill_prefix"], dtype)
    conditions = stored["in_cond"][:, :, 0]
    batch, frames = conditions.shape[:2]
    per_frame = conditions.flatten(0, 1)[:, None]
    positions = positions_at(stored["in_pos"][0], 16, dtype)
    ours = {"modulation": torch.cat(block.modulation(per_frame), dim=-1)[:, 0]}
    for key, name in (("unit", "in_x"), ("small", "in_xs")):
        x = stored[name]
        ours[f"frame_{key}"] = block(x, per_frame, positions=positions)
        joint = x.reshape(batch, -1, x.shape[-1])
        ours[f"global_{key}"] = block(
            joint, conditions, positions=positions.repeat(frames), segments=frames
        )
    return ours


def published_camera_head(dtype: torch.dtype = torch.float64) -> CameraHead:
    """The camera head of the goldens."""
    config = CameraHeadConfig(
        trunk_depth=2, heads=4, iterations=4, layer_scale_init=0.01, start_encoding=(0.0,) * 9
    )
    return fill_part(CameraHead(config, 64), "camera_head.", dtype)


def iterate(head: CameraHead, tokens: Tensor, iterations: int) -> Tensor:
    """Activated encodings of all iterations from the camera tokens (batch, frame, width)."""
    raw, results = None, []
    for _ in range(iterations):
        raw = head.step(tokens, raw)
        results.append(head.activate(raw))
    return torch.stack(results)


def camera_head(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The camera head on ordinary and on tiny tokens."""
    head, tokens = published_camera_head(dtype), stored["in_tok"][:, :, 0]
    return {
        "unit": iterate(head, tokens, 4),
        "small": iterate(head, stored["in_tok_small"][:, :, 0], 4),
        "unit_1_iteration": iterate(head, tokens, 1)[0],
    }


def camera_head_negative_fov(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The same with a last bias of the other sign, which makes raw fields of view negative."""
    head = published_camera_head(dtype)
    with torch.no_grad():
        head.pose_branch.fc2.bias.neg_()
    return {"pose": iterate(head, stored["in_tok"][:, :, 0], 4)}


def rotations_cameras(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Rotations and cameras, both ways."""
    encoding, size_hw = stored["in_enc"], (154, 210)
    pose, intrinsics = camera_from_world(encoding), intrinsics_px(encoding, size_hw, clamped=False)
    back = quaternion_xyzw_from_matrix(stored["out_mat"])
    # With w = 0 both signs are right.
    back = back * torch.where((stored["out_quat_back"] * back).sum(-1, keepdim=True) < 0, -1, 1)
    depth, camera = stored["in_depth"][..., 0], intrinsics[0]
    x, y = torch.arange(depth.shape[2]), torch.arange(depth.shape[1])
    rays = torch.stack(
        [
            ((x - camera[:, 0, 2, None]) / camera[:, 0, 0, None])[:, None].expand_as(depth),
            ((y - camera[:, 1, 2, None]) / camera[:, 1, 1, None])[..., None].expand_as(depth),
            torch.ones_like(depth),
        ],
        dim=-1,
    )
    points, inverse = rays * depth[..., None], invert_rigid(pose[0])
    world = points @ inverse[:, None, :3, :3].transpose(-1, -2) + inverse[:, None, None, :3, 3]
    return {
        "mat": matrix_from_quaternion_xyzw(stored["in_quat"]),
        "quat_back": back,
        "extrinsics": pose[..., :3, :],
        "intrinsics": intrinsics,
        "enc_back": encode_cameras(pose, intrinsics, size_hw),
        "inverse_se3": inverse,
        "unprojected": world,
    }


def dpt_residual_unit(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The residual unit of VGGT's head, whose skip carries relu(x), and of DUSt3R's."""
    ours, dust3r = (
        fill_part(ResidualConvUnit(8, relu_in_skip=relu), info["fill_prefix"], dtype)(
            stored["in_x"]
        )
        for relu in (True, False)
    )
    return {"y": ours, "y_if_skip_carried_relu_x": ours, "y_if_skip_carried_x": dust3r}


def dpt_fusion_block(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The head's fusion block, to a given size and to twice its own."""
    block = fill_part(FusionBlock(8, finer=True), info["fill_prefix"], dtype)
    return {
        key: block(stored["in_x"], stored["in_r"], tuple(stored[f"out_{key}"].shape[-2:]))
        for key in ("size", "double")
    }


def _dpt(stored: Arrays, info: dict[str, Any], dtype: torch.dtype, gain: float = 1.0) -> Tensor:
    args = info["args"]
    config = DptHeadConfig(features=args["features"], level_channels=tuple(args["out_channels"]))
    head = DptHead(config, token_width=args["dim_in"], outputs=args["output_dim"])
    head = fill_part(head, info["fill_prefix"], dtype)
    batch, frames, _, height, width = stored["in_images"].shape
    grid_hw = (height // 14, width // 14)
    patches = grid_hw[0] * grid_hw[1]
    levels = [gain * stored[f"in_t{k}"][:, :, -patches:].flatten(0, 1) for k in range(4)]
    return head(levels, grid_hw, (height, width)).unflatten(0, (batch, frames))


def dpt_head(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The point head on ordinary and on tiny tokens."""
    maps = point_maps(_dpt(stored, info, dtype))
    small = point_maps(_dpt(stored, info, dtype, gain=1e-3))
    return {
        "pts": maps.points,
        "conf": maps.confidence,
        "small_pts": small.points,
        "small_conf": small.confidence,
    }


def dpt_head_depth(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The depth head."""
    maps = depth_maps(_dpt(stored, info, dtype))
    return {"depth": maps.depth[..., None], "conf": maps.confidence}


def image_preparation(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Image files, one or two at a time, prepared as published for a network of 518 pixels."""
    pictures = {name.split("_")[1]: x.numpy() for name, x in stored.items() if name[:3] == "in_"}
    ours = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, f"{name}.png") for name in [*pictures, "flipped"]}
        for name, picture in [*pictures.items(), ("flipped", pictures["a"][::-1])]:
            Image.fromarray(np.ascontiguousarray(picture)).save(paths[name])
        for name in stored:
            # `out_a_60x80_crop_step13` is of one image, `out_a_and_c_crop_step13` of two.
            if name == "out_vdpm_preprocess_step13":
                wanted = ["a", "flipped"]
            elif name.endswith("_crop_step13"):
                wanted = [word for word in name.split("_") if word in pictures]
            else:
                continue
            frames = load_frames([paths[each] for each in wanted], one_size=False)
            prepared = prepare_images(frames, how="published", image_side=518, patch_size=14)
            ours[name.removeprefix("out_")] = prepared.images[0]
    return ours


PARTS = {
    "dino_tokens": Part(give=dino_tokens),
    "rope2d": Part(give=rope2d),
    "dpt_uv_embed": Part(give=dpt_uv_embed),
    "activations": Part(
        give=activations,
        not_ours=r"out_(norm_exp|linear|relu|sigmoid|xy_inv_log|conf_expp0|conf_sigmoid)$",
        why="activations that neither network uses",
    ),
    "camera_head": Part(give=camera_head),
    "camera_head_negative_fov": Part(give=camera_head_negative_fov),
    "rotations_cameras": Part(
        give=rotations_cameras,
        not_ours=r"K_zero_fov$",
        why="we keep focal lengths finite",
    ),
    "block_dino": Part(give=block_dino),
    "block_alternating": Part(give=block_alternating),
    "block_conditional": Part(give=block_conditional),
    "dpt_residual_unit": Part(
        give=dpt_residual_unit,
        not_ours=r".*x_after_call$",
        why="what the in-place ReLU does to its input",
    ),
    "dpt_fusion_block": Part(give=dpt_fusion_block),
    "dpt_head": Part(give=dpt_head, limit=1e-4),
    "dpt_head_depth": Part(give=dpt_head_depth, limit=1e-4),
    "block_croco_encoder": Part(give=block_croco_encoder),
    "block_croco_decoder": Part(give=block_croco_decoder),
    "dust3r_dpt_adapter": Part(give=dust3r_dpt_adapter, limit=1e-4),
    "dust3r_postprocess": Part(
        give=dust3r_postprocess,
        not_ours=r"pts_(square|linear)$|conf_sigmoid_0_1$",
        why="activations that the published checkpoints do not use",
    ),
    "image_preparation": Part(
        give=image_preparation,
        limit=0.0,
        not_ours=r"out_.*(_pad_step13|_square224_.*)$",
        why="preparations that the published demos do not use",
    ),
    "pose_encoding": Part(give=pose_encoding, limit=1e-6),
    "normalize_extrinsics": Part(give=normalize_extrinsics, limit=1e-6),
    "reference_view": Part(give=reference_view, limit=0.0),
    "uv_embed": Part(give=uv_embed, limit=1e-6),
    "ray_pose": Part(give=ray_pose, not_ours=r"true_", why="what the rays were made of"),
    "preprocess": Part(
        give=preprocess,
        # Intrinsics are rounded to float32 there. Images are of whole numbers, which this tells
        # apart as 0 does.
        limit=1e-6,
        not_ours=r".*_crop$",
        why="a way of preparing images that is not the public code's own choice",
    ),
    "nested_alignment": Part(
        give=nothing, not_ours=r"", why="nested networks are CC BY-NC 4.0 and not built"
    ),
}


def outputs(
    name: str, stored: dict[str, np.ndarray], info: dict[str, Any], dtype: torch.dtype
) -> dict[str, np.ndarray]:
    """Our outputs of a part in one precision, by the names of the arrays that they answer."""
    inputs = {key: torch.from_numpy(value) for key, value in stored.items()}
    inputs = {key: x.to(dtype) if x.is_floating_point() else x for key, x in inputs.items()}
    with torch.no_grad():
        ours = PARTS[name].give(inputs, info, dtype)
    prefix = "out64_" if dtype == torch.float64 else "out_"
    named = {(f"{prefix}{k}" if f"{prefix}{k}" in stored else k): v for k, v in ours.items()}
    # What is stored in float32 alone is compared with our float32 numbers alone.
    return {
        key: thinned(value.detach().numpy(), stored[key].shape)
        for key, value in named.items()
        if key in stored and (dtype == torch.float32 or key.startswith("out64_"))
    }


def thinned(full: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Every n-th entry of an array from the first on, as many along each axis as are stored."""
    for axis, (side, wanted) in enumerate(zip(full.shape, shape, strict=True)):
        steps = [step for step in range(1, side + 1) if -(-side // step) == wanted]
        if not steps or (wanted > 1 and len(steps) > 1):
            raise ValueError(f"{len(steps)} strides leave {shape} of {full.shape}, not one")
        full = full[(slice(None),) * axis + (slice(None, None, steps[0]),)]
    return full


def read_component(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a component file and what components.json says of it."""
    with np.load(path) as file:
        stored = {name: file[name] for name in file.files}
    return stored, json.loads(path.with_name("components.json").read_text())[path.stem]
