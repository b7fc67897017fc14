"""MobileNets: Howard et al., "MobileNets: Efficient convolutional neural networks for mobile vision applications",
2017, and Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", CVPR 2018.

A 3x3 convolution of C to D channels costs 9·C·D multiply-adds a pixel.  In two steps, a kernel for each channel
(depthwise) and then a 1x1 convolution between channels (pointwise), it costs 9·C + C·D.
"""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import functional as F
from .. import nn
from ..data.transforms import IMAGENET_MEAN, IMAGENET_STD
from ..tensor import Tensor
from .blocks import ConvNormReLU, he_initialise
from .encoder import Encoder, plan_stages

EPS = 1e-3                                                 # of the batch normalisation: TensorFlow's for these networks
PADDINGS = ("symmetric", "same")
# t, c, n, s of the 2018 paper's table 2: expansion, channels at width 32, how many blocks, stride of the first
TABLE_2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
KERAS_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


class MobileNetV1(Encoder):
    """A convolution, 13 depthwise separable convolutions, and a fully connected layer: table 1 of the 2017 paper.

    num_classes, in_channels: number of scores, and channels of the input image.
    width: channels of the first convolution, 32 in the paper (whose width multiplier is width / 32).
    output_stride: 32, or 16 or 8: the last one or two strides then become dilation.
    padding: "symmetric", one pixel on every side, so that feature (i, j) lies on pixel (s·i, s·j) of the image, s its
        stride; or "same", TensorFlow's, with which published weights were trained (see `SameConv2d`).  The two are one
        for images of 32k + 1 pixels; else "same" takes the features up to s - 1 pixels further right and down.

    >>> mobilenet = MobileNetV1(num_classes=10, width=4, output_stride=16).eval()
    >>> x = Tensor(np.zeros((1, 3, 64, 96), np.float32))
    >>> mobilenet(x).shape, [features.shape[1:] for features in mobilenet.pyramid(x)][2:]
    ((1, 10), [(32, 8, 12), (64, 4, 6), (128, 4, 6)])
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, width: int = 32, output_stride: int = 32,
                 padding: str = "symmetric"):
        super().__init__(num_classes, in_channels, width, output_stride,
                         channels=[width * c for c in (2, 4, 8, 16, 32)], steps=(2, 2, 2, 2, 2))
        if padding not in PADDINGS:
            raise ValueError(f"MobileNetV1: padding={padding!r}; expected one of {', '.join(map(repr, PADDINGS))}")
        self.padding = padding
        first, *others = self.stages
        self.conv1 = ConvNormReLU6(in_channels, width, 3, first.step, padding=padding)
        blocks = [DepthwiseSeparable(width, 2 * width, padding=padding)]
        for c_in, c, count, stage in zip(self.channels, self.channels[1:], (2, 2, 6, 2), others):
            blocks.append(DepthwiseSeparable(c_in, c, stage.step, stage.rate, padding))
            blocks += [DepthwiseSeparable(c, c, 1, stage.dilation, padding) for _ in range(count - 1)]
        self.blocks = nn.ModuleList(blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(32 * width, num_classes) if num_classes else nn.Identity()
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes) of images (N, in_channels, H, W); c = 32·width, and a last map of h x w pixels."""
        x = self.pyramid(x)[-1]          # (N, c, h, w)
        x = self.avgpool(x)              # (N, c, 1, 1)
        x = self.flatten(x)              # (N, c)
        return self.fc(x)                # (N, num_classes)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The maps after blocks 1, 3, 5, 11 and 13: the last ones of each size."""
        self.check_input(x)
        x = self.conv1(x)
        maps = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in (1, 3, 5, 11, 13):
                maps.append(x)
        return maps


