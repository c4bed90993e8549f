"""Camera raw files to test with, written byte by byte: a mosaic of a picture, with or without a preview."""

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tests import pictures

SHORT, LONG, RATIONAL, SIGNED_RATIONAL, TEXT, BYTE = 3, 4, 5, 10, 2, 1
_WIDTHS = {BYTE: 1, TEXT: 1, SHORT: 2, LONG: 4, RATIONAL: 8, SIGNED_RATIONAL: 8}
CFA, LINEAR_RAW = 32803, 34892
# Of sRGB to XYZ, turned over: a camera whose primaries are sRGB's, so that developing changes no colour.
_SRGB_MATRIX = (3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572)
WHITE = 65535

Samples = bytes | bytearray
Value = int | str | Sequence[int] | Sequence[float]
Fields = Mapping[int, tuple[int, Value]]


@dataclass
class Directory:
    """A directory of a TIFF file.

    Attributes:
        fields: By its tag, the type and the values of a field.
        samples: What its strips hold, each.
        inside: Other directories, by the tag that points at them.
    """

    fields: Fields
    samples: Sequence[Samples] = ()
    inside: Mapping[int, "Sequence[Directory]"] | None = None


def mosaic(picture: Image.Image) -> np.ndarray:
    """Return what a sensor sees of a picture: linear light, of which each sample has one colour of RGGB."""
    light = linear(picture)
    samples = light[:, :, 1].copy()
    samples[::2, ::2] = light[::2, ::2, 0]
    samples[1::2, 1::2] = light[1::2, 1::2, 2]
    return samples


def linear(picture: Image.Image) -> np.ndarray:
    """Return the light of a picture in sRGB, in 16 bits."""
    coded = np.asarray(picture.convert("RGB")) / 255
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return (light * WHITE + 0.5).astype("<u2")


def raw_file(
    picture: Image.Image, *, make: str = "Acme", orientation: int = 1, preview: bytes = b"", dng: bool = True,
    compression: int = 1, photometric: int = CFA, samples: Samples | Sequence[Samples] | None = None,
    exif: Fields | None = None, crop: tuple[int, int, int, int] | None = None, start: bytes = b"II*\0",
    further: Fields | None = None,
) -> bytes:  # fmt: skip
    """Write a DNG, or what the files of other makers have in common.

    Args:
        picture: What the sensor sees.
        make: Who made the camera.
        orientation: How it was held, as EXIF counts.
        preview: A JPEG.
        dng: It says that it is a DNG.
        compression: How its samples are compressed.
        samples: The samples, if they are compressed; or each strip of them.
        photometric: What the samples are.
        exif: The fields of EXIF.
        crop: What the camera shows: left, top, width, height.
        start: Its first four bytes.
        further: What the directory of the samples says instead, or beside that.
    """
    width, height = picture.size
    of_colour = photometric == LINEAR_RAW
    bands = 3 if of_colour else 1
    fields: dict[int, tuple[int, Value]] = {
        254: (LONG, 0), 256: (LONG, width), 257: (LONG, height), 258: (SHORT, [16] * bands), 259: (SHORT, compression),
        262: (SHORT, photometric), 277: (SHORT, bands), 278: (LONG, height), 284: (SHORT, 1),
    }  # fmt: skip
    if not of_colour:
        fields |= {33421: (SHORT, (2, 2)), 33422: (BYTE, (0, 1, 1, 2))}
    if dng:
        fields |= {50714: (LONG, [0] * bands), 50717: (LONG, [WHITE] * bands)}
    if crop:
        fields |= {50719: (LONG, crop[:2]), 50720: (LONG, crop[2:])}
    plain = (linear(picture) if of_colour else mosaic(picture)).tobytes()
    strips = [plain] if samples is None else [samples] if isinstance(samples, bytes | bytearray) else samples
    inside = [Directory({**fields, **(further or {})}, strips)]
    if preview:
        size = Image.open(io.BytesIO(preview)).size
        inside.append(
            Directory(
                {254: (LONG, 1), 256: (LONG, size[0]), 257: (LONG, size[1]), 258: (SHORT, (8, 8, 8)),
                 259: (SHORT, 7), 262: (SHORT, 6), 277: (SHORT, 3), 278: (LONG, size[1])},
                [preview],
            )
        )  # fmt: skip
    thumbnail = Image.new("RGB", (8, 6), (200, 20, 20))
    first: dict[int, tuple[int, Value]] = {
        254: (LONG, 1), 256: (LONG, 8), 257: (LONG, 6), 258: (SHORT, (8, 8, 8)), 259: (SHORT, 1), 262: (SHORT, 2),
        271: (TEXT, make), 272: (TEXT, f"{make} One"), 274: (SHORT, orientation), 277: (SHORT, 3), 278: (LONG, 6),
    }  # fmt: skip
    if dng:
        first |= {
            50706: (BYTE, (1, 4, 0, 0)), 50708: (TEXT, f"{make} One"), 50721: (SIGNED_RATIONAL, _SRGB_MATRIX),
            50728: (RATIONAL, (1, 1, 1)), 50778: (SHORT, 21),
        }  # fmt: skip
    below: dict[int, Sequence[Directory]] = {330: inside}
    if exif:
        below[34665] = [Directory(exif)]
    return tiff(Directory(first, [thumbnail.tobytes()], below), start)


def tiff(first: Directory, start: bytes = b"II*\0") -> bytes:
    """Write a TIFF file of one directory and those in it, little-endian."""
    data = bytearray(start + struct.pack("<I", 0))
    at = _write(data, first)
    data[4:8] = struct.pack("<I", at)
    return bytes(data)


def _write(data: bytearray, directory: Directory) -> int:
    """Write a directory behind what it points at, and return where it is."""
    fields: dict[int, tuple[int, Value]] = dict(directory.fields)
    if directory.samples:
        places = []
        for strip in directory.samples:
            places.append(len(data))
            data += strip + b"\0" * (len(strip) % 2)
        fields |= {273: (LONG, places), 279: (LONG, [len(strip) for strip in directory.samples])}
    for tag, others in (directory.inside or {}).items():
        fields[tag] = LONG, [_write(data, other) for other in others]
    entries = []
    for tag, (kind, value) in sorted(fields.items()):
        packed, count = _packed(kind, value)
        if len(packed) > 4:
            place = len(data)
            data += packed + b"\0" * (len(packed) % 2)
            packed = struct.pack("<I", place)
        entries.append(struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0"))
    at = len(data)
    data += struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    return at


def _packed(kind: int, value: Value) -> tuple[bytes, int]:
    if isinstance(value, str):
        return value.encode() + b"\0", len(value) + 1
    values = [value] if isinstance(value, int) else list(value)
    if kind in (RATIONAL, SIGNED_RATIONAL):
        pairs = [number for one in values for number in (round(one * 10_000), 10_000)]
        return struct.pack(f"<{len(pairs)}{'i' if kind == SIGNED_RATIONAL else 'I'}", *pairs), len(values)
    return struct.pack(f"<{len(values)}{ {BYTE: 'B', SHORT: 'H', LONG: 'I'}[kind] }", *values), len(values)


def scene(size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture with soft colours, which a mosaic holds, and corners that differ."""
    return pictures.colour(size).resize(size)
