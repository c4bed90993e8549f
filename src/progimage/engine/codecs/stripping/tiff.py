"""TIFF: the fields that are needed to decode pages, and their strips or tiles (TIFF 6.0; BigTIFF).

Files are rewritten, so that data that no kept field points to is dropped: thumbnails, EXIF, GPS, and layers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from progimage.engine.metadata import Buffer, Kept

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Number of bytes of a value by type."""
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
_LONG, _LONG8, _BYTE = 4, 16, 1
_OFFSETS = {273: 279, 324: 325}
"""The fields with offsets of strips or tiles, and those with their lengths."""
_COMPRESSION, _ORIENTATION, _ICC, _XMP = 259, 274, 34675, 700
_PLAIN = frozenset((1, 2, 3, 4, 5, 8, 32771, 32773, 32946, 50000))
"""Compressions whose data contains only samples; others contain complete files with metadata of their own."""
_SLACK = 1 << 16
"""Maximum number of bytes by which a new file can exceed twice the size of the old one."""
_SHORT, _UNDEFINED = 3, 7
_NEEDED = frozenset(
    (254, 256, 257, 258, 259, 262, 263, 266, 274, 277, 278, 279, 280, 281, 282, 283, 284, 290, 291, 292, 293, 296, 297,
     301, 317, 318, 319, 320, 322, 323, 325, 332, 334, 336, 338, 339, 340, 341, 529, 530, 531, 532)
)  # fmt: skip
_BIG = 43
_MOST_PAGES, _MOST_FIELDS = 10_000, 1_000


@dataclass(frozen=True, slots=True)
class _Field:
    tag: int
    kind: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of numbers, which differs between TIFF and BigTIFF.

    Attributes:
        order: Byte order as in `struct`.
        big: Whether the file is a BigTIFF.
    """

    order: str
    big: bool

    @property
    def word(self) -> str:
        """Struct format of offsets and counts."""
        return self.order + ("Q" if self.big else "I")

    @property
    def fields(self) -> str:
        """Struct format of the number of fields."""
        return self.order + ("Q" if self.big else "H")

    def pack(self, value: int) -> bytes:
        """Return an encoded offset or count."""
        return struct.pack(self.word, value)


def stripped_tiff(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a TIFF without its metadata, with all of its pages.

    Args:
        data: The file.
        kept: The metadata to keep.

    Raises:
        ValueError: The file is malformed, or a variant that can't be copied.
    """
    try:
        layout, at = _header(data)
        return _written(_pages(data, layout, at), data, layout, kept)
    except (struct.error, KeyError) as error:
        raise ValueError(f"The TIFF is invalid: {error}.") from None


def _header(data: memoryview) -> tuple[_Layout, int]:
    order = {b"II": "<", b"MM": ">"}[bytes(data[:2])]
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    layout = _Layout(order, version == _BIG)
    return layout, struct.unpack_from(layout.word, data, 8 if layout.big else 4)[0]


def _pages(data: memoryview, layout: _Layout, at: int) -> Iterator[list[_Field]]:
    for _ in range(_MOST_PAGES):
        if not at:
            return
        (count,) = struct.unpack_from(layout.fields, data, at)
        if count > _MOST_FIELDS:
            raise ValueError("A page has too many fields.")
        at += struct.calcsize(layout.fields)
        step = 20 if layout.big else 12
        yield [_field(data, layout, at + step * index) for index in range(count)]
        (at,) = struct.unpack_from(layout.word, data, at + step * count)
    raise ValueError("There are too many pages.")


def _field(data: memoryview, layout: _Layout, at: int) -> _Field:
    tag, kind = struct.unpack_from(f"{layout.order}HH", data, at)
    (count,) = struct.unpack_from(layout.word, data, at + 4)
    inline = struct.calcsize(layout.word)
    start, length = at + 4 + inline, _SIZES.get(kind, 1) * count
    if length > inline:
        (start,) = struct.unpack_from(layout.word, data, start)
    return _Field(tag, kind, count, bytes(data[start : start + length]))


