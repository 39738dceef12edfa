"""Golden cases of Depth Anything 3: read, built and run; compared as golden_cases.py does others.

The network's state has our names; the public state dict is made of it by the key map, with the one
LayerNorm that has four names there and the outputs of the ray head that are not used.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dynapoint.geometry.rigid import invert_rigid
from dynapoint.models.da3.camera_parts import encoded_cameras, intrinsics_of, normalised_cameras
from dynapoint.models.da3.config import Da3Config, da3_base, da3_metric, da3_small
from dynapoint.models.da3.network import Da3Metric, Da3Network, Da3Parts
from dynapoint.models.da3.weights import da3_from_ours
from dynapoint.models.layers.config import DptHeadConfig
from dynapoint.models.layers.pose_encoding import camera_from_world
from golden_cases import Report, compare, find_beside, label
from golden_networks import Entries, digest_of, filled, image_batch, normal_of, require_same_shapes

Arrays = dict[str, torch.Tensor]
CLASS = "depth_anything_3.model.da3.DepthAnything3Net"
PUBLISHED = {
    "da3-small": da3_small(),
    "da3-base": da3_base(),
    "da3metric-large": da3_metric(),
    "da3mono-large": replace(da3_metric(), name="da3mono-large"),
}
"""Configurations by the names that the public code gives them."""

TOKENS = ("embed_tokens", "feat_tokens", "cam_tokens", "cls_at_selection", "cam_enc_tokens")
CAMERAS = ("pose_enc", "extrinsics", "intrinsics", "pose_encoding_in", "in_extrinsics_normalised")
GAINS = {"cam_dec.fc_qvec.weight": 0.3, "cam_dec.fc_fov.0.weight": 0.1}
BIASES = {
    "cam_dec.fc_qvec.bias": (0.0, 0.0, 0.0, 1.0),
    "cam_dec.fc_fov.0.bias": (0.8, 1.0),
    "sky_output_conv2.2.bias": (1.2,),
}
ONE_NORM = re.compile(r"output_conv2_aux\.\d\.2\.")
MEAN, SPREAD = (
    np.array(values, np.float32)[:, None, None]
    for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def da3_filled(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 value of the state dict entry of this published name."""
    name = ONE_NORM.sub("output_conv2_aux.0.2.", name)
    for end, gain in GAINS.items():
        if name.endswith(end):
            return (normal_of(name, shape) * (gain / np.sqrt(shape[1]))).astype(np.float32)
    for end, mean in BIASES.items():
        if name.endswith(end):
            return (0.02 * normal_of(name, shape) + np.array(mean)).astype(np.float32)
    if name.endswith("pose_branch.fc2.weight"):
        return (normal_of(name, shape) / np.sqrt(shape[1])).astype(np.float32)
    if name.endswith("pose_branch.fc2.bias"):
        return (0.02 * normal_of(name, shape)).astype(np.float32)
    return filled(name, shape)


def config_from_reference(name: str, said: "dict[str, Any] | str") -> Da3Config:
    """Our configuration from what the official class was built with: a published name or sizes.

    Raises:
        ValueError: They ask for what the network here does not do.
    """
    if isinstance(said, str):
        return PUBLISHED[said]
    vit, head = said["vit"], said["head"]
    width, start = vit["embed_dim"], said["alt_start"]
    joined = start >= 0
    wanted = {
        "mlp_ratio": (vit["mlp_ratio"], 4),
        "starts": ((said["qknorm_start"], said["rope_start"]), (start, start)),
        "cat_token": (said["cat_token"], joined),
        "head": (head["class"], "DualDPT" if joined else "DPT"),
        "outputs": (head["output_dim"], 2 if joined else 1),
        "dim_in": (head["dim_in"], 2 * width if joined else width),
        "cam_enc": (said.get("cam_enc"), {"dim_out": width} if joined else None),
        "cam_dec": (said.get("cam_dec"), {"dim_in": 2 * width} if joined else None),
    }
    odd = {key: found for key, (found, ours) in wanted.items() if found != ours}
    if odd:
        raise ValueError(f"{name}: no such network of Depth Anything 3 here, {odd}")
    return Da3Config(
        name=name,
        width=width,
        depth=vit["depth"],
        heads=vit["num_heads"],
        layers=tuple(said["out_layers"]),
        across_from=start if joined else None,
        head=DptHeadConfig(features=head["features"], level_channels=tuple(head["out_channels"])),
        trained_side=vit["img_size"],
        patch_size=vit["patch_size"],
    )


