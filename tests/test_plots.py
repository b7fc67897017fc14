"""Pictures show what they were given, under legible titles, and leave the caller's matplotlib alone."""
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tinyseg import plots
from tinyseg.data.palette import VOC_PALETTE
from tinyseg.plots import Panel

HISTORY = [{"epoch": 1, "loss": 2.0, "val_loss": 2.5, "mean_iou": 0.1, "val_mean_iou": 0.2},
           {"epoch": 2, "loss": 1.0, "val_loss": 1.5, "mean_iou": 0.4, "val_mean_iou": 0.3}]


def test_curves_show_the_history():
    loss, iou = plots.curves(HISTORY).axes
    training, validation = loss.lines
    assert training.get_xydata().tolist() == [[1, 2], [2, 1]] and training.get_label() == "training"
    assert validation.get_xydata().tolist() == [[1, 2.5], [2, 1.5]] and validation.get_label() == "validation"
    assert [line.get_ydata().tolist() for line in iou.lines] == [[0.1, 0.4], [0.2, 0.3]]
    assert loss.get_title() == "loss (cross-entropy)" and iou.get_ylim() == (0, 1) and loss.get_ylim()[0] == 0
    assert training.get_color() != validation.get_color() and training.get_marker() != validation.get_marker()


def test_grid_shows_every_picture_with_title_and_legend(rng):
    pictures = rng.integers(0, 256, (2, 3, 4, 5, 3), np.uint8)
    titles = [["image", "ground truth", "prediction"], ["a", "b", "c"]]
    rows = [[Panel(t, p) for t, p in zip(*row)] for row in zip(titles, pictures)]
    figure = plots.grid(rows, plots.class_legend(["sky", "road"], VOC_PALETTE))
    assert [ax.get_title() for ax in figure.axes] == sum(titles, [])
    assert all(np.array_equal(ax.images[0].get_array(), p) for ax, p in zip(figure.axes, pictures.reshape(6, 4, 5, 3)))
    (legend,) = figure.subfigs[-1].legends
    assert [text.get_text() for text in legend.get_texts()] == ["sky", "road", "void"]
    colours = [np.rint(255 * np.array(patch.get_facecolor()[:3])).tolist() for patch in legend.get_patches()]
    assert colours == VOC_PALETTE[[0, 1, 255]].tolist()


def test_a_long_legend_stays_on_the_page(rng, tmp_path):
    picture = Panel("image", rng.integers(0, 256, (8, 8, 3), np.uint8))
    names = [f"a class of long name {i}" for i in range(21)]
    figure = plots.grid([[picture] * 3], plots.class_legend(names, VOC_PALETTE))
    plots.save(figure, tmp_path / "a.png")
    box = figure.subfigs[-1].legends[0].get_window_extent()
    assert 0 <= box.x0 and box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("rows, columns, height, width", [(1, 4, 64, 64), (2, 5, 64, 64), (3, 2, 96, 32)])
def test_a_slide_has_all_pictures_under_legible_titles_and_fits(monkeypatch, rng, rows, columns, height, width):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    pictures = rng.integers(0, 256, (rows, columns, height, width, 3), np.uint8)
    figure = plots.slide("all", [[(f"{i}{j}", picture) for j, picture in enumerate(row)] for i, row in enumerate(pictures)],
                         plots.class_legend(["sky", "road"], VOC_PALETTE))
    try:
        assert plt.get_fignums() and plt.gcf() is figure
        assert [ax.get_title() for ax in figure.axes] == [f"{i}{j}" for i in range(rows) for j in range(columns)]
        shown = np.stack([ax.images[0].get_array() for ax in figure.axes])
        np.testing.assert_array_equal(shown, pictures.reshape(shown.shape))
        assert figure.subfigs[0].get_suptitle() == "all" and len(figure.subfigs[-1].legends[0].get_patches()) == 3
        inches = figure.get_size_inches()
        assert inches[0] == pytest.approx(plots.SLIDE_SIZE[0]) and inches[1] <= plots.SLIDE_SIZE[1] + 1e-9
        assert min(text.get_fontsize() for text in figure.findobj(matplotlib.text.Text) if text.get_text()) >= 12
    finally:
        plt.close(figure)


def test_save_writes_a_whole_png_of_that_size(tmp_path):
    plots.save(plots.curves(HISTORY), tmp_path / "curves.png", dpi=50)
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG" and image.size == (550, 225)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_a_failed_save_keeps_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    figure = plots.curves(HISTORY)
    monkeypatch.setattr(figure, "savefig", lambda file, **_: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        plots.save(figure, path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("curves.png", b"old")]


def test_the_lines_of_a_legend_are_about_equally_long(rng):
    names = [f"a class of long name {i}" for i in range(6)]
    picture = Panel("image", rng.integers(0, 256, (8, 8, 3), np.uint8))
    figure = plots.grid([[picture] * 4], plots.class_legend(names, VOC_PALETTE))
    assert figure.subfigs[-1].legends[0]._ncols == 4          # 7 patches, of which 4 fit beside each other: 4 and 3


def test_pyplot_and_backend_are_left_alone(tmp_path):
    def state():                                          # dict's own look-up, since matplotlib's chooses a backend
        return "matplotlib.pyplot" in sys.modules, dict.get(matplotlib.rcParams, "backend")

    before = state()
    plots.save(plots.curves(HISTORY), tmp_path / "a.png")
    assert state() == before


def test_the_style_of_slides_is_one():
    with matplotlib.rc_context():
        matplotlib.rcParams.update(plots.SLIDE)
        assert matplotlib.rcParams["font.size"] >= 12
        assert len(set(matplotlib.rcParams["axes.prop_cycle"].by_key()["color"])) == 6
