"""Hostile images, made here: bombs, loops, lies, and what is two things at once."""

import gzip
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests import photoshop, pictures, raws

MiB = 1024 * 1024
SECRET = "/etc/passwd"


PORT = 59009
"""Hostile drawings ask for things from this port of this machine."""
TURBULENCE = '<feTurbulence numOctaves="1000"/>'
FILLED = '<rect filter="url(#f)" width="64" height="48"/>'


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, mode: int = 0, data: bytes | None = None) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, mode, 0, 0, 0))
    body = zlib.compress(b"\0" * (1 + width * depth // 8) * height) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """So many zeros, compressed."""
    compressor = zlib.compressobj(9)
    return b"".join(compressor.compress(b"\0" * MiB) for _ in range(size // MiB)) + compressor.flush()


def apng(frames: int) -> bytes:
    control = struct.pack(">II", frames, 0)
    one = zlib.compress(b"\0\0")
    parts = [chunk(b"acTL", control)]
    for number in range(frames):
        frame = struct.pack(">IIIIIHHBB", 2 * number, 1, 1, 0, 0, 1, 100, 0, 0)
        parts += [chunk(b"fcTL", frame), chunk(b"fdAT", struct.pack(">I", 2 * number + 1) + one)]
    return png(1, 1, *parts)


def gif(width: int, height: int, frames: int = 1, frame_size: tuple[int, int] = (1, 1)) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, *frame_size, 0) + b"\x02\x02D\x01\0"
    return head + frame * frames + b";"


def jpeg(width: int, height: int) -> bytes:
    """A small JPEG that says that it is large."""
    data = bytearray(pictures.saved(pictures.colour(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG with its last scan again and again."""
    data = pictures.saved(pictures.colour((2000, 2000)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def tiff(entries: list[tuple[int, int, int, int]], following: int = 0, tail: bytes = b"") -> bytes:
    """A little-endian TIFF with one directory of (tag, type, count, value)."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + struct.pack("<I", following) + tail


def tiff_of(width: int, height: int, compression: int = 1, strip: int = 8, following: int = 0, **more: int) -> bytes:
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1),
        (273, 4, 1, strip), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, more.get("size", 100)),
    ]  # fmt: skip
    return tiff(entries, following, b"\0" * 200)


def tiff_directories(count: int) -> bytes:
    """A chain of directories, each with a picture of one pixel."""
    size = 2 + 9 * 12 + 4
    parts = [b"II*\0" + struct.pack("<I", 8)]
    for number in range(count):
        at = 8 + number * size
        body = tiff_of(1, 1)[8 : 8 + size - 4]
        parts.append(body + struct.pack("<I", at + size if number + 1 < count else 0))
    return b"".join(parts) + b"\0" * 200


def ico(count: int, offset: int, size: int) -> bytes:
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, size, offset)
    return struct.pack("<HHH", 0, 1, count) + entry * count


def ico_of_pngs(count: int) -> bytes:
    """Many entries, all of the same large picture."""
    picture = png(5000, 5000)
    return ico(count, 6 + 16 * count, len(picture)) + picture


def icns(*blocks: tuple[bytes, int, bytes]) -> bytes:
    body = b"".join(name + struct.pack(">I", size) + data for name, size, data in blocks)
    return b"icns" + struct.pack(">I", 8 + len(body)) + body


def webp(width: int, height: int, name: bytes = b"VP8L") -> bytes:
    if name == b"VP8X":
        data = struct.pack("<I", 0x10) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    else:
        data = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\0" * 20
    body = name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def bmp(width: int, height: int, bits: int = 1, compression: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 62) + info + b"\0" * 64


def svg(body: str = "", attributes: str = 'width="64" height="48"', before: str = "") -> bytes:
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<?xml version="1.0"?>{before}<svg {names} {attributes}>{body}</svg>'.encode()


def laughs(levels: int = 12) -> bytes:
    entities = '<!ENTITY l0 "lol">' + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, levels))
    return svg(f"<text>&l{levels - 1};</text>", before=f"<!DOCTYPE svg [{entities}]>")


