"""What every op must do, for every sample that it declares.  Nobody writes these tests: the registry does."""
from functools import cache, partial

import numpy as np
import pytest
from kernels.threads import needs_two, using

from tinyseg import Tensor
from tinyseg.gradcheck import adjoint
from tinyseg.gradcheck.case import KERNELS, Case, is_float
from tinyseg.gradcheck.every_op import argument_names, checked_arguments, judge, op_cases, samples_of
from tinyseg.gradcheck.numeric import one_thread
from tinyseg.op import REGISTRY, Sample
from tinyseg.tensor import apply


@cache
def sample_of(op, k):
    return samples_of(op)[k]


@cache
def cases_of(op, k):
    return op_cases(op, sample_of(op, k))


CASES = [(op, k) for op in REGISTRY.values() for k in range(len(samples_of(op)))]


def every_sample(applies=lambda op, sample: True):
    """Run a test for every sample of every op, or for those to which it applies."""
    cases = [(op, k) for op, k in CASES if applies(op, sample_of(op, k))]
    return pytest.mark.parametrize("op, k", cases, ids=[f"{op.name}-{k}" for op, k in cases])


@pytest.fixture(autouse=True)
def small_arrays():
    with one_thread():
        yield


def run(op, sample, needs=None, dtype=np.float64, dy=None):
    """One pass forward and backward: the output, the leaves (None for what is no tensor of floats), the upstream."""
    needs = checked_arguments(op, sample) if needs is None else needs
    leaves = [Tensor(x.astype(dtype, copy=False), requires_grad=i in needs) if is_float(x) else x
              for i, x in enumerate(sample.arrays)]
    out = apply(op, *leaves, **sample.settings)
    out = out[0] if isinstance(out, tuple) else out
    if dy is None:
        dy = np.random.default_rng(1).standard_normal(out.shape).astype(dtype)
    if needs:
        out.backward(dy)
    return out, leaves, dy


def gradients(leaves):
    return {i: leaf.grad for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad}


def with_arrays(sample, change):
    return Sample(tuple(None if x is None else change(x) for x in sample.arrays), sample.settings)


def takes_images(op, sample):
    return is_float(sample.arrays[0]) and sample.arrays[0].ndim == 4


def images_of(op, sample):
    """The arguments with one entry for each image: the first one (N, C, H, W), and those that go with it."""
    names = argument_names(op, len(sample.arrays))
    return [i for i, x in enumerate(sample.arrays) if x is not None and names[i] not in KERNELS
            and (i == 0 or x.ndim > 2) and x.shape[0] == sample.arrays[0].shape[0]]


def enlarged(op, sample):
    """The sample with many images, and with larger ones where the op takes them and no indices speak of their size."""
    images = images_of(op, sample)
    if all(is_float(sample.arrays[i]) and sample.arrays[i].ndim == 4 for i in images):
        larger = repeated(sample, images, (8, 1, 7, 6))
        try:
            apply(op, *larger.arrays, **larger.settings)
            return larger
        except ValueError:                                             # rows and columns mean something else to this op
            pass
    return repeated(sample, images, (60,))


def repeated(sample, images, times):
    """The images repeated along each dimension, and their values shuffled."""
    rng = np.random.default_rng(0)
    arrays = list(sample.arrays)
    for i in images:
        large = np.tile(arrays[i], (*times, *(1,) * (arrays[i].ndim - len(times))))
        arrays[i] = rng.permuted(large) if is_float(large) else large
    return Sample(tuple(arrays), sample.settings)


@every_sample()
def test_forward_is_the_reference(op, k):
    sample = sample_of(op, k)
    out = apply(op, *sample.arrays, **sample.settings)
    wanted = op.reference(*sample.arrays, **sample.settings)
    pairs = zip(out, wanted, strict=True) if isinstance(out, tuple) else [(out, wanted)]
    for value, reference in pairs:
        assert value.shape == np.shape(reference) and value.dtype == np.asarray(reference).dtype
        np.testing.assert_allclose(value.data, reference, rtol=1e-10, atol=1e-12)


@every_sample()
def test_backward_is_the_complex_step_of_the_reference(op, k):
    """At rtol 1e-10, for a random upstream gradient; for ops that are not linear, also at inputs with equal values."""
    report = judge(cases_of(op, k))
    assert report.ok, report


@every_sample()
def test_backward_is_the_central_difference_of_forward(op, k):
    exact = cases_of(op, k)[0]
    report = judge([Case(exact.function, exact.inputs, exact.names, positions=exact.positions)])
    assert report.ok, report


def check_adjoint(op, sample):
    for i in op.linear:
        if i < len(sample.arrays) and is_float(sample.arrays[i]):
            assert adjoint(partial(apply, op, **sample.settings), sample.arrays, i) < 1e-12


@every_sample(lambda op, sample: op.linear)
def test_adjoint(op, k):
    check_adjoint(op, sample_of(op, k))


@every_sample(lambda op, sample: op.linear and takes_images(op, sample))
def test_adjoint_of_large_arrays(op, k):
    check_adjoint(op, enlarged(op, sample_of(op, k)))


