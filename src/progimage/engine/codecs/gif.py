"""GIF: the Graphics Interchange Format (CompuServe, GIF89a specification, 1990)."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from PIL import Image

from progimage.engine.codecs.codec import Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.mending import after_end
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.codecs.samples import imagecodecs
from progimage.engine.codecs.stripping.gif import stripped_gif
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import METADATA, Frame, from_pillow, with_metadata
from progimage.engine.geometry import Size
from progimage.engine.libraries import Library
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_AT_ONCE = 25_000_000
"""Maximum number of pixels in all frames up to which an animation is decoded at once."""
_SCREEN = struct.Struct("<6sHHBBB")
_IMAGE = struct.Struct("<HHHHB")
_EXTENSION, _SEPARATOR, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_CUT_OFF = "The file has no end marker; frames may be missing."
_FRAME_CUT_OFF = "The last frame of the GIF is truncated."
_NO_FRAME = "After one of its frames the GIF continues with invalid data: frames are missing."
_CLEARED = (2,)
_RESTORED = (3, 4)
"""Some encoders write 4 instead of 3, and browsers accept that; higher values have no meaning."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A stored frame: a part of the canvas, to draw over the previous frames.

    Attributes:
        left: Left edge on the canvas.
        top: Top edge on the canvas.
        size: Width and height.
        interlaced: Whether rows are in the order of section 24 (appendix E).
        palette: Three bytes for each colour; empty if there is no palette.
        data: The compressed indices.
        transparent: Index of transparent pixels, or -1.
        disposal: What happens to it before the next frame is drawn.
        duration: Duration in milliseconds.
    """

    left: int
    top: int
    size: Size
    interlaced: bool
    palette: bytes
    data: bytes
    transparent: int
    disposal: int
    duration: int

    def pixels(self) -> Image.Image:
        """Decode this part by itself."""
        colours = max(2, len(self.palette) // 3)
        bits = (colours - 1).bit_length()
        table = self.palette.ljust(3 << bits, b"\0") if self.palette else b""
        screen = _SCREEN.pack(b"GIF89a", *self.size, (0x80 | (bits - 1)) if table else 0, 0, 0)
        image = bytes([_SEPARATOR]) + _IMAGE.pack(0, 0, *self.size, 0x40 * self.interlaced)
        alone = Image.open(io.BytesIO(screen + table + image + self.data + bytes([_TRAILER])), formats=["GIF"])
        alone.load()
        return alone

    def draw_on(self, canvas: Image.Image) -> None:
        """Draw this part on the canvas, cropped to the canvas."""
        pixels, place = self.pixels(), (self.left, self.top)
        if self.transparent < 0:
            canvas.paste(pixels.convert("RGB"), place)
            return
        indices = Image.frombytes("L", pixels.size, pixels.tobytes())
        drawn = indices.point([255 * (index != self.transparent) for index in range(256)])
        canvas.paste(pixels.convert("RGB"), place, drawn)


@dataclass(frozen=True, slots=True)
class _File:
    """The contents of a file.

    Attributes:
        size: Size of the canvas.
        parts: The stored frames.
        plays: How often the animation is played; 0 means endlessly.
        whole: Whether the file has an end marker.
        lost: A sentence on missing frames after the last one, if any.
        after: Number of bytes after the end marker.
    """

    size: Size
    parts: list[_Part]
    plays: int
    whole: bool
    lost: str
    after: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the end of the file."""
        if not self.whole:
            return (_CUT_OFF,)
        return (after_end(self.after),) if self.after else ()


def _load_writer() -> ModuleType:
    imagecodecs()
    return import_module("progimage.engine.codecs.gif_writer")


_writer = Library("gif_writer", _load_writer)
"""Loads our module that writes GIFs, which uses numpy."""


class _Gif(PillowCodec):
    """Composites frames like browsers; in Pillow, a frame can enlarge the canvas."""

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read everything except the pixels; see `Codec`."""
        found = _read(file.data, limits)
        clear = len(found.parts) > 1 or found.parts[0].transparent >= 0 or found.parts[0].size != found.size
        return Description(
            format=self.format,
            pages=(Page(*found.size),),
            mode="RGBA" if clear else "RGB",
            frames=len(found.parts),
            plays=found.plays if len(found.parts) > 1 else 0,
            warnings=found.warnings,
            lost=found.lost,
        )

    def exif(self, file: InputFile) -> None:
        """Return None, since the format has no EXIF."""

    def frames(self, source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
        """Decode frames. Only all frames together show whether there is alpha; unchanged pixels are transparent."""
        found = _read(source.file.data, source.limits)
        xmp = self._xmp(source.file) if "xmp" in how.metadata else None
        few = found.size[0] * found.size[1] * last <= _AT_ONCE
        kept, clear = [], False
        for canvas in _canvases(found, last):
            if canvas.getchannel("A").histogram()[255] < canvas.width * canvas.height:
                clear = True
                break
            if few:
                kept.append(canvas.convert("RGB"))
        whole = few and not clear
        canvases = iter(kept) if whole else _canvases(found, last)
        for index, canvas in enumerate(canvases):
            if index < first:
                continue
            frame = from_pillow(canvas if clear or whole else canvas.convert("RGB"))
            duration = found.parts[index].duration if source.description.animated else 0
            # A still image has at most the colours of its palette.
            mode = "P" if len(found.parts) == 1 and not clear else frame.mode
            yield Frame(with_metadata(frame.pixels, {METADATA["xmp"]: xmp}), mode, duration)

    def _xmp(self, file: InputFile) -> bytes | None:
        with self.open(file) as image:
            xmp = image.info.get("xmp")
            return xmp if isinstance(xmp, bytes) else None

    def stripped(self, source: Source, kept: Kept) -> list[Buffer]:
        """Return the frames and the number of plays; see `Codec`."""
        return stripped_gif(source.file.data, kept)

    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write a still image or an animation; see `Codec`."""
        writer, colours = _writer(), plan.spec.palette or 256
        with target.file() as file:
            if plan.several:
                exact = not plan.changes_pixels
                writer.write_gif_animation(first, rest, file.write, colours, plays=plan.plays, exact=exact)
            else:
                writer.write_gif_still(first, file.write, colours)


