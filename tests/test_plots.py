"""Pictures show what they were given, under legible titles, and leave the caller's matplotlib alone."""
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation
from PIL import Image

from tinyseg import plots
from tinyseg.data.palette import VOC_PALETTE
from tinyseg.models import FCN, DeepLab, SegNet, UNet
from tinyseg.models.diagram import diagram
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


def test_pyplot_and_backend_are_left_alone(tmp_path):
    def state():                                          # dict's own look-up, since matplotlib's chooses a backend
        return "matplotlib.pyplot" in sys.modules, dict.get(matplotlib.rcParams, "backend")

    before = state()
    plots.save(plots.curves(HISTORY), tmp_path / "a.png")
    assert state() == before


MODELS = {"unet": (UNet(2, width=2), False), "u": (UNet(2, width=2), True), "fcn": (FCN(3, width=2), False),
          "segnet": (SegNet(3, width=4), False), "v2": (DeepLab(3, width=2), False),
          "v3": (DeepLab(3, version="v3", width=2), False)}


@pytest.mark.parametrize("name", MODELS)
def test_model_diagram_shows_every_map_once_and_none_over_another(name):
    model, descending = MODELS[name]
    drawn = diagram(model, (1, 3, 64, 96))
    (ax,) = plots.model_diagram(drawn, descending).axes
    boxes = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in ax.patches if isinstance(patch, Rectangle)]
    assert len(boxes) == len(drawn.maps)
    for k, (x, y, w, h) in enumerate(boxes):
        assert not any(x < x2 + w2 and x2 < x + w and y < y2 + h2 and y2 < y + h for x2, y2, w2, h2 in boxes[k + 1:])
    texts = [text.get_text() for text in ax.texts]
    assert all(f"{m.name}  {m.shape[1]} x {m.shape[2]}" in texts and str(m.shape[0]) in texts for m in drawn.maps)
    arrows = sum(text.arrow_patch is not None for text in ax.texts if isinstance(text, Annotation))
    assert arrows == len(drawn.arrows)


def test_model_diagram_is_to_scale():
    drawn = diagram(UNet(2, width=16), (1, 3, 64, 96))
    boxes, _ = plots.map_boxes(drawn, descending=False)
    large = [(m, box) for m, box in zip(drawn.maps, boxes) if m.shape[1] >= 8 and m.shape[0] >= 16]
    (first, one), *others = large
    assert len(others) > 10
    for m, box in others:
        assert box.height / one.height == pytest.approx(m.shape[1] / first.shape[1])
        assert box.width / one.width == pytest.approx((m.shape[0] / first.shape[0])**0.5)


def test_a_descending_diagram_goes_down_by_levels():
    drawn = diagram(UNet(2, width=2, depth=3), (1, 3, 64, 96))
    boxes, _ = plots.map_boxes(drawn, descending=True)
    assert [box.y for box in boxes] == [-plots.DROP * m.level for m in drawn.maps]
    assert all(a.x + a.width / 2 < b.x - b.width / 2 for a, b in zip(boxes, boxes[1:]))
