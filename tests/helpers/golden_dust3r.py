"""Golden cases of DUSt3R: read, built and run; compared as golden_cases.py compares the others.

The network is DPM's with one head for each image. Its state has our names; what the goldens call
the public state dict is made of it by the key map, the tensors held twice and the unused ones.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dynapoint.models.dust3r.blocks import NORM_EPS, CrossBlock
from dynapoint.models.dust3r.config import Dust3rConfig, PairHeadConfig, PairTrunkConfig, dust3r
from dynapoint.models.dust3r.heads import DptPixelHead
from dynapoint.models.dust3r.network import DpmNetwork, points_and_confidence
from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.blocks import Block
from dynapoint.models.vggt.key_maps import dust3r_from_ours, ours_from_dust3r
from golden_cases import Report, compare, find_beside, label
from golden_networks import (
    Entries,
    digest_of,
    fill_part,
    filled,
    image_batch,
    require_same_shapes,
)

Arrays = dict[str, torch.Tensor]
CLASS = "dust3r.model.AsymmetricCroCo3DStereo"
FIXED = {
    "pos_embed": "RoPE100",
    "output_mode": "pts3d",
    "depth_mode": ["exp", "-inf", "inf"],
    "conf_mode": ["exp", "1", "inf"],
}
MANIFEST = "manifests/dust3r_512_dpt.json"


def config_from_reference(name: str, arguments: dict[str, Any]) -> Dust3rConfig:
    """Our configuration from the arguments that the official class was built with.

    Raises:
        ValueError: They ask for what the network here does not do.
    """
    odd = {key: arguments[key] for key, value in FIXED.items() if arguments[key] != value}
    if odd or arguments["head_type"] not in ("linear", "dpt"):
        raise ValueError(f"{name}: no such network of DUSt3R's here, {odd or arguments}")
    return Dust3rConfig(
        name=name,
        image_side=max(arguments["img_size"]),
        patch_size=arguments.get("patch_size", 16),
        encoder=PairTrunkConfig(
            width=arguments["enc_embed_dim"],
            depth=arguments["enc_depth"],
            heads=arguments["enc_num_heads"],
        ),
        decoder=PairTrunkConfig(
            width=arguments["dec_embed_dim"],
            depth=arguments["dec_depth"],
            heads=arguments["dec_num_heads"],
        ),
        head=PairHeadConfig(kind=arguments["head_type"]),
        heads_per_image=1,
    )


@dataclass(frozen=True, kw_only=True)
class PairCase:
    """A golden file of a pair network and what its JSON says."""

    path: Path
    info: dict[str, Any]
    config: Dust3rConfig
    entries: Entries | None = field(repr=False)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.path.stem.endswith("_f64") else torch.float32

    @property
    def full_size(self) -> bool:
        return self.config.encoder.width >= 1024

    @property
    def limit(self) -> float:
        return 1e-9 if self.dtype == torch.float64 else 3e-4

    def views(self) -> list[torch.Tensor]:
        """Images in [0, 1] of either view (example, 3, height, width), in the case's precision.

        The goldens double them and take one off in float32, and widen what comes of it.
        """
        asked, views = self.info["images"], []
        for k in ("1", "2"):
            batch, *sides = asked[f"view{k}"]
            image = image_batch((batch, 1, *sides), asked[f"seed{k}"])[:, 0]
            seen = np.float32(2) * image - np.float32(1)
            if digest_of(seen) != asked[f"sha256_view{k}"]:
                raise ValueError("the images hash to something else than the case says")
            exact = (torch.from_numpy(seen).double() + 1) / 2
            views.append(torch.from_numpy(image) if self.dtype == torch.float32 else exact)
        return views

    def lain(self, view: int, example: int) -> bool:
        """Whether an image is stored on its side: mixed batches hold portraits transposed."""
        shapes = self.info.get("true_shape")
        return shapes is not None and shapes[view][example][0] > shapes[view][example][1]

    def strides(self, what: str) -> list[int]:
        """Steps at which pixels, tokens or channels may be stored, the likeliest first."""
        names = {"pixels": "pixel_stride", "tokens": "token_step", "channels": "channel_step"}
        step = int(self.info[names[what]])
        if self.dtype == torch.float32:
            return [step]
        said = re.search(rf"{what} ::(\d+)", self.info.get("f64_steps", ""))
        return [*([int(said[1])] if said else []), 2 * step, step, 21]


def read_pair_case(path: Path) -> PairCase | None:
    """The case of a golden file; None where it is none of DUSt3R's."""
    described = path.with_name(f"{path.stem.removesuffix('_f64')}.json")
    info = json.loads(described.read_text())
    if "view1" not in info.get("images", {}):
        return None
    source = find_beside(path, info["config"])
    if source is None:
        raise FileNotFoundError(f"no {info['config']} beside {path.name}")
    network = json.loads(source.read_text())
    if network["cls"] != CLASS:
        raise ValueError(f"{source.name} is of a {network['cls']}, not of a {CLASS}")
    entries = network.get("entries")
    # Where nothing says what the entries are, the checksum still covers all names.
    manifest = find_beside(path, MANIFEST) if network.get("entries", "unsaid") is None else None
    if manifest is not None:
        entries = json.loads(manifest.read_text())["entries"]
    return PairCase(
        path=path,
        info=info,
        config=config_from_reference(source.stem, network["config"]),
        entries=None if entries is None else [(name, tuple(shape)) for name, shape, *_ in entries],
    )


