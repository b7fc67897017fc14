"""Datasets, paired transforms and the loader. Plain NumPy arrays throughout; the trainer makes tensors of them."""

from . import palette, transforms
from .borders import border_weights, distance_transform
from .cifar import CIFAR10
from .dataset import Dataset
from .elastic import RandomElastic
from .loader import DataLoader
from .scenes import Scenes
from .voc import VOCSegmentation

__all__ = ["CIFAR10", "DataLoader", "Dataset", "RandomElastic", "Scenes", "VOCSegmentation", "border_weights",
           "distance_transform", "palette", "transforms"]
