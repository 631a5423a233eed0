"""Workdirs on file systems and in object stores (gs://BUCKET/...)."""

import os
import pathlib

from etils import epath

Folder = pathlib.Path | epath.Path


def to_folder(name: str) -> Folder:
    """The folder of a name; of an object store where it begins with a scheme such as gs://."""
    return epath.Path(name) if "://" in name else pathlib.Path(name)


def is_local(folder: Folder) -> bool:
    """Whether files in it can be appended to, locked, and renamed at once, as object stores cannot."""
    return isinstance(folder, pathlib.Path)


def write_whole(path: Folder, content: bytes) -> None:
    """Writes a file so that it is never seen half written; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        path.write_bytes(content)  # an object appears when it is whole
        return
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # else a loss of power could leave an empty file under the new name
    temporary.replace(path)
