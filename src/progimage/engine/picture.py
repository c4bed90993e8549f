"""Decoding any image file to a still image that is ready to use: its first frame, upright, in sRGB."""

from dataclasses import dataclass

import pyvips

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.colourspace import drop_unfit_profile, to_8_bits, to_integers, without_profile
from progimage.engine.cost import Facts, analysis_cost
from progimage.engine.decode import decode, with_decoders
from progimage.engine.files import InputFile
from progimage.engine.frame import Frame, turned_upright
from progimage.engine.limits import Limits
from progimage.engine.source import open_source
from progimage.engine.tone_mapping import peak_of, tone_mapped


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded still image.

    Attributes:
        pixels: Grey or sRGB of 8 bits, with alpha if the image has it, upright, in memory, without metadata.
        stands_for: Full width and height of the image.
    """

    pixels: pyvips.Image
    stands_for: tuple[int, int]


def open_picture(file: InputFile, limits: Limits, longest: int | None = None) -> Picture:
    """Decode the first frame or page of an image file.

    Args:
        file: The image file.
        limits: The largest image to accept.
        longest: If given, the image can be decoded at a reduced size with at least twice this many pixels on its
            longer side.

    Raises:
        NotAnImage: The file is not in a supported image format.
        CorruptImage: The image is damaged.
        LimitExceeded: The image is too large.
    """
    source = open_source(file, limits)
    facts = Facts.of(source)
    limits.check_cost(lambda: analysis_cost(facts), drawing=facts.is_drawing)
    return with_decoders(source, lambda decoder: _decoded(source, decoder, longest))


def _decoded(source: Source, decoder: Decoder, longest: int | None) -> Picture:
    shrink = 1
    if longest:
        spare = max(source.size) // (2 * longest)
        shrink = next((fraction for fraction in decoder.shrinks if fraction <= spare), 1)
    frame = next(decode(source, decoder, 0, 1, Decoding(shrink)))
    pixels = as_picture(frame)
    return Picture(pixels, source.upright if shrink > 1 else (pixels.width, pixels.height))


def as_picture(frame: Frame) -> pyvips.Image:
    """Convert a decoded frame to the pixels of a `Picture`."""
    pixels = turned_upright(drop_unfit_profile(frame.pixels).copy_memory(), frame.orientation)
    if pixels.format in ("float", "double"):
        pixels = to_integers(pixels, deep=False)
    if frame.hdr:
        pixels = tone_mapped(pixels, frame.hdr, peak_of(pixels, frame.hdr))
    pixels = to_8_bits(without_profile(pixels))
    bands, interpretation = pixels.bands, pixels.interpretation
    # Create a new image, so that no metadata leaks into another image.
    bare = pyvips.Image.new_from_memory(pixels.write_to_memory(), pixels.width, pixels.height, bands, "uchar")
    return bare.copy(interpretation=interpretation)
