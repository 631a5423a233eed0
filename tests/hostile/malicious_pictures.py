"""Files under names of pictures that are none, that start programs, or that announce more pixels than memory holds."""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

from tests import raw_files
from tests.hostile import readers
from tests.hostile.case import Case
from tests.hostile.readers import harmless, watched

POSTSCRIPT = """%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
(executed) (w) file closefile
%pipe%touch executed
newpath 0 0 moveto 8 8 lineto stroke showpage
%%EOF
"""
SVG = """<?xml version="1.0"?>
<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd"> <!ENTITY b "&a;&a;&a;&a;">]>
<svg xmlns="http://www.w3.org/2000/svg" onload="touch executed" width="8" height="8"><script>fetch("x")</script>
<image href="ephemeral:/etc/passwd"/><text>&b;</text></svg>
"""
MVG = "push graphic-context\nviewbox 0 0 8 8\nimage over 0,0 0,0 'https://x/\"|touch \"executed'\npop graphic-context\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, depth=8, colours=2, content=b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(content or b"\0" * 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + data + chunk(b"IEND", b"")


def saved(format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(raw_files.random_images(0, 1, 8, 8)[0]).save(buffer, format, **options)
    return buffer.getvalue()


def _animation() -> bytes:
    frames = [Image.new("P", (8, 8), i % 7) for i in range(3000)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _tiff(width: int, height: int) -> bytes:
    tags = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8))
    body = b"".join(struct.pack("<HHII", *tag) for tag in (*tags, (278, 4, 1, height), (279, 4, 1, 8)))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 8) + body + bytes(4)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../executed", "x")
    return buffer.getvalue()


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


