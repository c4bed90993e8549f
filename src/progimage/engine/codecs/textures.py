"""Texture formats of games."""

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame, to_pillow
from progimage.engine.modes import OF_8_BITS

if TYPE_CHECKING:
    from progimage.engine.plan import Plan


class _Blp(PillowCodec):
    def encode(self, first: Frame, rest: Iterator[Frame], plan: "Plan", target: OutputFile) -> None:
        """Write without Pillow, whose writer needs quadratic time."""
        # BLP2, type 1 (not JPEG), encoding 1 (palette), no alpha, no mipmaps; then size, offsets and lengths of 16
        # levels, palette as BGRA, indices.
        image = to_pillow(first)
        colours = (image.getpalette("RGB") or []) + [0] * 768
        palette = b"".join(struct.pack("4B", *reversed(colours[i : i + 3]), 255) for i in range(0, 768, 3))
        start = 4 + 4 + 4 + 8 + 2 * 64 + len(palette)
        pixels = image.tobytes()
        header = struct.pack("<4siBBBBII", b"BLP2", 1, 1, 0, 0, 0, *image.size)
        levels = struct.pack("<16I16I", start, *[0] * 15, len(pixels), *[0] * 15)
        with target.file() as file:
            file.write(header + levels + palette + pixels)


CODECS = (
    _Blp(
        Format(name="BLP", extensions=("blp",), media_type="image/x-blp", description="Blizzard texture", modes=("P",))
    ),
    PillowCodec(
        Format(
            name="DDS",
            extensions=("dds",),
            media_type="image/vnd.ms-dds",
            description="DirectDraw surface",
            modes=OF_8_BITS,
        )
    ),
    PillowCodec(
        Format(
            name="FTEX",
            extensions=("ftc", "ftu"),
            media_type="image/x-ftex",
            description="Independence War 2 texture",
        )
    ),
)
