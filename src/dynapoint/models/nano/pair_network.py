"""DPM in small: two frames at a time, every frame encoded once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynapoint.errors import ShapeError
from dynapoint.models.layers.aggregator import Aggregated
from dynapoint.models.layers.tokens import TokenLayout
from dynapoint.models.nano.motion_hints import MotionHints
from dynapoint.models.nano.network import VideoEncoding, VideoPointMapNetwork
from dynapoint.models.nano.stem import StemFeatures
from dynapoint.models.nano.twin_backbone import FrameTokens, TwinBackbone
from dynapoint.models.protocol import PairMaps


@dataclass(frozen=True, kw_only=True)
class EncodedFrames:
    """Frames of one clip, each for itself."""

    stem: StemFeatures
    frames: FrameTokens
    image_hw: tuple[int, int]


class PairPointMapNetwork(VideoPointMapNetwork):
    """A small network of DPM's kind; clips go through `pairwise.PairwiseVideo`.

    The four maps of a pair come from two dense heads, one for own times and one for the other
    frame's, which both frames share: they tell the frames apart by the decoders' tokens.
    """

    def _add_backbone(self) -> None:
        early = self.config.matcher.after_pair - 1
        self.twin = TwinBackbone(self.config.aggregator, early=early)

    @property
    def layout(self) -> TokenLayout:
        """Where the special tokens of a frame sit."""
        return self.twin.layout

    def encode_frames(self, images: Float[Tensor, "frame rgb=3 height width"]) -> EncodedFrames:
        """Encode the frames of a clip, RGB in [0, 1], each for itself.

        Raises:
            ShapeError: Sides do not fit the patches.
        """
        stem, patches = self._patches(images[None])
        return EncodedFrames(
            stem=stem,
            frames=self.twin.encode(patches[0], stem.grid_hw),
            image_hw=(images.shape[-2], images.shape[-1]),
        )

    def decode_frame_pairs(
        self, encoded: EncodedFrames, *, firsts: Sequence[int], seconds: Sequence[int]
    ) -> PairMaps:
        """The four maps of the pairs (firsts[k], seconds[k]), in the cameras of the first frames.

        Confidence of a map at the other frame's time is that of its motion and its own-time map.
        """
        index = [frame for pair in zip(firsts, seconds, strict=True) for frame in pair]
        frames = encoded.frames
        pairs = FrameTokens(
            early=frames.early[index].unflatten(0, (-1, 2)),
            tokens=frames.tokens[index].unflatten(0, (-1, 2)),
            positions=frames.positions,
        )
        stem = encoded.stem.of_images(index)
        video = self._finish(stem, self.twin.decode(pairs), encoded.image_hw)
        times = [self.decode(video, time=time, frames=[0, 1]) for time in (0, 1)]
        return PairMaps(
            points=torch.stack([maps.points for maps in times], dim=1),
            confidence=torch.stack([maps.confidence for maps in times], dim=1),
        )

    def _aggregate(
        self, patches: Float[Tensor, "batch frame patch channels"], grid_hw: tuple[int, int]
    ) -> Aggregated:
        batch, frames = patches.shape[:2]
        if frames != 2:
            raise ShapeError(
                f"{self.config.name} answers for two frames at a time and got {frames}; take pairs "
                "of them (models.pairwise.PairwiseVideo does)"
            )
        apart = self.twin.encode(patches.flatten(0, 1), grid_hw)
        return self.twin.decode(
            FrameTokens(
                early=apart.early.unflatten(0, (batch, 2)),
                tokens=apart.tokens.unflatten(0, (batch, 2)),
                positions=apart.positions,
            )
        )

    def _moved_tokens(
        self, encoded: VideoEncoding, source: list[int], target: list[int], hints: MotionHints
    ) -> Float[Tensor, "batch pair token channels"]:
        # Each frame's tokens have seen the other one, and so its time.
        return encoded.tokens[:, source, :, self.config.aggregator.width :]
