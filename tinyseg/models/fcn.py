"""FCN: Long, Shelhamer & Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015.

To be read beside the paper's figure 3; the names in `forward` are those of the authors' networks.
"""
from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from .. import functional as F
from .. import nn
from ..nn.module import watch
from ..sizes import CoordinateMap, conv_map, conv_transpose_map, crop_offset
from ..tensor import Tensor
from .blocks import he_initialise
from .encoders import ENCODERS, Encoder
from .receptive_field import receptive_field
from .upsampling import (SKIPS, UPSAMPLING, Places, check_choice, conv_1x1, initialise, join, joined_channels,
                         max_places, upsampling_layer)
from .vgg import VGG

VARIANTS = ("32s", "16s", "8s")
STEPS = {                                    # the upsampling of each: layer, stride, and what meets what comes out
    "32s": (("upscore32", 32, "score"),),
    "16s": (("upscore2", 2, "score_pool4c"), ("upscore16", 16, "score")),
    "8s": (("upscore2", 2, "score_pool4c"), ("upscore_pool4", 2, "score_pool3c"), ("upscore8", 8, "score")),
}
HEADS = ("classifier", "fc", "linear")       # of an encoder: what makes class scores of a whole image


class FCN(nn.Module):
    """A classifier made convolutional; its coarse scores are upsampled, and summed with scores of finer features.

    FCN(21, padding=100) is the paper's FCN-8s.  On encoders other than VGG, which end in a global average and one fully
    connected layer, score_fr stands on the last feature map, without fc6 and fc7.

    num_classes, in_channels: channels of the output scores and of the input image.
    variant: "32s" has no skip; "16s" one, from pool4; "8s" another, from pool3.
    width: channels of the encoder's first stage; fc6 and fc7 have 64·width.
    encoder: a name in ENCODERS.
    upsampling: one of UPSAMPLING; "transposed_bilinear" is the paper's.
    skip: one of SKIPS; "sum" is the paper's.  "concat" lets a 1x1 convolution join both, which starts as their sum.
    padding: of the first convolution.  100, the paper's, so that fc6 fits into any image; or None: the first
        convolution is the encoder's own, and fc6 is padded instead, which is a fraction of the work on small images.
    learn_upsampling: False freezes the upsampling layers as they are, bilinear (the authors' later networks).
    at_once: scale pool4 by 0.01 and pool3 by 0.0001, to train an 8s without the coarser ones before it.
    staged: upsample in the 8s's three steps whatever the variant, so that a finer one can `start_from` this one.

    Score layers start at zero, so that every class starts with the same score.  The output is as large as the input,
    which may have any size: crops follow from coordinate maps.  ValueError for impossible arguments and inputs.

    >>> FCN(num_classes=21, width=2)(Tensor(np.zeros((1, 3, 45, 60), np.float32))).shape
    (1, 21, 45, 60)
    >>> FCN(num_classes=21, width=2, padding=100).crops
    {'score_pool4c': 5, 'score_pool3c': 9, 'score': 31}
    """

    upscore2: nn.Module                      # those of STEPS[steps]
    upscore_pool4: nn.Module
    upscore8: nn.Module
    upscore16: nn.Module
    upscore32: nn.Module

    def __init__(self, num_classes: int, in_channels: int = 3, variant: str = "8s", width: int = 64,
                 encoder: str = "vgg16", upsampling: str = "transposed_bilinear", skip: str = "sum",
                 padding: int | None = None, learn_upsampling: bool = True, at_once: bool = False,
                 staged: bool = False):
        if min(num_classes, in_channels, width) < 1:
            raise ValueError(f"FCN: num_classes={num_classes}, in_channels={in_channels}, width={width}; "
                             f"expected at least 1 of each")
        for name, value, choices in [("variant", variant, VARIANTS), ("encoder", encoder, tuple(ENCODERS)),
                                     ("upsampling", upsampling, UPSAMPLING), ("skip", skip, SKIPS),
                                     ("padding", padding, (None, 100))]:
            check_choice(f"FCN: {name}", value, choices)
        self.num_classes, self.in_channels, self.variant, self.width = num_classes, in_channels, variant, width
        self.encoder_name, self.upsampling, self.skip, self.padding = encoder, upsampling, skip, padding
        self.learn_upsampling, self.at_once, self.staged = learn_upsampling, at_once, staged
        self.steps = "8s" if staged else variant
        self.encoder = _encoder(encoder, in_channels, width, padding, upsampling)
        *_, pool3, pool4, pool5 = self.encoder.channels
        fc = 64 * width if isinstance(self.encoder, VGG) else pool5
        self.fc6: nn.Module = nn.Identity()
        self.fc7: nn.Module = nn.Identity()
        if isinstance(self.encoder, VGG):
            self.fc6 = FullyConnected(pool5, fc, 7, padding=0 if padding else 3)
            self.fc7 = FullyConnected(fc, fc, 1)
            he_initialise(self.fc6)
            he_initialise(self.fc7)
        self.score_fr = _score_layer(fc, num_classes)
        if variant != "32s" and skip != "none":
            self.score_pool4, self.fuse_pool4 = _score_layer(pool4, num_classes), Fuse(skip, num_classes)
        if variant == "8s" and skip != "none":
            self.score_pool3, self.fuse_pool3 = _score_layer(pool3, num_classes), Fuse(skip, num_classes)
        self.crops: dict[str, int] = {}
        self._add_upsampling()

    def _add_upsampling(self) -> None:
        """The upscore layers and, from coordinate maps, where the maps that meet lie on each other."""
        pool3, pool4, score = (coordinate_map(self.encoder, level) for level in (-3, -2, -1))
        if isinstance(self.encoder, VGG):
            score = score.then(conv_map(7, p=0 if self.padding else 3))                # fc6
        maps = {"score_pool4c": pool4, "score_pool3c": pool3, "score": CoordinateMap()}
        unpooled = list(reversed(self.encoder.channels))
        for name, stride, over in STEPS[self.steps]:
            kernels = (2 * stride, 2 * stride - 1) if self.upsampling.startswith("transposed") else (stride, 1)
            for kernel_size in kernels:                            # the first for which pixels lie on pixels
                upscore = score.then(conv_transpose_map(kernel_size, stride))
                offset = crop_offset(upscore, maps[over]) if over == "score" else crop_offset(maps[over], upscore)
                if offset.denominator == 1:
                    break
            poolings = stride.bit_length() - 1
            pooled, unpooled = unpooled[:poolings], unpooled[poolings:]
            layer = upsampling_layer(self.upsampling, self.num_classes, self.num_classes, stride, kernel_size,
                                     padding=0, bias=False, pooled=pooled)
            initialise(layer)
            setattr(self, name, layer.requires_grad_(self.learn_upsampling))
            self.crops[over], score = int(offset), upscore

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every class at every pixel, (N, C, H, W), of images (N, in_channels, H, W).

        The last feature map has f channels, of h x w pixels in the score map; pool4 has h4 x w4, and pool3 h3 x w3.
        """
        pool3, pool4, pool5, places = self._encode(x)
        fc6 = self.fc6(pool5)                                                   # (N, f, h, w)
        fc7 = self.fc7(fc6)                                                     # (N, f, h, w)
        score_fr = self.score_fr(fc7)                                           # (N, C, h, w)
        if self.steps == "32s":
            upscore32 = self.upscore32(score_fr, pooling=places)                # (N, C, 32h + 32, 32w + 32)
            return crop(upscore32, x, self.crops["score"])                      # (N, C, H, W)

        fuse_pool4 = upscore2 = self.upscore2(score_fr, pooling=places[:1])     # (N, C, 2h + 2, 2w + 2)
        if hasattr(self, "score_pool4"):
            score_pool4 = self.score_pool4(pool4)                               # (N, C, h4, w4)
            score_pool4c = crop(score_pool4, upscore2, self.crops["score_pool4c"])      # (N, C, 2h + 2, 2w + 2)
            fuse_pool4 = self.fuse_pool4(upscore2, score_pool4c)                # (N, C, 2h + 2, 2w + 2)
        if self.steps == "16s":
            upscore16 = self.upscore16(fuse_pool4, pooling=places[1:])          # (N, C, 32h + 48, 32w + 48)
            return crop(upscore16, x, self.crops["score"])                      # (N, C, H, W)

        fuse_pool3 = upscore_pool4 = self.upscore_pool4(fuse_pool4, pooling=places[1:2])        # (N, C, 4h + 6, 4w + 6)
        if hasattr(self, "score_pool3"):
            score_pool3 = self.score_pool3(pool3)                               # (N, C, h3, w3)
            score_pool3c = crop(score_pool3, upscore_pool4, self.crops["score_pool3c"])     # (N, C, 4h + 6, 4w + 6)
            fuse_pool3 = self.fuse_pool3(upscore_pool4, score_pool3c)           # (N, C, 4h + 6, 4w + 6)
        upscore8 = self.upscore8(fuse_pool3, pooling=places[2:])                # (N, C, 32h + 56, 32w + 56)
        return crop(upscore8, x, self.crops["score"])                           # (N, C, H, W)

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Places]]:
        """pool3, pool4, pool5, and, for max-unpooling, where pool5, pool4, … pool1 found their maxima."""
        places: list[Places] = []

        def note(path: str, module: nn.Module, inputs: tuple, output: Any) -> None:
            if isinstance(module, nn.MaxPool2d):
                places.insert(0, max_places(inputs[0]))

        with watch(self.encoder, note) if self.upsampling == "max_unpool" else contextlib.nullcontext():
            pool3, pool4, pool5 = self.encoder.pyramid(x)[-3:]
        if self.at_once:
            pool3, pool4 = 0.0001 * pool3, 0.01 * pool4
        return pool3, pool4, pool5, places

    # Weights from elsewhere -------------------------------------------------------------------------------------------

    def load_classifier(self, state: Mapping[str, Any]) -> None:
        """Take over the weights of a classifier, VGG's fully connected layers as the convolutions fc6 and fc7.

        state: the state dict of the encoder by itself (torchvision's names).  Its scores of whole images are left out.
        ValueError if names or shapes do not fit.
        """
        self.encoder.load_state_dict({name: value for name, value in state.items() if name.split(".")[0] not in HEADS})
        for layer, name in ((self.fc6, "classifier.0"), (self.fc7, "classifier.3")):
            if isinstance(layer, FullyConnected):
                own = {key: np.asarray(state[f"{name}.{key}"]) for key in ("weight", "bias")
                       if f"{name}.{key}" in state}
                if "weight" in own and own["weight"].size == layer.weight.size:
                    own["weight"] = own["weight"].reshape(layer.weight.shape)   # (O, C·7·7) -> (O, C, 7, 7)
                layer.load_state_dict(own)

    def start_from(self, coarser: FCN) -> None:
        """Go on where the training of a coarser FCN stopped: 32s, then 16s, then 8s (section 4.2 of the paper).

        All layers are taken over, and the new score layers are zero: the output is exactly the same as before.  For
        that both must upsample in the same steps, see `staged`.  The paper's own nets do not: where the 32s
        interpolates between points 32 pixels apart, the 16s does it between points 16 pixels apart, none of which is
        one of those, so that its kinks can never lie where the 32s has them.
        ValueError if the other one is not coarser, or was built in another way.
        """
        order = VARIANTS.index
        if order(coarser.variant) >= order(self.variant):
            raise ValueError(f"FCN: start_from: a {self.variant} does not go on from a {coarser.variant}; expected a "
                             f"coarser one")
        for name in ("steps", "encoder_name", "upsampling", "skip", "padding", "at_once"):
            theirs, ours = getattr(coarser, name), getattr(self, name)
            if theirs != ours:
                raise ValueError(f"FCN: start_from: {name}={theirs!r} cannot go on as {name}={ours!r}; build both alike"
                                 + ", with staged=True" * (name == "steps"))
        own, others = self.state_dict(), coarser.state_dict()
        new = [name for name in own if name.startswith(("score_pool", "fuse_pool")) and name not in others]
        zeros = {name: 0 * own[name] for name in new if name.startswith("score_pool")}
        self.load_state_dict({name: own[name] for name in new} | others | zeros)


class FullyConnected(nn.Conv2d):
    """A fully connected layer as a convolution, with its ReLU and dropout."""

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(F.relu(super().forward(input)), 0.5, self.training)


class Fuse(nn.Module):
    """Joins scores (N, C, H, W) from below with those of a skip, to as many; "concat" starts as "sum"."""

    def __init__(self, skip: str, channels: int):
        self.skip, self.conv = skip, conv_1x1(joined_channels(skip, channels), channels, bias=False)
        if isinstance(self.conv, nn.Conv2d):
            self.conv.weight.writable()[..., 0, 0] = np.tile(np.eye(channels), 2)

    def forward(self, x: Tensor, copy: Tensor) -> Tensor:
        return self.conv(join(self.skip, x, copy))


def crop(x: Tensor, like: Tensor, offset: int) -> Tensor:
    """The part of x that lies under `like`, whose pixel (0, 0) is (offset, offset) of x; zeros where x does not reach.

    >>> crop(Tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), like=Tensor(np.zeros((1, 1, 1, 2))), offset=1).numpy().tolist()
    [[[[4.0, 0.0]]]]
    """
    (height, width), (h, w) = x.shape[2:], like.shape[2:]
    if offset < 0 or offset + h > height or offset + w > width:
        return F.pad(x, (-offset, offset + w - width, -offset, offset + h - height))
    return x[:, :, offset:offset + h, offset:offset + w]


def coordinate_map(encoder: Encoder, level: int) -> CoordinateMap:
    """From the pixels of one map of an encoder's pyramid to those of the image.

    >>> [str(coordinate_map(ENCODERS[name](width=1), 2)) for name in ("vgg16", "resnet18")]
    ['8·x + 7/2', '8·x + 0']
    """
    view = contextvars.Context()             # of its own, since the way back is needed even where no_grad holds
    field = view.run(receptive_field, _Level(encoder, level), (1, encoder.in_channels, 64, 64))
    return CoordinateMap(Fraction(field.stride[0]), Fraction(field.offset[0]))


class _Level(nn.Module):
    """One map of the pyramid, as the output."""

    def __init__(self, encoder: Encoder, level: int):
        self.encoder, self.level = encoder, level

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder.pyramid(x)[self.level]


def _score_layer(channels: int, num_classes: int) -> nn.Conv2d:
    """Starts at zero, as all of them: then all classes are equally likely, and a new skip changes nothing."""
    layer = nn.Conv2d(channels, num_classes, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _encoder(name: str, in_channels: int, width: int, padding: int | None, upsampling: str) -> Encoder:
    """The encoder without its head, with the paper's poolings and padding; ValueError if it does not serve an FCN."""
    settings = {"ceil_mode": True} if name.startswith("vgg") else {}
    encoder = ENCODERS[name](num_classes=0, in_channels=in_channels, width=width, **settings)
    if encoder.strides[-3:] != (8, 16, 32):
        raise ValueError(f"FCN: encoder={name!r} has maps of strides {encoder.strides}; expected 8, 16 and 32 at the "
                         f"end")
    poolings = sum(isinstance(m, nn.MaxPool2d) and m.kernel_size == m.stride == (2, 2) for m in encoder.modules())
    if upsampling == "max_unpool" and poolings != len(encoder.strides):
        raise ValueError(f"FCN: upsampling='max_unpool' undoes 2x2 max poolings, of which encoder={name!r} has "
                         f"{poolings}; expected 5, as in 'vgg16'")
    if upsampling == "max_unpool" and padding is not None:
        raise ValueError(f"FCN: upsampling='max_unpool' needs scores as large as pool5, but with padding={padding} fc6 "
                         f"makes less of it; use padding=None")
    if padding is not None:
        first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
        first.padding = (padding, padding)
    return encoder
