"""
Encoder and decoder
===================

Why do networks for segmentation first shrink the image and then enlarge it again?  Shrunk, it is cheap to compute many
features of it, each seeing much of the image; but a mask is wanted at full size, and so something must upsample.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import nn, plots
from tinyseg.data.palette import OKABE_ITO, colorize
from tinyseg.data.transforms import normalize
from tinyseg.models.blocks import ConvNormReLU
from tinyseg.models.summary import layer_rows

F = ts.functional
plt.style.use(plots.SLIDE)

# %%
# The common shape
# ----------------
# SegNet is the clearest example: thirteen convolutions with five poolings between them, and the same in reverse.
#
# **See:** a bar for each convolution, as high as its output, as wide as it has channels.  The encoder trades pixels for
# channels, and the decoder channels for pixels.
SHAPE = (1, 3, 224, 224)
model = ts.models.SegNet(num_classes=21)
convolutions = [row for row in layer_rows(model, SHAPE) if row.kind == "Conv2d"]
assert [row.output_shape[2] for row in convolutions[:13]] == [row.output_shape[2] for row in convolutions[13:]][::-1]

figure, ax = plt.subplots(figsize=(13, 5))
left = 0
for row in convolutions:
    _, channels, height, _ = row.output_shape
    colour = plots.BLUE if row.path.startswith("encoder") else plots.VERMILION
    ax.add_patch(plt.Rectangle((left, -height / 2), channels, height, facecolor=colour, edgecolor="white"))
    left += channels + 60
ax.text(left / 4, 140, "encoder", ha="center", color=plots.BLUE, fontsize=20)
ax.text(3 * left / 4, 140, "decoder", ha="center", color=plots.VERMILION, fontsize=20)
ax.set(xlim=(0, left), ylim=(-120, 175), yticks=[-112, 112], yticklabels=["0", "224"], xticks=[],
       ylabel="pixels", xlabel="convolutions, as wide as they have channels", title="SegNet")
ax.spines[["top", "right", "bottom"]].set_visible(False)
plt.show()

# %%
# What shrinking saves
# --------------------
# After a pooling there is a quarter of the pixels, and so a quarter of the work for the same kernels.  Without any
# pooling the same network would take many times as much, and see far less of the image.
work = sum(row.multiply_adds for row in convolutions)
unpooled = sum(row.multiply_adds * row.stride[0] * row.stride[1] for row in convolutions)
deepest = max(row.receptive_field[0] for row in convolutions[:13])
print(f"multiply-adds: {work / 1e9:.0f} billion; without the poolings {unpooled / 1e9:.0f}, {unpooled / work:.0f} times")
print(f"an output of the encoder's last convolution sees {deepest:.0f} pixels; without the poolings {1 + 13 * 2}")
assert unpooled > 5 * work and deepest > 5 * (1 + 13 * 2)

# %%
# What shrinking costs
# --------------------
# How good can a mask be that has one label for every s x s pixels?  Give each block the label that most of its pixels
# have: no network with such an output gets more pixels right.  *mIoU* judges the classes, large or small: of each, what
# mask and prediction have in common, divided by what either has; and the mean over the classes.
#
# **See:** at stride 32, the usual one of classification networks, little of the objects is left; two of three pixels are
# right nevertheless, most of them background.
scenes = ts.data.Scenes(length=8, size=(96, 128), num_classes=6, seed=0)
image, mask = scenes.read(3)
legend = plots.class_legend(scenes.classes, OKABE_ITO)
one_hot = (mask == np.arange(6)[:, None, None]).astype(float)              # (6, H, W)


def enlarged(labels):
    """(h, w) -> (96, 128), each label a block."""
    return labels.astype(np.uint8).repeat(96 // labels.shape[0], axis=0).repeat(128 // labels.shape[1], axis=1)


def judged(prediction):
    """Pixel accuracy and mIoU."""
    confusion = ts.metrics.ConfusionMatrix(num_classes=6)
    confusion.update(prediction, mask)
    return confusion.pixel_accuracy, confusion.mean_iou


coarse = {stride: F.avg_pool2d(one_hot, stride).numpy().argmax(axis=0) for stride in (4, 8, 16, 32)}
bounds = [judged(enlarged(labels))[1] for labels in coarse.values()]
assert bounds == sorted(bounds, reverse=True) and bounds[0] > 0.95 and bounds[-1] < 0.6
assert judged(enlarged(coarse[32]))[0] > 0.65
pictures = [("mask", colorize(mask, OKABE_ITO))]
pictures += [("stride {}: {:.0%} right,\nmIoU {:.2f}".format(stride, *judged(enlarged(labels))),
              colorize(enlarged(labels), OKABE_ITO)) for stride, labels in coarse.items()]
plots.slide("One label for each s x s pixels: the most that can be right", [pictures], legend)
plt.show()

# %%
# Soft-max at the encoder's output
# --------------------------------
# *Soft-max* makes probabilities of the scores of the classes; it is the last step of a classifier, and part of
# ``cross_entropy``.  Here it comes right behind an encoder alone, trained on this one image: every output pixel learns the
# label that most pixels of its 16 x 16 block have, the mask of stride 16 above.  A ``ConvNormReLU`` is a convolution, a
# normalisation, which keeps the numbers of moderate size, and ReLU.
STRIDE = 16
ts.manual_seed(0)
encoder = nn.Sequential(
    ConvNormReLU(3, 16), nn.MaxPool2d(2),                                  # (N, 16, H/2, W/2)
    ConvNormReLU(16, 32), nn.MaxPool2d(2),                                 # (N, 32, H/4, W/4)
    ConvNormReLU(32, 64), nn.MaxPool2d(2),                                 # (N, 64, H/8, W/8)
    ConvNormReLU(64, 64), nn.MaxPool2d(2),                                 # (N, 64, H/16, W/16)
    ConvNormReLU(64, 64), nn.Conv2d(64, 6, 1))                             # (N, 6, H/16, W/16): scores
x, target = ts.Tensor(normalize(image)[None]), coarse[STRIDE][None]         # (1, 6, 8)
optimizer = ts.optim.Adam(encoder.parameters(), lr=0.01)
for step in range(60):
    optimizer.zero_grad()
    scores = encoder(x)                                                    # (1, 6, 6, 8)
    loss = F.cross_entropy(scores, target)
    loss.backward()
    optimizer.step()
print(f"loss after {step + 1} steps: {loss.item():.4f}")

# %%
# **See:** it knows the coarse mask by heart, and yet is far from the full one.  Upsampling the *scores*, not the labels,
# helps, since they are smooth; the detail within a block is gone.  To bring it back is what decoders are for, and how they
# upsample, and what they may look at, is what they differ in.
blocks = scores.numpy()[0].argmax(axis=0)                                  # (6, 8)
smooth = F.interpolate(scores, scale_factor=STRIDE, mode="bilinear").numpy()[0].argmax(axis=0).astype(np.uint8)
learned, better = judged(enlarged(blocks))[1], judged(smooth)[1]
plots.slide(f"What an encoder of stride {STRIDE} learns of one image", [[
    ("image", image), ("mask", colorize(mask, OKABE_ITO)),
    ("labels, {} x {}: mIoU {:.2f}".format(*blocks.shape, learned), colorize(enlarged(blocks), OKABE_ITO)),
    (f"scores upsampled: mIoU {better:.2f}", colorize(smooth, OKABE_ITO))]], legend)
plt.show()
print(f"mIoU of the labels {learned:.2f}, of the upsampled scores {better:.2f}")
assert (blocks == target[0]).mean() > 0.98 and learned < better < 0.9

# %%
# **Try:** ``tinyseg summary segnet --width 64 --size 224 224`` for all layers of the first figure.  Then, without the last
# assertion: a fifth pooling in the encoder, and ``STRIDE = 32``: does it still learn its mask by heart, and do upsampled
# scores still help?  ``nearest`` in place of ``bilinear``: why is it no better than the labels?
