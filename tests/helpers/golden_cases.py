"""Golden cases of whole networks: read, run and compared array by array.

A case is described by its JSON file alone, so that further cases need no code. Deviations are
d = max |ours - golden| / std(golden) of an array; the limits are those of the goldens' README.
"""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynapoint.models.layers.pose_encoding import camera_from_world
from dynapoint.models.vggt.config import PublishedConfig
from dynapoint.models.vggt.published import PublishedEncoding, PublishedNetwork
from folders import DATA, SHARED
from golden_networks import (
    Entries,
    config_from_reference,
    digest_of,
    full_size_config,
    image_batch,
)

DEFAULT_FOLDER = Path(os.environ.get("DYNAPOINT_GOLDENS", SHARED / "goldens"))
STORED_FOLDER = DATA / "goldens"
"""Some of the cases, thinned, for the quick tests."""
CAMERA_ARRAYS = ("pose_enc", "extrinsics", "intrinsics")
NOT_BUILT = re.compile(r"track|vis$|conf$|query_points$")
TOKEN_INDEX = "token_index"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One array: its largest and its rms deviation in units of the golden's spread, and limits."""

    array: str
    precision: str
    deviation: float
    limit: float
    rms: float
    rms_limit: float

    @property
    def passed(self) -> bool:
        return self.deviation <= self.limit and self.rms <= self.rms_limit


@dataclass(frozen=True, kw_only=True)
class Report:
    """A case: its comparisons, or why it was not compared (`skipped`) or could not be (`error`).

    `not_in_scope` are arrays that were left out, for the reason `why`.
    """

    case: str
    comparisons: tuple[Comparison, ...] = ()
    not_in_scope: tuple[str, ...] = ()
    why: str = ""
    note: str | None = None
    skipped: str | None = None
    error: str | None = None

    @property
    def passed(self) -> bool:
        return self.error is None and all(c.passed for c in self.comparisons)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A golden file of a network and what its JSON says."""

    path: Path
    info: dict[str, Any]
    config: PublishedConfig
    entries: Entries | None = field(repr=False)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.path.stem.endswith("_f64") else torch.float32

    @property
    def full_size(self) -> bool:
        return self.config.aggregator.width >= 1024

    @property
    def image_hw(self) -> tuple[int, int]:
        height, width = self.info["images"]["shape"][-2:]
        return height, width

    def images(self) -> torch.Tensor:
        """The case's images in its precision (batch, frame, 3, height, width)."""
        asked = self.info["images"]
        array = image_batch(asked["shape"], asked["seed"])
        if digest_of(array) != asked["sha256"]:
            raise ValueError("the images hash to something else than the case says")
        return torch.from_numpy(array).to(self.dtype)

    def limits(self, array: str) -> dict[str, float]:
        """Limits on the largest and on the rms deviation of an array."""
        camera = array in CAMERA_ARRAYS
        if self.dtype == torch.float64:
            # The reference keeps intrinsics in float32 even then.
            return {"limit": 1e-6 if array == "intrinsics" else 3e-7 if camera else 1e-5}
        if camera:
            return {"limit": 1e-5}
        return {"limit": 5e-4, "rms_limit": 3e-5} if self.full_size else {"limit": 1e-4}


def label(path: Path) -> str:
    """A golden file's name with its folder's, which tells networks apart."""
    return f"{path.parent.name}/{path.stem}"


def find_beside(path: Path, name: str) -> Path | None:
    """A file by its relative name, in the folders above `path` or anywhere in the collection."""
    above = (folder / name for folder in path.parents[:3])
    elsewhere = sorted(DEFAULT_FOLDER.rglob(name)) if DEFAULT_FOLDER.is_dir() else []
    return next((file for file in [*above, *elsewhere] if file.is_file()), None)


