"""The frames of a JPEG XL animation: their number, durations and positions in the file.

Python libraries for JPEG XL don't provide this information, so the header and the table of contents of each frame
are read here; the data after them is skipped. Source: ISO/IEC 18181-1 (FrameHeader, TOC); for the order of
fields libjxl's `frame_header.cc`, `loop_filter.cc` and `toc.cc`.
"""

from dataclasses import dataclass

from progimage.engine.codecs.jxl.bits import Bits, EndsEarlyError, Entropy
from progimage.engine.codecs.jxl.header import JxlHeader, codestream
from progimage.engine.codecs.jxl.icc import read_icc

_MOST_FRAMES = 65_536
_MOST_SECTIONS = 1_000_000
_FACTORS = ((0, 1), (0, 2), (0, 4), (0, 8))
_ORIGINS = ((8, 0), (11, 256), (14, 2304), (30, 18688))
_PAGE = 0xFFFFFFFF
_REGULAR, _LOW, _REFERENCE, _SKIPPED = range(4)
_REPLACE, _BLEND, _ADD_WEIGHTED, _MULTIPLY = 0, 2, 3, 4
_USES_LOW = 32


@dataclass(frozen=True, slots=True)
class JxlFrames:
    """The visible frames of an image.

    Attributes:
        durations: Duration of each frame in milliseconds; 0 for still images and pages.
        ends: End of each frame in the codestream, in bytes.
        whole: Whether the file contains all frames completely.
        linked: Whether frames can depend on others, so that decoding one requires decoding those before it.
        pages: Whether the frames are pages rather than an animation.
    """

    durations: tuple[int, ...]
    ends: tuple[int, ...]
    whole: bool
    linked: bool = False
    pages: bool = False


def jxl_frames(data: bytes | memoryview, header: JxlHeader, maximum: int = _MOST_FRAMES) -> JxlFrames:
    """Read the headers of all frames.

    Frames that are incomplete in the data aren't counted.

    Args:
        data: The file.
        header: The header of the file.
        maximum: Maximum number of frames to read; there can be more.

    Raises:
        ValueError: A frame is invalid, or there are too many.
    """
    stream = codestream(data)
    if not header.animated:
        return JxlFrames((0,), (len(stream),), True)
    durations: list[int] = []
    ends: list[int] = []
    sections, whole, linked, pages = 0, False, False, False
    bits = _before_frames(stream, header)
    for _ in range(_MOST_FRAMES):
        try:
            frame = _read_frame(bits, header)
        except EndsEarlyError:
            break
        sections += frame.sections
        if sections > _MOST_SECTIONS:
            raise ValueError("its frames have too many parts")
        if bits.at >> 3 > len(stream):
            break
        linked = linked or frame.used
        if frame.ticks or frame.last:
            pages = pages or frame.ticks == _PAGE
            milliseconds = frame.ticks * 1000 * header.ticks[1] / header.ticks[0]
            durations.append(0 if frame.ticks == _PAGE else round(milliseconds))
            ends.append(bits.at >> 3)
        if frame.last or len(ends) >= maximum:
            whole = True
            break
    else:
        raise ValueError("it has too many frames")
    return JxlFrames(tuple(durations), tuple(ends), whole, linked, pages)


def jxl_end(stream: bytes | memoryview, header: JxlHeader) -> int:
    """Return the length of a codestream in bytes.

    Args:
        stream: The codestream, possibly followed by other data.
        header: The header of the file.

    Raises:
        ValueError: The file is invalid or truncated.
    """
    bits = _before_frames(stream, header)
    for _ in range(_MOST_FRAMES):
        if _read_frame(bits, header).last:
            break
    end = bits.at >> 3
    if end > len(stream):
        raise ValueError("it is truncated")
    return end


def _before_frames(stream: bytes | memoryview, header: JxlHeader) -> Bits:
    """Return the bits of a codestream, positioned at its first frame."""
    bits = Bits(stream, header.places.end)
    if header.colour.icc:
        read_icc(bits)
    bits.align()
    if header.preview:
        _read_frame(bits, header, preview=header.preview)
    return bits


@dataclass(frozen=True, slots=True)
class _Frame:
    ticks: int
    last: bool
    used: bool
    sections: int


