"""From bytes to numbers: the members of an archive, and the encodings of a tensor's elements."""
from __future__ import annotations

import zipfile
from typing import BinaryIO, Literal

import numpy as np

MOST_UNPACKED, MOST_FACTOR = 2**30, 20        # bytes; weights are close to random, and hardly any smaller when packed


def open_archive(file: BinaryIO) -> zipfile.ZipFile:
    """A zip archive; ValueError if it would unpack to a multiple of its size that no weights have.

    Every member is compared with its CRC-32 while it is read.
    """
    archive = zipfile.ZipFile(file)
    unpacked, packed = sum(member.file_size for member in archive.infolist()), file.seek(0, 2)
    if unpacked > max(MOST_UNPACKED, MOST_FACTOR * packed):
        raise ValueError(f"its {packed} bytes would unpack to {unpacked}: a zip bomb, not weights")
    return archive


def numbers(raw: bytes, dtype: str, byteorder: Literal["<", ">"] = "<") -> np.ndarray:
    """The numbers in `raw`, one-dimensional, of a NumPy type or "bfloat16"; both half precisions become float32.

    bfloat16 is the upper half of a float32: 1.0 is 0x3f80 in the one and 0x3f800000 in the other.

    >>> numbers(bytes([0x80, 0x3f]), "bfloat16"), numbers(bytes([0, 0x3c]), "float16"), numbers(bytes([2, 0]), "bool")
    (array([1.], dtype=float32), array([1.], dtype=float32), array([ True, False]))
    """
    if dtype == "bfloat16":
        return (np.frombuffer(raw, f"{byteorder}u2").astype(np.uint32) << 16).view(np.float32)
    stored = np.dtype("uint8" if dtype == "bool" else dtype).newbyteorder(byteorder)      # a bool is any byte but 0
    return np.frombuffer(raw, stored).astype("float32" if dtype == "float16" else dtype)
