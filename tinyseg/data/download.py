"""Fetching and unpacking the official VOC 2012 archive: resumed when broken off, checked, unpacked safely."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from .images import PathLike

VOC2012_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
VOC2012_MD5 = "6cd6e144f989b92b3379bac3b3de84fd"
CHUNK = 1 << 20


def download_voc2012(root: PathLike, url: str = VOC2012_URL, md5: str = VOC2012_MD5) -> Path:
    """Put VOC 2012 (2 GB) at `root`/VOCdevkit/VOC2012 and return that folder.

    The folder appears whole or not at all; the archive is removed once it is unpacked. Raises OSError if the server
    cannot be reached, breaks off (run it again to resume), or sends something else than the archive.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    archive = root / url.rsplit("/", 1)[-1]
    fetch(url, archive, md5)
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpacking-") as unpacking:
        extract(archive, Path(unpacking))
        target = root / "VOCdevkit" / "VOC2012"
        target.parent.mkdir(exist_ok=True)
        try:
            os.rename(Path(unpacking) / "VOCdevkit" / "VOC2012", target)
        except FileNotFoundError as error:
            raise OSError(f"{archive}: holds no VOCdevkit/VOC2012; is {url} the right archive?") from error
    archive.unlink()
    return target


def fetch(url: str, path: Path, md5: str, timeout: float = 30.0, attempts: int = 5) -> None:
    """Download `url` to `path`, unless it is there; `md5` is its checksum in hexadecimal.

    What arrives is kept in `path`.part. A connection that breaks or is silent for `timeout` seconds is taken up again
    where it stopped, here up to `attempts` times and in the next call; `path` appears only when the checksum is right.
    Raises OSError.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError

    if path.exists():
        return
    part = path.with_name(path.name + ".part")
    for attempt in range(1, attempts + 1):
        try:
            _fetch_rest(url, part, timeout)
            break
        except (OSError, HTTPException) as error:
            if attempt == attempts or isinstance(error, HTTPError):              # a refusal will not change
                raise OSError(f"{url}: cannot be downloaded ({error}); run it again to resume") from error
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise OSError(f"{url}: the checksum is {found} but must be {md5}; deleted what arrived, run it again")
    os.replace(part, path)


def _fetch_rest(url: str, part: Path, timeout: float) -> None:
    """Append to `part` what it lacks of `url`; OSError or HTTPException if the connection breaks."""
    from http import HTTPStatus
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=timeout)
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # nothing is left: the checksum decides
            return
        raise
    with response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (open(part, "ab" if resumed else "wb") as file,
              tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if total and part.stat().st_size < total:
        raise OSError(f"the connection closed after {part.stat().st_size} of {total} bytes")


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def extract(archive: Path, folder: Path) -> None:
    """Unpack the files and folders of an uncompressed tar into `folder`.

    Raises OSError, before anything of it is written, for a member that is neither file nor folder (a link, a device) or
    that would land outside of `folder`; and for an archive that is damaged or truncated.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            members = tar.getmembers()
            for member in members:
                _check_member(archive, member)
            if archive.stat().st_size < tar.offset + tarfile.BLOCKSIZE:
                raise tarfile.ReadError("the end-of-archive mark is missing")
            for member in members:
                target = folder / member.name
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None  # only links and devices have no content
                with source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
    except tarfile.TarError as error:
        raise OSError(f"{archive}: damaged or truncated ({error}); delete it and run it again") from error


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    name = PurePosixPath(member.name)
    if not (member.isreg() or member.isdir()):
        raise OSError(f"{archive}: member {member.name!r} is a link or a device; unpacks only files and folders")
    if name.is_absolute() or ".." in name.parts or set(member.name) & set("\\:"):
        raise OSError(f"{archive}: member {member.name!r} would land outside of the folder; not unpacked")