def read_case(path: Path) -> Case:
    """The case of a golden file of V-DPM or VGGT; raises ValueError where it is of another."""
    described = path.with_name(f"{path.stem.removesuffix('_f64')}.json")
    info = json.loads(described.read_text())
    if "model" in info:
        config = full_size_config(info["model"])
        # Without the manifest the checksum still covers all names.
        named = re.search(r"manifest (\S+)", info["model"])
        manifest = find_beside(path, named[1]) if named else None
        entries = json.loads(manifest.read_text())["entries"] if manifest else None
    elif "shape" in info.get("images", {}):
        source = find_beside(path, info["config"])
        if source is None:
            raise FileNotFoundError(f"no {info['config']} beside {path.name}")
        network = json.loads(source.read_text())
        config = config_from_reference(source.stem, network["config"])
        entries = network.get("entries")
    else:
        raise ValueError(f"{described.name} describes no network that is known here")
    if entries is not None:
        entries = [(name, tuple(shape)) for name, shape, *_ in entries]
    return Case(path=path, info=info, config=config, entries=entries)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Which pixels, tokens and channels of an array are stored."""

    pixel: tuple[int, int]
    channel: int
    patch: int
    token_index: torch.Tensor | None

    def maps(self, x: torch.Tensor, after: int = 0) -> np.ndarray:
        """The stored pixels of maps with `after` axes behind rows and columns."""
        rows, columns = (slice(None, None, step) for step in self.pixel)
        index: Any = (..., rows, columns, *[slice(None)] * after)
        return x[index].numpy()


def steps_of(case: Case, golden: dict[str, np.ndarray], index: np.ndarray | None) -> Steps:
    """Strides as the case's JSON has them, wider in float64: there the shapes decide."""
    info = case.info
    rows, columns = info["pixel_stride"]
    channel = info.get("channel_step", 1)
    if case.dtype == torch.float64:
        channel *= 2
        stored = golden["P" if "P" in golden else "world_points"].shape[-3:-1]
        candidates = [(2 * rows, 2 * columns), (3 * rows, 3 * columns), (21, 21), (rows, columns)]
        fitting = [step for step in candidates if stored == stored_sides(case.image_hw, step)]
        if not fitting:
            raise ValueError(f"no known stride leaves {stored} pixels of {case.image_hw}")
        rows, columns = fitting[0]
    return Steps(
        pixel=(rows, columns),
        channel=channel,
        patch=info.get("patch_token_step", 1),
        token_index=None if index is None else torch.from_numpy(index),
    )


