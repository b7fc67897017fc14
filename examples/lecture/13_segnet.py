"""
SegNet: put every maximum back where it was
===========================================

Max pooling keeps what it finds and forgets where.  What if it did remember?  SegNet's decoder gets no features from its
encoder, only the *places* of the maxima, and unpools with them.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import nn, plots
from tinyseg.data.palette import OKABE_ITO, colorize
from tinyseg.data.transforms import normalize
from tinyseg.inference import predict
from tinyseg.models.summary import layer_rows
from tinyseg.training import train_step

plt.style.use(plots.SLIDE)

# %%
# Pool, and go back
# -----------------
# Take the edges of an image as a feature map, pool them twice, and upsample twice: by repeating pixels, or by unpooling.
scenes = ts.data.Scenes(length=1, size=64, num_classes=6)
image, mask = scenes.read(0)
grey = image.mean(axis=2)
edges = np.hypot(*np.gradient(grey))[None, None]                           # (1, 1, 64, 64)
once, places = ts.functional.max_pool2d(edges, 2, return_indices=True)     # (1, 1, 32, 32)
twice, more_places = ts.functional.max_pool2d(once, 2, return_indices=True)
unpooled = ts.functional.max_unpool2d(ts.functional.max_unpool2d(twice, more_places, 2), places, 2).numpy()
repeated = ts.functional.interpolate(twice, scale_factor=4, mode="nearest").numpy()

# %%
# **See:** repeated, the edges are four pixels wide.  Unpooled, there is a value for one pixel of 16 only, but that one
# stands where it was, to the pixel; filling the gaps is left to the convolutions of the decoder.
figure, axes = plt.subplots(1, 4, figsize=(13, 3.9))
titles = ["edges, 64 x 64", "pooled twice, 16 x 16", "repeated, 64 x 64", "unpooled, 64 x 64"]
for ax, values, title in zip(axes, [edges, twice.numpy(), repeated, unpooled], titles):
    ax.imshow(values[0, 0], vmin=0, vmax=edges.max())
    ax.set(title=title, xticks=[], yticks=[])
plt.show()
kept = unpooled != 0
assert kept.mean() <= 1 / 16 and (unpooled[kept] == edges[kept]).all()

# %%
# What has to be remembered
# -------------------------
# A place in a 2x2 window is two bits.  U-Net remembers all four values of the window, of 32 bits each: 64 times as much.
segnet = ts.models.SegNet(num_classes=11)                                  # the paper's, for images of 360 x 480
shape = {row.path: row.output_shape for row in layer_rows(segnet, (1, 3, 360, 480))}
maps = [shape[f"encoder.{stage}.{len(segnet.encoder[stage]) - 1}.conv"] for stage in range(5)]     # before each pooling
values = sum(int(np.prod(size)) for size in maps)
windows = sum(c * -(-h // 2) * -(-w // 2) for _, c, h, w in maps)
print(f"feature maps: {values * 4 / 2**20:.0f} MiB; places: {windows * 2 / 8 / 2**20:.1f} MiB")
assert 60 < (values * 32) / (windows * 2) <= 64

# %%
# A SegNet at work
# ----------------
# A small one learns an image by heart.
STEPS = 200
ts.manual_seed(0)
model = ts.models.SegNet(6, width=8)
optimizer = ts.optim.AdamW(model.parameters(), lr=0.01)
scheduler = ts.optim.PolynomialLR(optimizer, total_iters=STEPS)
for step in range(STEPS):
    loss, _ = train_step(model, optimizer, normalize(image)[None], mask[None])
    scheduler.step()
print(f"loss {loss:.4f} after {STEPS} steps")

# %%
# From sparse to dense
# --------------------
# We look into the trained network: at what the last unpooling makes, and at what the convolution behind it does.
seen = {}


def note(path, module, inputs, output):
    seen[path] = output


with ts.no_grad(), nn.watch(model.eval(), note):
    model(ts.Tensor(normalize(image)[None]))
sparse, dense = (seen[path].numpy()[0] for path in ("upsample.0", "decoder.0.0"))      # (8, 64, 64) each

# %%
# **See:** the channel that is strongest; at the left three of four pixels are black.
figure, axes = plt.subplots(1, 2, figsize=(11, 5.2))
for ax, features, title in zip(axes, (sparse, dense), ("after the last unpooling", "after the next convolution")):
    strongest = features[features.var(axis=(1, 2)).argmax()]
    ax.imshow(strongest)
    ax.set(title=f"{title}:\n{(features != 0).mean():.0%} of all values are not 0", xticks=[], yticks=[])
plt.show()
assert (sparse != 0).mean() <= 0.25 < (dense != 0).mean()

# %%
# What the places know
# --------------------
# Now we take them away from the trained network, by a pooling that finds the same maxima but says of each that it was at
# the top left of its window: first only where the map is as large as the image, then everywhere.


class Forgetful(nn.Module):
    """Max pooling whose places are the first of their window, in maps of at least so many rows."""

    def __init__(self, rows):
        self.rows = rows

    def forward(self, x):
        h, w = x.shape[2:]
        maxima, places = ts.functional.max_pool2d(x, 2, return_indices=True)
        if h >= self.rows:
            first = np.arange(h * w).reshape(h, w)[::2, ::2]                # (h/2, w/2), counted row by row
            places = ts.Tensor(np.broadcast_to(first, maxima.shape).copy())
        return maxima, places


predictions = {"SegNet": predict(model, image)}
for title, rows in [("finest places forgotten", 64), ("all places forgotten", 1)]:
    model.max_pool = Forgetful(rows)
    predictions[title] = predict(model, image)

# %%
# **See:** all that goes down through the network and up again is the same in the three, but for the places.  The finest
# ones are hardly missed: the last convolutions fill gaps of two pixels anyway.  But where an object is, the decoder
# learns from the places of all five levels together, and without them it finds nothing.
ious, pictures = [], [("image", image), ("ground truth", colorize(mask, OKABE_ITO))]
for title, prediction in predictions.items():
    confusion = ts.metrics.ConfusionMatrix(num_classes=6)
    confusion.update(prediction, mask)
    ious.append(confusion.mean_iou)
    pictures.append((f"{title}:\nmIoU {ious[-1]:.2f}", colorize(prediction, OKABE_ITO)))
plots.slide("A trained SegNet forgets", [pictures], plots.class_legend(scenes.classes, OKABE_ITO))
plt.show()
assert ious[0] > 0.7 and ious[1] > ious[2] + 0.3

# %%
# **Try:** ``upsampling="nearest"``: can it learn the image without places, and does it need more steps?  And
# ``tinyseg step max-pool`` in a terminal, which pools and unpools number by number.