class MobileNetV2(nn.Module):
    """A convolution and 17 inverted residuals: table 2 of the 2018 paper, up to the 1x1 convolution at its end.

    Images (N, in_channels, H, W) become features (N, out_channels, ⌈H/output_stride⌉, ⌈W/output_stride⌉).

    in_channels, output_stride, width: as for `MobileNetV1`; out_channels is 10·width.
    norm: "batch", or None, with biases instead: for weights that the normalisation has been multiplied into.
    """

    def __init__(self, in_channels: int = 3, width: int = 32, output_stride: int = 32, norm: str | None = "batch"):
        first, *stages = plan_stages([2] + [s for _, _, _, s in TABLE_2], output_stride)
        self.in_channels, self.width, self.output_stride, self.norm = in_channels, width, output_stride, norm
        self.conv = ConvNormReLU6(in_channels, width, 3, first.step, norm=norm)
        blocks, c_in = [], width
        for (expansion, c, count, _), stage in zip(TABLE_2, stages):
            c = max(1, c * width // 32)
            for i in range(count):
                step, rate = (stage.step, stage.rate) if i == 0 else (1, stage.dilation)
                blocks.append(InvertedResidual(c_in, c, expansion, step, rate, norm, residual=i > 0))
                c_in = c
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = c_in
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for block in self.blocks:
            x = block(x)
        return x


# Blocks ---------------------------------------------------------------------------------------------------------------

class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding "SAME", whatever padding it is given: ⌈n / stride⌉ pixels come out of n.

    As many zeros as that takes, and the odd one at the bottom and right: a 3x3 kernel of stride 2 has zeros on both
    sides of an odd n, but only behind an even one, so that its taps lie one pixel further right than with padding=1.

    >>> conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    >>> conv.weight.writable()[...] = 1
    >>> conv(Tensor([[[[1.0, 2.0, 3.0, 4.0]]]])).numpy().tolist()
    [[[[6.0, 7.0]]]]
    """

    def forward(self, input: Tensor) -> Tensor:
        missing = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
                   for n, k, s, d in zip(input.shape[-2:], self.kernel_size, self.stride, self.dilation)]
        (top, bottom), (left, right) = ((n // 2, n - n // 2) for n in missing)
        padded = F.pad(input, (left, right, top, bottom))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class ConvNormReLU6(ConvNormReLU):
    """`ConvNormReLU` as MobileNets have it, with padding for ⌈n / stride⌉ of n pixels.

    norm: "batch", or None, with a bias; padding: as for `MobileNetV1`; linear: no ReLU6, as in inverted residuals.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, dilation: int = 1,
                 groups: int = 1, norm: str | None = "batch", padding: str = "symmetric", linear: bool = False):
        if norm not in ("batch", None):
            raise ValueError(f"MobileNet: norm={norm!r}; expected 'batch' or None")
        convolution = SameConv2d if padding == "same" else nn.Conv2d
        self.conv = convolution(in_channels, out_channels, kernel_size, stride, dilation * (kernel_size // 2), dilation,
                                groups, bias=norm is None)
        self.norm = nn.BatchNorm2d(out_channels, EPS) if norm else nn.Identity()
        self.relu = nn.Identity() if linear else nn.ReLU6()


class DepthwiseSeparable(nn.Module):
    """A 3x3 kernel for each channel, then a 1x1 convolution; both with normalisation and ReLU6: figure 3 of 2017."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1,
                 padding: str = "symmetric"):
        self.depthwise = ConvNormReLU6(in_channels, in_channels, 3, stride, dilation, in_channels, padding=padding)
        self.pointwise = ConvNormReLU6(in_channels, out_channels, 1, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉)"""
        return self.pointwise(self.depthwise(x))


class InvertedResidual(nn.Module):
    """Expand to `expansion` times the channels, a 3x3 kernel for each, project to few again: figure 4 of 2018.

    The projection is linear: a ReLU would lose what few channels hold.
    residual: add the input, where the shape stays.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int, dilation: int,
                 norm: str | None, residual: bool):
        c = expansion * in_channels
        self.expand = ConvNormReLU6(in_channels, c, 1, norm=norm) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNormReLU6(c, c, 3, stride, dilation, groups=c, norm=norm)
        self.project = ConvNormReLU6(c, out_channels, 1, norm=norm, linear=True)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ⌈H/stride⌉, ⌈W/stride⌉)"""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


# Published weights ----------------------------------------------------------------------------------------------------

def kernel_from_tensorflow(kernel: np.ndarray, depthwise: bool = False) -> np.ndarray:
    """TensorFlow's (KH, KW, in, out) as (out, in, KH, KW); a depthwise (KH, KW, C, 1) as (C, 1, KH, KW)."""
    return kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)