@every_sample()
def test_float32_gives_what_float64_gives(op, k):
    single = with_arrays(sample_of(op, k), lambda x: x.astype(np.float32) if is_float(x) else x)
    out, leaves, dy = run(op, single, dtype=np.float32)
    exact, exact_leaves, _ = run(op, single, dtype=np.float64, dy=dy.astype(np.float64))
    pairs = {"output": (out.data, exact.data)}
    pairs |= {f"gradient {i}": (grad, exact_leaves[i].grad) for i, grad in gradients(leaves).items()}
    for name, (value, wanted) in pairs.items():
        assert value.dtype == np.float32, name
        assert wanted.dtype == np.float64, name
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4 * np.max(abs(wanted), initial=0), err_msg=name)


@every_sample()
def test_inputs_and_upstream_stay_unchanged(op, k):
    sample = with_arrays(sample_of(op, k), np.array)
    _, _, dy = run(op, sample)
    before = dy.copy()
    run(op, sample, dy=dy)
    np.testing.assert_array_equal(dy, before)
    for x, untouched in zip(sample.arrays, sample_of(op, k).arrays):
        assert x is None or np.array_equal(x, untouched)


def strided(x):
    """The same values with other memory between them."""
    return np.repeat(x[..., None], 2, axis=-1)[..., 0]


def reversed_in_memory(x):
    return np.asarray(np.flip(np.flip(x).copy()))


def fortran(x):
    return np.array(x, order="F")


def read_only(x):
    x = np.array(x)
    x.flags.writeable = False
    return x


@every_sample()
def test_any_memory_layout(op, k):
    sample = sample_of(op, k)
    out, leaves, dy = run(op, sample)
    for view in (strided, fortran, reversed_in_memory, read_only):
        view_out, view_leaves, _ = run(op, with_arrays(sample, view), dy=view(dy))
        np.testing.assert_allclose(view_out.data, out.data, rtol=1e-12, atol=1e-14, err_msg=view.__name__)
        for i, grad in gradients(leaves).items():
            np.testing.assert_allclose(view_leaves[i].grad, grad, rtol=1e-12, atol=1e-13, err_msg=view.__name__)


@every_sample(takes_images)
def test_no_images_give_no_outputs_and_no_gradient(op, k):
    sample = sample_of(op, k)
    images = images_of(op, sample)
    empty = Sample(tuple(x[:0] if i in images else x for i, x in enumerate(sample.arrays)), sample.settings)
    out, leaves, _ = run(op, empty, needs=checked_arguments(op, sample))
    assert out.size == 0 or out.shape == ()                   # a sum or mean of nothing is a number all the same
    for i, grad in gradients(leaves).items():
        assert grad.shape == empty.arrays[i].shape
        assert not np.any(grad)


@every_sample()
def test_only_one_argument_needs_a_gradient(op, k):
    """Then it gets the same one, and nobody else any."""
    sample = sample_of(op, k)
    _, leaves, dy = run(op, sample)
    for i, grad in gradients(leaves).items():
        _, alone, _ = run(op, sample, needs=[i], dy=dy)
        np.testing.assert_array_equal(alone[i].grad, grad)
        assert all(leaf.grad is None for j, leaf in enumerate(alone) if j != i and isinstance(leaf, Tensor))


@every_sample()
def test_fan_out(op, k):
    """Arguments that are used twice get both gradients."""
    sample = sample_of(op, k)
    _, leaves, first = run(op, sample)
    second = np.random.default_rng(2).standard_normal(first.shape)
    _, others, _ = run(op, sample, dy=second)
    needs = gradients(leaves)
    twice = [Tensor(x, requires_grad=i in needs) if is_float(x) else x for i, x in enumerate(sample.arrays)]
    outputs = [apply(op, *twice, **sample.settings) for _ in range(2)]
    y1, y2 = (out[0] if isinstance(out, tuple) else out for out in outputs)
    (y1 * first + y2 * second).sum().backward()
    for i, grad in needs.items():
        np.testing.assert_allclose(twice[i].grad, grad + others[i].grad, rtol=1e-10, atol=1e-12)


@every_sample()
def test_gradients_share_no_memory(op, k):
    """A gradient may be scaled in place: no other gradient, no input and no upstream gradient changes with it."""
    sample = sample_of(op, k)
    _, leaves, dy = run(op, sample)
    grads = gradients(leaves)
    for i, grad in grads.items():
        assert not np.shares_memory(grad, dy)
        assert not any(np.shares_memory(grad, other) for j, other in grads.items() if j != i)
        assert not any(np.shares_memory(grad, leaf.data) for leaf in leaves if isinstance(leaf, Tensor))


@needs_two
@every_sample(takes_images)
def test_the_same_bits_with_one_and_two_threads(op, k):
    large = enlarged(op, sample_of(op, k))
    out, leaves, dy = run(op, large)
    with using(2):
        other_out, other_leaves, _ = run(op, large, dy=dy)
    np.testing.assert_array_equal(other_out.data, out.data)
    for i, grad in gradients(leaves).items():
        np.testing.assert_array_equal(other_leaves[i].grad, grad)


@pytest.mark.parametrize("op", REGISTRY.values(), ids=REGISTRY)
def test_every_op_has_samples_with_gradients(op):
    assert any(checked_arguments(op, sample) for sample in samples_of(op))


def test_only_these_arguments_carry_no_gradient():
    without = {(op.name, argument_names(op, len(sample.arrays))[i]) for op, k in CASES for sample in [sample_of(op, k)]
               for i, x in enumerate(sample.arrays) if is_float(x) and i not in checked_arguments(op, sample)}
    assert without == {("batch_norm", "mean"), ("batch_norm", "var"), ("cross_entropy", "weight")}
