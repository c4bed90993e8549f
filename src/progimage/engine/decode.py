"""Decoding a source to frames. What the container says about the image is applied here, once for all formats."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pyvips

from progimage.engine.codecs.codec import AS_IT_IS, Decoder, Decoding, Source
from progimage.engine.colorimetry import BT709, Calibrated, Cicp, full, is_linear, is_srgb, to_srgb
from progimage.engine.description import Description
from progimage.engine.errors import CorruptImage, EngineError, forget_libvips_errors, say
from progimage.engine.frame import Frame, icc_profile, with_profile, without_icc, without_orientation
from progimage.engine.matrix_profile import profile_of
from progimage.engine.modes import mode_of
from progimage.engine.paint import straightened
from progimage.engine.tone_mapping import BT2020_PQ, peak_of, pq_encoded, tone_mapped

_T = TypeVar("_T")
# Creating a thread fails if there is no address space for its stack.
_NO_MEMORY = re.compile("out of memory|unable to allocate|creating thread", re.IGNORECASE)


def decode(source: Source, decoder: Decoder, first: int, last: int, how: Decoding = AS_IT_IS) -> Iterator[Frame]:
    """Decode frames or pages lazily, one at a time.

    Args:
        source: The image.
        decoder: One of the codec's decoders.
        first: Index of the first frame or page, from 0.
        last: Index after the last one.
        how: Size to decode at, and metadata to read.

    Raises:
        CorruptImage: The image can't be decoded. With a lazy decoder, pyvips.Error can be raised later, when the
            pixels are used.
    """
    try:
        meant = _Meaning(source.description, how)
        for index, frame in enumerate(decoder.frames(source, first, last, how), first):
            yield meant.applied_to(_as_described(frame, source, decoder, index, how))
    except (EngineError, MemoryError, pyvips.Error, UnicodeDecodeError):
        raise
    except Exception as error:  # codecs can raise any kind of exception while they parse
        raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error


def _as_described(frame: Frame, source: Source, decoder: Decoder, index: int, how: Decoding) -> Frame:
    """Crop and unpremultiply unless the decoder has done so, and record the orientation still to be applied."""
    page, pixels = source.description.page(index), without_orientation(frame.pixels)
    if page.crop and not decoder.crops:
        pixels = pixels.crop(page.crop.left, page.crop.top, page.crop.width, page.crop.height)
    if source.description.premultiplied and not decoder.divides and pixels.hasalpha():
        pixels = straightened(pixels)
    orientation = 1 if decoder.turns else page.orientation
    full = source.stands_for or (page.size if how.scaled else None)
    return replace(frame, pixels=pixels, orientation=orientation, stands_for=full)


class _Meaning:
    """The colour space of an image. Its description takes precedence over what a decoder has found.

    An ICC profile stays with the pixels; for a space with other primaries than sRGB's, a profile is made. The steps
    `working_space` and `colour` convert by the profile or keep it. Everything else is converted to sRGB here: other
    curves, and HDR unless it is kept. Linear floating-point samples are HDR, with 1 as reference white; they are
    converted to PQ first.
    """

    def __init__(self, description: Description, how: Decoding) -> None:
        self._space, self._keeps_hdr, self._peak = description.colour, how.hdr, 0.0

    def applied_to(self, frame: Frame) -> Frame:
        """Return the frame with pixels that are sRGB, have an ICC profile, or are marked as HDR."""
        space, pixels = self._space, frame.pixels
        if frame.hdr:  # the decoder has handled it
            return frame
        if isinstance(space, Cicp | Calibrated) and pixels.format == "float" and is_linear(space):
            pixels = pq_encoded(without_icc(pixels), space.chromaticities)
            return self._from_hdr(replace(frame, pixels=pixels, mode=mode_of(pixels)), BT2020_PQ)
        if space is None or pixels.format not in ("uchar", "ushort") or pixels.interpretation == "cmyk":
            return frame
        if isinstance(space, bytes):
            return frame if icc_profile(pixels) else replace(frame, pixels=with_profile(pixels, space))
        pixels = without_icc(pixels)
        if isinstance(space, Cicp) and space.hdr:
            return self._from_hdr(replace(frame, pixels=pixels), space)
        if is_srgb(space):
            return replace(frame, pixels=pixels)
        if full(space) and space.chromaticities != BT709 and pixels.bands > 2:
            return replace(frame, pixels=with_profile(pixels, profile_of(space)))
        return replace(frame, pixels=to_srgb(pixels, space))

    def _from_hdr(self, frame: Frame, space: Cicp) -> Frame:
        if self._keeps_hdr:
            return replace(frame, hdr=space)
        pixels = frame.pixels.copy_memory()  # it is read twice
        # Measured in the first frame, so that all frames of an animation are mapped in the same way.
        self._peak = self._peak or peak_of(pixels, space)
        mode = frame.mode if frame.mode != "P" else mode_of(pixels)
        return replace(frame, pixels=tone_mapped(pixels, space, self._peak), mode=mode)


def with_decoders(source: Source, attempt: Callable[[Decoder], _T]) -> _T:
    """Try the decoders of a source one after the other until one succeeds.

    Args:
        source: The image. If its limits accept damaged images, lenient decoders are tried last.
        attempt: Does all the work with a decoder.

    Returns:
        The result of the successful attempt.

    Raises:
        CorruptImage: No decoder can decode the image.
        MemoryError: There is not enough memory.
    """
    decoders = source.codec.decoders(source.description)
    lenient = [decoder for decoder in decoders if decoder.lenient]
    try:
        return _first_of([decoder for decoder in decoders if not decoder.lenient], attempt)
    except CorruptImage:
        if not (lenient and source.limits.damaged):
            raise
    return _first_of(lenient, attempt)


def _first_of(decoders: list[Decoder], attempt: Callable[[Decoder], _T]) -> _T:
    for decoder in decoders:
        last = decoder is decoders[-1]
        try:
            return attempt(decoder)
        except CorruptImage:
            if last:
                raise
        except UnicodeDecodeError:  # from an error message of libvips
            forget_libvips_errors()
            if last:
                raise CorruptImage("The image can't be decoded.") from None
        except pyvips.Error as error:
            if _NO_MEMORY.search(str(error)):
                raise MemoryError(say(error)) from None
            if last or (decoder.refuses and decoder.refuses.search(str(error))):
                raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error
    raise AssertionError("a codec has at least one decoder")
