"""The items listed in the `meta` box of an AVIF or HEIC (ISO/IEC 14496-12, 8.11)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from progimage.engine.codecs.boxes import Box, boxes, first, number

_HIDDEN = 1
_MAXIMUM = 65_536


@dataclass(frozen=True, slots=True)
class Item:
    """An item: an image or its metadata.

    Attributes:
        number: ID of the item.
        kind: Type of the item, such as av01, hvc1, grid, Exif or mime.
        hidden: Whether it is only a part of other items and not shown by itself.
        content_type: Media type of a `mime` item.
        extents: Offset and length of each part of the data in the file.
        inline: Whether the data is in `idat`, and the extents are relative to that.
        properties: The properties, each with whether it is essential.
    """

    number: int
    kind: bytes
    hidden: bool = False
    content_type: bytes = b""
    extents: tuple[tuple[int, int], ...] = ()
    inline: bool = False
    properties: tuple[tuple[Box, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a file.

    Attributes:
        primary: ID of the primary image.
        items: All items by ID.
        references: Type, source item and target items of each reference.
        groups: Type, ID and items of each group.
        idat: The data of inline items.
    """

    primary: int
    items: dict[int, Item]
    references: list[tuple[bytes, int, list[int]]] = field(default_factory=list)
    groups: list[tuple[bytes, int, list[int]]] = field(default_factory=list)
    idat: bytes = b""


def read_items(meta: bytes) -> Items:
    """Read the items listed in a `meta` box.

    Args:
        meta: Content of the box after version and flags.

    Raises:
        ValueError: The box is malformed, or refers to data that can't be moved: in other files or other items.
    """
    parts = dict(reversed(list(boxes(meta))))  # the first of each kind
    pitm = parts.get(b"pitm", b"")
    places = dict(_places(parts.get(b"iloc", b"")))
    said = _properties(parts.get(b"iprp", b""))
    items = {}
    for key, kind, hidden, content_type in _kinds(parts.get(b"iinf", b"")):
        inline, extents = places.get(key, (False, ()))
        items[key] = Item(key, kind, hidden, content_type, extents, inline, tuple(said.get(key, ())))
    primary = number(pitm, 4, 4 if number(pitm, 0, 1) else 2)
    if primary not in items:
        raise ValueError("The primary item is missing.")
    references = list(_references(parts.get(b"iref", b"")))
    return Items(primary, items, references, list(_groups(parts.get(b"grpl", b""))), parts.get(b"idat", b""))


def _kinds(iinf: bytes) -> Iterator[tuple[int, bytes, bool, bytes]]:
    for kind, body in boxes(iinf[8 if number(iinf, 0, 1) else 6 :]):
        if kind != b"infe":
            continue
        if number(body, 0, 1) < 2:
            raise ValueError("An item has an old version.")
        wide = 4 if number(body, 0, 1) > 2 else 2
        if number(body, 4 + wide, 2):
            raise ValueError("An item is protected.")
        content_type = [*body[10 + wide :].split(b"\0", 2), b""][1]  # after its name
        yield number(body, 4, wide), body[6 + wide : 10 + wide], bool(number(body, 1, 3) & _HIDDEN), content_type


def _places(iloc: bytes) -> Iterator[tuple[int, tuple[bool, tuple[tuple[int, int], ...]]]]:
    version, sizes = number(iloc, 0, 1), number(iloc, 4, 2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    take = _taker(iloc, 6)
    for _ in range(take(4 if version > 1 else 2)):
        key = take(4 if version > 1 else 2)
        method = take(2) & 15 if version else 0
        if take(2) or method > 1:
            raise ValueError("The data of an item is in another file or another item.")
        base, extents = take(base_size), []
        for _ in range(take(2)):
            if version and index_size:
                take(index_size)
            offset = take(offset_size)
            extents.append((base + offset, take(length_size)))
        if len(extents) > _MAXIMUM:
            raise ValueError("An item is in too many parts.")
        yield key, (method == 1, tuple(extents))


def _taker(data: bytes, at: int) -> Callable[[int], int]:
    def take(count: int) -> int:
        nonlocal at
        at += count
        return number(data, at - count, count)

    return take


def _references(iref: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    wide = 4 if iref and number(iref, 0, 1) else 2
    for kind, body in boxes(iref[4:]):
        count = number(body, wide, 2)
        yield kind, number(body, 0, wide), [number(body, wide + 2 + wide * index, wide) for index in range(count)]


def _groups(grpl: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    for kind, body in boxes(grpl):
        members = [number(body, 12 + 4 * index, 4) for index in range(number(body, 8, 4))]
        yield kind, number(body, 4, 4), members


def _properties(iprp: bytes) -> dict[int, list[tuple[Box, bool]]]:
    shared = list(boxes(first(iprp, b"ipco") or b""))
    found: dict[int, list[tuple[Box, bool]]] = {}
    for kind, body in boxes(iprp):
        if kind != b"ipma":
            continue
        wide, step = 4 if number(body, 0, 1) else 2, 2 if number(body, 1, 3) & 1 else 1
        take = _taker(body, 8)
        for _ in range(number(body, 4, 4)):
            key = take(wide)
            for _ in range(take(1)):
                value = take(step)
                essential, index = bool(value >> (8 * step - 1)), value & ((1 << (8 * step - 1)) - 1)
                if index > len(shared):
                    raise ValueError("An item refers to a missing property.")
                if index:
                    found.setdefault(key, []).append((shared[index - 1], essential))
    return found
