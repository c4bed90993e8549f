"""A still picture that can be worked with at once, of any image file: its first frame, upright, in sRGB."""

from dataclasses import dataclass

import pyvips

from progimage.engine.codecs.codec import Decoder, Decoding, Source
from progimage.engine.colourspace import drop_unfit_profile, to_8_bits, to_integers, without_profile
from progimage.engine.cost import Facts, look_cost
from progimage.engine.decode import decode, with_decoders
from progimage.engine.files import InputFile
from progimage.engine.frame import Frame, turned_upright
from progimage.engine.limits import Limits
from progimage.engine.source import open_source
from progimage.engine.tone_mapping import peak_of, tone_mapped


@dataclass(frozen=True, slots=True)
class Picture:
    """A still picture.

    Attributes:
        pixels: Grey or sRGB of 8 bits, with alpha if it has one, upright, in memory, without metadata.
        stands_for: The width and height that it has in full.
    """

    pixels: pyvips.Image
    stands_for: tuple[int, int]


def open_picture(file: InputFile, limits: Limits, longest: int | None = None) -> Picture:
    """Decode the first frame or page of an image file.

    Args:
        file: The image file.
        limits: The largest image to accept.
        longest: It may be decoded smaller, if its longer side keeps twice so many pixels.

    Raises:
        NotAnImage: It is in no format that can be read.
        CorruptImage: It is broken.
        LimitExceeded: It is too large.
    """
    source = open_source(file, limits)
    facts = Facts.of(source)
    limits.check_cost(lambda: look_cost(facts), drawing=facts.is_drawing)
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
    """Make the pixels of such a picture of a decoded frame."""
    pixels = turned_upright(drop_unfit_profile(frame.pixels).copy_memory(), frame.orientation)
    if pixels.format in ("float", "double"):
        pixels = to_integers(pixels, deep=False)
    if frame.hdr:
        pixels = tone_mapped(pixels, frame.hdr, peak_of(pixels, frame.hdr))
    pixels = to_8_bits(without_profile(pixels))
    bands, interpretation = pixels.bands, pixels.interpretation
    # Anew, so that no metadata of its own comes along into another picture.
    bare = pyvips.Image.new_from_memory(pixels.write_to_memory(), pixels.width, pixels.height, bands, "uchar")
    return bare.copy(interpretation=interpretation)
