"""conv2d, conv_transpose2d, linear."""
from __future__ import annotations

from functools import lru_cache
from typing import Union

from ..ops.conv import Conv2d, ConvTranspose2d
from ..ops.matmul import Linear
from ..sizes import IntPair, conv_output, conv_transpose_output, dilated, pair, same_padding
from ..tensor import Tensor, apply
from .checks import TensorLike, on_images, require_float, require_shape, tensor

Shape = tuple[int, ...]


@on_images
def conv2d(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None, stride: IntPair = 1,
           padding: Union[IntPair, str] = 0, dilation: IntPair = 1, groups: int = 1,
           beside: TensorLike | None = None) -> Tensor:
    """Convolve images with kernels (cross-correlation: the kernel is not flipped).

    input (N, C, H, W) or (C, H, W); weight (O, C/groups, KH, KW); bias (O,).
    padding: zeros on every side, or "valid" (none), or "same" (as many as keep the size; stride 1 only; the odd one of an
    even kernel goes to the bottom and the right).
    beside (N, C', H, W): channels that follow those of input, as if `cat` had joined the two, which takes longer.
    Returns (N, O, HO, WO) with HO = ⌊(H + 2p - d(KH - 1) - 1) / s⌋ + 1, Dumoulin & Visin 2016, relationships 6 and 15.
    Raises ValueError where shapes or settings do not fit, TypeError for dtypes.

    >>> import numpy as np
    >>> conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), padding=1).numpy()[0, 0]
    array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]])
    """
    x, w, b = tensor(input), tensor(weight), None if bias is None else tensor(bias)
    more = None if beside is None else tensor(beside)
    require_float("conv2d", input=x, weight=w, bias=b, beside=more)
    stride, dilation = pair("conv2d: stride", stride), pair("conv2d: dilation", dilation)
    padding = padding if isinstance(padding, str) else pair("conv2d: padding", padding, minimum=0)
    pads = _checked_padding(_side_by_side(x.shape, more), w.shape, stride, padding, dilation, groups)
    require_shape("conv2d", "bias", b, w.shape[:1])
    return apply(Conv2d, x, w, b, more, stride=stride, padding=pads, dilation=dilation)


@on_images
def conv_transpose2d(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None, stride: IntPair = 1,
                     padding: IntPair = 0, output_padding: IntPair = 0, groups: int = 1, dilation: IntPair = 1,
                     output_size: IntPair | None = None) -> Tensor:
    """Add kernel times pixel, for every pixel, to the output at stride s: upsampling with weights that can be learned.

    input (N, C, H, W) or (C, H, W); weight (C, O/groups, KH, KW); bias (O,).
    padding crops the output by so much on every side; output_padding (less than the stride or the dilation) enlarges it at
    the bottom and the right, or give output_size = (HO, WO) itself.
    Returns (N, O, HO, WO) with HO = s(H - 1) + d(KH - 1) + 1 - 2p + output_padding, Dumoulin & Visin 2016, relationship 14.
    Raises ValueError where shapes or settings do not fit, TypeError for dtypes.

    The lecture's kernel, stride 2 and padding 1, is bilinear interpolation:

    >>> import numpy as np
    >>> kernel = np.outer([.5, 1, .5], [.5, 1, .5])[None, None]
    >>> conv_transpose2d(np.array([[[[0., 1.], [2., 3.]]]]), kernel, stride=2, padding=1).numpy()[0, 0]
    array([[0. , 0.5, 1. ],
           [1. , 1.5, 2. ],
           [2. , 2.5, 3. ]])
    """
    name = "conv_transpose2d"
    x, w, b = tensor(input), tensor(weight), None if bias is None else tensor(bias)
    require_float(name, input=x, weight=w, bias=b)
    _check_channels(name, x.shape, w.shape, groups)
    require_shape(name, "bias", b, (groups * w.shape[1],))
    stride, dilation = pair(f"{name}: stride", stride), pair(f"{name}: dilation", dilation)
    padding = pair(f"{name}: padding", padding, minimum=0)
    smallest = tuple(conv_transpose_output(x.shape[2 + a], w.shape[2 + a], stride[a], padding[a], dilation[a]) for a in (0, 1))
    if output_size is not None:
        size = pair(f"{name}: output_size", output_size)
        output_padding = (size[0] - smallest[0], size[1] - smallest[1])
        if not all(0 <= extra < s for extra, s in zip(output_padding, stride)):
            raise ValueError(f"{name}: output_size={size}, but stride {stride} can give {smallest} to "
                             f"{tuple(n + s - 1 for n, s in zip(smallest, stride))}")
    extra = pair(f"{name}: output_padding", output_padding, minimum=0)
    if not all(e < max(s, d) for e, s, d in zip(extra, stride, dilation)):
        raise ValueError(f"{name}: output_padding={extra} must be less than the stride {stride} or the dilation {dilation}")
    if min(n + e for n, e in zip(smallest, extra)) < 1:
        raise ValueError(f"{name}: input {x.shape}, kernel {w.shape[2:]} and padding {padding} leave an output of size "
                         f"{smallest}; use less padding")
    return apply(ConvTranspose2d, x, w, b, stride=stride, padding=padding, output_padding=extra, dilation=dilation,
                 groups=groups)


