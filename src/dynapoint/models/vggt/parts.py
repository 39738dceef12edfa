"""What V-DPM and DePT3R take over from VGGT (arXiv 2503.11651): all of it but its 2D tracks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.models.layers.aggregator import Aggregator
from dynapoint.models.layers.blocks import Block, ConditionalBlock, compile_block
from dynapoint.models.layers.camera_head import CameraHead
from dynapoint.models.layers.compute import ComputeOptions, autocast, in_parts, joined
from dynapoint.models.layers.dino import DinoEncoder, PatchProjection, normalised
from dynapoint.models.layers.dpt_head import DptHead, inverse_log
from dynapoint.models.layers.pose_encoding import camera_from_world
from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.network import Network
from dynapoint.models.protocol import ModelInfo
from dynapoint.models.vggt.config import PublishedConfig
from dynapoint.models.vggt.level_decoder import LevelDecoder
from dynapoint.types import PointMaps

Own = TypeVar("Own", bound="VggtParts")

POINT_OUTPUTS, DEPTH_OUTPUTS = 4, 2


@dataclass(frozen=True, kw_only=True)
class DepthMaps:
    """Depth along the axis of each frame's own camera, in scene units; `confidence` ≥ 1."""

    depth: Float[Tensor, "batch frame height width"]
    confidence: Float[Tensor, "batch frame height width"]


class VggtParts(Network):
    """Patch embedding, aggregator, camera and dense heads, and how they are computed.

    State names are the published ones, but for the patch embedding (models/vggt/key_maps.py).
    """

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        self.config = config
        self.options = ComputeOptions()
        width, patch = config.aggregator.width, config.patch_embed
        self.patch_embed: nn.Module = (
            DinoEncoder(patch, width)
            if patch.kind == "dinov2"
            else PatchProjection(patch.patch_size, width)
        )
        self.aggregator = Aggregator(config.aggregator)
        self.camera_head = CameraHead(config.camera, 2 * width)
        self.point_head = DptHead(config.head, token_width=2 * width, outputs=POINT_OUTPUTS)
        self.depth_head = (
            DptHead(config.head, token_width=2 * width, outputs=DEPTH_OUTPUTS)
            if config.depth_head
            else None
        )

    def use(self: Own, options: ComputeOptions) -> Own:
        """Compute with these options from now on; returns the network itself."""
        self.options = options
        for part in self.modules():
            if isinstance(part, DinoEncoder | Aggregator | LevelDecoder):
                part.checkpoint_blocks = options.checkpoint_blocks
            if isinstance(part, Block | ConditionalBlock):
                compile_block(part, options.compile_blocks)
        return self

    @property
    def info(self) -> ModelInfo:
        """What it is and computes in."""
        return ModelInfo(
            name=self.config.name,
            precision=self.options.precision,
            source=self.source,
        )

    @property
    def patch_size(self) -> int:
        """Sides of the images must be multiples of this."""
        return self.config.patch_embed.patch_size

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        return self.config.image_side

    def _patches(
        self, images: Float[Tensor, "batch frame rgb=3 height width"]
    ) -> Float[Tensor, "batch frame patch channel"]:
        patches = self.patch_embed(normalised(images).flatten(0, 1))
        return patches.unflatten(0, images.shape[:2])

    def _levels(
        self,
        patches: Float[Tensor, "batch frame patch width"],
        grid_hw: tuple[int, int],
        reference: int = 0,
        added: Float[Tensor, "batch frame token width"] | None = None,
    ) -> tuple[Float[Tensor, "batch frame token double_width"], ...]:
        return self.aggregator(
            patches, grid_hw, keep=self.config.levels, reference=reference, added=added
        ).layers

    def _encodings(
        self, camera_tokens: Float[Tensor, "batch frame double_width"]
    ) -> Float[Tensor, "iteration batch frame 9"]:
        raw, results = None, []
        for _ in range(self.config.camera.iterations):
            raw = self.camera_head.step(at_least_float32(camera_tokens), raw)
            results.append(self.camera_head.activate(raw))
        return torch.stack(results)

    def _depth_maps(
        self,
        levels: Sequence[Float[Tensor, "batch frame token double_width"]],
        image_hw: tuple[int, int],
    ) -> DepthMaps | None:
        if self.depth_head is None:
            return None
        raw = self._head(self.depth_head, levels, range(levels[0].shape[1]), image_hw)
        return depth_maps(raw)

    def _head(
        self,
        head: DptHead,
        levels: Sequence[Float[Tensor, "batch frame token double_width"]],
        frames: Sequence[int],
        image_hw: tuple[int, int],
        *,
        conditions: Float[Tensor, "batch frame double_width"] | None = None,
    ) -> Float[Tensor, "batch wanted outputs height width"]:
        """A head's raw values for some frames, as many at once as the options say."""
        layout, batch = self.aggregator.layout, levels[0].shape[0]
        wanted = list(frames)

        def compute(part: range) -> Tensor:
            chosen = [wanted[k] for k in part]
            tokens = [layout.patches(level[:, chosen]).flatten(0, 1) for level in levels]
            condition = None if conditions is None else conditions[:, chosen].flatten(0, 1)
            with autocast(tokens[0].device, self.options.head_precision):
                values = head(tokens, self._grid(image_hw), image_hw, condition)
            return at_least_float32(values).unflatten(0, (batch, len(chosen)))

        at_once = max(1, self.options.head_frames_at_once // batch)
        return joined([maps for _, maps in in_parts(len(wanted), at_once, compute)], dim=1)

    def _grid(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        return image_hw[0] // self.patch_size, image_hw[1] // self.patch_size


def poses(
    encoding: Float[Tensor, "batch frame 9"], reference: int
) -> Float[Tensor, "batch frame 4 4"]:
    """From the reference frame's camera to each frame's; its own is the identity."""
    pose = camera_from_world(encoding)
    identity = torch.eye(4, dtype=pose.dtype, device=pose.device)
    others = torch.arange(pose.shape[1], device=pose.device) != reference
    return torch.where(others[:, None, None], pose, identity)


def point_maps(raw: Float[Tensor, "batch frame 4 height width"]) -> PointMaps:
    """Points and confidence from a head's raw values (VGGT's inv_log and expp1)."""
    return PointMaps(
        points=inverse_log(raw[:, :, :3]).permute(0, 1, 3, 4, 2),
        confidence=1 + raw[:, :, 3].exp(),
    )


def depth_maps(raw: Float[Tensor, "batch frame 2 height width"]) -> DepthMaps:
    """Depth and confidence from a head's raw values (VGGT's exp and expp1)."""
    return DepthMaps(depth=raw[:, :, 0].exp(), confidence=1 + raw[:, :, 1].exp())
