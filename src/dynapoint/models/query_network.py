"""DePT3R in small: the backbone itself is told the time that points are asked for."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.errors import ShapeError
from dynapoint.models.aggregator import Aggregated
from dynapoint.models.config import NetworkConfig
from dynapoint.models.motion_hints import MotionHints
from dynapoint.models.network import VideoEncoding, VideoPointMapNetwork


@dataclass(frozen=True, kw_only=True)
class QueryEncoding(VideoEncoding):
    """A backbone pass for one query frame, and what passes for others start from.

    `known` are intrinsics as the network takes them: fx / width, fy / height, cy / height.
    """

    patches: Float[Tensor, "batch frame patch channels"]
    query: int | None
    known: Float[Tensor, "batch frame 3"] | None


class QueryPointMapNetwork(VideoPointMapNetwork):
    """A small network of DePT3R's kind: one backbone pass for every time asked for.

    Own-time maps, cameras and matches are those of the pass for the query given to `encode`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        assert config.query is not None
        width = config.aggregator.width
        self.query_embedding = nn.Parameter(torch.randn(width) * 0.02)
        self.intrinsics_embedding = nn.Linear(3, width) if config.query.intrinsics else None
        if self.intrinsics_embedding is not None:
            # Unknown intrinsics add nothing, and at the start known ones do not either.
            nn.init.zeros_(self.intrinsics_embedding.weight)
            nn.init.zeros_(self.intrinsics_embedding.bias)

    def encode(
        self,
        images: Float[Tensor, "batch frame rgb=3 height width"],
        *,
        query: int | None = 0,
        intrinsics: Float[Tensor, "batch frame 3 3"] | None = None,
    ) -> QueryEncoding:
        """Encode frames, RGB in [0, 1], for the time of frame `query`.

        Args:
            images: Frames of clips.
            query: The frame whose time is asked for first; None asks for none, as in the first
                phase of training.
            intrinsics: Known intrinsics in pixels of the images, where the network takes them.

        Raises:
            ShapeError: Sides do not fit the patches, or the network takes no intrinsics.
        """
        if intrinsics is not None and self.intrinsics_embedding is None:
            raise ShapeError(
                f"{self.config.name} has no embedding of intrinsics; leave them out or use a "
                "network that has one"
            )
        stem, patches = self._patches(images)
        height, width = images.shape[-2:]
        known = None
        if intrinsics is not None:
            scale = torch.tensor([width, height, height]).to(intrinsics)
            known = torch.stack(
                [intrinsics[..., 0, 0], intrinsics[..., 1, 1], intrinsics[..., 1, 2]], dim=-1
            )
            known = known / scale
        aggregated = self._pass(patches, stem.grid_hw, query, known)
        base = self._finish(stem, aggregated, (height, width))
        return QueryEncoding(**vars(base), patches=patches, query=query, known=known)

    def _pass(
        self,
        patches: Float[Tensor, "batch frame patch channels"],
        grid_hw: tuple[int, int],
        query: int | None,
        known: Float[Tensor, "batch frame 3"] | None,
    ) -> Aggregated:
        """One run of the backbone for a query."""
        batch, frames, _, width = patches.shape
        tokens = self.layout.patch_start + patches.shape[2]
        added = patches.new_zeros(batch, frames, tokens, width)
        assert self.config.query is not None
        if query is not None and self.config.query.into == "frame":
            added[:, query] = self.query_embedding
        elif query is not None:
            added[:, query, self.layout.camera] = self.query_embedding
        if known is not None and self.intrinsics_embedding is not None:
            camera = self.layout.camera
            added[:, :, camera] = added[:, :, camera] + self.intrinsics_embedding(known)
        keep = (self.config.matcher.after_pair - 1, self.config.aggregator.depth - 1)
        aggregated: Aggregated = self.aggregator(patches, grid_hw, keep=keep, added=added)
        return aggregated

    def _moved_tokens(
        self, encoded: VideoEncoding, source: list[int], target: list[int], hints: MotionHints
    ) -> Float[Tensor, "batch pair token channels"]:
        assert isinstance(encoded, QueryEncoding)
        passes = {
            time: self._tokens_for(encoded, time)[..., self.config.aggregator.width :]
            for time in dict.fromkeys(target)
        }
        moved = [passes[time][:, frame] for frame, time in zip(source, target, strict=True)]
        return torch.stack(moved, dim=1)

    def _tokens_for(
        self, encoded: QueryEncoding, query: int
    ) -> Float[Tensor, "batch frame token double_width"]:
        if query == encoded.query:
            return encoded.tokens
        aggregated = self._pass(encoded.patches, encoded.stem.grid_hw, query, encoded.known)
        return aggregated.layers[-1]
