"""PyTorch's `.pth`: a zip archive of one pickle, which says what the tensors are, and one file for each storage.

    weights/data.pkl      {"conv.weight": _rebuild_tensor_v2(storage 0, offset, size, stride, …), …}
    weights/data/0        the numbers of storage 0; likewise data/1 …; tensors may share a storage
    weights/byteorder     "little" or "big"

Source: torch/serialization.py and torch/_utils.py.
"""
from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, Literal

import numpy as np

from .decoding import numbers, open_archive
from .opcodes import Machine

STORAGES = {
    "torch.DoubleStorage": "float64", "torch.FloatStorage": "float32", "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16", "torch.LongStorage": "int64", "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16", "torch.CharStorage": "int8", "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
USUAL_KEYS = ("state_dict", "model_state_dict", "model")     # where checkpoints have the weights
NOT_PYTORCH = "not a file that torch.save wrote"


def read_pth(file: BinaryIO) -> dict[str, np.ndarray]:
    """The state dict in a file of torch.save.  ValueError if there is none in it, or anything that is not numbers."""
    if file.read(1) == b"\x80":
        raise ValueError("a bare pickle, as PyTorch wrote before 1.6, which is not read here; save it anew: "
                         "torch.save(torch.load(path, weights_only=True), path)")
    with open_archive(file) as archive:
        return state_dict(Contents(archive).load())


class Contents:
    """The archive of a `.pth` file, with the storages that have been asked for."""

    def __init__(self, archive: zipfile.ZipFile):
        pickles = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"a zip archive with {len(pickles)} data.pkl in it instead of 1: {NOT_PYTORCH}")
        self.archive, self.folder = archive, pickles[0].removesuffix("data.pkl")
        self.byteorder = self._byteorder()
        self.storages: dict[tuple[str, str], np.ndarray] = {}

    def load(self) -> Any:
        """What was saved, with arrays for tensors."""
        names: dict[str, Any] = {"collections.OrderedDict": lambda: {}, "torch._utils._rebuild_tensor_v2": _tensor,
                                 "torch._utils._rebuild_parameter": _parameter, **{name: name for name in STORAGES}}
        return Machine(self.archive.read(f"{self.folder}data.pkl"), names, self._storage).run()

    def _storage(self, reference: Any) -> np.ndarray:
        """The numbers of ("storage", "torch.FloatStorage", key, device, count), one-dimensional."""
        what, kind, key, _, count = reference
        if what != "storage" or not isinstance(key, str) or not isinstance(kind, str) or kind not in STORAGES:
            raise ValueError(f"it refers to something outside that is no storage of numbers: {NOT_PYTORCH}")
        if (kind, key) not in self.storages:
            try:
                raw = self.archive.read(f"{self.folder}data/{key}")
            except KeyError:
                raise ValueError(f"its storage {key!r} is missing") from None
            self.storages[kind, key] = numbers(raw, STORAGES[kind], self.byteorder)
        storage = self.storages[kind, key]
        if storage.size != count:
            raise ValueError(f"its storage {key!r} has {storage.size} elements, not {count}")
        return storage

    def _byteorder(self) -> Literal["<", ">"]:
        if f"{self.folder}byteorder" not in self.archive.namelist():      # PyTorch before 2.1
            return "<"
        order = self.archive.read(f"{self.folder}byteorder").decode()
        if order not in ("little", "big"):
            raise ValueError(f"its byte order is {order!r}; expected little or big")
        return "<" if order == "little" else ">"


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """torch._utils._rebuild_tensor_v2: a window on a storage; what comes after, about gradients, is left out."""
    if type(storage) is not np.ndarray or type(size) is not tuple or type(stride) is not tuple:
        raise TypeError("a tensor without storage, size or stride")
    if any(type(n) is not int for n in (offset, *size, *stride)):
        raise TypeError("a size, stride or offset that is no integer")
    what = f"a tensor of size {size}, stride {stride} at offset {offset}"
    if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise ValueError(f"{what}: expected as many strides as sizes, none negative")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride))
    if 0 not in size and last >= storage.size:
        raise ValueError(f"{what} reaches element {last} of a storage of {storage.size}")
    if 0 in size:
        return np.empty(size, storage.dtype)
    step = storage.itemsize                    # numpy checks once more that nothing lies beyond the buffer
    return np.ndarray(size, storage.dtype, storage, offset * step, [step * n for n in stride])


def _parameter(data: Any, *_: Any) -> np.ndarray:
    """torch._utils._rebuild_parameter: the tensor in it."""
    if type(data) is not np.ndarray:
        raise TypeError("a parameter without a tensor")
    return data


def state_dict(saved: Any) -> dict[str, np.ndarray]:
    """The dictionary of tensors in what was saved: all of it, or what it has under one of its names.

    >>> state_dict({"model": {"weight": np.ones(1)}, "epoch": 3})
    {'weight': array([1.])}
    """
    if type(saved) is not dict:
        raise ValueError(f"it holds a {type(saved).__name__}, not a state dict; save model.state_dict()")
    if _is_state_dict(saved):
        return saved
    found = {name: value for name, value in saved.items() if _is_state_dict(value) and value}
    usual = [name for name in USUAL_KEYS if name in found]
    if usual or len(found) == 1:
        return found[usual[0] if usual else next(iter(found))]
    inside = ", ".join(f"{name!r} ({_describe(value)})" for name, value in list(saved.items())[:10])
    raise ValueError(f"it holds {'several state dicts' if found else 'no state dict'}: {inside}; "
                     f"save the one alone: torch.save(saved[...], path)")


def _is_state_dict(value: Any) -> bool:
    return type(value) is dict and all(type(name) is str and type(array) is np.ndarray for name, array in value.items())


def _describe(value: Any) -> str:
    if type(value) is np.ndarray:
        return f"tensor {value.shape}"
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (dict, list, tuple)) else type(value).__name__


# Writing --------------------------------------------------------------------------------------------------------------

def write_pth(file: BinaryIO, state: Mapping[str, np.ndarray]) -> None:
    """Write what torch.load(weights_only=True) reads as a dictionary of tensors."""
    kinds = {dtype: name for name, dtype in STORAGES.items()}
    program = [b"\x80\x02}("]                                             # protocol 2, an empty dictionary, a mark
    with zipfile.ZipFile(file, "w") as archive:
        for key, (name, array) in enumerate(state.items()):
            if array.dtype.name not in kinds:
                raise ValueError(f"{name} holds {array.dtype}, which PyTorch's files do not know")
            strides = [stride // array.itemsize for stride in np.empty_like(array, order="C").strides]
            program += [_text(name), _name("torch._utils._rebuild_tensor_v2"), b"(",
                        b"(", _text("storage"), _name(kinds[array.dtype.name]), _text(str(key)), _text("cpu"),
                        _integer(array.size), b"tQ",                      # a tuple, and the storage that it refers to
                        _integer(0), _integers(array.shape), _integers(strides),
                        b"\x89", _name("collections.OrderedDict"), b")R",     # needs no gradient; no hooks
                        b"tR"]                                            # the tuple of arguments, and the call
            archive.writestr(f"weights/data/{key}", array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        archive.writestr("weights/data.pkl", b"".join([*program, b"u."]))         # put all into the dictionary; stop
        archive.writestr("weights/byteorder", "little")
        archive.writestr("weights/version", "3\n")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _name(full: str) -> bytes:
    module, _, name = full.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def _integer(number: int) -> bytes:
    return b"\x8a\x09" + number.to_bytes(9, "little", signed=True)


def _integers(numbers: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"
