"""Stands in for decoder.py while stages.py is graded: a network of the same size from the library."""
from tinyseg.models import UNet


def Network(num_classes):
    return UNet(num_classes, width=8, depth=2)
