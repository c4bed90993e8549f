"""Renditions in the format of the original without any changes: the coded pixels are copied.

Encoding them again would only cost time and quality. Metadata is copied only as far as the spec keeps it.
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
"""Maximum side of an HEVC block in pixels; libheif pads images to whole blocks."""
COPY_COST = 0.02
"""Estimated CPU time of a copy in seconds."""


def asks_for_copy(spec: RenditionSpec, format: str) -> bool:
    """Return whether a spec requests the original's format without any change to its pixels.

    Args:
        spec: Spec of the rendition.
        format: Name of the original's format.
    """
    return spec.format == format and spec == RenditionSpec(format, keep=spec.keep, hdr=spec.hdr)


def write_copy(source: Source, spec: RenditionSpec, target: OutputFile, *, sound: bool) -> bool:
    """Copy the coded pixels of an image with the metadata to keep, if possible, and return whether that was done.

    It isn't possible if the codec can't take the file apart, if the file can be damaged, if the container hides a part
    of the image, or if the ICC profile has to be removed, which requires a conversion of colours.

    Args:
        source: The image.
        spec: Spec of the rendition, see `asks_for_copy`.
        target: The file to write.
        sound: Whether the image is known to be undamaged. Otherwise it is decoded first to check that.

    Raises:
        CorruptImage: The image is damaged.
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
    except (ValueError, IndexError, struct.error, NotAnImage):  # the file can't be taken apart: decode and encode it
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
    """Return whether a page has hidden pixels, other than the padding of an encoder's last blocks."""
    crop = page.crop
    if crop is None:
        return False
    filled = max(page.width - crop.width, page.height - crop.height) < _BLOCK
    return bool(crop.left or crop.top or not filled)


def _write(parts: Iterable[Buffer], target: OutputFile) -> None:
    with target.file() as file:
        for part in parts:
            file.write(part)
