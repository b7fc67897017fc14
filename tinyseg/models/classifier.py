"""An encoder that learns to classify whole images, before it serves a segmentation network."""
from __future__ import annotations

import numpy as np

from .. import nn
from ..functional import stack
from ..tensor import Tensor
from .encoders import ENCODERS


class Classifier(nn.Module):
    """One of the encoders with its classification head, trained on what a mask says about the image as a whole.

    Image labels are cheap, masks are not (ImageNet has 14 million of the one, Pascal VOC 11,530 of the other), so an
    encoder first learns from labels and is then re-trained on masks (Long et al. 2015, section 4).  Labels are seen
    here as masks of another shape, so that the loss, the scores and the training of masks serve for them too:

    tags=True: every class is in the image or is not: 2 scores (absent, present) for each class, an "image" of
        num_classes x 1 pixels.  Softmax over (0, z) is the sigmoid of z, so that cross-entropy is the binary one.
    tags=False: the image is of one class, such as in CIFAR-10: num_classes scores, an "image" of one pixel.

    num_classes, in_channels: classes to tell apart, channels of the image; encoder: a name in ENCODERS; width: of its
    first level.  ValueError for an unknown encoder.  `labels`: what the scores tell apart, if not the classes.

    >>> images = Tensor(np.zeros((2, 3, 32, 32), np.float32))
    >>> [Classifier(6, encoder="vgg11_bn", width=2, tags=tags)(images).shape for tags in (True, False)]
    [(2, 2, 6, 1), (2, 6, 1, 1)]
    """

    def __init__(self, num_classes: int, encoder: str = "vgg11_bn", in_channels: int = 3, width: int = 64,
                 tags: bool = True):
        if encoder not in ENCODERS:
            raise ValueError(f"Classifier: encoder={encoder!r}; expected one of {', '.join(ENCODERS)}")
        self.num_classes, self.in_channels, self.width, self.tags = num_classes, in_channels, width, tags
        self.encoder_name = encoder
        self.labels = ["absent", "present"] if tags else None
        any_size = {"ceil_mode": True} if encoder.startswith("vgg") else {}
        self.encoder = ENCODERS[encoder](num_classes=num_classes, in_channels=in_channels, width=width, **any_size)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.encoder(x)                                             # (N, num_classes)
        if not self.tags:
            return scores[:, :, None, None]                                  # (N, num_classes, 1, 1)
        return stack([scores * 0, scores], dim=1)[..., None]                 # (N, 2, num_classes, 1)

    def targets(self, masks: np.ndarray) -> np.ndarray:
        """What the scores are compared to: (N, H, W) masks -> (N, num_classes, 1) tags, or (N, 1, 1) labels.

        >>> Classifier(3, width=1).targets(np.array([[[0, 2, 255]]], np.uint8))[..., 0]
        array([[1, 0, 1]], dtype=uint8)
        """
        if not self.tags:
            return masks[:, :1, :1]
        present = [(masks == label).any(axis=(1, 2)) for label in range(self.num_classes)]
        return np.stack(present, axis=1)[..., None].astype(np.uint8)         # (N, num_classes, 1)
