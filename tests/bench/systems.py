"""What is measured: the lecture's systems, in sizes that a laptop trains, and how each library runs them.

Every peer is a function that makes a step: {"tinyseg": make, "torch": make, "torch channels_last": make, …}; step = make().
"""
from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import tinyseg as ts
from tinyseg import inference

CLASSES = 12
IMAGE = (360, 480)                       # CamVid's, at half of its size
Step = Callable[[], Any]


class System(NamedTuple):
    """A model, and the batch that a training step sees."""

    build: Callable[[], Any]
    batch: int
    size: int = 128

    def model(self) -> Any:
        """With weights in all its layers: FCN's scores start at zero, and nothing would come out."""
        ts.manual_seed(0)
        model, rng = self.build(), np.random.default_rng(0)
        for parameter in model.parameters():
            parameter.writable()[...] += 0.01 * rng.standard_normal(parameter.shape)
        return model

    def fused(self) -> System:
        """The same for inference, with batch norm folded into the convolutions."""
        return self._replace(build=lambda: self.build().fuse())

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3, H, W) float32 images, (N, H, W) int64 masks."""
        rng = np.random.default_rng(0)
        return (rng.standard_normal((self.batch, 3, self.size, self.size)).astype(np.float32),
                rng.integers(0, CLASSES, (self.batch, self.size, self.size)))


UNET = System(partial(ts.models.UNet, CLASSES, width=16), batch=8)
SYSTEMS = {
    "U-Net 16": UNET,
    "U-Net 32": System(partial(ts.models.UNet, CLASSES, width=32), batch=4),
    "FCN-8s 16": System(partial(ts.models.FCN, CLASSES, width=16), batch=4),
    "SegNet 16": System(partial(ts.models.SegNet, CLASSES, width=16), batch=4),
    "DeepLab v2 16": System(partial(ts.models.DeepLab, CLASSES, version="v2", width=16), batch=4),
    "DeepLab v3 32": System(partial(ts.models.DeepLab, CLASSES, version="v3", width=32), batch=4),
}


def torch_layouts(make: Callable[[System, Any, Any], Step], system: System,
                  compiled: bool = False) -> dict[str, Callable[[], Step]]:
    """PyTorch in both layouts of memory, and compiled if wanted; nothing, where it is not installed.

    It is imported only when a step is made, so that a process of tinyseg's alone has none of it in its memory.
    """
    if not importlib.util.find_spec("torch"):
        return {}

    def start(channels_last: bool, compile_it: bool = False) -> Step:
        import torch
        from torch_models import twin

        layout = torch.channels_last if channels_last else torch.contiguous_format
        model = twin(system.model()).to(memory_format=layout)
        return make(system, torch.compile(model) if compile_it else model, layout)

    peers = {"torch": partial(start, False), "torch channels_last": partial(start, True)}
    return {**peers, "torch.compile": partial(start, False, True)} if compiled else peers


# Training: forward, loss, backward, update ----------------------------------------------------------------------------

def training_peers(system: System, compiled: bool = False) -> dict[str, Callable[[], Step]]:
    return {"tinyseg": partial(training_step, system), **torch_layouts(torch_training_step, system, compiled)}


def training_step(system: System) -> Step:
    model = system.model()
    optimizer = ts.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, masks = system.data()

    def step() -> None:
        optimizer.zero_grad()
        ts.functional.cross_entropy(model(ts.Tensor(images)), ts.Tensor(masks)).backward()
        optimizer.step()
    return step


def torch_training_step(system: System, model: Any, layout: Any) -> Step:
    import torch

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images, masks = map(torch.from_numpy, system.data())
    images = images.to(memory_format=layout)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), masks, ignore_index=255).backward()
        optimizer.step()
    return step


# Inference: the bytes of one image in, scores of every pixel out ------------------------------------------------------

def inference_peers(system: System, compiled: bool = False) -> dict[str, Callable[[], Step]]:
    return {"tinyseg": partial(inference_step, system), **torch_layouts(torch_inference_step, system, compiled)}


def photograph() -> np.ndarray:
    """(H, W, 3) uint8"""
    return np.random.default_rng(1).integers(0, 256, (*IMAGE, 3), np.uint8)


def inference_step(system: System) -> Step:
    model = system.model().eval()
    return partial(inference.scores, model, photograph())


def torch_inference_step(system: System, model: Any, layout: Any) -> Step:
    """As `inference.scores`: normalised, mirrored at its edges up to a size that fits, and cut out of what comes back."""
    import torch

    from tinyseg.data.transforms import IMAGENET_MEAN, IMAGENET_STD

    (height, width), image = IMAGE, torch.from_numpy(photograph())
    model.eval()
    legal = getattr(system.build(), "legal_size", lambda *size: size)(height, width)
    (top, left), (bottom, right) = ([side(legal[axis] - IMAGE[axis]) for axis in (0, 1)]
                                    for side in (lambda n: n // 2, lambda n: n - n // 2))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

    def step() -> np.ndarray:
        with torch.inference_mode():
            x = ((image.permute(2, 0, 1) / 255 - mean) / std)[None]
            x = torch.nn.functional.pad(x, (left, right, top, bottom), mode="reflect").to(memory_format=layout)
            return model(x)[0, :, top:top + height, left:left + width].numpy()
    return step
