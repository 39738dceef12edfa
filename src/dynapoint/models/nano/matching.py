"""Explicit matches between two frames on the quarter-resolution map.

`points[i, t]` at a pixel is the own-time point of frame t at the matching pixel wherever that point
is visible, so matches nearly answer the question; the decoder refines them and fills what is
hidden. This layer is an addition to the published design (docs/notes/nano.md).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.layers.precision import at_least_float32
from dynapoint.models.nano.config import MatcherConfig
from dynapoint.models.nano.image_encoder import PATCH, QUARTER, STAGES
from dynapoint.models.nano.stem import StemFeatures

CELL_PX = 4
"""Side of a cell of the matching map in pixels of the network's images."""
LEARNED_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Where the cells of a source frame are found in a target frame.

    `xy` are pixels of the network's images; `certainty` is the probability of the best cell's
    neighbourhood, `missing` that of "no match"; `mutual` is 1 where the best cell's
    own best match leads back to within a cell, else 0.
    """

    xy: Float[Tensor, "pair cell xy=2"]
    certainty: Float[Tensor, "pair cell"]
    missing: Float[Tensor, "pair cell"]
    mutual: Float[Tensor, "pair cell"]

    @property
    def weight(self) -> Float[Tensor, "pair cell"]:
        """How far to trust each match: matches that do not lead back count hardly at all."""
        return self.certainty * (1 - self.missing) * (0.01 + 0.99 * self.mutual)


class Matcher(nn.Module):
    """Describes cells by unit vectors and compares them with a learned temperature."""

    def __init__(self, config: MatcherConfig, quarter_width: int, token_width: int) -> None:
        super().__init__()
        self.from_tokens = nn.Conv2d(token_width, config.hidden, 1)
        self.from_quarter = nn.Conv2d(quarter_width, config.hidden, 3, padding=1)
        self.out = nn.Conv2d(config.hidden, config.width, 1)
        self.log_temperature = nn.Parameter(torch.tensor(config.temperature_init).log())
        self.missing_logit = nn.Parameter(torch.tensor(config.missing_init))
        self.from_fine: nn.Conv2d | None = None
        if config.from_encoder:
            fine, coarse = STAGES[QUARTER].channels, STAGES[PATCH].channels
            self.from_fine = nn.Conv2d(fine, config.width, 1, bias=False)
            self.from_coarse = nn.Conv2d(coarse, config.width, 1, bias=False)
            # As far as the width goes, angles between the encoder's features are kept.
            for layer in (self.from_fine, self.from_coarse):
                nn.init.orthogonal_(layer.weight.view(config.width, -1))
            # How much the learned part counts at first, beside two unit vectors.
            self.learned_share = nn.Parameter(torch.tensor(LEARNED_SHARE))

    def describe(
        self,
        stem: StemFeatures,
        tokens: Float[Tensor, "image token_width token_rows token_columns"],
    ) -> Float[Tensor, "image cell width"]:
        """Unit descriptors of all cells, row-major."""
        context = functional.interpolate(
            self.from_tokens(tokens), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        features = self.out(functional.gelu(context + self.from_quarter(stem.quarter)))
        if self.from_fine is not None:
            fine, coarse = stem.encoder_quarter, stem.encoder_patches
            assert fine is not None and coarse is not None
            wide = functional.interpolate(
                self.from_coarse(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False
            )
            features = (
                functional.normalize(self.from_fine(fine), dim=1)
                + functional.normalize(wide, dim=1)
                + self.learned_share * features
            )
        return functional.normalize(features.flatten(2).transpose(1, 2), dim=-1)

    def logits(
        self,
        source: Float[Tensor, "pair cell width"],
        target: Float[Tensor, "pair other width"],
    ) -> Float[Tensor, "pair cell other_and_missing"]:
        """Similarities of every source cell to every target cell, and last to "no match"."""
        scores = cosines(source, target) * torch.exp(-self.log_temperature)
        missing = self.missing_logit.to(scores.dtype).expand(*scores.shape[:2], 1)
        return torch.cat([scores, missing], dim=-1)

    def match(
        self,
        source: Float[Tensor, "pair cell width"],
        target: Float[Tensor, "pair other width"],
        map_hw: tuple[int, int],
    ) -> Matches:
        """Sub-cell matches: the expected position within the best cell's 3 × 3 neighbourhood."""
        rows, columns = map_hw
        logits = self.logits(source, target)
        probability = logits.softmax(dim=-1)
        cells = probability[..., :-1]
        best = cells.argmax(dim=-1)
        # The transposed product costs less than an arg-max along the columns of this one.
        returned = cosines(target, source).argmax(dim=-1).gather(1, best)
        offsets = torch.arange(-1, 2, device=cells.device)
        row = (best // columns)[..., None, None] + offsets[:, None]
        column = (best % columns)[..., None, None] + offsets[None, :]
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        row_in, column_in = row.clamp(0, rows - 1), column.clamp(0, columns - 1)
        near = cells.gather(-1, (row_in * columns + column_in).flatten(2)) * inside.flatten(2)
        total = near.sum(dim=-1)
        weight = near / total.clamp_min(1e-9)[..., None]
        x = (weight * (column.expand_as(inside).flatten(2) + 0.5)).sum(dim=-1)
        y = (weight * (row.expand_as(inside).flatten(2) + 0.5)).sum(dim=-1)
        return Matches(
            xy=torch.stack([x, y], dim=-1) * CELL_PX,
            certainty=total,
            missing=probability[..., -1],
            mutual=_are_neighbours(returned, columns).to(total.dtype),
        )


def cosines(
    source: Float[Tensor, "pair cell width"], target: Float[Tensor, "pair other width"]
) -> Float[Tensor, "pair cell other"]:
    """Similarities of unit descriptors, in float32 whatever is computed around."""
    # Half precision would cost sub-cell positions their meaning at a low temperature.
    with torch.autocast(source.device.type, enabled=False):
        return at_least_float32(source) @ at_least_float32(target).transpose(1, 2)


def _are_neighbours(cell: Int[Tensor, "pair cell"], columns: int) -> Bool[Tensor, "pair cell"]:
    """Whether each entry, a cell index, is its own position or one of its eight neighbours."""
    own = torch.arange(cell.shape[1], device=cell.device)
    rows_apart = (cell // columns - own // columns).abs()
    columns_apart = (cell % columns - own % columns).abs()
    return (rows_apart <= 1) & (columns_apart <= 1)
