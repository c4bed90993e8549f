"""The damage of a JPEG that costs no pixel: no end marker, stray bytes between segments, bytes after the end.

Source: ITU-T T.81, annex B (markers and segments) and G.1.1.1 (which scans make a progressive picture whole).
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
"""The markers that no segment follows."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""In coded data: a byte of 255 is followed by 0, and restart markers are a part of it."""
_ONE_SCAN = (0xC0, 0xC1)
"""The frames that libjpeg decodes while it reads them; of others it has read all before the first row."""
_RESTARTS = 0xDD
_UNITS_MORE, _MOST_LINES, _GREY = 2, 65_500, 128
_MOST_SEGMENTS = 10_000
_COEFFICIENTS = 64
_LESS_DETAIL = "The JPEG ends before its last scan: the picture has not all of its detail."
LEFT_OVER = "The JPEG goes on behind its last pixel, so that some of its pixels are likely to be broken."
_CUT_OFF = "The JPEG ends before its last pixel."
_OTHER_BITS = b"\xaa" * 64
"""libjpeg puts zeros where data are missing; these begin with a one."""
_LAST_ROWS = 32
"""More than any unit of a JPEG is high (section A.2.4)."""


@dataclass(slots=True)
class _Layout:
    """How a file is made up.

    Attributes:
        strays: Where there are bytes between segments that belong to nothing: from, and up to.
        end: Behind the end marker; 0: there is none.
        marker: Of the frame, which tells the process.
        components: The ids of the components of the frame.
        scans: The header of each scan.
    """

    strays: list[tuple[int, int]] = field(default_factory=list)
    end: int = 0
    marker: int = 0
    components: bytes = b""
    scans: list[bytes] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether there are all the scans that the picture needs."""
        if self.marker in _LOSSLESS:
            return True
        # For each component and coefficient, how many of its lowest bits are still to come.
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
    """Return a file without the damage that costs no pixel, or None if there is none, or it is no JPEG at all."""
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
    parts[-1] = data[at:].tobytes().rstrip(b"\xff")  # the first half of a marker, or of what stands for a byte of 255
    return Mended(joined([*parts, _END]), (*warnings, "The JPEG has no end marker."), lost, unended=True)


def checked(found: Mended) -> Mended:
    """Return a file that had no end marker with what libjpeg does not say of it: whether its last rows are there.

    libvips looks at what libjpeg warns of before it reads some rows, not after the last ones. But pixels that depend on
    what comes after the data are not in the data.
    """
    data = found.file.data
    other = InputFile.of(b"".join([data[: -len(_END)], _OTHER_BITS, _END]))
    try:
        same = (_bottom(found.file) == _bottom(other)).min() == 255
    except pyvips.Error:
        return found  # the decoder will say it
    return found if same else replace(found, lost=_CUT_OFF)


def goes_on(file: InputFile) -> bool:
    """Return whether a JPEG of one scan has data behind its last pixel, which is a sign that some before are broken.

    libvips does not hear of it, since libjpeg looks at them only after the last row. So the picture is said to be
    higher: what is decoded of the rows that are not there is grey, unless there are data left. Where data have restart
    markers, libjpeg looks for the next one, and says first what it has skipped.
    """
    data = file.data
    headers: dict[int, tuple[int, int]] = {}
    try:
        for marker, start, end in _segments(data, []):
            if marker == _SCAN:
                break
            headers[marker] = start, end
    except IndexError:  # it ends inside of a header; the decoder will say what it makes of that
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
        return False  # the decoder will say it
    # The bits that fill up the last byte may begin one more unit.
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
    """Go through the segments of a file: up to its first scan, or to its end."""
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
    except IndexError:  # it ends inside of a header; the decoder will say what it makes of that
        return None
    return layout if layout.marker else None


def _segments(data: memoryview, strays: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Yield segments: their marker, and from where to where their body is. Bytes between them go to `strays`.

    Raises:
        IndexError: There are too many, or the last one is cut off.
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
    """Return where bytes end that are not the fill bytes (255) before a marker."""
    return start + len(data[start:end].tobytes().rstrip(b"\xff"))
