import numpy as np
import pytest

from tinyseg import Tensor, functional, gradcheck
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


def smooth(x):
    return np.exp(x) * np.sin(x[..., ::-1])


# The derivatives ---------------------------------------------------------------------------------------------------


def test_central_difference_converges_quadratically(rng):
    x, dy = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    exact = gradcheck.complex_step(smooth, x, dy)
    errors = [np.max(abs(gradcheck.central(smooth, x, dy, eps) - exact)) for eps in (1e-1, 1e-2, 1e-3)]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(100, rel=0.05)


def test_complex_step_is_exact(rng):
    x, dy = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    exact = dy * np.exp(x) * np.sin(x[:, ::-1]) + (dy * np.exp(x))[:, ::-1] * np.cos(x)
    np.testing.assert_allclose(gradcheck.complex_step(smooth, x, dy), exact, rtol=1e-14)


def test_adjoint_sees_one_wrong_entry_of_many(rng):
    x, w = rng.standard_normal((4, 8, 30, 30)), Tensor(rng.standard_normal((8, 8, 3, 3)))
    assert gradcheck.adjoint(lambda x: functional.conv2d(x, w, padding=1), [x]) < 1e-14

    def spoilt(x):
        y = functional.conv2d(x, w, padding=1)
        return y + (x[2, 3, 10, 10] - x[2, 3, 10, 10].detach()) * 1e-3
    assert gradcheck.adjoint(spoilt, [x]) > 1e-9


def test_adjoint_takes_affine_functions_and_any_position(rng):
    x, b = rng.standard_normal((2, 3, 5, 5)), rng.standard_normal(4)
    w = rng.standard_normal((4, 3, 2, 2))
    assert gradcheck.adjoint(functional.conv2d, [x, w, b], position=1) < 1e-14


# What passes -------------------------------------------------------------------------------------------------------


def test_a_network_passes(rng):
    target = rng.integers(0, 4, (2, 3, 3)).astype(np.uint8)
    target[0, 0, 0] = 255

    def loss(image, weight, bias, gamma):
        y = functional.relu(functional.conv2d(image, weight, bias, padding=1))
        y = functional.group_norm(functional.max_pool2d(y, 2), 2, gamma, bias)
        return functional.cross_entropy(y, target)
    report = gradcheck.check(loss, [rng.standard_normal(s) for s in [(2, 3, 6, 6), (4, 3, 3, 3), (4,), (4,)]])
    assert report.ok, report
    assert bool(report) and report.error < 1e-6
    assert str(report).splitlines()[0] == "gradcheck loss: all gradients are right"
    assert "  image (2, 3, 6, 6): ok, 216 entries" in str(report)


def test_inputs_of_every_kind():
    """One alone, tensors, float32, numbers, integers and None."""
    assert gradcheck.check(lambda x: x * x, Tensor([1.0, 2.0])).ok
    assert gradcheck.check(lambda x: x * x, np.array([1.0, 2.0], np.float32)).ok
    report = gradcheck.check(lambda x, i, n, none: x[i] * n, [np.array([1.0, 2.0]), np.array([0, 0]), 3, None])
    assert report.ok and len(report.evidence) == 1


def test_inputs_are_left_alone(rng):
    x = rng.standard_normal((2, 3))
    tensor, before = Tensor(x, requires_grad=True), x.copy()
    assert gradcheck.check(lambda x: x.sum() * 2, [tensor]).ok
    assert tensor.grad is None and np.array_equal(x, before)


def test_only_the_first_of_several_results_counts(rng):
    x = gradcheck.tied(rng.standard_normal((1, 1, 4, 4)))
    assert gradcheck.check(lambda x: functional.max_pool2d(x, 3, return_indices=True), [x]).ok


def test_an_input_without_influence_has_gradient_zero():
    assert gradcheck.check(lambda x, unused: x * 2, [np.ones(3), np.ones(2)]).ok
    assert gradcheck.check(lambda x: functional.relu(x), [-np.ones(3)]).ok


def test_scalars_and_empty_arrays():
    assert gradcheck.check(lambda x: x * x, [np.array(3.0)]).ok
    assert gradcheck.check(lambda x: x * x, [np.zeros((0, 3))]).ok


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scale_is_no_matter(rng, scale):
    """Neither passes a tiny gradient unseen nor is a huge one refused for rounding."""
    x = rng.standard_normal((3, 4))
    assert gradcheck.check(lambda x: x * x * scale, [x]).ok
    assert only(gradcheck.check(lambda x: (x * x * scale).detach() + 0 * x, [x])).name == "zero"


