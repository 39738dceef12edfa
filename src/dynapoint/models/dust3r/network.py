"""DPM (arXiv 2503.16318) on the network of DUSt3R (arXiv 2312.14132), whose form it keeps.

    image a ─ encoder ─ decoder ──────┬─ downstream_head1 ─── P_a(t_a) ┐
                          ↕ each layer└─ downstream_head1_t2  P_a(t_b) │ in the camera of a
    image b ─ encoder ─ decoder 2 ────┬─ downstream_head2_t1  P_b(t_a) │
                                      └─ downstream_head2 ─── P_b(t_b) ┘

DUSt3R has one head for each image: `downstream_head1` gives P_a and `downstream_head2` P_b. DPM's
further heads start as copies of them. A frame is encoded once, however many pairs it is part of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynapoint.errors import ShapeError
from dynapoint.models.dust3r.blocks import NORM_EPS, CrossBlock
from dynapoint.models.dust3r.config import Dust3rConfig, PairTrunkConfig
from dynapoint.models.dust3r.heads import pixel_head
from dynapoint.models.layers.attention import RotaryPositions
from dynapoint.models.layers.blocks import Block, compile_block, run_block
from dynapoint.models.layers.compute import ComputeOptions, autocast, in_parts, joined
from dynapoint.models.layers.dino import PatchProjection
from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.layers.tokens import check_sides
from dynapoint.models.network import Network
from dynapoint.models.protocol import ModelInfo, PairMaps

HEADS = (("downstream_head1", "downstream_head2_t1"), ("downstream_head1_t2", "downstream_head2"))
"""Names of the four heads, `HEADS[time][image]`; on the diagonal are those that DUSt3R has."""


@dataclass(frozen=True, kw_only=True)
class EncodedFrames:
    """Frames as they are encoded, each by itself: their tokens, row-major over the patches."""

    tokens: Float[Tensor, "frame patch channel"]
    image_hw: tuple[int, int]


Levels = tuple[Float[Tensor, "pair _patch _channel"], ...]


class DpmNetwork(Network):
    """DPM, or DUSt3R where the configuration has one head for each image.

    DUSt3R's maps know no time: it answers with each image's one map at both times. State names are
    DUSt3R's (models/vggt/key_maps.py); its two unused parts are not built. Of `ComputeOptions` the
    number of tokens at once bounds both frames in the encoder and pairs in the decoders.
    """

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__()
        self.config = config
        self.options = ComputeOptions()
        encoder, decoder = config.encoder, config.decoder
        self.patch_embed = PatchProjection(config.patch_size, encoder.width)
        self.enc_blocks = nn.ModuleList(
            Block(
                encoder.width,
                encoder.heads,
                mlp_ratio=encoder.mlp_ratio,
                scale_init=None,
                qk_norm=False,
                norm_eps=NORM_EPS,
            )
            for _ in range(encoder.depth)
        )
        self.enc_norm = nn.LayerNorm(encoder.width, eps=NORM_EPS)
        self.decoder_embed = nn.Linear(encoder.width, decoder.width)
        self.dec_blocks, self.dec_blocks2 = (
            nn.ModuleList(
                CrossBlock(decoder.width, decoder.heads, mlp_ratio=decoder.mlp_ratio)
                for _ in range(decoder.depth)
            )
            for _ in range(2)
        )
        self.dec_norm = nn.LayerNorm(decoder.width, eps=NORM_EPS)
        for image in range(2):
            own = pixel_head(config)
            self.add_module(HEADS[image][image], own)
            if config.heads_per_image == 2:
                copy = pixel_head(config)
                copy.load_state_dict(own.state_dict())
                self.add_module(HEADS[1 - image][image], copy)

    def use(self, options: ComputeOptions) -> "DpmNetwork":
        """Compute with these options from now on; returns the network itself."""
        self.options = options
        for part in self.modules():
            if isinstance(part, Block | CrossBlock):
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
        return self.config.patch_size

    @property
    def image_side(self) -> int:
        """The longer image side that the network works best at, in pixels."""
        return self.config.image_side

    def forward(self, images: Float[Tensor, "pair frame=2 rgb=3 height width"]) -> PairMaps:
        """The four maps of each of several pairs of images, RGB in [0, 1]."""
        encoded = self.encode_frames(images.flatten(0, 1))
        frames = range(len(encoded.tokens))
        return self.decode_frame_pairs(encoded, firsts=frames[::2], seconds=frames[1::2])

    def encode_frames(self, images: Float[Tensor, "frame rgb=3 height width"]) -> EncodedFrames:
        """Encode frames, RGB in [0, 1], each by itself.

        Raises:
            ShapeError: Sides do not fit the patches.
        """
        height, width = images.shape[-2:]
        check_sides((height, width), self.patch_size)
        grid_hw = self._grid((height, width))
        at_once = max(1, self.options.decoder_tokens_at_once // (grid_hw[0] * grid_hw[1]))
        parts = in_parts(
            len(images), at_once, lambda part: self._encode(images[part.start : part.stop], grid_hw)
        )
        tokens = joined([tokens for _, tokens in parts], dim=0)
        return EncodedFrames(tokens=tokens, image_hw=(height, width))

    def _encode(
        self, images: Float[Tensor, "frame rgb=3 height width"], grid_hw: tuple[int, int]
    ) -> Float[Tensor, "frame patch channel"]:
        with autocast(images.device, self.options.precision):
            # The stream is float32 under autocast too.
            x = at_least_float32(self.patch_embed(2 * images - 1))
            positions = self._positions(grid_hw, x, self.config.encoder)
            for block in self.enc_blocks:
                x = run_block(
                    block, x, positions=positions, checkpoint=self.options.checkpoint_blocks
                )
            return at_least_float32(self.enc_norm(x))

    def decode_frame_pairs(
        self, encoded: EncodedFrames, *, firsts: Sequence[int], seconds: Sequence[int]
    ) -> PairMaps:
        """The maps of the pairs (firsts[k], seconds[k]), in the camera of each first frame.

        A frame may be paired with itself. With firsts and seconds exchanged, the same four maps are
        in the camera of the other frame.

        Raises:
            ShapeError: There are no pairs, or no such frames.
        """
        count = len(encoded.tokens)
        wanted = [*firsts, *seconds]
        if len(firsts) != len(seconds) or not wanted or not 0 <= min(wanted) <= max(wanted) < count:
            raise ShapeError(
                f"pairs of {list(firsts)} and {list(seconds)}: give as many first as second "
                f"frames, at least one, from 0 to {count - 1}"
            )
        device = encoded.tokens.device
        first, second = (torch.tensor(list(k), device=device) for k in (firsts, seconds))

        def compute(part: range) -> PairMaps:
            chosen = slice(part.start, part.stop)
            return self._decode(
                encoded.tokens[first[chosen]], encoded.tokens[second[chosen]], encoded.image_hw
            )

        tokens = 2 * encoded.tokens.shape[1]
        at_once = max(1, self.options.decoder_tokens_at_once // tokens)
        maps = [each for _, each in in_parts(len(first), at_once, compute)]
        return PairMaps(
            points=joined([each.points for each in maps], dim=0),
            confidence=joined([each.confidence for each in maps], dim=0),
        )

    def _decode(
        self,
        first: Float[Tensor, "pair patch channel"],
        second: Float[Tensor, "pair patch channel"],
        image_hw: tuple[int, int],
    ) -> PairMaps:
        levels = self.pair_levels(first, second, first_hw=image_hw, second_hw=image_hw)
        maps = [self.image_maps(each, k, image_hw) for k, each in enumerate(levels)]
        return PairMaps(
            points=torch.stack([points for points, _ in maps], dim=2),
            confidence=torch.stack([confidence for _, confidence in maps], dim=2),
        )

    def pair_levels(
        self,
        first: Float[Tensor, "pair first_patch channel"],
        second: Float[Tensor, "pair second_patch channel"],
        *,
        first_hw: tuple[int, int],
        second_hw: tuple[int, int],
    ) -> tuple[Levels, Levels]:
        """What the heads of either image read, from encoded images that may differ in size."""
        with autocast(first.device, self.options.precision):
            x, y = (at_least_float32(self.decoder_embed(tokens)) for tokens in (first, second))
            x_at, y_at = (
                self._positions(self._grid(hw), x, self.config.decoder)
                for hw in (first_hw, second_hw)
            )
            kept = {0: (first, second)}
            checkpoint = self.options.checkpoint_blocks
            for layer, (block, block2) in enumerate(
                zip(self.dec_blocks, self.dec_blocks2, strict=True), start=1
            ):
                # Neither image sees what the other one becomes in this layer.
                x, y = (
                    run_block(
                        block, x, y, positions=x_at, other_positions=y_at, checkpoint=checkpoint
                    ),
                    run_block(
                        block2, y, x, positions=y_at, other_positions=x_at, checkpoint=checkpoint
                    ),
                )
                kept[layer] = (x, y)
            kept[layer] = (self.dec_norm(x), self.dec_norm(y))
        levels = [kept[k] for k in self.config.levels]
        return tuple(x for x, _ in levels), tuple(y for _, y in levels)

    def image_maps(
        self, levels: Levels, image: int, image_hw: tuple[int, int]
    ) -> tuple[
        Float[Tensor, "pair time=2 height width xyz=3"], Float[Tensor, "pair time=2 height width"]
    ]:
        """Points and confidence of one image of each pair at both times, from its `pair_levels`."""

        def compute(head: nn.Module, part: range) -> Tensor:
            chosen = [at_least_float32(level[part.start : part.stop]) for level in levels]
            with autocast(chosen[0].device, self.options.head_precision):
                return at_least_float32(head(chosen, self._grid(image_hw)))

        raw = []
        for time in range(2) if self.config.heads_per_image == 2 else (image,):
            head = self.get_submodule(HEADS[time][image])
            at_once = self.options.head_frames_at_once
            parts = in_parts(len(levels[0]), at_once, partial(compute, head))
            raw.append(joined([values for _, values in parts], dim=0))
        both = torch.stack(raw * (2 // len(raw)), dim=1)
        return points_and_confidence(both)

    def _positions(
        self, grid_hw: tuple[int, int], like: Tensor, trunk: PairTrunkConfig
    ) -> RotaryPositions:
        return RotaryPositions.for_grid(
            specials=0,
            grid_hw=grid_hw,
            head_width=trunk.width // trunk.heads,
            base=self.config.rope_base,
            like=like,
            first_patch=0,
        )

    def _grid(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        return image_hw[0] // self.patch_size, image_hw[1] // self.patch_size


def points_and_confidence(
    raw: Float[Tensor, "*batch 4 height width"],
) -> tuple[Float[Tensor, "*batch height width xyz=3"], Float[Tensor, "*batch height width"]]:
    """DUSt3R's activations: xyz/|xyz| · (exp(|xyz|) − 1) and 1 + exp.

    DPM's paper writes confidences in [0, 1]; its loss and the weights that it starts from ask for
    these, which are above 1 (UNCONFIRMED).
    """
    xyz = raw[..., :3, :, :].movedim(-3, -1)
    distance = xyz.norm(dim=-1, keepdim=True)
    points = xyz / distance.clamp_min(1e-8) * torch.expm1(distance)
    return points, 1 + raw[..., 3, :, :].exp()
