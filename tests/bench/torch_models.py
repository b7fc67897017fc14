"""The systems in PyTorch, as its users write them: the peers to measure against.

`twin(model)` makes the PyTorch module of a tinyseg model: layers become torch.nn's of the same settings, modules the classes
below, which have a forward of their own, and all weights are taken over.  Then both are run on the same images, and must agree.
"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import tinyseg as ts
from tinyseg.inference import evaluating


class Twin(nn.Module):
    """A module with the settings and the parts of tinyseg's module of the same class name."""

    def __init__(self, model):
        super().__init__()
        children = dict(model.named_children())
        for name, value in vars(model).items():
            if name in children:
                self.add_module(name, translate(value))
            elif not isinstance(value, ts.Tensor):
                setattr(self, name, value)


class ConvNormReLU(Twin):
    def forward(self, x):
        return self.relu(self.norm(self.conv(x)))


class UNet(Twin):
    def forward(self, x):
        copies = []
        for down in self.contracting[:-1]:
            copies.append(down(x))
            x = self.max_pool(copies[-1])
        x = self.contracting[-1](x)
        for level in reversed(range(self.depth)):
            x = torch.cat([copies[level], self.up_convolution[level](x)], 1)
            x = self.expansive[level](x)
        return self.conv_1x1(x)


class SegNet(Twin):
    def forward(self, x):
        places = []
        for stage in self.encoder:
            size = x.shape[2:]
            x, indices = self.max_pool(stage(x))
            places.append((indices, size))
        for (indices, size), stage in reversed(list(zip(places, self.decoder))):
            x = stage(F.max_unpool2d(x, indices, 2, output_size=size))
        return self.score(x)


class VGG(Twin):
    def pyramid(self, x):
        maps = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
        return maps


class BasicBlock(Twin):
    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(Twin):
    def pyramid(self, x):
        maps = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(maps[0])
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


class FCN(Twin):
    """FCN-8s with summed skips."""

    def forward(self, x):
        pool3, pool4, pool5 = self.encoder.pyramid(x)[-3:]
        up = self.upscore2(self.score_fr(self.fc7(self.fc6(pool5))))
        up = self.upscore_pool4(up + crop(self.score_pool4(pool4), up, self.crops["score_pool4c"]))
        up = self.upscore8(up + crop(self.score_pool3(pool3), up, self.crops["score_pool3c"]))
        return crop(up, x, self.crops["score"])


class FullyConnected(Twin):
    """A convolution, so its weights are its own."""

    def __init__(self, layer):
        super().__init__(layer)
        self.weight, self.bias = (nn.Parameter(torch.empty(p.shape)) for p in (layer.weight, layer.bias))

    def forward(self, x):
        x = F.conv2d(x, self.weight, self.bias, padding=self.padding)
        return F.dropout(F.relu(x, inplace=True), 0.5, self.training)


def crop(x, like, offset):
    """The part of x that lies under `like`, whose first pixel is (offset, offset) of x; zeros where x does not reach."""
    (height, width), (h, w) = x.shape[2:], like.shape[2:]
    return F.pad(x, (-offset, offset + w - width, -offset, offset + h - height))


class DeepLab(Twin):
    def forward(self, x):
        size = x.shape[2:]
        x = self.encoder.pyramid(x)[-1]
        x = sum(classify(branch(x)) for branch, classify in zip(self.branches, self.classifiers))
        return self.upsample(x)[:, :, :size[0], :size[1]]


class Bilinear(Twin):
    def forward(self, x):
        size = [self.stride * n + 1 for n in x.shape[2:]]
        return F.interpolate(F.pad(x, (0, 1, 0, 1), mode="replicate"), size, mode="bilinear", align_corners=True)


class LargeFOV(Twin):
    def forward(self, x):
        return self.dropout(self.relu(self.fc7(self.dropout(self.relu(self.fc6(x))))))


class ImagePooling(Twin):
    def forward(self, x):
        return self.convolve(self.pool(x)).expand(-1, -1, *x.shape[2:])


class ASPP(Twin):
    def forward(self, x):
        return self.project(torch.cat([branch(x) for branch in self.branches], 1))


MODULES = {cls.__name__: cls for cls in Twin.__subclasses__()}
SETTINGS = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "ConvTranspose2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "output_padding", "groups"),
    "BatchNorm2d": ("num_features",),
    "MaxPool2d": ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"),
    "AdaptiveAvgPool2d": ("output_size",), "Dropout": ("p",), "ReLU": (),
}


def translate(module):
    """One of MODULES, torch.nn's layer of the same name or base, or a container; nothing, where no forward above uses it."""
    for cls in type(module).__mro__:
        name = cls.__name__
        if name in MODULES:
            return MODULES[name](module)
        if name == "Sequential":
            return nn.Sequential(*map(translate, module))
        if name == "ModuleList":
            return nn.ModuleList(map(translate, module))
        if name in SETTINGS:
            settings = {setting: getattr(module, setting) for setting in SETTINGS[name]}
            if name.startswith("Conv"):
                settings["bias"] = module.bias is not None
            return getattr(nn, name)(**settings, **{"inplace": True} if name == "ReLU" else {})
    return nn.Identity()


def twin(model):
    """The PyTorch module of a tinyseg model, with its weights; AssertionError if the two do not compute the same."""
    net = translate(model)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in model.state_dict().items()})
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    with ts.no_grad(), torch.no_grad(), evaluating(model):
        ours, theirs = model(ts.Tensor(x)).numpy(), net.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * max(1e-3, np.abs(theirs).max()))
    return net.train(model.training)
