"""The header of a JPEG XL image, parsed without a decoder.

It contains the size, so that large images are rejected before they are decoded, and everything that decoded pixels
don't reveal: colour space, depth, whether alpha is premultiplied, how an animation is played.

Sources: ISO/IEC 18181-1 (SizeHeader, ImageMetadata and its parts) and 18181-2 (boxes); for the order of fields
libjxl's `headers.cc`, `image_metadata.cc` and `color_encoding_internal.cc`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from progimage.engine.codecs.jxl.bits import Bits

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
# width : height for each value of the 3-bit field `ratio`; 0 means that the width is stored explicitly.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))
_MOST_BOXES = 65_536
# Enumerations. Primaries and transfer functions use the code points of CICP (ITU-T H.273), except for
# "custom" and P3, whose code point depends on the white point.
_SPACES = ("rgb", "grey", "xyb", "unknown")
D65, _CUSTOM, _EQUAL, _DCI = 1, 2, 10, 11
_WHITES = {D65: (0.3127, 0.329), _EQUAL: (1 / 3, 1 / 3), _DCI: (0.314, 0.351)}
_PRIMARIES = {
    1: ((0.639998686, 0.330010138), (0.300003784, 0.600003357), (0.150002046, 0.059997204)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
LINEAR, SRGB, PQ, HLG = 8, 13, 16, 18
_TRANSFERS = (1, 2, LINEAR, SRGB, PQ, 17, HLG)
_P3, _P3_D65 = 11, 12
_UNSPECIFIED = 2
# Kinds of extra channels.
_ALPHA, _DEPTH, _BLACK = 0, 1, 4
_KINDS = (*range(7), 16)
_WEIGHTS = (15, 55, 210)
"""Number of weights of each custom upsampling kernel."""

D65_WHITE = _WHITES[D65]

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class JxlColour:
    """A colour space.

    Attributes:
        space: "rgb", "grey", "xyb" or "unknown".
        icc: Whether an ICC profile in the codestream describes it; then only `space` is known of the other fields.
        white: White point as x and y.
        primaries: CICP code point of the primaries; 2 if there is none for them.
        red: Red primary as x and y.
        green: Green primary as x and y.
        blue: Blue primary as x and y.
        transfer: CICP code point of the transfer function; 2 if there is none for it.
        gamma: Encoding exponent, if the transfer function is a power.
        intent: Rendering intent, as in ICC profiles.
    """

    space: str = "rgb"
    icc: bool = False
    white: Point = _WHITES[D65]
    primaries: int = 1
    red: Point = _PRIMARIES[1][0]
    green: Point = _PRIMARIES[1][1]
    blue: Point = _PRIMARIES[1][2]
    transfer: int = SRGB
    gamma: float | None = None
    intent: int = 1

    @property
    def srgb(self) -> bool:
        """Whether the space is sRGB, or grey with the same white point and transfer function."""
        if self.icc or self.transfer != SRGB or self.white != _WHITES[D65]:
            return False
        return self.space == "grey" or (self.space == "rgb" and self.primaries == 1)

    @property
    def hdr(self) -> bool:
        """Whether the transfer function is PQ or HLG."""
        return not self.icc and self.transfer in (PQ, HLG)


def p3() -> JxlColour:
    """Return the colour space Display P3."""
    return JxlColour("rgb", False, D65_WHITE, _P3_D65, *_PRIMARIES[_P3])


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """The header of a JPEG XL image.

    Attributes:
        width: Stored width in pixels, before the orientation is applied.
        height: Stored height in pixels, before the orientation is applied.
        orientation: Orientation, 1 to 8 as in EXIF. libjxl applies it by default.
        bits: Bits of a colour sample.
        exponent_bits: Number of exponent bits of a float; 0 for integers.
        alpha_bits: Bits of an alpha sample; 0 if there is no alpha.
        alpha_associated: Whether colours are premultiplied by alpha.
        black: Whether there is a black channel, so the image is CMYK.
        extras: Number of extra channels, including alpha and black.
        animated: Whether it is an animation, even with one frame.
        ticks: Duration unit of an animation, as ticks per seconds.
        plays: How often an animation is played; 0 means endlessly.
        timecodes: Whether each frame has a time code.
        preview: Size of a small preview before the first frame, if any.
        xyb: Whether colours are stored as XYB, which decoders can convert to any other space.
        colour: Colour space of the original.
        intensity: Luminance of the brightest white in cd/m².
        jpeg: Whether a JPEG can be reconstructed from it.
        gain_map: Whether it has a gain map.
        exif: Whether it has EXIF.
        xmp: Whether it has XMP.
        places: Positions in the codestream in bits, for `frames` and `decode`.
    """

    width: int
    height: int
    orientation: int = 1
    bits: int = 8
    exponent_bits: int = 0
    alpha_bits: int = 0
    alpha_associated: bool = False
    black: bool = False
    extras: int = 0
    animated: bool = False
    ticks: tuple[int, int] = (1, 1)
    plays: int = 0
    timecodes: bool = False
    preview: tuple[int, int] | None = None
    xyb: bool = True
    colour: JxlColour = JxlColour()
    intensity: float = 255.0
    jpeg: bool = False
    gain_map: bool = False
    exif: bool = False
    xmp: bool = False
    places: "Places" = field(default_factory=lambda: Places(), repr=False, compare=False)

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height after the orientation is applied."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)

    @property
    def deep(self) -> bool:
        """Whether it has more than 8 bits per channel."""
        return self.bits > 8


@dataclass(frozen=True, slots=True)
class Channel:
    """The position of an extra channel's description.

    Attributes:
        kind: Kind of channel; 0 is alpha, 4 is black.
        shift: Downsampling factor as a power of two.
        start: Position of the first bit.
        body: Position after the kind. A default description consists of only one bit.
        tail: Position after the name, where fields specific to the kind start.
        end: Position after the description.
    """

    kind: int
    shift: int
    start: int
    body: int
    tail: int
    end: int


@dataclass(frozen=True, slots=True)
class Places:
    """Positions of parts of the header in the codestream, in bits.

    Attributes:
        colour: Start and end of the colour encoding; both are 0 in an all-default header.
        end: Position after the header, where the ICC profile, if any, or the padding starts.
        channels: The extra channels.
    """

    colour: tuple[int, int] = (0, 0)
    end: int = 0
    channels: tuple[Channel, ...] = ()


def is_jxl(head: bytes | memoryview) -> bool:
    """Return whether a file that starts with these bytes is a JPEG XL image."""
    return bytes(head[:12]).startswith((CODESTREAM, CONTAINER))


def jxl_size(data: bytes | memoryview) -> tuple[int, int]:
    """Return the stored width and height of a JPEG XL image in pixels.

    Args:
        data: The file, or enough of its beginning.

    Raises:
        ValueError: There is no codestream in the data.
    """
    return _read_size(_codestream_bits(codestream(data)))


def jxl_header(data: bytes | memoryview) -> JxlHeader:
    """Read the header of a JPEG XL image.

    Args:
        data: The file, or enough of its beginning. Only boxes within the data are considered.

    Raises:
        ValueError: The header is invalid or incomplete.
    """
    kinds = {box.kind for box in boxes(data)}
    bits = _codestream_bits(codestream(data))
    width, height = _read_size(bits)
    return replace(
        _read_metadata(bits, width, height),
        jpeg=b"jbrd" in kinds,
        gain_map=b"jhgm" in kinds,
        exif=b"Exif" in kinds,
        xmp=b"xml " in kinds,
    )


def codestream(data: bytes | memoryview) -> bytes | memoryview:
    """Return the codestream of a file, or the part of it that is in the data.

    Raises:
        ValueError: There is none.
    """
    if data[:2] == CODESTREAM:
        return data
    parts: list[memoryview] = []
    for box in boxes(data):
        if box.kind == b"jxlc":
            return box.content
        if box.kind == b"jxlp":
            parts.append(box.content[4:])  # after the part's number
            if len(box.content) and box.content[0] & 0x80:
                break  # the last part
    if not parts:
        raise ValueError("there is no JPEG XL codestream")
    return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a file.

    Attributes:
        kind: Box type.
        content: Content of the box, or the part of it that is in the data.
        compressed: Whether the content is compressed with Brotli.
    """

    kind: bytes
    content: memoryview
    compressed: bool


