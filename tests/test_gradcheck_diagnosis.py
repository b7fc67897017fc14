"""What the checker says about wrong gradients."""
import numpy as np
import pytest

from tinyseg import functional, gradcheck
from tinyseg.gradcheck.every_op import samples_of
from tinyseg.gradcheck.numeric import one_thread
from tinyseg.gradcheck.planted import PLANTS, planted
from tinyseg.op import REGISTRY


@pytest.fixture(autouse=True)
def small_arrays():
    with one_thread():
        yield


def with_gradient_of(value, other):
    """A tensor with the value of one and the gradient of another: how to write a wrong backward without an op."""
    return value.detach() + other - other.detach()


def only(report):
    """The name and the sentence of the one diagnosis."""
    assert not report.ok
    (found,) = report.diagnoses.values()
    return found


# What is refused, and its name -------------------------------------------------------------------------------------


def test_report_names_argument_index_values_and_place(rng):
    x, w = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal((4, 3, 3, 3))

    def layer(x, w):
        mask = np.ones((2, 3, 5, 4))
        mask[:, :, -1] = 0
        right = functional.conv2d(x, w, padding=1)
        return with_gradient_of(right, functional.conv2d(x * mask, w.detach(), padding=1) + functional.conv2d(
            x.detach(), w, padding=1))
    report = gradcheck.check(layer, [x, w])
    assert list(report.diagnoses) == ["x"]
    first, counts, worst, sentence, other = str(report).splitlines()
    assert first == "gradcheck layer: WRONG GRADIENT"
    assert counts == "  x (2, 3, 5, 4): 24 of 120 entries are wrong, all in the last row"
    assert worst.startswith("    worst at x[") and "4, " in worst and "analytic 0, numeric " in worst
    assert sentence.startswith("    last row: the gradient is zero in the last row, and right elsewhere: ")
    assert other.startswith("  w (4, 3, 3, 3): ok")


def test_names_can_be_given():
    report = gradcheck.check(lambda *xs: xs[0] * xs[1].detach(), [np.ones(2), np.ones(2)], names=["left", "right"])
    assert list(report.diagnoses) == ["right"]
    assert "worst at right[" in str(report)


@pytest.mark.parametrize("name, wrong", [
    ("zero", lambda x: x.detach()),
    ("sign", lambda x: with_gradient_of(x, -x)),
    ("constant factor", lambda x: with_gradient_of(x, x * 1.001)),
    ("flipped image", lambda x: with_gradient_of(x, x[:, :, ::-1, ::-1])),
    ("channels permuted", lambda x: with_gradient_of(x, x[:, [1, 2, 0]])),
    ("batch items permuted", lambda x: with_gradient_of(x, x[[1, 0]])),
    ("one channel", lambda x: with_gradient_of(x, functional.cat([x[:, :2], x[:, 2:] * 3], 1))),
    ("one batch item", lambda x: with_gradient_of(x, functional.cat([x[:1], x[1:].detach()], 0))),
    ("first row", lambda x: with_gradient_of(x, functional.pad(x[:, :, 1:], (0, 0, 1, 0)))),
    ("last column", lambda x: with_gradient_of(x, functional.pad(x[:, :, :, :-1], (0, 1)))),
    ("one row", lambda x: with_gradient_of(x, x * np.array([1.0, 1, 2, 1])[:, None])),
    ("border only", lambda x: with_gradient_of(x, functional.pad(x[:, :, 1:-1, 1:-1], (1, 1, 1, 1)))),
    ("not finite", lambda x: with_gradient_of(x * x, ((x - x) ** 0.5) + x * x)),
    ("unclassified", lambda x: with_gradient_of(x, functional.tanh(x))),
])
@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.filterwarnings("ignore:invalid value")
def test_names_of_bugs(name, wrong, rng):
    x = rng.standard_normal((2, 3, 4, 5))
    assert only(gradcheck.check(wrong, [x])).name == name


def test_a_permutation_takes_a_random_upstream(rng):
    """With an upstream gradient of ones, as in x.sum().backward(), permuted channels could not be seen."""
    report = gradcheck.check(lambda x: with_gradient_of(x, x[:, [2, 0, 1]]), [rng.standard_normal((2, 3, 2, 2))])
    assert only(report).name == "channels permuted"


def test_convolution_with_a_kernel_turned_round(rng):
    x, w = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((4, 3, 3, 3))
    turns = {"flipped kernel": lambda w: w[:, :, ::-1, ::-1], "transposed kernel": lambda w: w.transpose(2, 3)}
    for name, turn in turns.items():
        def convolution(x, w):
            return with_gradient_of(functional.conv2d(x, w), functional.conv2d(x, turn(w)))
        report = gradcheck.check(convolution, [x, w])
        assert {argument: found.name for argument, found in report.diagnoses.items()} == {"x": name, "w": name}
        assert "if w were" in report.diagnoses["x"].sentence


def test_matrix_product_with_a_transpose_missing(rng):
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))
    report = gradcheck.check(lambda a, b: with_gradient_of(a @ b, a @ b.T), [a, b])
    assert {name: found.name for name, found in report.diagnoses.items()} == dict.fromkeys("ab", "transposed matrix")


