"""The EXIF of camera raw files, without fields about sensor data or known only to manufacturers."""

import io
from collections.abc import Iterator

from PIL import ExifTags, Image

from progimage.engine.codecs.raw_header import canon_directories, tiff_of
from progimage.engine.metadata import loaded_exif

_BASE = ExifTags.Base
_TOLD = (
    _BASE.ImageDescription, _BASE.Make, _BASE.Model, _BASE.Orientation, _BASE.XResolution, _BASE.YResolution,
    _BASE.ResolutionUnit, _BASE.Software, _BASE.DateTime, _BASE.Artist, _BASE.Copyright,
)  # fmt: skip
_EXIF_TAGS = range(0x829A, 0xA500)
_NOT_EXIF = (0x83BB, 0x8649, 0x8769, 0x8773, 0x8825, 0x927C, 0xA005)
"""IPTC, Photoshop blocks, ICC profiles, maker notes, and pointers, whose tags lie among those of EXIF."""
_CANON = (b"CMT1", b"CMT2", b"CMT4")
"""Boxes of a CR3 with the first directory and those of EXIF and GPS."""


def raw_exif(data: memoryview, preview: bytes | None) -> Image.Exif | None:
    """Return the EXIF of a camera raw file.

    Args:
        data: The file.
        preview: The JPEG preview, if any, whose EXIF is used if the file itself has none.
    """
    if tiff := tiff_of(data):
        top = loaded_exif(tiff)
        return _plain(top, dict(top.get_ifd(ExifTags.IFD.Exif)), dict(top.get_ifd(ExifTags.IFD.GPSInfo)))
    parts = canon_directories(data)
    if parts:
        first, inner, place = (loaded_exif(parts[name]) if name in parts else Image.Exif() for name in _CANON)
        return _plain(first, dict(inner), dict(place))
    if preview is None:
        return None
    with Image.open(io.BytesIO(preview), formats=["JPEG"]) as image:
        top = image.getexif()
        return _plain(top, dict(top.get_ifd(ExifTags.IFD.Exif)), dict(top.get_ifd(ExifTags.IFD.GPSInfo)))


def _plain(top: Image.Exif, inner: dict[int, object], place: dict[int, object]) -> Image.Exif:
    """Return EXIF from directories. TIFF/EP stores fields of the EXIF directory in the first directory."""
    exif = Image.Exif()
    for tag in _TOLD:
        if tag in top:
            exif[tag] = top[tag]
    known = dict(_of_exif(dict(top))) | dict(_of_exif(inner))
    if known:
        exif.get_ifd(ExifTags.IFD.Exif).update(known)
    if place:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    return exif


def _of_exif(fields: dict[int, object]) -> Iterator[tuple[int, object]]:
    yield from ((tag, value) for tag, value in fields.items() if tag in _EXIF_TAGS and tag not in _NOT_EXIF)
