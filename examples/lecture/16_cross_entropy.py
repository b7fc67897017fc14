"""
Cross-entropy, and what it does to pixels
=========================================

How does one number, the training loss, come from a whole image, and which pixels does it move the network with?  Each
pixel pays -ln of the probability that its true class was given, and pulls the harder the less that was.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import OKABE_ITO, VOID, colorize
from tinyseg.data.transforms import normalize
from tinyseg.metrics import boundary_band
from tinyseg.training import class_weights, train_step

plt.style.use(plots.SLIDE)

# %%
# One pixel
# ---------
# The network gives a pixel one score for each class; softmax makes probabilities σ of them; the loss is -ln σ of the
# true class.  Its gradient is as simple as can be: σ - y, where y is 1 for the true class and 0 for all others.
scores = ts.Tensor(np.array([[1.0, 0.5, 3.0, -1.0]]), requires_grad=True)
true_class = 1
loss = ts.functional.cross_entropy(scores, np.array([true_class]))
loss.backward()
sigma, y = ts.functional.softmax(scores, dim=1).numpy()[0], np.eye(4)[true_class]
assert np.isclose(loss.item(), -np.log(sigma[true_class]))
np.testing.assert_allclose(scores.grad[0], sigma - y)

# %%
# **See:** at the left the price of a probability: nothing for certainty, ln K for a guess among K classes, and no limit
# for being sure of something else.  At the right what a step of gradient descent does to the four scores of this pixel:
# it raises the true one, and takes from the others in proportion to their σ.  All four changes sum to zero.
figure, (price, pull) = plt.subplots(1, 2, figsize=(13, 5))
p = np.linspace(0.005, 1, 200)
price.plot(p, -np.log(p))
for k in (2, 6, 21):
    price.plot(1 / k, np.log(k), "o", color=plots.VERMILION)
    price.annotate(f"a guess among {k}: {np.log(k):.2f}", (1 / k, np.log(k)), (1 / k + 0.07, np.log(k) + 0.15))
price.set(title="The loss of one pixel", xlabel="probability σ of the true class", ylabel="−ln σ", ylim=(0, 5.3))
pull.bar(range(4), y - sigma, color=[plots.BLUE if k == true_class else plots.VERMILION for k in range(4)])
pull.axhline(0, color="black", linewidth=1)
pull.set(title=f"Its pull on the scores (true: class {true_class})", xlabel="class", xticks=range(4), ylabel="y − σ")
plt.show()
assert abs((sigma - y).sum()) < 1e-12

# %%
# All pixels of an image
# ----------------------
# Over an image the lecture's loss is the *sum* over its pixels; libraries take the *mean*, so that the learning rate
# need not know the image's size.  Void pixels are in neither.  A small U-Net learns one image, and we look at the loss
# of every pixel (``reduction="none"``) on the way.
scenes = ts.data.Scenes(length=60, size=64, num_classes=6)
image, mask = scenes.read(5)
counts = mask != VOID
ts.manual_seed(0)
model = ts.models.UNet(scenes.num_classes, width=8, depth=3)
optimizer = ts.optim.Adam(model.parameters(), lr=0.01)
images, masks = normalize(image)[None], mask[None]                         # a batch of one

maps = {}
for step in range(121):
    if step in (0, 15, 40, 120):
        with ts.no_grad():
            scores = model(ts.Tensor(images))
            maps[step] = ts.functional.cross_entropy(scores, masks, reduction="none").numpy()[0]
            total = ts.functional.cross_entropy(scores, masks, reduction="sum").item()
            mean = ts.functional.cross_entropy(scores, masks).item()
        assert np.isclose(total, maps[step].sum(), rtol=1e-4) and np.isclose(mean, total / counts.sum(), rtol=1e-4)
        assert not maps[step][~counts].any()                               # void costs nothing
    train_step(model, optimizer, images, masks)

# %%
# **See:** bright is dear; the scale is logarithmic.  At the start every pixel costs about as much as a guess.  Then the
# large areas fall silent, first the background; what goes on paying, and so steers the training, are above all the
# outlines: within three pixels of one lies a third of the pixels, but after 40 steps most of the loss.  (The stripes on
# the way are those of the 2 x 2 up-convolution, whose even and odd columns have weights of their own.)
band = boundary_band(np.where(counts, mask, 0)) & counts
shares = {step: losses[band].sum() / losses.sum() for step, losses in maps.items()}
figure, axes = plt.subplots(2, 3, figsize=(12, 7.5))
axes.flat[0].imshow(image)
axes.flat[1].imshow(colorize(mask, OKABE_ITO))
titles = ["image", "mask (white: void)"]
for ax, (step, losses) in zip(axes.flat[2:], maps.items()):
    shown = ax.imshow(np.where(counts, losses, np.nan), norm="log", clim=(1e-3, 3))
    titles.append(f"after {step} steps: mean {losses[counts].mean():.3f}")
    print(f"{titles[-1]}; {shares[step]:.0%} of it in the {band.sum() / counts.sum():.0%} of the pixels near an outline")
for ax, title in zip(axes.flat, titles):
    ax.set(title=title, xticks=[], yticks=[])
figure.colorbar(shown, ax=axes, label="loss of a pixel", shrink=0.7, extend="both")
plt.show()
assert maps[120].mean() < 0.05 * maps[0].mean()
assert shares[40] > 0.5 and shares[40] > 1.5 * shares[0]

# %%
# Who is heard
# ------------
# In the sum every pixel has one vote, so a class has as many as it has pixels, and the background has most.  Weights
# can give small classes a louder voice; *median-frequency balancing* takes w = median frequency / frequency.
labels = np.stack([scenes.mask(index) for index in range(len(scenes))])
weights = class_weights(scenes)
guess = np.zeros((*labels.shape[:1], 6, *labels.shape[1:]), np.float32)     # all classes alike: how training starts
votes = {}
for name, weight in [("one pixel, one vote", None), ("median-frequency balancing", weights)]:
    x = ts.Tensor(guess, requires_grad=True)
    ts.functional.cross_entropy(x, labels, weight).backward()
    by_class = np.array([abs(x.grad).sum(axis=1)[labels == k].sum() for k in range(6)])
    votes[name] = by_class / by_class.sum()
pixels = np.bincount(labels[labels != VOID], minlength=6) / (labels != VOID).sum()
np.testing.assert_allclose(votes["one pixel, one vote"], pixels, rtol=1e-3)

# %%
# **See:** the share of each class in the gradient of an untrained network, over 60 scenes.
figure, ax = plt.subplots(figsize=(12, 5))
for offset, (name, share) in zip((-0.2, 0.2), votes.items()):
    ax.bar(np.arange(6) + offset, share, width=0.4, label=name)
ax.set(title="Whose gradient is it?", ylabel="share of the gradient", xticks=range(6))
ax.set_xticklabels([name.replace(" ", "\n") for name in scenes.classes])
ax.legend()
plt.show()
assert votes["median-frequency balancing"].max() < 0.5 * votes["one pixel, one vote"].max()

# %%
# **Try:** ``label_smoothing=0.1``: what is the smallest loss that a pixel can have then?  And train the U-Net with
# ``weight=weights`` in ``train_step``: which classes come earlier?
