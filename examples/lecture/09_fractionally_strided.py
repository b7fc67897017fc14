"""
Fractionally strided convolution, and the homework
==================================================

Transposed convolution goes by another name: a convolution with stride 1/s.  Why is that the same, and why must the
kernel be flipped for it, the lecture's homework?
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots, steps

F = ts.functional
plt.style.use(plots.SLIDE)

# %%
# Zeros between the pixels
# ------------------------
# A stride of 1/2 moves the window by half a pixel.  So put a zero between any two pixels, and move it by one of those:
# an ordinary convolution.
image = np.arange(16.0).reshape(1, 1, 4, 4)
kernel = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])[None, None]


def interleaved(x, stride, border):
    """x with stride - 1 zeros between its pixels, and so many zeros around them."""
    nails = F.bed_of_nails(x, stride)                                      # (N, C, s·H, s·W)
    rows, columns = (stride * (size - 1) + 1 for size in x.shape[2:])      # zeros after the last pixel are left out
    return F.pad(nails[:, :, :rows, :columns], (border,) * 4)


zeros_between = interleaved(image, stride=2, border=1)
output = F.conv2d(zeros_between, kernel).numpy()
np.testing.assert_array_equal(output, F.conv_transpose2d(image, kernel, stride=2, padding=1).numpy())
print(zeros_between.numpy()[0, 0])

# %%
# **See:** the zero-interleaved image of the slides, and one of its windows.  The slides' kernel is symmetric, so there is
# nothing to flip yet.
run = steps.conv_transpose_gather(image[0, 0], kernel[0, 0])
run.choose([3]).plot()
run.choose([14]).plot()
plt.show()
np.testing.assert_array_equal(run[-1]["Output"].values, output[0, 0])

# %%
# In a notebook, all windows to click through:
run

# %%
# With a kernel that is not symmetric
# -----------------------------------
# Let the kernel be a letter, and the image three lit pixels.
letter = np.array([[1, 1, 1, 1, 0],
                   [1, 0, 0, 0, 0],
                   [1, 1, 1, 0, 0],
                   [1, 0, 0, 0, 0],
                   [1, 0, 0, 0, 0.0]])[None, None]
lit = np.zeros((1, 1, 3, 3))
lit[0, 0, [0, 1, 2], [0, 2, 1]] = 1
stride, border = 6, 4                                                      # K - 1 zeros around, for padding 0

transposed = F.conv_transpose2d(lit, letter, stride=stride).numpy()
as_it_is = F.conv2d(interleaved(lit, stride, border), letter).numpy()
flipped = F.conv2d(interleaved(lit, stride, border), letter[:, :, ::-1, ::-1]).numpy()
np.testing.assert_array_equal(flipped, transposed)
assert (as_it_is != transposed).any()

# %%
# **See:** transposed convolution stamps the letter as it is.  Convolution gathers, and what the window finds on its
# right it puts on its left: the letter comes out turned by half a circle.  Flip the kernel in both directions, and it
# is turned back.
figure, axes = plt.subplots(1, 4, figsize=(13, 4.3))
for ax, picture, title in [(axes[0], lit, "three pixels"), (axes[1], transposed, "transposed\nconvolution, stride 6"),
                           (axes[2], as_it_is, "stride 1/6,\nthe same kernel"),
                           (axes[3], flipped, "stride 1/6,\nthe kernel flipped")]:
    ax.imshow(picture[0, 0])
    ax.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# The homework, on the slide's four pixels
# ----------------------------------------
# Which weight multiplies which pixel in the middle of the output?  Since the output is a sum of weight times pixel, the
# pixel is the derivative by the weight: ask ``backward``.
a, b, c, d = 1.0, 2.0, 3.0, 4.0
four = np.array([[a, b], [c, d]])[None, None]
weight = ts.Tensor(np.random.default_rng(0).standard_normal((1, 1, 3, 3)), requires_grad=True)

F.conv_transpose2d(four, weight, stride=2)[0, 0, 2, 2].backward()
by_stamping, weight.grad = weight.grad[0, 0], None
F.conv2d(interleaved(four, 2, border=1), weight)[0, 0, 1, 1].backward()
by_gathering = weight.grad[0, 0]

np.testing.assert_array_equal(by_stamping, [[d, 0, c], [0, 0, 0], [b, 0, a]])          # a·k(1, 1) + … + d·k(-1, -1)
np.testing.assert_array_equal(by_gathering, [[a, 0, b], [0, 0, 0], [c, 0, d]])         # a·k(-1, -1) + … + d·k(1, 1)
np.testing.assert_array_equal(by_gathering, by_stamping[::-1, ::-1])

# %%
# **See:** the pixel that each weight meets, in one view and in the other; one table is the other one flipped.
figure, axes = plt.subplots(1, 2, figsize=(10, 5.3))
names = {0: "0", a: "a", b: "b", c: "c", d: "d"}
for ax, table, title in [(axes[0], by_stamping, "transposed, stride 2"), (axes[1], by_gathering, "stride 1/2, same kernel")]:
    ax.imshow(table > 0, cmap="Blues", vmin=0, vmax=3)
    for (i, j), pixel in np.ndenumerate(table):
        ax.text(j, i, names[pixel], ha="center", va="center", fontsize=26)
    ax.set(title=title, xticks=range(3), yticks=range(3), xticklabels=[-1, 0, 1], yticklabels=[-1, 0, 1],
           xlabel="the weight's column", ylabel="the weight's row")
plt.show()

# %%
# And the proof for any kernel.  Stamping: pixel i puts weight u on output s·i + u, so output m gets x(i)·k(m - s·i) from
# every i.  Gathering with a kernel g: after the zeros and a border of K - 1, pixel i lies at s·i + K - 1, where the
# window of output m meets it with weight s·i + K - 1 - m; so output m gets x(i)·g(K - 1 - (m - s·i)).  Both are the
# same for every image if, and only if, g(K - 1 - u) = k(u): the kernel flipped, along rows and along columns.
rng = np.random.default_rng(0)
for s, K in [(1, 3), (2, 3), (2, 4), (3, 5)]:
    x, w = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((3, 2, K, K))        # w: (C, O, K, K)
    gathered = F.conv2d(interleaved(x, s, K - 1), w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3))
    np.testing.assert_allclose(gathered.numpy(), F.conv_transpose2d(x, w, stride=s).numpy(), atol=1e-12)
    print(f"stride {s}, kernel {K}x{K}: the same, with the kernel flipped and its channels exchanged")

# %%
# **Try:** flip in one direction only: which letters would not notice?  How many of the products in the zero-interleaved
# image at stride 2 are with a zero, and why does the library stamp?
