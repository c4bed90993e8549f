"""The pixels of a JPEG XL image, by libjxl, through imagecodecs.

imagecodecs gives the samples as they are: all frames, as deep as they are stored, and turned upright. What it does not
do is done here: alpha is taken out of the colours, black is fetched, and fewer or other bits than 8 or 16 are spread.

Where libjxl would have to ask a colour management for the space of the original, it gives linear light instead, which
leaves dark colours no steps in 8 bits. So it is told another original: the header is written anew, with Display P3 in
place of the profile. That is no guess, since such images are stored in a space of their own (XYB), out of which libjxl
makes any. Black, which imagecodecs leaves out, is fetched in the same way: it is declared to be alpha.
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
"""Up to so many pixels in all frames, an animation is decoded only once."""
_TIFF = (b"II*\0", b"MM\0*")
_MOST_METADATA = 16_000_000
_ALPHA, _BLACK = 0, 4
_Field = tuple[int, int]
"""A number, and in how many bits it is written."""
# Fields as `Bits` reads them: by ISO/IEC 18181-1, ColourEncoding and ExtraChannelInfo.
_DISPLAY_P3: tuple[_Field, ...] = (0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (9, 4), (0, 1), (2, 2), (11, 4), (1, 2)
_GREY: tuple[_Field, ...] = (0, 1), (0, 1), (1, 2), (1, 2), (0, 1), (2, 2), (11, 4), (1, 2)
_IS_ALPHA: tuple[_Field, ...] = (0, 1), (0, 2)
_IS_DEPTH: tuple[_Field, ...] = (0, 1), (1, 2)


@dataclass(frozen=True, slots=True)
class JxlPixels:
    """One frame, upright.

    Attributes:
        samples: Of height × width × bands; numbers of 8 or 16 bits over their whole range, or floats where 1 is white.
            The bands are grey, RGB or CMYK, where the most is the most ink, and alpha last, of which the colours are
            independent.
        duration: For how long it is shown, in milliseconds.
    """

    samples: "numpy.ndarray[Any, Any]"
    duration: int


def jxl_is_cmyk(header: JxlHeader) -> bool:
    """Return whether the pixels that `decode` gives are CMYK."""
    return header.black and not header.xyb and header.colour.space == "rgb"


def jxl_pixel_colour(header: JxlHeader) -> JxlColour:
    """Return which colours the pixels are of that `decode` gives.

    Only where it says `icc` does the profile of the image (`jxl_icc.icc_profile`) describe them.
    """
    if not _needs_other_colour(header):
        return header.colour
    return JxlColour(space="grey") if header.colour.space == "grey" else p3()


def jxl_decode(
    data: bytes | memoryview, header: JxlHeader, frames: JxlFrames, first: int = 0, last: int = 1
) -> Iterator[JxlPixels]:
    """Decode frames, one at a time, as they are asked for.

    A single frame costs what those before it cost that it may be built on; none after it are decoded. Where that is so,
    many are decoded at once, if they are small; else each like a single one.

    Args:
        data: The file.
        header: Its header.
        frames: Its frames.
        first: The first one, counted from 0.
        last: The one after the last.

    Raises:
        ValueError: It can't be decoded.
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
            raise ValueError("it has other frames than its headers say")
        for index in range(first, last):
            yield JxlPixels(_finish(decoded[index], header), frames.durations[index])
        return
    for index in range(first, last):
        samples = _decode(stream, index)
        if black is not None:
            samples = _join_black(samples, _decode(black, index), header)
        yield JxlPixels(_finish(samples, header), frames.durations[index])


def jxl_metadata(data: bytes | memoryview) -> dict[str, bytes]:
    """Return the metadata of an image, by "exif" and "xmp"; EXIF as a TIFF file.

    Its orientation is to be ignored: that of the header counts (ISO/IEC 18181-2).

    Args:
        data: The file.

    Raises:
        ValueError: The file is broken. Of metadata that is broken itself there is none.
    """
    found: dict[str, bytes] = {}
    for box in boxes(data):
        name = {b"Exif": "exif", b"xml ": "xmp"}.get(box.kind)
        content = _unpacked(box) if name and name not in found else None
        if name == "exif" and content and content[:4] not in _TIFF:  # which the Pillow plugin writes without an offset
            content = content[4 + int.from_bytes(content[:4], "big") :]
        if name and content:
            found[name] = content
    return found


