"""Images embedded in a drawing."""

import base64
import binascii
import io
import re
from urllib.parse import unquote_to_bytes
from xml.etree.ElementTree import Element

from PIL import Image, ImageOps

from progimage.engine.codecs.svg.document import HREFS, local_name

_DATA = re.compile(r"\s*data:[^,]*?(;base64)?,", re.IGNORECASE)
_SHOWING = {"image", "feImage"}
_TURNED_BY_EXIF, _UNREAD_BY_RENDERERS = "JPEG", ("BMP", "AVIF")
_ORIENTATION = 274
_MOST_PIXELS = 50_000_000
_FASTEST = 1


def make_readable(root: Element) -> None:
    """Convert embedded images that renderers don't read to PNG: AVIF, BMP, and JPEG with an EXIF orientation.

    Args:
        root: Root of the drawing, which is modified.
    """
    for element in root.iter():
        if local_name(element) in _SHOWING:
            for name in HREFS:
                if (data := _data(element.get(name, ""))) and (png := _as_png(data)):
                    element.set(name, f"data:image/png;base64,{base64.b64encode(png).decode()}")


def _data(target: str) -> bytes | None:
    found = _DATA.match(target)
    if found is None:
        return None
    content = unquote_to_bytes(target[found.end() :])
    try:
        return base64.b64decode(content) if found[1] else content
    except binascii.Error:
        return None


def _as_png(data: bytes) -> bytes | None:
    """Return an image as PNG; None if renderers can read it directly or it can't be read."""
    try:
        picture = Image.open(io.BytesIO(data), formats=(_TURNED_BY_EXIF, *_UNREAD_BY_RENDERERS))
        if picture.width * picture.height > _MOST_PIXELS:
            return None
        if picture.format == _TURNED_BY_EXIF and picture.getexif().get(_ORIENTATION, 1) == 1:
            return None
        turned = ImageOps.exif_transpose(picture)
        target = io.BytesIO()
        turned.save(target, "PNG", compress_level=_FASTEST)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # the renderer will skip it
        return None
    return target.getvalue()
