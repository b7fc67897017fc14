"""Diagrams say what the papers' figures say, and find it out by running the model."""
import pytest

from tinyseg import nn, no_grad
from tinyseg.models import FCN, MODELS, DeepLab, ResNet, SegNet, UNet
from tinyseg.models.diagram import Arrow, diagram


def skips(figure):
    """(from, to) of arrows that pass over other maps, by name and shape."""
    return [(figure.maps[a.start], figure.maps[a.end]) for a in figure.arrows
            if figure.maps[a.end].column > figure.maps[a.start].column + 1]


def test_unet_is_figure_1_of_its_paper():
    figure = diagram(UNet(2, in_channels=1, width=4, padding="valid", norm=None), (1, 1, 572, 572))
    expected = [572, 570, 568, 284, 282, 280, 140, 138, 136, 68, 66, 64, 32, 30, 28,
                56, 56, 54, 52, 104, 104, 102, 100, 200, 200, 198, 196, 392, 392, 390, 388, 388]
    assert [m.shape[1] for m in figure.maps] == expected
    assert [m.shape[0] * 16 for m in figure.maps if m.kind == "join"] == [1024, 512, 256, 128]
    assert [(a.shape[1:], b.shape[1:]) for a, b in skips(figure)] == [
        ((64, 64), (56, 56)), ((136, 136), (104, 104)), ((280, 280), (200, 200)), ((568, 568), (392, 392))]
    levels = [m.level for m in figure.maps]
    assert levels == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3 + [3] * 4 + [2] * 4 + [1] * 4 + [0] * 5
    assert [m.column for m in figure.maps] == list(range(32)) and {m.lane for m in figure.maps} == {0}


def test_fcn_8s_adds_the_scores_of_pool4_and_pool3():
    figure = diagram(FCN(21, width=2, padding=100), (1, 3, 500, 500))
    names = [m.name for m in figure.maps]
    assert [(a.kind, a.shape[1:], b.name) for a, b in skips(figure)] == [
        ("pooling", (44, 44), "score_pool4"), ("pooling", (88, 88), "score_pool3")]
    sources = {figure.maps[a.end].shape[1]: [names[x.start] for x in figure.arrows if x.end == a.end] for a in figure.arrows
               if names[a.end] == "add"}
    assert sources == {34: ["upscore2", "score_pool4"], 70: ["upscore_pool4", "score_pool3"]}
    by_name = {m.name: m for m in figure.maps}
    assert by_name["score_pool4"].column == by_name["upscore2"].column
    assert (by_name["upscore2"].lane, by_name["score_pool4"].lane) == (0, 1)
    assert figure.maps[-2].shape == (21, 568, 568) and figure.maps[-1] == by_name["output"]
    assert by_name["output"].shape == (21, 500, 500)


def test_segnet_hands_over_indices_alone():
    figure = diagram(SegNet(11, width=4), (1, 3, 45, 60))
    indices = [a for a in figure.arrows if a.indices]
    assert [figure.maps[a.start].kind for a in indices] == ["pooling"] * 5
    assert [figure.maps[a.end].shape[1:] for a in indices] == [(3, 4), (6, 8), (12, 15), (23, 30), (45, 60)]
    assert all(figure.maps[a.start - 1].shape[1:] == figure.maps[a.end].shape[1:] for a in indices)
    assert all(a.indices for a in figure.arrows if figure.maps[a.end].column > figure.maps[a.start].column + 1)


def test_branches_that_are_summed_meet_in_one_map():
    figure = diagram(DeepLab(21, width=2, version="v2"), (1, 3, 65, 65))
    (add,) = [k for k, m in enumerate(figure.maps) if m.name == "add"]
    assert [figure.maps[a.start].name for a in figure.arrows if a.end == add] == [f"classifiers.{k}" for k in range(4)]
    assert [[figure.maps[a.start].lane for a in figure.arrows if a.end == add]] == [[0, 1, 2, 3]]
    assert len({figure.maps[a.start].column for a in figure.arrows if a.end == add}) == 1


def test_a_concatenation_has_all_its_parts():
    figure = diagram(DeepLab(21, width=2, version="v3"), (1, 3, 65, 65))
    (cat,) = [k for k, m in enumerate(figure.maps) if m.name == "cat"]
    parts = [figure.maps[a.start] for a in figure.arrows if a.end == cat]
    assert sum(m.shape[0] for m in parts) == figure.maps[cat].shape[0] and len(parts) == 5
    assert figure.maps[cat].level == 3 and parts[-1].shape[1:] == (1, 1)


def test_residuals_are_skips():
    figure = diagram(ResNet(10, depth=18, width=2), (1, 3, 64, 64))
    assert sum(m.name == "add" for m in figure.maps) == 8
    assert sum(b.name == "add" for _, b in skips(figure)) == 5          # the other three go through a 1x1 convolution


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_one(name):
    figure = diagram(MODELS[name](5, width=4), (1, 3, 64, 64))
    assert figure.maps[0].kind == "image" and len(figure.maps) > 5
    ends = {arrow.end for arrow in figure.arrows}
    assert ends == set(range(1, len(figure.maps)))                      # every map is computed from another
    assert {arrow.start for arrow in figure.arrows} == set(range(len(figure.maps) - 1))       # and used, but for the last
    assert all(figure.maps[a.start].column < figure.maps[a.end].column for a in figure.arrows)


def test_a_layer_that_is_called_twice_makes_two_maps():
    class Twice(nn.Module):
        def __init__(self):
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x).relu())

    maps, arrows = diagram(Twice(), (1, 3, 8, 8))
    assert [m.name for m in maps] == ["image", "conv", "conv"] and arrows == (Arrow(0, 1), Arrow(1, 2))


def test_no_grad_and_training_are_left_as_they_are():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 5))
    with no_grad():
        maps, _ = diagram(model, (1, 3, 4, 4))
    assert [(m.name, m.shape) for m in maps[1:]] == [("0", (4, 2, 2)), ("5", (5, 1, 1))]
    assert model.training


def test_a_model_that_does_nothing_is_its_image():
    assert [m.name for m in diagram(nn.Identity(), (1, 3, 4, 4)).maps] == ["image"]


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (1, 3, 32, 32)])
def test_the_batch_does_not_matter(shape):
    assert diagram(UNet(2, width=2, depth=2), shape) == diagram(UNet(2, width=2, depth=2), (1, 3, 32, 32))