def boxes(data: bytes | memoryview) -> Iterator[Box]:
    """Yield the boxes of a file. A bare codestream has none.

    Raises:
        ValueError: The file isn't JPEG XL, or is invalid.
    """
    if data[:2] == CODESTREAM:
        return
    if data[:12] != CONTAINER:
        raise ValueError("there is no JPEG XL codestream")
    view = memoryview(data)
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(view):
            return
        length, kind, header = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8]), 8
        if length == 1:
            length, header = int.from_bytes(view[at + 8 : at + 16], "big"), 16
        if length == 0:  # it extends to the end of the file
            length = max(header, len(view) - at)
        if length < header:
            raise ValueError("a box is too short")
        content = view[at + header : at + length]
        compressed = kind == b"brob"
        yield Box(bytes(content[:4]), content[4:], True) if compressed else Box(kind, content, False)
        at += length
    raise ValueError("there are too many boxes")


def _codestream_bits(stream: bytes | memoryview) -> Bits:
    if stream[:2] != CODESTREAM:
        raise ValueError("there is no JPEG XL codestream")
    return Bits(stream, 16)


def _read_size(bits: Bits) -> tuple[int, int]:
    small = bits.flag()
    height = (bits.take(5) + 1) * 8 if small else bits.u32(*_SIZES)
    ratio = bits.take(3)
    if ratio:
        return _by_ratio(height, ratio), height
    return (bits.take(5) + 1) * 8 if small else bits.u32(*_SIZES), height


