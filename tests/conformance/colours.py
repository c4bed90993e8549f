"""Colour by the formulas of the standards: primaries, transfer functions, and ICC profiles made of them."""

import struct

import numpy
from numpy.typing import NDArray

Array = NDArray[numpy.float64]

PRIMARIES: dict[str, tuple[tuple[float, float], ...]] = {
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "BT.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "swapped": ((0.30, 0.60), (0.64, 0.33), (0.15, 0.06)),
}
"""x and y of red, green and blue; the white is D65. `swapped` is sRGB with red and green exchanged."""
D65 = (0.3127, 0.3290)
D50_XYZ = numpy.array([0.9642, 1.0, 0.8249])
REFERENCE_WHITE = 203.0
"""What diffuse white has in HDR, in cd/m² (ITU-R BT.2408)."""
_BRADFORD = numpy.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def _xyz(x: float, y: float) -> Array:
    return numpy.array([x / y, 1.0, (1 - x - y) / y])


def to_xyz(primaries: str) -> Array:
    """Return the matrix from linear RGB to XYZ, white D65."""
    columns: Array = numpy.stack([_xyz(x, y) for x, y in PRIMARIES[primaries]], axis=1)
    scale = numpy.linalg.inv(columns) @ _xyz(*D65)
    return columns * scale


def to_d50(white: Array) -> Array:
    """Return Bradford's matrix from a white to D50."""
    gain = numpy.diag((_BRADFORD @ D50_XYZ) / (_BRADFORD @ white))
    matrix: Array = numpy.linalg.inv(_BRADFORD) @ gain @ _BRADFORD
    return matrix


def converted(linear: Array, source: str, target: str) -> Array:
    """Convert linear RGB from one set of primaries to another."""
    matrix = numpy.linalg.inv(to_xyz(target)) @ to_xyz(source)
    result: Array = linear @ matrix.T
    return result


def srgb_decode(encoded: Array) -> Array:
    return numpy.where(encoded <= 0.04045, encoded / 12.92, ((numpy.maximum(encoded, 0) + 0.055) / 1.055) ** 2.4)


def srgb_encode(linear: Array) -> Array:
    linear = numpy.clip(linear, 0, 1)
    return numpy.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def pq_encode(nits: Array) -> Array:
    """SMPTE ST 2084."""
    power = (numpy.clip(nits, 0, 10_000) / 10_000) ** 0.1593017578125
    encoded: Array = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return encoded


def hlg_encode(nits: Array) -> Array:
    """ARIB STD-B67, for neutral colours as a display of 1000 cd/m² shows them (ITU-R BT.2100)."""
    scene = (numpy.clip(nits, 0, 1000) / 1000) ** (1 / 1.2)
    dark = numpy.sqrt(3 * scene)
    light = 0.17883277 * numpy.log(numpy.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return numpy.where(scene <= 1 / 12, dark, light)


def bt709_encode(linear: Array) -> Array:
    linear = numpy.clip(linear, 0, 1)
    return numpy.where(linear < 0.018, linear * 4.5, 1.099 * linear**0.45 - 0.099)


def lab_to_srgb(lab: Array) -> Array:
    """CIE L*a*b* of white D50 to sRGB, 0 to 1."""
    y = (lab[..., 0] + 16) / 116
    f = numpy.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = numpy.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * D50_XYZ
    d65 = xyz @ numpy.linalg.inv(to_d50(_xyz(*D65))).T
    return srgb_encode(d65 @ numpy.linalg.inv(to_xyz("sRGB")).T)


def icc_profile(primaries: str, gamma: float | None = None) -> bytes:
    """Return an ICC profile (version 2.1) of RGB with a gamma, or sRGB's curve."""
    matrix = to_d50(_xyz(*D65)) @ to_xyz(primaries)
    if gamma is None:
        points = numpy.round(srgb_decode(numpy.linspace(0, 1, 1024)) * 65535).astype(">u2")
        curve = b"curv" + struct.pack(">II", 0, len(points)) + points.tobytes()
    else:
        curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256))
    name = f"Test {primaries}".encode()
    described = b"desc" + struct.pack(">II", 0, len(name) + 1) + name + b"\0" + bytes(4 + 4 + 2 + 1 + 67)
    tags = {b"desc": described, b"cprt": b"text" + bytes(4) + b"None\0", b"wtpt": _xyz_tag(D50_XYZ)}
    tags |= {key: _xyz_tag(matrix[:, index]) for index, key in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for key, value in tags.items():
        table += key + struct.pack(">II", at + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    header = struct.pack(">I4sI4s4s4s6H4s", at + len(data), b"test", 0x02100000, b"mntr", b"RGB ", b"XYZ ",
                         2026, 1, 1, 0, 0, 0, b"acsp")  # fmt: skip
    header += bytes(28) + struct.pack(">3i", *(round(value * 65536) for value in D50_XYZ))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def _xyz_tag(xyz: Array) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in xyz))
