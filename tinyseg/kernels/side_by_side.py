"""Images whose channels are in two arrays, side by side: a concatenation that is never written.

U-Net joins what its two paths have made, and convolves it.  A kernel that asks for each channel where to find it reads, or
writes, the two arrays as if they were one, and nothing is copied.
"""
from __future__ import annotations

from typing import NamedTuple, Union

import numpy as np

from .inner import inner


class SideBySide(NamedTuple):
    """Images (N, C + C', H, W): the channels of `first` (N, C, H, W), then those of `second` (N, C', H, W).

    >>> both = SideBySide(np.zeros((1, 1, 2, 2)), np.ones((1, 2, 2, 2)))
    >>> both.shape, both.joined()[0, :, 0, 0]
    ((1, 3, 2, 2), array([0., 1., 1.]))
    """

    first: np.ndarray
    second: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        batch, channels, *size = self.first.shape
        return batch, channels + self.second.shape[1], *size

    @property
    def itemsize(self) -> int:
        return self.first.itemsize

    def joined(self) -> np.ndarray:
        """The two as one array."""
        return np.concatenate(self, axis=1)

    def assign(self, joined: np.ndarray) -> None:
        """Write to the two what stands in one array."""
        channels = self.first.shape[1]
        self.first[...], self.second[...] = joined[:, :channels], joined[:, channels:]


Images = Union[np.ndarray, SideBySide]


def parts_of(images: Images) -> tuple[np.ndarray, np.ndarray, int]:
    """(first, second, channels of the first), as kernels take images in two arrays, or in one: there the first has all."""
    first, second = images if isinstance(images, SideBySide) else (images, images)
    return first.ravel(), second.ravel(), first.shape[1]


@inner
def find(parts, shape, n, c):
    """(array, where in it channel c of image n begins) for images of `shape`."""
    (first, second, split), area = parts, shape[2] * shape[3]
    if c < split:
        return first, (n * split + c) * area
    return second, (n * (shape[1] - split) + c - split) * area
