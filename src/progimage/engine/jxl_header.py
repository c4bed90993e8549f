"""The size of a JPEG XL image, read from its header alone.

The JPEG XL plugin decodes the whole image when it opens it, which would be too late to refuse a large one.
Source of the layout: ISO/IEC 18181-1 (SizeHeader) and 18181-2 (boxes ``jxlc`` and ``jxlp``).
"""

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a"
# width : height for each value of the 3-bit field `ratio`; 0 means that the width is written out.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
# How many bits a size has, by the 2-bit selector before it.
_SIZE_BITS = (9, 13, 18, 30)


def is_jxl(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is a JPEG XL image."""
    return head.startswith((CODESTREAM, CONTAINER))


def jxl_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of a JPEG XL image, in pixels.

    Args:
        data: The file, or enough of its beginning.

    Raises:
        ValueError: There is no codestream in the data.
    """
    start = 0 if data.startswith(CODESTREAM) else _find_codestream(data)
    if data[start : start + 2] != CODESTREAM:
        raise ValueError("no JPEG XL codestream")
    # 2 bytes of signature, then at most 68 bits of SizeHeader, least significant bit first.
    bits = _Bits(int.from_bytes(data[start + 2 : start + 12], "little"))
    small = bits.take(1)
    height = _size(bits, small)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return height * across // down, height
    return _size(bits, small), height


class _Bits:
    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken


def _size(bits: _Bits, small: int) -> int:
    if small:
        return (bits.take(5) + 1) * 8
    return bits.take(_SIZE_BITS[bits.take(2)]) + 1


def _find_codestream(data: bytes) -> int:
    at = 0
    while at + 8 <= len(data):
        length, kind, header = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind == b"jxlc":
            return at + header
        if kind == b"jxlp":
            return at + header + 4  # after the part's number
        if length < header:  # 0: the box goes on to the end of the file
            break
        at += length
    raise ValueError("no JPEG XL codestream")
