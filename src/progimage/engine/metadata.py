"""Metadata that is copied from an image to its renditions: EXIF and XMP, corrected to match the rendition."""

import re
import struct
from collections.abc import Container
from dataclasses import dataclass, replace
from typing import TypeAlias

from PIL import Image

from progimage.engine.frame import METADATA, Frame
from progimage.engine.geometry import Size

Buffer: TypeAlias = bytes | memoryview
EXIF = b"Exif\0\0"
"""Prefix of EXIF in JPEG files, and for some libraries everywhere."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>)\s*)[0-9]+")
_XMP_THUMBNAILS = re.compile(rb"<xmp:Thumbnails\b.*?</xmp:Thumbnails\s*>", re.DOTALL)
_ORIENTATION, _EXIF_IFD, _EXIF_WIDTH, _EXIF_HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
_OTHERS = (700, 33723, 34377, 34675, 50341)
"""Tags that contain other kinds of metadata: XMP, IPTC, Photoshop, ICC profile, PrintIM."""
_PROFILE_HEADER = 128
_SHORT = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """The metadata to keep when coded pixels are copied.

    Attributes:
        kinds: Kinds of metadata to keep: exif, icc, xmp.
        size: Stored width and height of the pixels.
        orientation: Orientation of the pixels, 1 to 8, unless the format itself specifies it.
    """

    kinds: frozenset[str]
    size: Size
    orientation: int = 1

    def of_another(self, exif: bytes | None) -> "Kept":
        """Return what to keep for another image in the same file: its ICC profile and its orientation.

        Args:
            exif: EXIF of that image, if any.
        """
        return replace(self, kinds=self.kinds & {"icc"}, orientation=exif_orientation(exif))

    @property
    def icc(self) -> bool:
        """Whether to keep the ICC profile."""
        return "icc" in self.kinds

    def profile(self, data: bytes | None) -> bytes | None:
        """Return the ICC profile to write, or None. Invalid profiles are dropped, and trailing data is removed.

        Args:
            data: ICC profile of the original, if any.
        """
        if not data or not self.icc or data[36:40] != b"acsp":  # ICC.1:2022, 7.2.9
            return None
        size = int.from_bytes(data[:4], "big")
        return data[:size] if _PROFILE_HEADER <= size <= len(data) else None

    def exif(self, data: bytes | None) -> bytes | None:
        """Return the EXIF to write, as a TIFF file: the original's if it is kept, otherwise `least_exif`.

        Args:
            data: EXIF of the original, if any.
        """
        kept = true_exif(data, self.orientation, self.size) if data and "exif" in self.kinds else None
        return kept.removeprefix(EXIF) if kept else self.least_exif

    @property
    def least_exif(self) -> bytes | None:
        """EXIF that contains only the orientation; None if the orientation is 1."""
        return orientation_exif(self.orientation) if self.orientation != 1 else None

    def xmp(self, data: bytes | None) -> bytes | None:
        """Return the XMP packet to write, or None.

        Args:
            data: XMP packet of the original, if any.
        """
        return true_xmp(data, self.orientation) if data and "xmp" in self.kinds else None


def kept_metadata(frame: Frame, kinds: Container[str]) -> dict[str, bytes]:
    """Return the metadata to write with a frame.

    Args:
        frame: The frame, after all steps.
        kinds: Kinds of metadata to keep: exif, xmp.

    Returns:
        The metadata that the frame has, by kind.
    """
    pixels = frame.pixels
    found = {
        kind: bytes(pixels.get(name)) for kind, name in METADATA.items() if kind in kinds and pixels.get_typeof(name)
    }
    if "xmp" in found:
        found["xmp"] = true_xmp(found["xmp"], frame.orientation)
    exif = true_exif(found.pop("exif"), frame.orientation, (pixels.width, pixels.height)) if "exif" in found else None
    return found | ({"exif": exif} if exif else {})


def true_exif(data: bytes, orientation: int, size: Size) -> bytes | None:
    """Return EXIF that is corrected for a rendition and has no thumbnail; None if it can't be read.

    Args:
        data: EXIF of the original, as a TIFF file.
        orientation: Orientation of the rendition's pixels, 1 to 8.
        size: Width and height of the rendition.
    """
    try:
        exif = loaded_exif(data)
        for tag in _OTHERS:
            exif.pop(tag, None)
        exif[_ORIENTATION] = orientation
        inner = exif.get_ifd(_EXIF_IFD)
        if inner:
            inner[_EXIF_WIDTH], inner[_EXIF_HEIGHT] = size
        return exif.tobytes()
    except Exception:  # Pillow fails on invalid EXIF in many ways; the image is fine without it
        return None


def true_xmp(data: bytes, orientation: int) -> bytes:
    """Return an XMP packet with its orientation, if it has one, replaced, and without thumbnails."""
    return _XMP_THUMBNAILS.sub(b"", _XMP_ORIENTATION.sub(b"\\g<1>%d" % orientation, data))


def loaded_exif(data: bytes) -> Image.Exif:
    """Parse EXIF stored as a TIFF file, with or without its prefix. Invalid EXIF raises whatever Pillow raises."""
    exif = Image.Exif()
    exif.load(data)
    return exif


def exif_orientation(data: bytes | None) -> int:
    """Return the orientation in EXIF, 1 to 8; 1 if there is no EXIF or it can't be read."""
    if data is None:
        return 1
    try:
        found = loaded_exif(data).get(_ORIENTATION, 1)
    except Exception:  # Pillow fails on invalid EXIF in many ways; treat it as missing
        return 1
    return found if found in range(1, 9) else 1


def orientation_exif(orientation: int) -> bytes:
    """Return EXIF that contains only an orientation of 1 to 8."""
    return struct.pack(">4sIHHHIHHI", b"MM\0*", 8, 1, _ORIENTATION, _SHORT, 1, orientation, 0, 0)
