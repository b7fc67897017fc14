"""Random calls of the public functions, with sizes drawn from the size formula up to the tight boundary.

Names and arguments are those that tinyseg and torch.nn.functional share, so a call runs on either.
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tinyseg as ts
from tinyseg.sizes import conv_transpose_output, dilated


class Configuration(NamedTuple):
    function: str
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    wanted: tuple[str, ...] = ("input",)      # the arrays whose gradient is compared


def draw(family, seed):
    """The configuration of a family ("conv2d", …) that belongs to a seed."""
    return FAMILIES[family](np.random.default_rng([seed, 1]))


def pairs(rng, low, high):
    return tuple(int(v) for v in rng.integers(low, high + 1, 2))


def some(rng, maximum=3):
    return int(rng.integers(1, maximum + 1))


def at_least(rng, smallest):
    """A size from the smallest legal one (often exactly that) up to four more."""
    return max(1, smallest) + int(rng.integers(0, 5)) * int(rng.random() < 0.7)


def with_bias(rng, x, weight, channels):
    arrays = {"input": rng.standard_normal(x), "weight": rng.standard_normal(weight)}
    if rng.random() < 0.7:
        arrays["bias"] = rng.standard_normal(channels)
    return arrays


def conv2d(rng):
    groups, stride, dilation, kernel = some(rng), pairs(rng, 1, 3), pairs(rng, 1, 3), pairs(rng, 1, 4)
    padding = "same" if rng.random() < 0.15 else pairs(rng, 0, 3)
    if padding == "same":
        stride, size = (1, 1), pairs(rng, 1, 6)
    else:
        size = tuple(at_least(rng, dilated(k, d) - 2 * p) for k, d, p in zip(kernel, dilation, padding))
    c, o = some(rng), some(rng)
    arrays = with_bias(rng, (some(rng), groups * c, *size), (groups * o, c, *kernel), groups * o)
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return Configuration("conv2d", arrays, settings, tuple(arrays))


def conv_transpose2d(rng):
    groups, stride, dilation, kernel = some(rng), pairs(rng, 1, 3), pairs(rng, 1, 3), pairs(rng, 1, 4)
    extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation))
    size = pairs(rng, 1, 5)
    largest = [conv_transpose_output(i, k, s, 0, d, e) for i, k, s, d, e in zip(size, kernel, stride, dilation, extra)]
    padding = tuple(int(rng.integers(0, min(3, (n - 1) // 2) + 1)) for n in largest)
    c, o = some(rng), some(rng)
    arrays = with_bias(rng, (some(rng), groups * c, *size), (groups * c, o, *kernel), groups * o)
    settings = dict(stride=stride, padding=padding, output_padding=extra, dilation=dilation, groups=groups)
    return Configuration("conv_transpose2d", arrays, settings, tuple(arrays))


def max_pool2d(rng):
    kernel, stride, dilation = pairs(rng, 1, 4), pairs(rng, 1, 4), pairs(rng, 1, 2)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    # at least d, so that no window lies in the padding alone: there PyTorch's gradient goes to an arbitrary pixel
    size = tuple(max(d, at_least(rng, dilated(k, d) - 2 * p)) for k, d, p in zip(kernel, dilation, padding))
    shape = (some(rng), some(rng), *size)
    with_ties = rng.random() < 0.3
    x = rng.integers(0, 3, shape).astype(float) if with_ties else rng.standard_normal(shape)
    settings = dict(kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=bool(rng.random() < 0.5))
    return Configuration("max_pool2d", {"input": x}, settings)


def max_unpool2d(rng):
    kernel = pairs(rng, 1, 3)
    size = tuple(max(n, k) for n, k in zip(pairs(rng, 1, 7), kernel))
    y, indices = ts.functional.max_pool2d(rng.standard_normal((some(rng), some(rng), *size)), kernel, return_indices=True)
    return Configuration("max_unpool2d", {"input": y.numpy(), "indices": indices.numpy()},
                         dict(kernel_size=kernel, output_size=size))


def avg_pool2d(rng):
    kernel = pairs(rng, 1, 4)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    size = tuple(at_least(rng, k - 2 * p) for k, p in zip(kernel, padding))
    settings = dict(kernel_size=kernel, stride=pairs(rng, 1, 4), padding=padding, ceil_mode=bool(rng.random() < 0.5),
                    count_include_pad=bool(rng.random() < 0.5), divisor_override=3 if rng.random() < 0.2 else None)
    return Configuration("avg_pool2d", {"input": rng.standard_normal((some(rng), some(rng), *size))}, settings)


def adaptive_avg_pool2d(rng):
    x = rng.standard_normal((some(rng), some(rng), *pairs(rng, 1, 9)))
    return Configuration("adaptive_avg_pool2d", {"input": x}, dict(output_size=pairs(rng, 1, 9)))


def interpolate(rng):
    x = rng.standard_normal((some(rng), some(rng), *pairs(rng, 1, 9)))
    mode = str(rng.choice(["nearest", "nearest-exact", "bilinear", "bilinear"]))
    settings: dict[str, Any] = dict(mode=mode, align_corners=bool(rng.random() < 0.5) if mode == "bilinear" else None)
    if rng.random() < 0.5:
        settings["size"] = pairs(rng, 1, 17)
    else:
        settings["scale_factor"] = tuple(float(v) for v in rng.choice([1.0, 1.5, 2.0, 2.6, 3.0, 1 + rng.random()], 2))
    return Configuration("interpolate", {"input": x}, settings)


def pad(rng):
    x = rng.standard_normal((some(rng), some(rng), *pairs(rng, 2, 6)))
    mode = str(rng.choice(["constant", "reflect", "replicate", "circular"]))
    high = {"reflect": min(x.shape[2:]) - 1, "circular": min(x.shape[2:])}.get(mode, 4)
    widths = [int(v) for v in rng.integers(-1 if mode == "constant" else 0, high + 1, 4)]
    return Configuration("pad", {"input": x}, dict(pad=widths, mode=mode))


def batch_norm(rng):
    n, c, size = some(rng) + 1, some(rng), pairs(rng, 1, 4)
    arrays = {"input": rng.standard_normal((n, c, *size)), "running_mean": rng.standard_normal(c),
              "running_var": rng.uniform(0.5, 2, c), "weight": rng.standard_normal(c), "bias": rng.standard_normal(c)}
    settings = dict(training=bool(rng.random() < 0.6), momentum=float(rng.random()), eps=float(rng.choice([1e-5, 1e-3])))
    return Configuration("batch_norm", arrays, settings, ("input", "weight", "bias"))


def group_norm(rng):
    groups = some(rng)
    c = groups * some(rng)
    arrays = {"input": rng.standard_normal((some(rng), c, *pairs(rng, 2, 4))), "weight": rng.standard_normal(c),
              "bias": rng.standard_normal(c)}
    return Configuration("group_norm", arrays, dict(num_groups=groups), tuple(arrays))


def cross_entropy(rng):
    n, k, size = some(rng), some(rng, 6), pairs(rng, 1, 4)
    target = np.where(rng.random((n, *size)) < 0.25, 255, rng.integers(0, k, (n, *size)))
    target[0, 0, 0] = 0
    arrays = {"input": 3 * rng.standard_normal((n, k, *size)), "target": target.astype(rng.choice([np.uint8, np.int64]))}
    if rng.random() < 0.5:
        arrays["weight"] = rng.uniform(0.2, 3, k)
    settings = dict(ignore_index=255, reduction=str(rng.choice(["mean", "sum", "none"])),
                    label_smoothing=float(rng.choice([0.0, 0.1, 0.5])))
    return Configuration("cross_entropy", arrays, settings)


FAMILIES = {draw.__name__: draw for draw in (conv2d, conv_transpose2d, max_pool2d, max_unpool2d, avg_pool2d, interpolate, pad,
                                             adaptive_avg_pool2d, batch_norm, group_norm, cross_entropy)}


def run_tinyseg(configuration, dy=None):
    """Results of a call: the output, the gradient of each wanted array for the upstream dy, and the running statistics."""
    function, arrays, settings, wanted = configuration
    tensors = {name: ts.Tensor(a.copy(), requires_grad=name in wanted) for name, a in arrays.items()}
    y = getattr(ts.functional, function)(**tensors, **settings)
    results = {"output": y.numpy()}
    if dy is not None:
        y.backward(dy)
    results |= {f"gradient of {name}": tensors[name].grad for name in wanted if dy is not None}
    return results | {name: t.numpy() for name, t in tensors.items() if name.startswith("running")}


def run_torch(configuration, dy=None):
    """The same in PyTorch."""
    import torch

    function, arrays, settings, wanted = configuration
    tensors = {name: torch.tensor(a, requires_grad=name in wanted) for name, a in arrays.items()}
    if function == "cross_entropy":
        tensors["target"] = tensors["target"].long()
    y = getattr(torch.nn.functional, function)(**tensors, **settings)
    results = {"output": y.detach().numpy()}
    if dy is not None:
        y.backward(torch.tensor(dy))
    results |= {f"gradient of {name}": tensors[name].grad.numpy() for name in wanted if dy is not None}
    return results | {name: t.numpy() for name, t in tensors.items() if name.startswith("running")}


def upstream(configuration, shape):
    """A random gradient for the output, the same wherever it is drawn."""
    return np.random.default_rng(len(configuration.function)).standard_normal(shape)