def _canvases(found: _File, last: int) -> Iterator[Image.Image]:
    """Yield the composited frames up to `last`. The same canvas is reused for the next frame."""
    canvas = Image.new("RGBA", found.size)
    for part in found.parts[:last]:
        before = canvas.copy() if part.disposal in _RESTORED else None
        part.draw_on(canvas)
        yield canvas
        if before:
            canvas = before
        elif part.disposal in _CLEARED:  # clear to transparent; like browsers, ignore the background colour
            right, bottom = (at + side for at, side in zip((part.left, part.top), part.size, strict=True))
            canvas.paste((0, 0, 0, 0), (part.left, part.top, right, bottom))


def _read(data: memoryview, limits: Limits) -> _File:
    """Read the blocks of a file.

    Raises:
        CorruptImage: There are no frames.
        LimitExceeded: The canvas or a frame is too large, or there are too many frames.
    """
    try:
        _, width, height, flags, _, _ = _SCREEN.unpack_from(data)
    except struct.error:
        raise CorruptImage("The header of the GIF is too short.") from None
    table = _table(data, _SCREEN.size, flags)
    at = _SCREEN.size + len(table)
    parts: list[_Part] = []
    plays, transparent, disposal, duration = 1, -1, 0, 0
    announced = False
    while at < len(data) and data[at] != _TRAILER:
        kind = data[at]
        if kind == _EXTENSION:
            label = data[at + 1] if at + 1 < len(data) else 0
            body = bytes(data[at + 3 : at + 3 + data[at + 2]]) if at + 2 < len(data) else b""
            if label == _GRAPHIC_CONTROL and len(body) >= 4:
                announced, transparent = True, body[3] if body[0] & 1 else -1
                disposal, duration = body[0] >> 2 & 7, int.from_bytes(body[1:3], "little") * 10
            elif label == _APPLICATION and body in _LOOPS and bytes(data[at + 14 : at + 16]) == b"\x03\x01":
                repeats = int.from_bytes(data[at + 16 : at + 18], "little")
                plays = repeats + 1 if repeats else 0
            at = _after_blocks(data, at + 2)
        elif kind == _SEPARATOR and at + 1 + _IMAGE.size < len(data):
            left, top, *size, flags = _IMAGE.unpack_from(data, at + 1)
            start = at + 1 + _IMAGE.size
            local = _table(data, start, flags)
            start += len(local)
            at = _after_blocks(data, start + 1)
            if not (width and height):  # as in browsers
                width, height = left + size[0], top + size[1]
            if not (size[0] and size[1]):  # nothing is drawn
                continue
            limits.check(width, height, len(parts) + 1)
            limits.check(*size)
            parts.append(
                _Part(
                    left, top, (size[0], size[1]), bool(flags & 0x40), bytes(local or table), bytes(data[start:at]),
                    transparent, disposal, duration,
                )
            )  # fmt: skip
            announced, transparent, disposal, duration = False, -1, 0, 0
        elif kind == 0:  # a superfluous empty sub-block, which decoders skip
            at += 1
        else:  # an unknown block ends the file like the trailer
            break
    if not parts:
        raise CorruptImage("The GIF has no frames.")
    whole = at < len(data) and data[at] == _TRAILER
    lost = "" if whole else _FRAME_CUT_OFF if announced else _NO_FRAME if at < len(data) else ""
    return _File((width, height), parts, plays, whole, lost, len(data) - at - 1 if whole else 0)


def _table(data: memoryview, at: int, flags: int) -> memoryview:
    return data[at : at + (6 << (flags & 7))] if flags & 0x80 else data[at:at]


def _after_blocks(data: memoryview, at: int) -> int:
    """Return the end of a chain of sub-blocks, or the end of the file."""
    while at < len(data):
        length = data[at]
        at += 1 + length
        if not length:
            break
    return min(at, len(data))


CODECS = (
    _Gif(
        Format(
            name="GIF",
            extensions=("gif",),
            media_type="image/gif",
            description="Graphics Interchange Format",
            modes=("P", "PA"),
            animated=True,
            writes_animations=True,
            max_side=65_535,
            options=("palette",),
            frames_at_once=6,
        ),
    ),
)
