"""JPEG: the segments that are needed to decode it, and the image and parameters of a gain map.

Sources: ITU-T T.81, annex B (markers); T.871 (JFIF); CIPA DC-007 (multi-picture format); ISO 21496-1, and Google's
Ultra HDR image format 1.1 (gain maps).
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

from progimage.engine.codecs.stripping.mpf import Mpf, Picture, read_mpf
from progimage.engine.metadata import EXIF, Buffer, Kept

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SCAN, _LINES, _APP0, _APP1, _APP2, _APP14 = 0xDA, 0xDC, 0xE0, 0xE1, 0xE2, 0xEE
_NEEDED = frozenset((*range(0xC0, 0xD0), _SCAN, 0xDB, 0xDD, 0xDE, 0xDF))
"""Markers of frames, tables and scans."""
_FIRST_MARKER = 0xC0
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length."""
_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_IN_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_IN_ICC, _IN_MPF, _IN_GAIN = b"ICC_PROFILE\0", b"MPF\0", b"urn:iso:std:iso:ts:21496:-1\0"
_LONGEST = 65_533
_PADDING = 64
"""Maximum number of bytes between two images."""
_PRIMARY = 0x030000
"""Type of the primary image in the index."""
_APPLES = b"HDRGainMapVersion"
_HDRGM = "http://ns.adobe.com/hdr-gain-map/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_NAMES = (
    "Version", "BaseRenditionIsHDR", "GainMapMin", "GainMapMax", "Gamma", "OffsetSDR", "OffsetHDR", "HDRCapacityMin",
    "HDRCapacityMax",
)  # fmt: skip
_VALUE = re.compile(r"\s*(?:[-+]?[0-9.]{1,30}(?:[eE][-+]?[0-9]{1,3})?|True|False)\s*")
"""Allowed values of a gain map's parameters."""
_DIRECTORY = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Container="http://ns.google.com/photos/1.0/container/"'
    ' xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
    ' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"><Container:Directory><rdf:Seq>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg"'
    ' Item:Length="{length}"/></rdf:li></rdf:Seq></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>'
)
_PARAMETERS = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
    "{single}>{listed}</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@dataclass(frozen=True, slots=True)
class _Segment:
    """A marker segment.

    Attributes:
        marker: Second byte of the marker.
        body: Data after the length field.
        whole: The complete segment; for a scan, with its coded data.
        end: Offset of its end in the file.
    """

    marker: int
    body: memoryview
    whole: memoryview
    end: int


def stripped_jpeg(data: memoryview, kept: Kept, boosts: Mapping[str, list[float]] | None = None) -> list[Buffer]:
    """Return a JPEG without its metadata.

    Args:
        data: The file.
        kept: The metadata to keep.
        boosts: Parameters of a gain map in Apple's format, by their names in the XMP of Ultra HDR.

    Raises:
        ValueError: The file isn't a JPEG, or has no scan.
    """
    gain_map = _gain_map(data, kept, boosts)
    segments, _ = _segments(data)
    if gain_map is None:
        return _joined(segments, _metadata(segments, kept))
    told = [one for one in segments if one.marker == _APP2 and bytes(one.body[: len(_IN_GAIN)]) == _IN_GAIN]
    directory = _IN_XMP + _DIRECTORY.format(length=len(gain_map)).encode()
    added = [*_metadata(segments, kept, xmp=False), *_app(_APP1, directory), *(bytes(one.whole) for one in told)]
    return _of_several(segments, added, [Picture(kind=_PRIMARY), Picture()], [[gain_map]])


