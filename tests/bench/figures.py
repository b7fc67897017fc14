"""The pictures of docs/performance.md: the explaining ones are drawn, the measured ones are taken from where run.py put them.

    python tests/bench/figures.py [--bench OUT] [--images docs/images]
"""
from __future__ import annotations

import argparse
import pathlib
from functools import partial

import numpy as np

from tinyseg.plots import BLUE, VERMILION, new_figure, save

IMAGES = pathlib.Path(__file__).parents[2] / "docs" / "images"
MEASURED = ("layers", "roofline", "scaling", "shares", "curves")
GREY, GREEN = "0.88", "#009E73"

# Bᵀ, G, Aᵀ of Lavin & Gray 2016 for 2x2 outputs of a 3x3 kernel: the transforms of pixels, kernel and products
F2 = (np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
      np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
      np.array([[1, 1, 1, 0], [0, 1, -1, -1]]))
POINTS = {"F(2x2), points 0, ±1": (0, 1, -1), "F(4x4), points 0, ±1, ±2": (0, 1, -1, 2, -2),
          "F(4x4), points 0, ±3/4, ±3/2": (0, 3 / 4, -3 / 4, 3 / 2, -3 / 2)}


def transforms(points):
    """(Bᵀ, G, Aᵀ) of the algorithm that takes polynomials' values at these points and at infinity, for 3 taps.

    Products of polynomials of 3 and m coefficients have n = m + 2, so n values tell them: V⁻¹ leads back.  Convolution in
    the sense of deep learning is the transpose of that product.
    """
    n = len(points) + 1
    powers = np.vander(points, n, increasing=True)                    # row j: 1, p, p², … of point j
    scale = np.array([*(np.prod([p - q for q in points if q != p]) for p in points), 1.0])
    v = np.vstack([powers, np.eye(n)[-1]])
    g, a = (np.vstack([powers[:, :k], np.eye(k)[-1]]) for k in (3, n - 2))
    return scale[:, None] * np.linalg.inv(v).T, g / scale[:, None], a.T


def winograd(x, w, points):
    """(C, H, W), (O, C, 3, 3) -> (O, H - 2, W - 2), in tiles of m x m outputs, m = len(points) - 1, which must fit."""
    pixels, kernel, products = (matrix.astype(x.dtype) for matrix in transforms(points))
    m, n = products.shape
    tiles = np.lib.stride_tricks.sliding_window_view(x, (n, n), axis=(1, 2))[:, ::m, ::m]
    v = pixels @ tiles @ pixels.T                                     # (C, rows, columns, n, n)
    u = kernel @ w @ kernel.T                                         # (O, C, n, n)
    y = products @ np.einsum("ocij,crsij->orsij", u, v) @ products.T  # (O, rows, columns, m, m)
    outputs, rows, columns = y.shape[:3]
    return y.transpose(0, 1, 3, 2, 4).reshape(outputs, rows * m, columns * m)


