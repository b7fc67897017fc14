"""1,000 random configurations against PyTorch in float64: values and every gradient, sizes drawn up to the tight boundary."""
import numpy as np
import pytest

import tinyseg as ts
from tinyseg.sizes import conv_transpose_output, dilated

torch = pytest.importorskip("torch", reason="torch is not installed: the golden vectors stand in for it")
F, f = torch.nn.functional, ts.functional
TOLERANCE = 1e-9
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def compare(ours, theirs, arrays, rng):
    """Run both on the same arrays (gradients for the floating ones), compare results and gradients."""
    floating = [a is not None and a.dtype.kind == "f" for a in arrays]
    ts_args = [None if a is None else ts.Tensor(a.copy(), requires_grad=g) for a, g in zip(arrays, floating)]
    torch_args = [None if a is None else torch.tensor(a, requires_grad=g) for a, g in zip(arrays, floating)]
    y, expected = ours(*ts_args), theirs(*torch_args)
    assert y.shape == tuple(expected.shape)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=TOLERANCE, atol=TOLERANCE)
    if not expected.requires_grad:
        return
    dy = rng.standard_normal(y.shape)
    y.backward(dy)
    expected.backward(torch.tensor(dy))
    for i, (t, e) in enumerate(zip(ts_args, torch_args)):
        if t is not None and t.requires_grad:
            np.testing.assert_allclose(t.grad, e.grad.numpy(), rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"gradient of argument {i}")


def pairs(rng, low, high):
    return tuple(int(v) for v in rng.integers(low, high + 1, 2))


def at_least(rng, smallest):
    """A size from the smallest legal one (often exactly that) up to four more."""
    return max(1, smallest) + int(rng.integers(0, 5)) * int(rng.random() < 0.7)


def some(rng, maximum=3):
    return int(rng.integers(1, maximum + 1))


def conv(rng):
    groups, stride, dilation, kernel = some(rng), pairs(rng, 1, 3), pairs(rng, 1, 3), pairs(rng, 1, 4)
    padding = "same" if rng.random() < 0.15 else pairs(rng, 0, 3)
    if padding == "same":
        stride, size = (1, 1), tuple(at_least(rng, 1) for _ in range(2))
    else:
        size = tuple(at_least(rng, dilated(k, d) - 2 * p) for k, d, p in zip(kernel, dilation, padding))
    c, o = some(rng), some(rng)
    arrays = [rng.standard_normal((some(rng), groups * c, *size)), rng.standard_normal((groups * o, c, *kernel)),
              rng.standard_normal(groups * o) if rng.random() < 0.7 else None]
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return lambda *a: f.conv2d(*a, **settings), lambda *a: F.conv2d(*a, **settings), arrays


