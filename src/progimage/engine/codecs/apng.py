"""Animations in PNG, composited like in browsers: Pillow blends translucent frames incorrectly.

Source: PNG, third edition (W3C, 2025), 4.11 (animation), 11.3.7 (acTL, fcTL, fdAT), 13.17 (how frames are shown).
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image

from progimage.engine.codecs.png_chunks import SIGNATURE, chunk, chunks
from progimage.engine.errors import CorruptImage
from progimage.engine.geometry import Size
from progimage.engine.limits import Limits

_HEADER = struct.Struct(">II5s")
_CONTROL = struct.Struct(">IIIIIHHBB")
_SHARED = (b"PLTE", b"tRNS")
_BACKGROUND, _PREVIOUS = 1, 2
_SOURCE = 0
_COLOUR, _HAS_ALPHA = 1, 4
"""Position of the colour type in `Apng.kind`, and its bit for alpha."""


@dataclass(slots=True)
class _Part:
    """A stored frame: a part of the canvas.

    Attributes:
        left: Left edge on the canvas.
        top: Top edge on the canvas.
        size: Width and height.
        duration: Duration in milliseconds.
        disposal: What happens to it before the next frame is drawn.
        blending: How it is drawn on the canvas.
        data: The compressed pixels.
    """

    left: int
    top: int
    size: Size
    duration: int
    disposal: int
    blending: int
    data: list[memoryview] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Apng:
    """The animation in a PNG.

    Attributes:
        size: Size of the canvas.
        parts: The stored frames.
        plays: How often it is played; 0 means endlessly.
        kind: Bit depth, colour type and so on, which all frames share.
        shared: The chunks that all frames need, such as the palette.
    """

    size: Size
    parts: list[_Part]
    plays: int
    kind: bytes
    shared: bytes

    @property
    def clear(self) -> bool:
        """Whether parts of the canvas can be transparent."""
        opaque = self.kind[_COLOUR] & _HAS_ALPHA == 0 and b"tRNS" not in self.shared
        uncovered = self.parts[0].size != self.size or any(part.disposal == _BACKGROUND for part in self.parts)
        return not opaque or uncovered

    def canvases(self, last: int) -> Iterator[Image.Image]:
        """Yield the composited frames up to `last`, as RGBA. The same canvas is reused for the next frame."""
        canvas = Image.new("RGBA", self.size)
        for index, part in enumerate(self.parts[:last]):
            disposal = _BACKGROUND if part.disposal == _PREVIOUS and not index else part.disposal
            before = canvas.copy() if disposal == _PREVIOUS else None
            pixels = self._pixels(part)
            if part.blending == _SOURCE:
                canvas.paste(pixels, (part.left, part.top))
            else:
                canvas.alpha_composite(pixels, (part.left, part.top))
            yield canvas
            if before:
                canvas = before
            elif disposal == _BACKGROUND:
                right, bottom = part.left + part.size[0], part.top + part.size[1]
                canvas.paste((0, 0, 0, 0), (part.left, part.top, right, bottom))

    def _pixels(self, part: _Part) -> Image.Image:
        header = chunk(b"IHDR", _HEADER.pack(*part.size, self.kind))
        alone = SIGNATURE + header + self.shared + chunk(b"IDAT", b"".join(part.data)) + chunk(b"IEND", b"")
        with Image.open(io.BytesIO(alone), formats=["PNG"]) as image:
            return image.convert("RGBA")


def read_apng(data: memoryview, limits: Limits) -> Apng | None:
    """Read the animation of a PNG; None if there is none, or it has only one frame.

    Raises:
        CorruptImage: A frame lies outside the canvas.
        LimitExceeded: There are too many frames.
    """
    shared, parts, plays, animated = b"", list[_Part](), 0, False
    width, height, kind = _HEADER.unpack_from(data, len(SIGNATURE) + 8)
    for at, name, body in chunks(data):
        if name == b"acTL" and len(body) == 8:
            animated, plays = True, int.from_bytes(body[4:8], "big")
        elif name == b"IDAT" and not animated:
            return None
        elif name in _SHARED:
            shared += bytes(data[at : at + 12 + len(body)])
        elif name == b"fcTL" and int.from_bytes(data[at : at + 4], "big") == _CONTROL.size:
            parts.append(_part(body, (width, height)))
            limits.check(width, height, len(parts))
        elif name == b"IDAT" and parts:
            parts[-1].data.append(body)
        elif name == b"fdAT" and parts:
            parts[-1].data.append(body[4:])
    parts = [part for part in parts if part.data]
    return Apng((width, height), parts, plays, kind, shared) if len(parts) > 1 else None


def _part(body: memoryview, canvas: Size) -> _Part:
    _, width, height, left, top, number, of, disposal, blending = _CONTROL.unpack(body)
    if not (width and height) or left + width > canvas[0] or top + height > canvas[1]:
        raise CorruptImage("A frame of the PNG lies outside its canvas.")
    return _Part(left, top, (width, height), round(1000 * number / (of or 100)), disposal, blending)
