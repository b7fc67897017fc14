"""The blocks that models are built from."""
from __future__ import annotations

from .. import nn
from ..nn.layers import Padding
from ..sizes import IntPair
from ..tensor import Tensor

NORMS = ("batch", "group", None)


class ConvNormReLU(nn.Module):
    """Convolution, normalisation, ReLU; the convolution has a bias only where there is no normalisation to undo it.

    norm: "batch", "group" or None.

    >>> ConvNormReLU(3, 64)
    ConvNormReLU(
      (conv): Conv2d(3, 64, (3, 3), padding='same', bias=False)
      (norm): BatchNorm2d(64)
      (relu): ReLU()
    )
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: IntPair = 3, stride: IntPair = 1,
                 padding: Padding = "same", dilation: IntPair = 1, norm: str | None = "batch"):
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=norm is None)
        self.norm = norm_layer(norm, out_channels)
        self.relu: nn.Module = nn.ReLU()

    def forward(self, x: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        return nn.chain(x, self.conv, self.norm, self.relu)

    def normalised(self) -> list[tuple[str, str]]:
        return [("conv", "norm")]


def norm_layer(norm: str | None, channels: int) -> nn.Module:
    """The layer for norm="batch", "group" or None.

    Groups are of 16 channels (Wu & He 2018, table 3), or one of all where 16 does not divide them.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(channels // 16 if channels % 16 == 0 else 1, channels)
    if norm is None:
        return nn.Identity()
    raise ValueError(f"norm={norm!r}; expected one of {', '.join(map(repr, NORMS))}")


def he_initialise(model: nn.Module) -> None:
    """Draw all weights as He et al. 2015 for the ReLU: variance 2 / (numbers that meet in one output); biases 0.

    In a transposed convolution of stride s, in_channels · K² / s² numbers meet in one output.
    """
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.ConvTranspose2d):
            meeting = layer.weight.size / layer.weight.shape[1] / (layer.stride[0] * layer.stride[1]) / layer.groups
            nn.init.normal_(layer.weight, std=(2 / meeting)**0.5)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
