"""
Transposed convolution, step by step
====================================

How can a convolution make an image *larger*, with weights that can be learned?  Turn it round: instead of gathering a
window into one number, every number of the input stamps the whole kernel into the output, and the stamps are summed.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots, steps

F = ts.functional
plt.style.use(plots.SLIDE)

# %%
# In one dimension
# ----------------
# Two numbers, 2 and 3, a kernel of three weights, and stride 2: the second stamp begins two pixels after the first, so
# they share one pixel, and there they are summed.
#
# **See:** the second stamp being added, frame 5 of 6; the middle pixel has something of both, 2·1 + 3·1.
line = steps.conv_transpose([[2, 3]], [[1, 2, 1]], stride=2, padding=0)
line.choose([5]).plot()
plt.show()
np.testing.assert_array_equal(line[-1]["Output"].values, [[2, 4, 2 + 3, 6, 3]])

# %%
# The lecture's image and kernel
# ------------------------------
# In two dimensions it is the same.  The whole operation is these three lines:
image = np.arange(16.0).reshape(4, 4)
kernel = np.array([[0.25, 0.5, 0.25],
                   [0.5, 1.0, 0.5],
                   [0.25, 0.5, 0.25]])

canvas = np.zeros((9, 9))
for i, j in np.ndindex(image.shape):
    canvas[2 * i:2 * i + 3, 2 * j:2 * j + 3] += image[i, j] * kernel

output = F.conv_transpose2d(image[None, None], kernel[None, None], stride=2).numpy()[0, 0]
np.testing.assert_array_equal(output, canvas)

# %%
# **See:** the element 1 multiplies the kernel; the product is added to the canvas two columns to the right of the one
# before; then element 5, whose product overlaps with those of four others; and the canvas when all sixteen are in.
# These are the tables of the lecture's slides, but for a few numbers where a slide has slipped (the product of 5 ends in
# 1.25, not 1.5).
run = steps.conv_transpose(image, kernel, stride=2, padding=0)
run.choose([4, 5, 13, 33]).plot()
plt.show()
np.testing.assert_array_equal(run[32]["Canvas"].values, output)            # frame 33: an index counts from 0

# %%
# In a notebook the run itself is a page to click through, one frame after the other; ``run.save_html("steps.html")``
# makes a page of it for any browser.
run

# %%
# How large is the output?
# ------------------------
# The last of H stamps begins at s(H - 1), and has K rows: s(H - 1) + K rows in all.  *Padding* p takes p rows away at
# either end.  In a convolution it adds them, and so the one undoes the other in size: the transposed convolution of a
# convolution's output has the size of its input again.
for size, K, s, p in [(4, 3, 2, 0), (4, 3, 2, 1), (5, 4, 2, 1), (7, 16, 8, 4)]:
    large = F.conv_transpose2d(np.ones((1, 1, size, size)), np.ones((1, 1, K, K)), stride=s, padding=p)
    assert large.shape[2] == s * (size - 1) + K - 2 * p
    assert F.conv2d(large, np.ones((1, 1, K, K)), stride=s, padding=p).shape[2] == size
    print(f"{size} rows, kernel {K}, stride {s}, padding {p}: {large.shape[2]} rows")

cropped = F.conv_transpose2d(image[None, None], kernel[None, None], stride=2, padding=1).numpy()[0, 0]
np.testing.assert_array_equal(cropped, canvas[1:-1, 1:-1])

# %%
# Checkerboards
# -------------
# How many stamps meet in an output pixel?  If the stride does not divide the kernel, not equally many in all, and where
# more meet, the output tends to be larger: the checkerboard patterns that transposed convolutions are known for.
#
# **See:** the number of stamps at stride 2.  Kernels of 2 and 4 are even in the interior, the kernel of 3 is not.
figure, axes = plt.subplots(1, 3, figsize=(13, 4.9))
for ax, K in zip(axes, [2, 3, 4]):
    stamps = F.conv_transpose2d(np.ones((1, 1, 5, 5)), np.ones((1, 1, K, K)), stride=2).numpy()[0, 0]
    ax.imshow(stamps, vmin=0, vmax=4)
    for (i, j), count in np.ndenumerate(stamps):
        ax.text(j, i, f"{count:.0f}", ha="center", va="center", fontsize=13, color="black" if count > 2 else "white")
    ax.set(title=f"kernel {K}x{K}, stride 2", xticks=[], yticks=[])
    interior = stamps[K:-K, K:-K]
    assert (interior.min() == interior.max()) == (K % 2 == 0)
figure.suptitle("stamps that meet in each output pixel")
plt.show()

# %%
# The weights can be learned
# --------------------------
# Nothing above depends on what the kernel holds, and the output is a sum of products with it, so it has a gradient.
# Ask for an output, and gradient descent finds the kernel that stamps it, here the lecture's.
weight = ts.Tensor(np.zeros((1, 1, 3, 3)), requires_grad=True)
optimizer = ts.optim.SGD([weight], lr=0.02)
for _ in range(300):
    optimizer.zero_grad()
    error = F.conv_transpose2d(image[None, None] / 15, weight, stride=2) - canvas / 15
    (error * error).sum().backward()
    optimizer.step()
print("learned kernel:", weight.numpy()[0, 0].round(3), sep="\n")
np.testing.assert_allclose(weight.numpy()[0, 0], kernel, atol=0.01)

# %%
# **Try:** in a terminal, ``tinyseg step conv-transpose --stride 4 --padding 0``: which output pixels get nothing?  (End, then
# ←: they are the dots.)  ``tinyseg step conv-transpose --output-padding 1`` makes exactly twice the size: where do the new
# row and column come from?
