"""max_pool2d, max_unpool2d, avg_pool2d, adaptive_avg_pool2d."""
from __future__ import annotations

from typing import Any

from ..ops.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, MaxUnpool2d
from ..sizes import IntPair, conv_transpose_output, dilated, pair, pool_output
from ..tensor import Tensor, apply
from .checks import TensorLike, on_images, require_shape, tensor


@on_images
def max_pool2d(input: TensorLike, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0,
               dilation: IntPair = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """The largest value of each window; of equal ones the first, which also gets all the gradient.  NaN wins.

    input (N, C, H, W) or (C, H, W); the stride is the kernel size unless given; padding counts as -∞, at most half a kernel.
    ceil_mode keeps a partial last window.  Returns (N, C, HO, WO), with return_indices also where each maximum stands in its
    (H, W) plane, h·W + w, for `max_unpool2d`.  Raises ValueError where shapes or settings do not fit.

    >>> import numpy as np
    >>> y, indices = max_pool2d(np.array([[[1., 5.], [7., 3.]]]), 2, return_indices=True)
    >>> y.item(), indices.item()
    (7.0, 2)
    """
    x, dilation = tensor(input), pair("max_pool2d: dilation", dilation)
    kernel, stride, padding = _window("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    return apply(MaxPool2d, x, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation,
                 ceil_mode=bool(ceil_mode), return_indices=bool(return_indices))


def max_unpool2d(input: TensorLike, indices: TensorLike, kernel_size: IntPair, stride: IntPair | None = None,
                 padding: IntPair = 0, output_size: IntPair | None = None) -> Tensor:
    """Put each value back to where `max_pool2d` found it; everything else is 0.

    input, indices (N, C, H, W) or (C, H, W), indices from `max_pool2d(…, return_indices=True)`.  The output has
    (H - 1)·stride - 2·padding + kernel rows, or output_size: needed where the pooled image had an odd size, since indices
    count through the rows of the original plane.  Raises ValueError where an index lies outside the output.

    >>> import numpy as np
    >>> y, indices = max_pool2d(np.array([[[1., 5.], [7., 3.]]]), 2, return_indices=True)
    >>> max_unpool2d(y, indices, 2).numpy()
    array([[[0., 0.],
            [7., 0.]]])
    """
    x, places = tensor(input), tensor(indices)
    require_shape("max_unpool2d", "indices", places, x.shape)
    if places.dtype.kind not in "iu":
        raise TypeError(f"max_unpool2d: indices are {places.dtype}, expected integers as max_pool2d returns them")
    kernel = pair("max_unpool2d: kernel_size", kernel_size)
    strides = kernel if stride is None else pair("max_unpool2d: stride", stride)
    pads = pair("max_unpool2d: padding", padding, minimum=0)
    if x.ndim not in (3, 4):
        raise ValueError(f"max_unpool2d: input has shape {x.shape}; expected (N, C, H, W), or (C, H, W) for one image")
    default = tuple(conv_transpose_output(x.shape[a - 2], kernel[a], strides[a], pads[a]) for a in (0, 1))
    size = default if output_size is None else _spatial_size(output_size)
    if any(abs(n - d) >= s for n, d, s in zip(size, default, strides)):
        raise ValueError(f"max_unpool2d: output_size={size} is a stride {strides} or more away from {default}")
    if places.size and (places._array.min() < 0 or places._array.max() >= size[0] * size[1]):
        raise ValueError(f"max_unpool2d: an index {places._array.max()} lies outside the output {size}; give the size of the "
                         f"pooled image as output_size")
    if x.ndim == 3:
        return apply(MaxUnpool2d, x[None], places[None], output_size=size)[0]
    return apply(MaxUnpool2d, x, places, output_size=size)


@on_images
def avg_pool2d(input: TensorLike, kernel_size: IntPair, stride: IntPair | None = None, padding: IntPair = 0,
               ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:
    """The mean of each window.  input (N, C, H, W) or (C, H, W); the stride is the kernel size unless given.

    Zeros of the padding count in the mean unless count_include_pad is False; divisor_override divides by another number.

    >>> import numpy as np
    >>> avg_pool2d(np.array([[[1., 5.], [7., 3.]]]), 2).item()
    4.0
    """
    x = tensor(input)
    kernel, stride, padding = _window("avg_pool2d", x, kernel_size, stride, padding, (1, 1), ceil_mode)
    if divisor_override == 0:
        raise ValueError("avg_pool2d: divisor_override=0; expected a number other than 0, or None")
    return apply(AvgPool2d, x, kernel_size=kernel, stride=stride, padding=padding, ceil_mode=bool(ceil_mode),
                 count_include_pad=bool(count_include_pad), divisor_override=divisor_override)


@on_images
def adaptive_avg_pool2d(input: TensorLike, output_size: IntPair) -> Tensor:
    """The means of H x W windows that cover the image evenly: rows ⌊i·H/O⌋ to ⌈(i+1)·H/O⌉, which may overlap.

    input (N, C, H, W) or (C, H, W); output_size=1 is DeepLab's image pooling.

    >>> import numpy as np
    >>> adaptive_avg_pool2d(np.arange(5.).reshape(1, 1, 5), (1, 2)).numpy()
    array([[[1., 3.]]])
    """
    return apply(AdaptiveAvgPool2d, tensor(input), output_size=pair("adaptive_avg_pool2d: output_size", output_size))


def _window(name: str, x: Tensor, kernel_size: IntPair, stride: IntPair | None, padding: IntPair, dilation: tuple[int, int],
            ceil_mode: bool) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride and padding as pairs, checked against the input."""
    kernel = pair(f"{name}: kernel_size", kernel_size)
    strides = kernel if stride is None else pair(f"{name}: stride", stride)
    pads = pair(f"{name}: padding", padding, minimum=0)
    for a, axis in enumerate(("height", "width")):
        extent = dilated(kernel[a], dilation[a])
        if pads[a] > extent // 2:
            raise ValueError(f"{name}: padding={pads} is more than half of the kernel's {axis} {extent}")
        if pool_output(x.shape[2 + a], kernel[a], strides[a], pads[a], dilation[a], ceil_mode) < 1:
            raise ValueError(f"{name}: kernel {axis} {extent} exceeds the padded input's {x.shape[2 + a] + 2 * pads[a]}; use a "
                             f"smaller kernel or a larger input")
    return kernel, strides, pads


def _spatial_size(output_size: Any) -> tuple[int, int]:
    """(H, W), also of a whole shape (N, C, H, W), as PyTorch accepts it."""
    return pair("max_unpool2d: output_size", output_size[-2:] if isinstance(output_size, (tuple, list)) else output_size)