@dataclass(frozen=True, kw_only=True)
class Da3Case:
    """A golden file of a network of Depth Anything 3 and what its JSON says."""

    path: Path
    info: dict[str, Any]
    config: Da3Config
    entries: Entries | None = field(repr=False)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.path.stem.endswith("_f64") else torch.float32

    @property
    def full_size(self) -> bool:
        return self.config.width >= 768

    @property
    def image_hw(self) -> tuple[int, int]:
        height, width = self.info["images"]["shape"][-2:]
        return height, width

    def images(self) -> torch.Tensor:
        """Normalised images (batch, view, 3, height, width) in the case's precision."""
        asked = self.info["images"]
        seen = (image_batch(asked["shape"], asked["seed"]) - MEAN) / SPREAD
        if digest_of(seen) != asked["sha256_normalised"]:
            raise ValueError("the images hash to something else than the case says")
        return torch.from_numpy(seen).to(self.dtype)

    def cameras(self) -> Arrays:
        """Known cameras, if any; float64 files have them beside them in the float32 one."""
        if "cameras" not in self.info:
            return {}
        beside = self.path.with_name(f"{self.path.stem.removesuffix('_f64')}.npz")
        for path in (self.path, beside):
            with np.load(path) as file:
                found = {name: torch.from_numpy(file[name]) for name in file if name[:3] == "in_"}
            if found:
                return {name: value.to(self.dtype) for name, value in found.items()}
        raise ValueError(f"{beside.name} has no cameras")

    def limit(self, array: str) -> float:
        """The limit on the largest deviation of an array (SPEC.md §14)."""
        if array == "ref_view":
            return 0.0
        if self.dtype == torch.float64:
            return 1e-6 if array == "intrinsics" else 1e-5
        return 1e-5 if array in CAMERAS else 3e-5 if array in TOKENS else 3e-4

    def steps(self, what: str) -> list[int]:
        """Steps at which pixels, tokens or channels may be stored, the likeliest first."""
        rows, columns = self.info["pixel_stride"]
        steps = {"rows": rows, "columns": columns, "tokens": self.info["token_step"]}
        step: int = {**steps, "channels": self.info["channel_step"]}[what]
        return [step] if self.dtype == torch.float32 else [2 * step, 4 * step, 8 * step]


def read_da3_case(path: Path) -> Da3Case | None:
    """The case of a golden file; None where it is none of Depth Anything 3's."""
    described = path.with_name(f"{path.stem.removesuffix('_f64')}.json")
    info = json.loads(described.read_text())
    if "sha256_normalised" not in info.get("images", {}):
        return None
    source = find_beside(path, info["config"])
    if source is None:
        raise FileNotFoundError(f"no {info['config']} beside {path.name}")
    network = json.loads(source.read_text())
    if network["cls"].partition(";")[0] != CLASS:
        raise ValueError(f"{source.name} is of a {network['cls']}, not of a {CLASS}")
    entries = network.get("entries")
    manifest = find_beside(path, network["manifest"]) if "manifest" in network else None
    if entries is None and manifest is not None:
        entries = json.loads(manifest.read_text())["entries"]
    return Da3Case(
        path=path,
        info=info,
        config=config_from_reference(source.stem, network["config"]),
        entries=None if entries is None else [(name, tuple(shape)) for name, shape, *_ in entries],
    )


