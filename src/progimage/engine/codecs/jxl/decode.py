"""Decoding the pixels of a JPEG XL image with libjxl through imagecodecs.

imagecodecs returns all frames with their stored depth, turned upright. This module adds what imagecodecs doesn't do:
it unpremultiplies alpha, reads the black channel, and scales depths other than 8 or 16 bits to the full range.

If libjxl would need a colour management system to convert to the original's space, it returns linear light instead,
which has too few steps for dark colours in 8 bits. So we rewrite the header with Display P3 as the original's space in
place of the profile. This is exact, since such images are stored in a space of their own (XYB), from which libjxl
converts to any other. The black channel, which imagecodecs ignores, is read in a similar way: we declare it as alpha.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from progimage.engine.codecs.jxl.bits import Bits
from progimage.engine.codecs.jxl.frames import JxlFrames
from progimage.engine.codecs.jxl.header import D65_WHITE, Box, Channel, JxlColour, JxlHeader, boxes, codestream, p3
from progimage.engine.codecs.jxl.icc import read_icc
from progimage.engine.codecs.samples import imagecodecs

if TYPE_CHECKING:
    import numpy

_AT_ONCE = 25_000_000
"""Maximum number of pixels in all frames up to which an animation is decoded at once."""
_TIFF = (b"II*\0", b"MM\0*")
_MOST_METADATA = 16_000_000
_ALPHA, _BLACK = 0, 4
_Field = tuple[int, int]
"""A number, and its width in bits."""
# Fields as read by `Bits`: ColourEncoding and ExtraChannelInfo of ISO/IEC 18181-1.
_DISPLAY_P3: tuple[_Field, ...] = (0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (9, 4), (0, 1), (2, 2), (11, 4), (1, 2)
_GREY: tuple[_Field, ...] = (0, 1), (0, 1), (1, 2), (1, 2), (0, 1), (2, 2), (11, 4), (1, 2)
_IS_ALPHA: tuple[_Field, ...] = (0, 1), (0, 2)
_IS_DEPTH: tuple[_Field, ...] = (0, 1), (1, 2)


@dataclass(frozen=True, slots=True)
class JxlPixels:
    """A decoded frame, upright.

    Attributes:
        samples: Array of height × width × bands; 8 or 16 bits that use the full range, or floats with 1 as white.
            The bands are grey, RGB or CMYK (the largest value is the most ink), and alpha last, which isn't
            premultiplied.
        duration: Duration in milliseconds.
    """

    samples: "numpy.ndarray[Any, Any]"
    duration: int


def jxl_is_cmyk(header: JxlHeader) -> bool:
    """Return whether `jxl_decode` returns CMYK."""
    return header.black and not header.xyb and header.colour.space == "rgb"


def jxl_pixel_colour(header: JxlHeader) -> JxlColour:
    """Return the colour space of the pixels that `jxl_decode` returns.

    The image's profile (`icc.icc_profile`) describes them only if the returned `icc` is true.
    """
    if not _needs_other_colour(header):
        return header.colour
    return JxlColour(space="grey") if header.colour.space == "grey" else p3()


def jxl_decode(
    data: bytes | memoryview, header: JxlHeader, frames: JxlFrames, first: int = 0, last: int = 1
) -> Iterator[JxlPixels]:
    """Decode frames lazily, one at a time.

    Decoding a single frame includes decoding those before it that it can depend on, but none after it. In that case,
    small animations are decoded at once; larger ones frame by frame.

    Args:
        data: The file.
        header: The header of the file.
        frames: The frames of the file.
        first: Index of the first one, from 0.
        last: Index after the last one.

    Raises:
        ValueError: The image can't be decoded.
    """
    last = min(last, len(frames.durations))
    whole = codestream(data)
    stream = _with_other_colour(whole, header) if _needs_other_colour(header) else whole
    moved = len(stream) - len(whole)
    black = _with_black_as_alpha(whole, header) if jxl_is_cmyk(header) else None
    at_once = frames.linked and black is None and header.width * header.height * last <= _AT_ONCE
    if at_once and last - first > 1:
        decoded = _decode(stream[: frames.ends[last - 1] + moved], None)
        if len(decoded) != last:
            raise ValueError("its frames don't match their headers")
        for index in range(first, last):
            yield JxlPixels(_finish(decoded[index], header), frames.durations[index])
        return
    for index in range(first, last):
        samples = _decode(stream, index)
        if black is not None:
            samples = _join_black(samples, _decode(black, index), header)
        yield JxlPixels(_finish(samples, header), frames.durations[index])


def jxl_metadata(data: bytes | memoryview) -> dict[str, bytes]:
    """Return the metadata of an image with the keys "exif" and "xmp"; EXIF as a TIFF file.

    The orientation in EXIF has to be ignored in favour of the header's (ISO/IEC 18181-2).

    Args:
        data: The file.

    Raises:
        ValueError: The file is invalid. Invalid metadata is omitted.
    """
    found: dict[str, bytes] = {}
    for box in boxes(data):
        name = {b"Exif": "exif", b"xml ": "xmp"}.get(box.kind)
        content = _unpacked(box) if name and name not in found else None
        if name == "exif" and content and content[:4] not in _TIFF:  # the Pillow plugin writes EXIF without an offset
            content = content[4 + int.from_bytes(content[:4], "big") :]
        if name and content:
            found[name] = content
    return found


def _unpacked(box: Box) -> bytes | None:
    """Return the content of a box; None if it is invalid or very large."""
    if not box.compressed:
        return bytes(box.content)
    try:
        unpacked = imagecodecs().brotli_decode(bytes(box.content), out=bytearray(_MOST_METADATA))
    except (RuntimeError, ValueError):
        return None
    return bytes(unpacked)


def _decode(stream: Any, index: int | None) -> "numpy.ndarray[Any, Any]":
    try:
        return imagecodecs().jpegxl_decode(stream, index, numthreads=1)  # type: ignore[no-any-return]
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise ValueError(str(error)) from error


def _finish(samples: "numpy.ndarray[Any, Any]", header: JxlHeader) -> "numpy.ndarray[Any, Any]":
    """Convert samples to the form that `JxlPixels` documents."""
    import numpy

    colours = 1 if header.colour.space == "grey" else 4 if jxl_is_cmyk(header) else 3
    if samples.ndim == 2:
        samples = samples[:, :, numpy.newaxis]
    elif samples.shape[0] == colours + header.extras and colours == 1 and not header.alpha_bits:
        samples = samples[0][:, :, numpy.newaxis]  # as imagecodecs returns grey without alpha
    white = _white(samples, header)
    if header.alpha_bits and header.alpha_associated:
        samples = _straight(samples, white)
    if samples.dtype.kind == "f":
        samples, maximum = samples.astype(numpy.float32, copy=False), 1
    else:
        maximum = 255 if samples.dtype.itemsize == 1 else 65535
        if white != maximum:
            samples = ((samples.astype(numpy.uint32) * maximum + white // 2) // white).astype(samples.dtype)
    if colours == 4:  # where 0 is the most ink
        samples = samples.copy()
        numpy.subtract(maximum, samples[:, :, :4], out=samples[:, :, :4])
    return numpy.ascontiguousarray(samples)


def _white(samples: "numpy.ndarray[Any, Any]", header: JxlHeader) -> int:
    return 1 if samples.dtype.kind == "f" else (1 << header.bits) - 1


def _straight(samples: "numpy.ndarray[Any, Any]", white: int) -> "numpy.ndarray[Any, Any]":
    """Unpremultiply alpha, in groups of rows to limit the memory for floats."""
    import numpy

    result = samples.copy()
    for top in range(0, len(samples), 256):
        rows = samples[top : top + 256].astype(numpy.float32)
        alpha = rows[:, :, -1:]
        colours = rows[:, :, :-1] * (white / numpy.where(alpha > 0, alpha, white))
        if samples.dtype.kind != "f":
            colours = numpy.minimum(colours + 0.5, white)
        result[top : top + 256, :, :-1] = colours
    return result


def _join_black(
    samples: "numpy.ndarray[Any, Any]", black: "numpy.ndarray[Any, Any]", header: JxlHeader
) -> "numpy.ndarray[Any, Any]":
    import numpy

    parts = [samples[:, :, :3], black[:, :, 3:4], *([samples[:, :, 3:4]] if header.alpha_bits else [])]
    return numpy.concatenate(parts, axis=2)


def _needs_other_colour(header: JxlHeader) -> bool:
    """Return whether libjxl can't output the original's colour space (`CanOutputToColorEncoding` in `dec_xyb.cc`)."""
    colour = header.colour
    grey = colour.space == "grey" and colour.white != D65_WHITE
    return header.xyb and (colour.icc or grey or colour.space not in ("rgb", "grey"))


def _with_other_colour(stream: bytes | memoryview, header: JxlHeader) -> bytes:
    """Return the codestream with the original's colour space declared as Display P3, or the equivalent for grey."""
    end = _end(stream, header)
    fields = _GREY if header.colour.space == "grey" else _DISPLAY_P3
    return _edited(stream, end, [(*header.places.colour, fields), (header.places.end, end, ())])