def stored_sides(image_hw: tuple[int, int], step: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns that are left of an image at every `step`-th pixel."""
    return -(-image_hw[0] // step[0]), -(-image_hw[1] // step[1])


class Watch:
    """Collects what inner modules give while a network runs, at the stored tokens only."""

    def __init__(self, network: PublishedNetwork, steps: Steps, frames: int) -> None:
        self.patches: np.ndarray | None = None
        self.frames = frames
        self.halves: dict[tuple[int, str], torch.Tensor] = {}
        self.decoded: list[torch.Tensor] = []
        self.steps = steps
        self.handles = [network.patch_embed.register_forward_hook(self._see_patches)]
        if steps.token_index is None:
            return
        aggregator = network.aggregator
        for kind, blocks in (
            ("frame", aggregator.frame_blocks),
            ("global", aggregator.global_blocks),
        ):
            for layer, block in enumerate(blocks):
                self.handles.append(block.register_forward_hook(self._see_block(layer, kind)))
        if network.decoder is not None:
            self.handles.append(network.decoder.register_forward_hook(self._see_decoder))

    def _see_patches(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        self.patches = output[:, :: self.steps.patch, :: self.steps.channel].numpy().copy()

    def _see_block(self, layer: int, kind: str) -> Any:
        def see(module: Any, inputs: Any, output: torch.Tensor) -> None:
            each_frame = output.reshape(self.frames, -1, output.shape[-1])
            self.halves[layer, kind] = each_frame[:, self.steps.token_index].clone()

        return see

    def _see_decoder(self, module: Any, inputs: Any, output: torch.Tensor) -> None:
        self.decoded.append(output[..., self.steps.token_index, :: self.steps.channel].clone())

    def layers(self, batch: int) -> list[np.ndarray]:
        """What every aggregator layer gives: its frame block's tokens joined with its global's."""
        joined = [
            torch.cat([self.halves[layer, "frame"], self.halves[layer, "global"]], dim=-1)
            for layer in range(len(self.halves) // 2)
        ]
        return [x[..., :: self.steps.channel].unflatten(0, (batch, -1)).numpy() for x in joined]

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


def our_arrays(network: PublishedNetwork, case: Case, steps: Steps) -> dict[str, np.ndarray]:
    """All that the network gives for a case, at the stored places, by the goldens' names."""
    images = case.images()
    batch, frames = images.shape[:2]
    watch = Watch(network, steps, batch * frames)
    with torch.no_grad():
        encoded = network.encode(images)
        ours = arrays_of_encoding(encoded, steps, decoder=network.decoder is not None)
        assert watch.patches is not None
        ours["patch_tokens"] = watch.patches
        if steps.token_index is not None:
            layers = watch.layers(batch)
            ours |= {f"agg{k}": layer for k, layer in enumerate(layers)}
            ours["agg_tokens"] = np.stack(layers)
        if network.decoder is not None:
            ours |= decoded_arrays(network, encoded, watch, steps)
    watch.close()
    return ours


def arrays_of_encoding(
    encoded: PublishedEncoding, steps: Steps, *, decoder: bool
) -> dict[str, np.ndarray]:
    """Own-time maps, depth and cameras, as both kinds of networks name them."""
    maps = encoded.own_time
    points, confidence = steps.maps(maps.points, 1), steps.maps(maps.confidence)
    ours = {
        "pose_enc": encoded.encodings.numpy(),
        "extrinsics": camera_from_world(encoded.encodings[-1])[..., :3, :].numpy(),
        "intrinsics": encoded.cameras.intrinsics.float().numpy(),
        "P" if decoder else "world_points": points,
        "P_conf" if decoder else "world_points_conf": confidence,
    }
    if encoded.depth is not None:
        ours["depth"] = steps.maps(encoded.depth.depth)[..., None]
        ours["depth_conf"] = steps.maps(encoded.depth.confidence)
    return ours


def decoded_arrays(
    network: PublishedNetwork, encoded: PublishedEncoding, watch: Watch, steps: Steps
) -> dict[str, np.ndarray]:
    """Q and the decoder's tokens, one target time after the other."""
    batch, frames = encoded.levels[0].shape[:2]
    ours: dict[str, np.ndarray] = {}
    points, confidence, tokens = [], [], []
    for moment in range(frames):
        watch.decoded.clear()
        maps = network.decode_times(encoded, times=[moment], frames=range(frames))
        points.append(steps.maps(maps.points[:, 0], 1))
        confidence.append(steps.maps(maps.confidence[:, 0]))
        if steps.token_index is not None:
            levels = torch.cat(watch.decoded).unflatten(0, (-1, batch)).numpy()
            ours |= {f"dec_j{moment}_{k}": level for k, level in enumerate(levels)}
            tokens.append(levels)
    ours |= {"Q": np.stack(points, 1), "Q_conf": np.stack(confidence, 1)}
    if tokens:
        ours["dec_tokens"] = np.stack(tokens)
    return ours


def compare(
    array: str,
    ours: np.ndarray,
    golden: np.ndarray,
    *,
    precision: str,
    limit: float,
    rms_limit: float = float("inf"),
) -> Comparison:
    """The deviation of one array; of another shape, or not finite, it is infinite."""
    deviation = rms = float("inf")
    if ours.shape == golden.shape:
        theirs = golden.astype(np.float64)
        difference = ours.astype(np.float64) - theirs
        spread = float(theirs.std()) or 1.0
        deviation = float(np.abs(difference).max()) / spread
        rms = float(np.sqrt(np.square(difference).mean())) / spread
    return Comparison(
        array=array,
        precision=precision,
        deviation=deviation if np.isfinite(deviation) else float("inf"),
        limit=limit,
        rms=rms,
        rms_limit=rms_limit,
    )


def check_case(case: Case, network: PublishedNetwork) -> Report:
    """Run a case and compare every array that these networks give."""
    with np.load(case.path) as file:
        golden = {name: file[name] for name in file.files if name != TOKEN_INDEX}
        index = file[TOKEN_INDEX] if TOKEN_INDEX in file.files else None
    left = [] if case.config.decoder is not None else list(filter(NOT_BUILT.match, golden))
    ours = our_arrays(network, case, steps_of(case, golden, index))
    wanted = [name for name in golden if name not in left]
    unknown = [name for name in wanted if name not in ours]
    precision = str(case.dtype).removeprefix("torch.")
    return Report(
        case=label(case.path),
        comparisons=tuple(
            compare(name, ours[name], golden[name], precision=precision, **case.limits(name))
            for name in wanted
            if name in ours
        ),
        not_in_scope=tuple(left),
        why="the track head is not built" if left else "",
        note=f"images {' x '.join(str(n) for n in case.info['images']['shape'])}",
        error=f"nothing of ours to compare {unknown or 'it'} with"
        if unknown or not wanted
        else None,
    )
