"""Transposed convolution, as the lecture draws it: each pixel times the kernel is added to the output.

Run it as a script, or cell by cell in an editor that knows `# %%`.
"""
# %% The lecture's image and kernel
import numpy as np

import tinyseg.functional as F

image = np.arange(16.0).reshape(1, 1, 4, 4)
kernel = np.array([[0.25, 0.5, 0.25],
                   [0.5, 1.0, 0.5],
                   [0.25, 0.5, 0.25]])

# %% Element x kernel, added to the canvas at stride 2
canvas = np.zeros((9, 9))
for i in range(4):
    for j in range(4):
        canvas[2 * i:2 * i + 3, 2 * j:2 * j + 3] += image[0, 0, i, j] * kernel
print("Output image:\n", canvas)

# %% The library's function does the same
output = F.conv_transpose2d(image, kernel[None, None], stride=2).numpy()[0, 0]
assert np.array_equal(output, canvas)

# %% Padding 1 crops a pixel all round, and what is left is bilinear interpolation
cropped = F.conv_transpose2d(image, kernel[None, None], stride=2, padding=1).numpy()[0, 0]
bilinear = F.interpolate(image, size=7, mode="bilinear", align_corners=True).numpy()[0, 0]
print("With padding=1:\n", cropped)
assert np.allclose(cropped, bilinear)

# %% The other view: put zeros between the pixels, then convolve with the flipped kernel
interleaved = F.pad(F.bed_of_nails(image, 2)[:, :, :7, :7], (1, 1, 1, 1))
print("Zero-interleaved image:\n", interleaved.numpy()[0, 0])
flipped = kernel[::-1, ::-1]
assert np.allclose(F.conv2d(interleaved, flipped[None, None]).numpy()[0, 0], cropped)