def _with_black_as_alpha(stream: bytes | memoryview, header: JxlHeader) -> bytes:
    """Return the codestream with the black channel declared as alpha, and alpha as another kind of channel."""
    black = next(channel for channel in header.places.channels if channel.kind == _BLACK)
    edits: list[tuple[int, int, tuple[_Field, ...]]] = []
    for channel in header.places.channels:
        if channel is black:
            edits += [(channel.start, channel.body, _IS_ALPHA), (channel.tail, channel.end, ((0, 1),))]
        elif channel.kind == _ALPHA:
            edits += _as_depth(channel)
    return _edited(stream, _end(stream, header), edits)


def _as_depth(channel: Channel) -> list[tuple[int, int, tuple[_Field, ...]]]:
    if channel.body == channel.tail:  # everything has its default, which is 8-bit alpha
        return [(channel.start, channel.end, (*_IS_DEPTH, (0, 3), (0, 2), (0, 2)))]
    return [(channel.start, channel.body, _IS_DEPTH), (channel.tail, channel.end, ())]


def _end(stream: bytes | memoryview, header: JxlHeader) -> int:
    """Return the position of the first bit after the header and its ICC profile."""
    bits = Bits(stream, header.places.end)
    if header.colour.icc:
        read_icc(bits)
    return bits.at


def _edited(stream: bytes | memoryview, end: int, edits: list[tuple[int, int, tuple[_Field, ...]]]) -> bytes:
    """Replace bits of a header by other fields, and move the rest.

    Args:
        stream: The codestream.
        end: Position of the first bit after the header.
        edits: For each replacement, in order: first bit, bit after the last, and the new fields.
    """
    header = int.from_bytes(stream[: (end + 7) >> 3], "little")
    value = length = at = 0
    for start, stop, fields in [*edits, (end, end, ())]:
        value |= (header >> at & ((1 << (start - at)) - 1)) << length
        length += start - at
        for number, count in fields:
            value |= number << length
            length += count
        at = stop
    return value.to_bytes((length + 7) >> 3, "little") + bytes(stream[(end + 7) >> 3 :])
