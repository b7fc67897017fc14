"""VGG: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015."""
from __future__ import annotations

from .. import functional as F
from .. import nn
from ..tensor import Tensor
from .blocks import he_initialise
from .encoder import Encoder

CONVOLUTIONS = {                 # before each of the five poolings: table 1 of the paper
    11: (1, 1, 2, 2, 2),         # column A
    13: (2, 2, 2, 2, 2),         # B
    16: (2, 2, 3, 3, 3),         # D
    19: (2, 2, 4, 4, 4),         # E
}


class VGG(Encoder):
    """3x3 convolutions, five times halved by max pooling, then three fully connected layers.

    VGG(depth=16) is the paper's, with the weights' names of torchvision's vgg16 (vgg16_bn with batch_norm).

    num_classes, in_channels: number of scores, and channels of the input image.
    depth: layers with weights, 11, 13, 16 or 19.
    batch_norm: normalise after every convolution.
    width: channels of the first stage; the fully connected layers have 64·width.
    output_stride: 32, or 16 or 8: the last one or two poolings then keep the size, and what follows is dilated.
    ceil_mode: keep the last row and column of maps of odd size (as Caffe, so FCN and DeepLab); else pooling drops them.

    >>> import numpy as np
    >>> vgg = VGG(num_classes=10, depth=11, width=2, output_stride=8).eval()
    >>> x = Tensor(np.zeros((1, 3, 64, 96), np.float32))
    >>> vgg(x).shape, [features.shape[2:] for features in vgg.pyramid(x)]
    ((1, 10), [(32, 48), (16, 24), (8, 12), (8, 12), (8, 12)])
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, depth: int = 16, batch_norm: bool = False,
                 width: int = 64, output_stride: int = 32, ceil_mode: bool = False):
        if depth not in CONVOLUTIONS:
            raise ValueError(f"VGG: depth={depth}; expected one of {', '.join(map(str, CONVOLUTIONS))}")
        channels = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        super().__init__(num_classes, in_channels, width, output_stride, channels, steps=(2, 2, 2, 2, 2))
        self.depth, self.batch_norm, self.ceil_mode = depth, batch_norm, ceil_mode
        self.features = nn.Sequential()
        c_in = in_channels
        for c, count, stage in zip(channels, CONVOLUTIONS[depth], self.stages):
            for _ in range(count):
                self.features.append(nn.Conv2d(c_in, c, 3, padding=stage.rate, dilation=stage.rate))
                if batch_norm:
                    self.features.append(nn.BatchNorm2d(c))
                self.features.append(nn.ReLU())
                c_in = c
            pool = nn.MaxPool2d(2, ceil_mode=ceil_mode) if stage.step == 2 else DenseMaxPool2d(stage.rate)
            self.features.append(pool)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential()
        if num_classes:
            self.classifier = nn.Sequential(nn.Linear(7 * 7 * 8 * width, 64 * width), nn.ReLU(), nn.Dropout(0.5),
                                            nn.Linear(64 * width, 64 * width), nn.ReLU(), nn.Dropout(0.5),
                                            nn.Linear(64 * width, num_classes))
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes) of images (N, in_channels, H, W); c = 8·width, and a last map of h x w pixels."""
        x = self.pyramid(x)[-1]          # (N, c, h, w)
        x = self.avgpool(x)              # (N, c, 7, 7)
        x = self.flatten(x)              # (N, 49c)
        return self.classifier(x)        # (N, num_classes)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The maps after pool1 to pool5."""
        self.check_input(x, 1 if self.ceil_mode else self.strides[-1])
        maps: list[Tensor] = []
        stage: list[nn.Module] = []
        for layer in self.features:
            stage.append(layer)
            if isinstance(layer, nn.MaxPool2d):
                x = nn.chain(x, *stage)
                maps.append(x)
                stage = []
        return maps


class DenseMaxPool2d(nn.MaxPool2d):
    """VGG's 2x2 max pooling at every pixel, of pixels `dilation` apart; the output is as large as the input.

    y[i, j] is the largest of x[i, j], x[i + d, j], x[i, j + d] and x[i + d, j + d], those beyond the border left out.
    So every 2d-th pixel of y is what pooling with stride 2 makes of every d-th pixel of x.

    >>> DenseMaxPool2d(dilation=2)(Tensor([[[[5.0, 1.0, 3.0, 4.0]]]])).numpy().tolist()
    [[[[5.0, 4.0, 3.0, 4.0]]]]
    """

    def __init__(self, dilation: int):
        super().__init__(2, stride=1, dilation=dilation)

    def forward(self, input: Tensor) -> Tensor:
        bottom, right = self.dilation
        padded = F.pad(input, (0, right, 0, bottom), value=-float("inf"))
        return F.max_pool2d(padded, self.kernel_size, self.stride, dilation=self.dilation)
