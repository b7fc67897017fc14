"""Every output-size relation, with its number in Dumoulin & Visin, "A guide to convolution arithmetic for deep learning".

Letters as there: i input size, k kernel size, s stride, p padding, o output size; d is the dilation.
Then where the pixels of an output lie in the input, and how many of a kernel's taps meet in each.
"""
from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, Union

IntPair = Union[int, Sequence[int]]


def pair(name: str, value: IntPair, minimum: int = 1) -> tuple[int, int]:
    """One number for both axes, or one for each: (height, width).

    >>> pair("stride", 2), pair("kernel_size", (3, 5))
    ((2, 2), (3, 5))
    """
    if type(value) is int and value >= minimum:
        return value, value
    if type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int and min(value) >= minimum:
        return value
    if isinstance(value, str) or (isinstance(value, Sequence) and len(value) != 2):
        raise ValueError(f"{name}={value!r}: expected an integer or a pair (height, width)")
    values = (value, value) if not isinstance(value, Sequence) else tuple(value)
    for v in values:
        if int(v) != v:
            raise ValueError(f"{name}={value!r}: expected integers")
        if v < minimum:
            raise ValueError(f"{name}={value!r}: expected at least {minimum}")
    return int(values[0]), int(values[1])


def dilated(k: int, d: int) -> int:
    """Extent of a dilated kernel, k + (k - 1)(d - 1).  Relationship 15.

    >>> dilated(3, 1), dilated(3, 2)
    (3, 5)
    """
    return k + (k - 1) * (d - 1)


def conv_output(i: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    """⌊(i + 2p - k̂) / s⌋ + 1 with k̂ the dilated kernel.  Relationships 6 (convolution) and 15 (dilation).

    >>> conv_output(5, 3), conv_output(5, 3, s=2, p=1), conv_output(5, 3, d=2)
    (3, 3, 1)
    """
    return (i + 2 * p - dilated(k, d)) // s + 1


def conv_transpose_output(i: int, k: int, s: int = 1, p: int = 0, d: int = 1, output_padding: int = 0) -> int:
    """s(i - 1) + k̂ - 2p + a, where a of the s sizes that a convolution would map to i is meant.  Relationship 14.

    >>> conv_transpose_output(4, 3, s=2), conv_transpose_output(4, 3, s=2, p=1)
    (9, 7)
    """
    return s * (i - 1) + dilated(k, d) - 2 * p + output_padding


def pool_output(i: int, k: int, s: int, p: int = 0, d: int = 1, ceil_mode: bool = False) -> int:
    """As a convolution; with ceil_mode the last, partial window counts too, unless it would start in the padding.

    >>> pool_output(5, 2, 2), pool_output(5, 2, 2, ceil_mode=True), pool_output(3, 2, 2, p=1, ceil_mode=True)
    (2, 3, 2)
    """
    if not ceil_mode:
        return conv_output(i, k, s, p, d)
    o = -((dilated(k, d) - i - 2 * p) // s) + 1
    return o - 1 if (o - 1) * s >= i + p else o


def same_padding(k: int, d: int = 1) -> tuple[int, int]:
    """Zeros (before, after) that keep the size at stride 1: k̂ - 1 in all, the odd one after, as PyTorch.

    >>> same_padding(3), same_padding(4), same_padding(3, d=2)
    ((1, 1), (1, 2), (2, 2))
    """
    total = dilated(k, d) - 1
    return total // 2, total - total // 2


# Where pixels lie -----------------------------------------------------------------------------------------------------

class CoordinateMap(NamedTuple):
    """Along one axis: the middle of output pixel x lies at scale·x + offset of the input.

    >>> pool, conv = conv_map(2, s=2), conv_map(3)
    >>> print(pool, conv, pool.then(conv), pool.then(pool.inverse()), sep=",  ")
    2·x + 1/2,  1·x + 1,  2·x + 5/2,  1·x + 0
    """

    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)

    def __call__(self, x: float | Fraction) -> Fraction:
        """The place in the input of a place in the output."""
        return self.scale * Fraction(x) + self.offset

    def then(self, later: CoordinateMap) -> CoordinateMap:
        """The map of this layer followed by another."""
        return CoordinateMap(self.scale * later.scale, self(later.offset))

    def inverse(self) -> CoordinateMap:
        """The place in the output of a place in the input: the map of the layer that leads back."""
        return CoordinateMap(1 / self.scale, -self.offset / self.scale)

    def __str__(self) -> str:
        return f"{self.scale}·x + {self.offset}".replace("+ -", "- ")


def conv_map(k: int, s: int = 1, p: int = 0, d: int = 1) -> CoordinateMap:
    """Of a convolution or a pooling: s·x + (k̂ - 1)/2 - p, the middle of the window, with k̂ the dilated kernel.

    >>> print(conv_map(7, s=2, p=3))
    2·x + 0
    """
    return CoordinateMap(Fraction(s), Fraction(dilated(k, d) - 1, 2) - p)


def conv_transpose_map(k: int, s: int = 1, p: int = 0, d: int = 1) -> CoordinateMap:
    """Of a transposed convolution, which leads back from where the convolution with the same numbers came.

    >>> print(conv_transpose_map(4, s=2))
    1/2·x - 3/4
    """
    return conv_map(k, s, p, d).inverse()


def crop_offset(x: CoordinateMap, like: CoordinateMap) -> Fraction:
    """Where pixel 0 of `like` lies in x, for two maps onto the same image: so many pixels of x are to be cropped.

    ValueError if their pixels are not equally far apart.  A fraction says that pixels of one lie between the other's.

    >>> print(crop_offset(conv_map(3, p=100), like=conv_map(3)))
    100
    """
    if x.scale != like.scale:
        raise ValueError(f"crop_offset: pixels {x.scale} and {like.scale} apart do not lie on each other; "
                         f"resize one first")
    return x.inverse()(like.offset)


def overlaps(k: int, s: int, d: int = 1) -> tuple[int, ...]:
    """How many taps of a transposed convolution's kernel meet in each of s neighbouring outputs, far from the border.

    Output y gets tap t of input x where s·x + d·t = y: as many taps as there are t < k with d·t = y modulo s.

    >>> overlaps(3, 2), overlaps(4, 2), overlaps(5, 2), overlaps(2, 3)
    ((2, 1), (2, 2), (3, 2), (1, 1, 0))
    """
    return tuple(sum(d * t % s == y for t in range(k)) for y in range(s))


def checkerboard(kernel_size: IntPair, stride: IntPair, dilation: IntPair = 1) -> tuple[tuple[int, ...], ...]:
    """The same in an image: the counts of one stride x stride tile of the pattern.

    Unequal counts are the checkerboard of Odena, Dumoulin & Olah 2016, "Deconvolution and checkerboard artifacts".
    There is none where the stride divides the kernel size.

    >>> checkerboard(3, 2), checkerboard(4, 2)
    (((4, 2), (2, 1)), ((4, 4), (4, 4)))
    """
    kernels, strides = pair("checkerboard: kernel_size", kernel_size), pair("checkerboard: stride", stride)
    dilations = pair("checkerboard: dilation", dilation)
    rows, columns = (overlaps(k, s, d) for k, s, d in zip(kernels, strides, dilations))
    return tuple(tuple(row * column for column in columns) for row in rows)
