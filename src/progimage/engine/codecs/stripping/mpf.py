"""The index of a file of several JPEGs (CIPA DC-007, multi-picture format)."""

import struct
from dataclasses import dataclass, replace

_VERSION, _COUNT, _ENTRIES = 0xB000, 0xB001, 0xB002
_ENTRY = 16
_MAXIMUM = 1_000


@dataclass(frozen=True, slots=True)
class Picture:
    """An image listed in the index.

    Attributes:
        size: Size in bytes.
        offset: Offset in the file; 0 for the first.
        kind: Its role: the individual image attribute.
    """

    size: int = 0
    offset: int = 0
    kind: int = 0

    def of_size(self, size: int) -> "Picture":
        """Return a copy with another size."""
        return replace(self, size=size)


@dataclass(frozen=True, slots=True)
class Mpf:
    """The index of images.

    Attributes:
        pictures: The images in the order of the file.
    """

    pictures: tuple[Picture, ...]

    def written(self, start: int = 0) -> bytes:
        """Return the encoded index for images that follow each other.

        Args:
            start: Offset of the index in the file, which its offsets are relative to.
        """
        count = len(self.pictures)
        body = struct.pack(">4sIH", b"MM\0*", 8, 3)
        body += struct.pack(">HHI4s", _VERSION, 7, 4, b"0100")
        body += struct.pack(">HHII", _COUNT, 4, 1, count)
        body += struct.pack(">HHIII", _ENTRIES, 7, _ENTRY * count, len(body) + 16, 0)
        at = 0
        for picture in self.pictures:
            body += struct.pack(">IIIHH", picture.kind, picture.size, at - start if at else 0, 0, 0)
            at += picture.size
        return body


def read_mpf(data: bytes, start: int) -> Mpf:
    """Read an index of images.

    Args:
        data: The index after its name.
        start: Offset of the index in the file.

    Raises:
        ValueError: The data is invalid or truncated.
    """
    try:
        return Mpf(_pictures(data, start))
    except struct.error:
        raise ValueError("The index of images is truncated.") from None


def _pictures(data: bytes, start: int) -> tuple[Picture, ...]:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("There is no index of images.")
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (fields,) = struct.unpack_from(f"{order}H", data, at)
    for field in range(fields):
        tag, _, length, place = struct.unpack_from(f"{order}HHII", data, at + 2 + 12 * field)
        if tag == _ENTRIES and length <= _ENTRY * _MAXIMUM:
            entries = [struct.unpack_from(f"{order}III", data, place + step) for step in range(0, length, _ENTRY)]
            return tuple(Picture(size, offset + start if offset else 0, kind) for kind, size, offset in entries)
    raise ValueError("The index lists no images.")
