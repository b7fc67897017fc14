"""
Write an op, and let gradcheck find your mistake
================================================

How does one teach the engine a new operation, and how do you know that its backward is right?  We write upsampling by
two, get its gradient wrong as most people do at first, and have the gradient checker say what is wrong with it.
"""
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots
from tinyseg.gradcheck import central, check_op
from tinyseg.op import Op, Sample
from tinyseg.tensor import apply

plt.style.use(plots.SLIDE)

# %%
# The five parts of an op
# -----------------------
# Formula, forward, backward, a plain *reference* to hold both against, and samples to try it on.  This op copies each
# pixel into a block of 2 x 2.  Its backward seems to be forward in reverse: read each pixel back.


class Double(Op):
    """y[2i + a, 2j + b] = x[i, j]  for a, b = 0, 1"""

    def forward(ctx, x):
        return x.repeat(2, axis=-2).repeat(2, axis=-1)                      # (N, C, H, W) -> (N, C, 2H, 2W)

    def backward(ctx, dy):
        return (dy[..., ::2, ::2],)                                         # is it?

    def reference(x):
        n, c, h, w = x.shape
        y = np.zeros((n, c, 2 * h, 2 * w), x.dtype)
        for a, b in np.ndindex(2, 2):
            y[..., a::2, b::2] = x
        return y

    def samples(rng):
        yield Sample((rng.standard_normal((2, 3, 4, 5)),))


# %%
# What the checker says
# ---------------------
# It draws a random upstream gradient, and compares our gradient with one computed from the reference alone.
report = check_op(Double)
print(report)
assert not report.ok and report.diagnoses["x"].name == "missing accumulation"

# %%
# It is right: a pixel that was copied four times has an effect on the loss through all four copies.
#
# **See:** the gradient that backward returns, the one found by moving every pixel a little, and the difference.
rng = np.random.default_rng(0)
pixels, upstream = rng.standard_normal((1, 1, 4, 5)), rng.standard_normal((1, 1, 8, 10))


def gradient(pixels):
    """What our backward makes of the upstream gradient."""
    x = ts.Tensor(pixels, requires_grad=True)
    apply(Double, x).backward(upstream)
    return x.grad


ours, numeric = gradient(pixels), central(Double.reference, pixels, upstream)
figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
for ax, values, title in zip(axes, [ours, numeric, ours - numeric], ["our backward", "central differences", "difference"]):
    ax.imshow(values[0, 0], cmap="PuOr", vmin=-4, vmax=4)
    ax.set(title=title, xticks=[], yticks=[])
    for (i, j), value in np.ndenumerate(values[0, 0]):
        ax.text(j, i, f"{value:.1f}", ha="center", va="center", color="white" if abs(value) > 2.6 else "black")
figure.suptitle("dL/dx by a wrong backward")
plt.show()

# %%
# The right one
# -------------
# Where forward copies, backward sums.  In a script or notebook a new definition takes the place of the old one.


class Double(Op):                                                           # noqa: F811
    """y[2i + a, 2j + b] = x[i, j];   dx[i, j] = Σ_ab dy[2i + a, 2j + b]"""
    linear = (0,)
    forward, reference, samples = Double.forward, Double.reference, Double.samples

    def backward(ctx, dy):
        n, c, h, w = dy.shape
        return (dy.reshape(n, c, h // 2, 2, w // 2, 2).sum(axis=(3, 5)),)


assert check_op(Double).ok
x = ts.Tensor(pixels, requires_grad=True)
y = ts.functional.interpolate(x, scale_factor=2, mode="nearest")            # the library's own
y.backward(upstream)
np.testing.assert_array_equal(y.numpy(), Double.reference(pixels))
np.testing.assert_allclose(gradient(pixels), x.grad, rtol=1e-12)

# %%
# Other mistakes have other names
# -------------------------------
# Each leaves a pattern of its own.
right = Double.backward
mistakes = {
    "constant factor": lambda ctx, dy: (right(ctx, dy)[0] / 4,),            # the mean of the copies, not their sum
    "columns permuted": lambda ctx, dy: (right(ctx, dy)[0][..., ::-1],),
    "channels permuted": lambda ctx, dy: (right(ctx, dy)[0][:, ::-1],),
    "last row": lambda ctx, dy: (right(ctx, dy)[0] * (np.arange(dy.shape[2] // 2) < dy.shape[2] // 2 - 1)[:, None],),
}
for name, wrong in mistakes.items():
    with mock.patch.object(Double, "backward", wrong):                      # and afterwards the right one again
        diagnosis = check_op(Double).diagnoses["x"]
    print(f"{name:18}", diagnosis.sentence)
    assert diagnosis.name == name
assert check_op(Double).ok

# %%
# Why the numeric gradient can be believed
# ----------------------------------------
# Central differences have an error of h², but with a tiny h the two values that are subtracted share all their digits.
# A step into the *complex* plane subtracts nothing.
#
# **See:** the error of three derivatives of exp(sin x) at 1, no error drawn as 1e-17.  The one-sided difference is worth
# 8 digits at best; the central one 10, at a step between 1e-6 and 1e-4; the complex step all 16, with any small step.


def f(x):
    return np.exp(np.sin(x))


h, slope = 10.0 ** np.arange(-15, 0), f(1) * np.cos(1)
ways = {"(f(x + h) − f(x)) / h": (f(1 + h) - f(1)) / h, "(f(x + h) − f(x − h)) / 2h": (f(1 + h) - f(1 - h)) / (2 * h),
        "Im f(x + ih) / h": f(1 + 1j * h).imag / h}
figure, ax = plt.subplots(figsize=(12, 5.5))
for (name, derivative), marker in zip(ways.items(), "os^"):
    ax.loglog(h, np.maximum(abs(derivative - slope), 1e-17), marker=marker, label=name)
ax.set(title="Three ways to a derivative", xlabel="step h", ylabel="error")
ax.grid()
ax.legend()
plt.show()
one_sided, central_error, complex_error = (abs(derivative - slope) for derivative in ways.values())
assert one_sided.min() > 1e-9 > 1e-10 > central_error.min() and complex_error[h < 1e-8].max() < 1e-15

# %%
# **Try:** write ``Cube``, y = x³, and forget the 3 in its backward.
