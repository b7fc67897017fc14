"""DeepLab: an encoder that trades its last strides for dilation, and scores from its features seen at large rates.

v1: Chen, Papandreou, Kokkinos, Murphy & Yuille, "Semantic image segmentation with deep convolutional nets and fully
    connected CRFs", ICLR 2015: one rate (LargeFOV).
v2: the same authors, "DeepLab: Semantic image segmentation with deep convolutional nets, atrous convolution, and
    fully connected CRFs", PAMI 2018: the scores of four rates, summed (ASPP).
v3: Chen, Papandreou, Schroff & Adam, "Rethinking atrous convolution for semantic image segmentation", 2017: the
    features of three rates, of a 1x1 convolution and of the whole image, concatenated.

The CRF of v1 and v2 is `tinyseg.crf`; v2's and v3's prediction at several scales, `tinyseg.inference.scores`.
"""
from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

from .. import nn
from ..functional import interpolate, pad
from ..tensor import Tensor
from .aspp import ASPP, LargeFOV
from .blocks import he_initialise
from .encoders import ENCODERS, OUTPUT_STRIDES, Encoder
from .upsampling import UPSAMPLING, check_choice, upsampling_layer
from .vgg import VGG

ENCODER = {"v1": "vgg16", "v2": "vgg16", "v3": "resnet18"}
RATES = {"v1": (12,), "v2": (6, 12, 18, 24), "v3": (12, 24, 36)}     # where a feature stands for 8 pixels of the image
NORMS = {"v1": ("batch",), "v2": ("batch",), "v3": ("batch", "group")}
METHODS = tuple(method for method in UPSAMPLING if method != "max_unpool")


