"""What the training of VGGT's descendants has in common."""

from dataclasses import replace

import torch

from dynapoint.models.layers.camera_head import CameraHead
from dynapoint.models.layers.compute import ComputeOptions, default_options
from dynapoint.training.hardware import autocast_dtype
from dynapoint.training.train_config import TrainConfig


def training_options(config: TrainConfig, device: str) -> ComputeOptions:
    """As in the public code, half precision is for the transformers, not for the heads."""
    half = autocast_dtype(config.precision, device) is not None
    return replace(
        default_options(device),
        precision="bfloat16" if half else "float32",
        head_precision="float32",
        checkpoint_blocks=config.checkpoint_blocks,
    )


@torch.no_grad()
def open_cameras(head: CameraHead) -> None:
    """Let a fresh camera head start from unturned cameras that see one radian.

    From nothing, fields of view would start at 0, where their ReLU has no gradient. Each iteration
    adds the bias.
    """
    head.pose_branch.fc2.bias[6:] = 1 / head.config.iterations
