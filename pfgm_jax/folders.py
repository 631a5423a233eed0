"""Workdirs on file systems and in object stores (gs://BUCKET/...)."""

import os
import pathlib

from etils import epath

Folder = pathlib.Path | epath.Path


def to_folder(name: str) -> Folder:
    """Converts a name to a folder; a name with a scheme such as gs:// refers to an object store."""
    return epath.Path(name) if "://" in name else pathlib.Path(name)


def is_local(folder: Folder) -> bool:
    """Returns whether a folder is on a file system, where files can be appended to, locked and renamed atomically."""
    return isinstance(folder, pathlib.Path)


def write_whole(path: Folder, content: bytes) -> None:
    """Writes a file atomically, and creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        path.write_bytes(content)  # an object appears once it is complete
        return
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # otherwise a power failure could leave an empty file under the new name
    temporary.replace(path)