class _Writer:
    """Builds a file: first the data that fields point to, then the directories of the pages."""

    def __init__(self, layout: _Layout, maximum: int) -> None:
        self._layout, self._most = layout, maximum
        self._parts: list[Buffer] = []
        self._at = 16 if layout.big else 8
        self._directories: list[bytes] = []

    def add(self, part: Buffer) -> int:
        """Add data that a field points to, and return its offset."""
        start = self._at
        if start + len(part) > self._most:
            raise ValueError("Strips or tiles overlap.")
        self._parts += [part, bytes(len(part) % 2)]
        self._at += len(part) + len(part) % 2
        return start

    def add_page(self, fields: list[_Field]) -> None:
        """Add the directory of a page."""
        layout = self._layout
        inline = struct.calcsize(layout.word)
        directory = struct.pack(layout.fields, len(fields))
        for one in sorted(fields, key=lambda one: one.tag):
            value = one.data if len(one.data) <= inline else layout.pack(self.add(one.data))
            directory += struct.pack(f"{layout.order}HH", one.tag, one.kind) + layout.pack(one.count)
            directory += value.ljust(inline, b"\0")
        self._directories.append(directory)

    def file(self) -> list[Buffer]:
        """Return the parts of the file."""
        layout = self._layout
        sizes = [len(directory) + struct.calcsize(layout.word) for directory in self._directories]
        *places, end = accumulate(sizes, initial=self._at)
        if not layout.big and end >> 32:
            raise ValueError("The file is too large for a TIFF.")
        order = b"II" if layout.order == "<" else b"MM"
        version = struct.pack(f"{layout.order}HHH", _BIG, 8, 0) if layout.big else struct.pack(f"{layout.order}H", 42)
        linked = zip(self._directories, [*places[1:], 0], strict=True)
        directories = [part for directory, following in linked for part in (directory, layout.pack(following))]
        return [order + version + layout.pack(places[0]), *self._parts, *directories]


def _written(pages: Iterator[list[_Field]], data: memoryview, layout: _Layout, kept: Kept) -> list[Buffer]:
    writer = _Writer(layout, 2 * len(data) + _SLACK)
    for number, page in enumerate(pages):
        fields = [*_needed(page, data, layout, writer), *_kept(page, kept)]
        if number == 0 and not any(one.tag == _ORIENTATION for one in fields) and kept.orientation != 1:
            value = struct.pack(f"{layout.order}H", kept.orientation)
            fields.append(_Field(_ORIENTATION, _SHORT, 1, value))
        writer.add_page(fields)
    return writer.file()


def _needed(page: list[_Field], data: memoryview, layout: _Layout, writer: _Writer) -> Iterator[_Field]:
    """Yield the fields of a page that are needed to decode it, and copy their data."""
    by_tag = {one.tag: one for one in page}
    if _COMPRESSION in by_tag and not set(_numbers(by_tag[_COMPRESSION], layout)) <= _PLAIN:
        raise ValueError("The strips or tiles are complete files.")
    for one in page:
        if one.tag in _NEEDED:
            yield one
        elif one.tag in _OFFSETS:
            lengths = _numbers(by_tag[_OFFSETS[one.tag]], layout)
            places = [writer.add(part) for part in _parts(data, _numbers(one, layout), lengths)]
            kind = _LONG8 if layout.big else _LONG
            yield _Field(one.tag, kind, len(places), b"".join(map(layout.pack, places)))


def _parts(data: memoryview, places: tuple[int, ...], lengths: tuple[int, ...]) -> Iterator[memoryview]:
    for start, length in zip(places, lengths, strict=True):
        if start + length > len(data):
            raise ValueError("A strip or tile is truncated.")
        yield data[start : start + length]


def _numbers(field: _Field, layout: _Layout) -> tuple[int, ...]:
    return struct.unpack(f"{layout.order}{field.count}{_WHOLE[field.kind]}", field.data)


def _kept(page: list[_Field], kept: Kept) -> Iterator[_Field]:
    for one in page:
        profile = kept.profile(one.data) if one.tag == _ICC else None
        if profile:
            yield _Field(_ICC, _UNDEFINED, len(profile), profile)
        packet = kept.xmp(one.data) if one.tag == _XMP else None
        if packet:
            yield _Field(_XMP, _BYTE, len(packet), packet)
