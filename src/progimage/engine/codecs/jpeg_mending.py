"""Repair of damage to a JPEG that affects no pixels: missing end marker, stray bytes between segments or at the end.

Source: ITU-T T.81, annex B (markers and segments) and G.1.1.1 (scans of a complete progressive image).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pyvips

from progimage.engine.codecs.mending import Mended, after_end, joined, stray
from progimage.engine.files import InputFile

_END = b"\xff\xd9"
_START, _SCAN, _END_OF_IMAGE = 0xD8, 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_ALONE = (0x01, _START, *range(0xD0, 0xD8))
"""Markers without a segment."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""The next marker after coded data, where a byte of 255 is followed by 0, and which includes restart markers."""
_ONE_SCAN = (0xC0, 0xC1)
"""Processes that libjpeg decodes while it reads; for others it reads all data before the first row."""
_RESTARTS = 0xDD
_UNITS_MORE, _MOST_LINES, _GREY = 2, 65_500, 128
_MOST_SEGMENTS = 10_000
_COEFFICIENTS = 64
_LESS_DETAIL = "The JPEG ends before its last scan: fine detail is missing."
LEFT_OVER = "The JPEG continues after its last pixel, so some of its pixels are probably wrong."
_CUT_OFF = "The JPEG ends before its last pixel."
_OTHER_BITS = b"\xaa" * 64
"""libjpeg replaces missing data by zeros; these bits start with a one."""
_LAST_ROWS = 32
"""More than the height of any coding unit of a JPEG (section A.2.4)."""


@dataclass(slots=True)
class _Layout:
    """The layout of a file.

    Attributes:
        strays: Start and end of stray bytes between segments.
        end: Offset after the end marker; 0 if there is none.
        marker: Marker of the frame, which specifies the process.
        components: IDs of the frame's components.
        scans: Header of each scan.
    """

    strays: list[tuple[int, int]] = field(default_factory=list)
    end: int = 0
    marker: int = 0
    components: bytes = b""
    scans: list[bytes] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether all scans that the image needs are there."""
        if self.marker in _LOSSLESS:
            return True
        # For each component and coefficient, the number of lowest bits that are still missing.
        missing = {component: [16] * _COEFFICIENTS for component in self.components}
        for scan in self.scans:
            count = scan[0]
            first, last, low = 0, _COEFFICIENTS - 1, 0
            if self.marker in _PROGRESSIVE:
                first, last, low = scan[1 + 2 * count], scan[2 + 2 * count], scan[3 + 2 * count] & 15
            for component in scan[1 : 1 + 2 * count : 2]:
                if component in missing:
                    missing[component][first : last + 1] = [low] * len(missing[component][first : last + 1])
        return not any(any(bits) for bits in missing.values())


def mended(file: InputFile) -> Mended | None:
    """Return a file with harmless damage repaired; None if there is none, or the file isn't a JPEG."""
    data = file.data
    layout = _laid_out(data, to_end=bytes(data[-2:]) != _END)
    if layout is None:
        return None
    warnings, parts, at = [], list[bytes | memoryview](), 0
    for start, end in layout.strays:
        parts.append(data[at:start])
        at = end
    if parts:
        warnings.append(stray(sum(end - start for start, end in layout.strays)))
    parts.append(data[at:])
    if bytes(data[-2:]) == _END:
        return Mended(joined(parts), tuple(warnings)) if warnings else None
    if layout.end:
        warnings.append(after_end(len(data) - layout.end))
        return Mended(joined(parts) if layout.strays else file, tuple(warnings))
    lost = "" if layout.whole else _LESS_DETAIL
    parts[-1] = data[at:].tobytes().rstrip(b"\xff")  # the first half of a marker or of an escaped byte of 255
    return Mended(joined([*parts, _END]), (*warnings, "The JPEG has no end marker."), lost, unended=True)


def checked(found: Mended) -> Mended:
    """Check whether a file without an end marker has its last rows, which libjpeg doesn't report.

    libvips checks for libjpeg's warnings before it reads rows, but not after the last ones. The file is decoded twice,
    with different bits after its data; pixels that depend on these bits are missing in the data.
    """
    data = found.file.data
    other = InputFile.of(b"".join([data[: -len(_END)], _OTHER_BITS, _END]))
    try:
        same = (_bottom(found.file) == _bottom(other)).min() == 255
    except pyvips.Error:
        return found  # the decoder will report it
    return found if same else replace(found, lost=_CUT_OFF)


