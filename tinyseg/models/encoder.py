"""What VGG, ResNet and MobileNet have in common: they classify images, and segmentation networks use their features."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .. import nn
from ..tensor import Tensor

OUTPUT_STRIDES = (8, 16, 32)


class Stage(NamedTuple):
    """The layers of an encoder between one downsampling and the next.

    step, rate: stride and dilation of the first layer, the one that downsamples.
    stride: image pixels from one pixel of the stage's map to the next.
    dilation: of all layers behind the first.
    """

    step: int
    rate: int
    stride: int
    dilation: int


def plan_stages(steps: Sequence[int], output_stride: int) -> list[Stage]:
    """Turn stride into dilation, where the stride of all stages so far would exceed `output_stride`.

    steps: the stride of each stage.  A layer that no longer downsamples leaves a map with `step` times the pixels on a
    side; the layers behind it reach as far as before if their taps are `step` times further apart.  The same weights
    then compute the same features, and as many again between them.  Chen et al. 2015 (DeepLab), section 3.1.

    >>> for stage in plan_stages([2, 2, 2, 2, 2], output_stride=8)[2:]:
    ...     print(stage)
    Stage(step=2, rate=1, stride=8, dilation=1)
    Stage(step=1, rate=1, stride=8, dilation=2)
    Stage(step=1, rate=2, stride=8, dilation=4)
    """
    stages, stride, dilation = [], 1, 1
    for step in steps:
        rate = dilation
        if stride * step > output_stride:
            step, dilation = 1, dilation * step
        stride *= step
        stages.append(Stage(step, rate, stride, dilation))
    return stages


class Encoder(nn.Module):
    """An image classifier that also serves as the encoder of a segmentation network.

    Called with images (N, in_channels, H, W) it returns class scores (N, num_classes); `pyramid` returns feature maps.
    num_classes=0 leaves out the layers that make the scores, which are most of VGG's weights; features are returned then.

    channels, strides: of each map of the pyramid.
    dilation: of the last map; what is put behind it must be dilated as much to see what it would see at stride 32.
    stages: one `Stage` for each map, for subclasses to build from.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, num_classes: int, in_channels: int, width: int, output_stride: int,
                 channels: Sequence[int], steps: Sequence[int]):
        name = type(self).__name__
        if num_classes < 0 or min(in_channels, width) < 1:
            raise ValueError(f"{name}: num_classes={num_classes}, in_channels={in_channels}, width={width}; "
                             f"expected at least 1 of each, or num_classes=0 for an encoder that only makes features")
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"{name}: output_stride={output_stride}; expected 8, 16 or 32")
        self.num_classes, self.in_channels, self.width = num_classes, in_channels, width
        self.output_stride = output_stride
        self.stages = plan_stages(steps, output_stride)
        self.channels, self.strides = tuple(channels), tuple(stage.stride for stage in self.stages)
        self.dilation = self.stages[-1].dilation

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The last feature map of every stage, (N, channels[i], about H/strides[i], W/strides[i]), the finest first."""
        raise NotImplementedError(f"{type(self).__name__} does not define pyramid(self, x)")

    def check_input(self, x: Tensor, smallest: int = 1) -> None:
        """ValueError if x is not a batch of images of `in_channels` channels and `smallest` pixels on a side."""
        name = type(self).__name__
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"{name}: input has shape {x.shape}; expected (N, {self.in_channels}, H, W)")
        if min(x.shape[2:]) < smallest:
            raise ValueError(f"{name}: an image of {x.shape[2]}x{x.shape[3]} is too small; expected at least "
                             f"{smallest}x{smallest}: enlarge it")
