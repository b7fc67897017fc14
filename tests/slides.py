"""A matplotlib backend for examples: `plt.show()` writes each open figure as figure_1.png, … and insists on legible text.

Unlike Agg's, its `show` draws, and says nothing on a machine with a screen.
"""
import pathlib

import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas  # noqa: F401: what makes it a backend
from matplotlib.text import Text

SLIDE = 40 / 3, 7.5                    # width and height in inches, 16:9
SMALLEST = 12                          # points, of a figure that fills the slide


def show(block=None):
    for number in plt.get_fignums():
        figure = plt.figure(number)
        figure.savefig(f"figure_{1 + len(list(pathlib.Path().glob('figure_*.png')))}.png", dpi=figure.dpi)
        zoom = min(SLIDE / figure.get_size_inches())
        small = {text.get_text(): round(text.get_fontsize() * zoom, 1) for text in figure.findobj(Text)
                 if text.get_text() and text.get_visible() and text.get_fontsize() * zoom < SMALLEST}
        assert not small, f"too small on a slide, in points: {small}"
        plt.close(figure)
