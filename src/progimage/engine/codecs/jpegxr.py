"""JPEG XR, read with imagecodecs.

Sources: ITU-T T.832, annex A (the container) and 8.3 (the header of the image).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyvips
from PIL import Image

from progimage.engine.codecs.codec import Decoder, Decoding, ReadOnly, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.samples import imagecodecs, light, of_size, whole_numbers
from progimage.engine.colorimetry import Cicp
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, UnreadKind
from progimage.engine.files import InputFile
from progimage.engine.frame import METADATA, Frame, with_metadata
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    import numpy


_SIGNATURE = b"II\xbc\x01"
_CODESTREAM = b"WMPHOTO\0"
_XMP, _ICC, _PIXELS, _TRANSFORM = 0x02BC, 0x8773, 0xBC01, 0xBC02
_WIDTH, _HEIGHT, _IMAGE, _ALPHA = 0xBC80, 0xBC81, 0xBCC0, 0xBCC2
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Number of bytes of a value by type (T.832, table A.2)."""
_ORIENTATIONS = (1, 4, 2, 3, 6, 7, 5, 8)
"""EXIF orientation by number of the transform (T.832, table 26)."""
_SCRGB = Cicp(1, 8)


@dataclass(frozen=True, slots=True)
class _Pixels:
    """A pixel format.

    Attributes:
        mode: Pixel mode after decoding.
        depth: Bits per sample.
        floating: Whether samples are floats or fixed-point numbers of linear light.
        premultiplied: Whether colours are premultiplied by alpha.
        shared: Whether red, green and blue share an exponent (RGBE).
    """

    mode: str
    depth: int = 8
    floating: bool = False
    premultiplied: bool = False
    shared: bool = False


_FAMILY = bytes.fromhex("24c3dd6f034efe4bb1853d77768dc9")
_NUMBERED = {
    0x05: _Pixels("1", 1), 0x08: _Pixels("L"), 0x09: _Pixels("RGB", 5), 0x0A: _Pixels("RGB", 6),
    0x0B: _Pixels("L16", 16),
    0x0C: _Pixels("RGB"), 0x0D: _Pixels("RGB"), 0x0F: _Pixels("RGBA"), 0x11: _Pixels("L16", 32, True),
    0x12: _Pixels("RGB16", 16, True), 0x13: _Pixels("L16", 16, True), 0x14: _Pixels("RGB16", 10),
    0x15: _Pixels("RGB16", 16), 0x16: _Pixels("RGBA16", 16), 0x17: _Pixels("RGBA16", 16, premultiplied=True),
    0x18: _Pixels("RGB16", 32, True), 0x19: _Pixels("RGBA16", 32, True), 0x1A: _Pixels("RGBA16", 32, True, True),
    0x1B: _Pixels("RGB16", 32, True), 0x1C: _Pixels("CMYK"), 0x1F: _Pixels("CMYK", 16),
    0x3A: _Pixels("RGBA16", 16, True),
    0x3B: _Pixels("RGB16", 16, True), 0x3D: _Pixels("RGB16", 8, True, shared=True), 0x3E: _Pixels("L16", 16, True),
    0x3F: _Pixels("L16", 32, True), 0x42: _Pixels("RGB16", 16, True),
}  # fmt: skip
_KINDS = {_FAMILY + bytes([number]): pixels for number, pixels in _NUMBERED.items()} | {
    bytes.fromhex("956b8cd9fe3ed647bb25eb1748ab0cf1"): _Pixels("RGB"),
    bytes.fromhex("2dadc7f58d6add43a7a8a29935261ae9"): _Pixels("RGBA"),
    bytes.fromhex("50a6c43c27a5374da9163142c7ebedba"): _Pixels("RGBA", premultiplied=True),
    bytes.fromhex("8fd7fee3dbe8cf4a84c1e97f6136b327"): _Pixels("RGB16", 32, True),
}
"""The pixel formats, by GUID (T.832, table A.6), that imagecodecs decodes with all of their channels."""


