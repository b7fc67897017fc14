"""
What an output pixel sees: pooling, stride, dilation
====================================================

How much of the image can one output pixel look at?  That is its *receptive field*: small for a stack of 3x3
convolutions, and wide as soon as there is pooling, stride or dilation between them.
"""
import itertools
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import nn, plots
from tinyseg.models.measured_field import effective_receptive_field, measured_receptive_field
from tinyseg.models.receptive_field import receptive_field
from tinyseg.models.summary import layer_rows

plt.style.use(plots.SLIDE)
SHAPE = (1, 3, 56, 56)

# %%
# Four networks
# -------------
# All are 3x3 convolutions with ReLUs.  They keep the size of the image, since ``padding`` adds rows and columns of zeros
# around it.  Stride widens the field of all layers behind it, whether a convolution or a pooling has it, so pooling stands
# for both.


def convolutions(*dilations, pool=False):
    """3x3 convolutions, with these dilations; with 2x2 pooling after every second one."""
    layers, channels = [], 3
    for number, dilation in enumerate(dilations, start=1):
        layers += [nn.Conv2d(channels, 8, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (pool and number % 2 == 0)
        channels = 8
    model = nn.Sequential(*layers)
    ts.models.blocks.he_initialise(model)                                  # random weights of a size that suits ReLU
    return model


ts.manual_seed(0)
networks = {
    "plain": convolutions(1, 1, 1, 1, 1, 1),
    "2x2 pooling after\nevery second": convolutions(1, 1, 1, 1, 1, 1, pool=True),
    "dilation 1, 2, 4, 8": convolutions(1, 2, 4, 8),
    "dilation 6, 6, 6": convolutions(6, 6, 6),
}

# %%
# Layer by layer
# --------------
# A layer of kernel k widens the field by (k - 1) times the *stride* so far, the distance in the image between two
# neighbours of its input; dilation multiplies that.  So the plain network gains 2 pixels a layer, one of equal
# dilations 12, and the others more and more.


def by_hand(model):
    """The field after each layer: r + d·(k - 1)·s, and the stride s is multiplied on the way."""
    field, stride = 1, 1
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            dilation = layer.dilation[0] if isinstance(layer, nn.Conv2d) else 1
            field += dilation * (layer.kernel_size[0] - 1) * stride
            stride *= layer.stride[0]
        yield field


# %%
# **See:** straight for plain convolutions and, steeper, for equal dilations; ever steeper with pooling and with growing
# dilation.
figure, ax = plt.subplots(figsize=(13, 5))
for (name, model), marker in zip(networks.items(), itertools.cycle("osD^")):
    rows = layer_rows(model, SHAPE)
    assert [row.receptive_field[0] for row in rows] == list(by_hand(model))
    fields = [1]
    for row in rows:                                                       # with what follows it: ReLU and pooling
        fields = [*fields, row.receptive_field[0]] if row.kind == "Conv2d" else [*fields[:-1], row.receptive_field[0]]
    ax.plot(fields, marker=marker, label=name.replace("\n", " "))
    print(f"{name.replace(chr(10), ' '):35} {rows[-1].receptive_field[0]:.0f} pixels wide at the end, "
          f"stride {rows[-1].stride[0]:.0f}")
ax.set(xlabel="convolutions, each with the pooling behind it", ylabel="pixels", ylim=(0, None),
       title="width of the receptive field")
ax.grid(True)
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %%
# What it really looks at
# -----------------------
# The computed field is a square.  Does the pixel look at all of it?  Ask the gradient: which pixels of the image change
# the one in the middle of the output, and how much?
fields = {}
for name, model in networks.items():
    field = receptive_field(model, SHAPE)
    i, j = field.rows.first.size // 2, field.columns.first.size // 2       # an output pixel in the middle
    box, reached = measured_receptive_field(model, SHAPE, (i, j), samples=30)
    assert box == field.box(i, j)                                          # measured = computed
    fields[name] = box, reached, effective_receptive_field(model, SHAPE, (i, j), samples=12)
    print(f"{name.replace(chr(10), ' '):35} reaches {reached.sum() / (box.height * box.width):.0%} of its field")

# %%
# **See:** above, every pixel that can have an influence, in the frame of the computed field.  Equal dilations leave a
# grid of holes, the *gridding* of dilated networks; growing ones do not.  Below, how much influence it has in the
# untrained network (square root of the gradient): from the middle outwards it falls off like a Gaussian, so that much
# of the field hardly counts (Luo et al. 2016).  Growing dilations spread it further, though not evenly, in a fine grid: the
# *taps*, the weights of the four kernels, make up a distance of 8 in one way only, but 3 in five ways, 1 + 2, 4 - 1,
# 8 - 4 - 1, and so on.
ways = Counter(int(np.dot(taps, (1, 2, 4, 8))) for taps in itertools.product((-1, 0, 1), repeat=4))
assert ways[8] == 1 and ways[3] == 5 and all(ways[distance] for distance in range(-15, 16))

shares = {}
figure, axes = plt.subplots(2, len(fields), figsize=(3.25 * len(fields), 7.3))
for (above, below), (name, (box, reached, effective)) in zip(axes.T, fields.items()):
    above.imshow(reached, vmin=0, vmax=1)
    above.set_title(name)
    below.imshow(np.sqrt(effective.heat / effective.heat.max()), vmin=0, vmax=1)
    shares[name] = effective.area() / (box.height * box.width)
    below.set_title(f"95% of the influence\nin {shares[name]:.0%} of the field")
    for ax in above, below:
        ax.add_patch(plt.Rectangle((box.left - 0.5, box.top - 0.5), box.width, box.height, fill=False,
                                   edgecolor=plots.VERMILION, linewidth=3))
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("can change the output")
axes[1, 0].set_ylabel("does change it")
plt.show()

full = [name for name, (box, reached, _) in fields.items() if reached.sum() == box.height * box.width]
assert "dilation 6, 6, 6" not in full and full[:3] == list(networks)[:3]
assert shares["plain"] < shares["dilation 1, 2, 4, 8"]

# %%
# Dilation keeps the resolution, pooling does not
# -----------------------------------------------
# Pooling pays for its wide field with pixels: where three poolings were, there is an output pixel for 64 of the image.
# That is what upsampling and skip connections are for, in the scripts that follow.
for name, model in networks.items():
    with ts.no_grad():
        print(f"{name.replace(chr(10), ' '):35} output", model(ts.Tensor(np.zeros(SHAPE, np.float32))).shape[2:])

# %%
# **Try:** convolutions of stride 2 in place of the pooling: the same fields?  As further entries of ``networks``, dilations
# 1, 2, 5, the "hybrid" ones, and 2, 4, 8: which leave holes?  And 1, 3, 9: in how many ways is each pixel reached?  The
# fields of a whole model: ``tinyseg summary unet``.
