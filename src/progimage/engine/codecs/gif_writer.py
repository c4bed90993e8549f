"""Writing GIF: stores the changes from frame to frame, with palettes shared by as many frames as possible.

A frame is the smallest rectangle that contains all changes, and is transparent where nothing changes. Images with
few enough colours are stored exactly, with a palette for each frame if necessary. All others share a
palette; there, pixels that hardly change keep their colour.

This module needs numpy: see `engine.libraries`.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy

from progimage.engine.codecs.lzw import compressed
from progimage.engine.frame import Frame
from progimage.engine.quantizer import (
    CLEAR,
    Array,
    Palette,
    colours_in,
    exact_palette,
    fitted_palette,
    packed,
    palette_for,
    samples_of,
)

_AHEAD = 8_000_000
"""Number of pixels in consecutive frames that share a palette; for most animations, that includes all frames."""
_UNSEEN = 5
"""Maximum invisible difference of a sample, of 255, if there are more colours than a palette can hold."""
_ALIKE = 0.7
"""Mean error up to which a palette looks exact; with a smaller error, fewer colours can suffice."""
_SCREEN, _IMAGE = struct.Struct("<6sHHBBB"), struct.Struct("<BHHHHB")
_LOOP, _CONTROL = struct.Struct("<BBB11sBBHB"), struct.Struct("<BBBBHBB")
_EXTENSION, _SEPARATOR, _TRAILER = 0x21, 0x2C, b"\x3b"
_TABLE = 0x80
"""Flag for a following palette; it is added to the logarithm of the palette's size minus 1."""
_KEPT, _CLEARED = 1, 2
"""Disposal methods: what happens to a frame before the next one is drawn."""
_LONGEST = 65_535

Write = Callable[[bytes], object]


def write_gif_still(frame: Frame, write: Write, colours: int) -> None:
    """Write a still image.

    Args:
        frame: Grey or RGB, with or without alpha.
        write: Receives the bytes of the file in order.
        colours: Maximum number of colours in the palette, including transparent.
    """
    samples = samples_of(frame.pixels, cut_out=True)
    palette = palette_for([samples], colours)
    height, width = samples.shape[:2]
    write(_screen(width, height, palette))
    if palette.has_clear:
        write(_control(_KEPT, 0, palette))
    write(_IMAGE.pack(_SEPARATOR, 0, 0, width, height, 0))
    write(compressed(palette.indices(samples), _bits(palette)) + _TRAILER)


def write_gif_animation(
    first: Frame, rest: Iterator[Frame], write: Write, colours: int, *, plays: int, exact: bool
) -> None:
    """Write an animation.

    Args:
        first: The first frame: grey or RGB, with or without alpha.
        rest: The remaining frames, of the same size, rendered lazily.
        write: Receives the bytes of the file in order.
        colours: Maximum number of colours in a palette, including transparent.
        plays: How often it is played; 0 means endlessly.
        exact: Whether each frame that its own palette can show exactly gets one. Otherwise frames share a palette if
            that makes no visible difference, which needs fewer bytes.
    """
    animation = _Animation(first.pixels.width, first.pixels.height, write, colours, plays, exact)
    pictures = _with_palettes(chain([first], rest), colours)
    for picture, following in pairwise(chain(pictures, [None])):
        if picture:
            animation.add(picture, following)
    write(_TRAILER)


@dataclass(slots=True)
class _Picture:
    """A complete frame as it will be displayed.

    Attributes:
        samples: Red, green, blue, and alpha, which is 0 or 255.
        duration: Duration in milliseconds.
        palette: The palette that it shares with other frames.
    """

    samples: Array
    duration: int
    palette: Palette

    @property
    def opaque(self) -> Array:
        """Mask of the pixels that aren't transparent."""
        opaque: Array = self.samples[:, :, 3] > 0
        return opaque


def _with_palettes(frames: Iterator[Frame], colours: int) -> Iterator[_Picture]:
    """Yield frames with palettes, each shared by many frames, or by only one if it is large."""
    ahead: list[tuple[Array, int]] = []
    for frame in frames:
        samples = samples_of(frame.pixels, cut_out=True)
        if ahead and (len(ahead) + 1) * samples.size > 4 * _AHEAD:
            yield from _sharing(ahead, colours)
            ahead.clear()
        ahead.append((samples, frame.duration))
    yield from _sharing(ahead, colours)


def _sharing(ahead: list[tuple[Array, int]], colours: int) -> Iterator[_Picture]:
    pictures = [samples for samples, _ in ahead]
    palette = _exact(pictures, colours) or fitted_palette(pictures, colours, clear=True, enough=_ALIKE)
    for samples, duration in ahead:
        yield _Picture(samples, duration, palette)


def _exact(pictures: list[Array], colours: int) -> Palette | None:
    """Return the palette of all colours in some frames, and transparent; None if there are too many."""
    found = colours_in(pictures, colours)
    if found is None:
        return None
    found = numpy.union1d(found, CLEAR)
    return exact_palette(found) if len(found) <= colours else None


