"""
DeepLab: dilation, ASPP and a CRF
=================================

Can a network see far without making its image small?  DeepLab moves the taps of its kernels apart (*dilation*, or
*atrous* convolution), looks at several distances at once (*ASPP*), and leaves the last pixels to a CRF.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import OKABE_ITO, colorize
from tinyseg.data.transforms import normalize
from tinyseg.inference import probabilities
from tinyseg.models.gridding import paths
from tinyseg.training import train_step

plt.style.use(plots.SLIDE)

# %%
# The same nine weights, further apart
# ------------------------------------
# A 3x3 kernel at rate r has its taps r pixels apart, and still nine weights.  Three layers of it see further and further,
# if the rates grow; if they are equal, their taps fall on the same grid, and never see what lies between.
#
# **See:** in how many ways each pixel of the input reaches the one in the middle of the output; white not at all.
stacks = [(1, 1, 1), (1, 2, 4), (2, 2, 2)]
figure, axes = plt.subplots(1, 3, figsize=(13, 4.8))
for ax, rates in zip(axes, stacks):
    ways = paths(rates)
    side, holes = len(ways), (ways == 0).mean()
    ax.imshow(np.pad(np.where(ways, ways, np.nan), (15 - side) // 2, constant_values=np.nan), norm="log")
    ax.set(title=f"rates {', '.join(map(str, rates))}: sees {side} x {side},\n{holes:.0%} of it holes", xticks=[], yticks=[])
figure.suptitle("Three layers, 27 weights each")
plt.show()
assert [len(paths(rates)) for rates in stacks] == [7, 15, 13]
assert (paths((1, 2, 4)) > 0).all() and (paths((2, 2, 2)) == 0).mean() > 0.7

# %%
# The same weights, more pixels
# -----------------------------
# The lecture's key insight: the weights of a classifier still do.  Where a pooling no longer halves the map, all that
# follows is dilated by two, so each of its pixels sees the same pixels as before.  The encoder's old features are all
# there, and between them new ones.
image, mask = ts.data.Scenes(length=1, size=96, num_classes=6).read(0)
x = ts.Tensor(normalize(image)[None])
maps = {}
for stride in (32, 16, 8):
    ts.manual_seed(0)
    encoder = ts.models.VGG(depth=11, width=8, output_stride=stride)       # shapes of weights do not depend on it
    maps[stride] = encoder.pyramid(x)[-1].numpy()
    assert np.allclose(maps[stride][:, :, ::32 // stride, ::32 // stride], maps[32], rtol=1e-4, atol=1e-5)

# %%
# **See:** a channel of the last feature map at three output strides; each map contains the one to its left.
figure, axes = plt.subplots(1, 4, figsize=(13, 4.1))
axes[0].imshow(image)
channel = maps[8][0].var(axis=(1, 2)).argmax()
for ax, (stride, features) in zip(axes[1:], maps.items()):
    ax.imshow(features[0, channel], vmin=0, vmax=maps[8][0, channel].max())
titles = ["image", *(f"output stride {stride}:\n{m.shape[2]} x {m.shape[3]} features" for stride, m in maps.items())]
for ax, title in zip(axes, titles):
    ax.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# Several rates at once
# ---------------------
# Objects are of all sizes, so v2 scores each feature four times, with kernels of four rates, and adds the scores: atrous
# spatial pyramid pooling.  On a small map large rates only see the padding, so ours are smaller than the paper's.
#
# **See:** where the nine taps of each of four rates lie in the image, for the feature in the middle, at output stride 8.
figure, ax = plt.subplots(figsize=(9, 6.4))
ax.imshow(image, alpha=0.6)
for rate, marker in zip((1, 2, 3, 5), "os^D"):
    taps = 8 * rate * np.array([-1, 0, 1])
    across, along = np.meshgrid(48 + taps, 48 + taps)
    ax.plot(across.ravel(), along.ravel(), marker, markersize=13, markeredgecolor="white", label=f"rate {rate}")
ax.set(title="ASPP: one feature looks around", xticks=[], yticks=[])
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
aspp = ts.models.DeepLab(6, version="v2", width=8, encoder="vgg11_bn", rates=(1, 2, 3, 5))
assert len(aspp.branches) == 4 and aspp(x).shape == (1, 6, 96, 96)

# %%
# The CRF
# -------
# Scores 16 pixels apart, upsampled bilinearly, know no outlines.  The image does: the fully connected CRF lets every
# pixel talk to every other one, and believe those most that are near and of like colour.
ts.manual_seed(0)
model = ts.models.DeepLab(6, version="v1", width=8, encoder="vgg11_bn", output_stride=16, rates=(2,))
optimizer = ts.optim.Adam(model.parameters(), lr=3e-3)
for step in range(100):
    loss, _ = train_step(model, optimizer, normalize(image)[None], mask[None])
before = probabilities(model, image)                                       # (6, 96, 96)
settings = {"w1": 4, "theta_alpha": 15, "theta_beta": 8, "w2": 1, "theta_gamma": 1.5}
after = ts.crf.dense_crf(before, image, **settings)


def mean_iou(probabilities, mask):
    confusion = ts.metrics.ConfusionMatrix(num_classes=6)
    confusion.update(probabilities.argmax(axis=0), mask)
    return confusion.mean_iou


# %%
# **See:** rounded corners become sharp, where there is a change of colour to hold on to.
pictures = [("image", image), ("ground truth", colorize(mask, OKABE_ITO))]
pictures += [(f"{name}: mIoU {mean_iou(q, mask):.2f}", OKABE_ITO[q.argmax(axis=0)])
             for name, q in [("DeepLab v1, stride 16", before), ("and the CRF", after)]]
plots.slide("A network that learnt one image, and what the CRF makes of it", [pictures],
            plots.class_legend(ts.data.Scenes(1).classes, OKABE_ITO))
plt.show()
print(f"mIoU of the network {mean_iou(before, mask):.3f}, of network and CRF {mean_iou(after, mask):.3f}")
assert mean_iou(after, mask) > mean_iou(before, mask) + 0.03

# %%
# A CRF is no network: it has learnt nothing, and takes the edge of a stripe for that of an object just as well.
#
# **Try:** other seeds for the scene: where does the CRF do harm?  Then a larger ``theta_beta``, the difference in colour
# that it lets pass, and look at the steps of ``ts.crf.DenseCRF(before, image, **settings).mean_field()`` one by one.
