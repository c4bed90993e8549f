"""AVIF and HEIC: the visible images and their parts (ISO/IEC 23008-12).

Still images are rewritten. In image sequences, many tables contain offsets from the start of the file; there, removed
data is overwritten, so that nothing moves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from progimage.engine.codecs.boxes import Box, box, boxes, first, full_box, number, places
from progimage.engine.codecs.isobmff import ALPHA
from progimage.engine.codecs.stripping.items import Item, Items, read_items
from progimage.engine.codecs.stripping.jpeg import stripped_jpeg
from progimage.engine.metadata import EXIF, Buffer, Kept

_PICTURES = frozenset(b"av01 hvc1 hev1 vvc1 avc1 jpeg j2k1 unci grid iovl iden".split())
_GAIN_MAP = b"tmap"
_PROPERTIES = frozenset(
    b"ispe pixi colr pasp clap irot imir rloc auxC av1C hvcC vvcC avcC jpgC j2kH lhvC cmpd uncC cmpC icef a1op a1lx"
    b" lsel oinf tols clli mdcv cclv amve reve ndwt".split()
)
"""Properties that a decoder can need; all others are metadata."""
_IN_MOVIE: dict[bytes, tuple[bytes, ...]] = {
    b"moov": (b"mvhd", b"trak"),
    b"trak": (b"tkhd", b"edts", b"tref", b"mdia"),
    b"edts": (b"elst",),
    b"mdia": (b"mdhd", b"hdlr", b"minf"),
    b"minf": (b"vmhd", b"nmhd", b"dinf", b"stbl"),
    b"stbl": tuple(b"stsd stts ctts cslg stsc stsz stco co64 stss sdtp sgpd sbgp".split()),
}
"""The needed boxes inside each box of a movie (ISO/IEC 14496-12, table 1)."""
_MOST_SAMPLES, _MOST_COPIES = 1_000_000, 8
_XMP = b"application/rdf+xml"
_NO_OFFSET = b"\0\0\0\0"


def stripped_isobmff(data: memoryview, kept: Kept, *, pages: bool) -> list[Buffer]:
    """Return an AVIF or HEIC without its metadata.

    Args:
        data: The file.
        kept: The metadata to keep.
        pages: Whether to keep all independently visible images instead of only the primary one.

    Raises:
        ValueError: The file is malformed, or contains something that can't be copied.
    """
    whole = bytes(data)
    if first(whole, b"moov") is not None:
        return [_blanked(whole, kept)]
    ftyp, meta = first(whole, b"ftyp"), first(whole, b"meta")
    if ftyp is None or meta is None:
        raise ValueError("There are no items.")
    items = read_items(meta[4:])
    chosen = _chosen(items, pages=pages)
    # Identical tiles can share their data.
    copied = sum(length or len(whole) for one in chosen.items.values() for _, length in one.extents)
    if copied > _MOST_COPIES * len(whole):
        raise ValueError("Items overlap.")
    contents = {one.number: _content(whole, items, one, kept) for one in chosen.items.values()}
    chosen = _with_metadata(whole, items, chosen, contents, kept)
    head = box(b"ftyp", ftyp)
    start = len(head) + len(_meta(chosen, dict.fromkeys(contents, (0, 0)))) + 8
    where = {}
    for key, content in contents.items():
        where[key] = start, len(content)
        start += len(content)
    return [head, _meta(chosen, where), box(b"mdat", *contents.values())]


def _chosen(items: Items, *, pages: bool) -> Items:
    """Return the visible images, their parts, their alpha, and the gain map."""
    made_of = _sources(items, b"dimg")
    described = {source for kind, source, _ in items.references if kind in (b"thmb", b"auxl", b"cdsc", b"prem")}
    parts = {target for targets in made_of.values() for target in targets}
    shown = [items.primary]
    if pages:
        shown += [
            key
            for key, item in items.items.items()
            if item.kind in _PICTURES and not item.hidden and key not in described | parts
        ]
    shown += [key for key, item in items.items.items() if item.kind == _GAIN_MAP and items.primary in made_of[key]]
    chosen: set[int] = set()
    while shown:
        key = shown.pop()
        if key in chosen:
            continue
        if key not in items.items:
            raise ValueError("An image refers to a missing part.")
        chosen.add(key)
        shown += made_of.get(key, [])
        shown += [
            source
            for kind, source, targets in items.references
            if kind == b"auxl" and key in targets and _is_alpha(items.items.get(source))
        ]
    return replace(
        items,
        items={key: _described(item) for key, item in items.items.items() if key in chosen},
        references=[
            (kind, source, [target for target in targets if target in chosen])
            for kind, source, targets in items.references
            if source in chosen and chosen & set(targets) and kind in (b"dimg", b"auxl", b"prem", b"base")
        ],
        groups=[
            (kind, key, [member for member in members if member in chosen])
            for kind, key, members in items.groups
            if kind == b"altr" and len(chosen & set(members)) > 1
        ],
    )


def _sources(items: Items, wanted: bytes) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {key: [] for key in items.items}
    for kind, source, targets in items.references:
        if kind == wanted:
            found.setdefault(source, []).extend(targets)
    return found


def _is_alpha(item: Item | None) -> bool:
    said = item.properties if item else ()
    return any(kind == b"auxC" and body[4:].partition(b"\0")[0] in ALPHA for (kind, body), _ in said)


def _described(item: Item) -> Item:
    """Return an item with only those properties that a decoder can need.

    Raises:
        ValueError: The item has another property that is essential.
    """
    if any(essential and kind not in _PROPERTIES for (kind, _), essential in item.properties):
        raise ValueError("An image has an unknown essential property.")
    return replace(item, properties=tuple(one for one in item.properties if one[0][0] in _PROPERTIES))


def _content(data: bytes, items: Items, item: Item, kept: Kept) -> bytes:
    source = items.idat if item.inline else data
    parts = []
    for at, length in item.extents:
        end = at + length if length else len(source)
        if end > len(source):
            raise ValueError("The data of an item is truncated.")
        parts.append(source[at:end])
    content = b"".join(parts)
    if item.kind != b"jpeg":
        return content
    return b"".join(stripped_jpeg(memoryview(content), replace(kept, kinds=kept.kinds & {"icc"}, orientation=1)))


def _with_metadata(data: bytes, items: Items, chosen: Items, contents: dict[int, bytes], kept: Kept) -> Items:
    """Add the metadata to keep to the items and their contents."""
    result = chosen
    for kind, content in _metadata(data, items, kept):
        key = max(result.items) + 1
        item = Item(key, kind, content_type=_XMP if kind == b"mime" else b"")
        contents[key] = content
        result = replace(
            result,
            items={**result.items, key: item},
            references=[*result.references, (b"cdsc", key, [result.primary])],
        )
    return result


def _metadata(data: bytes, items: Items, kept: Kept) -> Iterable[tuple[bytes, bytes]]:
    found: dict[bytes, bytes] = {}
    for kind, source, targets in items.references:
        item = items.items.get(source) if kind == b"cdsc" and items.primary in targets else None
        if item and (item.kind == b"Exif" or item.content_type == _XMP):
            found.setdefault(item.kind, _content(data, items, item, kept))
    exif = found.get(b"Exif", b"")
    written = kept.exif(exif[4 + int.from_bytes(exif[:4], "big") :].removeprefix(EXIF))
    if written:
        yield b"Exif", _NO_OFFSET + written
    xmp = kept.xmp(found.get(b"mime"))
    if xmp:
        yield b"mime", xmp


def _meta(items: Items, where: dict[int, tuple[int, int]], padding: int = 0) -> bytes:
    """Return a `meta` box.

    Args:
        items: The items to list.
        where: Offset and length of each item's data in the file.
        padding: Number of extra bytes.
    """
    wide = 4 if max(items.items) > 0xFFFF else 2
    count = _big(len(items.items), wide)
    placed = [
        _big(key, wide) + bytes(wide - 2) + _big(0, 2) + _big(1, 2) + b"".join(_big(one, 4) for one in where[key])
        for key in items.items
    ]
    referred = [
        box(kind, _big(source, wide), _big(len(targets), 2), *(_big(target, wide) for target in targets))
        for kind, source, targets in items.references
    ]
    grouped = [
        full_box(kind, 0, 0, _big(key, 4), _big(len(members), 4), *(_big(member, 4) for member in members))
        for kind, key, members in items.groups
    ]
    version = int(wide == 4)
    return full_box(
        b"meta",
        0,
        0,
        full_box(b"hdlr", 0, 0, b"\0\0\0\0pict", bytes(13 + padding)),
        full_box(b"pitm", version, 0, _big(items.primary, wide)),
        full_box(b"iloc", 2 * version, 0, b"\x44\0", count, *placed),
        full_box(b"iinf", version, 0, count, *(_infe(item, wide) for item in items.items.values())),
        full_box(b"iref", version, 0, *referred) if referred else b"",
        _iprp(items, wide),
        box(b"grpl", *grouped) if grouped else b"",
    )


def _big(value: int, length: int) -> bytes:
    return value.to_bytes(length, "big")


def _infe(item: Item, wide: int) -> bytes:
    content_type = item.content_type + b"\0" if item.kind == b"mime" else b""
    name = _big(item.number, wide)
    return full_box(b"infe", 3 if wide == 4 else 2, int(item.hidden), name, b"\0\0", item.kind, b"\0", content_type)


def _iprp(items: Items, wide: int) -> bytes:
    shared = list(dict.fromkeys(one for item in items.items.values() for one, _ in item.properties))
    index = {one: number for number, one in enumerate(shared, 1)}
    step = 1 if len(shared) < 1 << 7 else 2
    if len(shared) >= 1 << 15:
        raise ValueError("There are too many properties.")
    told = [_associated(item, index, wide, step) for item in items.items.values() if item.properties]
    associated = full_box(b"ipma", int(wide == 4), step - 1, _big(len(told), 4), *told)
    return box(b"iprp", box(b"ipco", *(box(kind, body) for kind, body in shared)), associated)


def _associated(item: Item, index: dict[Box, int], wide: int, step: int) -> bytes:
    marked = [_big(essential << (8 * step - 1) | index[one], step) for one, essential in item.properties]
    return _big(item.number, wide) + _big(len(marked), 1) + b"".join(marked)


@dataclass
class _Blank:
    """A file whose parts are overwritten, so that nothing in it moves."""

    data: bytearray

    def box(self, start: int, end: int) -> None:
        """Turn the box with this content into free space."""
        self.data[start - 4 : start] = b"free"
        self.zeros(start, end)

    def between(self, start: int, end: int, used: Iterable[tuple[int, int]]) -> None:
        """Overwrite the unused parts of a range with zeros."""
        at = start
        for begin, after in sorted(used):
            if begin > at:
                self.zeros(at, min(begin, end))
            at = max(at, after)
        if at < end:
            self.zeros(at, end)

    def zeros(self, start: int, end: int) -> None:
        """Overwrite a range with zeros."""
        self.data[start:end] = bytes(end - start)


def _blanked(data: bytes, kept: Kept) -> bytes:
    """Return an image sequence with everything but its images overwritten.

    Raises:
        ValueError: There is metadata to keep, or an unknown part.
    """
    blank = _Blank(bytearray(data))
    last, used = 0, list[tuple[int, int]]()
    for kind, start, end in places(data):
        if end > len(data):
            if kind in (b"moov", b"meta", b"mdat"):
                raise ValueError("The file is truncated.")
            break
        last = end
        if kind == b"moov":
            _blank_boxes(blank, start, end, kind)
            used += _samples(data[start:end])
        elif kind == b"meta":
            used += _blank_items(blank, data, start, end, kept)
        elif kind in (b"moof", b"mfra", b"sidx"):
            raise ValueError("The sequence is fragmented.")
        elif kind not in (b"ftyp", b"mdat"):
            blank.box(start, end)
    for kind, start, end in places(data[:last]):
        if kind == b"mdat":
            blank.between(start, end, used)
    return bytes(blank.data[:last])


def _blank_boxes(blank: _Blank, start: int, end: int, kind: bytes) -> None:
    """Overwrite the unneeded contents of a box: descriptions and dates of a movie and its tracks."""
    for name, inside, after in _inside(blank, start, end):
        if name not in _IN_MOVIE[kind]:
            blank.box(inside, after)
        elif name in _IN_MOVIE:
            _blank_boxes(blank, inside, after, name)
        elif name in (b"mvhd", b"tkhd", b"mdhd"):
            blank.zeros(inside + 4, inside + (20 if blank.data[inside] else 12))
        elif name == b"hdlr":
            if bytes(blank.data[inside + 8 : inside + 12]) not in (b"pict", b"vide", b"auxv"):
                raise ValueError("A track contains no images.")
            blank.zeros(inside + 24, after)


def _samples(moov: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of the samples of all tracks (ISO/IEC 14496-12, 8.7)."""
    for kind, track in boxes(moov):
        table = first(track, b"mdia", b"minf", b"stbl") if kind == b"trak" else None
        if table is None:
            continue
        parts = dict(boxes(table))
        wide = 8 if b"co64" in parts else 4
        chunks = parts.get(b"co64") or parts.get(b"stco", b"")
        places_of = [number(chunks, 8 + wide * index, wide) for index in range(number(chunks, 4, 4))]
        sizes = parts.get(b"stsz", b"")
        same, count = number(sizes, 4, 4), number(sizes, 8, 4)
        if same and count > _MOST_SAMPLES:
            raise ValueError("There are too many samples.")
        each = iter([same] * count if same else [number(sizes, 12 + 4 * index, 4) for index in range(count)])
        runs = parts.get(b"stsc", b"")
        entries = [(number(runs, 8 + 12 * at, 4), number(runs, 12 + 12 * at, 4)) for at in range(number(runs, 4, 4))]
        for index, place in enumerate(places_of, 1):
            per_chunk = next((many for from_chunk, many in reversed(entries) if from_chunk <= index), 0)
            yield place, place + sum(islice(each, per_chunk))


