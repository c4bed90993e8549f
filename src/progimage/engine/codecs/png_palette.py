"""Writing PNG with a palette: what its colours are numbered by, and how its rows are filtered, is tried out.

Most pictures are smallest with colours numbered by popularity and rows that are not filtered; some take half as much
with another order, filter or depth. The rows in the middle tell which, and libdeflate compresses all in the best way.

Source: PNG, third edition (W3C, 2025), 7.2 (how bits are packed), 9 (filters), 11.2 and 11.3 (chunks).

This module needs numpy and imagecodecs: see `engine.libraries`.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import imagecodecs
import numpy

from progimage.engine.codecs.png_chunks import SIGNATURE, XMP, chunk
from progimage.engine.frame import Frame
from progimage.engine.quantizer import Array, palette_for, samples_of

_USUAL_EFFORT = 6
_LEVELS = ((1,), (4,), (5,), (6,), (9,), (9, 10), (9, 11), (12,), (12,))
"""libdeflate's levels to choose from for each effort: drawings need 9 or 12, photographs 10 or more."""
_BEST = (12,)
_THOROUGH = 1 << 18
"""So many bytes of rows are compressed at the best level in any case, from the usual effort on: in 0.1 s at most."""
_EXHAUSTIVE = 1 << 22
"""So many are, over all ways that are tried, with the highest effort."""
_LARGE, _QUICK = 1 << 21, 6
"""Beyond so many bytes of rows, no higher level is taken unless it is asked for: it would take seconds."""
_FINALISTS = 4
"""How many of the ways are compressed in full, at most."""
_LOOKED_AT = 1 << 15
"""How many bytes of rows tell which way is best."""
_ESTIMATE = 9
"""The level by which that is told, or the one that is used if that is lower."""
_FILTERS = (0, 1, 4)
"""What is taken from each byte: nothing, what is left of it, or what Paeth expects."""
_AT_ONCE = 1 << 17
"""How many pixels are worked on at once, which bounds the memory."""
_PALETTE = 3
"""The kind of colours that consists of numbers in a palette."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the ways to write the same pixels.

    Attributes:
        order: Which colour of the palette comes first, and so on.
        bits: How many each number takes: 1, 2, 4 or 8.
        filter: One of `_FILTERS`.
    """

    order: Array
    bits: int
    filter: int

    def rows(self, indices: Array) -> bytes:
        """Return the rows to be compressed."""
        height, width = indices.shape
        ranks = numpy.zeros(256, numpy.uint8)
        ranks[self.order] = numpy.arange(len(self.order))
        found = numpy.empty((height, 1 + (width * self.bits + 7) // 8), numpy.uint8)
        found[:, 0] = self.filter
        above = numpy.zeros((1, found.shape[1] - 1), numpy.uint8)
        strip = max(1, _AT_ONCE // width)
        for top in range(0, height, strip):
            packed = _packed(ranks[indices[top : top + strip]], self.bits)
            found[top : top + strip, 1:] = _filtered(packed, above, self.filter)
            above = packed[-1:]
        return found.tobytes()


def write_png_with_palette(
    frame: Frame, write: Callable[[bytes], object], colours: int, effort: int | None, metadata: Mapping[str, bytes]
) -> None:
    """Write a still.

    Args:
        frame: Grey or RGB, with or without alpha.
        write: Takes the bytes of the file, in order.
        colours: How many the palette may have, transparent being one of them.
        effort: 1 to 9; None: the usual one.
        metadata: What goes with it, named as Pillow does.
    """
    samples = samples_of(frame.pixels)
    palette = palette_for([samples], colours)
    indices = palette.indices(samples)
    del samples  # which take four times as much
    orders = _orders(indices, palette.table[:, 3] == 255)
    order, bits, data = _smallest(indices, orders, effort or _USUAL_EFFORT)
    table = palette.table[order]
    alphas = table[:, 3].tobytes().rstrip(b"\xff")
    height, width = indices.shape
    write(SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _PALETTE, 0, 0, 0)))
    for name, body in _told(metadata):
        write(chunk(name, body))
    write(chunk(b"PLTE", table[:, :3].tobytes()))
    if alphas:
        write(chunk(b"tRNS", alphas))
    write(chunk(b"IDAT", data) + chunk(b"IEND", b""))


def _told(metadata: Mapping[str, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Return the chunks of metadata."""
    if profile := metadata.get("icc_profile"):
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile, 9)
    if exif := metadata.get("exif"):
        yield b"eXIf", exif.removeprefix(b"Exif\0\0")
    if xmp := metadata.get("xmp"):
        yield b"iTXt", XMP + b"\0\0\0\0" + xmp


def _smallest(indices: Array, orders: list[Array], effort: int) -> tuple[Array, int, bytes]:
    """Return one of some orders of the colours, the bits of each number, and the compressed rows."""
    bits = next(bits for bits in (1, 2, 4, 8) if len(orders[0]) <= 1 << bits)
    size = indices.size * bits // 8 + 1
    most = _EXHAUSTIVE if effort == len(_LEVELS) else _THOROUGH if effort >= _USUAL_EFFORT else 0
    levels = _BEST if size <= most else _LEVELS[effort - 1]
    if size > _LARGE and effort <= _USUAL_EFFORT:
        levels = (min(levels[0], _QUICK),)
    estimate = (min(levels[0], _ESTIMATE),)
    ways = [_Way(*way) for way in product(orders, sorted({bits, 8}), _FILTERS)]
    rows = max(1, min(len(indices), 8 * _LOOKED_AT // (bits * indices.shape[1])))
    sample = indices[(len(indices) - rows) // 2 :][:rows]
    ways.sort(key=lambda way: len(_deflated(way.rows(sample), estimate)))
    found = ((way, _deflated(way.rows(indices), levels)) for way in ways[: max(1, min(_FINALISTS, most // size))])
    best, data = min(found, key=lambda pair: len(pair[1]))
    return best.order, best.bits, data


def _orders(indices: Array, opaque: Array) -> list[Array]:
    """Return orders of the colours that some pixel has, by popularity, by where they are met first, and by value.

    In each, those that are not opaque come first: only they need an alpha.
    """
    counts, first = numpy.zeros((2, len(opaque)), numpy.int64)
    flat = indices.reshape(-1)
    for start in range(0, len(flat), _AT_ONCE):
        numbers, places, found = numpy.unique(flat[start : start + _AT_ONCE], return_index=True, return_counts=True)
        new = counts[numbers] == 0
        first[numbers[new]] = start + places[new]
        counts[numbers] += found
    used = numpy.flatnonzero(counts)
    return [used[numpy.lexsort((rank[used], opaque[used]))] for rank in (-counts, first, numpy.arange(len(counts)))]


def _packed(indices: Array, bits: int) -> Array:
    """Return numbers as bytes, several in each if they have fewer bits; the first is on top."""
    if bits == 8:
        return indices
    each = 8 // bits
    parts = numpy.pad(indices, ((0, 0), (0, -indices.shape[1] % each))).reshape(len(indices), -1, each)
    shifts = numpy.arange(8 - bits, -1, -bits, dtype=numpy.uint8)
    packed: Array = numpy.bitwise_or.reduce(parts << shifts, axis=2)
    return packed


def _filtered(rows: Array, before: Array, filter: int) -> Array:
    """Return bytes less what the filter expects there (section 9.2).

    Args:
        rows: The rows.
        before: The one above them.
        filter: One of `_FILTERS`.
    """
    if not filter:
        return rows
    left = numpy.pad(rows, ((0, 0), (1, 0)))[:, :-1]
    if filter == 1:
        expected = left
    else:
        above = numpy.concatenate([before, rows[:-1]])
        corner = numpy.pad(above, ((0, 0), (1, 0)))[:, :-1]
        a, b, c = (part.astype(numpy.int16) for part in (left, above, corner))
        far_a, far_b, far_c = abs(b - c), abs(a - c), abs(a + b - 2 * c)
        by_distance = numpy.where(far_b <= far_c, above, corner)
        expected = numpy.where((far_a <= far_b) & (far_a <= far_c), left, by_distance)
    filtered: Array = rows - expected
    return filtered


def _deflated(data: bytes, levels: tuple[int, ...]) -> bytes:
    return min((bytes(imagecodecs.deflate_encode(data, level)) for level in levels), key=len)
