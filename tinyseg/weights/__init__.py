"""Files of weights: NumPy's `.npz`, `.safetensors`, and PyTorch's `.pth`, read without running what is in them."""
from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..files import replacing
from .decoding import numbers, open_archive
from .pytorch import read_pth, write_pth

State = dict[str, np.ndarray]


def read_weights(path: str | os.PathLike) -> State:
    """The arrays of a file, by name, for `Module.load_state_dict`.  Nothing that is in the file is ever run.

    path: `.npz`; `.safetensors` (with the extra: pip install 'tinyseg[safetensors]'); or `.pth` and `.pt`, what
        torch.save made of a state dict, or of a checkpoint with a state dict in it.
    float16 and bfloat16 become float32, other numbers keep their type.  Tensors that share memory in a `.pth` share it
    here.  OSError if the file cannot be opened; ImportError without the extra; ValueError, naming the file, if it is
    damaged, of another kind, or holds anything but arrays of numbers.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "weights.pth")
    >>> write_weights(path, {"fc.weight": np.ones((1, 2), np.float32)})
    >>> read_weights(path)
    {'fc.weight': array([[1., 1.]], dtype=float32)}
    """
    read, _ = _format(path)
    with open(path, "rb") as file:
        try:
            return {name: _real_numbers(name, array) for name, array in read(file).items()}
        except ImportError:
            raise
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        except Exception as error:       # for a damaged file, zipfile, zlib and numpy raise almost anything
            raise ValueError(f"{path}: damaged, cut short, or something else ({error}); use another copy") from error


def write_weights(path: str | os.PathLike, state: Mapping[str, Any]) -> None:
    """Write arrays, such as `Module.state_dict()`, for `read_weights`, or for PyTorch's own torch.load or safetensors.

    The suffix decides, as in `read_weights`; `path` always holds a whole file, the old or the new.
    ValueError for anything but arrays of numbers, and for another suffix; OSError if it cannot be written.
    """
    _, write = _format(path)
    try:
        arrays = {name: _real_numbers(name, np.asarray(value, order="C")) for name, value in state.items()}
        with replacing(path) as file:
            write(file, arrays)
    except ValueError as error:
        raise ValueError(f"{path}: not written: {error}") from error


def _real_numbers(name: object, array: np.ndarray) -> np.ndarray:
    """The array, in this machine's byte order, half precision as float32; ValueError if it holds other than numbers."""
    if type(name) is not str:
        raise ValueError(f"{name!r}: expected a name, a string, for every array")
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(f"{name} is an array of {array.dtype}; expected real numbers of at most 64 bits")
    return array.astype(np.float32 if array.dtype == np.float16 else array.dtype.newbyteorder("="), copy=False)


# Formats --------------------------------------------------------------------------------------------------------------

def _read_npz(file: BinaryIO) -> State:
    with open_archive(file) as archive:
        return {name.removesuffix(".npy"): np.lib.format.read_array(archive.open(name), allow_pickle=False)
                for name in archive.namelist()}


def _write_npz(file: BinaryIO, state: State) -> None:
    with zipfile.ZipFile(file, "w") as archive:                     # numpy.savez has no place for an array "file"
        for name, array in state.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
               "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
               "BOOL": "bool"}


def _read_safetensors(file: BinaryIO) -> State:
    state = {}
    for name, tensor in _safetensors().deserialize(file.read()):
        if tensor["dtype"] not in SAFETENSORS:
            raise ValueError(f"{name} is a tensor of {tensor['dtype']}; expected one of {', '.join(SAFETENSORS)}")
        state[name] = numbers(bytes(tensor["data"]), SAFETENSORS[tensor["dtype"]]).reshape(tensor["shape"])
    return state


def _write_safetensors(file: BinaryIO, state: State) -> None:
    file.write(_safetensors().numpy.save(state))


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("files of safetensors need an extra: pip install 'tinyseg[safetensors]'") from error
    return safetensors


FORMATS: dict[str, tuple[Callable[[BinaryIO], State], Callable[[BinaryIO, State], None]]] = {
    ".npz": (_read_npz, _write_npz), ".safetensors": (_read_safetensors, _write_safetensors),
    ".pth": (read_pth, write_pth), ".pt": (read_pth, write_pth),
}


def _format(path: str | os.PathLike) -> tuple[Callable[[BinaryIO], State], Callable[[BinaryIO, State], None]]:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path}: weights end in {', '.join(FORMATS)}, not in {suffix!r}")
    return FORMATS[suffix]
