"""The properties of the image in an AVIF or HEIC file, read from its boxes.

Source: ISO/IEC 14496-12:2022 (boxes, `clap`, `colr`), ISO/IEC 23008-12:2022 (items and their properties), ISO/IEC
23000-22:2019 (MIAF).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from progimage.engine.codecs.boxes import Box as IsoBox
from progimage.engine.codecs.boxes import after_last, boxes, first, number, signed
from progimage.engine.codecs.mending import after_end
from progimage.engine.colorimetry import UNKNOWN_LIGHT, Cicp, ColourSpace, Light
from progimage.engine.description import Description, Page
from progimage.engine.errors import NotAnImage
from progimage.engine.files import InputFile
from progimage.engine.geometry import Box

Rectangle = tuple[int, int, int, int]
"""Left, top, width and height, in pixels."""

ALPHA = {
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
    b"urn:mpeg:avc:2015:auxid:1",
}
_GAIN_MAP = b"urn:com:apple:photo:2020:aux:hdrgainmap"
# EXIF orientation by rotation, in quarter turns anticlockwise, and by the mirroring after it: none, top to bottom
# (axis 0), left to right (axis 1).
_ORIENTATIONS = {
    0: {None: 1, 0: 4, 1: 2},
    1: {None: 8, 0: 5, 1: 7},
    2: {None: 3, 0: 2, 1: 4},
    3: {None: 6, 0: 7, 1: 5},
}
_LARGEST_TABLE = 1_000_000
"""In bytes; larger tables only serve to waste time."""
_SAMPLE_ENTRY = 78
"""Number of bytes in the sample entry of a video track before its boxes."""


@dataclass(frozen=True, slots=True)
class PrimaryItem:
    """The primary image of a file.

    Attributes:
        kind: Coding, such as av01, hvc1 or grid.
        size: Coded width and height, before cropping and rotation; None if the file doesn't specify it.
        depths: Bits of each channel; empty if the file doesn't specify them.
        icc: ICC profile.
        cicp: Code points as stored, for YCbCr (see `Cicp.decoded`).
        light: Brightness of the content, if it is HDR.
        crop: Visible part before rotation; None for all. Rectangles that don't have whole pixels or exceed the
            image are ignored, as in libavif.
        turn: Quarter turns anticlockwise to apply after cropping.
        mirror: Mirroring after that: 0 swaps top and bottom, 1 left and right.
        alpha: Whether it has an alpha channel.
        premultiplied: Whether colours are premultiplied by alpha.
        gain_map: Whether the file has a gain map for it.
        sequence: Whether it is the first image of a sequence, in a file without a still image.
    """

    kind: str
    size: tuple[int, int] | None = None
    depths: tuple[int, ...] = ()
    icc: bytes | None = None
    cicp: Cicp | None = None
    light: Light = UNKNOWN_LIGHT
    crop: Rectangle | None = None
    turn: int = 0
    mirror: int | None = None
    alpha: bool = False
    premultiplied: bool = False
    gain_map: bool = False
    sequence: bool = False

    @property
    def space(self) -> ColourSpace:
        """Colour space after decoding to RGB. ICC takes precedence, as in MIAF; None if unknown."""
        if self.icc is not None:
            return self.icc
        return self.cicp.decoded() if self.cicp is not None and self.cicp.known else None

    @property
    def orientation(self) -> int:
        """Rotation and mirroring as an EXIF orientation, 1 to 8."""
        return _ORIENTATIONS[self.turn][self.mirror]


def primary_item(data: bytes) -> PrimaryItem:
    """Read the properties of a file's primary image.

    Args:
        data: The file, or at least the part up to the end of its `meta` or `moov`.

    Raises:
        ValueError: The file isn't an ISO base media file, or is malformed.
    """
    if data[4:8] != b"ftyp":
        raise ValueError("it isn't an ISO base media file")
    meta = (first(data, b"meta") or b"")[4:]
    if first(meta, b"pitm") is not None:
        return _Meta(meta).primary()
    moov = first(data, b"moov")
    if moov is not None:
        return _first_track(moov)
    raise ValueError("there is neither a primary item nor a track")


class _Meta:
    """The tables of a `meta` box that we need."""

    def __init__(self, data: bytes) -> None:
        parts = dict(reversed(list(boxes(data))))  # the first of each kind
        self._parts = parts
        self._kinds = dict(_item_kinds(_table(parts.get(b"iinf"))))
        self._references = list(_item_references(_table(parts.get(b"iref"))))
        iprp = parts.get(b"iprp", b"")
        self._shared = list(boxes(first(iprp, b"ipco") or b""))
        self._properties: dict[int, list[int]] = {}
        kinds = set()
        for kind, body in boxes(iprp):
            if kind == b"ipma":
                if body[:4] in kinds:
                    raise ValueError("There are two ipma boxes of the same version and flags.")
                kinds.add(body[:4])
                for item, indices in _associations(_table(body)):
                    self._properties.setdefault(item, []).extend(indices)

    def primary(self) -> PrimaryItem:
        """Return the primary item."""
        pitm = self._parts.get(b"pitm", b"")
        item = number(pitm, 4, 4 if number(pitm, 0, 1) else 2)
        if item not in self._kinds:
            raise ValueError("The primary item is missing.")
        # In a grid, each tile can have its own alpha instead.
        whole = {item, *self._targets(b"dimg", item)}
        described = {source for kind, source, targets in self._references if kind == b"auxl" and whole & set(targets)}
        return _told(
            self._kinds[item],
            self._of(item),
            alpha=any(self._auxiliary(source) in ALPHA for source in described),
            premultiplied=bool(self._targets(b"prem", item)),
            gain_map="tmap" in self._kinds.values()
            or any(self._auxiliary(source) == _GAIN_MAP for source in described),
        )

    def _of(self, item: int) -> list[IsoBox]:
        return [self._shared[index - 1] for index in self._properties.get(item, ()) if 1 <= index <= len(self._shared)]

    def _targets(self, kind: bytes, item: int) -> list[int]:
        return [
            target for name, source, targets in self._references if (name, source) == (kind, item) for target in targets
        ]

    def _auxiliary(self, item: int) -> bytes:
        return next((body[4:].partition(b"\0")[0] for kind, body in self._of(item) if kind == b"auxC"), b"")


def _table(body: bytes | None) -> bytes:
    if body is not None and len(body) > _LARGEST_TABLE:
        raise ValueError("A table is larger than any image needs.")
    return body or b""


def _item_kinds(iinf: bytes) -> Iterator[tuple[int, str]]:
    if not iinf:
        return
    for kind, body in boxes(iinf[8 if number(iinf, 0, 1) else 6 :]):
        version = number(body, 0, 1)
        if kind == b"infe" and version >= 2:
            wide = 4 if version > 2 else 2
            yield number(body, 4, wide), body[6 + wide : 10 + wide].decode("latin-1")


def _item_references(iref: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    if not iref:
        return
    wide = 4 if number(iref, 0, 1) else 2
    for kind, body in boxes(iref[4:]):
        count = number(body, wide, 2)
        yield kind, number(body, 0, wide), [number(body, wide + 2 + wide * index, wide) for index in range(count)]


def _associations(ipma: bytes) -> Iterator[tuple[int, list[int]]]:
    wide = 4 if number(ipma, 0, 1) else 2
    long = number(ipma, 1, 3) & 1
    at = 8
    for _ in range(number(ipma, 4, 4)):
        item, count = number(ipma, at, wide), number(ipma, at + wide, 1)
        at += wide + 1
        # The highest bit marks the property as essential.
        step, mask = (2, 0x7FFF) if long else (1, 0x7F)
        yield item, [number(ipma, at + step * index, step) & mask for index in range(count)]
        at += step * count


@dataclass
class _Properties:
    size: tuple[int, int] | None = None
    depths: tuple[int, ...] = ()
    icc: bytes | None = None
    cicp: Cicp | None = None
    content: float | None = None
    mastering: float | None = None
    aperture: tuple[Fraction, ...] = field(default=())
    turn: int = 0
    mirror: int | None = None


def _told(
    kind: str,
    properties: list[IsoBox],
    *,
    alpha: bool,
    premultiplied: bool = False,
    gain_map: bool = False,
    size: tuple[int, int] | None = None,
    sequence: bool = False,
) -> PrimaryItem:
    told = _Properties(size)
    for name, body in properties:
        _tell(told, name, body)
    return PrimaryItem(
        kind=kind,
        size=told.size,
        depths=told.depths,
        icc=told.icc,
        cicp=told.cicp,
        light=Light(told.content, told.mastering),
        crop=_rectangle(told.aperture, told.size),
        turn=told.turn,
        mirror=told.mirror,
        alpha=alpha,
        premultiplied=premultiplied,
        gain_map=gain_map,
        sequence=sequence,
    )


def _tell(told: _Properties, name: bytes, body: bytes) -> None:
    if name == b"ispe":
        told.size = number(body, 4, 4), number(body, 8, 4)
    elif name == b"pixi":
        told.depths = tuple(number(body, 5 + index, 1) for index in range(number(body, 4, 1)))
    elif name == b"colr" and body[:4] in (b"prof", b"rICC"):
        told.icc = told.icc or body[4:] or None
    elif name == b"colr" and body[:4] in (b"nclx", b"nclc"):
        full = body[:4] == b"nclx" and bool(number(body, 10, 1) >> 7)
        told.cicp = told.cicp or Cicp(number(body, 4, 2), number(body, 6, 2), number(body, 8, 2), full)
    elif name == b"clli":
        told.content = number(body, 0, 2) or None
    elif name == b"mdcv":
        told.mastering = number(body, 16, 4) / 10_000 or None
    elif name == b"clap":
        told.aperture = _fractions(body)
    elif name == b"irot":
        told.turn = number(body, 0, 1) & 3
    elif name == b"imir":
        told.mirror = number(body, 0, 1) & 1


def _fractions(clap: bytes) -> tuple[Fraction, ...]:
    pairs = [(signed(clap, at, 4), signed(clap, at + 4, 4)) for at in range(0, 32, 8)]
    if min(below for _, below in pairs) <= 0:
        return ()
    return tuple(Fraction(above, below) for above, below in pairs)


def _rectangle(aperture: tuple[Fraction, ...], size: tuple[int, int] | None) -> Rectangle | None:
    """Return the part of an image in a clean aperture. Its offsets are those of the centre (14496-12, 12.1.4)."""
    if not aperture or size is None:
        return None
    width, height, across, down = aperture
    left, top = across + (size[0] - width) / 2, down + (size[1] - height) / 2
    if any(side.denominator != 1 for side in (left, top, width, height)) or min(width, height) < 1:
        return None
    if min(left, top) < 0 or left + width > size[0] or top + height > size[1]:
        return None
    return int(left), int(top), int(width), int(height)


def _first_track(moov: bytes) -> PrimaryItem:
    tracks = [body for kind, body in boxes(moov) if kind == b"trak"]
    handlers = [(first(track, b"mdia", b"hdlr") or b"")[8:12] for track in tracks]
    for track, handler in zip(tracks, handlers, strict=True):
        entries = first(track, b"mdia", b"minf", b"stbl", b"stsd")
        if handler not in (b"pict", b"vide") or entries is None:
            continue
        for kind, body in boxes(entries[8:]):
            size = number(body, 24, 2), number(body, 26, 2)
            inside = list(boxes(body[_SAMPLE_ENTRY:]))
            alpha = b"auxv" in handlers
            return _told(kind.decode("latin-1"), inside, alpha=alpha, size=size, sequence=True)
    raise ValueError("no image track")


def as_boxes_say(description: Description, file: InputFile) -> Description:
    """Return the description of an AVIF or HEIC with geometry, colour, depth and alpha from its boxes.

    Args:
        description: Description with the size reported by a decoder, which can be cropped and rotated already.
        file: The file.

    Raises:
        NotAnImage: The boxes are malformed.
    """
    data = bytes(file.data)
    try:
        item = primary_item(data)
    except ValueError as error:
        raise NotAnImage(f"The boxes of the file are invalid: {error}") from None
    after = after_last(data)
    first, depth = description.first, max(item.depths, default=description.depth)
    crop = Box(*item.crop) if item.crop else None
    page = Page(*(item.size or first.size), crop=crop, orientation=item.orientation, native=first.native)
    if first.size not in (page.upright, page.size, (page.width, page.height)):
        page = first  # the decoder has found another image than the one in the boxes
    deep = depth > 8
    mode = description.mode.removesuffix("16") + "16" * deep
    return replace(
        description,
        pages=(page, *description.pages[1:]),
        mode=mode,
        depth=depth,
        premultiplied=item.premultiplied,
        always_turned=True,
        colour=item.space,
        light=item.light,
        gain_map=item.gain_map,
        warnings=(after_end(after),) if after else (),
    )
