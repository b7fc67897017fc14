"""Networks: modules and layers with the names, state-dict keys and shapes of torch.nn."""
from . import init
from .containers import ModuleList, Sequential, chain
from .convolutionalize import convolutionalize
from .layers import BatchNorm2d, Conv2d, ConvTranspose2d, GroupNorm, Linear
from .module import HookHandle, Module, Parameter, first_nonfinite, watch
from .plain import (AdaptiveAvgPool2d, AvgPool2d, CrossEntropyLoss, Dropout, Dropout2d, Flatten, Identity, LeakyReLU,
                    MaxPool2d, MaxUnpool2d, PixelShuffle, ReLU, ReLU6, Sigmoid, Softmax, Tanh, Upsample)

__all__ = [
    "AdaptiveAvgPool2d", "AvgPool2d", "BatchNorm2d", "Conv2d", "ConvTranspose2d", "CrossEntropyLoss", "Dropout",
    "Dropout2d", "Flatten", "GroupNorm", "HookHandle", "Identity", "LeakyReLU", "Linear", "MaxPool2d", "MaxUnpool2d",
    "Module", "ModuleList", "Parameter", "PixelShuffle", "ReLU", "ReLU6", "Sequential", "Sigmoid", "Softmax", "Tanh",
    "Upsample", "chain", "convolutionalize", "first_nonfinite", "init", "watch",
]
