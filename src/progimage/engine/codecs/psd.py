"""Photoshop files (PSD and PSB): the merged image, which Photoshop stores besides the layers.

docs/decisions/0019-photoshop-and-raw.md explains why layers aren't composited here.
"""

import zlib
from array import array
from collections.abc import Iterator

import pyvips
from PIL import Image

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec, metadata_in
from progimage.engine.codecs.psd_header import (
    BITMAP,
    CMYK,
    DUOTONE,
    GREY,
    INDEXED,
    LAB,
    MULTICHANNEL,
    SIGNATURE,
    PsdHeader,
    psd_header,
)
from progimage.engine.codecs.samples import imagecodecs
from progimage.engine.colorimetry import Cicp, ColourSpace
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, UnreadKind
from progimage.engine.files import InputFile
from progimage.engine.frame import PROFILE, Frame, from_pillow, srgb_of_lab, with_metadata
from progimage.engine.limits import Limits
from progimage.engine.metadata import exif_orientation, loaded_exif
from progimage.engine.modes import mode_of

_RAW, _RLE, _ZIP, _ZIP_OF_DIFFERENCES = range(4)
_LINEAR = Cicp(1, 8)
"""Colour space of 32-bit samples without a profile: linear, with the primaries of sRGB."""
_KINDS = {8: "uchar", 16: "ushort", 32: "float"}
_ROUNDING = 2 / 255
"""Tolerance, relative to white, by which colours can be darker than their white mat."""


class _Psd(PillowCodec):
    """Decoded by our own code: Pillow supports only 8 bits, and interprets any fourth channel as alpha."""

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether the file starts like a PSD or PSB."""
        return head.startswith(SIGNATURE)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the header; see `Codec`."""
        try:
            header = psd_header(file.data)
        except ValueError as error:
            raise CorruptImage(f"The header of the Photoshop file is invalid: {error}.") from error
        limits.check(header.width, header.height)
        if not header.merged:
            raise UnreadKind(
                "The Photoshop file was saved without a merged image. Save it with “Maximize Compatibility”."
            )
        return Description(
            format=self.format,
            pages=(Page(header.width, header.height, orientation=exif_orientation(header.exif), native=header),),
            mode=_mode(header),
            depth=header.depth,
            floating=header.depth == 32,
            colour=_space(header),
            warnings=tuple(_warnings(header)),
        )

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file; see `Codec`."""
        data = psd_header(file.data).exif
        return None if data is None else loaded_exif(data)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return our own decoders."""
        return (Decoder(_frames),)


def _mode(header: PsdHeader) -> str:
    if header.mode == BITMAP:
        return "1"
    if header.mode == INDEXED:
        return "P" if header.transparent is None else "RGBA"
    if _has_inks(header):
        return "CMYK"
    grey = header.mode in (GREY, DUOTONE) or _is_one_ink(header)
    return ("L" if grey else "RGB") + "A" * header.alpha + "16" * (header.depth > 8)


def _has_inks(header: PsdHeader) -> bool:
    return header.mode == CMYK or (header.mode == MULTICHANNEL and header.channels == 4)


def _is_one_ink(header: PsdHeader) -> bool:
    return header.mode == MULTICHANNEL and header.channels not in (3, 4)


def _space(header: PsdHeader) -> ColourSpace:
    if header.mode in (BITMAP, DUOTONE, MULTICHANNEL, LAB):
        return None
    return header.icc or (_LINEAR if header.depth == 32 else None)


def _warnings(header: PsdHeader) -> Iterator[str]:
    if header.mode == DUOTONE:
        yield "The image is a duotone, which is shown in grey."
    elif header.mode == MULTICHANNEL:
        shown = {3: "cyan, magenta and yellow", 4: "cyan, magenta, yellow and black"}.get(header.channels)
        if shown:
            yield f"The image has channels of individual inks, which are interpreted as {shown}."
        else:
            yield f"The image has {header.channels} channels of individual inks; the first is shown in grey."
    elif header.others:
        yield f"The image has additional channels ({header.others}), such as spot colours, which are ignored."


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    header: PsdHeader = source.description.first.native
    compression = int.from_bytes(source.file.data[header.pixels : header.pixels + 2], "big")
    shown = 1 if _is_one_ink(header) else header.colours + header.alpha
    planes = _Planes(source.file.data[header.pixels + 2 :], header, compression).first(shown)
    frame = _put_together(planes, header)
    blobs = metadata_in({"exif": header.exif, "xmp": header.xmp}, how)
    profile = header.icc if header.mode == CMYK else None  # the description has the profile of all others
    yield Frame(with_metadata(frame.pixels, {PROFILE: profile, **blobs}), frame.mode)


