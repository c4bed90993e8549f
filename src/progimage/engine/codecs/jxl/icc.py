"""The ICC profile of a JPEG XL codestream.

It is stored as entropy-coded differences from predictions. Source: ISO/IEC 18181-1, annex E.4;
libjxl's `icc_codec.cc`. Reading a profile of 3 KB takes 10 ms.
"""

from progimage.engine.codecs.jxl.bits import Bits, Entropy
from progimage.engine.codecs.jxl.header import JxlHeader, codestream

_MOST_BYTES = 4_000_000
_CONTEXTS = 41
_HEADER = 128
_TAGS = (
    *(b"cprt", b"wtpt", b"bkpt", b"rXYZ", b"gXYZ", b"bXYZ", b"kXYZ", b"rTRC", b"gTRC", b"bTRC", b"kTRC"),
    *(b"chad", b"desc", b"chrm", b"dmnd", b"dmdd", b"lumi"),
)
_TYPES = (b"XYZ ", b"desc", b"text", b"mluc", b"para", b"curv", b"sf32", b"gbd ")
_OF_20_BYTES = {b"rXYZ", b"gXYZ", b"bXYZ", b"kXYZ", b"wtpt", b"bkpt", b"lumi"}
_PREDICTED = bytearray(_HEADER)
_PREDICTED[8:12] = b"\x04\0\0\0"
_PREDICTED[12:24] = b"mntrRGB XYZ "
_PREDICTED[36:40] = b"acsp"
_PREDICTED[68:80] = b"\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d"
# Predicted values of the platform field by its first byte.
_PLATFORMS = {ord("A"): b"APPL", ord("M"): b"MSFT"}
_PLATFORMS_2 = {b"SG": b"SGI ", b"SU": b"SUNW"}


def icc_profile(data: bytes | memoryview, header: JxlHeader) -> bytes | None:
    """Return the ICC profile of the original's colours, or None.

    Args:
        data: The file.
        header: The header of the file.

    Raises:
        ValueError: The data is invalid.
    """
    if not header.colour.icc:
        return None
    return _unpredict(read_icc(Bits(codestream(data), header.places.end)))


def read_icc(bits: Bits) -> bytes:
    """Read the encoded profile, before predictions are undone.

    Raises:
        ValueError: The data is invalid.
    """
    size = bits.u64()
    if size > _MOST_BYTES:
        raise ValueError("the ICC profile is too large")
    entropy = Entropy(bits, _CONTEXTS)
    written = bytearray()
    last = before = 0
    for i in range(size):
        context = 1 + _KIND_1[last] + _KIND_2[before] * 8 if i > _HEADER else 0
        last, before = entropy.read(context) & 255, last
        written.append(last)
    entropy.finish()
    return bytes(written)


def _kind_1(byte: int) -> int:
    if byte < 128 and chr(byte).isalpha():
        return 0
    if chr(byte) in "0123456789.,":
        return 1
    if byte < 16:
        return 2 + min(byte, 2)
    return 6 if byte == 255 else 5 if byte > 240 else 7


def _kind_2(byte: int) -> int:
    if byte < 128 and chr(byte).isalpha():
        return 0
    if chr(byte) in "0123456789.,":
        return 1
    return 2 if byte < 16 else 3 if byte > 240 else 4


_KIND_1 = [_kind_1(byte) for byte in range(256)]
_KIND_2 = [_kind_2(byte) for byte in range(256)]


