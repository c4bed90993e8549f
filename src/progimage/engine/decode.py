"""From a source to frames. What the container says of a picture is applied here, once, whatever the format."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pyvips

from progimage.engine.codecs.codec import AS_IT_IS, Decoder, Decoding, Source
from progimage.engine.errors import CorruptImage, EngineError, say
from progimage.engine.frame import Frame, without_orientation

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
        for index, frame in enumerate(decoder.frames(source, first, last, how), first):
            yield _as_described(frame, source, decoder, index, how)
    except (EngineError, MemoryError, pyvips.Error):
        raise
    except Exception as error:  # codecs raise whatever their parsing runs into
        raise CorruptImage(f"The image can't be decoded: {say(error)}.") from error


def _as_described(frame: Frame, source: Source, decoder: Decoder, index: int, how: Decoding) -> Frame:
    """Apply what the header says and the decoder has not: the crop, and how the pixels are to be turned, later."""
    page, pixels = source.description.page(index), without_orientation(frame.pixels)
    if page.crop and not decoder.crops:
        pixels = pixels.crop(page.crop.left, page.crop.top, page.crop.width, page.crop.height)
    orientation = 1 if decoder.turns else page.orientation
    full = source.stands_for or (page.size if how.scaled else None)
    return replace(frame, pixels=pixels, orientation=orientation, stands_for=full)


def with_decoders(source: Source, attempt: Callable[[Decoder], _T]) -> _T:
    """Decode in one way after the other, until one of them succeeds.

    Args:
        source: The image.
        attempt: Does all that is to be done with a decoder.

    Raises:
        CorruptImage: None of them can decode it.
        MemoryError: There is not enough memory for it.
    """
    decoders = source.codec.decoders(source.description)
    for decoder in decoders:
        try:
            return attempt(decoder)
        except CorruptImage:
            if decoder is decoders[-1]:
                raise
        except pyvips.Error as error:
            if _NO_MEMORY.search(str(error)):
                raise MemoryError(say(error)) from None
            if decoder is decoders[-1]:
                raise CorruptImage(say(error)) from error
    raise AssertionError("a codec has at least one decoder")