def _by_ratio(height: int, ratio: int) -> int:
    across, down = _RATIOS[ratio]
    return height * across // down


def _read_preview(bits: Bits) -> tuple[int, int]:
    eighths = bits.flag()
    sizes = ((0, 16), (0, 32), (5, 1), (9, 33)) if eighths else ((6, 1), (8, 65), (10, 321), (12, 1345))
    unit = 8 if eighths else 1
    height = bits.u32(*sizes) * unit
    ratio = bits.take(3)
    return (_by_ratio(height, ratio) if ratio else bits.u32(*sizes) * unit), height


def _read_metadata(bits: Bits, width: int, height: int) -> JxlHeader:
    if bits.flag():
        _skip_transform(bits, xyb=True)
        return JxlHeader(width, height, places=Places(end=bits.at))
    orientation, preview, animated, timecodes, ticks, plays = 1, None, False, False, (1, 1), 0
    more = bits.flag()
    if more:
        orientation = bits.take(3) + 1
        if bits.flag():
            _read_size(bits)  # the intrinsic display size, which no decoder uses
        if bits.flag():
            preview = _read_preview(bits)
        animated = bits.flag()
        if animated:
            numerator = bits.u32((0, 100), (0, 1000), (10, 1), (30, 1))
            ticks = numerator, bits.u32((0, 1), (0, 1001), (8, 1), (10, 1))
            plays = bits.u32((0, 0), (3, 0), (16, 0), (32, 0))
            timecodes = bits.flag()
    depth, exponent = _read_depth(bits)
    bits.flag()  # whether 16-bit buffers suffice
    channels, alphas = [], []
    for _ in range(bits.u32((0, 0), (0, 1), (4, 2), (12, 1))):
        channel, alpha = _read_channel(bits)
        channels.append(channel)
        if channel.kind == _ALPHA:
            alphas.append(alpha)
    xyb = bits.flag()
    before = bits.at
    colour = _read_colour(bits)
    behind = bits.at
    intensity = _read_tone_mapping(bits) if more else 255.0
    bits.extensions()
    _skip_transform(bits, xyb=xyb)
    return JxlHeader(
        width=width,
        height=height,
        orientation=orientation,
        bits=depth,
        exponent_bits=exponent,
        alpha_bits=alphas[0][0] if alphas else 0,
        alpha_associated=bool(alphas) and alphas[0][1],
        black=any(channel.kind == _BLACK for channel in channels),
        extras=len(channels),
        animated=animated,
        ticks=ticks,
        plays=plays,
        timecodes=timecodes,
        preview=preview,
        xyb=xyb,
        colour=colour,
        intensity=intensity,
        places=Places((before, behind), bits.at, tuple(channels)),
    )


def _read_depth(bits: Bits) -> tuple[int, int]:
    """Read the number of bits of a sample, and how many of them are exponent bits."""
    if not bits.flag():
        depth = bits.u32((0, 8), (0, 10), (0, 12), (6, 1))
        if depth > 31:
            raise ValueError("a sample has too many bits")
        return depth, 0
    depth = bits.u32((0, 32), (0, 16), (0, 24), (6, 1))
    exponent = bits.take(4) + 1
    if not (2 <= exponent <= 8 and 2 <= depth - exponent - 1 <= 23):
        raise ValueError("the sample format is unknown")
    return depth, exponent


