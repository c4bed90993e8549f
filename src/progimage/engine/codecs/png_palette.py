"""Writing PNG with a palette: tries several orders of the colours and filters of the rows.

Most images are smallest with colours ordered by popularity and unfiltered rows; some need only half as many bytes
with another order, filter or depth. The best way is chosen by rows in the middle; then libdeflate compresses all rows.

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
"""libdeflate's levels to try for each effort: drawings need 9 or 12, photographs 10 or more."""
_BEST = (12,)
_THOROUGH = 1 << 18
"""Maximum bytes of rows that are always compressed at the best level from the default effort on, in at most 0.1 s."""
_EXHAUSTIVE = 1 << 22
"""The same for the highest effort, over all ways that are tried."""
_LARGE, _QUICK = 1 << 21, 6
"""Bytes of rows from which higher levels are used only on request, since they would take seconds."""
_FINALISTS = 4
"""Maximum number of ways that are compressed completely."""
_LOOKED_AT = 1 << 15
"""Number of bytes of rows that the ways are compared with."""
_ESTIMATE = 9
"""Level for that comparison, unless the level to use is lower."""
_FILTERS = (0, 1, 4)
"""PNG filters: subtract nothing, the byte to the left, or the Paeth predictor."""
_AT_ONCE = 1 << 17
"""Number of pixels that are processed at once, which limits the memory."""
_PALETTE = 3
"""Colour type of palette indices."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to write the pixels.

    Attributes:
        order: Order of the palette's colours.
        bits: Bits per index: 1, 2, 4 or 8.
        filter: One of `_FILTERS`.
    """

    order: Array
    bits: int
    filter: int

    def rows(self, indices: Array) -> bytes:
        """Return the rows to compress."""
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
    """Write a still image.

    Args:
        frame: Grey or RGB, with or without alpha.
        write: Receives the bytes of the file in order.
        colours: Maximum number of colours in the palette, including transparent.
        effort: 1 to 9; None means the default.
        metadata: Metadata to write, by Pillow's names.
    """
    samples = samples_of(frame.pixels)
    palette = palette_for([samples], colours)
    indices = palette.indices(samples)
    del samples  # which need four times as much memory
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
    """Yield the chunks of metadata."""
    if profile := metadata.get("icc_profile"):
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile, 9)
    if exif := metadata.get("exif"):
        yield b"eXIf", exif.removeprefix(b"Exif\0\0")
    if xmp := metadata.get("xmp"):
        yield b"iTXt", XMP + b"\0\0\0\0" + xmp


def _smallest(indices: Array, orders: list[Array], effort: int) -> tuple[Array, int, bytes]:
    """Return the order of colours, the bits per index, and the compressed rows of the smallest way."""
    bits = next(bits for bits in (1, 2, 4, 8) if len(orders[0]) <= 1 << bits)
    size = indices.size * bits // 8 + 1
    maximum = _EXHAUSTIVE if effort == len(_LEVELS) else _THOROUGH if effort >= _USUAL_EFFORT else 0
    levels = _BEST if size <= maximum else _LEVELS[effort - 1]
    if size > _LARGE and effort <= _USUAL_EFFORT:
        levels = (min(levels[0], _QUICK),)
    estimate = (min(levels[0], _ESTIMATE),)
    ways = [_Way(*way) for way in product(orders, sorted({bits, 8}), _FILTERS)]
    rows = max(1, min(len(indices), 8 * _LOOKED_AT // (bits * indices.shape[1])))
    sample = indices[(len(indices) - rows) // 2 :][:rows]
    ways.sort(key=lambda way: len(_deflated(way.rows(sample), estimate)))
    found = ((way, _deflated(way.rows(indices), levels)) for way in ways[: max(1, min(_FINALISTS, maximum // size))])
    best, data = min(found, key=lambda pair: len(pair[1]))
    return best.order, best.bits, data


def _orders(indices: Array, opaque: Array) -> list[Array]:
    """Return orders of the used colours: by popularity, by first occurrence, and by value.

    Colours that aren't opaque always come first, since only they need an alpha.
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
    """Pack indices into bytes, several per byte if they have fewer bits; the first is in the highest bits."""
    if bits == 8:
        return indices
    each = 8 // bits
    parts = numpy.pad(indices, ((0, 0), (0, -indices.shape[1] % each))).reshape(len(indices), -1, each)
    shifts = numpy.arange(8 - bits, -1, -bits, dtype=numpy.uint8)
    packed: Array = numpy.bitwise_or.reduce(parts << shifts, axis=2)
    return packed


def _filtered(rows: Array, before: Array, filter: int) -> Array:
    """Return filtered bytes (section 9.2).

    Args:
        rows: The rows.
        before: The row above them.
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
