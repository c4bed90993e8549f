"""ICC profiles of colour spaces that are told by code points or by gamma and primaries, for formats that take only ICC.

They are of screens, with a matrix and parametric curves (ICC.1:2022, 8.4). LittleCMS applies them to within a level at
8 bits; at 16 bits it puts a table of 33 steps a side between, and colours at the edge of the gamut come out by up to 25
levels of 255 wrong. The darkest greys of a linear profile, up to 7 of 255, are wrong at 8 bits as well, by up to 10.
Where there is a choice, `colorimetry.to_srgb` is exact.
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
"""The white of the space between profiles."""
_VERSION = 0x04400000
_HEADER = 128


def profile_of(space: Cicp | Calibrated, *, grey: bool = False) -> bytes:
    """Return an ICC profile for pixels of the full range.

    Args:
        space: None of HDR.
        grey: For pixels of one channel.

    Raises:
        ValueError: It is one of HDR, or its primaries span no space.
    """
    if isinstance(space, Cicp) and space.hdr:
        raise ValueError("HDR needs tone mapping.")
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
    places: dict[bytes, int] = {}  # what is the same is written once
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
    # LittleCMS takes the inverse of type 4 for black where c is 0.
    kind, numbers = (4, (*power, curve.c, curve.d, curve.e, curve.f)) if curve.c else (1, power)
    return b"para\0\0\0\0" + struct.pack(">H2x", kind) + b"".join(map(_fixed, numbers))
