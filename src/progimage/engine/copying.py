"""A rendition in the format that the original has, where nothing else is asked for: its coded pixels, copied.

To encode them again would cost time and quality, and give nothing. Only what is to be kept of the metadata comes along.
"""

import struct
from collections.abc import Iterable

from progimage.engine.codecs.codec import Decoder, Source
from progimage.engine.decode import decode, with_decoders
from progimage.engine.description import Page
from progimage.engine.errors import NotAnImage
from progimage.engine.files import OutputFile
from progimage.engine.metadata import Buffer, Kept
from progimage.engine.spec import RenditionSpec

_BLOCK = 64
"""The largest side of a block of HEVC, in pixels; libheif fills up to whole ones."""
COPY_COST = 0.02
"""What a copy is reckoned to take, in seconds of CPU time."""


def asks_for_copy(spec: RenditionSpec, format: str) -> bool:
    """Return whether a spec asks for the format that an image has, and for nothing that changes its pixels.

    Args:
        spec: What is asked for.
        format: The name of the image's format.
    """
    return spec.format == format and spec == RenditionSpec(format, keep=spec.keep, hdr=spec.hdr)


def write_copy(source: Source, spec: RenditionSpec, target: OutputFile, *, sound: bool) -> bool:
    """Write the coded pixels of an image without its metadata but those to keep, and return whether that was done.

    It isn't where the codec can't take the file apart, where the file is damaged, where a part of the picture is not to
    be seen, or where the ICC profile is to go, so that colours are to be converted.

    Args:
        source: The image.
        spec: What is asked for, see `asks_for_copy`.
        target: The file.
        sound: It is known that it is not damaged; else it is decoded now to find out.

    Raises:
        CorruptImage: It is damaged.
    """
    description = source.description
    if not sound and source.limits.damaged:
        return False
    if isinstance(description.colour, bytes) and "icc" not in spec.kept:
        return False
    if any(_hides(page) for page in description.pages):
        return False
    page = description.first
    orientation = 1 if description.always_turned else page.orientation
    try:
        parts = source.codec.stripped(source, Kept(spec.kept, page.size, orientation))
    except (ValueError, IndexError, struct.error, NotAnImage):  # what can't be taken apart is decoded and encoded
        return False
    if parts is None:
        return False
    if not sound:
        with_decoders(source, lambda decoder: _decode_all(source, decoder))
    _write(parts, target)
    return True


def _decode_all(source: Source, decoder: Decoder) -> None:
    for frame in decode(source, decoder, 0, source.description.count):
        frame.pixels.avg()


def _hides(page: Page) -> bool:
    """Return whether a page has pixels that are not to be seen, other than what fills up an encoder's last blocks."""
    crop = page.crop
    if crop is None:
        return False
    filled = max(page.width - crop.width, page.height - crop.height) < _BLOCK
    return bool(crop.left or crop.top or not filled)


def _write(parts: Iterable[Buffer], target: OutputFile) -> None:
    with target.file() as file:
        for part in parts:
            file.write(part)
