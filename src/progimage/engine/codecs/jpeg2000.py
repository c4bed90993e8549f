"""JPEG 2000: files (JP2) and bare codestreams (J2K)."""

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyvips
from PIL import Image

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.jp2_header import (
    CMYK,
    CODESTREAM,
    GREY,
    LAB,
    SIGNATURE,
    SRGB,
    SYCC,
    Jp2Header,
    is_high_throughput,
    jp2_header,
)
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.codecs.samples import imagecodecs
from progimage.engine.codecs.stripping.jpeg2000 import stripped_jpeg2000
from progimage.engine.description import Description, Page
from progimage.engine.errors import CorruptImage
from progimage.engine.files import InputFile, OutputFile
from progimage.engine.frame import Frame, normalise, srgb_of_lab
from progimage.engine.limits import Limits
from progimage.engine.metadata import Buffer, Kept
from progimage.engine.modes import has_alpha, mode_of

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_UNTILED, _TILE = 16_000_000, (2048, 2048)
"""Number of pixels from which images are tiled, and the tile size; one of 99 megapixels needed more than 4 GiB."""
_PLAIN = (None, SRGB, GREY, SYCC)
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class _Jpeg2000(PillowCodec):
    """Uses Pillow for 8-bit grey and RGB; it truncates deeper samples and corrupts palettes.

    Everything else is read with imagecodecs, which uses the same library and is equally fast. It is always written
    losslessly, since OpenJPEG's quality in dB changes uniform colours.
    """

    def __init__(self, format: Format, starts: tuple[bytes, ...], save: dict[str, Any] | None = None) -> None:
        super().__init__(format, "JPEG2000", save)
        self.recognises: Callable[[bytes], bool] | None = lambda head: head.startswith(starts)

    def describe(self, file: InputFile, limits: Limits, dpi: float) -> Description:
        """Read the boxes or the header of the codestream; see `Codec`."""
        data = bytes(file.data)
        try:
            header = jp2_header(data)
        except ValueError as error:
            raise CorruptImage(f"The header of the JPEG 2000 file is invalid: {error}.") from error
        limits.check(header.width, header.height)
        depth, mode = max(header.depths, default=8), _mode(header)
        return Description(
            format=_HTJ2K.format if is_high_throughput(data) else self.format,
            pages=(Page(header.width, header.height, native=header),),
            mode=mode + "16" * (depth > 8 and mode != "CMYK"),
            depth=depth,
            premultiplied=header.premultiplied,
            colour=header.icc or (header.cicp.decoded() if header.cicp and header.cicp.known else None),
        )

    def exif(self, file: InputFile) -> None:
        """Return None, since EXIF isn't supported."""

    def decoders(self, description: Description) -> tuple[Decoder, ...]:
        """Return Pillow for images that it can read, then imagecodecs."""
        header: Jp2Header = description.first.native
        by_samples = Decoder(_frames)
        if description.depth != 8 or header.palette or header.enumerated not in _PLAIN or len(set(header.depths)) > 1:
            return (by_samples,)
        return Decoder(self.frames), by_samples

    def stripped(self, source: Source, kept: Kept) -> list[Buffer]:
        """Return the parts that decoders need; see `Codec`."""
        return stripped_jpeg2000(source.file.data, kept)

    def write(self, image: Image.Image, target: OutputFile, **options: Any) -> None:
        """Write an image to memory with Pillow, then to the file: the encoder never returns if the disk is full."""
        encoded = io.BytesIO()
        image.save(encoded, self.plugin, **options)
        with target.file() as file:
            file.write(encoded.getbuffer())

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return the tile size for large images."""
        return {"tile_size": _TILE} if frame.pixels.width * frame.pixels.height > _UNTILED else {}


def _mode(header: Jp2Header) -> str:
    if header.enumerated == CMYK:
        return "CMYK"
    return "RGB" if header.palette else _MODES.get(header.components, "RGB")


def _frames(source: Source, first: int, last: int, how: Decoding) -> Iterator[Frame]:
    header: Jp2Header = source.description.first.native
    samples = imagecodecs().jpeg2k_decode(bytes(source.file.data), numthreads=1)
    if samples.shape[:2] != (header.height, header.width):
        raise CorruptImage(
            f"The image has {samples.shape[1]}×{samples.shape[0]} pixels, which differs from its header."
        )
    if samples.dtype.kind == "i":  # signed samples are centred on 0
        samples = samples.astype("int32") + (1 << (source.description.depth - 1))
    pixels = pyvips.Image.new_from_array(samples)
    bits = 8 if header.palette else source.description.depth
    if header.enumerated == LAB:
        yield _finished(_from_lab(pixels, bits), source)
        return
    deep = bits > 8
    white = 65535 if deep else 255
    if pixels.format not in ("uchar", "ushort") or (1 << bits) - 1 != white:
        pixels = pixels * (white / ((1 << bits) - 1)) + 0.5
    kinds = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    kind = "cmyk" if header.enumerated == CMYK else kinds[pixels.bands > 2]
    yield _finished(pixels.cast("ushort" if deep else "uchar").copy(interpretation=kind), source)


def _finished(pixels: pyvips.Image, source: Source) -> Frame:
    pixels = normalise(pixels)
    if pixels.bands == 4 and pixels.interpretation != "cmyk" and not has_alpha(source.description.mode.strip("16")):
        pixels = pixels.extract_band(0, n=3)
    return Frame(pixels, mode_of(pixels))


def _from_lab(samples: pyvips.Image, bits: int) -> pyvips.Image:
    """Convert CIELab (D50) with the default ranges (ISO/IEC 15444-1, M.11.7.4.1): 100, and 170 and 200 with offsets."""
    unit, half = 1 / ((1 << bits) - 1), 1 << (bits - 1)
    ranges, zeros = (100, 170, 200), (0, half, half * 3 / 4)
    scales = [length * unit for length in ranges]
    offsets = [-zero * scale for zero, scale in zip(zeros, scales, strict=True)]
    lab = (samples.extract_band(0, n=3) * scales + offsets).copy(interpretation="lab")
    return srgb_of_lab(lab, deep=bits > 8)


_JP2 = Format(
    name="JP2",
    extensions=("jp2", "jpf", "jpx"),
    media_type="image/jp2",
    description="JPEG 2000",
    modes=("L", "LA", "RGB", "RGBA", "L16"),
    max_side=60_000,
)
_J2K = replace(
    _JP2,
    name="J2K",
    extensions=("j2k", "j2c", "jpc"),
    media_type="image/x-jp2-codestream",
    description="JPEG 2000 codestream",
)
_HTJ2K = _Jpeg2000(
    Format(
        name="HTJ2K",
        extensions=("jph", "jhc"),
        media_type="image/jph",
        description="High-throughput JPEG 2000",
        costs_like="JXL",
    ),
    (),  # it starts like a JPEG 2000; the header distinguishes them
)
CODECS = (_HTJ2K, _Jpeg2000(_J2K, (CODESTREAM,), save={"no_jp2": True}), _Jpeg2000(_JP2, (SIGNATURE,)))
