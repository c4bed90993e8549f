"""PNG: the chunks that are needed to decode it, and those for colour (PNG, third edition, W3C, 2025)."""

import zlib
from collections.abc import Sequence

from progimage.engine.codecs.png_chunks import SIGNATURE, XMP, chunk, chunks, text_of
from progimage.engine.metadata import Buffer, Kept

_PIXELS = (b"IHDR", b"IDAT", b"fdAT", b"acTL", b"fcTL", b"PLTE", b"tRNS")
_COLOUR = (b"cHRM", b"cICP", b"cLLI", b"gAMA", b"iCCP", b"mDCV", b"sBIT", b"sRGB", b"cLLi", b"mDCv")
_NEEDED = frozenset((*_PIXELS, *_COLOUR, b"pHYs"))
_OF_ANIMATIONS = (b"fcTL", b"fdAT")
_ANY = range(1 << 31)
_LENGTHS: dict[bytes, Sequence[int]] = {
    b"IHDR": (13,), b"PLTE": range(3, 769, 3), b"tRNS": range(1, 257), b"acTL": (8,), b"fcTL": (26,), b"cHRM": (32,),
    b"cICP": (4,), b"cLLI": (8,), b"cLLi": (8,), b"gAMA": (4,), b"mDCV": (24,), b"mDCv": (24,), b"sBIT": range(1, 5),
    b"sRGB": (1,), b"pHYs": (9,),
}  # fmt: skip
"""Allowed lengths of the chunks' data; decoders don't accept others."""
_LARGEST_PROFILE = 16_000_000
_FRAMING, _END = 12, chunk(b"IEND", b"")


def stripped_png(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a PNG without its metadata.

    Args:
        data: The file.
        kept: The metadata to keep.

    Raises:
        ValueError: There are no pixels, or they are damaged.
    """
    written: list[Buffer] = [SIGNATURE]
    metadata: dict[bytes, bytes] = {}
    pixels, animated = 0, False
    for at, kind, body in chunks(data, len(data)):
        if kind == b"IEND":
            break
        if kind == b"eXIf":
            metadata.setdefault(kind, bytes(body))
        elif kind == b"iTXt" and bytes(body[: len(XMP)]) == XMP:
            metadata.setdefault(kind, text_of(bytes(body[len(XMP) :])))
        if kind not in _NEEDED or len(body) not in _LENGTHS.get(kind, _ANY):
            continue
        animated = animated or kind == b"acTL"
        if kind in _OF_ANIMATIONS and not animated:
            continue
        whole = data[at : at + _FRAMING + int.from_bytes(data[at : at + 4], "big")]
        if zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big"):
            pixels = pixels or len(written) * (kind == b"IDAT")
            written += [whole] if kind != b"iCCP" else _profile(bytes(body), kept)
        elif kind in _PIXELS:
            raise ValueError("The pixels are damaged.")
    if not pixels:
        raise ValueError("There are no pixels.")
    exif, xmp = kept.exif(metadata.get(b"eXIf")), kept.xmp(metadata.get(b"iTXt"))
    told = [chunk(b"eXIf", exif)] if exif else []
    told += [chunk(b"iTXt", XMP + b"\0\0\0\0" + xmp)] if xmp else []
    return [*written[:pixels], *told, *written[pixels:], _END]


def _profile(body: bytes, kept: Kept) -> list[Buffer]:
    """Return a chunk that contains only the ICC profile."""
    try:
        profile = kept.profile(zlib.decompressobj().decompress(body.partition(b"\0")[2][1:], _LARGEST_PROFILE))
    except zlib.error:
        profile = None
    return [chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile, 9))] if profile else []
