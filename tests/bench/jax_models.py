"""Convolutions in JAX, compiled, for `layers.py`."""
import jax
import numpy as np
from jax import lax


def convolution(layer):
    """A call that computes y and the gradients of x and w, as the others do."""
    (height, width), (top, left) = layer.weight[2:], layer.padding
    stride, dilation, groups = layer.stride, layer.dilation, layer.groups

    def forward(x, w):
        if not layer.transposed:
            return lax.conv_general_dilated(x, w, stride, [(top, top), (left, left)], rhs_dilation=dilation,
                                            feature_group_count=groups, dimension_numbers=("NCHW", "OIHW", "NCHW"))
        around = [(d * (k - 1) - p,) * 2 for d, k, p in zip(dilation, (height, width), (top, left))]
        return lax.conv_general_dilated(x, w[:, :, ::-1, ::-1].swapaxes(0, 1), (1, 1), around, lhs_dilation=stride,
                                        rhs_dilation=dilation, dimension_numbers=("NCHW", "OIHW", "NCHW"))

    def all_three(x, w, dy):
        if layer.image:
            y, back = jax.vjp(lambda w: forward(x, w), w)
        else:
            y, back = jax.vjp(forward, x, w)
        return y, back(dy)

    rng = np.random.default_rng(0)
    x, w = (jax.numpy.asarray(rng.standard_normal(shape), np.float32) for shape in (layer.x, layer.weight))
    dy = jax.numpy.ones(jax.eval_shape(forward, x, w).shape, np.float32)
    compiled = jax.jit(all_three)
    return lambda: jax.block_until_ready(compiled(x, w, dy))
