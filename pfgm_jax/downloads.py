"""Downloads published files once, resumes interrupted downloads, and verifies checksums."""

import dataclasses
import gzip
import hashlib
import http.client
import logging
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from pfgm_jax.errors import InputError

log = logging.getLogger("pfgm_jax")

CHUNK = 1 << 20


class Content(NamedTuple):
    """What a .gz file decompresses to, which stays the same when somebody compresses it anew.

    Attributes:
      size: size in bytes.
      sha256: checksum.
    """

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Published:
    """A published file.

    Attributes:
      name: name of the file.
      url: address of the file.
      size: size in bytes.
      sha256: checksum of the content.
      trouble: advice to add to the error message when it cannot be downloaded.
      packaged: where a package of a Linux distribution puts the file; None if there is no such package.
      content: of a .gz file, if other files of the same content are as good; distributions compress theirs anew.
    """

    name: str
    url: str
    size: int
    sha256: str
    trouble: str = ""
    packaged: Path | None = None
    content: Content | None = None


def obtain(raw: Published, downloads: Path) -> Path:
    """Returns the path of a published file: in `downloads`/manual, in `downloads`, packaged, or newly downloaded.

    Raises:
      InputError: the download failed; the message says where to get the file and where to put it.
    """
    manual = downloads / "manual" / raw.name
    if manual.with_suffix("").is_dir() and raw.name.endswith("_lmdb.zip"):
        return manual.with_suffix("")
    if manual.is_file():
        if not _is_published(raw, manual):
            log.warning("%s does not have the checksum of the published file; it is used anyway", manual)
        return manual
    path = downloads / raw.name
    if path.is_file():
        return path
    if raw.packaged and raw.packaged.is_file():
        if _is_published(raw, raw.packaged):
            return raw.packaged
        log.warning("%s does not have the checksum of the published file, which is downloaded instead", raw.packaged)
    downloads.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + ".part")
    try:
        _download(raw, partial)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{raw.name} cannot be downloaded from {raw.url} ({reason}){raw.trouble}; or get it elsewhere and put it at"
            f" {manual}"
        ) from None
    if partial.stat().st_size != raw.size or sha256(partial) != raw.sha256:
        partial.unlink()
        raise InputError(
            f"the file from {raw.url} does not have the checksum of {raw.name}{raw.trouble}; get it elsewhere and put "
            f"it at {manual}"
        )
    partial.rename(path)
    return path


def _download(raw: Published, partial: Path) -> None:
    """Starts a download, or resumes it where it stopped."""
    have = partial.stat().st_size if partial.exists() else 0
    if have == raw.size:
        return
    request = urllib.request.Request(raw.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        if response.status != 206:
            have = 0
        with (
            partial.open("ab" if have else "wb") as file,
            tqdm(desc=raw.name, total=raw.size, initial=have, unit="B", unit_scale=True) as bar,
        ):
            start = file.tell()
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            received, promised = file.tell() - start, response.headers["Content-Length"]
    if promised and received < int(promised):  # a lost connection looks like the end of the file
        raise OSError(f"the connection was lost after {received} of {promised} bytes: run it again to resume")


def _is_published(raw: Published, path: Path) -> bool:
    """Says whether a file is a published one, or has its content."""
    if sha256(path) == raw.sha256:
        return True
    return raw.content is not None and _content_sha256(path, raw.content.size) == raw.content.sha256


def _content_sha256(path: Path, size: int) -> str:
    """Computes the SHA-256 of what a .gz file decompresses to; "" if that is not `size` bytes, or cannot be read."""
    digest, left = hashlib.sha256(), size
    try:
        with gzip.open(path) as file:
            # One byte more than there should be is read, and no others, whatever the file expands to.
            while chunk := file.read(min(CHUNK, left + 1)):
                digest.update(chunk)
                left -= len(chunk)
                if left < 0:
                    return ""
    except (OSError, EOFError, zlib.error):
        return ""
    return "" if left else digest.hexdigest()


def sha256(path: Path) -> str:
    """Computes the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with (
        path.open("rb") as file,
        tqdm(desc=f"checking {path.name}", total=path.stat().st_size, unit="B", unit_scale=True, leave=False) as bar,
    ):
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()
