"""The first half of the lecture's assignment in thirty lines: a small U-Net learns one image by heart.

Run it as a script, or cell by cell in an editor that knows `# %%`.
"""
# %% One image with its mask, drawn by the library
import numpy as np

import tinyseg as ts
from tinyseg.data import Scenes
from tinyseg.data.transforms import Normalize

ts.manual_seed(0)
scenes = Scenes(length=1, size=64, num_classes=6)
image, mask = scenes[0]                                                # (H, W, 3) uint8, (H, W) uint8, 255 = void
pixels, mask = Normalize()(image, mask, np.random.default_rng(0))      # (3, H, W) float32

# %% An untrained net: its loss is about ln 6, the loss of guessing
model = ts.models.UNet(scenes.num_classes, width=8, depth=3)
optimizer = ts.optim.Adam(model.parameters(), lr=0.01)
x, target = ts.Tensor(pixels[None]), ts.Tensor(mask[None])
print(f"untrained: loss {ts.functional.cross_entropy(model(x), target).item():.3f}, ln 6 = {np.log(6):.3f}")

# %% Gradient descent: forward, loss, backward, step
for step in range(60):
    optimizer.zero_grad()
    loss = ts.functional.cross_entropy(model(x), target)
    loss.backward()
    optimizer.step()
    if step % 20 == 19:
        print(f"after {step + 1} steps: loss {loss.item():.3f}")

# %% Now it knows every pixel of this image, and nothing of any other
confusion = ts.metrics.ConfusionMatrix(scenes.num_classes)
confusion.update(model(x).numpy().argmax(axis=1), mask[None])
print(f"overfitted: mIoU {confusion.mean_iou:.3f}")
