"""DeepLab v3 on MobileNetV2, as it was made for phones and trained on Pascal VOC.

Chen, Papandreou, Schroff & Adam, "Rethinking atrous convolution for semantic image segmentation", 2017, on the features
of Sandler et al. 2018, who leave out the dilated branches (section 6.2): a 1x1 convolution and image pooling remain.
"""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import nn
from ..functional import cat, interpolate, pad
from ..tensor import Tensor
from .blocks import ConvNormReLU, he_initialise
from .mobilenet import MobileNetV2, kernel_from_tensorflow


class DeepLabV3MobileNetV2(nn.Module):
    """MobileNetV2's features, beside each pixel's own the mean over all of the image, and a score for every class.

    The published weights are for Pascal VOC's 21 classes and images of RGB from -1 to 1, (x - 128) / 128.

    num_classes, in_channels: channels of the output scores and of the input image.
    width, output_stride: of `MobileNetV2`.
    norm: "batch", or None, with biases instead: for weights that the normalisation has been multiplied into.

    >>> model = DeepLabV3MobileNetV2(num_classes=21, width=8).eval()
    >>> model(Tensor(np.zeros((1, 3, 70, 95), np.float32))).shape
    (1, 21, 70, 95)
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 32, output_stride: int = 16,
                 norm: str | None = "batch"):
        self.num_classes, self.in_channels, self.width = num_classes, in_channels, width
        self.output_stride, self.norm = output_stride, norm
        self.encoder = MobileNetV2(in_channels, width, output_stride, norm)
        c_in, c = self.encoder.out_channels, 8 * width
        self.aspp0 = ConvNormReLU(c_in, c, 1, norm=norm)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.image_pooling = ConvNormReLU(c_in, c, 1, norm=norm)
        self.concat_projection = ConvNormReLU(2 * c, c, 1, norm=norm)
        self.classifier = nn.Conv2d(c, num_classes, 1)
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes, H, W) of images (N, in_channels, H, W).

        With s = output_stride, feature (i, j) lies on pixel (s·i, s·j).  The image is padded to p = s(h - 1) + 1 rows
        and q = s(w - 1) + 1 columns, so that the last of h x w features lies on the last pixel.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"DeepLabV3MobileNetV2: input has shape {x.shape}; expected (N, {self.in_channels}, H, W)")
        (height, width), s = x.shape[2:], self.output_stride
        x = pad(x, (0, (1 - width) % s, 0, (1 - height) % s))                   # (N, in_channels, p, q)
        padded = x.shape[2:]
        x = self.encoder(x)                                                     # (N, 10width, h, w)
        x = cat([self.of_the_image(x), self.aspp0(x)], dim=1)                   # (N, 16width, h, w)
        x = self.concat_projection(x)                                           # (N, 8width, h, w)
        x = self.classifier(x)                                                  # (N, num_classes, h, w)
        x = interpolate(x, padded, mode="bilinear", align_corners=True)         # (N, num_classes, p, q)
        return x[:, :, :height, :width]                                         # (N, num_classes, H, W)

    def of_the_image(self, x: Tensor) -> Tensor:
        """The branch that sees the image as a whole, with the same (N, 8·width) features at each of h x w places."""
        return interpolate(self.image_pooling(self.avgpool(x)), x.shape[2:], mode="bilinear")


def from_tflite(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of the network's TensorFlow Lite file as a state dict of DeepLabV3MobileNetV2(norm=None).

    arrays: "000/weight", "000/bias", … "068/bias": a pair for each convolution, in the order in which they stand here
        and there; the number is the operator's, and those that are left out are additions and the like.
    The images are (x - 128) / 128; see `mobilenet.for_normalized_images`.  ValueError if these are other arrays.
    """
    layers = [(name, layer) for name, layer in DeepLabV3MobileNetV2(1, width=8, norm=None).named_modules()
              if isinstance(layer, nn.Conv2d)]
    operators = sorted({name.partition("/")[0] for name in arrays})
    if {f"{operator}/{part}" for operator in operators for part in ("weight", "bias")} != arrays.keys() \
            or len(operators) != len(layers):
        raise ValueError(f"from_tflite: {len(arrays)} arrays, {', '.join(list(arrays)[:5])} …; expected 000/weight, "
                         f"000/bias and so on, of {len(layers)} convolutions")
    state = {}
    for operator, (name, layer) in zip(operators, layers):
        state[f"{name}.weight"] = kernel_from_tensorflow(arrays[f"{operator}/weight"], depthwise=layer.groups > 1)
        state[f"{name}.bias"] = arrays[f"{operator}/bias"]
    return state
