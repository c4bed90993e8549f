"""GIF's LZW (GIF89a specification, appendix F), by giflib.

imagecodecs has giflib write 8 bits for each index. Fewer, for palettes of fewer colours, are put there afterwards: the
same codes, with other numbers. That saves up to half of a small file.

This module needs imagecodecs: see `codecs.samples.require`.
"""

from itertools import pairwise
from typing import Any

import imagecodecs
import numpy

Array = numpy.ndarray[Any, Any]

_HEAD = 6 + 7 + 768
"""How long the header and the palette of what giflib writes are."""
_LONGEST, _CODES = 255, 4096
_CLEAR, _END = 256, 257
_GREYS = numpy.repeat(numpy.arange(256, dtype=numpy.uint8)[:, None], 3, axis=1)


def compressed(indices: Array, bits: int) -> bytes:
    """Return indices as the data of a frame: how many bits they have, and sub-blocks up to the empty one.

    Args:
        indices: Rows and columns of numbers below 2**bits.
        bits: 1 to 8.
    """
    bits = max(2, bits)
    data = _by_giflib(indices)
    if bits < 8:
        data = _renumbered(data, bits)
    blocks = (data[start : start + _LONGEST] for start in range(0, len(data), _LONGEST))
    return bytes([bits]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def _by_giflib(indices: Array) -> bytes:
    room = bytearray(_HEAD + 100 + 2 * indices.size)  # no code is longer than 12 bits, and stands for an index or more
    written = bytes(imagecodecs.gif_encode(numpy.ascontiguousarray(indices), colormap=_GREYS, out=room))
    at = written.index(b"\x2c", _HEAD) + 11
    parts = []
    while length := written[at]:
        parts.append(written[at + 1 : at + 1 + length])
        at += 1 + length
    return b"".join(parts)


def _renumbered(data: bytes, bits: int) -> bytes:
    """Return codes that are made for 8 bits as such for fewer."""
    codes, starts = _codes(data)
    moved = numpy.where(codes < _CLEAR, codes, codes - _CLEAR + (1 << bits))
    widths = numpy.concatenate([_widths(stop - start, bits) for start, stop in pairwise([*starts, len(codes)])])
    ends = numpy.cumsum(widths)
    places = numpy.arange(ends[-1]) - numpy.repeat(ends - widths, widths)
    return numpy.packbits(numpy.repeat(moved, widths) >> places & 1, bitorder="little").tobytes()


def _codes(data: bytes) -> tuple[Array, list[int]]:
    """Return the codes for 8 bits up to the last one, and which of them are the first after the table was cleared."""
    padded = numpy.frombuffer(data + bytes(3), numpy.uint8).astype(numpy.int32)
    found: list[Array] = []
    starts, at, most = [0], 0, 8 * len(data)
    widths = _widths(_CODES, 8)
    ends = numpy.cumsum(widths)
    while at < most:
        places = at + ends - widths
        places = places[places < most]
        byte, shift = places >> 3, places & 7
        window = padded[byte] | padded[byte + 1] << 8 | padded[byte + 2] << 16
        codes = window >> shift & (1 << widths[: len(places)]) - 1
        last = numpy.flatnonzero((codes == _CLEAR) | (codes == _END))[0] + 1
        found.append(codes[:last])
        if codes[last - 1] == _END:
            break
        at += int(ends[last - 1])
        starts.append(starts[-1] + int(last))
    return numpy.concatenate(found), starts


def _widths(count: int, bits: int) -> Array:
    """Return in how many bits each of the codes after a cleared table is written."""
    highest = (1 << bits) + 1 + numpy.arange(count)  # in the table when the code is read
    highest[:1] = 0
    return numpy.clip(numpy.ceil(numpy.log2(highest + 1)), bits + 1, 12).astype(numpy.int64)
