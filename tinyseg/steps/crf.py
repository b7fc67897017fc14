"""One mean-field update of the fully connected CRF, pixel by pixel: what the others say, and what is believed then."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..crf import DenseCRF
from ..kernels.mean_field import softmax_of_pixels
from ..op import Array
from .checks import plane
from .frames import Frame, Grid, Steps, grid, number
from .watch import watch

LARGEST = 36             # pixels: each takes four frames
EDGE_IMAGE = np.array([[20, 30, 200, 210], [10, 20, 210, 200], [30, 190, 200, 220]], float)
UNSURE = np.array([[0.1, 0.2, 0.7, 0.9], [0.2, 0.6, 0.4, 0.8], [0.3, 0.5, 0.9, 0.8]])
NAMES = ("Appearance", "Smoothness")


class Update(NamedTuple):
    """A mean-field update, watched: every array is (2, H, W), a number for each class, but for the kernels."""

    kernels: list[Array]         # two, (H, W, H, W): k(i, j), 0 between a pixel and itself
    unary: Array
    q: Array                     # before
    messages: list[Array]        # two
    weighted: Array
    pairwise: Array
    powers: Array
    updated: Array
    codes: tuple[str, str, str]  # the lines of the three parts


def mean_field(input: Any = EDGE_IMAGE, probabilities: Any = UNSURE, w1: float = 1.0, theta_alpha: float = 2.0,
               theta_beta: float = 100.0, w2: float = 0.2, theta_gamma: float = 1.0) -> Steps:
    """One mean-field step of the fully connected CRF: at each pixel two messages, the cost of a label, a new softmax.

    input (H, W): grey levels, 0 to 255; probabilities (H, W): of class 1, the others being of class 0.  The rest are the
    settings of `crf.DenseCRF`, which works here as the paper writes it: without normalization, and without the pixel itself
    among those that it hears.  Raises ValueError, TypeError for what does not fit.

    >>> mean_field([[0, 0, 255]], [[0.9, 0.4, 0.1]])[-1]["New probability of class 1"].values.round(2)
    array([[0.88, 0.57, 0.1 ]])
    """
    image, p = plane("mean-field: input", input), plane("mean-field: probabilities", probabilities)
    if image.shape != p.shape:
        raise ValueError(f"mean-field: input {image.shape} and probabilities {p.shape} differ; give as many of each")
    if image.size > LARGEST:
        raise ValueError(f"mean-field: {image.size} pixels would take {4 * image.size + 2} frames; expected at most "
                         f"{LARGEST} pixels, so cut out a part")
    if image.min() < 0 or image.max() > 255 or (image % 1 != 0).any():
        raise ValueError("mean-field: input holds other numbers than grey levels; expected whole numbers, 0 to 255")
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"mean-field: probabilities from {number(p.min())} to {number(p.max())}; expected 0 to 1")
    grey = np.repeat(image.astype(np.uint8)[..., None], 3, axis=-1)                        # (H, W, 3)
    crf = DenseCRF(np.stack([1 - p, p]), grey, w1=w1, theta_alpha=theta_alpha, theta_beta=theta_beta, w2=w2,
                   theta_gamma=theta_gamma, compatibility=1 - np.eye(2), method="exact", normalization="none", self_term=False)
    title = f"A mean-field step of the fully connected CRF, {p.shape[0]}x{p.shape[1]} pixels, 2 classes"
    return Steps(title, _frames(image, _watched(crf), (w1, w2)),
                 {"read": "read", "written": "written", "padding": "the pixel itself"})


def _watched(crf: DenseCRF) -> Update:
    """The three parts of the update at work."""
    q = crf.initialise()
    passing = watch(DenseCRF.message_passing, "return [kernel(q)", lambda at: None, crf, q)
    transform = watch(DenseCRF.compatibility_transform, "return np.tensordot", lambda at: at["weighted"].copy(), crf,
                      passing.result)
    plain = getattr(softmax_of_pixels, "py_func", softmax_of_pixels)                       # Python, to look into
    updated = np.empty((2, q[0].size))
    softmax = watch(plain, "to_powers(", lambda at: at["q"].copy(), 0, updated, crf.unary.reshape(2, -1),
                    transform.result.reshape(2, -1))
    ones = np.eye(q[0].size).reshape(-1, *q.shape[1:])                                     # (H·W, H, W), 1 at a pixel
    kernels = [kernel(ones).reshape(*q.shape[1:], *q.shape[1:]) for _, kernel in crf.kernels]
    return Update(kernels, crf.unary, q, passing.result, transform.moments[0], transform.result,
                  softmax.moments[-1].reshape(q.shape), updated.reshape(q.shape), (passing.code, transform.code, softmax.code))


def _frames(image: Array, run: Update, weights: tuple[float, float]) -> Iterator[Frame]:
    q, updated = run.q[1], np.full(image.shape, np.nan)
    rows = ("from appearance", "from smoothness", "both, weighted", "cost: the other's", "unary: -ln p",
            "exp(-cost - unary), largest = 1", "new probability")
    new = "New probability of class 1"
    before = (grid("Image", image), grid("Probability of class 1", q))
    yield Frame("Each pixel will hear what all others believe, the louder the nearer they are and the more alike they look.",
                (*before, grid(new, updated)))
    for place in ((i, j) for i in range(image.shape[0]) for j in range(image.shape[1])):
        for name, kernel, message in zip(NAMES, run.kernels, run.messages):
            yield Frame(f"Pixel {place}, {name.lower()}: its kernel times the other pixels' probabilities of class 1 sums to "
                        f"{number(message[1][place])}; of class 0, to {number(message[0][place])}.",
                        _messages(image, q, kernel[place], place, name), run.codes[0])
        parts = (*run.messages, run.weighted, run.pairwise, run.unary, run.powers, run.updated)
        table = np.stack([part[:, place[0], place[1]] for part in parts])                  # (7, 2)
        costs = np.where(np.arange(len(table))[:, None] < 4, table, np.nan)
        yield Frame(f"Pixel {place}: {number(weights[0])} times what came through the one kernel and {number(weights[1])} "
                    f"times the other; what speaks for one class is the cost of the other.",
                    (_table(costs, rows, [0, 1, 2], [3]), grid(new, updated)), run.codes[1])
        updated[place] = run.updated[1][place]
        yield Frame(f"Pixel {place}: with the unary cost, the softmax of both (its largest power taken as 1) turns "
                    f"{number(q[place])} into {number(updated[place])}.",
                    (_table(table, rows, [3, 4], [6]), grid(new, updated, written=place)), run.codes[2])
    turned = int(((q > 0.5) != (updated > 0.5)).sum())
    yield Frame(f"All pixels have been updated from the same old probabilities; {turned} of {q.size} "
                f"{'has' if turned == 1 else 'have'} changed to the other class.",
                (*before, grid(new, updated, written=(q > 0.5) != (updated > 0.5))))


def _messages(image: Array, q: Array, kernel: Array, place: tuple[int, int], name: str) -> tuple[Grid, ...]:
    """What a pixel hears through a kernel (H, W), and the sum so far, row by row."""
    products = kernel * q
    sums = products.cumsum().reshape(q.shape)
    heard = np.ones(q.shape, bool)
    heard[place] = False
    return (grid("Image", image, padding=place), grid("Probability of class 1", q, read=heard, padding=place),
            grid(f"{name} kernel", kernel, read=heard, padding=place), grid("Kernel × probability", products, padding=place),
            grid("Running sum", sums, read=(-1, -1)))


def _table(values: Array, rows: tuple[str, ...], read: list[int], written: list[int]) -> Grid:
    return grid("At this pixel", values, read=np.s_[read], written=np.s_[written], rows=rows,
                columns=("class 0", "class 1"))
