"""Colour spaces other than ICC: code points (CICP), and gamma with primaries; their names and the conversion to sRGB.

Code points are those of ITU-T H.273 (2024), used by PNG's cICP, `colr` of AVIF and HEIC, and JPEG XL. This module is
independent of formats and doesn't need a colour engine: it applies a curve for each channel, a matrix, and the curve of
sRGB. This is exact at 16 bits, unlike LittleCMS, which uses a table with 33 steps per axis (see `matrix_profile`).
"""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import pyvips

Vector: TypeAlias = tuple[float, float, float]
Matrix: TypeAlias = tuple[Vector, Vector, Vector]
"""Three rows of a 3×3 matrix."""
Point: TypeAlias = tuple[float, float]
"""CIE 1931 x and y."""

PQ = 16
HLG = 18
_UNSPECIFIED = 2


@dataclass(frozen=True, slots=True)
class Chromaticities:
    """White point and primaries of a colour space, each as CIE 1931 x and y."""

    white: Point
    red: Point
    green: Point
    blue: Point

    def to_xyz(self) -> Matrix:
        """Return the matrix from linear RGB to XYZ, with white at Y = 1 (SMPTE RP 177).

        Raises:
            ValueError: The primaries are collinear, or the white point lies outside.
        """
        primaries = _columns(*((x, y, 1 - x - y) for x, y in (self.red, self.green, self.blue)))
        scales = times(inverse(primaries), xyz_of(self.white))
        if min(scales) <= 0:
            raise ValueError("The white point lies outside the primaries.")
        return _columns(*(_scaled(column, scale) for column, scale in zip(_transposed(primaries), scales, strict=True)))


