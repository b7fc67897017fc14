"""Segmentation models, by the names that the command line and checkpoints know them by."""
from .unet import UNet

MODELS: dict[str, type] = {"unet": UNet}

__all__ = ["MODELS", "UNet"]