def _read_frame(bits: Bits, header: JxlHeader, preview: tuple[int, int] | None = None) -> _Frame:
    """Read the header of a frame, and skip to its end."""
    size = preview or (header.width, header.height)
    ticks, last, used, modular, group, hshift, vshift, upsampling, passes = 0, True, False, False, 1, 0, 0, 1, 1
    if not bits.flag():
        kind = bits.take(2)
        modular = bits.flag()
        flags = bits.u64()
        ycbcr = not header.xyb and bits.flag()
        if ycbcr and not flags & _USES_LOW:
            modes = [bits.take(2) for _ in range(3)]
            hshift, vshift = max(mode in (1, 2) for mode in modes), max(mode in (1, 3) for mode in modes)
        if not flags & _USES_LOW:
            upsampling = bits.u32(*_FACTORS)
            for _ in header.places.channels:
                bits.u32(*_FACTORS)
        if modular:
            group = bits.take(2)
        elif header.xyb:
            bits.skip(6)
        if kind != _REFERENCE:
            passes = _read_passes(bits)
        if kind == _LOW:
            shrink = 1 << 3 * (bits.take(2) + 1)
            size = (-(-size[0] // shrink), -(-size[1] // shrink))
        partial = False
        if kind != _LOW and bits.flag():
            size, partial = _read_crop(bits, size, shown=kind != _REFERENCE)
        last, replaces = False, True
        if kind in (_REGULAR, _SKIPPED):
            replaces = _read_blending(bits, header.extras, partial)
            for _ in range(header.extras):
                _read_blending(bits, header.extras, partial)
            if header.animated:
                ticks = bits.u32((0, 0), (0, 1), (8, 0), (32, 0))
                if header.timecodes:
                    bits.skip(32)
            last = bits.flag()
        saved = bits.take(2) if kind != _LOW and not last else 0
        shown = kind in (_REGULAR, _SKIPPED)
        used = not last and (not ticks or saved > 0)
        if kind == _REFERENCE or (shown and used and replaces and not partial):
            bits.flag()  # whether it is saved before its colour transform
        bits.skip(8 * bits.u32((0, 0), (4, 0), (5, 16), (10, 48)))  # its name
        _skip_filter(bits, modular)
        bits.extensions()
    sections = _count_sections(size, modular, group, hshift, vshift, upsampling, passes)
    _skip_sections(bits, sections)
    return _Frame(ticks, last, used, sections)


def _read_passes(bits: Bits) -> int:
    passes = bits.u32((0, 1), (0, 2), (0, 3), (3, 4))
    if passes > 1:
        smaller = bits.u32((0, 0), (0, 1), (0, 2), (1, 3))
        bits.skip(2 * (passes - 1) + 2 * smaller)
        for _ in range(smaller):
            bits.u32((0, 0), (0, 1), (0, 2), (3, 0))
    return passes


def _read_crop(bits: Bits, size: tuple[int, int], *, shown: bool) -> tuple[tuple[int, int], bool]:
    """Read the size of a frame, and whether it leaves parts of the image unchanged."""
    left = top = 0
    if shown:
        left, top = (packed >> 1 ^ -(packed & 1) for packed in (bits.u32(*_ORIGINS), bits.u32(*_ORIGINS)))
    width, height = bits.u32(*_ORIGINS), bits.u32(*_ORIGINS)
    if not (width and height):
        raise ValueError("a frame is empty")
    partial = shown and (left > 0 or top > 0 or left + width < size[0] or top + height < size[1])
    return (width, height), partial


def _read_blending(bits: Bits, extras: int, partial: bool) -> bool:
    """Read the blend mode of a frame, and return whether it replaces the previous one."""
    mode = bits.u32((0, 0), (0, 1), (0, 2), (2, 3))
    if mode > _MULTIPLY:
        raise ValueError("a frame has an unknown blend mode")
    by_alpha = extras > 0 and mode in (_BLEND, _ADD_WEIGHTED)
    if by_alpha:
        bits.u32((0, 0), (0, 1), (0, 2), (3, 3))
    if by_alpha or mode == _MULTIPLY:
        bits.flag()
    if mode != _REPLACE or partial:
        bits.take(2)
    return mode == _REPLACE


def _skip_filter(bits: Bits, modular: bool) -> None:
    if bits.flag():
        return
    if bits.flag() and bits.flag():
        bits.skip(6 * 16)
    if bits.take(2):
        if not modular and bits.flag():
            bits.skip(8 * 16)
        if bits.flag():
            bits.skip(5 * 16)
        if bits.flag():
            bits.skip((3 if modular else 4) * 16)
        if modular:
            bits.skip(16)
    bits.extensions()


def _count_sections(
    size: tuple[int, int], modular: bool, group: int, hshift: int, vshift: int, upsampling: int, passes: int
) -> int:
    side = 128 << group
    width, height = -(-size[0] // upsampling), -(-size[1] // upsampling)
    groups = -(-width // side) * -(-height // side)
    if groups == 1 and passes == 1:
        return 1
    across, down = -(-width // (8 << hshift)) << hshift, -(-height // (8 << vshift)) << vshift
    return 2 + -(-across // side) * -(-down // side) + groups * passes


def _skip_sections(bits: Bits, count: int) -> None:
    """Read the lengths of a frame's sections, and skip all of them."""
    if count > 65_536:
        raise ValueError("a frame has too many parts")
    if bits.flag():
        entropy = Entropy(bits, 8)
        last = 0
        end = entropy.read(min(count.bit_length(), 7))
        if end > count:
            raise ValueError("the parts of a frame aren't ordered")
        for _ in range(end):
            last = entropy.read(min(last.bit_length(), 7))
        entropy.finish()
    bits.align()
    size = sum(bits.u32((10, 0), (14, 1024), (22, 17408), (30, 4211712)) for _ in range(count))
    bits.align()
    bits.at += 8 * size
