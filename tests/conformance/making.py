"""Makes files of many kinds, with encoders at run time or byte by byte; none is in the repository."""

import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

from tests import pictures
from tests.conformance import boxes
from tests.conformance.tools import run

Samples = NDArray[Any]
"""Height, width, channels: of 8 or 16 bits, or float."""
WIDTH, HEIGHT = pictures.SIZE


def scene() -> Samples:
    """A picture of which no turn or mirroring looks like another."""
    return numpy.asarray(pictures.colour())


def translucent() -> Samples:
    """The same, from transparent at the top to opaque at the bottom."""
    return numpy.asarray(pictures.transparent())


def stored(pixels: Samples, orientation: int) -> Samples:
    """What has to be stored, so that with this EXIF orientation the pixels are seen."""
    turn = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[:, ::-1],
    }  # fmt: skip
    return numpy.ascontiguousarray(turn[orientation](pixels))


def exif(orientation: int | None) -> bytes:
    """EXIF, from its TIFF header on, with a maker and an orientation."""
    entries = [struct.pack("<HHII", 0x010F, 2, 5, 8 + 2 + 12 * (1 + (orientation is not None)) + 4)]
    if orientation is not None:
        entries.append(struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4) + b"Test\0\0"


def xmp(orientation: int | None) -> bytes:
    says = "" if orientation is None else f' tiff:Orientation="{orientation}"'
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Make="Test"{says}/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def saved(pixels: Samples, format: str, **options: Any) -> bytes:
    """A file that Pillow makes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(pixels: Samples, orientation: int | None = None, in_xmp: int | None = None, **options: Any) -> bytes:
    if orientation is not None:
        options["exif"] = b"Exif\0\0" + exif(orientation)
    if in_xmp is not None:
        options["xmp"] = xmp(in_xmp)
    return saved(pixels, "JPEG", quality=96, subsampling=0, **options)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    pixels: Samples, before: Iterable[bytes] = (), behind: Iterable[bytes] = (), colour_type: int | None = None
) -> bytes:
    """A PNG, with further chunks before and behind the pixels."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    height, width, channels = pixels.shape
    if colour_type is None:
        colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", png_rows(pixels)), *behind, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_rows(pixels: Samples) -> bytes:
    rows = pixels.astype(">u2" if pixels.itemsize == 2 else "u1")
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


def cicp_chunk(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def iccp_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"test\0\0" + zlib.compress(profile))


def gama_chunk(gamma: float) -> bytes:
    """What a sample is raised to, to get the light, is one divided by this."""
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def chrm_chunk(white: tuple[float, float], primaries: Sequence[tuple[float, float]]) -> bytes:
    values = [value for point in (white, *primaries) for value in point]
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


@dataclass(frozen=True)
class Page:
    """A page of a TIFF.

    Attributes:
        pixels: Its samples; of a page of one bit, zeros and ones.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK, 8 Lab.
        bits: A sample.
        extra: What each further channel is: 1 associated alpha, 2 unassociated alpha.
        tags: Further tags: type and values by their number; a fraction (type 5) is two values.
    """

    pixels: Samples
    photometric: int = 2
    bits: int = 8
    extra: Sequence[int] = ()
    tags: dict[int, tuple[int, Sequence[int]]] = field(default_factory=dict)

    def data(self) -> bytes:
        if self.bits == 1:
            return numpy.packbits(self.pixels.astype(bool), axis=1).tobytes()
        return self.pixels.astype(self.pixels.dtype.newbyteorder("<")).tobytes()


_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 5: "I", 7: "B"}


