"""GIF's LZW (GIF89a specification, appendix F), by giflib.

imagecodecs has giflib write 8 bits for each index. Fewer, for palettes of fewer colours, are put there afterwards: the
same codes, with other numbers. That saves up to half of a small file.

giflib begins a new table as soon as one is full. What repeats itself is encoded here instead, where a full table is
kept for as long as that takes fewer bits. It takes about 0.15 s a megapixel; drawings get up to a quarter smaller.

This module needs imagecodecs: see `engine.libraries`.
"""

from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy

Array = numpy.ndarray[Any, Any]

_HEAD = 6 + 7 + 768
"""How long the header and the palette of what giflib writes are."""
_LONGEST, _CODES, _CODE = 255, 4096, 12
"""How long a sub-block is at most, how many codes a full table has, and of how many bits each of those is then."""
_CLEAR, _END = 256, 257
_FULL = 4096
"""Data of fewer bytes have hardly filled a table."""
_REPETITIVE = 3
"""Below so many bits for each pixel, what is in a full table is worth keeping."""
_MOST = 4_000_000
"""Pixels of which the encoding here takes 0.5 s."""
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
    if len(data) > _FULL and 8 * len(data) < _REPETITIVE * indices.size and indices.size <= _MOST:
        data = min(data, _written(_runs(indices.tobytes(), bits), bits), key=len)
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
    return _written(numpy.split(moved, starts[1:]), bits)


def _written(runs: Sequence[Sequence[int] | Array], bits: int) -> bytes:
    """Return the bytes of codes, of which each run ends where the table is cleared."""
    codes = numpy.concatenate([numpy.asarray(run, numpy.int64) for run in runs])
    widths = numpy.concatenate([_widths(len(run), bits) for run in runs])
    ends = numpy.cumsum(widths)
    places = numpy.arange(ends[-1]) - numpy.repeat(ends - widths, widths)
    return numpy.packbits(numpy.repeat(codes, widths) >> places & 1, bitorder="little").tobytes()


def _runs(indices: bytes, bits: int) -> list[list[int]]:
    """Return the codes for indices, of which each run ends where the table is cleared.

    What comes after a table is full is encoded with both, that and a new one, until the new one is full, too. The one
    that takes fewer bits is kept, and so on.
    """
    clear = 1 << bits
    runs: list[list[int]] = [[clear]]
    codes, table, string, at = _with_new_table(indices, 0, bits)
    runs.append(codes)
    while at < len(indices):
        # What is not written yet goes to the new table if that knows it.
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
    """Encode with a new table until it is full, or until all is encoded.

    Args:
        indices: All indices.
        start: Where to begin.
        bits: Of each index.

    Returns:
        The codes, the table, the code of what is not written yet, and where the next begins.
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
    """Encode with a table that stays as it is; see `_with_new_table`."""
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
