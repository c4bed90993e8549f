"""Metadata that go from an image into its renditions: EXIF and XMP, with what is true of the rendition."""

import re
from collections.abc import Container

from PIL import Image

from progimage.engine.frame import METADATA, Frame

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>)\s*)[0-9]+")
_ORIENTATION, _EXIF_IFD, _EXIF_WIDTH, _EXIF_HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003


def kept_metadata(frame: Frame, kinds: Container[str]) -> dict[str, bytes]:
    """Return the metadata of a frame that are written with it.

    Args:
        frame: The frame, after all steps.
        kinds: Which to keep: exif, xmp.

    Returns:
        Those that it has, by their kind.
    """
    pixels = frame.pixels
    found = {
        kind: bytes(pixels.get(name)) for kind, name in METADATA.items() if kind in kinds and pixels.get_typeof(name)
    }
    if "xmp" in found:
        found["xmp"] = _XMP_ORIENTATION.sub(b"\\g<1>%d" % frame.orientation, found["xmp"])
    exif = _true_exif(frame, found.pop("exif")) if "exif" in found else None
    return found | ({"exif": exif} if exif else {})


def _true_exif(frame: Frame, data: bytes) -> bytes | None:
    """Return the EXIF with what is true of these pixels, without a thumbnail; None if it can't be read."""
    exif = Image.Exif()
    try:
        exif.load(data)
        exif[_ORIENTATION] = frame.orientation
        inner = exif.get_ifd(_EXIF_IFD)
        if inner:
            inner[_EXIF_WIDTH], inner[_EXIF_HEIGHT] = frame.pixels.width, frame.pixels.height
        return exif.tobytes()
    except Exception:  # Pillow trips over broken EXIF in many ways; the picture is whole without it
        return None