# Large inputs ------------------------------------------------------------------------------------------------------


def test_large_inputs_are_sampled(rng):
    x = rng.standard_normal((2, 3, 40, 40))
    report = gradcheck.check(lambda x: x * x, [x], max_entries=50)
    assert report.ok and "50 entries" in str(report)
    found = only(gradcheck.check(lambda x: with_gradient_of(x * x, -(x * x)), [x], max_entries=50))
    assert found.name == "sign"


def test_no_wrong_entry_of_a_large_input_hides(rng):
    x = rng.standard_normal((2, 3, 40, 40))
    mask = np.ones(x.shape)
    mask[1, 2, 39, 39] = 0
    report = gradcheck.check(lambda x: with_gradient_of(x * x, x * x * mask), [x], max_entries=50)
    assert "raise max_entries" in only(report).sentence
    assert "0 of 50 entries looked at (of 9600)" in str(report)


# With a reference --------------------------------------------------------------------------------------------------


def test_reference_finds_errors_that_differences_cannot(rng):
    x = rng.standard_normal((3, 4))

    def function(x):
        return with_gradient_of(functional.tanh(x), functional.tanh(x) * (1 + 1e-9))
    assert gradcheck.check(function, [x]).ok
    assert only(gradcheck.check(function, [x], reference=np.tanh)).name == "constant factor"


def test_reference_must_be_the_same_function(rng):
    with pytest.raises(ValueError, match="gradcheck tanh: the output is not that of the reference; they differ by "):
        gradcheck.check(functional.tanh, [rng.standard_normal(3)], reference=np.sinh)


# What cannot be checked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function, inputs, error, message", [
    (lambda x: x * 2, [np.arange(3)], TypeError, "none of the inputs is an array of floats"),
    (lambda x: x.data * 2, [np.ones(3)], TypeError, "the function returned ndarray, expected a Tensor"),
    (lambda x: Tensor(x.data.astype(np.float32)), [np.ones(3)], TypeError, "the output is float32"),
    (lambda x: x + np.inf, [np.ones(3)], ValueError, "the output is not finite"),
    (lambda x: functional.dropout(x, 0.5), [np.ones(30)], ValueError, "two calls with the same inputs gave different"),
])
def test_what_cannot_be_checked(function, inputs, error, message):
    with pytest.raises(error, match=f"^gradcheck <lambda>: {message}"):
        gradcheck.check(function, inputs)


def test_wrong_number_of_names():
    with pytest.raises(ValueError, match="gradcheck <lambda>: 2 names given for 1 inputs"):
        gradcheck.check(lambda x: x, [np.ones(3)], names=["x", "y"])


# The table ---------------------------------------------------------------------------------------------------------


def test_table_of_all_ops():
    rows = gradcheck.table()
    assert [row.op for row in rows] == sorted(REGISTRY)
    for row in rows:
        assert row.ok, row.report
        assert row.complex_step < 1e-10 and row.central < 1e-6
        assert (row.adjoint is not None) == bool(REGISTRY[row.op].linear)


def test_check_op_takes_one_sample_or_all():
    op = REGISTRY["conv2d"]
    assert gradcheck.check_op(op, samples_of(op)[0]).ok
    assert gradcheck.check_op("conv2d").ok
    turned = next(plant for plant in PLANTS if plant.name == "transposed kernel")
    pointwise = next(sample for sample in samples_of(op) if sample.arrays[1].shape[2:] == (1, 1))
    with planted(op, 0, turned):
        assert gradcheck.check_op("conv2d", pointwise).ok                       # a transposed kernel of 1x1 is no bug
        assert only(gradcheck.check_op("conv2d")).name == "transposed kernel"


def test_table_shows_what_is_wrong():
    with planted(REGISTRY["conv2d"], 1, PLANTS[0]):
        text, ok = gradcheck.main_table(["add", "conv2d"])
    assert not ok
    header, add, conv, *report = text.splitlines()
    assert header.split() == ["op", "samples", "complex", "step", "central", "difference", "adjoint"]
    assert not add.endswith("WRONG") and conv.endswith("WRONG")
    assert report[0] == "gradcheck conv2d: WRONG GRADIENT" and any("zero: " in line for line in report)


def test_table_knows_near_names():
    with pytest.raises(ValueError, match="no op is called 'conv2'; did you mean conv2d"):
        gradcheck.table(["conv2"])
    with pytest.raises(ValueError, match="no op is called 'zzz'; there are abs, "):
        gradcheck.main_table(["add", "zzz"])
    with pytest.raises(ValueError, match="no op is called"):
        gradcheck.check_op("conv3")