class DeepLab(nn.Module):
    """Scores from the encoder's last features: summed over branches, each of which looks at them in its own way.

    A branch, and the convolution that makes scores of it:
    v1: `LargeFOV` (fc6 and fc7, 16·width channels), and a 1x1 (fc8);
    v2: four of the same, one for each rate; on other encoders than VGG there is only a 3x3 at the rate, as in the paper
        on ResNet-101;
    v3: one `ASPP` (4·width channels), and a 1x1.
    DeepLab(21, version="v1") and DeepLab(21, version="v2") are the papers'; v3's has ResNet-101.

    num_classes, in_channels: channels of the output scores and of the input image.
    version: "v1", "v2" or "v3".
    width: channels of the encoder's first stage.
    output_stride: image pixels from one feature to the next: 8, 16, or 32, which dilates nothing in the encoder.
    encoder: a name in ENCODERS; None is "vgg16", for v3 "resnet18".  VGG gets the papers' poolings, 3x3 with padding,
        so that feature (i, j) of every encoder lies on pixel (s·i, s·j), s the output stride.
    upsampling: of the scores; a name in UPSAMPLING but "max_unpool".  "bilinear" puts every feature back on its pixel,
        the others have it in the top left, or all over, the s x s pixels from there on.
    rates: of the 3x3 convolutions; None are the paper's, scaled so as to reach as far at any output stride.  On a small
        map large rates see little but padding (`gridding.valid_taps`); (2, 4, 8, 12) is v2's ASPP-S.
    norm: in v3's `ASPP`, "batch", or "group" for batches of one image.

    Scores are as large as the image, which may have any size.  ValueError for impossible arguments.

    >>> import numpy as np
    >>> DeepLab(num_classes=21, version="v3", width=4)(Tensor(np.zeros((1, 3, 45, 60), np.float32))).shape
    (1, 21, 45, 60)
    """

    def __init__(self, num_classes: int, in_channels: int = 3, version: str = "v2", width: int = 64,
                 output_stride: int = 8, encoder: str | None = None, upsampling: str = "bilinear",
                 rates: Sequence[int] | None = None, norm: str = "batch"):
        check_choice("DeepLab: version", version, tuple(RATES))
        check_choice("DeepLab: output_stride", output_stride, OUTPUT_STRIDES)
        check_choice("DeepLab: encoder", encoder, (None, *ENCODERS))
        check_choice("DeepLab: upsampling", upsampling, METHODS)
        check_choice(f"DeepLab: version={version!r} with norm", norm, NORMS[version])
        if rates is not None and not len(rates):
            raise ValueError("DeepLab: rates=[]; expected at least one, or None for the paper's")
        self.num_classes, self.in_channels, self.version, self.width = num_classes, in_channels, version, width
        self.output_stride, self.upsampling, self.encoder_name = output_stride, upsampling, encoder or ENCODER[version]
        self.norm = norm
        self.encoder = _encoder(self.encoder_name, in_channels, width, output_stride)
        c, stride = self.encoder.channels[-1], self.encoder.strides[-1]
        self.rates = [rate * 8 // stride for rate in RATES[version]] if rates is None else list(rates)
        if version == "v3":
            self.branches = nn.ModuleList([ASPP(c, 4 * width, self.rates, norm)])
            self.classifiers = nn.ModuleList([_classifier(4 * width, num_classes)])
        elif version == "v1" or isinstance(self.encoder, VGG):
            self.branches = nn.ModuleList(LargeFOV(c, 16 * width, rate) for rate in self.rates)
            self.classifiers = nn.ModuleList(_classifier(16 * width, num_classes) for _ in self.rates)
        else:
            self.branches = nn.ModuleList(nn.Identity() for _ in self.rates)
            self.classifiers = nn.ModuleList(_classifier(c, num_classes, 3, rate) for rate in self.rates)
        self.upsample = (Bilinear(stride) if upsampling == "bilinear" else
                         upsampling_layer(upsampling, num_classes, num_classes, stride))
        he_initialise(self.branches)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every class at every pixel, (N, num_classes, H, W), of images (N, in_channels, H, W).

        The encoder's last map has c channels of h x w pixels: H and W divided by its stride, rounded up.
        """
        size = x.shape[2:]
        x = self.encoder.pyramid(x)[-1]                     # (N, c, h, w)
        scores = [classify(branch(x)) for branch, classify in zip(self.branches, self.classifiers)]
        x = functools.reduce(operator.add, scores)          # (N, num_classes, h, w)
        return self.upsample(x, size)                       # (N, num_classes, H, W)


class Bilinear(nn.Module):
    """Bilinear upsampling that puts feature (i, j) on pixel (stride·i, stride·j); past the last one its value goes on.

    That is where padded convolutions of odd kernels have it from.  For images of stride·k + 1 pixels, such as the
    papers' 321 and 513, it is the same as aligning the corners.

    >>> Bilinear(2)(Tensor([[[[1.0, 3.0]]]]), (1, 4)).numpy().tolist()
    [[[[1.0, 2.0, 3.0, 3.0]]]]
    """

    def __init__(self, stride: int):
        self.stride = stride

    def forward(self, x: Tensor, output_size: tuple[int, int]) -> Tensor:
        h, w = (self.stride * n + 1 for n in x.shape[2:])
        x = pad(x, (0, 1, 0, 1), mode="replicate")
        x = interpolate(x, (h, w), mode="bilinear", align_corners=True)
        return x[:, :, :output_size[0], :output_size[1]]


def _classifier(in_channels: int, num_classes: int, kernel_size: int = 1, rate: int = 1) -> nn.Conv2d:
    """The convolution that makes scores, with the papers' first weights: normal, of standard deviation 0.01."""
    conv = nn.Conv2d(in_channels, num_classes, kernel_size, padding="same", dilation=rate)
    nn.init.normal_(conv.weight, std=0.01)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def _encoder(name: str, in_channels: int, width: int, output_stride: int) -> Encoder:
    """The encoder, without what makes class scores of a whole image, and VGG with the papers' poolings."""
    encoder = ENCODERS[name](num_classes=0, in_channels=in_channels, width=width, output_stride=output_stride)
    if isinstance(encoder, VGG):
        encoder.ceil_mode = True                            # padded poolings lose no row or column, of any size
        poolings = [i for i, layer in encoder.features.named_children() if isinstance(layer, nn.MaxPool2d)]
        for i, stage in zip(poolings, encoder.stages):
            setattr(encoder.features, i, nn.MaxPool2d(3, stage.step, padding=1))
    return encoder
