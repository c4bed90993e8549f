"""The header of a camera raw file, for information that LibRaw doesn't provide: format and completeness.

Most are TIFF files, with a preview as the first image and the sensor data as another. Sources: TIFF
6.0; Adobe's DNG 1.7; ISO 12234-2 (TIFF/EP); for the others exiftool's documentation of their tags.
"""

import re
import struct
from dataclasses import dataclass

from progimage.engine.codecs.boxes import boxes, first

_ORDERS = {b"II": "little", b"MM": "big"}
_TIFF, _OLYMPUS, _PANASONIC = (b"II*\0", b"MM\0*"), (b"IIRO", b"IIRS", b"MMOR"), (b"IIU\0",)
_BIG_TIFF = (b"II+\0", b"MM\0+")
_PHASE_ONE = re.compile(rb"IIII.waR|MMMMRaw.", re.DOTALL)
"""The bytes after the TIFF header (IIQ, CAP)."""
_KYOCERA, _KYOCERA_AT = b"ARECOYK", 25
_FUJI, _CANON_2, _CANON_3 = b"FUJIFILMCCD-RAW", b"CR\x02", b"crx "
_OTHERS = (b"\0MRM", b"FOVb", b"II\x1a\0\0\0HEAPCCDR")
"""First bytes of files of Minolta, Sigma and older Canon cameras."""
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = (1, 3, 4, 13, 16, 18)
_MOST_TAGS, _MOST_DIRECTORIES, _MOST_VALUES = 1000, 50, 1_000_000
_WIDTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _MAKE, _STRIPS, _SAMPLES, _ROWS = 256, 258, 259, 262, 271, 273, 277, 278
_PLANAR, _PREDICTOR, _SUB, _FORMAT, _DNG_VERSION = 284, 317, 330, 339, 50706
_ONLY_IN_RAW = (33421, 33422, 33424, 34310, 50740)
"""Tags of mosaic size and pattern (TIFF/EP), and of private directories of Kodak, Leaf and Sony."""
_PARTS = ((273, 279), (324, 325), (280, 279))
"""Tags of the offsets and lengths of strips, tiles, and Panasonic's samples."""
_SENSOR, _LINEAR_RAW = 32803, 34892
_OF_RAW = (32767, 32769, 32770, 32867, 34713, 65000, 65535)
"""Compressions of Sony, Epson, Samsung, Kodak, Nikon, Kodak and Pentax."""
_MAKERS = {"NIKON": "NEF", "SONY": "ARW", "PENTAX": "PEF", "RICOH": "PEF", "SAMSUNG": "SRW"}
_NOWHERE = 0xFFFFFFFF
_NONE, _DEFLATE = 1, ([8], [32946])
_SEPARATE, _FLOAT = 2, 3
_FLOAT_PREDICTORS = ([3], [34894], [34895])
_UUID = 16

_Directory = dict[int, tuple[int, int, int]]
"""Fields by tag: type, number of values, and their offset."""


@dataclass(frozen=True, slots=True)
class RawHeader:
    """The header of a camera raw file.

    Attributes:
        format: The name of its format.
        whole: Whether the file contains all of its samples.
        misread: Description of the samples, if LibRaw would silently decode them to noise or only in part.
    """

    format: str
    whole: bool
    misread: str = ""


def raw_header(data: bytes | memoryview) -> RawHeader | None:
    """Return the header of a camera raw file; None if it isn't one."""
    start = bytes(data[:32])
    if start.startswith(_FUJI):
        return RawHeader("RAF", _is_whole_fuji(data))
    if start[4:12] == b"ftyp" + _CANON_3:
        return RawHeader("CR3", _is_whole_canon_3(data))
    if has_signature(start, "RAW"):
        return RawHeader("RAW", True)
    if not start.startswith((*_TIFF, *_BIG_TIFF, *_OLYMPUS, *_PANASONIC)):
        return None
    tiff = _Tiff(data)
    name = _name(start, tiff)
    if name is None:
        return None
    return RawHeader(name, tiff.is_whole(), tiff.misread() if name == "DNG" else "")