def uses(levels: int = 30) -> bytes:
    groups = '<g id="g0"><rect width="9" height="9"/></g>' + "".join(
        f'<g id="g{n}">' + f'<use xlink:href="#g{n - 1}"/>' * 10 + "</g>" for n in range(1, levels)
    )
    return svg(f'<defs>{groups}</defs><use xlink:href="#g{levels - 1}"/>')


SVGS = {
    "billion laughs": laughs(),
    "quadratic entity": svg("&a;" * 50_000, before=f'<!DOCTYPE svg [<!ENTITY a "{"a" * 50_000}">]>'),
    "external entity": svg("<text>&x;</text>", before=f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file://{SECRET}">]>'),
    "external doctype": svg(before='<!DOCTYPE svg SYSTEM "http://127.0.0.1:59009/x.dtd">'),
    "parameter entity": svg(before='<!DOCTYPE svg [<!ENTITY % x SYSTEM "http://127.0.0.1:59009/"> %x;]>'),
    "xinclude": svg(f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file://{SECRET}" parse="text"/>'),
    "script": svg("<script>alert(1)</script><rect onclick='alert(1)' width='9' height='9'/>"),
    "file image": svg(f'<image width="64" height="48" xlink:href="file://{SECRET}"/>'),
    "web image": svg('<image width="64" height="48" xlink:href="http://127.0.0.1:59009/x.png"/>'),
    "web style": svg('<style>@import url("http://127.0.0.1:59009/x.css");</style>'),
    "web use": svg('<use xlink:href="http://127.0.0.1:59009/x.svg#a"/>'),
    "device": svg('<image width="64" height="48" xlink:href="file:///dev/zero"/>'),
    "html inside": svg('<foreignObject width="64" height="48"><iframe xmlns="http://www.w3.org/1999/xhtml" src="http://127.0.0.1:59009/"/></foreignObject>'),
    "giant": svg(attributes='width="1000000000" height="1000000000"'),
    "giant in metres": svg(attributes='width="99999999999cm" height="1em" viewBox="0 0 1e30 1e-30"'),
    "giant box": svg(attributes='viewBox="0 0 99999999 99999999"'),
    "no size": svg(attributes='width="0" height="-5"'),
    "not a number": svg(attributes='width="NaN" height="inf" viewBox="NaN NaN NaN NaN"'),
    "uses of uses": uses(),
    "recursive use": svg('<g id="a"><use xlink:href="#a"/></g>'),
    "recursive pattern": svg(
        '<pattern id="p" width="9" height="9"><rect fill="url(#p)" width="9" height="9"/></pattern>'
        '<rect fill="url(#p)" width="64" height="48"/>'
    ),
    "giant blur": svg('<filter id="f"><feGaussianBlur stdDeviation="100000"/></filter>' + FILLED),
    "many filters": svg('<filter id="f">' + TURBULENCE * 200 + "</filter>" + FILLED),
    "giant turbulence": svg(f'<filter id="f">{TURBULENCE.replace("1000", "2147483647")}</filter>' + FILLED),
    "deep": svg("<g>" * 20_000 + "</g>" * 20_000),
    "a path without end": svg(f'<path d="M0 0{" L9 9 0 0" * 200_000}" stroke="red"/>'),
    "compressed bomb": gzip.compress(svg("<!--" + "a" * 50_000_000 + "-->")),
}  # fmt: skip


def polyglot(name: str) -> bytes:
    """What is an image, and what a browser that guesses could take for a page."""
    page = b"<html><script>alert(document.domain)</script></html>"
    if name == "GIF":
        return gif(1, 1)[:-1] + b"!\xfe" + bytes([len(page)]) + page + b"\0;"
    if name == "JPEG":
        data = pictures.saved(pictures.colour(), "JPEG")
        return data[:2] + b"\xff\xfe" + struct.pack(">H", len(page) + 2) + page + data[2:]
    if name == "PNG":
        return png(1, 1, chunk(b"tEXt", b"Comment\0" + page)) + page
    return pictures.saved(pictures.colour(), "BMP") + page


BOMBS: dict[str, bytes] = {
    "PNG of 4 gigapixels": png(65_535, 65_535, data=b""),
    "PNG of 2^62 pixels": png(2**31 - 1, 2**31 - 1, data=b""),
    "PNG of one row": png(2**31 - 1, 1, data=b""),
    "PNG of 99 megapixels": png(11_000, 9_000, depth=1, data=zlib.compress(b"\0" * 1376 * 9000, 9)),
    "PNG with more data than pixels": png(64, 48, data=zeros(512 * MiB)),
    "PNG with a compressed text": png(1, 1, chunk(b"zTXt", b"Comment\0\0" + zeros(256 * MiB))),
    "PNG with a thousand texts": png(1, 1, *[chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * MiB))] * 1000),
    "PNG with an international text": png(1, 1, chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(256 * MiB))),
    "PNG with a compressed profile": png(1, 1, chunk(b"iCCP", b"p\0\0" + zeros(256 * MiB))),
    "PNG with large EXIF": png(1, 1, chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * MiB)),
    "PNG of ten thousand frames": apng(10_000),
    "PNG with a length that lies": png(9, 9)[:33] + b"\xff\xff\xff\xffIDAT",
    "GIF of 4 gigapixels": gif(65_535, 65_535, 1, (65_535, 65_535)),
    "GIF of a hundred thousand frames": gif(1, 1, 100_000),
    "GIF of 499 large frames": gif(9_000, 9_000, 499),
    "GIF of frames larger than it": gif(4, 4, 3, (60_000, 60_000)),
    "GIF whose third frame is larger than it": gif(4, 4, 2)[:-1] + gif(4, 4, 3, (30_000, 30_000))[19:],
    "JPEG of 4 gigapixels": jpeg(65_535, 65_535),
    "JPEG of no height": jpeg(64, 0),
    "JPEG with more pixels than data": jpeg(9_000, 9_000),
    "JPEG of a thousand scans": jpeg_of_scans(1000),
    "WebP of 268 megapixels": webp(16_384, 16_384),
    "WebP of a canvas of 2^48 pixels": webp(2**24, 2**24, b"VP8X"),
    "TIFF of 2^64 pixels": tiff_of(2**32 - 1, 2**32 - 1),
    "TIFF of 10 gigapixels, deflated": tiff_of(100_000, 100_000, 8),
    "TIFF with bits that run": tiff_of(9_000, 9_000, 32773),
    "TIFF whose directory is its own next": tiff_of(4, 4, following=8),
    "TIFF of ten thousand directories": tiff_directories(10_000),
    "TIFF with a tag of four billion values": tiff([(256, 4, 1, 4), (257, 4, 1, 4), (273, 4, 2**32 - 1, 8)]),
    "TIFF with a strip of four gigabytes": tiff_of(64, 48, size=2**32 - 1),
    "TIFF with directories in directories": tiff([(256, 4, 1, 4), (257, 4, 1, 4), (330, 4, 1, 8), (34665, 4, 1, 8)]),
    "BMP of 4 gigapixels": bmp(65_535, 65_535),
    "BMP of a negative size": bmp(-(2**31), -(2**31)),
    "BMP of runs": bmp(60_000, 1_600, 8, 1),
    "ICO of 65535 entries of nothing": ico(65_535, 0, 0),
    "ICO that is its own entry": ico(100, 0, 2**31 - 1),
    "ICO of many large pictures": ico_of_pngs(200),
    "ICNS of blocks of no size": icns(*[(b"ic07", 0, b"")] * 100),
    "ICNS with a block of four gigabytes": icns((b"ic10", 2**32 - 1, b"")),
    "ICNS with a large PNG": icns((b"ic10", 8 + len(png(20_000, 20_000, data=b"")), png(20_000, 20_000, data=b""))),
    "PPM of 2^60 pixels": b"P6 1073741824 1073741824 255\n",
    "PPM of many digits": b"P6 " + b"9" * 100_000 + b" 9 255\n",
    "PBM of 100 megapixels": b"P4 10000 10000\n" + b"\0" * 1000,
    "XPM of many colours": b'/* XPM */ static char *x[] = {"9 9 999999999 9",' + b'"a c #fff",' * 1000 + b"};",
    "FITS of large axes": b"".join(
        line.ljust(80).encode()
        for line in (
            "SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2",
            "NAXIS1  =           2147483647", "NAXIS2  =           2147483647", "END",
        )
    ).ljust(2880),
    "PSD of 9 gigapixels": b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 300_000, 30_000, 8, 3) + b"\0" * 14,
    "QOI of 16 exapixels": b"qoif" + struct.pack(">II", 2**32 - 1, 2**32 - 1) + b"\4\0" + b"\xfd" * 100,
    "DDS of 4 gigapixels": b"DDS " + struct.pack("<7I", 124, 0x1007, 65_535, 65_535, 0, 0, 0) + b"\0" * 44
    + struct.pack("<8I", 32, 0x41, 0, 32, 0xFF, 0xFF00, 0xFF0000, 0xFF000000) + b"\0" * 20,
    "JPEG 2000 of many tiles": b"\xff\x4f\xff\x51"
    + struct.pack(">HHIIIIIIIIH", 41, 0, 2**31, 2**31, 0, 0, 1, 1, 0, 0, 1) + b"\7\1\1",
    "JXL of a gigapixel": b"\xff\x0a" + bytes([0xFF] * 20),
    "AVIF of boxes in boxes": struct.pack(">I", 24) + b"ftypavif" + b"\0\0\0\0avifmif1" + b"".join(
        struct.pack(">I", 8 * (1000 - n)) + b"meta" for n in range(1000)
    ),
    "SGI of large planes": struct.pack(">HBBHHHH", 474, 1, 1, 3, 65_535, 65_535, 4) + b"\0" * 600,
    "TGA of runs": struct.pack("<BBBHHBHHHHBB", 0, 0, 10, 0, 0, 0, 0, 0, 65_535, 1_500, 24, 0) + b"\xff\0\0\0" * 1000,
    "PCX of 4 gigapixels": struct.pack("<BBBBHHHH", 10, 5, 1, 8, 0, 0, 65_534, 65_534) + b"\0" * 116,
}  # fmt: skip
"""By what they are."""


