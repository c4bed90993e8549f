"""Boxes of ISO base media files (HEIC, AVIF, JXL, JP2): reads them, and puts further ones in."""

import struct
from collections.abc import Iterator, Sequence


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the kind and the content of each box."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        start = at + 8
        if size == 1:
            (size,) = struct.unpack(">Q", data[start : start + 8])
            start += 8
        end = at + size if size else len(data)
        yield kind, data[start:end]
        at = end


def irot(quarters: int) -> bytes:
    """A rotation, anticlockwise."""
    return box(b"irot", bytes([quarters]))


def imir(axis: int) -> bytes:
    """A mirroring: 0 top to bottom, 1 left to right."""
    return box(b"imir", bytes([axis]))


def clap(size: tuple[int, int], crop: tuple[int, int, int, int]) -> bytes:
    """A clean aperture, of the size of the stored picture, and x, y, width and height of what is left of it."""
    (width, height), (x, y, wide, high) = size, crop
    across, down = 2 * x + wide - width, 2 * y + high - height  # twice how far the centre moves
    return box(b"clap", struct.pack(">IIIIiIiI", wide, 1, high, 1, across, 2, down, 2))


ORIENTED: dict[int, list[bytes]] = {
    1: [], 2: [imir(1)], 3: [irot(2)], 4: [imir(0)], 5: [irot(1), imir(0)], 6: [irot(3)], 7: [irot(3), imir(0)],
    8: [irot(1)],
}  # fmt: skip
"""For each EXIF orientation the properties of the same meaning; they are applied in this order."""


def with_properties(data: bytes, properties: Sequence[bytes]) -> bytes:
    """Give the primary picture of a HEIC or AVIF further properties, which change how it is shown."""
    parts = list(boxes(data))
    before = dict(parts)[b"meta"]
    (primary,) = struct.unpack(">H", dict(boxes(before[4:]))[b"pitm"][4:6])
    changed = _meta(before, primary, properties, 0)
    changed = _meta(before, primary, properties, len(changed) - len(before))
    return b"".join(box(kind, changed if kind == b"meta" else content) for kind, content in parts)


def _meta(meta: bytes, primary: int, properties: Sequence[bytes], moved: int) -> bytes:
    children = []
    for kind, content in boxes(meta[4:]):
        if kind == b"iprp":
            children.append(box(b"iprp", _iprp(content, primary, properties)))
        elif kind == b"iloc":
            children.append(box(b"iloc", _iloc(content, moved)))
        else:
            children.append(box(kind, content))
    return meta[:4] + b"".join(children)


def _iprp(iprp: bytes, primary: int, properties: Sequence[bytes]) -> bytes:
    parts = dict(boxes(iprp))
    ipco, ipma = parts[b"ipco"], parts[b"ipma"]
    first = len(list(boxes(ipco))) + 1
    version, flags = ipma[0], ipma[3]
    (count,) = struct.unpack(">I", ipma[4:8])
    at, entries = 8, b""
    for _ in range(count):
        wide = 4 if version else 2
        item = int.from_bytes(ipma[at : at + wide], "big")
        of_item, at = ipma[at + wide], at + wide + 1
        length = of_item * (2 if flags & 1 else 1)
        held, at = ipma[at : at + length], at + length
        if item == primary:
            numbers = range(first, first + len(properties))
            held += b"".join(struct.pack(">H", 0x8000 | n) if flags & 1 else bytes([0x80 | n]) for n in numbers)
            of_item += len(properties)
        entries += item.to_bytes(wide, "big") + bytes([of_item]) + held
    return box(b"ipco", ipco, *properties) + box(b"ipma", ipma[:8], entries)


def _iloc(iloc: bytes, moved: int) -> bytes:
    """Move the extents that are counted from the start of the file."""
    version = iloc[0]
    offset_size, length_size, base_size, index_size = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15
    wide = 4 if version == 2 else 2
    result, at = bytearray(iloc), 6 + wide
    for _ in range(int.from_bytes(iloc[6 : 6 + wide], "big")):
        at += wide
        method = 0
        if version:
            method, at = iloc[at + 1] & 15, at + 2
        at += 2
        base, has_base = at, base_size > 0
        at += base_size
        extents = int.from_bytes(iloc[at : at + 2], "big")
        at += 2
        if method == 0 and has_base:
            _add(result, base, base_size, moved)
        for _ in range(extents):
            at += index_size if version else 0
            if method == 0 and not has_base:
                _add(result, at, offset_size, moved)
            at += offset_size + length_size
    return bytes(result)


def _add(data: bytearray, at: int, size: int, moved: int) -> None:
    data[at : at + size] = (int.from_bytes(data[at : at + size], "big") + moved).to_bytes(size, "big")


def jxl_with_exif(codestream: bytes, exif: bytes) -> bytes:
    """A JPEG XL container of a codestream and an EXIF box."""
    signature = box(b"JXL ", b"\r\n\x87\n")
    kind = box(b"ftyp", b"jxl ", bytes(4), b"jxl ")
    return signature + kind + box(b"Exif", bytes(4), exif) + box(b"jxlc", codestream)


def jp2_with_profile(data: bytes, profile: bytes) -> bytes:
    """A JP2 whose colour is told by an ICC profile."""
    result = b""
    for kind, content in boxes(data):
        if kind == b"jp2h":
            inner = [(name, body) for name, body in boxes(content) if name != b"colr"]
            inner.append((b"colr", b"\2\0\0" + profile))
            content = b"".join(box(name, body) for name, body in inner)
        result += box(kind, content)
    return result