def has_signature(head: bytes, name: str) -> bool:
    """Return whether a file has the signature of a format. Formats based on TIFF are only recognised by tags."""
    signatures = {"RAF": (_FUJI,), "RAW": _OTHERS, "ORF": _OLYMPUS, "RW2": _PANASONIC}
    if name == "CR3":
        return head[4:12] == b"ftyp" + _CANON_3
    if name == "RAW" and head[_KYOCERA_AT:].startswith(_KYOCERA):
        return True
    return head.startswith(signatures.get(name, ())) if name in signatures else False


def tiff_of(data: bytes | memoryview) -> bytes | None:
    """Return a raw file that is a variant of TIFF as a plain TIFF; None for others."""
    start = bytes(data[:4])
    if start in _TIFF:
        return bytes(data)
    if start in (*_OLYMPUS, *_PANASONIC):
        return (b"II*\0" if start.startswith(b"II") else b"MM\0*") + bytes(data[4:])
    return None


def canon_directories(data: bytes | memoryview) -> dict[bytes, bytes]:
    """Return the TIFFs in a CR3 file that contain its EXIF, by name of their boxes: CMT1, CMT2 and CMT4.

    Raises:
        ValueError: The boxes are invalid.
    """
    inside = first(bytes(data), b"moov", b"uuid") or b""
    return {kind: content for kind, content in boxes(inside[_UUID:]) if kind.startswith(b"CMT")}


def _name(start: bytes, tiff: "_Tiff") -> str | None:
    if start.startswith(_OLYMPUS):
        return "ORF"
    if start.startswith(_PANASONIC):
        return "RW2"
    if start[8:11] == _CANON_2:
        return "CR2"
    if start.startswith(_TIFF) and _PHASE_ONE.match(start, 8):
        return "RAW"
    first = tiff.first
    if first is None:
        return None
    if any(_DNG_VERSION in directory for directory in tiff.directories):
        return "DNG"
    if not any(tiff.holds_samples(directory) for directory in tiff.directories):
        return None
    make = tiff.text(first, _MAKE).upper()
    return next((name for maker, name in _MAKERS.items() if make.startswith(maker)), "RAW")


