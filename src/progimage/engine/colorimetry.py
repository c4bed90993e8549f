"""Colour spaces beyond ICC: code points (CICP), and gamma with primaries; what they are called, and the way to sRGB.

Code points are those of ITU-T H.273 (2024), which cICP of PNG, `colr` of AVIF and HEIC, and JPEG XL use. Nothing here
knows a format, and nothing needs a colour engine: a curve for each channel, a matrix, and the curve of sRGB. That is
exact at 16 bits, which LittleCMS is not: there it puts a table of 33 steps a side between (see `matrix_profile`).
"""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import pyvips

Vector: TypeAlias = tuple[float, float, float]
Matrix: TypeAlias = tuple[Vector, Vector, Vector]
"""Three rows."""
Point: TypeAlias = tuple[float, float]
"""x and y of CIE 1931."""

PQ = 16
HLG = 18
_UNSPECIFIED = 2


@dataclass(frozen=True, slots=True)
class Chromaticities:
    """Where the white and the primaries of a space lie, each as x and y of CIE 1931."""

    white: Point
    red: Point
    green: Point
    blue: Point

    def to_xyz(self) -> Matrix:
        """Return what makes XYZ of linear RGB, with white at Y = 1 (SMPTE RP 177).

        Raises:
            ValueError: They span no space.
        """
        primaries = _columns(*((x, y, 1 - x - y) for x, y in (self.red, self.green, self.blue)))
        scales = times(inverse(primaries), xyz_of(self.white))
        if min(scales) <= 0:
            raise ValueError("The white lies outside of the primaries.")
        return _columns(*(_scaled(column, scale) for column, scale in zip(_transposed(primaries), scales, strict=True)))


@dataclass(frozen=True, slots=True)
class Curve:
    """A transfer function, from a sample in 0..1 to light that is linear.

    It is (a·x + b)^gamma + e from d on, and c·x + f below: the parametric curve of type 4 of ICC.1:2022, 10.18.
    """

    gamma: float
    a: float = 1
    b: float = 0
    c: float = 0
    d: float = 0
    e: float = 0
    f: float = 0

    def __call__(self, sample: float) -> float:
        """Return the light of a sample."""
        if sample < self.d:
            return max(self.c * sample + self.f, 0.0)
        return max(float(max(self.a * sample + self.b, 0.0) ** self.gamma) + self.e, 0.0)

    def of_range(self, low: float, high: float) -> "Curve":
        """Return the same curve for samples whose black is at `low` and whose white is at `high`, both of 0..1."""
        span = high - low
        return Curve(
            self.gamma, self.a / span, self.b - self.a * low / span, self.c / span, low + self.d * span, self.e,
            self.f - self.c * low / span,
        )  # fmt: skip


