"""Published files: downloaded once, continued where a download stopped, and checked."""

import dataclasses
import hashlib
import http.client
import logging
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from pfgm_jax.errors import InputError

log = logging.getLogger("pfgm_jax")

CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Published:
    """A published file.

    Attributes:
      name: of the file.
      url: where it is published.
      size: in bytes.
      sha256: its checksum.
      trouble: what to say when it cannot be downloaded.
    """

    name: str
    url: str
    size: int
    sha256: str
    trouble: str = ""


def obtain(raw: Published, downloads: Path) -> Path:
    """A published file: the user's own, in `downloads`/manual, or one that was downloaded, or a download.

    Raises:
      InputError: it cannot be had; says from where, and where to put it.
    """
    manual = downloads / "manual" / raw.name
    if manual.with_suffix("").is_dir() and raw.name.endswith("_lmdb.zip"):
        return manual.with_suffix("")
    if manual.is_file():
        if sha256(manual) != raw.sha256:
            log.warning("%s is not the published file, by its checksum; it is used as it is", manual)
        return manual
    path = downloads / raw.name
    if path.is_file():
        return path
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
            f"what {raw.url} gave is not {raw.name}, by its checksum{raw.trouble}; or get it elsewhere and put it at "
            f"{manual}"
        )
    partial.rename(path)
    return path


def _download(raw: Published, partial: Path) -> None:
    """Continues a download where it stopped."""
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
    if promised and received < int(promised):  # a connection that is lost looks like the end of the file
        raise OSError(f"the connection was lost after {received} of {promised} bytes: run it again to go on")


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with (
        path.open("rb") as file,
        tqdm(desc=f"checking {path.name}", total=path.stat().st_size, unit="B", unit_scale=True, leave=False) as bar,
    ):
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()
