"""Datasets, paired transforms and the loader. Plain NumPy arrays throughout; the trainer makes tensors of them."""

from . import palette, transforms
from .dataset import Dataset
from .loader import DataLoader
from .scenes import Scenes
from .voc import VOCSegmentation

__all__ = ["DataLoader", "Dataset", "Scenes", "VOCSegmentation", "palette", "transforms"]
