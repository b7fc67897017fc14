"""
Convolution as a matrix
=======================

Where does transposed convolution have its name from?  A convolution multiplies the image, written as one long vector,
with a matrix C; transposed convolution multiplies with the transposed matrix, and so does back-propagation.
"""
import matplotlib.pyplot as plt
import numpy as np

import tinyseg as ts
from tinyseg import plots, steps

F = ts.functional
plt.style.use(plots.SLIDE)

# %%
# The matrix, column by column
# ----------------------------
# Convolution is linear, so it is known once we know what it makes of each pixel alone: column p of C is the convolution
# of an image that is 1 at pixel p and 0 elsewhere.
image = np.arange(16.0).reshape(4, 4)
kernel = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])


def matrix_of(kernel, height, width, **settings):
    """C (outputs, height·width) of a convolution of images of one channel."""
    pixels = np.eye(height * width).reshape(-1, 1, height, width)          # an image for each pixel
    return F.conv2d(pixels, kernel[None, None], **settings).numpy().reshape(height * width, -1).T


C = matrix_of(kernel, 4, 4)                                                # (4, 16)
y = F.conv2d(image[None, None], kernel[None, None]).numpy()                # (1, 1, 2, 2)
np.testing.assert_allclose(C @ image.ravel(), y.ravel())

# %%
# **See:** every row of C is one window: the kernel's rows, with zeros for the pixels that the window does not cover.
# Row 0 times the image is output pixel (0, 0).
run = steps.conv_matrix(image, kernel)
run.choose([17]).plot()
plt.show()
np.testing.assert_array_equal(run[16]["C"].values, C)

# %%
# In a notebook, to click through: C column by column, then C x, then the transposed matrix at work.
run

# %%
# **See:** the matrix of a larger image, 8 x 8 pixels, with padding: nearly all zeros, and the same nine weights on every
# row.  With stride 2 three of four rows go; and transposed it leads from few pixels to many.
plain, strided = (matrix_of(kernel, 8, 8, padding=1, stride=stride) for stride in (1, 2))
figure, axes = plt.subplots(1, 3, figsize=(13, 5.2), width_ratios=[64, 64, 16])
for ax, matrix, title in [(axes[0], plain, "C, stride 1"), (axes[1], strided, "C, stride 2"),
                          (axes[2], strided.T, "Cᵀ, stride 2")]:
    shown = ax.imshow(np.where(matrix == 0, np.nan, matrix), vmin=0, vmax=9)
    ax.set(title=title, xticks=[], yticks=[], xlabel=f"{matrix.shape[1]} inputs", ylabel=f"{matrix.shape[0]} outputs")
figure.colorbar(shown, ax=axes, shrink=0.7, label="weight")
plt.show()
print(f"{np.count_nonzero(plain)} of {plain.size} elements are not 0, and all are of {np.unique(plain).size - 1} weights")
assert set(np.unique(plain)) == {0, *kernel.ravel()} and strided.shape == (16, 64)

# %%
# Transposed
# ----------
# Cᵀ leads from as many numbers as the convolution puts out back to as many as it takes in: that is the transposed
# convolution of the same kernel, stride and padding.
rng = np.random.default_rng(0)
small = rng.standard_normal((1, 1, 4, 4))
large = F.conv_transpose2d(small, kernel[None, None], stride=2, padding=1, output_size=(8, 8)).numpy()
np.testing.assert_allclose(strided.T @ small.ravel(), large.ravel(), atol=1e-12)

# %%
# Backward convolution
# --------------------
# If y = C x, and the loss L depends on y, then dL/dx = Cᵀ dL/dy.  So the backward pass of a convolution *is* the
# transposed convolution of the gradient, and the other way round; in tinyseg the same kernels compute both.
x = ts.Tensor(rng.standard_normal((1, 1, 8, 8)), requires_grad=True)
F.conv2d(x, kernel[None, None], stride=2, padding=1).backward(small)       # let dL/dy be `small`
np.testing.assert_allclose(x.grad, large, atol=1e-12)
z = ts.Tensor(small, requires_grad=True)
F.conv_transpose2d(z, kernel[None, None], stride=2, padding=1, output_size=(8, 8)).backward(x.numpy())
np.testing.assert_allclose(z.grad, F.conv2d(x.numpy(), kernel[None, None], stride=2, padding=1).numpy(), atol=1e-12)

# %%
# Not the inverse
# ---------------
# "Deconvolution" is a third name, and a bad one: it belongs to the inverse of a convolution, which finds out what the
# image was.  The transposed one brings back its size, not its pixels.
#
# **See:** a picture, blurred by a convolution; the transposed convolution blurs it once more; the inverse of C brings it
# back, up to rounding.
picture = ts.data.Scenes(length=8, size=32, num_classes=6, seed=0).read(3)[0].mean(axis=2) / 255       # (32, 32), grey
blur = np.outer([1, 3, 1], [1, 3, 1]) / 25
B = matrix_of(blur, 32, 32, padding=1)                                     # (1024, 1024)
blurred = B @ picture.ravel()
transposed, inverse = B.T @ blurred, np.linalg.solve(B, blurred)
np.testing.assert_allclose(inverse, picture.ravel(), atol=1e-8)
assert abs(transposed - picture.ravel()).max() > 0.1

figure, axes = plt.subplots(1, 4, figsize=(13, 4.1))
for ax, pixels, title in zip(axes, [picture, blurred, transposed, inverse],
                             ["x", "blurred: C x", "transposed: CᵀC x", "inverse: C⁻¹C x"]):
    ax.imshow(pixels.reshape(32, 32), cmap="gray", vmin=picture.min(), vmax=picture.max())
    ax.set(title=title, xticks=[], yticks=[])
plt.show()

# %%
# **Try:** add a little noise to ``blurred``, of a hundredth, and invert: why is deconvolution a field of its own?  How
# large would C be for an image of 500 x 500 pixels and 64 channels, and how large is the kernel?
