"""
Untrained, overfitted, trained: the assignment
==============================================

What does a network know before it is trained, after it has seen one image sixty times, and after it has seen many?
The lecture's closing assignment, with a small U-Net on small scenes: three networks, each shown an image that it was
trained on and one that it never saw.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import OKABE_ITO, colorize
from tinyseg.data.transforms import RandomHorizontalFlip, normalize
from tinyseg.inference import evaluate, predict
from tinyseg.training import train_step

plt.style.use(plots.SLIDE)

# %%
# Data, and a network that guesses
# --------------------------------
# The library draws images and masks, as many as we like; the test set has no scene in common with the training set.
# An untrained network has no opinion: its loss is about ln 6, that of a guess among six classes.
train_set = ts.data.Scenes(length=144, size=48, num_classes=6, transform=RandomHorizontalFlip())
test_set = ts.data.Scenes(length=20, size=48, num_classes=6, split="test")
(example, example_mask), (unseen, unseen_mask) = train_set.read(5), test_set.read(2)


def new_network():
    """Each time with the same random weights."""
    ts.manual_seed(0)
    return ts.models.UNet(num_classes=6, width=8, depth=3)


untrained = new_network()
print(f"untrained: loss {evaluate(untrained, test_set).loss:.2f} on the test set; ln 6 = {np.log(6):.2f}")

# %%
# One image, by heart
# -------------------
# All of training is in these five lines: forget the old gradients; forward; backward; a step downhill.  (From now on
# ``train_step`` does the same.)
overfitted = new_network()
optimizer = ts.optim.Adam(overfitted.parameters(), lr=0.02)
x, target = ts.Tensor(normalize(example)[None]), ts.Tensor(example_mask[None])      # a batch of one
losses = []
for step in range(60):
    optimizer.zero_grad()
    loss = ts.functional.cross_entropy(overfitted(x), target)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
elsewhere = evaluate(overfitted, test_set).loss
print(f"overfitted: loss from {losses[0]:.2f} to {losses[-1]:.4f} on its example, {elsewhere:.2f} on the test set")
assert losses[-1] < 0.02 * losses[0]

# %%
# Many images
# -----------
# The same network sees 144 images four times, four at a time, mirrored or not, at a learning rate that falls to zero.
EPOCHS = 4
trained = new_network()
loader = ts.data.DataLoader(train_set, batch_size=4, shuffle=True)
optimizer = ts.optim.AdamW(trained.parameters(), lr=8e-3)
scheduler = ts.optim.PolynomialLR(optimizer, total_iters=EPOCHS * len(loader))
history = []
for epoch in range(1, EPOCHS + 1):
    epoch_losses = []
    for images, masks in loader:
        epoch_losses.append(train_step(trained, optimizer, images, masks)[0])
        scheduler.step()
    history.append({"epoch": epoch, "loss": np.mean(epoch_losses), "val_loss": evaluate(trained, test_set).loss})

# %%
# **See:** the loss on images that are trained on, and on others.  By heart, it goes to zero at once on the one; on
# others nothing is gained.  With many images both fall together: what is learnt here holds for images not seen, too.
figure, (one, many) = plt.subplots(1, 2, figsize=(13, 5), sharey=True)
one.plot(range(1, 61), losses, color=plots.BLUE, label="on the one example")
one.axhline(elsewhere, color=plots.VERMILION, linestyle="--", label="in the end, on the test set")
one.set(title="Trained on one image", xlabel="step", ylabel="loss (cross-entropy)", ylim=(0, 5))
for key, label, colour in [("loss", "on the 144 images", plots.BLUE), ("val_loss", "on the test set", plots.VERMILION)]:
    many.plot([row["epoch"] for row in history], [row[key] for row in history], "o-", color=colour, label=label)
many.set(title="Trained on 144 images", xlabel="epoch", xticks=range(1, EPOCHS + 1))
for ax in (one, many):
    ax.axhline(np.log(6), color="0.5", linewidth=1)
    ax.text(ax.get_xlim()[1], np.log(6), "ln 6: a guess ", ha="right", va="bottom", color="0.3")
    ax.legend(loc="upper right")
plt.show()

# %%
# The three, side by side
# -----------------------


def mean_iou(prediction, mask):
    confusion = ts.metrics.ConfusionMatrix(num_classes=6)
    confusion.update(prediction, mask)
    return confusion.mean_iou


ious = {}
rows = [[("training image", example), ("ground truth", colorize(example_mask, OKABE_ITO))],
        [("test image", unseen), ("ground truth", colorize(unseen_mask, OKABE_ITO))]]
for name, model in [("untrained", untrained), ("overfitted", overfitted), ("trained", trained)]:
    on_example, on_unseen = predict(model, example), predict(model, unseen)
    ious[name] = [mean_iou(on_example, example_mask), mean_iou(on_unseen, unseen_mask),
                  evaluate(model, test_set).confusion.mean_iou]
    rows[0].append((f"{name}: mIoU {ious[name][0]:.2f}", colorize(on_example, OKABE_ITO)))
    rows[1].append((f"{name}: mIoU {ious[name][1]:.2f}", colorize(on_unseen, OKABE_ITO)))

print(f"{'mean IoU on':12} {'the example':>12} {'the unseen one':>15} {'20 test images':>15}")
for name, values in ious.items():
    print(f"{name:12} {values[0]:12.2f} {values[1]:15.2f} {values[2]:15.2f}")

# %%
# **See:** noise; one image known by heart, and nonsense elsewhere; and a network that has begun to see, on both images.
# ``tinyseg demo`` draws this picture of a wider network, trained for longer on more and larger images.
plots.slide("The assignment", rows, plots.class_legend(train_set.classes, OKABE_ITO))
plt.show()
assert ious["overfitted"][0] > 0.95                        # its own image
assert ious["trained"][2] > 2 * ious["overfitted"][2]      # the test set

# %%
# **Try:** 16 training images in place of 144, and ten times as many epochs: at which epoch does the loss on the test set
# begin to rise?