def stripped_mpo(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a file of several JPEGs without the metadata of any of them.

    Args:
        data: The file.
        kept: The metadata to keep in the first of them.

    Raises:
        ValueError: The index of images is missing or invalid.
    """
    segments, _ = _segments(data)
    index = _index(data, segments)
    if index is None:
        raise ValueError("There is no index of images.")
    others: list[list[Buffer]] = []
    for one in index.pictures[1:]:
        inside, _ = _segments(data[one.offset :])
        if sum(map(_length, others)) > len(data):
            raise ValueError("Images overlap.")
        others.append(_joined(inside, _metadata(inside, kept.of_another(_first(inside, EXIF)))))
    return _of_several(segments, _metadata(segments, kept), list(index.pictures), others)


def _of_several(
    segments: list[_Segment], added: list[bytes], pictures: list[Picture], others: list[list[Buffer]]
) -> list[Buffer]:
    """Join images with a new index, which comes before all segments of variable length."""
    empty = Mpf(tuple(pictures)).written()
    sizes = [_length(_joined(segments, [*added, *_app(_APP2, _IN_MPF + empty)])), *map(_length, others)]
    index = Mpf(tuple(one.of_size(size) for one, size in zip(pictures, sizes, strict=True)))
    # Offsets in the index are relative to the end of its name.
    before = _length(_joined([], added)) - len(_END) + _length(_head(segments)) + 4 + len(_IN_MPF)
    first = _joined(segments, [*added, *_app(_APP2, _IN_MPF + index.written(before))])
    return [*first, *(part for other in others for part in other)]


def _joined(segments: list[_Segment], added: list[bytes]) -> list[Buffer]:
    rest = [one.whole for one in segments if _is_needed(one)]
    return [_START, *_head(segments), *added, *_adobe(segments), *rest, _END]


def _head(segments: list[_Segment]) -> list[Buffer]:
    """Return the JFIF header, which has to come first, without its thumbnail."""
    jfif = _first(segments, b"JFIF\0", _APP0)
    return list(_app(_APP0, b"JFIF\0" + jfif[:7] + b"\0\0")) if jfif is not None and len(jfif) >= 9 else []


def _adobe(segments: list[_Segment]) -> list[bytes]:
    """Return the segment with the colour transform (Adobe's Technical Note 5116)."""
    body = _first(segments, b"Adobe", _APP14)
    return _app(_APP14, b"Adobe" + body[:7]) if body is not None and len(body) >= 7 else []


def _profile(segments: list[_Segment], kept: Kept) -> list[bytes]:
    """Return the segments of the ICC profile (ICC.1:2022, B.4)."""
    parts = {
        one.body[len(_IN_ICC)]: bytes(one.body[len(_IN_ICC) + 2 :])
        for one in reversed(segments)
        if one.marker == _APP2 and bytes(one.body[: len(_IN_ICC)]) == _IN_ICC and len(one.body) > len(_IN_ICC) + 2
    }
    profile = kept.profile(b"".join(parts[number] for number in sorted(parts))) or b""
    room = _LONGEST - len(_IN_ICC) - 2
    chunks = [profile[at : at + room] for at in range(0, len(profile), room)]
    return [
        part
        for number, chunk in enumerate(chunks, 1)
        for part in _app(_APP2, _IN_ICC + bytes([number, len(chunks)]) + chunk)
    ]


def _is_needed(segment: _Segment) -> bool:
    """Return whether a segment is needed to decode the image."""
    if segment.marker == _LINES:
        return len(segment.body) == 2
    return segment.marker in _NEEDED


def _metadata(segments: list[_Segment], kept: Kept, *, xmp: bool = True) -> list[bytes]:
    """Return the segments of metadata to write."""
    exif = kept.exif(_first(segments, EXIF))
    written = _app(_APP1, EXIF + exif) if exif else []
    if not written and kept.least_exif:  # otherwise it would be too long
        written = _app(_APP1, EXIF + kept.least_exif)
    packet = kept.xmp(_first(segments, _IN_XMP)) if xmp else None
    return [*written, *(_app(_APP1, _IN_XMP + packet) if packet else []), *_profile(segments, kept)]


def _first(segments: list[_Segment], name: bytes, marker: int = _APP1) -> bytes | None:
    found = (bytes(one.body) for one in segments if one.marker == marker and bytes(one.body[: len(name)]) == name)
    return next((body[len(name) :] for body in found), None)


def _app(marker: int, body: bytes) -> list[bytes]:
    """Return an application segment; nothing if it would be too long."""
    return [struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body] if len(body) <= _LONGEST else []


def _length(parts: list[Buffer]) -> int:
    return sum(map(len, parts))


def _segments(data: memoryview) -> tuple[list[_Segment], int]:
    """Return the segments of the first image in the data, and the offset of its end.

    Raises:
        ValueError: The data isn't a JPEG, or has no scan.
    """
    if bytes(data[:2]) != _START:
        raise ValueError("The file isn't a JPEG.")
    found = list(_walk(data))
    if not any(one.marker == _SCAN for one in found):
        raise ValueError("There is no scan.")
    end = found[-1].end
    return found, end + len(_END) * (bytes(data[end : end + 2]) == _END)


def _walk(data: memoryview) -> Iterator[_Segment]:
    at = 2
    while marked := _AFTER_SCAN.search(data, at):  # invalid markers are skipped, as decoders do
        at, marker = marked.end(), data[marked.end() - 1]
        if marker == _END[1]:
            return
        if marker in _ALONE:
            continue
        if marker < _FIRST_MARKER:
            raise ValueError("The data is damaged.")
        start, end = at - 2, at + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or end < at + 2:
            return
        body = data[at + 2 : end]
        if marker == _SCAN:
            following = _AFTER_SCAN.search(data, end)
            end = following.start() if following else len(data)
        yield _Segment(marker, body, data[start:end], end)
        at = end


def _index(data: memoryview, segments: list[_Segment]) -> Mpf | None:
    for one in segments:
        if one.marker == _APP2 and bytes(one.body[: len(_IN_MPF)]) == _IN_MPF:
            inside = one.body[len(_IN_MPF) :]
            start = one.end - len(inside)
            index = read_mpf(bytes(inside), start)
            if all(bytes(data[one.offset : one.offset + 2]) == _START for one in index.pictures[1:]):
                return index
    return None


def _gain_map(data: memoryview, kept: Kept, boosts: Mapping[str, list[float]] | None) -> bytes | None:
    """Return the gain map of a file with only its parameters; None if there is none of a supported kind."""
    segments, end = _segments(data)
    try:
        index = _index(data, segments)
        places = [one.offset for one in index.pictures[1:]] if index else [_next(data, end)]
        for place in places:
            map_segments, _ = _segments(data[place:])
            parameters = _parameters(map_segments)
            if boosts and _APPLES in (_first(map_segments, _IN_XMP) or b""):
                parameters = _app(_APP1, _IN_XMP + _told({name: [*map(str, each)] for name, each in boosts.items()}))
            if parameters:
                return b"".join(_joined(map_segments, [*parameters, *_profile(map_segments, kept)]))
    except ValueError:
        return None  # if the second image is invalid, the file is treated as having no gain map
    return None


def _next(data: memoryview, end: int) -> int:
    """Return the start of an image that follows another without an index, or the end of the file."""
    found = bytes(data[end : end + _PADDING]).find(_START)
    return end + found if found >= 0 else len(data)


def _parameters(segments: list[_Segment]) -> list[bytes]:
    """Return the segments with a gain map's parameters, rewritten so that they contain nothing else."""
    found = []
    for one in segments:
        if one.marker == _APP2 and bytes(one.body[: len(_IN_GAIN)]) == _IN_GAIN:
            found.append(bytes(one.whole))
        elif one.marker == _APP1 and bytes(one.body[: len(_IN_XMP)]) == _IN_XMP:
            written = _parameters_in(bytes(one.body[len(_IN_XMP) :]))
            found += _app(_APP1, _IN_XMP + written) if written else []
    return found


def _parameters_in(xmp: bytes) -> bytes | None:
    try:
        root = ElementTree.fromstring(xmp)  # noqa: S314 - expat bounds what entities expand to
    except ElementTree.ParseError:
        return None
    found: dict[str, list[str]] = {}
    for element in root.iter():
        for name, value in element.attrib.items():
            if name.startswith(f"{{{_HDRGM}}}"):
                found.setdefault(name.rpartition("}")[2], [value])
        if element.tag.startswith(f"{{{_HDRGM}}}"):
            items = [item.text or "" for item in element.iter(f"{{{_RDF}}}li")] or [element.text or ""]
            found.setdefault(element.tag.rpartition("}")[2], items)
    return _told(found) if "GainMapMax" in found else None


def _told(found: Mapping[str, list[str]]) -> bytes:
    sound = {name: found[name] for name in _NAMES if name in found and all(map(_VALUE.fullmatch, found[name]))}
    # As attributes if possible, since libultrahdr doesn't look elsewhere.
    single = "".join(f' hdrgm:{name}="{one[0].strip()}"' for name, one in sound.items() if len(one) == 1)
    listed = "".join(_sequence(name, each) for name, each in sound.items() if len(each) > 1)
    return _PARAMETERS.format(single=single, listed=listed).encode()


def _sequence(name: str, values: list[str]) -> str:
    items = "".join(f"<rdf:li>{value.strip()}</rdf:li>" for value in values)
    return f"<hdrgm:{name}><rdf:Seq>{items}</rdf:Seq></hdrgm:{name}>"