def direct(x, w):
    """The same, by its definition."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("chwuv,ocuv->ohw", windows, w)


# What a kernel reads --------------------------------------------------------------------------------------------------

def cells(ax, values, corner=(0, 0), size=1.0, colours=None, text=True, fontsize=9):
    """A table of numbers as squares, its upper left at `corner`, y going down."""
    from matplotlib.patches import Rectangle

    for (i, j), value in np.ndenumerate(values):
        place = (corner[0] + j * size, corner[1] + i * size)
        colour = colours[i][j] if colours else "white"
        ax.add_patch(Rectangle(place, size, size, facecolor=colour, edgecolor="0.5", linewidth=0.8))
        if text:
            ax.text(place[0] + size / 2, place[1] + size / 2, f"{value}", ha="center", va="center", fontsize=fontsize)


def bare(ax, width, height, title):
    ax.set_xlim(-0.3, width)
    ax.set_ylim(height, -0.3)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(title, fontsize=12, loc="left")


def im2col_picture():
    """An image of 4x4 pixels, its 9 rows of columns, and the padded image that all taps read at offsets."""
    figure = new_figure(13, 3.3)
    axes = figure.subplots(1, 3, width_ratios=[3.4, 6.2, 6.6])
    image = np.arange(1, 17).reshape(4, 4)
    padded = np.pad(image, 1)
    window = (1, 2)                                                   # the output whose window is shown
    inside = [[VERMILION + "55" if window[0] <= i < window[0] + 3 and window[1] <= j < window[1] + 3 else
               ("white" if 1 <= i <= 4 and 1 <= j <= 4 else GREY) for j in range(6)] for i in range(6)]
    cells(axes[0], padded, colours=inside)
    bare(axes[0], 6.3, 6.3, "one output needs 9 pixels")

    columns = np.array([padded[u:u + 4, v:v + 4].ravel() for u in range(3) for v in range(3)])
    chosen = window[0] * 4 + window[1]
    colours = [[VERMILION + "55" if j == chosen else (GREY if value == 0 else "white") for j, value in enumerate(row)]
               for row in columns]
    cells(axes[1], columns, colours=colours, fontsize=7)
    bare(axes[1], 16.3, 9.6, "im2col: a column for each output, 9 times the image")

    pitch, start = 6, 2 * 6 + 0                                       # of tap (2, 0)
    colours = [[BLUE + "44" if start <= i * pitch + j < start + 4 * pitch - 2 else (GREY if padded[i, j] == 0 else "white")
                for j in range(6)] for i in range(6)]
    for i in range(6):
        for j in range(6):
            if start <= i * pitch + j < start + 4 * pitch - 2 and j >= 4:
                colours[i][j] = BLUE + "1a"
    cells(axes[2], padded, colours=colours)
    axes[2].text(6.4, 3, "row (2, 0) of the columns:\n\nthe padded image, read from\nvalue 2·pitch + 0 on, line after\nline."
                 "  All 9 rows are the\nsame array at 9 offsets.\n\n(The two pale values of a line\nbelong to no output.)",
                 fontsize=10, va="center")
    bare(axes[2], 13.5, 6.3, "at stride 1 one padded copy is enough")
    return figure


def tile_picture():
    """4 weights times 6 vectors, 24 sums in registers."""
    from matplotlib.patches import Rectangle

    figure = new_figure(10, 4.4)
    ax = figure.subplots()
    for n in range(6):
        ax.add_patch(Rectangle((3 + 2.6 * n, 0), 2.4, 0.8, facecolor=BLUE + "55", edgecolor="0.4"))
        ax.text(4.2 + 2.6 * n, 0.4, f"x[k, {n}]", ha="center", va="center", fontsize=10)
        for r in range(4):
            ax.add_patch(Rectangle((3 + 2.6 * n, 1.5 + 1.05 * r), 2.4, 0.85, facecolor=GREEN + "44", edgecolor="0.4"))
            ax.text(4.2 + 2.6 * n, 1.92 + 1.05 * r, f"y[{r}, {n}] += w{r}·x{n}", ha="center", va="center", fontsize=8.5)
    for r in range(4):
        ax.add_patch(Rectangle((0.6, 1.5 + 1.05 * r), 1.7, 0.85, facecolor=VERMILION + "55", edgecolor="0.4"))
        ax.text(1.45, 1.92 + 1.05 * r, f"w[{r}, k]", ha="center", va="center", fontsize=10)
    ax.text(0.6, 6.0, "k runs over all taps of a block of channels.  Each k loads 6 vectors (blue) and 4 weights (red), which"
            " pay for 24\nmultiplications of whole vectors.  The 24 sums (green) stay in registers until the last k; only then"
            " are they written.", fontsize=10, va="top")
    bare(ax, 18.8, 6.8, "a register tile: 4 outputs x 6 vectors of positions")
    return figure


# Winograd -------------------------------------------------------------------------------------------------------------

def winograd_picture():
    """F(2x2, 3x3) with numbers: 4x4 pixels and a 3x3 kernel become 2x2 outputs by 16 multiplications."""
    figure = new_figure(12, 4.6)
    ax = figure.subplots()
    pixels, kernel, products = F2
    d = np.array([[1, 2, 0, 3], [0, 1, 4, 1], [2, 0, 1, 2], [1, 3, 0, 1]])
    g = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    v, u = pixels @ d @ pixels.T, kernel @ g @ kernel.T
    y = products @ (u * v) @ products.T
    np.testing.assert_allclose(y, direct(d[None], g[None, None])[0])

    def block(values, x, y, colour, above, below=""):
        text = np.vectorize(lambda n: f"{n + 0.0:g}")(values)                       # -0.0 becomes 0
        cells(ax, text, (x, y), colours=[[colour] * values.shape[1]] * values.shape[0])
        ax.text(x + values.shape[1] / 2, y - 0.25, above, ha="center", va="bottom", fontsize=11)
        ax.text(x + values.shape[1] / 2, y + values.shape[0] + 0.15, below, ha="center", va="top", fontsize=9)

    def arrow(x0, x1, y, text):
        ax.annotate("", (x1, y), (x0, y), arrowprops={"arrowstyle": "->", "color": "0.3"})
        ax.text((x0 + x1) / 2, y - 0.15, text, ha="center", va="bottom", fontsize=10)

    block(d, 0, 1, BLUE + "33", "pixels d")
    arrow(4.2, 6.8, 3, "Bᵀ d B")
    block(v, 7, 1, BLUE + "33", "V", "additions alone")
    block(g, 0.5, 7.4, VERMILION + "33", "kernel g")
    arrow(4.2, 6.8, 9, "G g Gᵀ")
    block(u, 7, 7, VERMILION + "33", "U", "once for all tiles of all images")
    ax.text(12, 6.15, "⊙", fontsize=20, ha="center", va="center")
    block(u * v, 13.5, 4, GREEN + "33", "M = U ⊙ V", "16 multiplications,\nsummed over the channels")
    arrow(17.8, 20.8, 6, "Aᵀ M A")
    block(y, 21, 5, GREEN + "33", "outputs", "4 outputs: 36 multiplications\nby the definition")
    bare(ax, 26.5, 11.9, "Winograd F(2x2, 3x3)")
    return figure


def cost_picture():
    """Multiplications for each output, and the error of float32, for sums over more and more channels."""
    figure = new_figure(11, 4)
    left, right = figure.subplots(1, 2)
    counts = {"definition": 9.0, "F(2x2, 3x3)": 16 / 4, "F(4x4, 3x3)": 36 / 16}
    bars = left.bar(list(counts), list(counts.values()), color=["0.6", BLUE, VERMILION])
    left.bar_label(bars, [f"{count:g}" + f"\n{9 / count:g}x fewer" * (count < 9) for count in counts.values()])
    left.set_ylim(0, 10.5)
    left.set_title("multiplications for an output and a channel")
    channels = (4, 8, 16, 32, 64, 128, 256)
    functions = {"definition": direct, **{name: partial(winograd, points=points) for name, points in POINTS.items()}}
    errors = {name: [error_of(function, c) for c in channels] for name, function in functions.items()}
    for (name, values), colour in zip(errors.items(), ("0.5", BLUE, VERMILION, "#E69F00")):
        right.plot(channels, values, "o-", color=colour, label=name)
    right.set_xscale("log", base=2)
    right.xaxis.set_major_formatter("{x:.0f}")
    right.set_yscale("log")
    right.set_ylim(1e-7, 5e-5)
    right.set_xlabel("channels")
    right.set_title("max |error| / max |value| in float32 (plain NumPy)")
    right.grid(color="0.9")
    right.legend(loc="upper left", fontsize=9)
    return figure


def error_of(function, channels, size=32, outputs=8):
    """In float32, against float64 by the definition; pixels as behind a ReLU, weights as He et al. draw them."""
    rng = np.random.default_rng(channels)
    x = np.maximum(rng.standard_normal((channels, size + 2, size + 2)), 0).astype(np.float32)
    w = (rng.standard_normal((outputs, channels, 3, 3)) * np.sqrt(2 / (9 * channels))).astype(np.float32)
    exact = direct(x.astype(np.float64), w.astype(np.float64))
    return np.abs(function(x, w) - exact).max() / np.abs(exact).max()


DRAWN = {"im2col": im2col_picture, "tile": tile_picture, "winograd": winograd_picture, "winograd_cost": cost_picture}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=pathlib.Path, help="folder that run.py wrote to, for the measured pictures")
    parser.add_argument("--images", type=pathlib.Path, default=IMAGES)
    options = parser.parse_args()
    for name, draw in DRAWN.items():
        save(draw(), options.images / f"performance_{name}.png", dpi=75)
    for name in MEASURED if options.bench else ():
        picture = options.bench / f"{name}.png"
        if picture.exists():
            (options.images / f"performance_{name}.png").write_bytes(picture.read_bytes())


if __name__ == "__main__":
    main()