class _Planes:
    """The separate channels of the merged image, as bytes."""

    def __init__(self, data: memoryview, header: PsdHeader, compression: int) -> None:
        self._data, self._header, self._compression = data, header, compression
        self._row = (header.width * header.depth + 7) // 8
        self._plane = self._row * header.height

    def first(self, count: int) -> list[bytes | memoryview]:
        """Return the first `count` channels."""
        if self._compression == _RLE:
            return self._run_lengths(count)
        if self._compression == _RAW:
            data: bytes | memoryview = self._data
        elif self._compression in (_ZIP, _ZIP_OF_DIFFERENCES):
            data = zlib.decompressobj().decompress(self._data, count * self._plane)
        else:
            raise CorruptImage(f"The Photoshop file has an unknown compression: {self._compression}.")
        if len(data) < count * self._plane:
            raise CorruptImage("The Photoshop file ends before its last pixel.")
        planes = [data[at * self._plane : (at + 1) * self._plane] for at in range(count)]
        if self._compression == _ZIP_OF_DIFFERENCES:
            return [self._summed(plane) for plane in planes]
        return planes

    def _run_lengths(self, count: int) -> list[bytes | memoryview]:
        """Unpack rows of PackBits, which are preceded by the byte counts of all rows of all channels."""
        header, size = self._header, 4 if self._header.large else 2
        lengths = array("I" if header.large else "H")
        at = header.height * header.channels * size
        if at > len(self._data):
            raise CorruptImage("The Photoshop file ends before its last pixel.")
        lengths.frombytes(self._data[:at])
        lengths.byteswap()
        planes: list[bytes | memoryview] = []
        for channel in range(count):
            end = at + sum(lengths[channel * header.height : (channel + 1) * header.height])
            rows = Image.frombytes("L", (self._row, header.height), bytes(self._data[at:end]), "packbits", "L")
            planes.append(rows.tobytes())
            at = end
        return planes

    def _summed(self, plane: bytes | memoryview) -> bytes:
        """Undo horizontal differencing. For floats, the bytes of a row are grouped by significance."""
        imagecodecs()  # also makes numpy available
        import numpy

        step = {16: ">u2"}.get(self._header.depth, "u1")
        rows = numpy.frombuffer(plane, step).reshape(self._header.height, -1)
        summed = numpy.cumsum(rows, axis=1, dtype=rows.dtype.newbyteorder("=")).astype(step)
        if self._header.depth == 32:
            return summed.reshape(self._header.height, 4, -1).transpose(0, 2, 1).tobytes()
        return summed.tobytes()


def _put_together(planes: list[bytes | memoryview], header: PsdHeader) -> Frame:
    if header.mode == BITMAP:
        # A set bit means black.
        return from_pillow(Image.frombytes("1", (header.width, header.height), bytes(planes[0]), "raw", "1;I"))
    bands = [
        pyvips.Image.new_from_memory(plane, header.width, header.height, 1, _KINDS[header.depth]) for plane in planes
    ]
    pixels = bands[0].bandjoin(bands[1:]) if len(bands) > 1 else bands[0]
    if header.depth > 8:
        pixels = pixels.byteswap()
    if header.mode == INDEXED:
        return _with_palette(pixels, header)
    white = {8: 255, 16: 65535, 32: 1}[header.depth]
    if header.alpha:
        pixels = _without_mat(pixels.copy_memory(), header, white)
    if header.mode == LAB:
        pixels = _from_lab(pixels, header)
    elif header.depth == 32:
        pixels = (pixels.clamp() * 65535 + 0.5).cast("ushort")
    if _has_inks(header):
        return Frame(_cmyk(pixels), "CMYK")
    deep, grey = pixels.format == "ushort", pixels.bands < 3
    kind = ("grey16" if deep else "b-w") if grey else "rgb16" if deep else "srgb"
    pixels = pixels.copy(interpretation=kind)
    return Frame(pixels, mode_of(pixels))


def _with_palette(index: pyvips.Image, header: PsdHeader) -> Frame:
    table = pyvips.Image.new_from_memory(header.palette, 256, 3, 1, "uchar")
    rows = [table.crop(0, row, 256, 1) for row in range(3)]
    pixels = index.maplut(rows[0].bandjoin(rows[1:])).copy(interpretation="srgb")
    if header.transparent is None:
        return Frame(pixels, "P")
    return Frame(pixels.bandjoin(index != header.transparent).copy(interpretation="srgb"), "RGBA")


def _without_mat(pixels: pyvips.Image, header: PsdHeader, white: int) -> pyvips.Image:
    """Remove the white that Photoshop has blended into transparent pixels.

    Other programs don't blend colours with white; then some colour is darker than such blending could make it.
    """
    colours = header.colours
    neutral = (white + 1) // 2 if header.depth < 32 else 0.5
    mat = [white, neutral, neutral] if header.mode == LAB else [white] * colours
    colour, alpha = pixels.extract_band(0, n=colours), pixels.extract_band(colours)
    judged = colour.extract_band(0) if header.mode == LAB else colour
    if (judged + alpha).min() < white * (1 - _ROUNDING):
        return pixels
    visible = (alpha > 0).ifthenelse(alpha, white)
    freed = (colour - mat) * (white / visible) + mat
    if header.depth < 32:
        freed = (freed + 0.5).cast(pixels.format)
    return freed.bandjoin(alpha)


def _from_lab(pixels: pyvips.Image, header: PsdHeader) -> pyvips.Image:
    """Convert CIELab relative to D50, whose neutral value is 128 or 32768."""
    deep = header.depth > 8
    scale = [100 / 65535, 1 / 256, 1 / 256] if deep else [100 / 255, 1, 1]
    zero = [0, -128, -128]
    lab = (pixels.extract_band(0, n=3) * scale + zero).copy(interpretation="lab")
    converted = srgb_of_lab(lab, deep=deep)
    return converted.bandjoin(pixels.extract_band(3)) if header.alpha else converted


def _cmyk(pixels: pyvips.Image) -> pyvips.Image:
    """Return 8-bit inks, with the largest number for the most ink; in the file it is 0."""
    alpha = pixels.extract_band(4) if pixels.bands > 4 else None
    inks = pixels.extract_band(0, n=4).invert()
    joined = inks if alpha is None else inks.bandjoin(alpha)
    if joined.format == "ushort":
        joined = (joined / 257 + 0.5).cast("uchar")
    return joined.copy(interpretation="cmyk")


CODECS = (
    _Psd(
        Format(name="PSD", extensions=("psd", "psb"), media_type="image/vnd.adobe.photoshop", description="Photoshop")
    ),
)
