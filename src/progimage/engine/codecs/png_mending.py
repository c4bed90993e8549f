"""The damage of a PNG that costs no pixel: chunks beside the picture, checksums, its end, and what is behind that.

Source: PNG, third edition (W3C, 2025), 5.3 (chunks), 10.1 (the checksum of the compressed pixels), 13.1 (errors).
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from progimage.engine.codecs.mending import Mended, after_end, joined, listed
from progimage.engine.codecs.png_chunks import SIGNATURE, chunk, chunks
from progimage.engine.files import InputFile

_FRAMING = 12
_PIXELS, _END = b"IDAT", b"IEND"
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT")
"""Beside the pixels: what can't be left out without changing the picture."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_XMP = b"XML:com.adobe.xmp\0"
_LONGEST = 1 << 20
"""How many bytes a text or a profile may have, unpacked; Pillow refuses a file with a larger one."""
_LONGEST_XMP = 16 << 20
_LONGEST_OF_ALL = 16 << 20
_AT_ONCE = 1 << 20


@dataclass(slots=True)
class _Found:
    """What is wrong with a file.

    Attributes:
        parts: What is right of it.
        unchecked: The names of the chunks with a wrong checksum that are left out.
        large: The names of those that are too large to be read.
        wrong: The names of those with a wrong checksum that the picture needs.
        pixels: The compressed pixels.
        ended: There is an end.
        after: How many bytes there are behind it.
    """

    parts: list[bytes | memoryview] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    large: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    pixels: list[memoryview] = field(default_factory=list)
    ended: bool = False
    after: int = 0


def mended(file: InputFile) -> Mended | None:
    """Return a file without the damage that costs no pixel, or None if there is none."""
    data, found, changed, texts = file.data, _Found(), False, 0
    if bytes(data[: len(SIGNATURE)]) != SIGNATURE:
        return None
    end = len(SIGNATURE)
    for at, kind, body in chunks(data):
        said = int.from_bytes(data[at : at + 4], "big")
        end = at + _FRAMING + said
        if kind == _PIXELS:
            found.pixels.append(body)
        if kind in _TEXTS:
            size = _text_size(kind, body, _LONGEST_OF_ALL - texts)
            texts += size
            if size > (_LONGEST_XMP if _is_xmp(kind, body) else _LONGEST) or texts > _LONGEST_OF_ALL:
                found.large.append(kind.decode("ascii"))
                changed = True
                continue
        if end <= len(data) and zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big"):
            found.parts.append(data[at:end])
        elif kind == _END:
            found.parts.append(chunk(_END, b""))
            changed = True
        elif kind == _PIXELS or kind in _NEEDED or kind[:1].isupper():
            found.wrong.append(kind.decode("ascii", "replace"))
            found.parts.append(chunk(kind, bytes(body)))
            changed = True
        else:
            found.unchecked.append(kind.decode("ascii", "replace"))
            changed = True
        if kind == _END:
            found.ended, found.after = True, max(0, len(data) - end)
            break
    else:
        if end < len(data) and len(data) - end >= _FRAMING:
            return None  # more chunks than are looked at
    if not changed and found.ended and not found.after:
        return None
    return _mended(file, found, changed=changed)


def _mended(file: InputFile, found: _Found, *, changed: bool) -> Mended:
    warnings, lost = [], ""
    if found.unchecked:
        warnings.append(f"Chunks of the PNG have a wrong checksum and are left out: {listed(found.unchecked)}.")
    if found.large:
        warnings.append(f"Chunks of the PNG are too large to be read: {listed(found.large)}.")
    if found.wrong and set(found.wrong) == {"IDAT"} and _whole(found.pixels):
        warnings.append("The pixels of the PNG have a wrong checksum, but by another one they are whole.")
    elif found.wrong and found.ended:
        lost = f"Chunks of the PNG have a wrong checksum: {listed(found.wrong)}."
    if not found.ended:
        warnings.append("The PNG has no end.")
        found.parts.append(chunk(_END, b""))
        changed = True
    if found.after:
        warnings.append(after_end(found.after))
    return Mended(joined([SIGNATURE, *found.parts]) if changed else file, tuple(warnings), lost)


def _is_xmp(kind: bytes, body: memoryview) -> bool:
    return kind == b"iTXt" and bytes(body[: len(_XMP)]) == _XMP


def _text_size(kind: bytes, body: memoryview, most: int) -> int:
    """Return how many bytes a text or a profile has, unpacked, or more than may be."""
    name = bytes(body[:80]).partition(b"\0")[0]
    if kind == b"iTXt":
        packed = bytes(body[len(name) + 1 : len(name) + 2]) == b"\1"
        start = len(name) + 3
        for _ in range(2):  # its language, and the keyword in that
            start += len(bytes(body[start : start + _LONGEST]).partition(b"\0")[0]) + 1
    else:
        packed, start = kind != b"tEXt", len(name) + 2
    if not packed:
        return len(body)
    try:
        return len(zlib.decompressobj().decompress(body[start:], max(1, min(most, _LONGEST_XMP) + 1)))
    except zlib.error:
        return len(body)  # whoever reads it finds nothing


def _whole(pixels: Iterable[memoryview]) -> bool:
    """Return whether compressed pixels are what their own checksum (Adler-32) says."""
    packed = zlib.decompressobj()
    try:
        for part in pixels:
            rest: bytes | memoryview = part
            while rest and not packed.eof:
                packed.decompress(rest, _AT_ONCE)
                rest = packed.unconsumed_tail
    except zlib.error:
        return False
    return packed.eof