def goes_on(file: InputFile) -> bool:
    """Return whether a JPEG of one scan has data after its last pixel, which indicates that earlier pixels are wrong.

    libvips doesn't notice this, since libjpeg checks for it only after the last row. So we declare the image as
    taller: the additional rows are decoded as grey unless there is data left. If the data has restart
    markers, libjpeg searches for the next one, and first reports the data that it skips.
    """
    data = file.data
    headers: dict[int, tuple[int, int]] = {}
    try:
        for marker, start, end in _segments(data, []):
            if marker == _SCAN:
                break
            headers[marker] = start, end
    except IndexError:  # the file ends inside a header; left to the decoder
        return False
    start, end = next((headers[marker] for marker in _ONE_SCAN if marker in headers), (0, 0))
    sampling = bytes(data[start + 7 : end : 3])
    if not sampling:
        return False
    wide, high = (max(one >> 4 for one in sampling), max(one & 15 for one in sampling)) if len(sampling) > 1 else (1, 1)
    height = -(-int.from_bytes(data[start + 1 : start + 3], "big") // (8 * high)) * high
    higher = 8 * (height + _UNITS_MORE * high)
    if not height or higher > _MOST_LINES:
        return False
    taller = joined([data[: start + 1], higher.to_bytes(2, "big"), data[start + 3 :]])
    try:
        if _RESTARTS in headers and _skips(taller):
            return True
        pixels = pyvips.Image.jpegload_source(taller.source(), access="sequential", shrink=8)
        below = pixels.crop(0, height, pixels.width, pixels.height - height).copy_memory()
    except pyvips.Error:
        return False  # the decoder will report it
    # The padding bits of the last byte can start another unit.
    behind = below.draw_rect([_GREY] * below.bands, 0, 0, wide, high, fill=True)
    return bool((behind - _GREY).abs().max() > 1)


def _skips(taller: InputFile) -> bool:
    try:
        pyvips.Image.jpegload_source(taller.source(), access="sequential", shrink=8, fail_on="warning").avg()
    except pyvips.Error as error:
        return "extraneous" in str(error)
    return False


def _bottom(file: InputFile) -> pyvips.Image:
    image = pyvips.Image.jpegload_source(file.source(), access="sequential")
    rows = min(image.height, _LAST_ROWS)
    return image.crop(0, image.height - rows, image.width, rows).copy_memory()


def _laid_out(data: memoryview, *, to_end: bool) -> _Layout | None:
    """Read the segments of a file, up to its first scan or to its end."""
    if bytes(data[:2]) != bytes((0xFF, _START)):
        return None
    layout = _Layout()
    try:
        for marker, start, end in _segments(data, layout.strays):
            if marker in _FRAMES and not layout.marker:
                layout.marker = marker
                layout.components = bytes(data[start + 6 : start + 6 + 3 * data[start + 5] : 3])
            elif marker == _SCAN:
                if not to_end:
                    break
                layout.scans.append(bytes(data[start:end]))
                if len(layout.scans[-1]) < 4 + 2 * data[start]:
                    return None
            elif marker == _END_OF_IMAGE:
                layout.end = end
                break
    except IndexError:  # the file ends inside a header; left to the decoder
        return None
    return layout if layout.marker else None


def _segments(data: memoryview, strays: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment's data. Bytes between segments are added to `strays`.

    Raises:
        IndexError: There are too many segments, or the last one is truncated.
    """
    at, coded = 2, False
    for _ in range(_MOST_SEGMENTS):
        found = _NEXT_MARKER.search(data, at)
        if found is None:
            return
        if not coded and (end := _without_fill(data, at, found.start())) > at:
            strays.append((at, end))
        marker, start = data[found.start() + 1], found.start() + 2
        length = 0 if marker in (*_ALONE, _END_OF_IMAGE) else int.from_bytes(data[start : start + 2], "big")
        if length and (length < 2 or start + length > len(data)):
            raise IndexError
        body = start + 2 if length else start
        yield marker, body, start + length
        at, coded = start + length, marker == _SCAN
    raise IndexError


def _without_fill(data: memoryview, start: int, end: int) -> int:
    """Return the end of a range without the fill bytes (255) before a marker."""
    return start + len(data[start:end].tobytes().rstrip(b"\xff"))
