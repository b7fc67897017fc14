"""Given: a small encoder, two convolutions and a max pooling at each of three levels."""
from tinyseg import nn

CHANNELS = (8, 16, 32)


def block(in_channels, out_channels):
    layers = []
    for c in (in_channels, out_channels):
        layers += [nn.Conv2d(c, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2))


class Encoder(nn.Module):
    """Images (N, 3, H, W) -> features of 1/2, 1/4 and 1/8 of the size, with CHANNELS channels."""

    def __init__(self):
        super().__init__()
        self.level1 = block(3, CHANNELS[0])
        self.level2 = block(CHANNELS[0], CHANNELS[1])
        self.level3 = block(CHANNELS[1], CHANNELS[2])

    def forward(self, x):
        half = self.level1(x)
        quarter = self.level2(half)
        return half, quarter, self.level3(quarter)
