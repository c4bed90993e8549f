"""JPEGs that few programs support: 12-bit, lossless, and JPEG-LS."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pyvips
from PIL import Image

from progimage.engine.codecs.codec import Decoder, Decoding, ReadOnly, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.jpeg_header import LS, JpegHeader, jpeg_header
from progimage.engine.codecs.samples import imagecodecs, of_size, whole_numbers
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage, UnreadKind
from progimage.engine.files import InputFile
from progimage.engine.frame import METADATA, Frame, with_metadata
from progimage.engine.limits import Limits
from progimage.engine.metadata import exif_orientation, loaded_exif
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    import numpy


_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_ADOBE_CMYK = "CMYK"
_END = b"\xff\xd9"
_DEPTHS = range(2, 17)


def header_of(file: InputFile) -> JpegHeader:
    """Read the segments of a JPEG.

    Raises:
        CorruptImage: The segments are invalid.
    """
    try:
        return jpeg_header(file.data)
    except ValueError as error:
        raise CorruptImage(f"The header of the JPEG is invalid: {error}.") from error


def exif_of(file: InputFile) -> Image.Exif | None:
    """Return the EXIF of a JPEG that Pillow can't open."""
    data = header_of(file).exif
    return None if data is None else loaded_exif(data)


def describe_samples(format: Format, file: InputFile, header: JpegHeader, limits: Limits) -> Description:
    """Return the description of a JPEG from its segments.

    Raises:
        CorruptImage: The header is contradictory.
        UnreadKind: This variant isn't supported.
        LimitExceeded: It is too large.
    """
    limits.check(header.width, header.height)
    if header.components not in _MODES or header.bits not in _DEPTHS:
        raise UnreadKind(
            f"A {format.description} with {header.components} channels of {header.bits} bits isn't supported."
        )
    mode = _MODES[header.components]
    page = Page(header.width, header.height, orientation=exif_orientation(header.exif), native=header)
    return Description(
        format=format,
        pages=(page,),
        mode=mode + "16" * (header.bits > 8 and mode != "CMYK"),
        depth=header.bits,
        colour=header.icc,
    )


def frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    """Decode a JPEG with imagecodecs; see `Decoder.frames`."""
    header: JpegHeader = source.description.first.native
    library, data = imagecodecs(), bytes(source.file.data)
    if header.process == LS:
        # If data ends without a marker, CharLS can run for seconds.
        samples = library.jpegls_decode(data + _END)
    else:
        samples = library.jpeg8_decode(data, outcolorspace=_ADOBE_CMYK if header.components == 4 else None)
    samples = of_size(samples, (header.width, header.height))
    if (1 if samples.ndim == 2 else samples.shape[2]) != header.components:
        raise CorruptImage("The channels of the image differ from its header.")
    pixels = _pixels(samples, header)
    blobs = {METADATA["exif"]: header.exif} if "exif" in how.metadata else {}
    yield Frame(with_metadata(pixels, blobs), mode_of(pixels))


def _pixels(samples: "numpy.ndarray[Any, Any]", header: JpegHeader) -> pyvips.Image:
    if header.components < 4:
        return whole_numbers(samples, header.bits)
    inks = whole_numbers(samples, header.bits, kind="cmyk")
    if header.adobe is not None:  # Adobe stores inverted inks
        inks = inks.invert()
    if inks.format == "ushort":
        inks = (inks / 257 + 0.5).cast("uchar").copy(interpretation="cmyk")
    return inks


class _JpegLs(ReadOnly):
    """JPEG-LS, read-only."""

    format = Format(
        name="JPEG-LS", extensions=("jls",), media_type="image/jls", description="JPEG-LS", costs_like="HEIC"
    )

    def __init__(self) -> None:
        self.recognises: Callable[[bytes], bool] | None = _is_ls

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the segments; see `Codec`."""
        return describe_samples(self.format, file, header_of(file), limits)

    def exif(self, file: InputFile) -> Image.Exif | None:
        """Return the EXIF of a file; see `Codec`."""
        return exif_of(file)

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return CharLS."""
        return (Decoder(frames),)


def _is_ls(head: bytes) -> bool:
    try:
        return jpeg_header(memoryview(head)).process == LS
    except ValueError:
        return False


CODECS = (_JpegLs(),)