class _Animation:
    """State while an animation is written.

    Attributes:
        shown: The original samples of the pixels on the canvas.
        drawn: The packed colours on the canvas.
        exact: Whether both have been equal so far.
    """

    def __init__(self, width: int, height: int, write: Write, colours: int, plays: int, exact: bool) -> None:
        self._write, self._colours, self._plays, self._keeps = write, colours, plays, exact
        self.shown = numpy.zeros((height, width, 4), numpy.uint8)
        self.drawn = numpy.zeros((height, width), numpy.uint32)
        self.exact = True
        self._global: Palette | None = None

    def add(self, picture: _Picture, following: _Picture | None) -> None:
        """Write a frame; the following one determines its disposal."""
        samples = picture.samples
        changed = packed(samples) != packed(self.shown)
        vanishing = picture.opaque & ~following.opaque if following else numpy.zeros_like(changed)
        palette = self._palette_for(picture, changed, vanishing)
        if not palette.exact:
            self.exact = False
            changed[changed] = _visibly_other(samples[changed], self.shown[changed])
        self.shown[changed] = samples[changed]
        indices = self._draw(samples, palette, changed)
        place = self._place(changed, vanishing)
        if not self._global:
            self._global = palette
            self._write(_screen(changed.shape[1], changed.shape[0], palette) + _loop(self._plays))
        disposal = _CLEARED if vanishing.any() else _KEPT
        self._write(_control(disposal, picture.duration, palette))
        self._write_image(indices, place, palette)
        if disposal == _CLEARED:
            self.shown[place] = self.drawn[place] = 0

    def _place(self, changed: Array, vanishing: Array) -> tuple[slice, slice]:
        """Return the rectangle to write: the whole first frame, otherwise what changes now or in the next frame."""
        return _bounds(changed | vanishing) if self._global else _ALL

    def _palette_for(self, picture: _Picture, changed: Array, vanishing: Array) -> Palette:
        """Return the palette for the changes. If it has no room for transparent, all pixels have to change."""
        alike = picture.palette.error < _ALIKE and not self._keeps
        if picture.palette.exact or alike or not self.exact:
            return picture.palette
        own = _exact([picture.samples[changed]], self._colours)
        if own:
            return self._global if self._global and self._global.has_all_of(own) else own
        place = self._place(changed, vanishing)
        found = colours_in([picture.samples[place]], self._colours)
        if found is None or CLEAR in found:
            return picture.palette
        changed[place] = True
        return exact_palette(found)

    def _draw(self, samples: Array, palette: Palette, changed: Array) -> Array:
        """Return a frame's indices, transparent where nothing changes; remove unchanged pixels from `changed`."""
        indices = numpy.full(changed.shape, palette.clear, numpy.uint8)
        place = _bounds(changed)
        indices[place] = palette.indices(samples[place], place[0].start, place[1].start)
        colours = packed(palette.table)[indices]
        if palette.has_clear:
            changed &= colours != self.drawn
            indices[~changed] = palette.clear
        self.drawn[changed] = colours[changed]
        return indices

    def _write_image(self, indices: Array, place: tuple[slice, slice], palette: Palette) -> None:
        """Write a part of a frame, with its palette unless that is the global one."""
        part, (rows, columns) = indices[place], place
        bits = _bits(palette)
        flags, table = (0, b"") if palette is self._global else (_TABLE | (bits - 1), _table(palette))
        head = _IMAGE.pack(_SEPARATOR, columns.start or 0, rows.start or 0, part.shape[1], part.shape[0], flags)
        self._write(head + table + compressed(part, bits))


_ALL = slice(0, None), slice(0, None)


def _bounds(where: Array) -> tuple[slice, slice]:
    """Return the smallest rectangle that contains all true values, as rows and columns; one pixel if there are none."""
    rows, columns = numpy.flatnonzero(where.any(1)), numpy.flatnonzero(where.any(0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _visibly_other(samples: Array, shown: Array) -> Array:
    other: Array = (numpy.maximum(samples, shown) - numpy.minimum(samples, shown)).max(-1) > _UNSEEN
    return other


def _bits(palette: Palette) -> int:
    return max(1, (len(palette.table) - 1).bit_length())


def _table(palette: Palette) -> bytes:
    return palette.table[:, :3].tobytes().ljust(3 << _bits(palette), b"\0")


def _screen(width: int, height: int, palette: Palette) -> bytes:
    bits = _bits(palette)
    return _SCREEN.pack(b"GIF89a", width, height, _TABLE | 0x70 | (bits - 1), 0, 0) + _table(palette)


def _loop(plays: int) -> bytes:
    """Return the extension with the number of repetitions after the first play; nothing if there are none."""
    if plays == 1:
        return b""
    return _LOOP.pack(_EXTENSION, 0xFF, 11, b"NETSCAPE2.0", 3, 1, min(_LONGEST, max(0, plays - 1)), 0)


def _control(disposal: int, duration: int, palette: Palette) -> bytes:
    """Return the extension with a frame's duration, in hundredths of a second, and its transparent index."""
    shown = min(_LONGEST, (duration + 5) // 10)
    return _CONTROL.pack(_EXTENSION, 0xF9, 4, disposal << 2 | palette.has_clear, shown, palette.clear, 0)