def public_entries(network: DpmNetwork) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the public state dict: with what is held twice, or not used."""
    entries: dict[str, tuple[int, ...]] = {"mask_token": (1, 1, network.config.decoder.width)}
    for name, value in network.state_dict().items():
        theirs, shape = dust3r_from_ours(name), tuple(value.shape)
        entries[theirs] = shape
        twice = re.sub(r"layer(\d)_rn", lambda k: f"layer_rn.{int(k[1]) - 1}", theirs)
        entries[twice] = shape
        unused = theirs.replace("refinenet4.resConfUnit2", "refinenet4.resConfUnit1")
        entries[unused] = shape
    return entries


def pair_skeleton(
    config: Dust3rConfig, entries: Entries | None
) -> tuple[DpmNetwork, dict[str, tuple[int, ...]]]:
    """The network without numbers, and the public state dict, which must be `entries`.

    Raises:
        ValueError: It is not.
    """
    with torch.device("meta"):
        network = DpmNetwork(config)
    ours = public_entries(network)
    theirs = ours if entries is None else dict(entries)
    require_same_shapes(ours, theirs)
    return network, theirs


def build_pair_network(
    config: Dust3rConfig,
    *,
    dtype: torch.dtype = torch.float64,
    entries: Entries | None = None,
    sha256: str | None = None,
) -> DpmNetwork:
    """The network of a configuration with the goldens' weights, in `dtype` from the start.

    Raises:
        ValueError: Names, shapes or the checksum are not as in the goldens.
    """
    network, wanted = pair_skeleton(config, entries)
    digest = hashlib.sha256()
    for theirs in sorted(wanted):
        value = filled(theirs, wanted[theirs])
        digest.update(theirs.encode())
        digest.update(value.data)
        name = ours_from_dust3r(theirs)
        if name is not None:
            parent, _, leaf = name.rpartition(".")
            tensor = torch.from_numpy(value).to(dtype)
            network.get_submodule(parent).register_parameter(leaf, nn.Parameter(tensor, False))
    if sha256 is not None and digest.hexdigest() != sha256:
        raise ValueError(f"the weights hash to {digest.hexdigest()}, wanted {sha256}")
    return network.eval()


def our_pair_arrays(network: DpmNetwork, case: PairCase) -> dict[str, torch.Tensor]:
    """All that the network gives for a case, by the goldens' names, whole.

    Mixed batches go one example at a time, portraits upright, and are laid down again after.
    """
    views = case.views()
    # Batches of one shape go as they are.
    batch = len(views[0])
    groups = [slice(None)] if case.info.get("true_shape") is None else range(batch)
    parts = []
    for group in groups:
        images = []
        for view, stored in enumerate(views):
            chosen = stored[group] if isinstance(group, slice) else stored[group][None]
            lain = isinstance(group, int) and case.lain(view, group)
            images.append((chosen.mT if lain else chosen, lain))
        parts.append(pair_arrays(network, images))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def pair_arrays(network: DpmNetwork, views: list[tuple[torch.Tensor, bool]]) -> Arrays:
    """Maps and decoder tokens of a batch of pairs whose views may differ in size.

    A view comes with whether its maps are to be transposed.
    """
    ours: Arrays = {}

    def see(name: str, module: Any, inputs: Any, output: torch.Tensor) -> None:
        ours[name] = output.clone()

    last = network.config.decoder.depth
    handles = [
        block.register_forward_hook(partial(see, f"dec{k}_{layer}"))
        for k, blocks in ((1, network.dec_blocks), (2, network.dec_blocks2))
        for layer, block in enumerate(blocks, start=1)
    ]
    with torch.no_grad():
        encoded = [network.encode_frames(images) for images, _ in views]
        levels = network.pair_levels(
            encoded[0].tokens,
            encoded[1].tokens,
            first_hw=encoded[0].image_hw,
            second_hw=encoded[1].image_hw,
        )
        for k, (points, confidence) in enumerate(
            (("pts3d_1", "conf_1"), ("pts3d_2_in_1", "conf_2"))
        ):
            p, c = network.image_maps(levels[k], k, encoded[k].image_hw)
            assert torch.equal(p[:, 0], p[:, 1]) and torch.equal(c[:, 0], c[:, 1])
            ours[points] = p[:, 0].transpose(1, 2) if views[k][1] else p[:, 0]
            ours[confidence] = c[:, 0].mT if views[k][1] else c[:, 0]
            ours |= {f"dec{k + 1}_0": levels[k][0], f"dec{k + 1}_{last}": levels[k][-1]}
    for handle in handles:
        handle.remove()
    return ours


def at_steps(whole: torch.Tensor, shape: tuple[int, ...], steps: list[list[int]]) -> np.ndarray:
    """An array at the first steps along each axis after the batch's that leave the shape."""
    for axis, candidates in enumerate(steps, start=1):
        fitting = [s for s in candidates if -(-whole.shape[axis] // s) == shape[axis]]
        # What fits nowhere is compared, and found of another shape.
        step = (fitting or candidates)[0]
        whole = whole[(slice(None),) * axis + (slice(None, None, step),)]
    return whole.numpy()


def check_pair_case(case: PairCase, network: DpmNetwork) -> Report:
    """Run a case and compare every array."""
    with np.load(case.path) as file:
        golden = {name: file[name] for name in file.files}
    ours = our_pair_arrays(network, case)
    unknown = [name for name in golden if name not in ours]
    pixels, tokens = case.strides("pixels"), case.strides("tokens")
    precision = str(case.dtype).removeprefix("torch.")
    comparisons = []
    for name, theirs in golden.items():
        if name in ours:
            inner = [tokens, case.strides("channels")] if name[:3] == "dec" else [pixels, pixels]
            thin = at_steps(ours[name], theirs.shape, inner)
            comparisons.append(compare(name, thin, theirs, precision=precision, limit=case.limit))
    sides = (" x ".join(map(str, case.info["images"][view])) for view in ("view1", "view2"))
    return Report(
        case=label(case.path),
        comparisons=tuple(comparisons),
        note=f"views {' and '.join(sides)}",
        error=f"nothing of ours to compare {unknown or 'it'} with"
        if unknown or not golden
        else None,
    )


def check_pair_manifest(path: Path) -> Report:
    """Compare the names and shapes of the true network's state dict with ours."""
    entries = [(name, tuple(shape)) for name, shape, *_ in json.loads(path.read_text())["entries"]]
    network, wanted = pair_skeleton(dust3r(), entries)
    built = sum(value.numel() for value in network.state_dict().values())
    return Report(
        case=label(path),
        note=f"{len(wanted)} entries have the same names and shapes, {built:,} parameters built",
    )


def _grid_positions(rows_columns: torch.Tensor, dtype: torch.dtype) -> RotaryPositions:
    """Rotary positions for heads of 16 channels of a whole grid, whose last patch is the last."""
    rows, columns = (int(n) + 1 for n in rows_columns[0, -1])
    return RotaryPositions.for_grid(
        specials=0,
        grid_hw=(rows, columns),
        head_width=16,
        base=100.0,
        like=torch.zeros((), dtype=dtype),
        first_patch=0,
    )


def block_croco_encoder(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The encoder's block on tokens of ordinary and of tiny size."""
    block = Block(32, 2, mlp_ratio=4.0, scale_init=None, qk_norm=False, norm_eps=NORM_EPS)
    block = fill_part(block, info["fill_prefix"], dtype)
    where = _grid_positions(stored["in_pos"], dtype)
    return {
        key: block(stored[name], positions=where)
        for key, name in (("unit", "in_x"), ("small", "in_xs"))
    }


def block_croco_decoder(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The decoder's block on tokens of ordinary and of tiny size."""
    block = fill_part(CrossBlock(32, 2, mlp_ratio=4.0), info["fill_prefix"], dtype)
    where = {name: _grid_positions(stored[name], dtype) for name in ("in_xpos", "in_ypos")}
    return {
        key: block(
            stored[name],
            stored["in_y"],
            positions=where["in_xpos"],
            other_positions=where["in_ypos"],
        )
        for key, name in (("unit", "in_x"), ("small", "in_xs"))
    }


def dust3r_dpt_adapter(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """The DPT head on a grid with odd sides."""
    config = Dust3rConfig(
        name="adapter",
        encoder=PairTrunkConfig(width=32, depth=1, heads=2),
        decoder=PairTrunkConfig(width=24, depth=4, heads=2),
        head=PairHeadConfig(features=16, level_channels=(8, 8, 12, 16), last_width=8),
        heads_per_image=1,
    )
    head = fill_part(DptPixelHead(config), f"{info['fill_prefix']}dpt.", dtype)
    return {"y": head([stored[f"in_t{k}"] for k in range(4)], (3, 5))}


def dust3r_postprocess(stored: Arrays, info: dict[str, Any], dtype: torch.dtype) -> Arrays:
    """Points and confidence from raw values."""
    points, confidence = points_and_confidence(stored["in_x"])
    return {"pts_exp": points, "conf_exp_1_inf": confidence}
