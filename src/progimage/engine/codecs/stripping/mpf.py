"""The index of a file of several JPEGs (CIPA DC-007, multi-picture format)."""

import struct
from dataclasses import dataclass, replace

_VERSION, _COUNT, _ENTRIES = 0xB000, 0xB001, 0xB002
_ENTRY = 16
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of such a file.

    Attributes:
        size: In bytes.
        offset: Where it begins in the file; 0 for the first.
        kind: What it is to the others: the individual image attribute.
    """

    size: int = 0
    offset: int = 0
    kind: int = 0

    def of_size(self, size: int) -> "Picture":
        """Return the same with another size."""
        return replace(self, size=size)


@dataclass(frozen=True, slots=True)
class Mpf:
    """The index.

    Attributes:
        pictures: In the order in which they stand in the file.
    """

    pictures: tuple[Picture, ...]

    def written(self, start: int = 0) -> bytes:
        """Return the index for pictures that stand one after the other.

        Args:
            start: Where it will begin in the file, from where it counts places.
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
    """Read an index.

    Args:
        data: The index, behind its name.
        start: Where it begins in the file.

    Raises:
        ValueError: It is none, or is cut off.
    """
    try:
        return Mpf(_pictures(data, start))
    except struct.error:
        raise ValueError("The index of pictures is cut off.") from None


def _pictures(data: bytes, start: int) -> tuple[Picture, ...]:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("It is no index of pictures.")
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (fields,) = struct.unpack_from(f"{order}H", data, at)
    for field in range(fields):
        tag, _, length, place = struct.unpack_from(f"{order}HHII", data, at + 2 + 12 * field)
        if tag == _ENTRIES and length <= _ENTRY * _MOST:
            entries = [struct.unpack_from(f"{order}III", data, place + step) for step in range(0, length, _ENTRY)]
            return tuple(Picture(size, offset + start if offset else 0, kind) for kind, size, offset in entries)
    raise ValueError("It lists no pictures.")
