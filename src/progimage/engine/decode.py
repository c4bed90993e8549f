"""From a source to frames. What the container says of a picture is applied here, once, whatever the format."""

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
# A thread needs address space for its stack.
_NO_MEMORY = re.compile("out of memory|unable to allocate|creating thread", re.IGNORECASE)


def decode(source: Source, decoder: Decoder, first: int, last: int, how: Decoding = AS_IT_IS) -> Iterator[Frame]:
    """Decode frames or pages, one at a time, as they are asked for.

    Args:
        source: The image.
        decoder: One of its codec's.
        first: The first one, counted from 0.
        last: The one after the last.
        how: At what size, and with what metadata.

    Raises:
        CorruptImage: It can't be decoded. With a lazy decoder pyvips.Error can come later, when the pixels are used.
    """
    try:
        meant = _Meaning(source.description, how)
        for index, frame in enumerate(decoder.frames(source, first, last, how), first):
            yield meant.applied_to(_as_described(frame, source, decoder, index, how))
    except (EngineError, MemoryError, pyvips.Error, UnicodeDecodeError):
        raise
    except Exception as error:  # codecs raise whatever their parsing runs into
        raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error


def _as_described(frame: Frame, source: Source, decoder: Decoder, index: int, how: Decoding) -> Frame:
    """Apply the crop and the division by alpha that the decoder has not, and note how the pixels are to be turned."""
    page, pixels = source.description.page(index), without_orientation(frame.pixels)
    if page.crop and not decoder.crops:
        pixels = pixels.crop(page.crop.left, page.crop.top, page.crop.width, page.crop.height)
    if source.description.premultiplied and not decoder.divides and pixels.hasalpha():
        pixels = straightened(pixels)
    orientation = 1 if decoder.turns else page.orientation
    full = source.stands_for or (page.size if how.scaled else None)
    return replace(frame, pixels=pixels, orientation=orientation, stands_for=full)


class _Meaning:
    """What the numbers of an image mean, by its description, which goes before what a decoder has found.

    An ICC profile goes with the pixels, and so does one that is made for a space with other primaries than sRGB's;
    `working_space` and `colour` convert by it or keep it. All else becomes sRGB here: other curves, and HDR, unless
    that is to stay. Floats of linear light are HDR: 1 is reference white, and they become PQ first.
    """

    def __init__(self, description: Description, how: Decoding) -> None:
        self._space, self._keeps_hdr, self._peak = description.colour, how.hdr, 0.0

    def applied_to(self, frame: Frame) -> Frame:
        """Return a frame with pixels that are sRGB, or what a profile says that goes with them, or marked as HDR."""
        space, pixels = self._space, frame.pixels
        if frame.hdr:  # the decoder has seen to it
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
        # Measured in the first frame, so that all of an animation are mapped alike.
        self._peak = self._peak or peak_of(pixels, space)
        mode = frame.mode if frame.mode != "P" else mode_of(pixels)
        return replace(frame, pixels=tone_mapped(pixels, space, self._peak), mode=mode)


def with_decoders(source: Source, attempt: Callable[[Decoder], _T]) -> _T:
    """Decode in one way after the other, until one of them succeeds.

    Args:
        source: The image; if its limits say so, what can be decoded of a damaged one is good enough.
        attempt: Does all that is to be done with a decoder.

    Raises:
        CorruptImage: None of them can decode it.
        MemoryError: There is not enough memory for it.
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
        except UnicodeDecodeError:  # of what libvips says
            forget_libvips_errors()
            if last:
                raise CorruptImage("The image can't be decoded.") from None
        except pyvips.Error as error:
            if _NO_MEMORY.search(str(error)):
                raise MemoryError(say(error)) from None
            if last or (decoder.refuses and decoder.refuses.search(str(error))):
                raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error
    raise AssertionError("a codec has at least one decoder")