def from_keras_mobilenet(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of Keras's MobileNet as a state dict of `MobileNetV1`.

    arrays: "conv1/kernel", "conv1_bn/gamma", "conv_dw_1/depthwise_kernel", … "conv_preds/bias".  A convolution that is
        not there with all of its normalisation is left out, for load_state_dict(…, strict=False) to leave as drawn.
    They were trained with padding="same" on images of RGB from -1 to 1, x / 127.5 - 1; see `for_normalized_images`.
    ValueError if these are other arrays.

    >>> from_keras_mobilenet({"fc/kernel": np.zeros((1, 1))})
    Traceback (most recent call last):
    ValueError: from_keras_mobilenet: there is no conv1/kernel in fc/kernel; expected the weights of Keras's MobileNet
    """
    if "conv1/kernel" not in arrays:
        raise ValueError(f"from_keras_mobilenet: there is no conv1/kernel in {', '.join(list(arrays)[:5])}; expected "
                         f"the weights of Keras's MobileNet")
    layers = {"conv1": "conv1", **{f"conv_{kind}_{i + 1}": f"blocks.{i}.{step}" for i in range(13)
                                   for kind, step in (("dw", "depthwise"), ("pw", "pointwise"))}}
    state = {}
    for theirs, ours in layers.items():
        depthwise = "dw" in theirs
        kernel = f"{theirs}/{'depthwise_kernel' if depthwise else 'kernel'}"
        norm = {f"{theirs}_bn/{name}": f"{ours}.norm.{own}" for name, own in KERAS_NORM.items()}
        if {kernel, *norm} <= arrays.keys():
            state[f"{ours}.conv.weight"] = kernel_from_tensorflow(arrays[kernel], depthwise)
            state |= {own: arrays[name] for name, own in norm.items()}
            state[f"{ours}.norm.num_batches_tracked"] = np.array(0)
    if {"conv_preds/kernel", "conv_preds/bias"} <= arrays.keys():
        state |= {"fc.weight": arrays["conv_preds/kernel"][0, 0].T, "fc.bias": arrays["conv_preds/bias"]}
    return state


def for_normalized_images(state: Mapping[str, np.ndarray], layer: str, half_range: float) -> dict[str, np.ndarray]:
    """Weights for images x / half_range - 1 as weights for images from `transforms.normalize`, (x / 255 - mean) / std.

    Channel by channel, the one image is the other times a plus b, and w·(a z + b) = (a w)·z + w·b.  So a goes into the
    kernels of the first convolution, and w·b into its bias, or out of the running mean behind it.  Only the padding
    then is another grey: zeros stand for the mean of normalised images.

    layer: what holds the first convolution, "conv1" of a `MobileNetV1`.
    """
    kernel = state[f"{layer}.conv.weight"]
    std, mean = np.array(IMAGENET_STD), np.array(IMAGENET_MEAN)
    factor, constant = 255 * std / half_range, 255 * mean / half_range - 1
    shift = np.einsum("ochw,c->o", kernel, constant)
    bias, sign = (f"{layer}.conv.bias", 1) if f"{layer}.conv.bias" in state else (f"{layer}.norm.running_mean", -1)
    return {**state, f"{layer}.conv.weight": kernel * factor[:, None, None].astype(kernel.dtype),
            bias: state[bias] + sign * shift.astype(kernel.dtype)}
