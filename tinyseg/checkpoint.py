"""Checkpoints: one `.npz` file with everything that a model, and its unfinished training, needs to go on.

The arrays are the weights and the optimizer's state; all else is one string of JSON.  Nothing is pickled, so a
checkpoint from a stranger can be opened without running the stranger's code.
"""
from __future__ import annotations

import inspect
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, BinaryIO

import numpy as np

from .files import replacing
from .models import MODELS
from .nn import Module

FORMAT, VERSION = "tinyseg checkpoint", 1


@dataclass
class Checkpoint:
    """What a checkpoint holds.

    model, arguments: the name in `tinyseg.models.MODELS` and the constructor's arguments;
    weights: `Module.state_dict()`;
    classes, palette: names of the classes and their colours, (256, 3) uint8;
    history: one row of figures for each epoch trained;
    settings, optimizer, scheduler, rng: what a resumed training goes on from.
    """

    model: str
    arguments: dict[str, Any]
    weights: dict[str, np.ndarray]
    classes: list[str]
    palette: np.ndarray
    history: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, np.ndarray] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    rng: dict[str, Any] = field(default_factory=dict)

    def build(self) -> Module:
        """The model with its weights, in evaluation mode.  ValueError if the two do not belong together."""
        if self.model not in MODELS:
            raise ValueError(f"unknown model {self.model!r}; this tinyseg has {', '.join(MODELS)}")
        try:
            model = MODELS[self.model](**self.arguments)
        except TypeError as error:
            raise ValueError(f"{self.model} cannot be built with {self.arguments}: {error}") from error
        model.load_state_dict(self.weights)
        return model.eval()


ARRAYS = ("weights", "optimizer")                        # the fields that are dictionaries of arrays


def describe(model: Module) -> tuple[str, dict[str, Any]]:
    """The model's name in MODELS and the arguments that its constructor was given.

    The model keeps them as attributes of the same name; that of an encoder as `encoder_name`, beside the encoder itself.

    >>> from tinyseg.models import UNet
    >>> describe(UNet(3, width=4, depth=2))[1]["width"]
    4
    """
    if model.fused:
        raise ValueError(f"checkpoint: this {type(model).__name__} was fused for inference; save the model that it was fused "
                         f"from")
    name = next((name for name, cls in MODELS.items() if cls is type(model)), None)
    if name is None:
        raise ValueError(f"checkpoint: {type(model).__name__} has no name; "
                         f"give it one: tinyseg.models.MODELS['mine'] = {type(model).__name__}")
    arguments = inspect.signature(type(model)).parameters
    return name, {argument: getattr(model, "encoder_name" if argument == "encoder" else argument) for argument in arguments}


def save(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; `path` always holds a whole one, the old or the new.

    FloatingPointError if a number is NaN or infinite: the file there is then kept, since it is the last good one.
    """
    values = dict(vars(checkpoint))
    arrays = {f"{group}/{name}": array for group in ARRAYS for name, array in values.pop(group).items()}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(f"{path}: not saved, since {key} has become NaN or infinite; "
                                     f"train with a smaller learning rate")
    values["palette"] = checkpoint.palette.tolist()
    metadata = json.dumps({"format": FORMAT, "version": VERSION, **values}, allow_nan=False)
    with replacing(path) as file:
        np.savez(file, metadata=np.array(metadata), **arrays)


def load(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint and check it.

    OSError if it cannot be opened; ValueError, naming the file, if it is damaged or something else.
    """
    with open(path, "rb") as file:
        try:
            arrays = _read(file)
        except Exception as error:       # for a damaged file, zipfile, zlib and numpy raise almost anything
            raise ValueError(f"{path}: not a whole .npz file ({error}); it was cut short, damaged, or is something "
                             f"else: use another copy, or train anew") from error
    try:
        return _checkpoint(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_model(path: str | os.PathLike) -> Module:
    """The model of a checkpoint, in evaluation mode.  Errors as `load`."""
    checkpoint = load(path)
    try:
        return checkpoint.build()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()      # compares every member with its CRC-32
    if damaged:
        raise ValueError(f"the checksum of {damaged} is wrong")
    file.seek(0)
    with np.load(file, allow_pickle=False) as npz:
        return dict(npz)


def _checkpoint(arrays: dict[str, np.ndarray]) -> Checkpoint:
    metadata = _metadata(arrays.pop("metadata", None))
    groups: dict[str, dict[str, np.ndarray]] = {group: {} for group in ARRAYS}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        if group not in groups:
            raise ValueError(f"holds an unknown array {key!r}; it is not one that tinyseg wrote")
        if not np.isfinite(array).all():
            raise ValueError(f"{key} holds NaN or infinite numbers; use an earlier checkpoint")
        groups[group][name] = array
    metadata["palette"] = np.array(metadata["palette"], np.uint8)
    return Checkpoint(**metadata, weights=groups["weights"], optimizer=groups["optimizer"])


def _metadata(array: np.ndarray | None) -> dict[str, Any]:
    """All fields of Checkpoint that are not arrays."""
    if array is None or array.dtype.kind != "U":
        raise ValueError("an .npz file, but not a checkpoint; give one that `tinyseg train` wrote (best.npz, last.npz)")
    metadata = json.loads(array.item())
    if not isinstance(metadata, dict) or metadata.pop("format", None) != FORMAT:
        raise ValueError("an .npz file, but not a checkpoint; give one that `tinyseg train` wrote (best.npz, last.npz)")
    version = metadata.pop("version", None)
    if version != VERSION:
        raise ValueError(f"checkpoint version {version}, but this tinyseg reads version {VERSION}; "
                         f"use the tinyseg that wrote it, or train anew")
    expected = {f.name for f in fields(Checkpoint)} - set(ARRAYS)
    if set(metadata) != expected:
        wrong = ", ".join(sorted(expected ^ set(metadata)))
        raise ValueError(f"its description misses, or should not have: {wrong}; use another copy, or train anew")
    return metadata
