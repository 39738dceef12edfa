"""A light dense head: tokens and the stem's finer maps to values for every pixel."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.nano.config import DenseHeadConfig
from dynapoint.models.nano.stem import ResidualUnit


class DenseHead(nn.Module):
    """Tokens at stride 8 → stride 4 → stride 2 → pixels, by pixel shuffles and residual units.

    `extra` more channels may join at stride 4 (matching hints). The last convolution starts at
    zero, so the head's first answer is zero everywhere. Confidence is predicted from detached
    features by a layer of its own: it describes errors and must not cause any.
    """

    def __init__(
        self,
        config: DenseHeadConfig,
        *,
        token_width: int,
        stem_half: int,
        stem_quarter: int,
        outputs: int,
        extra: int = 0,
    ) -> None:
        super().__init__()
        quarter, half, groups = config.quarter_width, config.half_width, config.groups
        self.norm = nn.LayerNorm(token_width)
        self.to_quarter = nn.Linear(token_width, 4 * quarter)
        self.skip_quarter = nn.Conv2d(stem_quarter + extra, quarter, 1)
        self.refine_quarter = ResidualUnit(quarter, groups)
        self.to_half = nn.Conv2d(quarter, 4 * half, 1)
        self.skip_half = nn.Conv2d(stem_half, half, 1)
        self.refine_half = ResidualUnit(half, groups)
        self.out = nn.Conv2d(half, 4 * outputs, 3, padding=1)
        self.confidence = nn.Conv2d(half, 4, 3, padding=1)
        for layer in (self.out, self.confidence):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        tokens: Float[Tensor, "image patch token_width"],
        grid_hw: tuple[int, int],
        *,
        quarter: Float[Tensor, "image quarter_width quarter_rows quarter_columns"],
        half: Float[Tensor, "image half_width half_rows half_columns"],
    ) -> tuple[Float[Tensor, "image outputs height width"], Float[Tensor, "image height width"]]:
        """Values for every pixel and the logarithm of a confidence (about one where it is 0)."""
        grid = self.to_quarter(self.norm(tokens)).transpose(1, 2).unflatten(2, grid_hw)
        x = functional.pixel_shuffle(grid, 2) + self.skip_quarter(quarter)
        x = self.to_half(self.refine_quarter(x))
        x = self.refine_half(functional.pixel_shuffle(x, 2) + self.skip_half(half))
        x = functional.gelu(x)
        values = functional.pixel_shuffle(self.out(x), 2)
        log_confidence = functional.pixel_shuffle(self.confidence(x.detach()), 2)
        return values, log_confidence.squeeze(1)


def confidence_from_logits(
    logits: Float[Tensor, "*batch height width"],
) -> Float[Tensor, "*batch height width"]:
    """A positive confidence, larger is better: 1 + exp (DUSt3R's activation)."""
    return 1 + torch.exp(logits.clamp(-10, 10))


def join_confidences(
    first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The confidence of a sum of two parts: errors, which go as 1 / confidence, add up."""
    return first * second / (first + second)
