"""
Pretraining: learn from labels first, then from masks
=====================================================

Masks are dear: the lecture counts 11,530 images with masks in Pascal VOC, and 14 million with a label in ImageNet.  Can
a segmentation network learn from labels, too?  Its encoder can: it first learns to *classify* small images of single
objects, and is then re-trained on eight masks.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import OKABE_ITO, VOID, colorize
from tinyseg.inference import evaluate, predict, scores
from tinyseg.training import train_step

plt.style.use(plots.SLIDE)

# %%
# Images with one label each
# --------------------------
# Our ImageNet: 32 x 32 pixels around some object, or of bare ground, and the name of what is in the middle.  No mask is
# given; the label stands for the whole image.


def cut_outs(scenes):
    """Up to four small images of each scene, each with its label, in the form of a mask that is the same all over."""
    rng, pairs = np.random.default_rng(0), []
    for image, mask in map(scenes.read, range(len(scenes))):
        middle = mask[16:-16, 16:-16]                                       # where a cut-out may have its middle
        for label in rng.permutation(np.unique(middle[middle != VOID]))[:4]:
            depth = ts.data.distance_transform(middle != label)             # how far within the object
            row, column = np.unravel_index(depth.argmax(), depth.shape)
            pairs.append((image[row:row + 32, column:column + 32], np.full((32, 32), label)))
    return pairs


scenes = ts.data.Scenes(length=300, size=64, num_classes=3, seed=1)
labelled = cut_outs(scenes)

# %%
# **See:** some of them.
pictures = [(scenes.classes[label[0, 0]], image) for image, label in labelled[:10]]
plots.slide("Images with a label each", [pictures[:5], pictures[5:]])
plt.show()

# %%
# A classifier
# ------------
# A ResNet of 20 layers, the one for small images, sees each of them three times.
ts.manual_seed(0)
classifier = ts.models.Classifier(3, encoder="resnet20", width=8, tags=False)
optimizer = ts.optim.AdamW(classifier.parameters(), lr=0.01)
loader = ts.data.DataLoader(labelled, batch_size=32, shuffle=True)
scheduler = ts.optim.PolynomialLR(optimizer, total_iters=3 * len(loader))
for epoch in range(3):
    for images, labels in loader:
        train_step(classifier, optimizer, images, labels)
        scheduler.step()

new = cut_outs(ts.data.Scenes(length=20, size=64, num_classes=3, split="test"))
right = np.mean([scores(classifier, image).argmax() == label[0, 0] for image, label in new])
print(f"after {len(labelled)} labels it names {right:.0%} of {len(new)} new cut-outs; a guess is right in {1 / 3:.0%}")
assert right > 2 / 3

# %%
# Eight masks
# -----------
# A DeepLab on the same kind of encoder is trained on eight images with masks.  Twice its encoder stays as it is, and
# only the layer that makes scores of its features is trained: that shows what the features are worth.  Twice all of it
# is trained.  And each time the encoder comes with random weights, or with those of the classifier.
few, test_set = ts.data.Scenes(8, size=64, num_classes=3), ts.data.Scenes(20, size=64, num_classes=3, split="test")


def learn(pretrained, frozen, epochs=8):
    """Train on the eight masks; returns the model and its mean IoU on the test set after each fourth epoch."""
    ts.manual_seed(1)
    model = ts.models.DeepLab(3, version="v2", encoder="resnet20", width=8, rates=(1, 2))
    if pretrained:                                                          # all but the layer that made the labels
        weights = classifier.encoder.state_dict()
        model.encoder.load_state_dict({name: weights[name] for name in model.encoder.state_dict()})
    model.encoder.requires_grad_(not frozen)
    optimizer = ts.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01 if frozen else 0.003)
    scheduler = ts.optim.PolynomialLR(optimizer, total_iters=2 * epochs)
    loader, ious = ts.data.DataLoader(few, batch_size=4, shuffle=True), []
    for epoch in range(1, epochs + 1):
        model.encoder.train(not frozen)                                     # frozen, its batch norm rests as well
        for images, masks in loader:
            train_step(model, optimizer, images, masks)
            scheduler.step()
        if epoch % 4 == 0:
            ious.append(evaluate(model, test_set).confusion.mean_iou)
    return model, ious


runs = {(frozen, pretrained): learn(pretrained, frozen) for frozen in (True, False) for pretrained in (False, True)}

# %%
# **See:** mean IoU on images that no network has seen.  Features that were learnt from labels alone say where things
# are, too; and from there four epochs on eight masks lead further than from random weights.
figure, axes = plt.subplots(1, 2, figsize=(13, 5), sharey=True)
for ax, frozen in zip(axes, (True, False)):
    for pretrained, name, marker in [(True, "encoder pretrained on labels", "s"), (False, "encoder random", "o")]:
        ax.plot([4, 8], runs[frozen, pretrained][1], marker=marker, label=name)
    ax.set(title="only the scores are trained" if frozen else "all of it is trained", xlabel="epoch, of eight images",
           xticks=[4, 8])
    ax.grid()
    ax.legend()
axes[0].set(ylabel="mean IoU on the test set", ylim=(0, 0.8))
plt.show()
for frozen in (True, False):
    assert runs[frozen, True][1][0] > 1.2 * runs[frozen, False][1][0]               # after four epochs

# %%
# **See:** two of the test images, after all of the network was trained.
rows = []
for image, mask in map(test_set.read, (0, 7)):
    rows.append([("image", image), ("ground truth", colorize(mask, OKABE_ITO))])
    for pretrained, name in [(False, "from random weights"), (True, "pretrained on labels")]:
        rows[-1].append((name, colorize(predict(runs[False, pretrained][0], image), OKABE_ITO)))
plots.slide("Trained on eight masks", rows, plots.class_legend(few.classes, OKABE_ITO))
plt.show()

# %%
# **Try:** 80 masks in place of 8: what is left of the advantage?  On real images: ``tinyseg train --model classifier``,
# and then ``tinyseg train --model deeplab --pretrained`` with the folder of that run.
