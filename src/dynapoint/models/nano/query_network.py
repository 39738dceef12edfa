"""DePT3R in small: the backbone itself is told the time that points are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynapoint.models.layers.aggregator import Aggregated
from dynapoint.models.layers.query_embedding import QueryEmbedding
from dynapoint.models.nano.config import NetworkConfig
from dynapoint.models.nano.motion_hints import MotionHints
from dynapoint.models.nano.network import VideoEncoding, VideoPointMapNetwork
from dynapoint.models.protocol import PLAIN, EncodeRequest, ModelInfo
from dynapoint.types import PointMaps


@dataclass(frozen=True, kw_only=True)
class QueryEncoding(VideoEncoding):
    """A backbone pass for one query frame, and what passes for others start from.

    `query` is None where no frame was asked for, or examples asked for different ones.
    """

    patches: Float[Tensor, "batch frame patch channels"]
    query: int | None
    of_intrinsics: Float[Tensor, "batch frame channels"] | None


class QueryPointMapNetwork(VideoPointMapNetwork):
    """A small network of DePT3R's kind: one backbone pass for every time asked for.

    Own-time maps, cameras and matches are those of the pass for the query given to `encode`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        assert config.query is not None
        self.query_embedding = QueryEmbedding(config.query, config.aggregator.width)

    @property
    def info(self) -> ModelInfo:
        """What it is; it heeds queries, and intrinsics if it was built to."""
        return replace(
            super().info,
            takes_queries=True,
            takes_intrinsics=self.query_embedding.intrinsics is not None,
        )

    def encode(
        self,
        images: Float[Tensor, "batch frame rgb=3 height width"],
        request: EncodeRequest = PLAIN,
    ) -> QueryEncoding:
        """Encode frames, RGB in [0, 1], for the time that is asked for.

        Raises:
            ModelError: More is asked than the network takes.
            ShapeError: Sides do not fit the patches.
        """
        request.check(self.info, images.shape[1])
        stem, patches = self._patches(images)
        image_hw = (images.shape[-2], images.shape[-1])
        of_intrinsics = None
        if request.intrinsics is not None:
            of_intrinsics = self.query_embedding.of_intrinsics(
                request.intrinsics, request.known, image_hw
            )
        queries = request.queries
        if queries is None:
            queries = torch.zeros(len(images), dtype=torch.long)
        asked = set(queries.tolist())
        query = asked.pop() if len(asked) == 1 else -1
        aggregated = self._pass(patches, stem.grid_hw, queries, of_intrinsics)
        base = self._finish(stem, aggregated, image_hw, pixel_aspect=request.pixel_aspect)
        return QueryEncoding(
            **vars(base),
            patches=patches,
            query=query if query >= 0 else None,
            of_intrinsics=of_intrinsics,
        )

    def decode(
        self, encoded: VideoEncoding, *, time: int, frames: Sequence[int], chunk: int = 8
    ) -> PointMaps:
        """As for V-DPM, by one run of the backbone however many frames are asked for."""
        assert isinstance(encoded, QueryEncoding)
        if any(frame != time for frame in frames):
            encoded = replace(encoded, tokens=self._tokens_for(encoded, time), query=time)
        return super().decode(encoded, time=time, frames=frames, chunk=chunk)

    def _pass(
        self,
        patches: Float[Tensor, "batch frame patch channels"],
        grid_hw: tuple[int, int],
        queries: Int[Tensor, " batch"],
        of_intrinsics: Float[Tensor, "batch frame channels"] | None,
    ) -> Aggregated:
        """One run of the backbone for each example's query."""
        frames, count = patches.shape[1:3]
        added = self.query_embedding(
            queries, of_intrinsics, frames=frames, patches=count, layout=self.layout
        )
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
        queries = torch.full((len(encoded.patches),), query)
        aggregated = self._pass(
            encoded.patches, encoded.stem.grid_hw, queries, encoded.of_intrinsics
        )
        return aggregated.layers[-1]
