"""Drawn diagrams show every feature map once, to scale, and none over another."""
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from tinyseg import plots
from tinyseg.models import FCN, DeepLab, SegNet, UNet
from tinyseg.models.diagram import diagram

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
