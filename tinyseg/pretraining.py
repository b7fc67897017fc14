"""Starting from what was learned before: an encoder's weights, or those of a whole model of another kind."""
from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from . import checkpoint as checkpoints
from .models import FCN
from .models.mobilenet import for_normalized_images, from_keras_mobilenet
from .nn import Conv2d, Module
from .weights import read_weights

KERAS_HALF_RANGE = 127.5                # its MobileNet takes images as x / 127.5 - 1
HEADS = ("classifier.", "fc.", "linear.")          # of a classification network; what comes before makes the features


def weights_of(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a run (its best.npz), a checkpoint, or a file of weights (.npz, .safetensors, .pth), by name.

    Keras's names of MobileNetV1 become those of `MobileNetV1`, and its first layer takes images as `normalize` makes them.
    OSError if there is none; ValueError, naming the file, if it is damaged or something else.
    """
    path = Path(path)
    if path.is_dir():
        path /= "best.npz"
    if path.suffix == ".npz" and zipfile.is_zipfile(path):
        with np.load(path, allow_pickle=False) as npz:
            if "metadata" in npz:
                return checkpoints.load(path).weights
    found = read_weights(path)
    if "conv_dw_1/depthwise_kernel" in found:
        return for_normalized_images(from_keras_mobilenet(found), "conv1", KERAS_HALF_RANGE)
    return found


def load_encoder(model: Any, path: str | os.PathLike) -> list[str]:
    """Copy an encoder's weights into model.encoder; returns the names of what it has and the file does not.

    path: as `weights_of`.  Names as in the encoder, or as in a model that has one ("encoder.features.0.weight").
    Weights of the classification head are left out where their shape differs, since they belong to other classes; FCN
    takes VGG's fully connected layers over into fc6 and fc7 if they fit.
    ValueError, listing what does not fit, if the file is of another encoder; nothing has been written then.
    """
    if not isinstance(getattr(model, "encoder", None), Module):
        raise ValueError(f"{type(model).__name__} has no encoder of its own to take pretrained weights")
    found = weights_of(path)
    prefix = "encoder."
    if any(name.startswith(prefix) for name in found):
        found = {name.removeprefix(prefix): array for name, array in found.items() if name.startswith(prefix)}
    own = model.encoder.state_dict()
    fitting = {name: array for name, array in found.items()
               if not name.startswith(HEADS) or (name in own and own[name].shape == array.shape)}
    strange = sorted(set(fitting) - set(own))
    if strange or not fitting:
        raise ValueError(f"{path}: weights of another encoder than {type(model.encoder).__name__}, which has no "
                         f"{strange[0] if strange else 'name of these'}")
    try:
        missing, _ = model.encoder.load_state_dict(fitting, strict=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if isinstance(model, FCN) and _fits(found.get("classifier.0.weight"), model.fc6):
        model.load_classifier(found)
    return [name for name in missing if not name.startswith(HEADS)]


def _fits(fully_connected: np.ndarray | None, fc6: Any) -> bool:
    """Whether VGG's first fully connected layer has the numbers of this convolution."""
    return fully_connected is not None and isinstance(fc6, Conv2d) and fully_connected.size == fc6.weight.size


def start_from(model: Module, path: str | os.PathLike) -> list[str]:
    """Go on from a run or checkpoint of a model with the same names; returns what it does not have, which stays new.

    FCN-16s goes on from FCN-32s, and FCN-8s from that (`FCN.start_from`).  OSError and ValueError as `weights_of`, or if
    nothing fits.
    """
    path = Path(path)
    coarser = checkpoints.load_model(path / "best.npz" if path.is_dir() else path)
    if isinstance(model, FCN) and isinstance(coarser, FCN) and model.variant != coarser.variant:
        model.start_from(coarser)
        return sorted(set(model.state_dict()) - set(coarser.state_dict()))
    own = model.state_dict()
    fitting = {name: array for name, array in coarser.state_dict().items()
               if name in own and own[name].shape == array.shape}
    if not fitting:
        raise ValueError(f"{path}: a {type(coarser).__name__} has no weight with a name and shape of this "
                         f"{type(model).__name__}")
    return model.load_state_dict(fitting, strict=False)[0]
