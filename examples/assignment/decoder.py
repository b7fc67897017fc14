"""Task decoder: from coarse features back to the image's size, with skip connections (FCN-8s in small).

From here on you use tinyseg: tensors know their gradients, layers their parameters.
"""
import tinyseg as ts
from encoder import CHANNELS, Encoder
from tinyseg import nn


class Decoder(nn.Module):
    """Scores of every class at every pixel, from features of 1/2, 1/4 and 1/8 of the image's size.

        score3 = 1x1 convolution of the 1/8 features     upscore2 = transposed convolution, twice as large
        score2 = 1x1 convolution of the 1/4 features     fuse2    = upscore2(score3) + score2
        score1 = 1x1 convolution of the 1/2 features     fuse1    = upscore1(fuse2) + score1
                                                         output   = upscore0(fuse1)

    Every score has num_classes channels.  The layers are called score1, score2, score3 (nn.Conv2d) and upscore0,
    upscore1, upscore2 (nn.ConvTranspose2d, kernel_size=4, stride=2, padding=1, bias=False).
    """

    def __init__(self, num_classes, channels=CHANNELS):
        super().__init__()
        # BEGIN SOLUTION
        self.score1, self.score2, self.score3 = (nn.Conv2d(c, num_classes, 1) for c in channels)
        self.upscore0, self.upscore1, self.upscore2 = (
            nn.ConvTranspose2d(num_classes, num_classes, 4, stride=2, padding=1, bias=False) for _ in range(3))
        # END SOLUTION

    def forward(self, half, quarter, eighth):
        """half (N, channels[0], H/2, W/2), quarter (N, channels[1], H/4, W/4), eighth … -> (N, num_classes, H, W)."""
        # BEGIN SOLUTION
        fuse2 = self.upscore2(self.score3(eighth)) + self.score2(quarter)       # (N, num_classes, H/4, W/4)
        fuse1 = self.upscore1(fuse2) + self.score1(half)                        # (N, num_classes, H/2, W/2)
        return self.upscore0(fuse1)                                             # (N, num_classes, H, W)
        # END SOLUTION


class Network(nn.Module):
    """The given encoder and your decoder: images (N, 3, H, W) -> scores (N, num_classes, H, W), H and W divisible by 8."""

    def __init__(self, num_classes):
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(num_classes)

    def forward(self, x):
        return self.decoder(*self.encoder(x))


def run(half, quarter, eighth, dy, state):
    """What the tests look at: the scores of a decoder with the weights `state`, and the gradients for dy.  (Given.)"""
    decoder = Decoder(state["score1.bias"].size, [x.shape[1] for x in (half, quarter, eighth)])
    decoder.load_state_dict(state)
    y = decoder(ts.Tensor(half), ts.Tensor(quarter), ts.Tensor(eighth))
    y.backward(dy)
    return y.numpy(), {name: p.grad for name, p in decoder.named_parameters() if p.grad is not None}


def names():
    """The names and shapes of a decoder's weights.  (Given.)"""
    return {name: list(p.shape) for name, p in Decoder(5, (2, 3, 4)).named_parameters()}