def seeds() -> dict[str, bytes]:
    """One small image of each format, to be cut and bent."""
    small = pictures.colour((9, 7))
    found = {}
    for name in (
        "PNG",
        "GIF",
        "JPEG",
        "WEBP",
        "TIFF",
        "BMP",
        "ICO",
        "QOI",
        "PPM",
        "TGA",
        "AVIF",
        "JPEG2000",
        "PCX",
        "SGI",
        "DDS",
    ):
        options = {"sizes": [(9, 7)]} if name == "ICO" else {}
        found[name] = pictures.saved(small, name, **options)
    found["DNG"] = raws.raw_file(small, preview=found["JPEG"])
    found["DNG without a preview"] = raws.raw_file(small)
    found["PSD"] = photoshop.psd(
        [np.asarray(band) for band in (*small.split(), small.convert("L"))],
        photoshop.RGB, layers=-1, packing=photoshop.RLE,
    )  # fmt: skip
    found["SVG"] = svg('<rect width="9" height="7" fill="red"/>')
    return found


def truncated(data: bytes, most: int = 150) -> Iterator[bytes]:
    """A file cut at every byte, of a long one at so many places."""
    for length in range(0, len(data), max(1, len(data) // most)):
        yield data[:length]


def bent(data: bytes, most: int = 150) -> Iterator[bytes]:
    """A file with one bit turned: each of them at the beginning, where headers are, then some of the rest."""
    places = [*range(min(len(data), 48) * 8), *range(48 * 8, len(data) * 8, max(1, len(data) * 8 // most))]
    for place in places:
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)


def is_whole(data: bytes) -> bool:
    """Return whether Pillow finds an image whole."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception:
        return False
    return True
