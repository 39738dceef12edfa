"""What tells a backbone which frame's time is asked for, and known intrinsics (DePT3R)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dynapoint.models.layers.config import QueryConfig
from dynapoint.models.layers.tokens import TokenLayout


class QueryEmbedding(nn.Module):
    """Vectors added to the tokens of all frames before a backbone's first block.

    The query's starts at random as V-DPM's time token does: from zero it is hardly learned, since
    blocks scarcely notice it (docs/notes/dept3r.md). That of intrinsics starts at zero, so that a
    network that learned without is left as it was. How the query is marked is part of the
    parameter's name: weights of one kind do not fit another.
    """

    def __init__(self, config: QueryConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.mark = f"into_{config.into}"
        self.register_parameter(self.mark, nn.Parameter(torch.randn(width) * config.mark_spread))
        self.intrinsics = nn.Linear(3, width) if config.intrinsics else None
        if self.intrinsics is not None:
            nn.init.zeros_(self.intrinsics.weight)
            nn.init.zeros_(self.intrinsics.bias)

    def of_intrinsics(
        self,
        intrinsics: Float[Tensor, "batch frame 3 3"],
        known: Bool[Tensor, " batch"] | None,
        image_hw: tuple[int, int],
    ) -> Float[Tensor, "batch frame channel"]:
        """Vectors for the camera tokens, zero where an example's intrinsics are not `known`.

        Embedded are fx / width, fy / height and cy / height of intrinsics in pixels of the images.
        The network must have been built to take intrinsics.
        """
        assert self.intrinsics is not None
        height, width = image_hw
        fx, fy, cy = (intrinsics[..., row, column] for row, column in ((0, 0), (1, 1), (1, 2)))
        values = torch.stack([fx / width, fy / height, cy / height], dim=-1)
        weight = self.intrinsics.weight
        if known is not None:
            # What is not known may be anything, NaN included.
            values = values.where(known.to(values.device)[:, None, None], 0.0)
        embedded = self.intrinsics(values.to(weight))
        if known is not None:
            embedded = embedded * known.to(weight)[:, None, None]
        return embedded

    def forward(
        self,
        queries: Int[Tensor, " batch"],
        of_intrinsics: Float[Tensor, "batch frame channel"] | None,
        *,
        frames: int,
        patches: int,
        layout: TokenLayout,
    ) -> Float[Tensor, "batch frame token channel"]:
        """What is added to the tokens of each frame; a query of −1 marks no frame."""
        vector = self.get_parameter(self.mark)
        index = torch.arange(frames, device=vector.device)
        asked = (queries.to(vector.device)[:, None] == index).to(vector)
        marks = asked[:, :, None] * vector
        tokens = layout.patch_start + patches
        to_camera = marks.new_zeros(marks.shape) if of_intrinsics is None else of_intrinsics
        if self.config.into == "camera_token":
            to_camera = to_camera + marks
            marks = torch.zeros_like(marks)
        at_camera = (torch.arange(tokens, device=vector.device) == layout.camera).to(vector)
        return marks[:, :, None] + to_camera[:, :, None] * at_camera[:, None]