def tiff(*pages: Page) -> bytes:
    """A TIFF of uncompressed pages, each with modes and tags of its own."""
    result, link = bytearray(b"II*\0\0\0\0\0"), 4
    for page in pages:
        data = page.data()
        start = len(result)
        result += data + bytes(len(data) % 2)
        height, width = page.pixels.shape[:2]
        samples = 1 if page.pixels.ndim == 2 else page.pixels.shape[2]
        sample_format = 3 if page.pixels.dtype.kind == "f" else 1
        tags: dict[int, tuple[int, Sequence[int]]] = {
            256: (4, [width]), 257: (4, [height]), 258: (3, [page.bits] * samples), 259: (3, [1]),
            262: (3, [page.photometric]), 273: (4, [start]), 277: (3, [samples]), 278: (4, [height]),
            279: (4, [len(data)]), 284: (3, [1]), 339: (3, [sample_format] * samples),
        }  # fmt: skip
        if page.extra:
            tags[338] = (3, list(page.extra))
        tags |= page.tags
        entries = b""
        for number, (kind, values) in sorted(tags.items()):
            packed = struct.pack(f"<{len(values)}{_TIFF_TYPES[kind]}", *values)
            if len(packed) > 4:
                result += packed + bytes(len(packed) % 2)
                packed = struct.pack("<I", len(result) - len(packed) - len(packed) % 2)
            count = len(values) // 2 if kind == 5 else len(values)
            entries += struct.pack("<HHI", number, kind, count) + packed.ljust(4, b"\0")
        result[link : link + 4] = struct.pack("<I", len(result))
        result += struct.pack("<H", len(tags)) + entries
        link = len(result)
        result += bytes(4)
    return bytes(result)


def pfm(pixels: Samples) -> bytes:
    """A portable float map, of 32-bit samples, whose rows go from the bottom to the top."""
    height, width = pixels.shape[:2]
    kind = "PF" if pixels.ndim == 3 else "Pf"
    return f"{kind}\n{width} {height}\n-1.0\n".encode() + pixels[::-1].astype("<f4").tobytes()


def ppm(pixels: Samples) -> bytes:
    height, width = pixels.shape[:2]
    deep = pixels.itemsize == 2
    header = f"P6\n{width} {height}\n{65535 if deep else 255}\n".encode()
    return header + pixels.astype(">u2" if deep else "u1").tobytes()


def avif(pixels: Samples, *options: str, **files: bytes) -> bytes:
    """An AVIF by avifenc, of 4:4:4 and of hardly any loss, unless the options say otherwise."""
    usual = ["-s", "9", "--min", "2", "--max", "4", "-y", "444", "--minalpha", "0", "--maxalpha", "0"]
    return run("avifenc", *usual, *options, "{a.png}", "-o", "{out.avif}", a_png=png(pixels), **files)


def heic_with_nclx(pixels: Samples, cicp: tuple[int, int, int]) -> bytes:
    """A HEIC with code points, of 8 or 10 bits, which the heif-enc of many systems does not write."""
    height, width = pixels.shape[:2]
    mode = "RGB" if pixels.dtype == numpy.uint8 else "RGB;16"
    heif, file = pillow_heif.from_bytes(mode, (width, height), pixels.tobytes()), io.BytesIO()
    primaries, transfer, matrix = cicp
    heif.save(
        file, quality=95, chroma=444, color_primaries=primaries, transfer_characteristics=transfer,
        matrix_coefficients=matrix, full_range_flag=1,
    )  # fmt: skip
    return file.getvalue()


def heic(pixels: Samples, *options: str) -> bytes:
    """A HEIC by heif-enc, of 4:4:4."""
    usual = ["-q", "95", "-p", "chroma=444", "-p", "preset=fast"]
    return run("heif-enc", *usual, *options, "{a.png}", "-o", "{out.heic}", a_png=png(pixels))


def heif_of_jpeg(data: bytes, extension: str) -> bytes:
    """A HEIC or AVIF by heif-enc, which takes the EXIF of the JPEG along, and turns nothing for it."""
    options = ["-q", "95", "-p", "chroma=444", *(["-p", "preset=fast"] if extension == "heic" else ["-p", "speed=9"])]
    return run("heif-enc", *options, "{a.jpg}", "-o", f"{{out.{extension}}}", a_jpg=data)


def jxl(data: bytes, extension: str, *options: str) -> bytes:
    """A JPEG XL by cjxl, of a file with this extension; without loss, unless the options say otherwise."""
    usual = ["-e", "3", "-d", "0"] if "-j" not in options else ["-e", "3"]
    return run("cjxl", f"{{a.{extension}}}", "{out.jxl}", *usual, *options, **{f"a_{extension}": data})


def jp2(pixels: Samples, profile: bytes | None = None) -> bytes:
    """A JPEG 2000 by opj_compress, without loss, whose colour an ICC profile tells."""
    data = run("opj_compress", "-i", "{a.ppm}", "-o", "{out.jp2}", "-n", "3", a_ppm=ppm(pixels))
    return boxes.jp2_with_profile(data, profile) if profile else data


def webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
