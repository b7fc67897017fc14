"""Step through operations, number by number: each stepper gives `Steps`, a sequence of frames.

    from tinyseg import steps
    for frame in steps.conv_transpose(stride=2):
        print(frame.sentence)
    steps.conv(padding=1).save_html("conv.html")

The numbers come from watching the ops' own references at work (`watch.py`), so they cannot differ from what the engine
is tested against.  `STEPPERS` holds all of them under the names that `tinyseg step` knows.
"""
from collections.abc import Callable

from .backprop import backward, small_net
from .convolution import conv, conv_dilated, conv_matrix, conv_strided, im2col
from .crf import mean_field
from .frames import Frame, Graph, Grid, Steps, Text
from .pooling import max_pool
from .scoring import cross_entropy, mean_iou
from .transposed import conv_transpose, conv_transpose_gather
from .upsampling import bilinear, upsampling

STEPPERS: dict[str, Callable[..., Steps]] = {
    "conv": conv, "conv-strided": conv_strided, "conv-dilated": conv_dilated, "im2col": im2col,
    "conv-transpose": conv_transpose, "conv-transpose-gather": conv_transpose_gather, "conv-matrix": conv_matrix,
    "max-pool": max_pool, "upsampling": upsampling, "bilinear": bilinear, "cross-entropy": cross_entropy,
    "mean-field": mean_field, "mean-iou": mean_iou, "backward": small_net,
}
__all__ = ["Frame", "Graph", "Grid", "STEPPERS", "Steps", "Text", "backward", "bilinear", "conv", "conv_dilated",
           "conv_matrix", "conv_strided", "conv_transpose", "conv_transpose_gather", "cross_entropy", "im2col",
           "max_pool", "mean_field", "mean_iou", "small_net", "upsampling"]
