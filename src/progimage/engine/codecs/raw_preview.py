"""The preview in a camera raw file: a JPEG, which is repaired, checked and decoded like a JPEG file."""

from dataclasses import replace
from typing import cast

from progimage.engine.codecs.codec import Codec, Decoder, Source
from progimage.engine.codecs.jpeg import JPEG
from progimage.engine.errors import CorruptImage, NotAnImage
from progimage.engine.files import InputFile
from progimage.engine.limits import Limits


def opened_preview(data: bytes, limits: Limits) -> Source | None:
    """Return a preview as an opened image; None if its header can't be read.

    Args:
        data: The JPEG.
        limits: The largest image to accept.

    Raises:
        LimitExceeded: It is too large.
    """
    file, strict = InputFile.of(data.rstrip(b"\0")), replace(limits, damaged=False)  # cameras pad it with zeros
    try:
        description = JPEG.describe(file, strict, dpi=96)
    except (CorruptImage, NotAnImage):
        return None
    # Gain maps in raw files aren't used.
    description = replace(description, pages=description.pages[:1], gain_map=False, gain_map_read=False)
    return Source(description.mended or file, cast(Codec, JPEG), description, strict)


def is_sound(preview: Source) -> bool:
    """Decode a preview, and return whether it is complete.

    It is decoded at full size, since libvips checks for errors only every 8 rows, or 64 at the smallest size.
    """
    from progimage.engine.decode import decode, with_decoders  # imported here because it needs the codecs

    def attempt(decoder: Decoder) -> None:
        for frame in decode(preview, decoder, 0, 1):
            frame.pixels.avg()

    if preview.description.lost:
        return False
    try:
        with_decoders(preview, attempt)
    except CorruptImage:
        return False
    return True