def public_entries(network: Da3Parts) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the public state dict: with what has four names, or no effect."""
    entries: dict[str, tuple[int, ...]] = {}
    for name, value in network.state_dict().items():
        theirs, shape = da3_from_ours(name), tuple(value.shape)
        entries[theirs] = shape
        if re.search(r"output_conv[12]_aux\.", theirs):
            level = r"(output_conv[12]_aux)\.\d\."
            entries |= {re.sub(level, rf"\1.{k}.", theirs): shape for k in range(4)}
    return entries


def da3_skeleton(
    config: Da3Config, entries: Entries | None
) -> tuple[Da3Parts, dict[str, tuple[int, ...]]]:
    """The network without numbers, and the public state dict, which must be `entries`.

    Raises:
        ValueError: It is not.
    """
    with torch.device("meta"):
        network = (Da3Metric if config.across_from is None else Da3Network)(config)
    ours = public_entries(network)
    theirs = ours if entries is None else dict(entries)
    require_same_shapes(ours, theirs)
    return network, theirs


def build_da3_network(
    config: Da3Config,
    *,
    dtype: torch.dtype = torch.float64,
    entries: Entries | None = None,
    sha256: str | None = None,
) -> Any:
    """The network of a configuration with the goldens' weights, in `dtype` from the start.

    Raises:
        ValueError: Names, shapes or the checksum are not as in the goldens.
    """
    network, wanted = da3_skeleton(config, entries)
    ours = {da3_from_ours(name): name for name in network.state_dict()}
    digest = hashlib.sha256()
    for theirs in sorted(wanted):
        if sha256 is None and theirs not in ours:
            continue
        value = da3_filled(theirs, wanted[theirs])
        digest.update(theirs.encode())
        digest.update(value.data)
        if theirs in ours:
            parent, _, leaf = ours[theirs].rpartition(".")
            tensor = torch.from_numpy(value).to(dtype)
            network.get_submodule(parent).register_parameter(leaf, nn.Parameter(tensor, False))
    if sha256 is not None and digest.hexdigest() != sha256:
        raise ValueError(f"the weights hash to {digest.hexdigest()}, wanted {sha256}")
    return network.eval()


def published_tensors(config: Da3Config) -> Arrays:
    """The entries of a published safetensors file, filled: what has four names is there once."""
    _, entries = da3_skeleton(config, None)
    again = re.compile(r".*output_conv2_aux\.[123]\.2\.")
    return {
        name: torch.from_numpy(da3_filled(name, shape))
        for name, shape in entries.items()
        if not again.match(name)
    }


class Watch:
    """Collects tokens inside the backbone while a network runs."""

    def __init__(self, network: Da3Parts, batch: int) -> None:
        self.batch = batch
        self.embedded = torch.empty(0)
        self.first: dict[int, torch.Tensor] = {}
        blocks = network.backbone.blocks
        self.handles = [blocks[0].register_forward_pre_hook(self._see_input)]
        self.handles += [
            block.register_forward_hook(partial(self._see_first, index))
            for index, block in enumerate(blocks)
        ]

    def _see_input(self, module: Any, inputs: Any) -> None:
        self.embedded = inputs[0].unflatten(0, (self.batch, -1)).clone()

    def _see_first(self, index: int, module: Any, inputs: Any, output: torch.Tensor) -> None:
        # Blocks across views have all of them in one sequence.
        if len(output) == self.embedded.shape[0] * self.embedded.shape[1]:
            self.first[index] = output[:, 0].unflatten(0, (self.batch, -1)).clone()

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


def our_da3_arrays(network: Any, case: Da3Case) -> Arrays:
    """All that the network gives for a case, by the goldens' names, whole."""
    images, cameras, hw = case.images(), case.cameras(), case.image_hw
    ours: Arrays = {}
    watch = Watch(network, len(images))
    with torch.no_grad():
        known = None
        if cameras:
            given = cameras["in_extrinsics_normalised"]
            if case.dtype == torch.float32:
                given = normalised_cameras(cameras["in_extrinsics"])
            lens = cameras["in_intrinsics"]
            ours["in_extrinsics_normalised"] = given
            ours["pose_encoding_in"] = encoded_cameras(given, lens, hw)
            known = ours["cam_enc_tokens"] = network.known_tokens(given, lens, hw, normalise=False)
        features = network.features(images, known, normalise=False)
        watch.close()
        ours["embed_tokens"] = watch.embedded
        ours["feat_tokens"] = torch.stack(features.patches)
        if case.config.across_from is None:
            raw = network.raw_maps(features, hw)
            ours["depth"], ours["sky"] = network.depth_and_sky(features, hw)
            ours["depth_before_sky"] = raw[:, :, 0].exp()
            ours["cam_tokens"] = torch.stack([watch.first[k] for k in case.config.layers])
            return ours
        depth, rays = network.depth_maps(features, hw), network.rays(features, hw)
        encoding = network.encodings(features)
    ours |= {"depth": depth.depth, "depth_conf": depth.confidence}
    ours |= {"ray": rays.rays, "ray_conf": rays.confidence, "pose_enc": encoding}
    ours["extrinsics"] = invert_rigid(camera_from_world(encoding))[..., :3, :]
    ours["intrinsics"] = intrinsics_of(encoding, hw).float()
    ours["cam_tokens"] = torch.stack(features.camera_tokens)
    if features.first is not None:
        ours["ref_view"] = features.first
        ours["cls_at_selection"] = watch.first[case.config.across_from - 2]
    return ours