class _Stream:
    """Reads bytes sequentially."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ValueError("the ICC profile is broken")
        self._at += count
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("the ICC profile is broken")


def _unpredict(written: bytes) -> bytes:
    start = _Stream(written)
    size = start.number()
    if size > _MOST_BYTES:
        raise ValueError("the ICC profile is too large")
    commands = _Stream(start.take(start.number()))
    rest = _Stream(written[start._at :])
    profile = bytearray()
    _add_header(profile, size, rest)
    if len(profile) < size:
        count = commands.number()
        if count:
            _add_tags(profile, count - 1, size, commands, rest)
        while commands:
            _add_content(profile, commands, rest)
            if len(profile) > size:
                break
    if len(profile) != size or commands or rest:
        raise ValueError("the ICC profile is broken")
    return bytes(profile)


def _add_header(profile: bytearray, size: int, rest: _Stream) -> None:
    predicted = _PREDICTED.copy()
    predicted[:4] = size.to_bytes(4, "big")
    for i in range(min(size, _HEADER)):
        if i == 8:
            predicted[80:84] = profile[4:8]
        elif i == 41:
            predicted[41:44] = _PLATFORMS.get(profile[40], predicted[40:44])[1:]
        elif i == 42 and bytes(profile[40:42]) in _PLATFORMS_2:
            predicted[42:44] = _PLATFORMS_2[bytes(profile[40:42])][2:]
        profile.append((rest.byte() + predicted[i]) & 255)


def _add_tags(profile: bytearray, count: int, maximum: int, commands: _Stream, rest: _Stream) -> None:
    profile += _word(count)
    start, size = _HEADER + count * 12, 0
    while commands and len(profile) <= maximum:
        command = commands.byte()
        kind = command & 63
        if kind == 0:
            return
        if kind - 4 >= len(_TAGS):
            raise ValueError("the ICC profile is broken")
        tag = rest.take(4) if kind == 1 else (b"rTRC", b"rXYZ")[kind - 2] if kind < 4 else _TAGS[kind - 4]
        start = commands.number() if command & 64 else start + size
        if tag in _OF_20_BYTES:
            size = 20
        if command & 128:
            size = commands.number()
        profile += tag + _word(start) + _word(size)
        if kind == 2:
            profile += b"".join(name + _word(start) + _word(size) for name in (b"gTRC", b"bTRC"))
        elif kind == 3:
            profile += b"gXYZ" + _word(start + size) + _word(size) + b"bXYZ" + _word(start + 2 * size) + _word(size)


def _add_content(profile: bytearray, commands: _Stream, rest: _Stream) -> None:
    command = commands.byte()
    if command == 1:
        profile += rest.take(commands.number())
    elif command in (2, 3):
        profile += _interleave(rest.take(commands.number()), 2 if command == 2 else 4)
    elif command == 4:
        _add_predicted(profile, commands, rest)
    elif command == 10:
        profile += b"XYZ \0\0\0\0" + rest.take(12)
    elif 0 <= command - 16 < len(_TYPES):
        profile += _TYPES[command - 16] + b"\0\0\0\0"
    else:
        raise ValueError("the ICC profile is broken")


def _add_predicted(profile: bytearray, commands: _Stream, rest: _Stream) -> None:
    """Add numbers of 1, 2 or 4 bytes that are predicted by extrapolation from those before."""
    flags = commands.byte()
    width, order = (flags & 3) + 1, flags >> 2 & 3
    stride = commands.number() if flags & 16 else width
    if width == 3 or order == 3 or stride < width or stride * 4 >= len(profile):
        raise ValueError("the ICC profile is broken")
    differences = _interleave(rest.take(commands.number()), width)
    start = len(profile)
    for i, difference in enumerate(differences):
        at = start + i - i % width
        last = [int.from_bytes(profile[at - stride * k : at - stride * k + width], "big") for k in (1, 2, 3)]
        value = (last[0], 2 * last[0] - last[1], 3 * last[0] - 3 * last[1] + last[2])[order]
        profile.append((difference + (value >> 8 * (width - 1 - i % width))) & 255)


def _interleave(data: bytes, width: int) -> bytes:
    """Interleave the bytes of `width` rows."""
    height = -(-len(data) // width)
    return b"".join(data[column::height] for column in range(height)) if width > 1 else data


def _word(value: int) -> bytes:
    if value >> 32:
        raise ValueError("the ICC profile is broken")
    return value.to_bytes(4, "big")
