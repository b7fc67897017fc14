"""Element-by-element arithmetic and activations.  Two arguments broadcast as in NumPy; the engine sums back."""
from __future__ import annotations

import numpy as np

from .. import buffers
from ..kernels import dense
from ..kernels import pointwise as kernels
from ..op import Op, Sample
from .sampling import distinct, normal, positive


def _broadcasting(rng, draw):
    """Pairs of arguments: equal shapes, stretched axes, missing axes, a scalar."""
    for a, b in [((2, 3), (2, 3)), ((2, 1, 3), (4, 1)), ((3,), (2, 3)), ((2, 3), ())]:
        yield Sample((draw(rng, *a), draw(rng, *b)))


def _single(rng, draw):
    for shape in [(2, 3, 2, 4), (5,), ()]:
        yield Sample((draw(rng, *shape),))


class Add(Op):
    """y = a + b;   da = dy,   db = dy"""
    linear = (0, 1)
    def forward(ctx, a, b): return a + b
    def backward(ctx, dy): return dy, dy
    def reference(a, b): return a + b
    def samples(rng): return _broadcasting(rng, normal)


class Sub(Op):
    """y = a - b;   da = dy,   db = -dy"""
    linear = (0, 1)
    def forward(ctx, a, b): return a - b
    def backward(ctx, dy): return dy, -dy
    def reference(a, b): return a - b
    def samples(rng): return _broadcasting(rng, normal)


class Mul(Op):
    """y = a b;   da = dy b,   db = dy a"""
    linear = (0, 1)

    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return a * b

    def backward(ctx, dy): return dy * ctx.b, dy * ctx.a
    def reference(a, b): return a * b
    def samples(rng): return _broadcasting(rng, normal)


class Div(Op):
    """y = a / b;   da = dy / b,   db = -dy a / b²"""
    linear = (0,)

    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return a / b

    def backward(ctx, dy): return dy / ctx.b, -dy * ctx.a / ctx.b**2
    def reference(a, b): return a / b
    def samples(rng): return _broadcasting(rng, positive)


class Pow(Op):
    """y = aᵇ;   da = dy b aᵇ⁻¹  (0 where b = 0),   db = dy aᵇ ln a  (0 where a = 0)"""

    def forward(ctx, a, b):
        ctx.a, ctx.b = a, b
        return a**b

    def backward(ctx, dy):
        a, b, db = ctx.a, ctx.b, None
        da = dy * b * a**np.where(b == 0, 1, b - 1).astype(a.dtype)
        if ctx.needs_input_grad[1]:
            db = dy * a**b * np.log(np.where(a == 0, 1, a))
        return da, db

    def reference(a, b): return a**b
    def samples(rng): return _broadcasting(rng, positive)


class Neg(Op):
    """y = -x;   dx = -dy"""
    linear = (0,)
    def forward(ctx, x): return -x
    def backward(ctx, dy): return (-dy,)
    def reference(x): return -x
    def samples(rng): return _single(rng, normal)


class Abs(Op):
    """y = |x|;   dx = dy sign x  (0 at 0)"""

    def forward(ctx, x):
        ctx.x = x
        return np.abs(x)

    def backward(ctx, dy): return (dy * np.sign(ctx.x),)
    def reference(x): return np.where(x.real < 0, -x, x)
    def samples(rng): return _single(rng, distinct)


class Exp(Op):
    """y = eˣ;   dx = dy y"""

    def forward(ctx, x):
        ctx.y = np.exp(x)
        return ctx.y

    def backward(ctx, dy): return (dy * ctx.y,)
    def reference(x): return np.exp(x)
    def samples(rng): return _single(rng, normal)


class Log(Op):
    """y = ln x;   dx = dy / x"""

    def forward(ctx, x):
        ctx.x = x
        return np.log(x)

    def backward(ctx, dy): return (dy / ctx.x,)
    def reference(x): return np.log(x)
    def samples(rng): return _single(rng, positive)


class Sqrt(Op):
    """y = √x;   dx = dy / 2y"""

    def forward(ctx, x):
        ctx.y = np.sqrt(x)
        return ctx.y

    def backward(ctx, dy): return (dy / (2 * ctx.y),)
    def reference(x): return np.sqrt(x)
    def samples(rng): return _single(rng, positive)


class ReLU(Op, name="relu"):
    """y = max(x, 0);   dx = dy [x > 0]  (0 at the kink, as PyTorch)"""

    def forward(ctx, x):
        ctx.y = buffers.empty(x.shape, x.dtype)
        kernels.relu(ctx.y.reshape(-1), dense(x).reshape(-1))
        return ctx.y

    def backward(ctx, dy):
        dx = buffers.empty(dy.shape, dy.dtype)
        kernels.relu_grad(dx.reshape(-1), dense(dy).reshape(-1), ctx.y.reshape(-1))
        return (dx,)

    def reference(x): return np.where(x.real > 0, x, 0)
    def samples(rng): return _single(rng, distinct)


class ReLU6(Op, name="relu6"):
    """y = min(max(x, 0), 6);   dx = dy [0 < x < 6]  (0 at both kinks, as PyTorch)"""

    def forward(ctx, x):
        ctx.y, ctx.bounds = buffers.empty(x.shape, x.dtype), (x.dtype.type(0), x.dtype.type(6))
        kernels.clip(ctx.y.reshape(-1), dense(x).reshape(-1), *ctx.bounds)
        return ctx.y

    def backward(ctx, dy):
        dx = buffers.empty(dy.shape, dy.dtype)
        kernels.clip_grad(dx.reshape(-1), dense(dy).reshape(-1), ctx.y.reshape(-1), *ctx.bounds)
        return (dx,)

    def reference(x): return np.where(x.real > 0, np.where(x.real < 6, x, 6), 0)
    def samples(rng): return (Sample((np.asarray(5 * s.arrays[0]),)) for s in _single(rng, distinct))


class LeakyReLU(Op, name="leaky_relu"):
    """y = x where x > 0, else a x, with a the negative slope;   dx = dy where x > 0, else a dy"""

    def forward(ctx, x, *, negative_slope):
        ctx.x, ctx.a = x, negative_slope
        return np.where(x > 0, x, ctx.a * x)

    def backward(ctx, dy): return (np.where(ctx.x > 0, dy, ctx.a * dy),)
    def reference(x, *, negative_slope): return np.where(x.real > 0, x, negative_slope * x)
    def samples(rng): return (Sample(s.arrays, {"negative_slope": 0.2}) for s in _single(rng, distinct))


class Sigmoid(Op):
    """y = 1 / (1 + e⁻ˣ), computed as exp(-ln(1 + e⁻ˣ)) so that no exponential overflows;   dx = dy y (1 - y)"""

    def forward(ctx, x):
        ctx.y = np.exp(-np.logaddexp(0, -x))
        return ctx.y

    def backward(ctx, dy): return (dy * ctx.y * (1 - ctx.y),)
    def reference(x): return 1 / (1 + np.exp(-x))
    def samples(rng): return _single(rng, normal)


class Tanh(Op):
    """y = tanh x;   dx = dy (1 - y²)"""

    def forward(ctx, x):
        ctx.y = np.tanh(x)
        return ctx.y

    def backward(ctx, dy): return (dy * (1 - ctx.y**2),)
    def reference(x): return np.tanh(x)
    def samples(rng): return _single(rng, normal)
