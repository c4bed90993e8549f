"""WebP: the chunks that are needed to decode it, and the colour profile (RFC 9649)."""

from collections.abc import Iterator

from progimage.engine.metadata import EXIF, Buffer, Kept

_PIXELS = (b"VP8 ", b"VP8L", b"ALPH")
_HAS_XMP, _HAS_EXIF, _HAS_ICC = 0x04, 0x08, 0x20
_FRAME_HEADER = 16


def stripped_webp(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a WebP without its metadata.

    Args:
        data: The file.
        kept: The metadata to keep.

    Raises:
        ValueError: The data is invalid or truncated.
    """
    found = list(_chunks(data[12 : 8 + int.from_bytes(data[4:8], "little")]))
    header = next((bytes(body) for kind, body in found if kind == b"VP8X"), b"")
    written: list[Buffer] = []
    metadata: dict[bytes, bytes] = {}
    profile: bytes | None = None
    for kind, body in found:
        if kind == b"ICCP":
            profile = profile or kept.profile(bytes(body))
        elif kind in _PIXELS or kind == b"ANIM":
            written += _chunk(kind, [body])
        elif kind == b"ANMF":
            inside = [part for name, picture in _chunks(body[_FRAME_HEADER:]) if name in _PIXELS
                      for part in _chunk(name, [picture])]  # fmt: skip
            written += _chunk(kind, [body[:_FRAME_HEADER], *inside])
        elif kind in (b"EXIF", b"XMP "):
            metadata.setdefault(kind, bytes(body))
    if not any(bytes(part[:4]) in (*_PIXELS, b"ANMF") for part in written):
        raise ValueError("There are no pixels.")
    if len(header) >= 10:  # without it there can't be metadata
        exif, xmp = kept.exif(metadata.get(b"EXIF", b"").removeprefix(EXIF)), kept.xmp(metadata.get(b"XMP "))
        flags = header[0] & ~(_HAS_XMP | _HAS_EXIF | _HAS_ICC)
        flags |= _HAS_ICC * bool(profile) | _HAS_EXIF * bool(exif) | _HAS_XMP * bool(xmp)
        told = _chunk(b"ICCP", [profile]) if profile else []
        written = [*_chunk(b"VP8X", [bytes([flags]) + header[1:10]]), *told, *written]
        written += [part for kind, body in ((b"EXIF", exif), (b"XMP ", xmp)) if body for part in _chunk(kind, [body])]
    return [b"RIFF", (sum(map(len, written)) + 4).to_bytes(4, "little"), b"WEBP", *written]


def _chunk(kind: bytes, body: list[Buffer]) -> list[Buffer]:
    length = sum(map(len, body))
    return [kind + length.to_bytes(4, "little"), *body, b"\0" * (length % 2)]


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            raise ValueError("A chunk is truncated.")
        yield bytes(data[at : at + 4]), data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
