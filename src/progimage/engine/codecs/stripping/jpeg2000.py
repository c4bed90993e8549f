"""JPEG 2000: the boxes and marker segments that are needed to decode it (ISO/IEC 15444-1, annexes A and I)."""

from progimage.engine.codecs.boxes import box, boxes
from progimage.engine.codecs.jp2_header import CODESTREAM
from progimage.engine.metadata import Buffer, Kept

_IN_HEADER = (b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef")
_METHODS = (b"\1", b"\2", b"\3", b"\5")
_NEEDED_MARKERS = frozenset((*range(0xFF50, 0xFF58), 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF61))
"""Markers that a decoder needs: sizes, capabilities, coding, quantisation, orders, lengths, and packed headers."""
_COMMENT, _TILE, _DATA, _END = 0xFF64, 0xFF90, 0xFF93, 0xFFD9
_SHORTEST_TILE = 14


def stripped_jpeg2000(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a JPEG 2000 file, or a bare codestream, without its metadata.

    Args:
        data: The file.
        kept: The metadata to keep; the colour profile is always kept.

    Raises:
        ValueError: The file is malformed, or has no codestream.
    """
    if bytes(data[: len(CODESTREAM)]) == CODESTREAM:
        return _codestream(data)
    written: list[Buffer] = []
    for kind, body in boxes(bytes(data)):
        if kind == b"jP  ":
            written.append(box(kind, body[:4]))
        elif kind == b"ftyp":
            written.append(box(kind, body[:4], bytes(4), body[:4], b"jp2 "))
        elif kind == b"jp2h":
            inside = [box(name, content) for name, content in boxes(body) if _is_needed(name, content)]
            written.append(box(kind, *inside))
        elif kind == b"jp2c":
            return [*written, box(kind, *_codestream(memoryview(body)))]
    raise ValueError("There is no codestream.")


def _is_needed(kind: bytes, content: bytes) -> bool:
    """Return whether a box of the header is needed; colour boxes are if their method is known (annex I.5.3.3)."""
    if kind == b"cdef":
        return len(content) == 2 + 6 * int.from_bytes(content[:2], "big")
    return kind in _IN_HEADER and (kind != b"colr" or content[:1] in _METHODS)


def _codestream(data: memoryview) -> list[Buffer]:
    """Return a codestream up to its end, without the comments in its header."""
    at, written = 2, [data[:2]]
    while (marker := _marker(data, at)) != _TILE:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _NEEDED_MARKERS:
            written.append(data[at:end])
        at = end
    start = at
    while _marker(data, at) == _TILE:
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        if length < _SHORTEST_TILE or _has_comment(data, at):
            raise ValueError("A tile-part has no length, or a comment.")
        at += length
    if _marker(data, at) != _END:
        raise ValueError("The codestream has no end.")
    return [*written, data[start : at + 2]]


def _marker(data: memoryview, at: int) -> int:
    marker = int.from_bytes(data[at : at + 2], "big")
    if marker >> 8 != 0xFF:
        raise ValueError("The codestream is invalid or truncated.")
    return marker


def _has_comment(data: memoryview, at: int) -> bool:
    """Return whether the header of a tile-part has a comment."""
    while (marker := _marker(data, at)) != _DATA:
        if marker == _COMMENT:
            return True
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False