# A directory of metadata within itself.
CIRCLE = struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
# Contents under the name of a picture: formats that are not read, and that would start programs or read other files.
CONTENTS = {
    "EPS": POSTSCRIPT,
    "EPS of DOS": lambda: (
        b"\xc5\xd0\xd3\xc6" + struct.pack("<IIIIII", 32, len(POSTSCRIPT), 0, 0, 0, 0) + b"\xff\xff" * 2
    ),
    "PostScript": POSTSCRIPT.replace(" EPSF-3.0", ""),
    "a pipe of PostScript": "%!PS\n(%pipe%touch executed) (r) file\n",
    "PDF": "%PDF-1.7\n1 0 obj <</OpenAction <</S /Launch /F (touch executed)>>>> endobj\n%%EOF\n",
    "SVG": SVG,
    "MVG": MVG,
    "MSL": '<?xml version="1.0"?><image><read filename="|touch executed"/></image>',
    "HTML": "<html><script>touch('executed')</script><img src='/etc/passwd'></html>",
    "a script": "#!/bin/sh\ntouch executed\n",
    "Python": "import os; os.system('touch executed')\n",
    "ELF": b"\x7fELF\x02\x01\x01" + bytes(200),
    "zip": _zip,
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(100),
    "EMF": b"\x01\0\0\0" + bytes(36) + b" EMF" + bytes(100),
    "FITS": "SIMPLE  =                    T".ljust(80) + "NAXIS   =                    2".ljust(80),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "GRIB": b"GRIB" + bytes(100),
    "BUFR": b"BUFR" + bytes(100),
    "XPM": '/* XPM */\nstatic char *x[] = {"8 8 1 1", "a c #000000"};',
    "XBM": "#define x_width 8\n#define x_height 99999999\nstatic char x_bits[] = {0x00};",
    "PSD": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 60_000, 60_000, 8, 3),
    "ICO": lambda: saved("ICO"),
    "PCX": lambda: saved("PCX"),
    "SGI": lambda: saved("SGI"),
    "DDS": lambda: saved("DDS"),
    "IM": b"Image type: RGB image\r\nImage size (x*y): 8*8\r\n" + bytes(700),
    "MSP": b"DanM" + bytes(100),
    "SPIDER": np.zeros(256, "f4").tobytes(),
    "FLI": struct.pack("<IHHHHHH", 128, 0xAF11, 1, 8, 8, 8, 3) + bytes(200),
    "BLP": b"BLP2" + bytes(200),
    "MPEG": b"\x00\x00\x01\xb3" + bytes(100),
    "QOI": b"qoif" + struct.pack(">IIBB", 50_000, 50_000, 3, 0),
    "JPEG XL": b"\xff\x0a" + bytes(60),
    "PNG of 60,000 x 60,000": lambda: png(60_000, 60_000),
    "PNG of 2^31 x 2^31": lambda: png(2**31 - 1, 2**31 - 1),
    "PNG of 0 x 0": lambda: png(0, 0),
    "PNG of a bomb": lambda: png(8, 8, content=bytes(10**8)),
    "text of a bomb in PNG": lambda: png(8, 8, chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**8)))),
    "a profile of a bomb in PNG": lambda: png(8, 8, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(10**8)))),
    "PNG of 100,000 texts": lambda: png(8, 8, *[chunk(b"tEXt", b"x\0y")] * 100_000),
    "a chunk of 2^31 bytes": lambda: png(8, 8)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT",
    "frames of PNG": lambda: png(8, 8, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
    "BMP of 2^31": lambda: _bmp(2**31 - 1, -(2**31)),
    "BMP of 40,000 x 40,000": lambda: _bmp(40_000, 40_000),
    "TIFF of 100,000 x 100,000": lambda: _tiff(100_000, 100_000),
    "TIFF of 2^32 rows": lambda: _tiff(1, 2**32 - 1),
    "TIFF that follows itself": b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 256, 4, 1, 8) + struct.pack("<I", 8),
    "GIF of 65,535 x 65,535": b"GIF89a\xff\xff\xff\xff\x80\0\0"
    + bytes(6)
    + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x01\0\0;",
    "GIF of 3,000 frames": _animation,
    "PPM of 10^9": b"P6 1000000000 1000000000 255\n",
    "PPM of digits": b"P3 " + b"9" * 100_000 + b" 1 255\n",
    "PPM of negative sides": b"P6 -8 -8 255\n" + bytes(200),
    "PAM": b"P7\nWIDTH 8\nHEIGHT 8\nDEPTH 99999999\nMAXVAL 255\nENDHDR\n",
    "JPEG of 65,535 x 65,535": lambda: saved("JPEG").replace(b"\0\x08\0\x08\x03", b"\xff\xff\xff\xff\x03"),
    "JPEG with a script": lambda: saved("JPEG", comment=b"<?php system('touch executed'); ?>" * 1000),
    "JPEG 2000 of 2^31": lambda: saved("JPEG2000").replace(struct.pack(">II", 8, 8), b"\x80\0\0\0" * 2),
    "WEBP of 16,384": lambda: saved("WEBP", lossless=True)[:21] + b"\xff" * 4 + saved("WEBP", lossless=True)[25:],
    "TGA of 65,535": b"\0\0\x02" + bytes(9) + b"\xff\xff\xff\xff\x18\0",
    "metadata in a circle": lambda: saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + CIRCLE),
}
# Names under which they come.
NAMES = (
    "picture.png",
    "picture.jpg",
    "picture.gif",
    "picture.tif",
    "picture.webp",
    "PICTURE.PNG",
    "picture.jp2",
    "x.ppm",
)


def _attempt(read, name, content):
    def attempt(folder):
        with watched(folder) as inner:
            for i in range(2):
                (inner / f"good{i}.png").write_bytes(saved("PNG"))
            made = content() if callable(content) else content
            (inner / name).write_bytes(made.encode() if isinstance(made, str) else made)
            harmless(read, inner / name)
            assert not (inner / "executed").exists()

    return attempt


def cases() -> list[Case]:
    """All of them."""
    opened = [*readers.PICTURES.items()]
    made = []
    for i, (kind, content) in enumerate(CONTENTS.items()):
        for j in range(2):
            what, (_, read) = opened[(i + j) % len(opened)]
            name = NAMES[(i + j * 3) % len(NAMES)]
            made.append(Case(f"{kind} named {name}, read as {what}", _attempt(read, name, content)))
    return made