class _JpegXr(ReadOnly):
    """JPEG XR, read-only."""

    format = Format(
        name="JXR",
        extensions=("jxr", "wdp", "hdp"),
        media_type="image/jxr",
        description="JPEG XR",
        costs_like="JXL",
    )

    def __init__(self) -> None:
        self.recognises: Callable[[bytes], bool] | None = lambda head: head.startswith(_SIGNATURE)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the container and the header of its image; see `Codec`."""
        try:
            tags = _tags(file.data)
            width, height = _size(file.data, tags)
            transform = _number(tags, _TRANSFORM) if _TRANSFORM in tags else 0
        except (ValueError, struct.error) as error:
            raise CorruptImage(f"The header of the JPEG XR file is invalid: {error}.") from error
        limits.check(width, height)
        pixels = _KINDS.get(tags.get(_PIXELS, b""))
        if pixels is None:
            raise UnreadKind("JPEG XR files with this pixel format aren't supported.")
        orientation = _ORIENTATIONS[transform] if transform < len(_ORIENTATIONS) else 1
        return Description(
            format=self.format,
            pages=(Page(width, height, orientation=orientation, native=pixels),),
            mode=pixels.mode,
            depth=pixels.depth,
            floating=pixels.floating,
            premultiplied=pixels.premultiplied,
            colour=_SCRGB if pixels.floating else tags.get(_ICC) or None,
        )

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return None. EXIF is spread over the container, and isn't supported."""
        return None

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return jxrlib; see `Codec`."""
        return (Decoder(_frames),)


def _tags(data: memoryview) -> dict[int, bytes]:
    """Return the values of the first directory by tag."""
    found: dict[int, bytes] = {}
    for tag, start, end in _entries(data):
        found.setdefault(tag, bytes(data[start:end]))
    return found


def _entries(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield tag, start and end of each value of the first directory."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    for index in range(count):
        tag, kind, values = struct.unpack_from("<HHI", data, at + 2 + 12 * index)
        length = values * _SIZES.get(kind, 0)
        start = at + 2 + 12 * index + 8
        if length > 4:
            (start,) = struct.unpack_from("<I", data, start)
        if start + length > len(data):
            raise ValueError("a value of its directory lies after the end of the file")
        yield tag, start, start + length


def _as_stored(data: memoryview) -> bytes:
    """Return a file without a transform in its directory, since jxrlib fails on rotations and doesn't apply them."""
    plain = bytearray(data)
    for tag, start, end in _entries(data):
        if tag == _TRANSFORM:
            plain[start:end] = bytes(end - start)
    return bytes(plain)


def _number(tags: dict[int, bytes], tag: int) -> int:
    value = tags.get(tag, b"")
    if not 0 < len(value) <= 4:
        raise ValueError("a value of its directory is missing")
    return int.from_bytes(value, "little")


def _size(data: memoryview, tags: dict[int, bytes]) -> tuple[int, int]:
    """Return the width and height.

    jxrlib uses the header of the image, and reads out of bounds if alpha has another size.

    Raises:
        ValueError: The container, the image and its alpha have different sizes.
    """
    said = _number(tags, _WIDTH), _number(tags, _HEIGHT)
    for place in (_IMAGE, _ALPHA):
        if place == _IMAGE or place in tags:
            at = _number(tags, place)
            if bytes(data[at : at + 8]) != _CODESTREAM:
                raise ValueError("no image at the offset in the header")
            short = data[at + 10] & 0x80
            width, height = struct.unpack_from(">HH" if short else ">II", data, at + 12)
            if (width + 1, height + 1) != said:
                raise ValueError("its parts have different sizes")
    return said


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    page = source.description.first
    samples = of_size(imagecodecs().jpegxr_decode(_as_stored(source.file.data)), (page.width, page.height))
    pixels = _pixels(samples, page.native)
    blobs = {METADATA["xmp"]: _tags(source.file.data).get(_XMP)} if "xmp" in how.metadata else {}
    yield Frame(with_metadata(pixels, blobs), "1" if page.native.mode == "1" else mode_of(pixels))


def _pixels(samples: "numpy.ndarray[Any, Any]", kind: _Pixels) -> pyvips.Image:
    if kind.shared:
        exponents = samples[:, :, 3:].astype("float32") - 136
        return light(samples[:, :, :3] * 2**exponents * (samples[:, :, 3:] > 0))
    if kind.floating:
        return light(samples)
    if samples.dtype == bool:
        return whole_numbers(samples.astype("uint8") * 255, 8)
    bits = 8 * samples.dtype.itemsize
    if kind.mode == "CMYK":
        inks = whole_numbers(samples, bits, kind="cmyk")
        return inks if bits == 8 else (inks / 257 + 0.5).cast("uchar").copy(interpretation="cmyk")
    return whole_numbers(samples, bits)


CODECS = (_JpegXr(),)