@dataclass(frozen=True, slots=True)
class Curve:
    """A transfer function from a sample in 0..1 to linear light.

    It is (a·x + b)^gamma + e for x ≥ d, and c·x + f below: the parametric curve of type 4 of ICC.1:2022, 10.18.
    """

    gamma: float
    a: float = 1
    b: float = 0
    c: float = 0
    d: float = 0
    e: float = 0
    f: float = 0

    def __call__(self, sample: float) -> float:
        """Return the linear light of a sample."""
        if sample < self.d:
            return max(self.c * sample + self.f, 0.0)
        return max(float(max(self.a * sample + self.b, 0.0) ** self.gamma) + self.e, 0.0)

    def of_range(self, low: float, high: float) -> "Curve":
        """Return the same curve for samples with black at `low` and white at `high`, both in 0..1."""
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
# H.273, table 2: our names of the primaries, and their chromaticities.
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
# Names of chromaticities, for files that contain only numbers.
_NAMED = {
    "P3": _PRIMARIES[12][1],
    "BT.2020": BT2020,
    "Adobe RGB": Chromaticities(_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
    "ProPhoto RGB": Chromaticities((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)),
}

SRGB = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
LINEAR = Curve(1)
# H.273, table 3. The functions for 1, 6, 14 and 15 (11 and 12 are the same from 0 to 1) are those of cameras; displays
# don't apply their inverse. Still images with them were nearly always made and viewed as sRGB, and libavif and Chromium
# show AVIF that way. (Chromium shows such PNGs with gamma 2.4, the display of BT.1886, which is slightly darker.)
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
        primaries: Primaries and white point; 2 means unspecified.
        transfer: Transfer function; 2 means unspecified.
        matrix: Conversion from RGB to YCbCr; 0 is RGB itself. Irrelevant once samples are RGB.
        full_range: Whether black is at 0 and white at the largest sample. Otherwise they are at 16/256 and 235/256 of
            the range.
    """

    primaries: int
    transfer: int
    matrix: int = 0
    full_range: bool = True

    @property
    def known(self) -> bool:
        """Whether the transfer function is specified and supported. Unspecified primaries are those of sRGB."""
        return (self.primaries in _PRIMARIES or self.primaries == _UNSPECIFIED) and (
            self.transfer in _TRANSFERS or self.hdr
        )

    @property
    def hdr(self) -> bool:
        """Whether the space is HDR: PQ or HLG."""
        return self.transfer in _HDR

    @property
    def name(self) -> str:
        """Name of the space, such as "Display P3" or "BT.2020 PQ"."""
        known_as = _KNOWN_AS.get((self.primaries, self.transfer))
        if known_as:
            return known_as
        return _joined(self.primaries_name, self.transfer_name)

    @property
    def primaries_name(self) -> str | None:
        """Name of the primaries; None if unspecified."""
        return _PRIMARIES[self.primaries][0] if self.primaries in _PRIMARIES else None

    @property
    def transfer_name(self) -> str | None:
        """Name of the transfer function; None if unspecified."""
        names = {code: name for code, (name, _) in _TRANSFERS.items()} | _HDR
        return names.get(self.transfer)

    @property
    def chromaticities(self) -> Chromaticities:
        """Chromaticities of the primaries; those of sRGB if unspecified."""
        return _PRIMARIES[self.primaries][1] if self.primaries in _PRIMARIES else BT709

    @property
    def curve(self) -> Curve:
        """Transfer function, if it isn't HDR; that of sRGB if unspecified."""
        return _TRANSFERS[self.transfer][1] if self.transfer in _TRANSFERS else SRGB

    def decoded(self) -> "Cicp":
        """Return the space after decoding: a decoder converts YCbCr and the narrow range to full-range RGB."""
        return replace(self, matrix=0, full_range=True)


def primaries_near(space: Chromaticities) -> int | None:
    """Return the code point of primaries that nearly equal the given ones; None if there are none."""
    return next((code for code, (_, known) in _PRIMARIES.items() if _near(known, space)), None)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A colour space by gamma and primaries, as in PNG's gAMA and cHRM.

    Attributes:
        gamma: The encoding exponent as in the file: 0.45455 for a display gamma of 2.2.
        chromaticities: The primaries; those of sRGB if unspecified.
    """

    gamma: float
    chromaticities: Chromaticities = BT709

    @property
    def name(self) -> str:
        """Name of the space, such as "gamma 1.8" or "Adobe RGB"."""
        named, power = self.primaries_name, self.transfer_name
        if named == "BT.709":
            return power
        return "Adobe RGB" if named == "Adobe RGB" and power == "gamma 2.2" else f"{named}, {power}"

    @property
    def primaries_name(self) -> str:
        """Name of the primaries."""
        if _near(BT709, self.chromaticities):
            return "BT.709"
        return next((name for name, space in _NAMED.items() if _near(space, self.chromaticities)), "own primaries")

    @property
    def transfer_name(self) -> str:
        """Name of the transfer function."""
        return "linear" if abs(self.gamma - 1) < 0.001 else f"gamma {1 / self.gamma:.2g}"

    @property
    def curve(self) -> Curve:
        """Transfer function."""
        return Curve(1 / self.gamma)


ColourSpace: TypeAlias = bytes | Cicp | Calibrated | None
"""The colour space in a file: an ICC profile, code points, gamma and primaries, or None (sRGB)."""


@dataclass(frozen=True, slots=True)
class Light:
    """Peak luminance of an HDR image according to its metadata, in cd/m².

    Attributes:
        content: Luminance of the brightest pixel (MaxCLL of CTA-861.3); None if unknown.
        mastering: Peak luminance of the mastering display (SMPTE ST 2086); None if unknown.
    """

    content: float | None = None
    mastering: float | None = None

    @property
    def peak(self) -> float | None:
        """Peak luminance for tone mapping: that of the content, or else of the mastering display."""
        return self.content or self.mastering or None


UNKNOWN_LIGHT = Light()


def to_srgb(pixels: pyvips.Image, space: Cicp | Calibrated) -> pyvips.Image:
    """Convert from a colour space that isn't HDR to sRGB. Colours outside its gamut are clipped channel by channel.

    Args:
        pixels: Grey or RGB of 8 or 16 bits, with or without alpha, which isn't changed.
        space: Colour space of the pixels.

    Returns:
        Pixels with the same bands and depth.

    Raises:
        ValueError: The space is HDR, which needs `tone_mapping`, or its primaries are collinear.
    """
    if isinstance(space, Cicp) and space.hdr:
        raise ValueError("HDR has to be tone-mapped.")
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
    """Return whether the space is sRGB or unspecified, so that no conversion is needed."""
    if space is None:
        return True
    if isinstance(space, bytes) or (isinstance(space, Cicp) and (space.hdr or not space.full_range)):
        return False
    return space.curve == SRGB and space.chromaticities == BT709


def is_linear(space: ColourSpace) -> bool:
    """Return whether samples are proportional to light."""
    if isinstance(space, Cicp):
        return not space.hdr and space.curve == LINEAR
    return isinstance(space, Calibrated) and space.curve == LINEAR


def curve_at(space: Cicp | Calibrated, pixels: pyvips.Image) -> Curve:
    """Return the curve of a space that isn't HDR for the samples of `pixels`, adapted to a narrow range."""
    return space.curve if full(space) else space.curve.of_range(*narrow_range(pixels))


def full(space: Cicp | Calibrated) -> bool:
    """Return whether samples use the full range."""
    return isinstance(space, Calibrated) or space.full_range


def narrow_range(pixels: pyvips.Image) -> Point:
    """Return black and white of the narrow range, as fractions of the largest sample (H.273, 8.3)."""
    return (16 * 256 / 65535, 235 * 256 / 65535) if pixels.format == "ushort" else (16 / 255, 235 / 255)


def split_alpha(pixels: pyvips.Image) -> tuple[pyvips.Image, pyvips.Image | None]:
    """Return the colour bands and the alpha band, or None if there is no alpha."""
    if pixels.bands in (1, 3):
        return pixels, None
    return pixels.extract_band(0, n=pixels.bands - 1), pixels.extract_band(pixels.bands - 1)


def join_alpha(colour: pyvips.Image, alpha: pyvips.Image | None, like: pyvips.Image) -> pyvips.Image:
    """Join colour bands with the alpha band, and set the interpretation according to the format of `like`."""
    joined = colour if alpha is None else colour.bandjoin(alpha)
    deep = like.format == "ushort"
    grey, rgb = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    return joined.copy(interpretation=grey if colour.bands == 1 else rgb)


def linear(colour: pyvips.Image, light: Callable[[float], float]) -> pyvips.Image:
    """Convert samples to linear light, as floats.

    Args:
        colour: Any bands, of 8 or 16 bits.
        light: Function from a sample in 0..1 to its light. It must be hashable, since its table is cached.
    """
    count = _count(colour)
    return colour.maplut(_image(_float_values(light, count), count, "float"))


def encoded(light: pyvips.Image, like: pyvips.Image) -> pyvips.Image:
    """Convert linear BT.709 with three bands to sRGB, clipped, with the depth of `like`: 8 or 16 bits."""
    deep = light.copy(interpretation="scrgb").colourspace("rgb16")
    return deep if like.format == "ushort" else (deep * (1 / 257) + 0.5).cast("uchar")  # libvips would round down


def srgb_table(light: Callable[[float], float], colour: pyvips.Image) -> pyvips.Image:
    """Return a lookup table from samples to sRGB samples, for conversions of each channel by itself."""
    count = _count(colour)
    return _image(_srgb_values(light, count), count, colour.format)


def srgb_of(light: float) -> float:
    """Return the sRGB sample for linear light, both in 0..1 (IEC 61966-2-1)."""
    light = min(max(light, 0.0), 1.0)
    return float(12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055)


IDENTITY: Matrix = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


def to_bt709(space: Chromaticities) -> Matrix:
    """Return the matrix from linear RGB with other primaries to linear BT.709. It maps white to white.

    Raises:
        ValueError: The primaries are collinear.
    """
    if space == BT709:
        return IDENTITY
    adapted = multiplied(adaptation(xyz_of(space.white), xyz_of(BT709.white)), space.to_xyz())
    return multiplied(inverse(BT709.to_xyz()), adapted)


def adaptation(white: Vector, wanted: Vector) -> Matrix:
    """Return the chromatic adaptation matrix from one white point to another, in XYZ (Bradford, ICC.1:2022, E)."""
    here, there = times(_BRADFORD, white), times(_BRADFORD, wanted)
    if min(here) <= 0:
        raise ValueError("The white point isn't a real colour.")
    gains = [wanted_cone / cone for wanted_cone, cone in zip(there, here, strict=True)]
    scaled = _rows(_scaled(row, gain) for row, gain in zip(_BRADFORD, gains, strict=True))
    return multiplied(inverse(_BRADFORD), scaled)


def xyz_of(point: Point) -> Vector:
    """Return XYZ of a point, with Y = 1.

    Raises:
        ValueError: The point has no luminance.
    """
    x, y = point
    if y <= 0:
        raise ValueError("The white point has no luminance.")
    return x / y, 1.0, (1 - x - y) / y


def times(matrix: Matrix, vector: Vector) -> Vector:
    """Return the product of a matrix and a column vector."""
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def multiplied(left: Matrix, right: Matrix) -> Matrix:
    """Return the product of two matrices."""
    return _columns(*(times(left, column) for column in _transposed(right)))


def inverse(matrix: Matrix) -> Matrix:
    """Return the inverse of a matrix.

    Raises:
        ValueError: The matrix is singular.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if abs(determinant) < 1e-9:
        raise ValueError("The primaries are collinear.")
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
