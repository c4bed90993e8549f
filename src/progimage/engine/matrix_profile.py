"""ICC profiles for colour spaces given by code points or by gamma and primaries, for formats that only support ICC.

They are display profiles with a matrix and parametric curves (ICC.1:2022, 8.4). At 8 bits, LittleCMS applies them with
an error of at most one level. At 16 bits it uses a table with 33 steps per axis, and colours at the edge of the gamut
are off by up to 25 levels of 255. The darkest greys of a linear profile, up to 7 of 255, are off by up to 10 at 8 bits
as well. If there is a choice, use `colorimetry.to_srgb`, which is exact.
"""

import struct

from progimage.engine.colorimetry import (
    Calibrated,
    Cicp,
    Curve,
    Matrix,
    Vector,
    adaptation,
    multiplied,
    times,
    xyz_of,
)

_D50: Vector = (0.9642, 1.0, 0.8249)
"""White point of the profile connection space."""
_VERSION = 0x04400000
_HEADER = 128


def profile_of(space: Cicp | Calibrated, *, grey: bool = False) -> bytes:
    """Return an ICC profile for full-range pixels.

    Args:
        space: The colour space, which must not be HDR.
        grey: Whether the pixels have a single channel.

    Raises:
        ValueError: The space is HDR, or its primaries are collinear.
    """
    if isinstance(space, Cicp) and space.hdr:
        raise ValueError("HDR has to be tone-mapped.")
    white = xyz_of(space.chromaticities.white)
    adapted = adaptation(white, _D50)
    curve = _curve(space.curve)
    tags = {b"desc": _text(space.name), b"cprt": _text("CC0"), b"wtpt": _xyz(_D50), b"chad": _numbers(adapted)}
    if grey:
        return _assembled(b"GRAY", tags | {b"kTRC": curve})
    matrix = multiplied(adapted, space.chromaticities.to_xyz())
    columns = {b"rXYZ": (1.0, 0.0, 0.0), b"gXYZ": (0.0, 1.0, 0.0), b"bXYZ": (0.0, 0.0, 1.0)}
    tags |= {name: _xyz(times(matrix, column)) for name, column in columns.items()}
    return _assembled(b"RGB ", tags | {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def _assembled(kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    places: dict[bytes, int] = {}  # identical tags are written once
    body = b""
    start = _HEADER + 4 + 12 * len(tags)
    table = struct.pack(">I", len(tags))
    for name, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, places[data], len(data))
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x12s",
        start + len(body), _VERSION, b"mntr", kind, b"XYZ ", b"acsp", b"".join(map(_fixed, _D50)),
    )  # fmt: skip
    return head.ljust(_HEADER, b"\0") + table + body


def _fixed(number: float) -> bytes:
    return struct.pack(">i", round(min(max(number, -32768), 32767) * 65536))


def _xyz(colour: Vector) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, colour))


def _numbers(matrix: Matrix) -> bytes:
    return b"sf32\0\0\0\0" + b"".join(_fixed(number) for row in matrix for number in row)


def _text(words: str) -> bytes:
    encoded = words.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _curve(curve: Curve) -> bytes:
    power = curve.gamma, curve.a, curve.b
    # LittleCMS inverts type 4 to black if c is 0.
    kind, numbers = (4, (*power, curve.c, curve.d, curve.e, curve.f)) if curve.c else (1, power)
    return b"para\0\0\0\0" + struct.pack(">H2x", kind) + b"".join(map(_fixed, numbers))
