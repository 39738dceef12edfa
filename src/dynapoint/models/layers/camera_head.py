"""The iterative camera head on the camera tokens (VGGT's camera head)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dynapoint.models.layers.blocks import Block, Mlp
from dynapoint.models.layers.config import CameraHeadConfig
from dynapoint.models.layers.frame_index import constant


class CameraHead(nn.Module):
    """Refines pose encodings: each iteration modulates the same tokens by the last estimate.

    The raw encoding is fed back, detached; ReLU keeps fields of view positive in what is returned.
    """

    def __init__(self, config: CameraHeadConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.trunk = nn.ModuleList(
            Block(
                width,
                config.heads,
                mlp_ratio=config.mlp_ratio,
                scale_init=config.layer_scale_init,
                qk_norm=False,
            )
            for _ in range(config.trunk_depth)
        )
        self.token_norm = nn.LayerNorm(width)
        self.trunk_norm = nn.LayerNorm(width)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, 9))
        self.embed_pose = nn.Linear(9, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.adaln_norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.pose_branch = Mlp(width, width // 2, 9)
        nn.init.zeros_(self.pose_branch.fc2.weight)
        nn.init.zeros_(self.pose_branch.fc2.bias)

    def step(
        self,
        tokens: Float[Tensor, "batch frame width"],
        previous: Float[Tensor, "batch frame 9"] | None,
    ) -> Float[Tensor, "batch frame 9"]:
        """One iteration: the next raw encoding from the camera tokens and the previous one."""
        normed = self.token_norm(tokens)
        if previous is None:
            guess = self.empty_pose_tokens.expand(*tokens.shape[:2], -1)
        else:
            guess = previous.detach()
        shift, scale, gate = self.poseLN_modulation(self.embed_pose(guess)).chunk(3, dim=-1)
        x = normed + gate * (self.adaln_norm(normed) * (1 + scale) + shift)
        for block in self.trunk:
            x = block(x)
        delta = self.pose_branch(self.trunk_norm(x))
        if previous is None:
            return delta + constant(self.config.start_encoding, delta.device, delta.dtype)
        return delta + previous.detach()

    @staticmethod
    def activate(raw: Float[Tensor, "*batch 9"]) -> Float[Tensor, "*batch 9"]:
        """Keep the fields of view from being negative."""
        return torch.cat([raw[..., :7], functional.relu(raw[..., 7:])], dim=-1)
