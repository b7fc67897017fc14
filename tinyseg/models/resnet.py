"""ResNet: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016."""
from __future__ import annotations

import numpy as np

from .. import nn
from ..functional import cat
from ..tensor import Tensor
from .blocks import he_initialise
from .encoder import Encoder, Stage

IMAGENET = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}        # blocks of each stage: table 1 of the paper
CIFAR = {20: (3, 3, 3)}                                # section 4.2, n = 3
BLOCKS: dict[int, tuple[int, ...]] = {**IMAGENET, **CIFAR}


class ResNet(Encoder):
    """Stages of residual blocks, each stage with half the pixels on a side and twice the channels of the one before.

    depth 18 and 34 are for photographs: a 7x7 convolution of stride 2 and a max pooling in front, four stages, and
    shortcuts that project (option B).  The weights have the names of torchvision's resnet18 and resnet34.
    depth 20 is for the 32x32 pixels of CIFAR-10: a 3x3 convolution in front, three stages, and shortcuts without
    weights (option A).  Its stride is 4, whatever the output_stride; its pyramid has four maps; its last layer, `fc` in
    the others, is `linear`, as in published weights.

    num_classes, in_channels: number of scores, and channels of the input image.
    width: channels of the first stage; None is the paper's, 64, or 16 at depth 20.
    output_stride: 32, or 16 or 8: the last one or two stages then keep the size, and are dilated instead.

    >>> resnet = ResNet(num_classes=10, width=4, output_stride=16).eval()
    >>> x = Tensor(np.zeros((1, 3, 64, 96), np.float32))
    >>> resnet(x).shape, [features.shape[2:] for features in resnet.pyramid(x)]
    ((1, 10), [(32, 48), (16, 24), (8, 12), (4, 6), (4, 6)])
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, depth: int = 18, width: int | None = None,
                 output_stride: int = 32):
        if depth not in BLOCKS:
            raise ValueError(f"ResNet: depth={depth}; expected one of {', '.join(map(str, sorted(BLOCKS)))}")
        cifar = depth in CIFAR
        if width is None:
            width = 16 if cifar else 64
        channels = [width * 2**i for i in range(len(BLOCKS[depth]))]
        super().__init__(num_classes, in_channels, width, output_stride, channels=[width, *channels],
                         steps=(1, 1, 2, 2) if cifar else (2, 2, 2, 2, 2))
        self.depth = depth
        kernel, stride = (3, 1) if cifar else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, stride=2, padding=1)
        stages = [self.stages[1]._replace(step=1), *self.stages[2:]]          # the max pooling takes the first step
        for i, (count, c_in, c, stage) in enumerate(zip(BLOCKS[depth], [width, *channels], channels, stages), start=1):
            blocks = [BasicBlock(c_in, c, stage, pad_shortcut=cifar)]
            blocks += [BasicBlock(c, c, stage._replace(step=1, rate=stage.dilation)) for _ in range(count - 1)]
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        head = nn.Linear(channels[-1], num_classes) if num_classes else nn.Identity()
        if cifar:
            self.linear = head
        else:
            self.fc = head
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes) of images (N, in_channels, H, W); c channels and h x w pixels in the last map."""
        score = self.linear if self.depth in CIFAR else self.fc
        x = self.pyramid(x)[-1]          # (N, c, h, w)
        x = self.avgpool(x)              # (N, c, 1, 1)
        x = self.flatten(x)              # (N, c)
        return score(x)                  # (N, num_classes)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The maps after the first convolution (with normalisation and ReLU) and after each stage."""
        self.check_input(x)
        x = nn.chain(x, self.conv1, self.bn1, self.relu)
        maps = [x]
        x = self.maxpool(x)
        for i in range(1, len(self.stages)):
            x = getattr(self, f"layer{i}")(x)
            maps.append(x)
        return maps

    def normalised(self) -> list[tuple[str, str]]:
        return [("conv1", "bn1")]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to the input: figure 2 of the paper.

    stage: stride and dilation; the first convolution downsamples, the second stands behind it.
    pad_shortcut: where the channels become more, the shortcut adds zeros (option A) instead of projecting (option B).
    """

    def __init__(self, in_channels: int, out_channels: int, stage: Stage, pad_shortcut: bool = False):
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stage.step, stage.rate, stage.rate, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, stage.dilation, stage.dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if in_channels != out_channels and pad_shortcut:
            self.downsample = PadShortcut(in_channels, out_channels, stage.step)
        elif in_channels != out_channels:
            self.downsample = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stage.step, bias=False),
                                            nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ⌈H/step⌉, ⌈W/step⌉)"""
        y = nn.chain(x, self.conv1, self.bn1, self.relu, self.conv2, self.bn2)
        return self.relu(y + self.downsample(x))

    def normalised(self) -> list[tuple[str, str]]:
        return [("conv1", "bn1"), ("conv2", "bn2")]


class PadShortcut(nn.Module):
    """Option A: every stride-th pixel, between channels of zeros, as many in front as behind."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, ::self.stride, ::self.stride]
        front = (self.out_channels - self.in_channels) // 2
        zeros = np.zeros((x.shape[0], self.out_channels - self.in_channels, *x.shape[2:]), x.dtype)
        return cat([zeros[:, :front], x, zeros[:, front:]], dim=1)
