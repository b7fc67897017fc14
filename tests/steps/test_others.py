"""Pooling, upsampling, the loss, mIoU and backward: every step against the engine, for any input."""
import numpy as np
import pytest

import tinyseg.functional as F
from tinyseg import Tensor, steps
from tinyseg.metrics import ConfusionMatrix
from tinyseg.steps.backprop import SOBEL


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_max_pool_and_unpool(seed):
    rng = np.random.default_rng(seed)
    kernel, stride = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(2))
    padding, dilation = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel), tuple(map(int, rng.integers(1, 3, 2)))
    x = rng.integers(0, 5, rng.integers(5, 8, 2)).astype(float)              # with ties
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    run = steps.max_pool(x, kernel, **settings)
    y, indices = F.max_pool2d(x[None, None], kernel, **settings, return_indices=True)
    pooled, unpooled = run[y.size - 1], run[-1]["Unpooled"].values
    assert len(run) == 2 * y.size
    close(pooled["Pooled"].values, y.numpy()[0, 0])
    close(pooled["Indices"].values, indices.numpy()[0, 0])
    flat = np.zeros(x.size)
    for k, (value, index) in enumerate(zip(y.numpy().flat, indices.numpy().flat)):
        flat[index] = value
        close(run[y.size + k]["Unpooled"].values.ravel(), flat)
        assert run[k]["Input"].cells("written") == [divmod(int(index), x.shape[1])]
    if stride == kernel and padding == (0, 0) and dilation == (1, 1):
        close(unpooled, F.max_unpool2d(y, indices, kernel, output_size=x.shape).numpy()[0, 0])


@pytest.mark.parametrize("stride", [2, 3])
def test_every_way_of_upsampling(rng, stride):
    x = rng.standard_normal((3, 2))
    run, image = steps.upsampling(x, stride), x[None, None]
    aligned = tuple(stride * (n - 1) + 1 for n in x.shape)
    ways = {
        "Nearest": F.interpolate(image, scale_factor=stride),
        "Bed of nails": F.bed_of_nails(image, stride),
        "Bilinear": F.interpolate(image, scale_factor=stride, mode="bilinear"),
        "Bilinear, corners aligned": F.interpolate(image, size=aligned, mode="bilinear", align_corners=True),
        "Transposed convolution": F.interpolate(image, size=aligned, mode="bilinear", align_corners=True),
    }
    found = {frame.sentence.partition(":")[0]: frame for frame in run}
    for name, y in ways.items():
        close(found[name]["Output"].values, y.numpy()[0, 0])
    unpooled = found["Max unpooling"]
    indices = unpooled["Indices of the encoder's maxima"].values.astype(int)
    close(unpooled["Output"].values,
          F.max_unpool2d(image, indices[None, None], stride).numpy()[0, 0])
    shuffled, channels = found["Pixel shuffle"], found["Pixel shuffle"]["Channels, a row each"]
    image = channels.values.reshape(1, stride**2, *x.shape)
    close(shuffled["Output"].values, F.pixel_shuffle(image, stride).numpy()[0, 0])
    close(image[0, :2], [x, 2 * x])
    block = [(i, j) for i in range(stride) for j in range(stride, 2 * stride)]
    assert found["Nearest"]["Output"].cells("written") == shuffled["Output"].cells("written") == block
    close(image[0, :, 0, 1], [shuffled["Output"].values[cell] for cell in block])


@pytest.mark.parametrize("size, align_corners", [((7, 5), True), ((7, 5), False), ((2, 3), False), ((1, 1), True),
                                                 ((3, 9), True)])
def test_bilinear_weights(rng, size, align_corners):
    x = rng.standard_normal((4, 3))
    run = steps.bilinear(x, size, align_corners)
    y = F.interpolate(x[None, None], size=size, mode="bilinear", align_corners=align_corners).numpy()[0, 0]
    assert len(run) == y.size
    for k, frame in enumerate(run):
        weights = frame["Weights"].values
        assert weights.sum() == pytest.approx(1) and (weights * x).sum() == pytest.approx(y.flat[k], abs=1e-12)
        close(frame["Output"].values.ravel()[:k + 1], y.ravel()[:k + 1])
        assert np.isnan(frame["Output"].values.ravel()[k + 1:]).all()


