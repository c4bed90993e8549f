"""What the header of a JPEG XL image says, read without a decoder.

Its size, so that a large image is refused before it is decoded; and all that a decoder's pixels do not tell: which
colours they are of, how deep they were, whether alpha is multiplied in, how an animation is played.

Sources: ISO/IEC 18181-1 (SizeHeader, ImageMetadata, and what is in it) and 18181-2 (boxes); for the order of fields
libjxl's `headers.cc`, `image_metadata.cc` and `color_encoding_internal.cc`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from progimage.engine.codecs.jxl.bits import Bits

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
# width : height for each value of the 3-bit field `ratio`; 0 means that the width is written out.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIZES = ((9, 1), (13, 1), (18, 1), (30, 1))
_MOST_BOXES = 65_536
# The values of enumerations; those of primaries and transfer functions are the codes of CICP (ITU-T H.273), but for
# "custom" and for P3, whose code goes by its white point.
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
"""How many numbers there are of each custom kernel for enlarging."""

D65_WHITE = _WHITES[D65]

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class JxlColour:
    """A colour space.

    Attributes:
        space: "rgb", "grey", "xyb" or "unknown".
        icc: It is described by an ICC profile in the codestream, and of the rest only `space` is known.
        white: The white point, as x and y.
        primaries: CICP's code of the primaries; 2 is none of those it knows.
        red: As x and y.
        green: As x and y.
        blue: As x and y.
        transfer: CICP's code of the transfer function; 2 is none of those it knows.
        gamma: The exponent that encodes light, if the transfer function is a power.
        intent: The rendering intent, as in ICC profiles.
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
        """Whether it is sRGB, or grey with the same white point and transfer function."""
        if self.icc or self.transfer != SRGB or self.white != _WHITES[D65]:
            return False
        return self.space == "grey" or (self.space == "rgb" and self.primaries == 1)

    @property
    def hdr(self) -> bool:
        """Its transfer function is PQ or HLG."""
        return not self.icc and self.transfer in (PQ, HLG)


def p3() -> JxlColour:
    """Return the space Display P3."""
    return JxlColour("rgb", False, D65_WHITE, _P3_D65, *_PRIMARIES[_P3])


@dataclass(frozen=True, slots=True)
class JxlHeader:
    """The header of a JPEG XL image.

    Attributes:
        width: As it is stored, before it is turned; in pixels.
        height: As it is stored, before it is turned; in pixels.
        orientation: How it is to be turned, as in EXIF, 1 to 8. libjxl does it unless it is told not to.
        bits: Of a colour sample.
        exponent_bits: How many of them are the exponent of a float; 0: it is an integer.
        alpha_bits: Of an alpha sample; 0: there is no alpha.
        alpha_associated: The colours are multiplied by alpha.
        black: There is a black channel: it is CMYK.
        extras: How many extra channels there are, alpha and black among them.
        animated: It is an animation, even if of one frame.
        ticks: How many ticks of an animation are in how many seconds.
        plays: How often an animation is played; 0 is without end.
        timecodes: Each frame has a time code.
        preview: There is a small preview before the first frame.
        xyb: The colours are stored in a space of their own; a decoder can turn them into any other.
        colour: What the original's colours are.
        intensity: The light of the brightest white, in cd/m².
        jpeg: A JPEG can be restored from it.
        gain_map: It has a gain map.
        exif: It has EXIF.
        xmp: It has XMP.
        places: Where things are in the codestream, in bits; for `frames` and `decode`.
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
        """Width and height once it is turned."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)

    @property
    def deep(self) -> bool:
        """Whether it has more than 8 bits a channel."""
        return self.bits > 8


