"""The header of a Photoshop file (PSD, or PSB for large documents): everything before the pixels.

Source: Adobe Photoshop File Formats Specification, November 2019.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

BITMAP, GREY, INDEXED, RGB, CMYK, MULTICHANNEL, DUOTONE, LAB = 0, 1, 2, 3, 4, 7, 8, 9
SIGNATURE = b"8BPS"
_COLOURS = {BITMAP: 1, GREY: 1, INDEXED: 1, RGB: 3, CMYK: 4, DUOTONE: 1, LAB: 3}
_DEPTHS = (1, 8, 16, 32)
_MOST_CHANNELS = 56
_HEADER = struct.Struct(">4sH6xHIIHH")
_PALETTE = 768
_ICC, _TRANSPARENT, _VERSION, _EXIF, _XMP = 1039, 1047, 1057, 1058, 1060
_KEPT = (_ICC, _TRANSPARENT, _VERSION, _EXIF, _XMP)
_BLOCKS = (b"8BIM", b"8B64")
_WIDE = (
    b"LMsk", b"Lr16", b"Lr32", b"Layr", b"Mt16", b"Mt32", b"Mtrn", b"Alph", b"FMsk", b"lnk2", b"FEid", b"FXid", b"PxSD",
)  # fmt: skip
"""Keys of blocks with an 8-byte length field in a PSB."""
_LAYERS = (b"Layr", b"Lr16", b"Lr32")
_TRANSPARENCY = (b"Mtrn", b"Mt16", b"Mt32")


@dataclass(frozen=True, slots=True)
class PsdHeader:
    """The header of a Photoshop file.

    Attributes:
        large: Whether the file is a PSB.
        channels: Number of channels of the merged image.
        width: Width in pixels.
        height: Height in pixels.
        depth: Bits per sample: 1, 8, 16 or 32; 32 means floats.
        mode: Number of the colour mode.
        palette: 256 colours: all reds, all greens, all blues; empty if there is no palette.
        transparent: Transparent index of the palette, or None.
        merged: Whether the merged image is present.
        alpha: Whether the first channel after the colours is the alpha of the merged image.
        icc: ICC profile.
        exif: EXIF as a TIFF file.
        xmp: XMP packet.
        pixels: Offset of the merged image in the file.
    """

    large: bool
    channels: int
    width: int
    height: int
    depth: int
    mode: int
    palette: bytes
    transparent: int | None
    merged: bool
    alpha: bool
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    pixels: int

    @property
    def colours(self) -> int:
        """Number of colour channels."""
        return _COLOURS.get(self.mode, self.channels)

    @property
    def others(self) -> int:
        """Number of channels that are neither colour nor alpha."""
        return self.channels - self.colours - self.alpha


def psd_header(data: bytes | memoryview) -> PsdHeader:
    """Read the header of a Photoshop file.

    Args:
        data: The file.

    Raises:
        ValueError: The data is invalid.
    """
    if len(data) < _HEADER.size:
        raise ValueError("it ends early")
    signature, version, channels, height, width, depth, mode = _HEADER.unpack_from(data)
    if signature != SIGNATURE or version not in (1, 2):
        raise ValueError(f"its version is {version}, not 1 or 2")
    if not 1 <= channels <= _MOST_CHANNELS or channels < _COLOURS.get(mode, 1):
        raise ValueError(f"{channels} channels are not allowed")
    if mode not in _COLOURS and mode != MULTICHANNEL:
        raise ValueError(f"colour mode {mode} is unknown")
    if depth not in _DEPTHS or (depth == 1) != (mode == BITMAP):
        raise ValueError(f"colour mode {mode} can't have {depth} bits per sample")
    large = version == 2
    palette, at = _section(data, _HEADER.size, wide=False)
    if mode == INDEXED and len(palette) < _PALETTE:
        raise ValueError("its palette is too short")
    resources, at = _section(data, at, wide=False)
    layers, at = _section(data, at, wide=large)
    found = _resources(resources)
    version_info = found.get(_VERSION, b"")
    transparent = struct.unpack(">H", found[_TRANSPARENT][:2])[0] if len(found.get(_TRANSPARENT, b"")) >= 2 else None
    return PsdHeader(
        large=large,
        channels=channels,
        width=width,
        height=height,
        depth=depth,
        mode=mode,
        palette=bytes(palette[:_PALETTE]) if mode == INDEXED else b"",
        transparent=transparent if mode == INDEXED else None,
        merged=len(version_info) < 5 or version_info[4] != 0,
        alpha=channels > _COLOURS.get(mode, channels) and _is_transparent(layers, large=large),
        icc=found.get(_ICC) or None,
        exif=found.get(_EXIF) or None,
        xmp=found.get(_XMP) or None,
        pixels=at,
    )


def _section(data: bytes | memoryview, at: int, *, wide: bool) -> tuple[memoryview, int]:
    """Return the data after a length field of 4 or 8 bytes, and the offset of its end."""
    start = at + (8 if wide else 4)
    end = start + int.from_bytes(data[at:start], "big")
    if end > len(data):
        raise ValueError("it ends early")
    return memoryview(data)[start:end], end


def _resources(data: memoryview) -> dict[int, bytes]:
    """Return the relevant image resources, up to the first invalid one."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 12 <= len(data):
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        at += 6 + _even(data[at + 6] + 1)  # skip the name
        size = int.from_bytes(data[at : at + 4], "big")
        if number in _KEPT:
            found.setdefault(number, bytes(data[at + 4 : at + 4 + size]))
        at += 4 + _even(size)
    return found


def _is_transparent(data: memoryview, *, large: bool) -> bool:
    """Return whether the layer section declares the merged image as transparent.

    A negative number of layers does, and so do certain blocks. Documents of 16 and 32 bits store their layers in a
    block.
    """
    width = 8 if large else 4
    size = int.from_bytes(data[:width], "big")
    if _count(data[width : width + size]) < 0:
        return True
    at = width + size
    at += 4 + int.from_bytes(data[at : at + 4], "big")  # skip the global mask
    for key, content in _blocks(data[at:], large=large):
        if key in _TRANSPARENCY or (key in _LAYERS and _count(content) < 0):
            return True
    return False


def _blocks(data: memoryview, *, large: bool) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at + 12 <= len(data) and bytes(data[at : at + 4]) in _BLOCKS:
        key = bytes(data[at + 4 : at + 8])
        start = at + (16 if large and key in _WIDE else 12)
        size = int.from_bytes(data[at + 8 : start], "big")
        yield key, data[start : start + size]
        at = start + size + -size % 4


def _count(layers: memoryview) -> int:
    return int.from_bytes(layers[:2], "big", signed=True)


def _even(number: int) -> int:
    return number + number % 2