_D65 = (0.3127, 0.3290)
_C = (0.310, 0.316)
_BT601 = Chromaticities(_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070))
BT709 = Chromaticities(_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
BT2020 = Chromaticities(_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
# H.273, table 2: what ProgImage calls them, and where they lie.
_PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    1: ("BT.709", BT709),
    4: ("BT.470 M", Chromaticities(_C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08))),
    5: ("BT.470 BG", Chromaticities(_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06))),
    6: ("BT.601", _BT601),
    7: ("SMPTE 240M", _BT601),
    8: ("film", Chromaticities(_C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049))),
    9: ("BT.2020", BT2020),
    10: ("XYZ", Chromaticities((1 / 3, 1 / 3), (1, 0), (0, 1), (0, 0))),
    11: ("DCI-P3", Chromaticities((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
    12: ("P3", Chromaticities(_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
    22: ("EBU 3213", Chromaticities(_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077))),
}
# Other spaces that have a name of their own, for those who give only numbers.
_NAMED = {
    "P3": _PRIMARIES[12][1],
    "BT.2020": BT2020,
    "Adobe RGB": Chromaticities(_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
    "ProPhoto RGB": Chromaticities((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)),
}

SRGB = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR = Curve(1)
# H.273, table 3. Its functions for 1, 6, 14 and 15 (11 and 12 are the same from 0 to 1) are those of cameras, of which
# no screen shows the inverse. A still picture with them was nearly always made and looked at as sRGB, and so do libavif
# and Chromium show AVIF. (Chromium shows PNG of theirs with gamma 2.4, the screen of BT.1886: a little darker.)
_TRANSFERS: dict[int, tuple[str, Curve]] = {
    1: ("BT.709", SRGB),
    4: ("gamma 2.2", Curve(2.2)),
    5: ("gamma 2.8", Curve(2.8)),
    6: ("BT.601", SRGB),
    7: ("SMPTE 240M", Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0913)),
    8: ("linear", LINEAR),
    11: ("xvYCC", SRGB),
    12: ("BT.1361", SRGB),
    13: ("sRGB", SRGB),
    14: ("BT.2020", SRGB),
    15: ("BT.2020", SRGB),
    17: ("SMPTE 428", Curve(2.6, (52.37 / 48) ** (1 / 2.6))),
}
_HDR = {PQ: "PQ", HLG: "HLG"}
_KNOWN_AS = {
    (1, 1): "BT.709",
    (1, 13): "sRGB",
    (6, 6): "BT.601",
    (9, 1): "BT.2020",
    (9, 14): "BT.2020",
    (9, 15): "BT.2020",
    (11, 17): "DCI-P3",
    (12, 13): "Display P3",
}


@dataclass(frozen=True, slots=True)
class Cicp:
    """A colour space by the code points of H.273.

    Attributes:
        primaries: Which primaries and white; 2 tells nothing.
        transfer: Which transfer function; 2 tells nothing.
        matrix: How YCbCr was made of RGB; 0 is RGB itself. It means nothing once there is RGB.
        full_range: Black is at 0 and white at the largest sample; else they are at 16/256 and 235/256 of the range.
    """

    primaries: int
    transfer: int
    matrix: int = 0
    full_range: bool = True

    @property
    def known(self) -> bool:
        """Its transfer function is told, and it can be converted; primaries that it leaves open are those of sRGB."""
        return (self.primaries in _PRIMARIES or self.primaries == _UNSPECIFIED) and (
            self.transfer in _TRANSFERS or self.hdr
        )

    @property
    def hdr(self) -> bool:
        """Whether it reaches beyond the white of a page: PQ or HLG."""
        return self.transfer in _HDR

    @property
    def name(self) -> str:
        """What it is called, such as "Display P3" or "BT.2020 PQ"."""
        known_as = _KNOWN_AS.get((self.primaries, self.transfer))
        if known_as:
            return known_as
        return _joined(self.primaries_name, self.transfer_name)

    @property
    def primaries_name(self) -> str | None:
        """What its primaries are called; None if it doesn't tell."""
        return _PRIMARIES[self.primaries][0] if self.primaries in _PRIMARIES else None

    @property
    def transfer_name(self) -> str | None:
        """What its transfer function is called; None if it doesn't tell."""
        names = {code: name for code, (name, _) in _TRANSFERS.items()} | _HDR
        return names.get(self.transfer)

    @property
    def chromaticities(self) -> Chromaticities:
        """Its primaries; those of sRGB if it doesn't tell."""
        return _PRIMARIES[self.primaries][1] if self.primaries in _PRIMARIES else BT709

    @property
    def curve(self) -> Curve:
        """Its transfer function, if that is none of HDR; that of sRGB if it doesn't tell."""
        return _TRANSFERS[self.transfer][1] if self.transfer in _TRANSFERS else SRGB

    def decoded(self) -> "Cicp":
        """Return the space of what a decoder makes of YCbCr, or of a narrow range: RGB of the full range."""
        return replace(self, matrix=0, full_range=True)


def primaries_near(space: Chromaticities) -> int | None:
    """Return the code of primaries that are as good as some others; None if there are none."""
    return next((code for code, (_, known) in _PRIMARIES.items() if _near(known, space)), None)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A colour space by a power and primaries, as PNG's gAMA and cHRM tell them.

    Attributes:
        gamma: As in the file: the power that made a sample of light; 0.45455 for a gamma of 2.2.
        chromaticities: Its primaries; those of sRGB if it doesn't tell.
    """

    gamma: float
    chromaticities: Chromaticities = BT709

    @property
    def name(self) -> str:
        """What it is called, such as "gamma 1.8" or "Adobe RGB"."""
        named, power = self.primaries_name, self.transfer_name
        if named == "BT.709":
            return power
        return "Adobe RGB" if named == "Adobe RGB" and power == "gamma 2.2" else f"{named}, {power}"

    @property
    def primaries_name(self) -> str:
        """What its primaries are called."""
        if _near(BT709, self.chromaticities):
            return "BT.709"
        return next((name for name, space in _NAMED.items() if _near(space, self.chromaticities)), "own primaries")

    @property
    def transfer_name(self) -> str:
        """What its transfer function is called."""
        return "linear" if abs(self.gamma - 1) < 0.001 else f"gamma {1 / self.gamma:.2g}"

    @property
    def curve(self) -> Curve:
        """Its transfer function."""
        return Curve(1 / self.gamma)


ColourSpace: TypeAlias = bytes | Cicp | Calibrated | None
"""What a file says of its colours: an ICC profile, code points, gamma and primaries, or nothing (so sRGB)."""


@dataclass(frozen=True, slots=True)
class Light:
    """How bright a picture of HDR gets, as its metadata tell, in cd/m².

    Attributes:
        content: Its brightest pixel (MaxCLL of CTA-861.3); None if unknown.
        mastering: The brightest that the screen could show on which it was made (SMPTE ST 2086); None if unknown.
    """

    content: float | None = None
    mastering: float | None = None

    @property
    def peak(self) -> float | None:
        """What tone mapping is to make room for: the picture's own, else at most the screen's."""
        return self.content or self.mastering or None


UNKNOWN_LIGHT = Light()


def to_srgb(pixels: pyvips.Image, space: Cicp | Calibrated) -> pyvips.Image:
    """Convert from a space that is none of HDR to sRGB; what lies outside of that is clipped, channel by channel.

    Args:
        pixels: Grey or RGB of 8 or 16 bits, perhaps with alpha, which is left alone.
        space: The space that they are in.

    Returns:
        As many bands, of the same depth.

    Raises:
        ValueError: The space is one of HDR, which is for `tone_mapping`, or its primaries span no space.
    """
    if isinstance(space, Cicp) and space.hdr:
        raise ValueError("HDR needs tone mapping.")
    colour, alpha = split_alpha(pixels)
    curve = curve_at(space, pixels)
    matrix = to_bt709(space.chromaticities) if colour.bands == 3 else IDENTITY
    if matrix != IDENTITY:
        converted = encoded(linear(colour, curve).recomb(_listed(matrix)), pixels)
    elif curve != SRGB:
        converted = colour.maplut(srgb_table(curve, colour))
    else:
        return pixels
    return join_alpha(converted, alpha, pixels)


def is_srgb(space: ColourSpace) -> bool:
    """Return whether nothing has to be converted, since the space is sRGB, or tells nothing."""
    if space is None:
        return True
    if isinstance(space, bytes) or (isinstance(space, Cicp) and (space.hdr or not space.full_range)):
        return False
    return space.curve == SRGB and space.chromaticities == BT709


def is_linear(space: ColourSpace) -> bool:
    """Return whether samples are in proportion to light."""
    if isinstance(space, Cicp):
        return not space.hdr and space.curve == LINEAR
    return isinstance(space, Calibrated) and space.curve == LINEAR


def curve_at(space: Cicp | Calibrated, pixels: pyvips.Image) -> Curve:
    """Return the curve of a space that is none of HDR, for samples as some pixels have them: narrow, if they are."""
    return space.curve if full(space) else space.curve.of_range(*narrow_range(pixels))


def full(space: Cicp | Calibrated) -> bool:
    """Return whether samples reach from 0 to the largest."""
    return isinstance(space, Calibrated) or space.full_range


def narrow_range(pixels: pyvips.Image) -> Point:
    """Return where black and white of the narrow range lie, as parts of the largest sample (H.273, 8.3)."""
    return (16 * 256 / 65535, 235 * 256 / 65535) if pixels.format == "ushort" else (16 / 255, 235 / 255)


def split_alpha(pixels: pyvips.Image) -> tuple[pyvips.Image, pyvips.Image | None]:
    """Return the bands of colour, and the one of alpha, if there is one."""
    if pixels.bands in (1, 3):
        return pixels, None
    return pixels.extract_band(0, n=pixels.bands - 1), pixels.extract_band(pixels.bands - 1)


def join_alpha(colour: pyvips.Image, alpha: pyvips.Image | None, like: pyvips.Image) -> pyvips.Image:
    """Put alpha back, and say again what kind of pixels these are."""
    joined = colour if alpha is None else colour.bandjoin(alpha)
    deep = like.format == "ushort"
    grey, rgb = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    return joined.copy(interpretation=grey if colour.bands == 1 else rgb)


def linear(colour: pyvips.Image, light: Callable[[float], float]) -> pyvips.Image:
    """Return the light of samples, as floats.

    Args:
        colour: Any bands, of 8 or 16 bits.
        light: From a sample in 0..1 to its light; hashable, since its table is kept.
    """
    count = _count(colour)
    return colour.maplut(_image(_float_values(light, count), count, "float"))


def encoded(light: pyvips.Image, like: pyvips.Image) -> pyvips.Image:
    """Return sRGB of linear BT.709 of three bands, clipped, of 8 or 16 bits as some other pixels have."""
    deep = light.copy(interpretation="scrgb").colourspace("rgb16")
    return deep if like.format == "ushort" else (deep * (1 / 257) + 0.5).cast("uchar")  # straight to 8 it rounds down


def srgb_table(light: Callable[[float], float], colour: pyvips.Image) -> pyvips.Image:
    """Return a table from samples straight to those of sRGB, where each channel stands for itself."""
    count = _count(colour)
    return _image(_srgb_values(light, count), count, colour.format)


def srgb_of(light: float) -> float:
    """Return the sample of sRGB for light, both in 0..1 (IEC 61966-2-1)."""
    light = min(max(light, 0.0), 1.0)
    return float(12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


IDENTITY: Matrix = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


def to_bt709(space: Chromaticities) -> Matrix:
    """Return what makes linear BT.709 of linear RGB of other primaries; white becomes white.

    Raises:
        ValueError: They span no space.
    """
    if space == BT709:
        return IDENTITY
    adapted = multiplied(adaptation(xyz_of(space.white), xyz_of(BT709.white)), space.to_xyz())
    return multiplied(inverse(BT709.to_xyz()), adapted)


def adaptation(white: Vector, wanted: Vector) -> Matrix:
    """Return what makes one white (XYZ) another, and of other colours what one sees then (Bradford, ICC.1:2022, E)."""
    here, there = times(_BRADFORD, white), times(_BRADFORD, wanted)
    if min(here) <= 0:
        raise ValueError("The white is no colour that there is.")
    gains = [wanted_cone / cone for wanted_cone, cone in zip(there, here, strict=True)]
    scaled = _rows(_scaled(row, gain) for row, gain in zip(_BRADFORD, gains, strict=True))
    return multiplied(inverse(_BRADFORD), scaled)


def xyz_of(point: Point) -> Vector:
    """Return XYZ with Y = 1.

    Raises:
        ValueError: There is no light there.
    """
    x, y = point
    if y <= 0:
        raise ValueError("A white has no light.")
    return x / y, 1.0, (1 - x - y) / y


def times(matrix: Matrix, vector: Vector) -> Vector:
    """Return a matrix times a column."""
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def multiplied(left: Matrix, right: Matrix) -> Matrix:
    """Return the product of two matrices."""
    return _columns(*(times(left, column) for column in _transposed(right)))


def inverse(matrix: Matrix) -> Matrix:
    """Return the inverse.

    Raises:
        ValueError: There is none.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if abs(determinant) < 1e-9:
        raise ValueError("The primaries span no space.")
    adjugate: Matrix = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return _rows(_scaled(row, 1 / determinant) for row in adjugate)


def _columns(first: Vector, second: Vector, third: Vector) -> Matrix:
    return _transposed((first, second, third))


def _transposed(matrix: Matrix) -> Matrix:
    first, second, third = matrix
    return _rows(zip(first, second, third, strict=True))


def _rows(rows: Iterable[Vector]) -> Matrix:
    first, second, third = rows
    return first, second, third


def _scaled(vector: Vector, factor: float) -> Vector:
    first, second, third = vector
    return first * factor, second * factor, third * factor


def _listed(matrix: Matrix) -> list[list[float]]:
    return [list(row) for row in matrix]


def _near(one: Chromaticities, other: Chromaticities) -> bool:
    pairs = zip(
        (one.white, one.red, one.green, one.blue), (other.white, other.red, other.green, other.blue), strict=True
    )
    return all(abs(a - b) < 0.003 for here, there in pairs for a, b in zip(here, there, strict=True))


def _joined(primaries: str | None, transfer: str | None) -> str:
    if primaries == transfer:
        return primaries or "unknown"
    return " ".join(filter(None, (primaries, transfer)))


def _count(colour: pyvips.Image) -> int:
    return 65536 if colour.format == "ushort" else 256


@lru_cache(maxsize=32)
def _float_values(light: Callable[[float], float], count: int) -> "array[float]":
    return array("f", (light(sample / (count - 1)) for sample in range(count)))


@lru_cache(maxsize=32)
def _srgb_values(light: Callable[[float], float], count: int) -> "array[int]":
    white = count - 1
    values = (round(srgb_of(light(sample / white)) * white) for sample in range(count))
    return array("H" if count > 256 else "B", values)


def _image(values: "array[float] | array[int]", count: int, kind: str) -> pyvips.Image:
    return pyvips.Image.new_from_memory(values.tobytes(), count, 1, 1, kind)