def test_softmax_with_only_the_diagonal_of_its_jacobian(rng):
    def softmax(x):
        y = functional.softmax(x, 1)
        logit = (y / (1 - y)).detach().data
        return with_gradient_of(y, functional.sigmoid(x + (np.log(logit) - x.data)))       # dx = dy y (1 - y)
    found = only(gradcheck.check(softmax, [rng.standard_normal((2, 4))]))
    assert found.name == "missing accumulation" and "its own index" in found.sentence


def test_bias_gradient_of_the_last_image_only(rng):
    x, b = rng.standard_normal((3, 4)), rng.standard_normal(4)

    def add(b):
        return with_gradient_of(x + b, functional.cat([x[:2] + b.detach(), x[2:] + b]))
    found = only(gradcheck.check(add, [b]))
    assert found.name == "missing accumulation" and "last" in found.sentence


@pytest.mark.parametrize("factor, words", [
    (1 / 3, ["(1/3)", "3 is the batch size", "averaged"]), (15.0, ["15 is the number of outputs", "summed"]),
    (0.5, ["(1/2)", "used twice"]),
])
def test_factors_are_traced_to_shapes(factor, words, rng):
    found = only(gradcheck.check(lambda x: with_gradient_of(x, x * factor), [rng.standard_normal((3, 5))]))
    assert found.name == "constant factor"
    assert all(word in found.sentence for word in words), found.sentence


def test_factors_are_traced_to_settings(rng):
    op = REGISTRY["avg_pool2d"]
    third = next(plant for plant in PLANTS if plant.name == "constant factor")
    sample = next(sample for sample in samples_of(op) if 3 in sample.settings["stride"])
    with planted(op, 0, third):
        assert "3 is the" in only(gradcheck.check_op("avg_pool2d", sample)).sentence


# Ties and kinks ----------------------------------------------------------------------------------------------------


def pool(x):
    return functional.max_pool2d(x, 2)


def windows(x):
    """(1, 1, 4, 4) -> (4, 4): the four windows of pooling 2 x 2, and in each the four entries, row by row."""
    return x.reshape(2, 2, 2, 2).permute(0, 2, 1, 3).reshape(4, 4)


def maxima_of(w):
    return (w.data == w.data.max(1, keepdims=True)).astype(float)


def shared(x):
    """Max pooling whose gradient is shared evenly among equal maxima."""
    w, maxima = windows(x), maxima_of(windows(x))
    return with_gradient_of(pool(x), (w * (maxima / maxima.sum(1, keepdims=True))).sum(1).reshape(1, 1, 2, 2))


def to_all(x):
    """Max pooling in which every equal maximum gets all."""
    w = windows(x)
    return with_gradient_of(pool(x), (w * maxima_of(w)).sum(1).reshape(1, 1, 2, 2))


def to_the_last(x):
    w = windows(x)
    last = 3 - w.data[:, ::-1].argmax(1)
    return with_gradient_of(pool(x), w[np.arange(4), last].reshape(1, 1, 2, 2))


@pytest.fixture
def constant():
    return np.full((1, 1, 4, 4), 2.0)


def test_the_first_of_equal_maxima_is_right(constant, rng):
    for x in (constant, gradcheck.tied(rng.standard_normal((1, 1, 4, 4))), rng.integers(0, 2, (1, 1, 4, 4)) * 1.0):
        assert gradcheck.check(pool, [x]).ok


@pytest.mark.parametrize("wrong, words", [(shared, "shared among"), (to_all, "do not add up"),
                                          (to_the_last, "goes to another")])
def test_other_rules_for_ties_are_refused_only_at_ties(wrong, words, constant, rng):
    assert gradcheck.check(wrong, [rng.standard_normal((1, 1, 4, 4))]).ok
    for x in (constant, rng.integers(0, 2, (1, 1, 4, 4)) * 1.0):
        found = only(gradcheck.check(wrong, [x]))
        assert found.name == "tie splitting" and words in found.sentence, found


def test_a_bug_at_ties_and_elsewhere_is_not_one_of_ties(constant):
    assert only(gradcheck.check(lambda x: with_gradient_of(pool(x), -pool(x)), [constant])).name == "sign"
    assert only(gradcheck.check(lambda x: pool(x).detach(), [constant])).name == "zero"


def test_kinks_of_activations():
    x = np.array([-1.0, 0.0, 1.0])
    for function in (functional.relu, functional.leaky_relu, abs):
        assert gradcheck.check(function, [x]).ok
    assert not gradcheck.check(lambda x: with_gradient_of(functional.relu(x), x * np.array([0, 1.0, 1])), [x]).ok


def test_functions_that_share_ties_are_not_judged_there(constant):
    report = gradcheck.check(lambda x: x.max(dim=2), [constant])
    assert report.ok and "16 of them at a kink" in str(report)


def test_strong_curvature_is_no_kink():
    report = gradcheck.check(lambda x: functional.tanh(x * 300.0), [np.array([-0.002, 0.0, 0.001])])
    assert report.ok and not report.evidence[0].kinks.any()


def test_a_kink_within_the_step_is_no_bug():
    """In a deep network some relu always is so close to its kink."""
    x = np.array([3e-6, -3e-6, 1.0, -1.0])
    report = gradcheck.check(lambda x: functional.relu(x) + x, [x])
    assert report.ok, report
    assert report.error < 1e-6
