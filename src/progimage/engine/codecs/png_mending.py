"""Repair of damage to a PNG that affects no pixels: ancillary chunks, checksums, its end, and trailing bytes.

Source: PNG, third edition (W3C, 2025), 5.3 (chunks), 10.1 (the checksum of the compressed pixels), 13.1 (errors).
"""

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from progimage.engine.codecs.mending import Mended, after_end, joined
from progimage.engine.codecs.png_chunks import SIGNATURE, chunk, chunks
from progimage.engine.files import InputFile
from progimage.engine.limits import Limits

_FRAMING = 12
_PIXELS, _END = b"IDAT", b"IEND"
_NEEDED = (b"tRNS", b"acTL", b"fcTL", b"fdAT")
"""Chunks that can't be removed without changing the image, besides all those that start with a capital letter."""
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_XMP = b"XML:com.adobe.xmp\0"
_LONGEST = 1 << 20
"""Maximum unpacked size of a text or a profile in bytes; Pillow rejects files with larger ones."""
_LONGEST_XMP = 16 << 20
_LONGEST_OF_ALL = 16 << 20
_AT_ONCE = 1 << 20
_MOST_NAMED = 8
_NO_LETTER = re.compile(r"[^A-Za-z]")
_HEADER_END = 33
_SAMPLES = {2: 3, 4: 2, 6: 4}
"""Samples per pixel by colour type; one for other types."""
_PASSES = 7
"""Passes of an interlaced image, each of which can add a row and a few bits in each row."""


@dataclass(slots=True)
class _Mending:
    """State of the repair of a file, chunk by chunk.

    Attributes:
        data: The file.
        parts: The valid parts.
        changed: Whether parts were removed or changed.
        unchecked: Names of chunks with a wrong checksum that are ignored.
        large: Names of chunks that are too large.
        wrong: Names of chunks with a wrong checksum that the image needs.
        pixels: The compressed pixels.
        texts: Total unpacked size of the texts so far in bytes.
        told: Number of frames according to the header of an animation.
        frames: Number of frames that start.
        end: Offset of the end of the last chunk according to its length.
        ended: Whether the last chunk is the end chunk.
        unsound: Whether the end chunk has a wrong checksum.
    """

    data: memoryview
    parts: list[bytes | memoryview] = field(default_factory=lambda: [SIGNATURE])
    changed: bool = False
    unchecked: set[bytes] = field(default_factory=set)
    large: set[bytes] = field(default_factory=set)
    wrong: set[bytes] = field(default_factory=set)
    pixels: list[memoryview] = field(default_factory=list)
    texts: int = 0
    told: int = 0
    frames: int = 0
    end: int = len(SIGNATURE)
    ended: bool = False
    unsound: bool = False

    def take(self, at: int, kind: bytes, body: memoryview) -> None:
        """Process a chunk."""
        self.end = at + _FRAMING + int.from_bytes(self.data[at : at + 4], "big")
        if kind == _PIXELS:
            self.pixels.append(body)
        elif kind == b"acTL":
            self.told = int.from_bytes(body[:4], "big")
        elif kind == b"fcTL":
            self.frames += 1
        elif kind in _TEXTS and self._is_large(kind, body):
            if kind != b"iCCP":  # `png_colour` accepts larger ones than Pillow
                self.large.add(kind)
            self.changed = True
            return
        self.ended = kind == _END
        if self._is_right(at):
            self.parts.append(self.data[at : self.end])
            return
        self.changed = True
        if self.ended:
            self.unsound = True
        elif kind not in _NEEDED and not kind[:1].isupper():
            self.unchecked.add(kind)
            return
        elif self.end <= len(self.data):
            self.wrong.add(kind)
        # If a chunk is truncated, the decoder will find out whether it suffices.
        self.parts.append(chunk(kind, bytes(body)))

    def _is_large(self, kind: bytes, body: memoryview) -> bool:
        size = _text_size(kind, body, _LONGEST_OF_ALL - self.texts)
        self.texts += size
        return size > (_LONGEST_XMP if _is_xmp(kind, body) else _LONGEST) or self.texts > _LONGEST_OF_ALL

    def _is_right(self, at: int) -> bool:
        checksum = self.data[self.end - 4 : self.end]
        return self.end <= len(self.data) and zlib.crc32(self.data[at + 4 : self.end - 4]) == int.from_bytes(
            checksum, "big"
        )

    def mended(self, file: InputFile, limits: Limits) -> Mended | None:
        """Return the repaired file, or None if there is no damage."""
        warnings, lost = [], ""
        if self.unchecked:
            warnings.append(f"Chunks of the PNG have a wrong checksum and are ignored: {_named(self.unchecked)}.")
        if self.large:
            warnings.append(f"Chunks of the PNG are too large and are ignored: {_named(self.large)}.")
        if self.wrong == {_PIXELS} and _whole(self.pixels, _unpacked_size(self.data, limits)):
            warnings.append(
                "The pixels of the PNG have a wrong checksum, but another checksum shows that they are intact."
            )
        elif self.wrong:
            lost = f"Chunks of the PNG have a wrong checksum: {_named(self.wrong)}."
        if self.unsound:
            warnings.append("The end chunk of the PNG has a wrong checksum.")
        if not self.ended:
            warnings.append("The PNG has no end chunk.")
            self.parts.append(chunk(_END, b""))
            if self.told > self.frames:
                lost = lost or f"The PNG ends after {self.frames} of its {self.told} frames."
        elif len(self.data) > self.end:
            warnings.append(after_end(len(self.data) - self.end))
        if not (self.changed or warnings or lost):
            return None
        return Mended(joined(self.parts) if self.changed or not self.ended else file, tuple(warnings), lost)


