"""Metadata that go from an image into its renditions: EXIF and XMP, with what is true of the rendition."""

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
"""What EXIF begins with in a JPEG, and for some libraries anywhere."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>)\s*)[0-9]+")
_XMP_THUMBNAILS = re.compile(rb"<xmp:Thumbnails\b.*?</xmp:Thumbnails\s*>", re.DOTALL)
_ORIENTATION, _EXIF_IFD, _EXIF_WIDTH, _EXIF_HEIGHT = 0x0112, 0x8769, 0xA002, 0xA003
_OTHERS = (700, 33723, 34377, 34675, 50341)
"""What has metadata of other kinds in it: XMP, IPTC, Photoshop's, an ICC profile, PrintIM."""
_PROFILE_HEADER = 128
_SHORT = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays where coded pixels are copied.

    Attributes:
        kinds: Which metadata: exif, icc, xmp.
        size: Width and height of the pixels, as they lie.
        orientation: How they are to be turned upright, 1 to 8, where the format itself does not say so.
    """

    kinds: frozenset[str]
    size: Size
    orientation: int = 1

    def of_another(self, exif: bytes | None) -> "Kept":
        """Return what stays of a further picture of the file: its colours, and how it is turned.

        Args:
            exif: The EXIF of that picture, if it has one.
        """
        return replace(self, kinds=self.kinds & {"icc"}, orientation=exif_orientation(exif))

    @property
    def icc(self) -> bool:
        """Whether an ICC profile stays."""
        return "icc" in self.kinds

    def profile(self, data: bytes | None) -> bytes | None:
        """Return the ICC profile to write, or None; what is no profile is none, and what is behind it is cut off.

        Args:
            data: That of the original, if it has one.
        """
        if not data or not self.icc or data[36:40] != b"acsp":  # ICC.1:2022, 7.2.9
            return None
        size = int.from_bytes(data[:4], "big")
        return data[:size] if _PROFILE_HEADER <= size <= len(data) else None

    def exif(self, data: bytes | None) -> bytes | None:
        """Return the EXIF to write, as a TIFF file, or None: what is kept, or what tells no more than the orientation.

        Args:
            data: The EXIF of the original, if it has one.
        """
        kept = true_exif(data, self.orientation, self.size) if data and "exif" in self.kinds else None
        return kept.removeprefix(EXIF) if kept else self.least_exif

    @property
    def least_exif(self) -> bytes | None:
        """EXIF that tells no more than the orientation; None where there is nothing to tell."""
        return orientation_exif(self.orientation) if self.orientation != 1 else None

    def xmp(self, data: bytes | None) -> bytes | None:
        """Return the XMP packet to write, or None.

        Args:
            data: That of the original, if it has one.
        """
        return true_xmp(data, self.orientation) if data and "xmp" in self.kinds else None


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
        found["xmp"] = true_xmp(found["xmp"], frame.orientation)
    exif = true_exif(found.pop("exif"), frame.orientation, (pixels.width, pixels.height)) if "exif" in found else None
    return found | ({"exif": exif} if exif else {})


def true_exif(data: bytes, orientation: int, size: Size) -> bytes | None:
    """Return EXIF with what is true of a rendition, without a thumbnail; None if it can't be read.

    Args:
        data: The EXIF of the original, as a TIFF file.
        orientation: How the pixels are to be turned: 1 to 8.
        size: Their width and height.
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
    except Exception:  # Pillow trips over broken EXIF in many ways; the picture is whole without it
        return None


def true_xmp(data: bytes, orientation: int) -> bytes:
    """Return an XMP packet that tells an orientation, if it told one, and has no thumbnails."""
    return _XMP_THUMBNAILS.sub(b"", _XMP_ORIENTATION.sub(b"\\g<1>%d" % orientation, data))


def loaded_exif(data: bytes) -> Image.Exif:
    """Return EXIF that is stored as a TIFF file, with or without its prefix; raises what Pillow raises if broken."""
    exif = Image.Exif()
    exif.load(data)
    return exif


def exif_orientation(data: bytes | None) -> int:
    """Return the orientation that EXIF gives, 1 to 8; 1 if there is no EXIF, or none that can be read."""
    if data is None:
        return 1
    try:
        found = loaded_exif(data).get(_ORIENTATION, 1)
    except Exception:  # Pillow trips over broken EXIF in many ways; it counts as none
        return 1
    return found if found in range(1, 9) else 1


def orientation_exif(orientation: int) -> bytes:
    """Return EXIF that tells nothing but an orientation of 1 to 8."""
    return struct.pack(">4sIHHHIHHI", b"MM\0*", 8, 1, _ORIENTATION, _SHORT, 1, orientation, 0, 0)
