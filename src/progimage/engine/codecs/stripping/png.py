"""PNG: the chunks that are needed to decode it, and those that tell its colours (PNG, third edition, W3C, 2025)."""

import zlib

from progimage.engine.codecs.png_chunks import SIGNATURE, XMP, chunk, chunks, text_of
from progimage.engine.metadata import Buffer, Kept

_PIXELS = (b"IHDR", b"IDAT", b"fdAT", b"acTL", b"fcTL", b"PLTE", b"tRNS")
_COLOUR = (b"cHRM", b"cICP", b"cLLI", b"gAMA", b"iCCP", b"mDCV", b"sBIT", b"sRGB", b"cLLi", b"mDCv")
_NEEDED = frozenset((*_PIXELS, *_COLOUR, b"pHYs"))
_FRAMING, _END = 12, chunk(b"IEND", b"")


def stripped_png(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a PNG without its metadata.

    Args:
        data: The file.
        kept: What stays.

    Raises:
        ValueError: It has no pixels, or they are damaged.
    """
    written: list[Buffer] = [SIGNATURE]
    metadata: dict[bytes, bytes] = {}
    pixels = 0
    for at, kind, body in chunks(data, len(data)):
        if kind == b"IEND":
            break
        if kind == b"eXIf":
            metadata.setdefault(kind, bytes(body))
        elif kind == b"iTXt" and bytes(body[: len(XMP)]) == XMP:
            metadata.setdefault(kind, text_of(bytes(body[len(XMP) :])))
        if kind not in _NEEDED or (kind == b"iCCP" and not kept.icc):
            continue
        whole = data[at : at + _FRAMING + int.from_bytes(data[at : at + 4], "big")]
        if zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big"):
            pixels = pixels or len(written) * (kind == b"IDAT")
            written.append(whole)
        elif kind in _PIXELS:
            raise ValueError("Its pixels are damaged.")
    if not pixels:
        raise ValueError("It has no pixels.")
    exif, xmp = kept.exif(metadata.get(b"eXIf")), kept.xmp(metadata.get(b"iTXt"))
    told = [chunk(b"eXIf", exif)] if exif else []
    told += [chunk(b"iTXt", XMP + b"\0\0\0\0" + xmp)] if xmp else []
    return [*written[:pixels], *told, *written[pixels:], _END]
