"""
Skip connections: sum and concatenation
=======================================

What the encoder has pooled away, no upsampling brings back; so where shall the decoder take the detail from?  From the
encoder's own finer maps, handed over at equal size: added to what comes up from below, or stacked onto it.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import OKABE_ITO, colorize
from tinyseg.data.transforms import normalize
from tinyseg.inference import evaluate, predict
from tinyseg.models.upsampling import join
from tinyseg.training import train_step

F = ts.functional
plt.style.use(plots.SLIDE)

# %%
# The two ways to join
# --------------------
# A map with M channels from below, one with N from the encoder, of the same size.  Their sum needs M = N and has as many
# channels; their concatenation has M + N: at each pixel the two feature vectors, one after the other.
rng = np.random.default_rng(0)
below, copy = ts.Tensor(rng.standard_normal((1, 6, 8, 8))), ts.Tensor(rng.standard_normal((1, 6, 8, 8)))
added, stacked = join("sum", below, copy), join("concat", below, copy)
print("sum:", added.shape, "  concatenation:", stacked.shape)
np.testing.assert_array_equal(added.numpy(), below.numpy() + copy.numpy())
np.testing.assert_array_equal(stacked.numpy(), np.concatenate([copy.numpy(), below.numpy()], axis=1))

# %%
# Concatenation leaves it to the next convolution what to make of the two.  With the right weights, and even with a
# kernel of 1 x 1, that is their sum, or their average, or what comes from below alone: it can learn any of these.
one, zero = np.eye(6), np.zeros((6, 6))
for name, weight, expected in [("the sum", [one, one], added.numpy()),
                               ("the average", [one / 2, one / 2], (below.numpy() + copy.numpy()) / 2),
                               ("no skip at all", [zero, one], below.numpy())]:
    kernel = np.concatenate(weight, axis=1)[:, :, None, None]              # (6, 12, 1, 1)
    np.testing.assert_allclose(F.conv2d(stacked, kernel).numpy(), expected, atol=1e-12)
    print(f"a 1x1 convolution of {kernel.size} weights makes of the concatenation: {name}")

# %%
# Three networks
# --------------
# A small U-Net without skips, with sums, and with concatenations, each trained in the same way for the same number of
# steps, on 64 scenes of 48 x 48 pixels, discs on a ground.  At the bottom there are 6 x 6 pixels left.
CLASSES, STEPS, BATCH = 2, 50, 3
train_set = ts.data.Scenes(length=64, size=48, num_classes=CLASSES, seed=0)
test_set = ts.data.Scenes(length=16, size=48, num_classes=CLASSES, seed=0, split="test")


def trained(skip):
    ts.manual_seed(0)
    model = ts.models.UNet(CLASSES, width=6, depth=3, upsampling="bilinear", skip=skip)
    optimizer = ts.optim.AdamW(model.parameters(), lr=0.005)
    loader = ts.data.DataLoader(train_set, BATCH, shuffle=True, drop_last=True)
    step = 0
    while step < STEPS:
        for images, masks in loader:
            loss, _ = train_step(model, optimizer, images, masks)
            step += 1
            if step == STEPS:
                break
    return model.eval()


models = {skip: trained(skip) for skip in ("none", "sum", "concat")}
figures = {skip: evaluate(model, test_set) for skip, model in models.items()}
for skip, result in figures.items():
    print(f"{skip:6}  mIoU on {len(test_set)} unseen scenes {result.confusion.mean_iou:.2f}, "
          f"within 3 pixels of a boundary {result.boundary.mean_iou:.2f}")

# %%
# **See:** one of those scenes, after so short a training.  Without skips the objects are one blob; with them, outlines
# begin to show.
image, mask = test_set.read(3)
pictures = [("an unseen image", image), ("its mask", colorize(mask, OKABE_ITO))]
pictures += [(f"skip: {skip}", colorize(predict(model, image), OKABE_ITO)) for skip, model in models.items()]
plots.slide(f"After {STEPS} steps", [pictures], plots.class_legend(test_set.classes, OKABE_ITO))
plt.show()

# %%
# **See:** the mean IoU of each, on all pixels and near boundaries.  Both skips are well ahead of none.  Which of the two
# is the better one does not show here: another seed may turn it round.
figure, ax = plt.subplots(figsize=(11, 4.6))
for offset, (name, score) in enumerate([("all pixels", lambda e: e.confusion.mean_iou),
                                        ("within 3 pixels of a boundary", lambda e: e.boundary.mean_iou)]):
    bars = ax.bar(np.arange(3) + 0.4 * offset - 0.2, [score(e) for e in figures.values()], width=0.37, label=name)
    ax.bar_label(bars, fmt="%.2f", padding=3)
ax.set(xticks=range(3), xticklabels=[f"skip: {skip}" for skip in figures], ylabel="mean IoU", ylim=(0, 1.2),
       title=f"after {STEPS} steps, on unseen scenes")
ax.legend(loc="upper left", ncols=2)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
for skip in "sum", "concat":
    assert figures[skip].boundary.mean_iou > figures["none"].boundary.mean_iou + 0.1

# %%
# What is handed over
# -------------------
# Look into the network with concatenations, at its finest level: a hook notes what a layer puts out.
model, maps = models["concat"], {}
handles = [layer.register_forward_hook(lambda module, inputs, output, name=name: maps.update({name: output.numpy()[0]}))
           for name, layer in [("from the encoder", model.contracting[0]), ("from below", model.up_convolution[0])]]
with ts.no_grad():
    model(ts.Tensor(normalize(image)[None]))
for handle in handles:
    handle.remove()
assert all(values.shape == (6, 48, 48) for values in maps.values())

# %%
# **See:** the six channels from each; a pixel of the concatenation is a column of twelve numbers, one from each map.
# Above there is all the detail and little meaning; below it is coarser, and has been through the whole network.
figure, axes = plt.subplots(2, 6, figsize=(13, 5.5))
for row, (name, values) in zip(axes, maps.items()):
    for channel, (ax, plane) in enumerate(zip(row, values)):
        ax.imshow(plane, cmap="gray")
        ax.set(title=f"channel {channel + 1}", xticks=[], yticks=[])
    row[0].set_ylabel(name)
figure.suptitle("What a concatenation joins, at the finest level")
plt.show()

# %%
# **Try:** another seed, and three times as many steps: does the order of the three remain?  ``models["sum"]``: in which
# of its maps do you see the outlines?