def _unpacked(box: Box) -> bytes | None:
    """Return the content of a box, or None if it is broken or very large."""
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
    """Bring samples to the form that `JxlPixels` says."""
    import numpy

    colours = 1 if header.colour.space == "grey" else 4 if jxl_is_cmyk(header) else 3
    if samples.ndim == 2:
        samples = samples[:, :, numpy.newaxis]
    elif samples.shape[0] == colours + header.extras and colours == 1 and not header.alpha_bits:
        samples = samples[0][:, :, numpy.newaxis]  # what imagecodecs gives of grey with other channels than alpha
    white = _white(samples, header)
    if header.alpha_bits and header.alpha_associated:
        samples = _straight(samples, white)
    if samples.dtype.kind == "f":
        samples, most = samples.astype(numpy.float32, copy=False), 1
    else:
        most = 255 if samples.dtype.itemsize == 1 else 65535
        if white != most:
            samples = ((samples.astype(numpy.uint32) * most + white // 2) // white).astype(samples.dtype)
    if colours == 4:  # where the least is the most ink
        samples = samples.copy()
        numpy.subtract(most, samples[:, :, :4], out=samples[:, :, :4])
    return numpy.ascontiguousarray(samples)


def _white(samples: "numpy.ndarray[Any, Any]", header: JxlHeader) -> int:
    return 1 if samples.dtype.kind == "f" else (1 << header.bits) - 1


def _straight(samples: "numpy.ndarray[Any, Any]", white: int) -> "numpy.ndarray[Any, Any]":
    """Divide colours by alpha, some rows at a time, so that not all of them are floats at once."""
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
    """Return whether libjxl can't give the colours of the original (`CanOutputToColorEncoding` in its `dec_xyb.cc`)."""
    colour = header.colour
    grey = colour.space == "grey" and colour.white != D65_WHITE
    return header.xyb and (colour.icc or grey or colour.space not in ("rgb", "grey"))


def _with_other_colour(stream: bytes | memoryview, header: JxlHeader) -> bytes:
    """Return a codestream that says of the same pixels that the original was in Display P3, or grey."""
    end = _end(stream, header)
    fields = _GREY if header.colour.space == "grey" else _DISPLAY_P3
    return _edited(stream, end, [(*header.places.colour, fields), (header.places.end, end, ())])


def _with_black_as_alpha(stream: bytes | memoryview, header: JxlHeader) -> bytes:
    """Return a codestream that says of the black channel that it is alpha, and of alpha that it is something else."""
    black = next(channel for channel in header.places.channels if channel.kind == _BLACK)
    edits: list[tuple[int, int, tuple[_Field, ...]]] = []
    for channel in header.places.channels:
        if channel is black:
            edits += [(channel.start, channel.body, _IS_ALPHA), (channel.tail, channel.end, ((0, 1),))]
        elif channel.kind == _ALPHA:
            edits += _as_depth(channel)
    return _edited(stream, _end(stream, header), edits)


def _as_depth(channel: Channel) -> list[tuple[int, int, tuple[_Field, ...]]]:
    if channel.body == channel.tail:  # all of it is the default, which is alpha of 8 bits
        return [(channel.start, channel.end, (*_IS_DEPTH, (0, 3), (0, 2), (0, 2)))]
    return [(channel.start, channel.body, _IS_DEPTH), (channel.tail, channel.end, ())]


def _end(stream: bytes | memoryview, header: JxlHeader) -> int:
    """Return the first bit behind the header and its ICC profile."""
    bits = Bits(stream, header.places.end)
    if header.colour.icc:
        read_icc(bits)
    return bits.at


def _edited(stream: bytes | memoryview, end: int, edits: list[tuple[int, int, tuple[_Field, ...]]]) -> bytes:
    """Put other fields in the place of some bits of a header, and move what is behind them.

    Args:
        stream: The codestream.
        end: The first bit behind the header.
        edits: The first bit and the one behind the last of what is replaced, in order, and by what.
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
