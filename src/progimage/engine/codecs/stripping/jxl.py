"""JPEG XL: the codestream, and the boxes that a decoder needs (ISO/IEC 18181-2)."""

from progimage.engine.codecs.boxes import box
from progimage.engine.codecs.jxl.decode import jxl_metadata
from progimage.engine.codecs.jxl.frames import jxl_end
from progimage.engine.codecs.jxl.header import CONTAINER, boxes, codestream, jxl_header
from progimage.engine.metadata import Buffer, Kept

_NEEDED = (b"jxll", b"jhgm")
"""Boxes of the required decoder level and the gain map."""
_TYPE = b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
_NO_OFFSET = b"\0\0\0\0"


def stripped_jxl(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a JPEG XL without its metadata, and without JPEG reconstruction data, which contains metadata.

    Args:
        data: The file.
        kept: The metadata to keep.

    Raises:
        ValueError: The file is invalid or truncated.
    """
    whole = codestream(data)
    stream = memoryview(whole)[: jxl_end(whole, jxl_header(data))]
    found = jxl_metadata(data) if kept.kinds - {"icc"} else {}
    needed = [(box.kind, box.content) for box in boxes(data) if box.kind in _NEEDED and not box.compressed]
    exif, xmp = kept.exif(found.get("exif")), kept.xmp(found.get("xmp"))
    if not (needed or exif or xmp):
        return [stream]
    level = [box(kind, content) for kind, content in needed if kind == b"jxll"]
    gain_map = [box(kind, content) for kind, content in needed if kind == b"jhgm"]
    told = [box(b"Exif", _NO_OFFSET, exif)] if exif else []
    told += [box(b"xml ", xmp)] if xmp else []
    return [CONTAINER, _TYPE, *level, box(b"jxlc", stream), *gain_map, *told]