def conv_transpose(rng):
    groups, stride, dilation, kernel = some(rng), pairs(rng, 1, 3), pairs(rng, 1, 3), pairs(rng, 1, 4)
    extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation))
    size = pairs(rng, 1, 5)
    largest = [conv_transpose_output(i, k, s, 0, d, e) for i, k, s, d, e in zip(size, kernel, stride, dilation, extra)]
    padding = tuple(int(rng.integers(0, min(3, (n - 1) // 2) + 1)) for n in largest)
    c, o = some(rng), some(rng)
    arrays = [rng.standard_normal((some(rng), groups * c, *size)), rng.standard_normal((groups * c, o, *kernel)),
              rng.standard_normal(groups * o) if rng.random() < 0.7 else None]
    settings = dict(stride=stride, padding=padding, output_padding=extra, dilation=dilation, groups=groups)
    return lambda *a: f.conv_transpose2d(*a, **settings), lambda *a: F.conv_transpose2d(*a, **settings), arrays


def max_pool(rng):
    kernel, stride, dilation = pairs(rng, 1, 4), pairs(rng, 1, 4), pairs(rng, 1, 2)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    size = tuple(max(d, at_least(rng, dilated(k, d) - 2 * p)) for k, d, p in zip(kernel, dilation, padding))
    shape = (some(rng), some(rng), *size)          # at least d, so that no window lies in the padding alone: see test_pool.py
    ties = rng.random() < 0.3
    x = rng.integers(0, 3, shape).astype(float) if ties else rng.standard_normal(shape)
    settings = dict(stride=stride, padding=padding, dilation=dilation, ceil_mode=bool(rng.random() < 0.5))
    return lambda a: f.max_pool2d(a, kernel, **settings), lambda a: F.max_pool2d(a, kernel, **settings), [x]


def max_unpool(rng):
    kernel, size = pairs(rng, 1, 3), (some(rng, 7), some(rng, 7))
    size = tuple(max(n, k) for n, k in zip(size, kernel))
    x = torch.tensor(rng.standard_normal((some(rng), some(rng), *size)))
    y, indices = F.max_pool2d(x, kernel, return_indices=True)
    return (lambda a, i: f.max_unpool2d(a, i, kernel, output_size=size),
            lambda a, i: F.max_unpool2d(a, i, kernel, output_size=size), [y.numpy(), indices.numpy()])


def avg_pool(rng):
    kernel, stride = pairs(rng, 1, 4), pairs(rng, 1, 4)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    size = tuple(at_least(rng, k - 2 * p) for k, p in zip(kernel, padding))
    settings = dict(stride=stride, padding=padding, ceil_mode=bool(rng.random() < 0.5),
                    count_include_pad=bool(rng.random() < 0.5), divisor_override=3 if rng.random() < 0.2 else None)
    x = rng.standard_normal((some(rng), some(rng), *size))
    return lambda a: f.avg_pool2d(a, kernel, **settings), lambda a: F.avg_pool2d(a, kernel, **settings), [x]


def adaptive_avg_pool(rng):
    size = pairs(rng, 1, 9)
    x = rng.standard_normal((some(rng), some(rng), *pairs(rng, 1, 9)))
    return lambda a: f.adaptive_avg_pool2d(a, size), lambda a: F.adaptive_avg_pool2d(a, size), [x]


def interpolate(rng):
    x = rng.standard_normal((some(rng), some(rng), *pairs(rng, 1, 9)))
    mode = str(rng.choice(["nearest", "nearest-exact", "bilinear", "bilinear"]))
    settings = dict(mode=mode, align_corners=bool(rng.random() < 0.5) if mode == "bilinear" else None)
    if rng.random() < 0.5:
        settings["size"] = pairs(rng, 1, 17)
    else:
        settings["scale_factor"] = tuple(float(v) for v in rng.choice([1.0, 1.5, 2.0, 2.6, 3.0, 1 + rng.random()], 2))
    return lambda a: f.interpolate(a, **settings), lambda a: F.interpolate(a, **settings), [x]


def pad(rng):
    x = rng.standard_normal((some(rng), some(rng), *pairs(rng, 2, 6)))
    mode = str(rng.choice(["constant", "reflect", "replicate", "circular"]))
    high = {"reflect": min(x.shape[2:]) - 1, "circular": min(x.shape[2:])}.get(mode, 4)
    low = -1 if mode == "constant" else 0
    widths = [int(v) for v in rng.integers(low, high + 1, 4)]
    return lambda a: f.pad(a, widths, mode), lambda a: F.pad(a, widths, mode), [x]


def batch_norm(rng):
    shape, training = (some(rng) + 1, some(rng), *pairs(rng, 1, 4)), bool(rng.random() < 0.6)
    c, eps, momentum = shape[1], float(rng.choice([1e-5, 1e-3])), float(rng.random())
    mean, var = rng.standard_normal(c), rng.uniform(0.5, 2, c)
    ours, theirs = [ts.Tensor(mean.copy()), ts.Tensor(var.copy())], [torch.tensor(mean), torch.tensor(var)]

    def us(x, w, b):
        y = f.batch_norm(x, *ours, w, b, training, momentum, eps)
        F.batch_norm(torch.tensor(x.numpy()), *theirs, None, None, training, momentum, eps)
        for a, e in zip(ours, theirs):
            np.testing.assert_allclose(a.numpy(), e.numpy(), rtol=TOLERANCE, atol=TOLERANCE)
        return y
    stats = [torch.tensor(mean), torch.tensor(var)]
    return (us, lambda x, w, b: F.batch_norm(x, *stats, w, b, training, momentum, eps),
            [rng.standard_normal(shape), rng.standard_normal(c), rng.standard_normal(c)])


def group_norm(rng):
    groups = some(rng)
    c = groups * some(rng)
    x = rng.standard_normal((some(rng), c, *pairs(rng, 2, 4)))
    return (lambda *a: f.group_norm(a[0], groups, *a[1:]), lambda *a: F.group_norm(a[0], groups, *a[1:]),
            [x, rng.standard_normal(c), rng.standard_normal(c)])


def cross_entropy(rng):
    n, k, size = some(rng), some(rng, 6), pairs(rng, 1, 4)
    target = np.where(rng.random((n, *size)) < 0.25, 255, rng.integers(0, k, (n, *size)))
    target[0, 0, 0] = 0
    weight = None if rng.random() < 0.5 else torch.tensor(rng.uniform(0.2, 3, k))
    settings = dict(reduction=str(rng.choice(["mean", "sum", "none"])), label_smoothing=float(rng.choice([0.0, 0.1, 0.5])))
    return (lambda x, t: f.cross_entropy(x, t, None if weight is None else weight.numpy(), **settings),
            lambda x, t: F.cross_entropy(x, t.long(), weight, ignore_index=255, **settings),
            [rng.standard_normal((n, k, *size)) * 3, target.astype(rng.choice([np.uint8, np.int64]))])


COUNTS = {conv: 250, conv_transpose: 200, max_pool: 120, max_unpool: 40, avg_pool: 100, adaptive_avg_pool: 50,
          interpolate: 120, pad: 60, batch_norm: 60, group_norm: 40, cross_entropy: 100}


def test_there_are_a_thousand_configurations():
    assert sum(COUNTS.values()) >= 1000


@pytest.mark.parametrize("draw", COUNTS, ids=lambda draw: draw.__name__)
def test_values_and_gradients(draw):
    for seed in range(COUNTS[draw]):
        rng = np.random.default_rng([seed, 1])
        ours, theirs, arrays = draw(rng)
        try:
            compare(ours, theirs, arrays, rng)
        except Exception as error:
            raise AssertionError(f"{draw.__name__} at seed {seed}, shapes {[getattr(a, 'shape', None) for a in arrays]}") from error
