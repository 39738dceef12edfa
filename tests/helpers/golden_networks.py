"""Networks and images that golden numbers were made with: weights from names, images from seeds.

Every entry of a state dict is filled from its published name and shape by a normal generator that
the name seeds, so no weight has to be stored (the rule is in words in the goldens' README).
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from dynapoint.models.layers.config import (
    AggregatorConfig,
    CameraHeadConfig,
    DptHeadConfig,
    LevelDecoderConfig,
    PatchEmbedConfig,
)
from dynapoint.models.vggt.config import PublishedConfig, vdpm, vggt
from dynapoint.models.vggt.key_maps import ours_from_published, published_from_ours
from dynapoint.models.vggt.published import PublishedNetwork

Shapes = Mapping[str, tuple[int, ...]]
POSE_BIAS = np.array([0, 0, 0, 0, 0, 0, 0.25, 0.3, 0.3])
GAINS = {
    "pose_branch.fc2.weight": 0.1,
    "updateformer.flow_head.weight": 0.1,
    "dpt.head.4.weight": 0.2,
}
TRANSPOSED = re.compile(r"(resize_layers\.[01]|act_postprocess\.[01]\.1)\.weight$")
# DUSt3R stores these tensors under a second name.
ALIAS = re.compile(r"scratch\.layer_rn\.(\d)\.")
# Depth and heads of the DINOv2 sizes that the reference knows by name.
DINO_SIZES = {"s": (12, 6), "b": (12, 12), "l": (24, 16)}

Entries = list[tuple[str, tuple[int, ...]]]


def normal_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers that a name seeds."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)


def filled(name: str, shape: Iterable[int]) -> np.ndarray:
    """The float32 value of the state dict entry of this published name."""
    shape = tuple(int(side) for side in shape)
    name = ALIAS.sub(lambda found: f"scratch.layer{int(found[1]) + 1}_rn.", name)
    z = normal_of(name, shape)
    leaf = name.rpartition(".")[2]
    if leaf.endswith("weight") and len(shape) > 1:
        gain = next((g for end, g in GAINS.items() if name.endswith(end)), 1.0)
        # A transposed convolution's weight has its inputs first.
        inputs = shape[0] if TRANSPOSED.search(name) else math.prod(shape[1:])
        z *= gain / math.sqrt(inputs)
    elif leaf.endswith("weight"):
        z = 1 + 0.1 * z
    elif leaf.endswith("bias"):
        z = 0.02 * z + (POSE_BIAS if name.endswith("pose_branch.fc2.bias") else 0)
    elif leaf == "gamma":
        z = 0.3 + 0.05 * z
    else:
        z *= 0.5
    return z.astype(np.float32)


def image_batch(shape: Iterable[int], seed: int) -> np.ndarray:
    """Float32 images (batch, frame, 3, height, width) in [0, 1]: ramps and noise."""
    batch, frames, channels, height, width = shape
    rng = np.random.Generator(np.random.PCG64(seed))
    level, down, across = (rng.random((batch, frames, channels, 1, 1)) for _ in range(3))
    noise = rng.random((batch, frames, channels, height, width))
    y = (np.arange(height) / (height - 1))[:, None]
    x = np.arange(width) / (width - 1)
    return (0.4 * level + 0.2 * down * y + 0.2 * across * x + 0.2 * noise).astype(np.float32)


def digest_of(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def fill_part(module: nn.Module, prefix: str, dtype: torch.dtype = torch.float64) -> Any:
    """Fill a module whose parameters are named as published, after `prefix`."""
    module.to(dtype).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(filled(prefix + name, parameter.shape)))
    return module


def skeleton(
    config: PublishedConfig, entries: Entries | None
) -> tuple[PublishedNetwork, dict[str, tuple[int, ...]]]:
    """The network without numbers, and the names and shapes of the published state dict.

    `entries` are what the goldens say that these are: ours must be the same, but for the track
    head, which is not built.

    Raises:
        ValueError: They are not the same.
    """
    with torch.device("meta"):
        network = PublishedNetwork(config)
    ours = {
        published_from_ours(name): tuple(value.shape)
        for name, value in network.state_dict().items()
    }
    wanted = dict(ours) if entries is None else {name: tuple(shape) for name, shape in entries}
    theirs = {name: v for name, v in wanted.items() if not name.startswith("track_head.")}
    require_same_shapes(ours, theirs)
    return network, wanted


def require_same_shapes(ours: Shapes, theirs: Shapes) -> None:
    """Raise ValueError where names or shapes of two state dicts differ."""
    if theirs != ours:
        missing, extra = sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys())
        odd = [name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]
        raise ValueError(f"missing {missing[:3]}, extra {extra[:3]}, of other shape {odd[:3]}")


def build(
    config: PublishedConfig,
    *,
    dtype: torch.dtype = torch.float64,
    entries: Entries | None = None,
    sha256: str | None = None,
) -> PublishedNetwork:
    """The network of a configuration with the goldens' weights, in `dtype` from the start.

    It gets its tensors one by one, so nothing is ever held twice. `sha256` is the goldens' checksum
    of all entries, the track head's included.

    Raises:
        ValueError: Names, shapes or the checksum are not as in the goldens.
    """
    network, wanted = skeleton(config, entries)
    digest = hashlib.sha256()
    for name in sorted(wanted):
        value = filled(name, wanted[name])
        digest.update(name.encode())
        digest.update(value.data)
        if not name.startswith("track_head."):
            parent, _, leaf = ours_from_published(name).rpartition(".")
            tensor = torch.from_numpy(value).to(dtype)
            network.get_submodule(parent).register_parameter(leaf, nn.Parameter(tensor, False))
    if sha256 is not None and digest.hexdigest() != sha256:
        raise ValueError(f"the weights hash to {digest.hexdigest()}, wanted {sha256}")
    return network.eval()


def full_size_config(model: str) -> PublishedConfig:
    """The configuration of a true network, described as `VDPM(decoder_depth=4, ...)`.

    Raises:
        ValueError: It is described as anything but the published network.
    """
    published = {"VDPM": vdpm(), "VGGT": vggt()}[model.partition("(")[0]]
    given = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", model)}
    if published.decoder is not None:
        depth = given.pop("decoder_depth", published.decoder.depth)
        published = replace(published, decoder=replace(published.decoder, depth=depth))
    ours = {
        "img_size": published.image_side,
        "patch_size": published.patch_embed.patch_size,
        "embed_dim": published.aggregator.width,
    }
    if given != {key: ours.get(key) for key in given}:
        raise ValueError(f"{model!r} is not as published, {ours}")
    return published


def _patch_embed(arguments: dict[str, Any]) -> PatchEmbedConfig:
    aggregator = arguments["aggregator"]
    kind, patch_size = aggregator["patch_embed"], aggregator["patch_size"]
    dino = arguments.get("dino")
    if dino is not None:
        fixed = {"interpolate_antialias": True, "interpolate_offset": 0.0, "block_chunks": 0}
        odd = {key: dino[key] for key, value in fixed.items() if dino.get(key, value) != value}
        if odd or dino["embed_dim"] != aggregator["embed_dim"]:
            raise ValueError(f"the published networks have no such patch embedding: {odd or dino}")
        return PatchEmbedConfig(
            patch_size=dino["patch_size"],
            depth=dino["depth"],
            heads=dino["num_heads"],
            mlp_ratio=float(dino.get("mlp_ratio", 4)),
            registers=dino.get("num_register_tokens", 4),
            trained_side=dino["img_size"],
        )
    if kind == "conv":
        return PatchEmbedConfig(kind="conv", patch_size=patch_size, trained_side=14 * patch_size)
    size = re.fullmatch(r"dinov2_vit([sbl])14_reg", kind)
    if size is None:
        raise ValueError(f"unknown patch embedding {kind!r}")
    depth, heads = DINO_SIZES[size[1]]
    return PatchEmbedConfig(
        patch_size=patch_size, depth=depth, heads=heads, trained_side=aggregator["img_size"]
    )


def config_from_reference(name: str, arguments: dict[str, Any]) -> PublishedConfig:
    """Our configuration from the arguments that the official classes were built with."""
    aggregator, camera = arguments["aggregator"], arguments["camera_head"]
    decoder, head = arguments.get("decoder"), arguments["point_head"]
    levels = tuple(head["intermediate_layer_idx"])
    for other in (decoder, arguments.get("depth_head")):
        if other is not None and tuple(other["intermediate_layer_idx"]) != levels:
            raise ValueError(f"{name}: the parts read different layers, {levels} and {other}")
    return PublishedConfig(
        name=name,
        image_side=aggregator["img_size"],
        patch_embed=_patch_embed(arguments),
        aggregator=AggregatorConfig(
            width=aggregator["embed_dim"],
            depth=aggregator["depth"],
            heads=aggregator["num_heads"],
            mlp_ratio=float(aggregator.get("mlp_ratio", 4)),
            registers=aggregator.get("num_register_tokens", 4),
            rope_base=float(aggregator.get("rope_freq", 100)),
            layer_scale_init=0.01,
            time_token=decoder is not None,
        ),
        levels=levels,
        head=DptHeadConfig(features=head["features"], level_channels=tuple(head["out_channels"])),
        decoder=None
        if decoder is None
        else LevelDecoderConfig(
            depth=decoder["depth"],
            heads=decoder["num_heads"],
            mlp_ratio=float(decoder.get("mlp_ratio", 4)),
        ),
        depth_head="depth_head" in arguments,
        camera=CameraHeadConfig(
            trunk_depth=camera["trunk_depth"],
            heads=camera["num_heads"],
            mlp_ratio=float(camera.get("mlp_ratio", 4)),
            iterations=4,
            layer_scale_init=0.01,
            start_encoding=(0.0,) * 9,
            square_pixels=False,
            start_from_matches=False,
        ),
    )
