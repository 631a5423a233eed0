"""Workdirs on file systems and in object stores (gs://BUCKET/...)."""

import io
import os
import pathlib
from collections.abc import Callable
from typing import IO

from etils import epath

from pfgm_jax.errors import InputError, shown

Folder = pathlib.Path | epath.Path


def to_folder(name: str | Folder) -> Folder:
    """Converts a name to a folder; a name with a scheme such as gs:// refers to an object store.

    Raises:
      InputError: it is not a name, or of a store that cannot be reached.
    """
    if isinstance(name, Folder):
        return name
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise InputError(f"--workdir is {shown(name)}; give the name of a folder")
    if "://" not in name:
        return pathlib.Path(name)
    try:
        folder = epath.Path(name)
        folder.exists()
    except ImportError as error:
        package = error.name or "gcsfs"
        raise InputError(f"--workdir is {name}, which needs the package {package}: pip install {package}") from None
    except Exception:  # each store fails in its own way
        raise InputError(f"--workdir is {name}, which cannot be reached; see that it exists and that you may") from None
    return folder


def to_path(name: str, field: str) -> pathlib.Path:
    """Converts the name of a file or folder of data to a path.

    Args:
      name: relative, absolute, or beginning with ~.
      field: the config field that names it, for messages.

    Raises:
      InputError: there cannot be anything of this name, or it may not be looked at.
    """
    try:
        path = pathlib.Path(name).expanduser()
        path.exists()
    except RuntimeError:
        raise InputError(f"{field} names {shown(name)}, and there is no such user; give a whole path") from None
    except OSError as error:
        why = (error.strerror or "it is no path").lower()
        raise InputError(f"{field} names {shown(name)}, which cannot be read ({why}); give another path") from None
    return path


def is_local(folder: Folder) -> bool:
    """Returns whether a folder is on a file system, where files can be appended to, locked and renamed atomically."""
    return isinstance(folder, pathlib.Path)


def write_whole(path: Folder, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Writes a file atomically, and creates its folder.

    Args:
      path: of the file.
      content: bytes, or what writes them to a file that is open.
    """
    write = content if callable(content) else lambda file: file.write(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        buffer = io.BytesIO()
        write(buffer)
        path.write_bytes(buffer.getvalue())  # an object appears once it is complete
        return
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())  # otherwise a power failure could leave an empty file under the new name
    temporary.replace(path)
