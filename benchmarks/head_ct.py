"""A CT of a head, in Hounsfield units: the example of InVesalius that Debian's package `invesalius-examples` holds.

    apt-get install invesalius-examples     # and then: volume()
    apt-get download invesalius-examples    # or: volume(Path("invesalius-examples_3.1.99998-4_all.deb"))

The CT comes with InVesalius, of the Centro de Tecnologia da Informação Renato Archer in Brazil; its home is
https://github.com/invesalius/invesalius3. The package's copyright file names no licence of its own for the CT, which
its entry `Files: *` covers: GPL-2, © 2008-2021 Centro de Tecnologia da Informação Renato Archer, Paulo Henrique
Junqueira Amorim, Thiago Franco de Moraes and Tatiana Al-Chueyr Pereira Martins.

It is `Cranium.inv3`, a compressed tar archive: `main.plist` describes the raw voxels of `matrix.dat`. Nothing is
written to disk. Systems that leave out /usr/share/doc, as many container images do, need the .deb.
"""

import io
import plistlib
import subprocess
import tarfile
from pathlib import Path

import numpy as np

INSTALLED = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")


def read_member(archive: bytes, name: str) -> bytes:
    """Reads the first file of that name, in whichever folder, of a tar archive.

    Args:
        archive: The archive's content, plain or compressed by gzip, bzip2 or xz.
        name: The file's name, without its folder.

    Returns:
        The file's content.

    Raises:
        ValueError: The archive has no such file.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if Path(member.name).name == name and (file := tar.extractfile(member)) is not None:
                return file.read()
    raise ValueError(f"the archive holds no file named {name}.")


def files_of(package: Path) -> bytes:
    """Reads the tar archive of a Debian package's files.

    Args:
        package: The .deb, which is an `ar` archive: headers of 60 bytes, each before a member of even length.

    Returns:
        The tar archive, compressed or not, but never by zstd: `dpkg-deb` undoes that.

    Raises:
        ValueError: The file is not a Debian package, or its end is missing.
    """
    content = package.read_bytes()
    start = len(b"!<arch>\n")
    while content.startswith(b"!<arch>\n") and start + 60 <= len(content):
        name, size = content[start : start + 16].decode().strip(" /"), int(content[start + 48 : start + 58])
        if start + 60 + size > len(content):
            break
        if name == "data.tar.zst":
            return subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
        if name.startswith("data.tar"):
            return content[start + 60 : start + 60 + size]
        start += 60 + size + size % 2
    raise ValueError(f"{package} is not a Debian package, or not all of one.")


def volume(package: Path | None = None) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Reads the CT.

    Args:
        package: A .deb of invesalius-examples; None reads what the installed package has put under /usr/share.

    Returns:
        The int16 voxels [slices, H, W] in Hounsfield units, and the distances in mm between neighbours along these
        axes. Slices run from the jaw to the crown, and rows from the back of the head to the face: `[:, ::-1]` shows
        the face at the top. Nothing records on which side the left is. No value lies below -1024.

    Raises:
        FileNotFoundError: The .deb does not exist, or none is given and the package is not installed.
        ValueError: The .deb is not this package, or its end is missing.
    """
    if not (package or INSTALLED).is_file():
        raise FileNotFoundError(
            f"there is no {package or INSTALLED}: run `apt-get install invesalius-examples`, or "
            "`apt-get download invesalius-examples` and pass the path of the .deb."
        )
    project = INSTALLED.read_bytes() if package is None else read_member(files_of(package), INSTALLED.name)
    description = plistlib.loads(read_member(project, "main.plist"))
    matrix = description["matrix"]
    dtype = np.dtype(matrix["dtype"])
    voxels = np.frombuffer(read_member(project, matrix["filename"]), dtype.newbyteorder("<"))  # written by a PC
    x, y, z = description["spacing"]
    return voxels.reshape(matrix["shape"]).astype(dtype), (float(z), float(y), float(x))
