"""EfficientNet-Lite0 as a pyramid of maps: an image encoder that has seen real pictures.

Tan & Le, EfficientNet (ICML 2019), in the "Lite" form for small devices: inverted residuals with
ReLU6 and without squeeze-and-excitation. Batch normalisation is folded into the convolutions, so
that frames stay apart and nothing depends on a batch. Padding is TensorFlow's "same", which the
weights were trained with.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Inverted residuals of one width; the first of them has the stride."""

    expansion: int
    channels: int
    repeats: int
    stride: int
    kernel: int


STAGES = (
    Stage(expansion=1, channels=16, repeats=1, stride=1, kernel=3),
    Stage(expansion=6, channels=24, repeats=2, stride=2, kernel=3),
    Stage(expansion=6, channels=40, repeats=2, stride=2, kernel=5),
    Stage(expansion=6, channels=80, repeats=3, stride=2, kernel=3),
    Stage(expansion=6, channels=112, repeats=3, stride=1, kernel=5),
    Stage(expansion=6, channels=192, repeats=4, stride=2, kernel=5),
    Stage(expansion=6, channels=320, repeats=1, stride=1, kernel=3),
)
"""EfficientNet-Lite0's; after the first convolution of stride 2 and 32 channels."""
FIRST_CHANNELS = 32
HALF, QUARTER, PATCH, DEEP = 1, 2, 4, 6
"""The stages whose maps are used: strides 4, 8, 16 and 32 of the encoder's own image."""


class PaddedConv(nn.Module):
    """A convolution with TensorFlow's "same" padding, which puts odd pixels right and below."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        weight = torch.empty(outputs, inputs // groups, kernel, kernel)
        # Convolutions of few channels take half the time in this order on a CPU.
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.kernel, self.stride, self.groups, self.active = kernel, stride, groups, active

    def forward(
        self, x: Float[Tensor, "image inputs rows columns"]
    ) -> Float[Tensor, "image outputs out_rows out_columns"]:
        """Convolve, and clamp to [0, 6] where it is active."""
        padding = self.kernel // 2
        if self.stride > 1:
            missing = [
                max(0, (-(-side // self.stride) - 1) * self.stride + self.kernel - side)
                for side in x.shape[-2:]
            ]
            down, right = missing
            x = functional.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
            padding = 0
        x = functional.conv2d(
            x, self.weight, self.bias, stride=self.stride, padding=padding, groups=self.groups
        )
        return functional.relu6(x, inplace=True) if self.active else x


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow; beside an identity where sizes allow."""

    def __init__(self, inputs: int, stage: Stage, *, stride: int) -> None:
        super().__init__()
        middle = inputs * stage.expansion
        self.expand = PaddedConv(inputs, middle, 1) if stage.expansion > 1 else None
        self.depthwise = PaddedConv(middle, middle, stage.kernel, stride=stride, groups=middle)
        self.project = PaddedConv(middle, stage.channels, 1, active=False)
        self.adds = stride == 1 and inputs == stage.channels

    def forward(
        self, x: Float[Tensor, "image inputs rows columns"]
    ) -> Float[Tensor, "image channels out_rows out_columns"]:
        """The next map."""
        widened = x if self.expand is None else self.expand(x)
        narrowed: Tensor = self.project(self.depthwise(widened))
        return x + narrowed if self.adds else narrowed


class ImageEncoder(nn.Module):
    """The convolutional part of EfficientNet-Lite0, without what makes classes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = PaddedConv(3, FIRST_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        inputs = FIRST_CHANNELS
        for stage in STAGES:
            blocks = []
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks.append(InvertedResidual(inputs, stage, stride=stride))
                inputs = stage.channels
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, images: Float[Tensor, "image rgb=3 height width"]) -> list[Tensor]:
        """The maps of all stages of images in [0, 1]; each (image, channels, rows, columns)."""
        # The normalisation that the weights were trained with.
        x = self.first((images * 255 - 127) / 128)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