@dataclass(frozen=True, slots=True)
class Channel:
    """Where the description of an extra channel is.

    Attributes:
        kind: What it is; 0 is alpha, 4 is black.
        shift: By how much it is smaller, as a power of two.
        start: Its first bit.
        body: The first bit behind its kind; where it is the default, all of it is one bit.
        tail: The first bit behind its name, where what only its kind has begins.
        end: The first bit behind it.
    """

    kind: int
    shift: int
    start: int
    body: int
    tail: int
    end: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where parts of the header are in the codestream, in bits.

    Attributes:
        colour: The first bit of the colour encoding, and the one behind it; both are 0 in a header that is all default.
        end: The first bit behind the header: of the ICC profile if there is one, or else of the padding.
        channels: The extra channels.
    """

    colour: tuple[int, int] = (0, 0)
    end: int = 0
    channels: tuple[Channel, ...] = ()


def is_jxl(head: bytes | memoryview) -> bool:
    """Return whether a file that begins with these bytes is a JPEG XL image."""
    return bytes(head[:12]).startswith((CODESTREAM, CONTAINER))


def jxl_size(data: bytes | memoryview) -> tuple[int, int]:
    """Return the width and height of a JPEG XL image as it is stored, in pixels.

    Args:
        data: The file, or enough of its beginning.

    Raises:
        ValueError: There is no codestream in the data.
    """
    return _read_size(_codestream_bits(codestream(data)))


def jxl_header(data: bytes | memoryview) -> JxlHeader:
    """Read the header of a JPEG XL image.

    Args:
        data: The file, or enough of its beginning; of what is told by boxes, only those in the data count.

    Raises:
        ValueError: It is broken, or not all there.
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
    """Return the codestream of a file, with as much of it as there is.

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
            parts.append(box.content[4:])  # behind the part's number
            if len(box.content) and box.content[0] & 0x80:
                break  # it is the last one
    if not parts:
        raise ValueError("no JPEG XL codestream")
    return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a file.

    Attributes:
        kind: What is in it.
        content: What it is, or as much of it as there is.
        compressed: The content is compressed, by Brotli.
    """

    kind: bytes
    content: memoryview
    compressed: bool


def boxes(data: bytes | memoryview) -> Iterator[Box]:
    """Yield the boxes of a file, of which a bare codestream has none.

    Raises:
        ValueError: It is no JPEG XL file, or it is broken.
    """
    if data[:2] == CODESTREAM:
        return
    if data[:12] != CONTAINER:
        raise ValueError("no JPEG XL codestream")
    view = memoryview(data)
    at = 0
    for _ in range(_MOST_BOXES):
        if at + 8 > len(view):
            return
        length, kind, header = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8]), 8
        if length == 1:
            length, header = int.from_bytes(view[at + 8 : at + 16], "big"), 16
        if length == 0:  # it goes on to the end of the file
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
        raise ValueError("no JPEG XL codestream")
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
            _read_size(bits)  # at which it may be shown; no decoder minds it
        if bits.flag():
            preview = _read_preview(bits)
        animated = bits.flag()
        if animated:
            numerator = bits.u32((0, 100), (0, 1000), (10, 1), (30, 1))
            ticks = numerator, bits.u32((0, 1), (0, 1001), (8, 1), (10, 1))
            plays = bits.u32((0, 0), (3, 0), (16, 0), (32, 0))
            timecodes = bits.flag()
    depth, exponent = _read_depth(bits)
    bits.flag()  # whether buffers of 16 bits are enough
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
    """Read how many bits a sample has, and how many of them are an exponent."""
    if not bits.flag():
        depth = bits.u32((0, 8), (0, 10), (0, 12), (6, 1))
        if depth > 31:
            raise ValueError("a sample has too many bits")
        return depth, 0
    depth = bits.u32((0, 32), (0, 16), (0, 24), (6, 1))
    exponent = bits.take(4) + 1
    if not (2 <= exponent <= 8 and 2 <= depth - exponent - 1 <= 23):
        raise ValueError("a sample is of no known kind")
    return depth, exponent


def _read_channel(bits: Bits) -> tuple[Channel, tuple[int, bool]]:
    """Read the description of an extra channel; if it is alpha, also its bits, and whether it is multiplied in."""
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
        raise ValueError("an extra channel is of no known kind")
    associated = kind == _ALPHA and bits.flag()
    if kind == 2:  # a spot colour
        bits.skip(4 * 16)
    elif kind == 5:  # of a camera's sensor
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
        raise ValueError("the light of the image is out of range")
    return intensity


def _skip_transform(bits: Bits, *, xyb: bool) -> None:
    if bits.flag():
        return
    if xyb and not bits.flag():
        bits.skip((9 + 3 + 4) * 16)
    custom = bits.take(3)
    bits.skip(sum(count * 16 for i, count in enumerate(_WEIGHTS) if custom >> i & 1))