@pytest.mark.parametrize("label", [0, 3, 255])
def test_cross_entropy_at_a_pixel(rng, label):
    logits = rng.standard_normal(4) * 3
    x = Tensor(logits[None], requires_grad=True)
    loss = F.cross_entropy(x, np.array([label]), reduction="sum")
    loss.backward()
    table = steps.cross_entropy(logits, label)[-1]
    rows = dict(zip(table["One pixel"].rows, table["One pixel"].values))
    close(rows["logit x"], logits)
    close(rows["σ = exp x / Σ"], F.softmax(logits, dim=0).numpy())
    close(table["Loss"].values, loss.item())
    close(rows["-y ln σ"].sum(), loss.item())
    close(rows["dL/dx"], x.grad[0])


@pytest.mark.parametrize("seed", range(6))
def test_mean_iou_builds_up_to_the_confusion_matrixs(seed):
    rng = np.random.default_rng(seed)
    prediction, target = rng.integers(0, 5, (2, 4, 6)) // [[[1]], [[2]]] * 2      # some classes are absent
    target[rng.random(target.shape) < 0.2] = 255
    run = steps.mean_iou(prediction, target)
    confusion = ConfusionMatrix(len(run[-1]["Scores"].rows))
    confusion.update(prediction, target)
    assert f"mIoU {confusion.mean_iou:.4g} is the mean" in run[-1].sentence
    assert f"pixel accuracy is {confusion.pixel_accuracy:.4g}" in run[-1].sentence
    close(run[-1]["Confusion: true (down), predicted"].values, confusion.matrix)
    for k, frame in enumerate(run[1:-1]):
        iou = frame["Scores"].values[:, 2]
        close(iou[:k + 1], confusion.iou[:k + 1])
        both = frame["Prediction"].cells("written")
        assert all(prediction[cell] == k == target[cell] for cell in both)
        assert len(both) == np.nan_to_num(frame["Scores"].values[k, 0])
        assert ("in neither mask" in frame.sentence) == np.isnan(iou[k])
        if not np.isnan(iou[:k + 1]).all():
            assert frame["mIoU so far"].lines[0].endswith(f" = {np.nanmean(confusion.iou[:k + 1]):.4g}")


def test_backward_through_the_small_net_is_backward():
    run = steps.small_net()
    ours = {name: run[-1][f"dL/d{name}"].values for name in "xwv"}
    x, w = (Tensor(a[None, None], requires_grad=True) for a in (steps.convolution.IMAGE, SOBEL))
    v = Tensor(np.array([0.25, -0.25]).reshape(2, 1, 1, 1), requires_grad=True)
    scores = F.conv2d(F.max_pool2d(F.relu(F.conv2d(x, w, padding="same")), 2), v)
    F.cross_entropy(scores, np.array([[[0, 1], [0, 1]]])).backward()
    close(ours["x"], x.grad[0, 0])
    close(ours["w"], w.grad[0, 0])
    close(ours["v"][::2], v.grad[:, 0, 0])
    assert np.isnan(ours["v"][1]).all(), "an empty row between two planes"
    assert abs(x.grad).min() == 0 < abs(x.grad).max() and abs(w.grad).max() > 0.01, "a net worth looking at"


def test_an_arrow_over_several_columns_meets_no_box():
    x, w = (Tensor([[2.0]], requires_grad=True) for _ in range(2))
    a = x * w
    graph = steps.backward(((a.exp() + x.exp()).log() - a).sum(), x=x, w=w)[0]["Graph"]
    boxes = {(node.column, node.row) for node in graph.nodes}
    assert len(boxes) == len(graph.nodes)
    long = [(graph.nodes[a], graph.nodes[b]) for a, b in graph.edges if graph.nodes[b].column - graph.nodes[a].column > 1]
    assert [(a.name, b.name) for a, b in long] == [("exp 2", "add"), ("mul", "sub")]
    for a, b in long:
        assert a.row == b.row and not any((column, a.row) in boxes for column in range(a.column + 1, b.column))