def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """y = x Wᵀ + b.  input (…, I), weight (O, I), bias (O,); returns (…, O).

    >>> import numpy as np
    >>> linear(np.array([1., 2.]), np.array([[1., 0.], [1., 1.]]), np.array([0., 10.])).numpy()
    array([ 1., 13.])
    """
    x, w, b = tensor(input), tensor(weight), None if bias is None else tensor(bias)
    require_float("linear", input=x, weight=w, bias=b)
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"linear: input {x.shape} has {x.shape[-1] if x.ndim else 0} features, but weight {w.shape} expects "
                         f"(out, in) with as many in")
    require_shape("linear", "bias", b, w.shape[:1])
    return apply(Linear, x, w, b)


def _side_by_side(x: Shape, beside: Tensor | None) -> Shape:
    """The shape of input and what is beside it, if they fit."""
    if beside is None:
        return x
    if beside.ndim != 4 or beside.shape[1] == 0 or beside.shape != (x[0], beside.shape[1], *x[2:]):
        raise ValueError(f"conv2d: input {x} and beside {beside.shape} differ in another dimension than their channels; "
                         f"crop or pad one")
    return x[0], x[1] + beside.shape[1], *x[2:]


def _check_channels(name: str, x: Shape, w: Shape, groups: int) -> None:
    if len(w) != 4 or 0 in w:
        form = "(out, in/groups, KH, KW)" if name == "conv2d" else "(in, out/groups, KH, KW)"
        raise ValueError(f"{name}: weight has shape {w}; expected {form}")
    if groups < 1:
        raise ValueError(f"{name}: groups={groups}, expected at least 1")
    expected = w[1] * groups if name == "conv2d" else w[0]
    if x[1] != expected:
        raise ValueError(f"{name}: input has {x[1]} channels but weight {w} expects {expected}"
                         + (f" in {groups} groups" if groups > 1 else ""))
    if w[0] % groups:
        raise ValueError(f"{name}: groups={groups} does not divide the {w[0]} channels that weight {w} "
                         f"{'makes' if name == 'conv2d' else 'expects'}")


@lru_cache(maxsize=1024)
def _checked_padding(x: Shape, w: Shape, stride: tuple[int, int], padding: Union[tuple[int, int], str],
                     dilation: tuple[int, int], groups: int) -> tuple[tuple[int, int], ...]:
    """Zeros (before, after) along height and width, if shapes and settings fit.  A layer asks the same again and again."""
    _check_channels("conv2d", x, w, groups)
    pads = _padding(padding, w[2:], stride, dilation)
    for axis, name in enumerate(("height", "width")):
        padded, extent = x[2 + axis] + sum(pads[axis]), dilated(w[2 + axis], dilation[axis])
        if conv_output(padded, w[2 + axis], stride[axis], 0, dilation[axis]) < 1:
            raise ValueError(f"conv2d: kernel {name} {extent} (dilation included) exceeds the padded input's {padded}; "
                             f"enlarge the input or the padding")
    return pads


def _padding(padding: Union[tuple[int, int], str], kernel: tuple[int, ...], stride: tuple[int, int],
             dilation: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Zeros (before, after) along height and width."""
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f'conv2d: padding="same" keeps the size, which stride {stride} cannot; use stride 1 or give '
                             f"the padding in pixels")
        return tuple(same_padding(k, d) for k, d in zip(kernel, dilation))
    if padding == "valid":
        padding = 0, 0
    if isinstance(padding, str):
        raise ValueError(f'conv2d: padding={padding!r}; expected pixels, "same" or "valid"')
    return tuple((p, p) for p in padding)
