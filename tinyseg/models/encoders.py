"""The encoders by name: the one list that models, the command line and the documentation read."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .encoder import OUTPUT_STRIDES, Encoder
from .mobilenet import MobileNetV1
from .resnet import ResNet
from .vgg import VGG

ENCODERS: dict[str, Callable[..., Encoder]] = {
    "vgg11": partial(VGG, depth=11),
    "vgg11_bn": partial(VGG, depth=11, batch_norm=True),
    "vgg16": partial(VGG, depth=16),
    "vgg16_bn": partial(VGG, depth=16, batch_norm=True),
    "resnet18": partial(ResNet, depth=18),
    "resnet34": partial(ResNet, depth=34),
    "resnet20": partial(ResNet, depth=20),
    "mobilenet_v1": MobileNetV1,
}

__all__ = ["ENCODERS", "OUTPUT_STRIDES", "Encoder"]
