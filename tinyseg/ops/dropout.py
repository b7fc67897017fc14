"""Dropout, as a function of a seed: the same seed drops the same elements, forward, backward and in the reference."""
from __future__ import annotations

import numpy as np

from ..op import Op, Sample
from .sampling import normal


class Dropout(Op):
    """y = x m / (1 - p),   m = 0 with probability p, else 1;   dx = dy m / (1 - p)

    channelwise: one m for each plane (n, c) instead of one for each element.  Srivastava et al. 2014, with the scaling moved
    to training time, so that evaluation is the identity.
    """
    linear = (0,)

    def forward(ctx, x, *, p, channelwise, seed):
        ctx.mask = _mask(x.shape, p, channelwise, seed).astype(x.dtype)
        return x * ctx.mask

    def backward(ctx, dy): return (dy * ctx.mask,)
    def reference(x, *, p, channelwise, seed): return x * _mask(x.shape, p, channelwise, seed)

    def samples(rng):
        for p, channelwise in [(0.5, False), (0.3, True), (1.0, False), (0.0, False)]:
            yield Sample((normal(rng, 2, 4, 3, 3),), {"p": p, "channelwise": channelwise, "seed": 1})


def _mask(shape, p, channelwise, seed):
    if channelwise:
        shape = (*shape[:2], *(1,) * (len(shape) - 2))
    kept = np.random.default_rng(seed).random(shape) >= p
    return kept / (1 - p) if p < 1 else np.zeros(shape)
