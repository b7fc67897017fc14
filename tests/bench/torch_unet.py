"""The same U-Net (padding "same", batch norm) in PyTorch, as the peer to measure against."""
import torch
from torch import nn


def convolutions(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(),
                         nn.Conv2d(c_out, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, num_classes, in_channels=3, width=64, depth=4):
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        self.contracting = nn.ModuleList(convolutions(i, o) for i, o in zip([in_channels, *channels], channels))
        self.max_pool = nn.MaxPool2d(2)
        self.up_convolution = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, stride=2) for c in channels[:-1])
        self.expansive = nn.ModuleList(convolutions(2 * c, c) for c in channels[:-1])
        self.conv_1x1 = nn.Conv2d(width, num_classes, 1)

    def forward(self, x):
        copies = []
        for down in self.contracting[:-1]:
            copies.append(down(x))
            x = self.max_pool(copies[-1])
        x = self.contracting[-1](x)
        for up, merge in reversed(list(zip(self.up_convolution, self.expansive))):
            x = merge(torch.cat([copies.pop(), up(x)], 1))
        return self.conv_1x1(x)
