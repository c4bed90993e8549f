"""GIF's LZW compression (GIF89a specification, appendix F), with giflib.

imagecodecs makes giflib write 8 bits per index. For smaller palettes, the bits are reduced afterwards: the
same codes are renumbered. This saves up to half of a small file.

giflib starts a new table as soon as one is full. Repetitive data is encoded by our own code instead, which keeps a full
table as long as that needs fewer bits. It takes about 0.15 s per megapixel; drawings get up to a quarter smaller.

This module needs imagecodecs: see `engine.libraries`.
"""

from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy

Array = numpy.ndarray[Any, Any]

_HEAD = 6 + 7 + 768
"""Length of the header and the palette that giflib writes."""
_LONGEST, _CODES, _CODE = 255, 4096, 12
"""Maximum length of a sub-block, number of codes in a full table, and bits per code of a full table."""
_CLEAR, _END = 256, 257
_FULL = 4096
"""Number of bytes below which data has hardly filled a table."""
_REPETITIVE = 3
"""Bits per pixel below which a full table is worth keeping."""
_MAXIMUM = 4_000_000
"""Maximum number of pixels for our own encoder, which takes 0.5 s for them."""
_GREYS = numpy.repeat(numpy.arange(256, dtype=numpy.uint8)[:, None], 3, axis=1)


def compressed(indices: Array, bits: int) -> bytes:
    """Return indices as the data of a frame: the number of bits, and sub-blocks up to the empty one.

    Args:
        indices: Rows and columns of indices below 2**bits.
        bits: Bits per index, 1 to 8.
    """
    bits = max(2, bits)
    data = _by_giflib(indices)
    if bits < 8:
        data = _renumbered(data, bits)
    if len(data) > _FULL and 8 * len(data) < _REPETITIVE * indices.size and indices.size <= _MAXIMUM:
        data = min(data, _written(_runs(indices.tobytes(), bits), bits), key=len)
    blocks = (data[start : start + _LONGEST] for start in range(0, len(data), _LONGEST))
    return bytes([bits]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def _by_giflib(indices: Array) -> bytes:
    room = bytearray(_HEAD + 100 + 2 * indices.size)  # a code has at most 12 bits and stands for at least one index
    written = bytes(imagecodecs.gif_encode(numpy.ascontiguousarray(indices), colormap=_GREYS, out=room))
    at = written.index(b"\x2c", _HEAD) + 11
    parts = []
    while length := written[at]:
        parts.append(written[at + 1 : at + 1 + length])
        at += 1 + length
    return b"".join(parts)


def _renumbered(data: bytes, bits: int) -> bytes:
    """Convert codes for 8 bits to codes for fewer bits."""
    codes, starts = _codes(data)
    moved = numpy.where(codes < _CLEAR, codes, codes - _CLEAR + (1 << bits))
    return _written(numpy.split(moved, starts[1:]), bits)


def _written(runs: Sequence[Sequence[int] | Array], bits: int) -> bytes:
    """Return the bytes of codes. Each run ends where the table is cleared."""
    codes = numpy.concatenate([numpy.asarray(run, numpy.int64) for run in runs])
    widths = numpy.concatenate([_widths(len(run), bits) for run in runs])
    ends = numpy.cumsum(widths)
    places = numpy.arange(ends[-1]) - numpy.repeat(ends - widths, widths)
    return numpy.packbits(numpy.repeat(codes, widths) >> places & 1, bitorder="little").tobytes()


def _runs(indices: bytes, bits: int) -> list[list[int]]:
    """Return the codes for indices. Each run ends where the table is cleared.

    After a table is full, data is encoded both with the full table and with a new one until that is full as well. The
    one that needs fewer bits is kept, and so on.
    """
    clear = 1 << bits
    runs: list[list[int]] = [[clear]]
    codes, table, string, at = _with_new_table(indices, 0, bits)
    runs.append(codes)
    while at < len(indices):
        # The pending string is continued with the new table if that contains it.
        last, start = ([], at - 1) if string < clear else ([string], at)
        new_codes, new_table, new_string, end = _with_new_table(indices, start, bits)
        old_codes, old_string = _with_full_table(table, indices[at:end], string)
        if _CODE * len(old_codes) <= _CODE * (len(last) + 1) + _widths(len(new_codes), bits).sum():
            runs[-1] += old_codes
            string = old_string
        else:
            runs[-1] += [*last, clear]
            runs.append(new_codes)
            table, string = new_table, new_string
        at = end
    runs[-1] += [string, clear + 1]
    return runs


def _with_new_table(indices: bytes, start: int, bits: int) -> tuple[list[int], dict[int, int], int, int]:
    """Encode with a new table until it is full, or until everything is encoded.

    Args:
        indices: All indices.
        start: Position to start at.
        bits: Bits per index.

    Returns:
        The codes, the table, the code of the pending string, and the next position.
    """
    codes: list[int] = []
    table: dict[int, int] = {}
    string, code = indices[start], (1 << bits) + 2
    for place in range(start + 1, len(indices)):
        longer = string << 8 | indices[place]
        if longer in table:
            string = table[longer]
            continue
        codes.append(string)
        table[longer] = code
        code += 1
        string = indices[place]
        if code == _CODES:
            return codes, table, string, place + 1
    return codes, table, string, len(indices)


def _with_full_table(table: dict[int, int], indices: bytes, string: int) -> tuple[list[int], int]:
    """Encode with a table that isn't changed; see `_with_new_table`."""
    codes = []
    for index in indices:
        longer = string << 8 | index
        if longer in table:
            string = table[longer]
        else:
            codes.append(string)
            string = index
    return codes, string


def _codes(data: bytes) -> tuple[Array, list[int]]:
    """Return the codes for 8 bits, and the positions of those that come first after a clear code."""
    padded = numpy.frombuffer(data + bytes(3), numpy.uint8).astype(numpy.int32)
    found: list[Array] = []
    starts, at, maximum = [0], 0, 8 * len(data)
    widths = _widths(_CODES, 8)
    ends = numpy.cumsum(widths)
    while at < maximum:
        places = at + ends - widths
        places = places[places < maximum]
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
    """Return the width in bits of each code after the table was cleared."""
    highest = (1 << bits) + 1 + numpy.arange(count)  # in the table when the code is read
    highest[:1] = 0
    return numpy.clip(numpy.ceil(numpy.log2(highest + 1)), bits + 1, 12).astype(numpy.int64)