def mended(file: InputFile, limits: Limits) -> Mended | None:
    """Return a file with harmless damage repaired; None if there is none.

    Args:
        file: The file.
        limits: Pixels of larger images aren't checked.
    """
    if bytes(file.data[: len(SIGNATURE)]) != SIGNATURE:
        return None
    mending = _Mending(file.data)
    for at, kind, body in chunks(file.data):
        mending.take(at, kind, body)
        if mending.ended:
            return mending.mended(file, limits)
    if len(file.data) - mending.end >= _FRAMING:
        return None  # more chunks than we check
    return mending.mended(file, limits)


def _named(kinds: set[bytes]) -> str:
    """Return the names of chunks as text, reduced to their letters."""
    names = sorted(_NO_LETTER.sub("?", kind.decode("latin-1")) for kind in kinds)
    return ", ".join(names[:_MOST_NAMED]) + ", …" * (len(names) > _MOST_NAMED)


def _is_xmp(kind: bytes, body: memoryview) -> bool:
    return kind == b"iTXt" and bytes(body[: len(_XMP)]) == _XMP


def _text_size(kind: bytes, body: memoryview, maximum: int) -> int:
    """Return the unpacked size of a text or a profile in bytes, or a number above `maximum`."""
    name = bytes(body[:80]).partition(b"\0")[0]
    if kind == b"iTXt":
        packed = bytes(body[len(name) + 1 : len(name) + 2]) == b"\1"
        start = len(name) + 3
        for _ in range(2):  # the language, and the translated keyword
            start += len(bytes(body[start : start + _LONGEST]).partition(b"\0")[0]) + 1
    else:
        packed, start = kind != b"tEXt", len(name) + 2
    if not packed:
        return len(body)
    try:
        return len(zlib.decompressobj().decompress(body[start:], max(1, min(maximum, _LONGEST_XMP) + 1)))
    except zlib.error:
        return len(body)  # decoders will find no text


def _unpacked_size(data: memoryview, limits: Limits) -> int:
    """Return the maximum unpacked size of the pixels in bytes; 0 if it exceeds the limits."""
    if len(data) < _HEADER_END:
        return 0
    width, height, depth, kind = struct.unpack_from(">IIBB", data, len(SIGNATURE) + 8)
    if width * height > limits.pixels:
        return 0
    row = (width * depth * _SAMPLES.get(kind, 1) + 7) // 8
    return int((row + 1) * height + _PASSES * (row + height))


def _whole(pixels: Iterable[memoryview], size: int) -> bool:
    """Return whether compressed pixels of at most `size` bytes match their own checksum (Adler-32)."""
    packed, unpacked = zlib.decompressobj(), 0
    try:
        for part in pixels:
            rest: bytes | memoryview = part
            while rest and not packed.eof and unpacked <= size:
                unpacked += len(packed.decompress(rest, _AT_ONCE))
                rest = packed.unconsumed_tail
    except zlib.error:
        return False
    return packed.eof and unpacked <= size