def test_backward_visits_each_node_once_and_adds_up_what_arrives():
    x, y = Tensor([2.0, 3.0], requires_grad=True), Tensor([5.0], requires_grad=True)
    z = x * y
    run = steps.backward((z + z * x).sum(), x=x, y=y)
    assert [frame.sentence.split(" takes")[0] for frame in run[1:-1]] == ["sum", "add", "mul 2", "mul 1"]
    assert "added to what had arrived" in run[3].sentence and "added" not in run[1].sentence
    close(run[3]["dL/d(mul 1)"].values, [[3, 4]])                             # 1 from the sum, x from the product
    close(run[-1]["dL/dx"].values, x.grad[None])
    close(x.grad, 5 + 2 * 5 * np.array([2, 3]))
    close(run[-1]["dL/dy"].values, y.grad[None])
    graph = run[0]["Graph"]
    names = [node.name for node in graph.nodes]
    assert {(names[a], names[b]) for a, b in graph.edges} == {
        ("x", "mul 1"), ("y", "mul 1"), ("mul 1", "add"), ("mul 1", "mul 2"), ("x", "mul 2"), ("mul 2", "add"),
        ("add", "sum")}
    column = {node.name: node.column for node in graph.nodes}
    assert all(column[names[a]] < column[names[b]] for a, b in graph.edges)
    assert len({(node.column, node.row) for node in graph.nodes}) == len(names), "no two boxes in one place"


@pytest.mark.parametrize("stepper, call, error, message", [
    (steps.max_pool, dict(padding=2), ValueError, r"max-pool: padding=\(2, 2\) exceeds half the kernel"),
    (steps.max_pool, dict(kernel_size=5), ValueError, "max-pool: kernel height 5"),
    (steps.upsampling, dict(stride=(1, 2)), ValueError, "upsampling: stride"),
    (steps.upsampling, dict(stride=17), ValueError, "upsampling: the output would be 34x34"),
    (steps.bilinear, dict(size=0), ValueError, "bilinear: size=0"),
    (steps.cross_entropy, dict(label=4), ValueError, "label 4, but 4 logits make the classes 0 … 3"),
    (steps.cross_entropy, dict(logits=[[1, 2], [3, 4]]), ValueError, "expected one row"),
    (steps.cross_entropy, dict(logits=[1, 800]), ValueError, "logit 800"),
    (steps.mean_iou, dict(prediction=[[0.5]]), ValueError, "mean-iou: prediction holds 0.5"),
    (steps.mean_iou, dict(prediction=[[0]]), ValueError, "differ"),
    (steps.mean_iou, dict(prediction=[[0]], target=[[255]]), ValueError, "at least a pixel"),
    (steps.mean_iou, dict(prediction=[[99]], target=[[0]]), ValueError, "at most 21 classes"),
    (steps.small_net, dict(input=[[1, 2]]), ValueError, "at least 2x2"),
    (steps.backward, dict(loss=Tensor([1.0])), ValueError, "requires no gradient"),
    (steps.backward, dict(loss=Tensor([1.0, 2.0], requires_grad=True) * 2), ValueError, r"shape \(2,\)"),
])
def test_what_does_not_fit_is_refused(stepper, call, error, message):
    with pytest.raises(error, match=message):
        stepper(**call)


def test_all_steppers_run_with_what_they_have_and_say_what_they_do():
    for name, stepper in steps.STEPPERS.items():
        run = stepper()
        assert len(run) >= 4 and run.title, name
        for frame in run:
            assert frame.sentence.endswith("."), name
            assert len({panel.title for panel in frame.panels}) == len(frame.panels), name