def _read_channel(bits: Bits) -> tuple[Channel, tuple[int, bool]]:
    """Read the description of an extra channel, and for alpha its bits and whether it is premultiplied."""
    start = bits.at
    if bits.flag():
        return Channel(_ALPHA, 0, start, bits.at, bits.at, bits.at), (8, False)
    kind = bits.enum()
    body = bits.at
    depth, _ = _read_depth(bits)
    shift = bits.u32((0, 0), (0, 3), (0, 4), (3, 1))
    bits.skip(8 * bits.u32((0, 0), (4, 0), (5, 16), (10, 48)))  # its name
    tail = bits.at
    if kind not in _KINDS or shift > 3:
        raise ValueError("the kind of an extra channel is unknown")
    associated = kind == _ALPHA and bits.flag()
    if kind == 2:  # a spot colour
        bits.skip(4 * 16)
    elif kind == 5:  # a colour filter array
        bits.u32((0, 1), (2, 0), (4, 3), (8, 19))
    return Channel(kind, shift, start, body, tail, bits.at), (depth, associated)


def _read_colour(bits: Bits) -> JxlColour:
    if bits.flag():
        return JxlColour()
    icc = bits.flag()
    number = bits.enum()
    if number >= len(_SPACES):
        raise ValueError("the colour space is unknown")
    space = _SPACES[number]
    if icc:
        return JxlColour(space, icc=True, primaries=_UNSPECIFIED, transfer=_UNSPECIFIED)
    kind = D65 if space == "xyb" else bits.enum()
    white = _read_point(bits) if kind == _CUSTOM else _WHITES.get(kind)
    if white is None:
        raise ValueError("the white point is unknown")
    code, points = 1, _PRIMARIES[1]
    if space not in ("grey", "xyb"):
        code = bits.enum()
        if code == _CUSTOM:
            points = (_read_point(bits), _read_point(bits), _read_point(bits))
        elif code in _PRIMARIES:
            points = _PRIMARIES[code]
        else:
            raise ValueError("the primaries are unknown")
    if kind != (_DCI if code == _P3 else D65):
        code = _P3_D65 if code == _P3 and kind == D65 else _UNSPECIFIED
    transfer, gamma = _read_transfer(bits, space)
    intent = bits.enum()
    if space == "unknown" or (gamma is None and transfer == _UNSPECIFIED) or intent > 3:
        raise ValueError("the colour space is unknown")
    return JxlColour(space, False, white, code, *points, transfer, gamma, intent)


def _read_transfer(bits: Bits, space: str) -> tuple[int, float | None]:
    if space == "xyb":
        return _UNSPECIFIED, 1 / 3
    if bits.flag():
        gamma = bits.take(24) / 1e7
        if not 1 / 8192 <= gamma <= 1:
            raise ValueError("the gamma is out of range")
        return _UNSPECIFIED, gamma
    transfer = bits.enum()
    if transfer not in _TRANSFERS:
        raise ValueError("the transfer function is unknown")
    return transfer, None


def _read_point(bits: Bits) -> Point:
    return _read_coordinate(bits), _read_coordinate(bits)


def _read_coordinate(bits: Bits) -> float:
    packed = bits.u32((19, 0), (19, 524288), (20, 1048576), (21, 2097152))
    return (packed >> 1 ^ -(packed & 1)) / 1e6


def _read_tone_mapping(bits: Bits) -> float:
    if bits.flag():
        return 255.0
    intensity, darkest = bits.f16(), bits.f16()
    bits.flag()
    bits.f16()
    if intensity <= 0 or not 0 <= darkest <= intensity:
        raise ValueError("the intensity of the image is out of range")
    return intensity


def _skip_transform(bits: Bits, *, xyb: bool) -> None:
    if bits.flag():
        return
    if xyb and not bits.flag():
        bits.skip((9 + 3 + 4) * 16)
    custom = bits.take(3)
    bits.skip(sum(count * 16 for i, count in enumerate(_WEIGHTS) if custom >> i & 1))
