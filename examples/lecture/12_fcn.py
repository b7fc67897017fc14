"""
FCN: coarse scores, made fine
=============================

A classifier halves its image five times; how does a map of scores 32 pixels apart become a segmentation?  FCN upsamples
it, and adds scores of earlier, finer features on the way: the *skips* that make an FCN-32s an FCN-16s and an FCN-8s.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.data.palette import OKABE_ITO, VOID, colorize
from tinyseg.data.transforms import normalize
from tinyseg.inference import predict
from tinyseg.training import train_step

plt.style.use(plots.SLIDE)

# %%
# How good can coarse scores be at all?
# -------------------------------------
# Long, Shelhamer and Darrell asked this before they trained anything: shrink the *true* mask to one value for each
# stride x stride pixels, upsample it again, and see what is left of it.  No network of that stride can be sure to do
# better.
scenes = ts.data.Scenes(length=30, size=96, num_classes=6)
masks = np.stack([scenes.mask(index) for index in range(len(scenes))])     # (30, 96, 96)
one_hot = np.eye(256, 6)[masks].transpose(0, 3, 1, 2)                      # (30, 6, 96, 96), nothing where void


def coarse(stride):
    """The true masks, seen through scores `stride` pixels apart."""
    scores = ts.functional.avg_pool2d(one_hot, stride)
    return ts.functional.interpolate(scores, scale_factor=stride, mode="bilinear").numpy().argmax(axis=1)


def mean_iou(prediction, mask):
    confusion = ts.metrics.ConfusionMatrix(num_classes=6)
    confusion.update(prediction, mask)
    return confusion.mean_iou


left = {stride: coarse(stride) for stride in (32, 16, 8, 4)}
best = {stride: mean_iou(prediction, masks) for stride, prediction in left.items()}
print("the most that a stride allows, mIoU:", {stride: round(iou, 3) for stride, iou in best.items()})
assert best[32] < best[16] < best[8] < best[4]

# %%
# **See:** at stride 32 small objects are gone, and large ones are blobs; at stride 8 only corners are missing.
pictures = [("ground truth", colorize(masks[5], OKABE_ITO))]
pictures += [(f"stride {stride}: mIoU {best[stride]:.2f}", OKABE_ITO[left[stride][5]]) for stride in (32, 16, 8)]
legend = plots.class_legend(scenes.classes, OKABE_ITO)
plots.slide("What is left of the truth (mIoU of 30 scenes)", [pictures], legend)
plt.show()

# %%
# Three networks, one image
# -------------------------
# Now networks: an encoder of width 8 (VGG with 11 layers), and the decoders of FCN, whose upsampling we hold fixed, at
# bilinear interpolation.  Each learns one image by heart, so that what it gets wrong in the end is not for want of data.
STEPS = 60
SETTINGS = {"width": 8, "encoder": "vgg11_bn", "learn_upsampling": False}
image, mask = scenes.read(5)
models = {}
for variant in ("32s", "16s", "8s"):
    ts.manual_seed(0)
    model = models[variant] = ts.models.FCN(6, variant=variant, **SETTINGS)
    optimizer = ts.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for step in range(STEPS):
        loss, _ = train_step(model, optimizer, normalize(image)[None], mask[None])
    print(f"FCN-{variant}: loss {loss:.3f} after {STEPS} steps")

# %%
# **See:** as in figure 4 of the paper, each skip adds detail.
pictures, ious = [("image", image), ("ground truth", colorize(mask, OKABE_ITO))], []
for variant, model in models.items():
    prediction = predict(model, image)
    ious.append(mean_iou(prediction, mask))
    pictures.append((f"FCN-{variant}: mIoU {ious[-1]:.2f}", colorize(prediction, OKABE_ITO)))
plots.slide(f"FCN after {STEPS} steps on this image", [pictures], legend)
plt.show()
assert ious[0] < ious[1] < ious[2]

# %%
# What the skips say
# ------------------
# FCN *adds* scores, and everything behind the score layers is linear: the output is a sum of three maps, one from each
# level.  So we can mute the skips of the trained FCN-8s, by making their score layers zero.
trained = models["8s"]


def speaking(*levels):
    """The trained FCN-8s, of whose skips only these are heard."""
    model = ts.models.FCN(6, variant="8s", **SETTINGS)
    model.load_state_dict({name: array if name.split(".")[0] in levels or not name.startswith("score_pool") else 0 * array
                           for name, array in trained.state_dict().items()})
    return model.eval()


with ts.no_grad():
    x = ts.Tensor(normalize(image)[None])
    everything, without, pool4, pool3 = (speaking(*levels)(x).numpy() for levels in (
        ("score_pool4", "score_pool3"), (), ("score_pool4",), ("score_pool3",)))
np.testing.assert_allclose(everything, without + (pool4 - without) + (pool3 - without), rtol=1e-3, atol=1e-3)

# %%
# **See:** stride 32 alone knows roughly what is where; pool4, at stride 16, and pool3, at stride 8, draw the outlines.
rows = [("pool5 alone, stride 32", without), ("and pool4, stride 16", pool4), ("and pool3, stride 8", everything)]
pictures = [("ground truth", colorize(mask, OKABE_ITO))]
pictures += [(title, OKABE_ITO[scores[0].argmax(axis=0)]) for title, scores in rows]
plots.slide("One FCN-8s, and whom we let speak", [pictures], legend)
plt.show()
right = [(scores[0].argmax(axis=0) == mask)[mask != VOID].mean() for _, scores in rows]
print("right pixels:", [f"{share:.0%}" for share in right])
assert right[0] < right[2] and right[1] < right[2]

# %%
# **Try:** let the upsampling learn: an FCN-32s then knows this image by heart, too.  How, and would it help on another
# image?  And ``skip="concat"``, which asks a 1x1 convolution to weigh what is added here.
