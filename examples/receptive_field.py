"""What one output pixel sees: computed from the layers, measured by back-propagation, and where most gradient lies.

Run it as a script, or cell by cell in an editor that knows `# %%`.  It writes receptive_field.png.
"""
# %% Four networks: plain, with pooling, and with dilation that grows or does not
import numpy as np
from matplotlib.patches import Rectangle

import tinyseg as ts
from tinyseg import nn, plots
from tinyseg.models.measured_field import effective_receptive_field, measured_receptive_field
from tinyseg.models.receptive_field import receptive_field

SHAPE = (1, 3, 56, 56)


def convolutions(*dilations, pool=False):
    """3x3 convolutions with ReLUs, that keep the size; with pooling after every second one, the last left out."""
    layers, channels = [], 3
    for number, dilation in enumerate(dilations, start=1):
        layers += [nn.Conv2d(channels, 8, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (pool and number % 2 == 0)
        channels = 8
    model = nn.Sequential(*layers, nn.Conv2d(channels, 2, 1))
    ts.models.blocks.he_initialise(model)
    return model


ts.manual_seed(0)
NETWORKS = {
    "8 convolutions": convolutions(1, 1, 1, 1, 1, 1, 1, 1),
    "6 convolutions, 2x2 pooling\nafter every second": convolutions(1, 1, 1, 1, 1, 1, pool=True),
    "dilation 1, 2, 4, 8": convolutions(1, 2, 4, 8),
    "dilation 6, 6, 6": convolutions(6, 6, 6),
}

# %% Computed and measured agree; of the pixels within, pooling leaves none out, equal dilations leave most
results = {}
for name, model in NETWORKS.items():
    field = receptive_field(model, SHAPE)
    i, j = field.rows.first.size // 2, field.columns.first.size // 2           # an output pixel in the middle
    box, mask = measured_receptive_field(model, SHAPE, (i, j), samples=40)
    assert box == field.box(i, j)
    effective = effective_receptive_field(model, SHAPE, (i, j), samples=20)
    results[name] = box, mask, effective
    print(f"{' '.join(name.split())}: sees {box.height:.0f}x{box.width:.0f} pixels at stride {field.stride[0]:.0f}; "
          f"{mask.sum() / (box.height * box.width):.0%} of them have a gradient; 95% of it lie in {effective.area()}")

# %% The picture: a row for each network
FONT, ORANGE = plots.FONT, "#E69F00"                                           # on dark and on light
figure = plots.new_figure(11, 3.5 * len(results) + 1)
axes = figure.subplots(len(results), 3)
for row, (name, (box, mask, effective)) in zip(axes, results.items()):
    reach = effective.heat / effective.heat.max()
    pictures = [(np.zeros(mask.shape), f"computed: {box.height:.0f}x{box.width:.0f}"),
                (mask, f"measured: {mask.sum()} pixels"),
                (np.sqrt(reach), f"effective: 95% in {effective.area()} pixels")]
    for ax, (picture, title) in zip(row, pictures):
        shown = ax.imshow(picture, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        ax.add_patch(Rectangle(
            (box.left - 0.5, box.top - 0.5), box.width, box.height, fill=False, edgecolor=ORANGE, linewidth=2.5))
        ax.set_title(title, fontsize=FONT)
        ax.set_xticks([0, 28, 55])
        ax.set_yticks([0, 28, 55])
    row[0].set_ylabel(name, fontsize=FONT)
for ax in axes[-1]:
    ax.set_xlabel("pixels of the image", fontsize=FONT)
bar = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.6, aspect=40, pad=0.02)
bar.set_label("√(gradient / largest gradient); the frame is the computed field", fontsize=FONT)
plots.save(figure, "receptive_field.png")
print("wrote receptive_field.png")
