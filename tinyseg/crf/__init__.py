"""The fully connected CRF of Krähenbühl & Koltun 2011: sharp boundaries from an image and blurred probabilities."""
from .mean_field import METHODS, NORMALIZATIONS, DenseCRF, Step, dense_crf

__all__ = ["METHODS", "NORMALIZATIONS", "DenseCRF", "Step", "dense_crf"]
