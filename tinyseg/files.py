"""Writing files so that nobody ever finds half of one."""
from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when, and only when, all of it is on the disk.

    Whoever reads `path` finds the old file or the new one; an exception, a full disk or a kill leaves the old one.
    OSError naming `path` if it cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "answer.txt")
    >>> with replacing(path) as file:
    ...     _ = file.write(b"42")
    >>> path.read_text()
    '42'
    """
    part = _beside(path)
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def require_writable(path: str | os.PathLike) -> None:
    """Raise OSError, naming `path`, now rather than when the work is done, if it could not be written."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        _beside(path).touch()
        _beside(path).unlink()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _beside(path: str | os.PathLike) -> Path:
    """Where to write what will be `path`: in the same folder, and so on the same disk."""
    return Path(path).with_name(f".{Path(path).name}.part")