def _inside(blank: _Blank, start: int, end: int) -> Iterable[tuple[bytes, int, int]]:
    for kind, inside, after in places(bytes(blank.data[start:end])):
        if start + after > end:
            raise ValueError("A box is truncated.")
        yield kind, start + inside, start + after


def _blank_items(blank: _Blank, data: bytes, start: int, end: int, kept: Kept) -> list[tuple[int, int]]:
    """Rewrite a list of items in the space of the old one; return start and end of the data of each item in it."""
    items = read_items(data[start + 4 : end])
    if any(item.inline for item in items.items.values()) or (kept.kinds - {"icc"} and len(items.items) > 1):
        raise ValueError("There is metadata to keep, or inline data.")
    chosen = _chosen(items, pages=False)
    where = {}
    for key, item in items.items.items():
        if key in chosen.items and len(item.extents) != 1:
            raise ValueError("The data of an image has several parts.")
        if key in chosen.items:
            where[key] = item.extents[0]
    room = end - (start - 8) - len(_meta(chosen, where))
    if number(data, start - 8, 4) == 1 or room < 0:
        raise ValueError("There is no room for the list of items.")
    blank.data[start - 8 : end] = _meta(chosen, where, padding=room)
    return [(at, at + length if length else len(data)) for at, length in where.values()]