class _Tiff:
    """The directories of a TIFF file, including nested ones, up to the first invalid one."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._order = _ORDERS[bytes(data[:2])]
        big = bytes(data[:4]) in _BIG_TIFF
        # Width of an offset, position of the first offset, and width of a directory's field count.
        self._place, start, self._count = (8, 8, 8) if big else (4, 4, 2)
        self.directories: list[_Directory] = []
        waiting = [self._number(start, self._place)]
        seen: set[int] = set()
        while waiting and len(self.directories) < _MOST_DIRECTORIES:
            at = waiting.pop(0)
            if at in seen or not 8 <= at < len(self._data) - 2:
                continue
            seen.add(at)
            directory, following = self._directory(at)
            self.directories.append(directory)
            waiting += [following, *self.numbers(directory, _SUB)[:_MOST_DIRECTORIES]]

    @property
    def first(self) -> _Directory | None:
        """The first directory of the file."""
        return self.directories[0] if self.directories else None

    def holds_samples(self, directory: _Directory) -> bool:
        """Return whether a directory describes sensor data, or belongs to it."""
        if any(tag in directory for tag in _ONLY_IN_RAW):
            return True
        photometric, compression = self.numbers(directory, _PHOTOMETRIC), self.numbers(directory, _COMPRESSION)
        return photometric[:1] in ([_SENSOR], [_LINEAR_RAW]) or compression[:1] in [[one] for one in _OF_RAW]

    def is_whole(self) -> bool:
        """Return whether the file contains all samples; those of all directories if none is marked as sensor data."""
        for directory in self._of_sensor() or self.directories:
            for where, length in _PARTS:
                starts, lengths = self.numbers(directory, where), self.numbers(directory, length)
                ends = (start + size for start, size in zip(starts, lengths, strict=False) if start != _NOWHERE)
                if max(ends, default=0) > len(self._data):
                    return False
        return True

    def misread(self) -> str:
        """Return a description of a DNG's samples if LibRaw would misread them; see `RawHeader`."""
        for directory in self._of_sensor():
            compression, floats = self.numbers(directory, _COMPRESSION), _FLOAT in self.numbers(directory, _FORMAT)
            starts = self.numbers(directory, _STRIPS)
            if compression in _DEFLATE and not floats:
                return "whole numbers with Deflate compression"
            if compression in _DEFLATE and self.numbers(directory, _PREDICTOR) not in _FLOAT_PREDICTORS:
                return "floating-point samples with Deflate compression and no floating-point predictor"
            if self.numbers(directory, _PLANAR) == [_SEPARATE] and self.numbers(directory, _SAMPLES) > [1]:
                return "colours in separate planes"
            if len(starts) > 1 and not floats:  # LibRaw reads only the first
                if compression != [_NONE]:
                    return "several compressed strips"
                if starts[1:] != [start + self._strip_size(directory) for start in starts[:-1]]:
                    return "strips that aren't adjacent"
        return ""

    def _of_sensor(self) -> list[_Directory]:
        """Return the directories that are marked as sensor data."""
        known = [_SENSOR], [_LINEAR_RAW]
        return [directory for directory in self.directories if self.numbers(directory, _PHOTOMETRIC) in known]

    def _strip_size(self, directory: _Directory) -> int:
        """Return the number of bytes of the samples in a strip."""
        width, bits, rows, samples = (
            (self.numbers(directory, tag) or [1])[0] for tag in (_WIDTH, _BITS, _ROWS, _SAMPLES)
        )
        return rows * ((width * samples * bits + 7) // 8)

    def numbers(self, directory: _Directory, tag: int) -> list[int]:
        """Return the values of a field; empty if they aren't whole numbers."""
        kind, count, at = directory.get(tag, (0, 0, 0))
        width = _WIDTHS.get(kind, 1)
        if kind not in _NUMBERS or count > _MOST_VALUES or at + count * width > len(self._data):
            return []
        order = "<" if self._order == "little" else ">"
        return list(struct.unpack_from(f"{order}{count}{ {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}[width] }", self._data, at))

    def text(self, directory: _Directory, tag: int) -> str:
        """Return the text of a field."""
        _, count, at = directory.get(tag, (0, 0, 0))
        return bytes(self._data[at : at + min(count, 100)]).decode("latin-1").strip(" \0")

    def _directory(self, at: int) -> tuple[_Directory, int]:
        """Return a directory and the offset of the next one."""
        count, place = min(self._number(at, self._count), _MOST_TAGS), self._place
        start, entry_width = at + self._count, 4 + 2 * place
        directory: _Directory = {}
        for entry in range(start, start + entry_width * count, entry_width):
            kind, length = self._number(entry + 2, 2), self._number(entry + 4, place)
            value = entry + 4 + place
            inside = _WIDTHS.get(kind, 8) * length <= place
            directory[self._number(entry, 2)] = kind, length, value if inside else self._number(value, place)
        return directory, self._number(start + entry_width * count, place)

    def _number(self, at: int, width: int) -> int:
        return int.from_bytes(self._data[at : at + width], self._order)  # type: ignore[arg-type]


def _is_whole_fuji(data: bytes | memoryview) -> bool:
    """Return whether a RAF file contains its preview, the header of the samples, and the samples completely."""
    numbers = struct.unpack(">6I", bytes(data[84:108]).ljust(24, b"\xff"))
    return all(start + length <= len(data) for start, length in zip(numbers[::2], numbers[1::2], strict=True))


def _is_whole_canon_3(data: bytes | memoryview) -> bool:
    """Return whether a CR3 file contains all of its boxes completely."""
    try:
        return all(boxes(data))  # type: ignore[arg-type]
    except ValueError:
        return False