AXES = {
    "depth": "..rc",
    "depth_conf": "..rc",
    "sky": "..rc",
    "depth_before_sky": "..rc",
    "ray": "..rc.",
    "ray_conf": "..rc",
    "embed_tokens": "..fk",
    "feat_tokens": "...tk",
    "cam_tokens": "...k",
    "cls_at_selection": "..k",
    "cam_enc_tokens": "..k",
}
"""What each axis of an array that is stored in steps is: row, column, token (f: the first one and
then in steps), channel (k)."""


def at_stored_places(case: Da3Case, name: str, whole: torch.Tensor, shape: Any) -> np.ndarray:
    """An array at the first steps along each axis that leave the shape."""
    kinds = {"r": "rows", "c": "columns", "t": "tokens", "f": "tokens", "k": "channels"}
    for axis, letter in enumerate(AXES.get(name, "")):
        if letter == "." or axis >= len(shape):
            continue
        side = whole.shape[axis]
        places = [range(0, side, step) for step in case.steps(kinds[letter])]
        if letter == "f":
            places = [[0, *range(1, side, step)] for step in case.steps("tokens")]  # type: ignore[misc]
        fitting = [each for each in places if len(each) == shape[axis]]
        # What fits nowhere is compared, and found of another shape.
        whole = whole.index_select(axis, torch.tensor(list((fitting or places)[0])))
    return whole.numpy()


def check_da3_case(case: Da3Case, network: Da3Parts) -> Report:
    """Run a case and compare every array."""
    with np.load(case.path) as file:
        golden = {name: file[name] for name in file.files}
    inputs = ["in_extrinsics", "in_intrinsics"]
    if case.dtype == torch.float64:
        inputs.append("in_extrinsics_normalised")
    wanted = {name: value for name, value in golden.items() if name not in inputs}
    ours = our_da3_arrays(network, case)
    unknown = [name for name in wanted if name not in ours]
    return Report(
        case=label(case.path),
        comparisons=tuple(
            compare(
                name,
                at_stored_places(case, name, ours[name], theirs.shape),
                theirs,
                precision=str(case.dtype).removeprefix("torch."),
                limit=case.limit(name),
            )
            for name, theirs in wanted.items()
            if name in ours
        ),
        note=f"images {' x '.join(str(n) for n in case.info['images']['shape'])}",
        error=f"nothing of ours to compare {unknown or 'it'} with"
        if unknown or not wanted
        else None,
    )


def check_da3_manifest(path: Path) -> Report:
    """Compare the names and shapes of a published network's state dict with ours."""
    entries = [(name, tuple(shape)) for name, shape, *_ in json.loads(path.read_text())["entries"]]
    network, wanted = da3_skeleton(PUBLISHED[path.stem], entries)
    built = sum(value.numel() for value in network.state_dict().values())
    return Report(
        case=label(path),
        note=f"{len(wanted)} entries have the same names and shapes, {built:,} parameters built",
    )
