"""TIFFs with samples that neither libvips nor Pillow reads: 3 to 15 bits, 24 bits, and floats of 16, 24 and 64 bits.

Source: TIFF 6.0, and its Technical Note 3 for floating point. Samples of any number of bits follow each other,
the most significant bit first, and each row starts at a byte; samples of whole bytes have the byte order of the file.
"""

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import pyvips
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from progimage.engine.codecs.samples import imagecodecs, whole_numbers
from progimage.engine.errors import CorruptImage, UnreadKind
from progimage.engine.files import InputFile
from progimage.engine.frame import normalise
from progimage.engine.geometry import Size
from progimage.engine.limits import Limits

if TYPE_CHECKING:
    import numpy

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR, _PREDICTOR = 273, 274, 277, 278, 279, 284, 317
_COLOUR_MAP, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _EXTRA, _FORMAT, _ICC = (
    320, 322, 323, 324, 325, 338, 339, 34675,
)  # fmt: skip
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
_UNSIGNED, _FLOAT = 1, 3
_MOST_PAGES, _MOST_SAMPLES = 10_000, 16
_ODD_OCTETS = 3
_NONE = 1
_COMPRESSIONS = (_NONE, 5, 8, 32773, 32946)
"""None, LZW, Deflate, PackBits, and Deflate with its old number."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Directory:
    """A TIFF directory, which describes a page.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        bits: Bits per sample; 0 if they differ.
        samples: Samples per pixel.
        floating: Whether samples are floats.
        photometric: Photometric interpretation.
        extra: Kinds of the samples after the colours: 1 is premultiplied alpha, 2 is straight alpha.
        orientation: Orientation as in EXIF.
        icc: ICC profile.
        tags: All fields of the directory.
        order: Byte order, "<" or ">" as in `struct`.
    """

    width: int
    height: int
    bits: int
    samples: int
    floating: bool
    photometric: int
    extra: tuple[int, ...]
    orientation: int
    icc: bytes | None
    tags: ImageFileDirectory_v2
    order: str

    @property
    def rare(self) -> bool:
        """Whether the page has a depth that only this module reads."""
        if self.floating:
            return self.bits in (16, 24, 64)
        few = self.bits in (1, 2, 4) and self.samples == 1
        return not few and (self.bits in range(1, 16) or self.bits == 24) and self.bits != 8

    @property
    def colours(self) -> int:
        """Number of colour samples per pixel."""
        return _COLOURS.get(self.photometric, 0)

    @property
    def alpha(self) -> bool:
        """Whether the first sample after the colours is alpha."""
        return self.extra[:1] in ((1,), (2,)) and self.photometric != _CMYK

    @property
    def premultiplied(self) -> bool:
        """Whether colours are premultiplied by alpha."""
        return self.alpha and self.extra[0] == 1

    @property
    def mode(self) -> str:
        """Pixel mode of the page."""
        if self.photometric == _CMYK:
            return "CMYK"
        if self.floating and self.colours == 1:
            return "F"
        grey = self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
        return ("L" if grey else "RGB") + "A" * self.alpha + "16" * (self.bits > 8 and self.photometric != _PALETTE)


def directories(file: InputFile, limits: Limits) -> list[Directory]:
    """Return the directories of a TIFF, one for each page, up to the first invalid one.

    Raises:
        LimitExceeded: There are too many pages, or a page is too large.
    """
    found: list[Directory] = []
    warnings.simplefilter("ignore")
    with file.reader() as reader:
        head = reader.read(8)
        if head[2:3] == b"\x2b" or head[3:4] == b"\x2b":
            head += reader.read(8)
        try:
            tags = ImageFileDirectory_v2(head)
            order, places = ("<" if head[:2] == b"II" else ">"), set()
            while tags.next and tags.next not in places and len(found) < _MOST_PAGES:
                places.add(tags.next)
                reader.seek(tags.next)
                tags = ImageFileDirectory_v2(head)
                tags.load(reader)
                found.append(_directory(tags, order))
                limits.check(found[-1].width, found[-1].height, len(found))
        except (SyntaxError, TypeError, ValueError, KeyError, IndexError, OSError, struct.error):
            return found  # the decoders of the common kinds report the error in the next one
    return found


def _directory(tags: ImageFileDirectory_v2, order: str) -> Directory:
    bits = set(tags.get(_BITS, (1,)))
    samples, photometric = int(tags.get(_SAMPLES, 1)), int(tags.get(_PHOTOMETRIC, _BLACK_IS_ZERO))
    orientation = tags.get(_ORIENTATION, 1)
    return Directory(
        width=int(tags[_WIDTH]), height=int(tags[_HEIGHT]), bits=int(bits.pop()) if len(bits) == 1 else 0,
        samples=samples,
        floating=set(tags.get(_FORMAT, (_UNSIGNED,))) == {_FLOAT}, photometric=photometric,
        extra=tuple(tags.get(_EXTRA, ())), orientation=orientation if orientation in range(1, 9) else 1,
        icc=tags.get(_ICC), tags=tags, order=order,
    )  # fmt: skip


def _number(tags: ImageFileDirectory_v2, tag: int, default: int) -> int:
    """Return the whole number in a tag.

    Raises:
        CorruptImage: The value isn't a whole number.
    """
    value = tags.get(tag, default)
    if not isinstance(value, int):
        raise CorruptImage(f"Tag {tag} of the TIFF isn't a whole number.")
    return value


def check_rare(page: Directory, limits: Limits) -> None:
    """Check that a page of a rare depth can be read.

    Raises:
        UnreadKind: The page can't be read; the message says why.
        LimitExceeded: The tiles are too large.
    """
    tags, compression = page.tags, _number(page.tags, _COMPRESSION, _NONE)
    what = f"A TIFF with {page.bits} bits per sample"
    if set(tags.get(_FORMAT, (_UNSIGNED,))) not in ({_UNSIGNED}, {_FLOAT}, {4}):
        raise UnreadKind(f"{what} and signed samples isn't supported.")
    if compression not in _COMPRESSIONS:
        raise UnreadKind(f"{what} and compression {compression} isn't supported.")
    if not 0 < page.colours <= page.samples <= _MOST_SAMPLES:
        raise UnreadKind(f"{what} and photometric interpretation {page.photometric} isn't supported.")
    predictor = _number(tags, _PREDICTOR, 1)
    if predictor not in ((1, 3) if page.floating else (1,)):
        raise UnreadKind(f"{what} and predictor {predictor} isn't supported.")
    limits.check(*_segment(page))


def rare_pixels(file: InputFile, page: Directory) -> pyvips.Image:
    """Decode a page of a rare depth.

    Raises:
        CorruptImage: The data is invalid.
    """
    imagecodecs()  # also makes numpy available
    import numpy

    samples = _samples(file, page)
    kept = page.colours + page.alpha
    if page.photometric == _PALETTE:
        colours = numpy.array(page.tags[_COLOUR_MAP], numpy.uint16).reshape(3, -1).T
        if len(colours) < 1 << page.bits:
            raise CorruptImage("The palette of the TIFF is too short.")
        return whole_numbers(colours[samples[:, :, 0]] >> 8, 8)
    samples = samples[:, :, :kept]
    if page.floating:
        return normalise(pyvips.Image.new_from_array(numpy.ascontiguousarray(samples, dtype=numpy.float32)))
    if page.photometric == _WHITE_IS_ZERO:
        samples[:, :, 0] = (1 << page.bits) - 1 - samples[:, :, 0]
    if page.photometric == _CMYK:
        inks = whole_numbers(samples, page.bits, kind="cmyk")
        return inks if page.bits <= 8 else (inks / 257 + 0.5).cast("uchar").copy(interpretation="cmyk")
    return whole_numbers(samples, page.bits)


def _segment(page: Directory) -> Size:
    """Return the width and height of a strip or a tile."""
    tags = page.tags
    if _TILES in tags:
        width, height = _number(tags, _TILE_WIDTH, 0), _number(tags, _TILE_HEIGHT, 0)
    else:
        width, height = page.width, min(_number(tags, _ROWS, page.height), page.height)
    if width < 1 or height < 1:
        raise CorruptImage("The strips or tiles of the TIFF have no pixels.")
    return width, height


def _samples(file: InputFile, page: Directory) -> "numpy.ndarray[Any, Any]":
    """Return an array of whole numbers or floats by row, column and channel."""
    import numpy

    width, height = _segment(page)
    separate = _number(page.tags, _PLANAR, 1) == 2
    channels = 1 if separate else page.samples
    kind = numpy.float32 if page.floating else numpy.uint32 if page.bits > 16 else numpy.uint16
    out = numpy.zeros((page.height, page.width, page.samples), kind)
    planes = range(page.samples if separate else 1)
    tops, lefts = range(0, page.height, height), range(0, page.width, width)
    packs = _packed(file, page, len(planes) * len(tops) * len(lefts))
    tiled, plain = _TILES in page.tags, _number(page.tags, _COMPRESSION, _NONE) == _NONE
    for (channel, top, left), packed in zip(product(planes, tops, lefts), packs, strict=True):
        rows = height if tiled else min(height, page.height - top)
        line = (width * channels * page.bits + 7) // 8
        if not plain:
            packed = _unpacked(packed, page, rows, line)
        data = numpy.frombuffer(packed, numpy.uint8)
        if data.size < rows * line:
            raise CorruptImage("The TIFF ends before its last pixel.")
        values = _values(data[: rows * line].reshape(rows, line), page, width * channels, channels)
        part = out[top : top + rows, left : left + width, channel : channel + channels]
        part[:] = values.reshape(rows, width, channels)[: part.shape[0], : part.shape[1]]
    return out


def _packed(file: InputFile, page: Directory, count: int) -> Iterator[bytes]:
    """Yield the bytes of the first `count` strips or tiles."""
    tags, data = page.tags, file.data
    offsets, lengths = (
        tuple(tags.get(tag, ())) for tag in ((_TILES, _TILE_BYTES) if _TILES in tags else (_STRIPS, _STRIP_BYTES))
    )
    if not lengths and len(offsets) == 1:  # can be missing if there is one strip
        lengths = (len(data),)
    if min(len(offsets), len(lengths)) < count:
        raise CorruptImage("The TIFF has fewer strips or tiles than its pixels need.")
    # libtiff reverses the bits of compressed data.
    reversed_bits = _number(tags, _FILL_ORDER, 1) == 2 and _number(tags, _COMPRESSION, _NONE) == _NONE
    for offset, length in zip(offsets[:count], lengths[:count], strict=True):
        packed = bytes(data[offset : offset + length])
        yield packed.translate(_REVERSED) if reversed_bits else packed


def _unpacked(packed: bytes, page: Directory, rows: int, line: int) -> bytes:
    """Return the decompressed bytes of `rows` lines.

    libtiff decompresses a strip or tile as 8-bit samples; the actual meaning of the bits is irrelevant for that.
    """
    tags = (
        (_WIDTH, line), (_HEIGHT, rows), (_BITS, 8), (_COMPRESSION, _number(page.tags, _COMPRESSION, _NONE)),
        (_PHOTOMETRIC, _BLACK_IS_ZERO), (_FILL_ORDER, _number(page.tags, _FILL_ORDER, 1)),
        (_STRIPS, 8 + 2 + 12 * 10 + 4), (_SAMPLES, 1), (_ROWS, rows), (_STRIP_BYTES, len(packed)),
    )  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4)
    return bytes(pyvips.Image.tiffload_buffer(head + packed, fail_on="error").write_to_memory())


def _values(rows: "numpy.ndarray[Any, Any]", page: Directory, count: int, channels: int) -> "numpy.ndarray[Any, Any]":
    """Return `count` numbers from each row of bytes."""
    import numpy

    octets, order = page.bits // 8, page.order
    if page.bits % 8:
        kind = numpy.uint8 if page.bits < 8 else numpy.uint16
        numbers: numpy.ndarray[Any, Any] = imagecodecs().packints_decode(rows.tobytes(), kind, page.bits, runlen=count)
        return numbers.reshape(len(rows), count)
    if page.floating and _number(page.tags, _PREDICTOR, 1) == 3:
        differences = rows.reshape(len(rows), -1, channels)
        planes = differences.cumsum(axis=1, dtype=numpy.uint8).reshape(len(rows), octets, count)
        rows, order = numpy.ascontiguousarray(planes.swapaxes(1, 2)).reshape(len(rows), -1), ">"
    if octets != _ODD_OCTETS:
        with numpy.errstate(over="ignore"):
            return rows.view(f"{order}f{octets}").astype(numpy.float32)
    parts = rows.reshape(len(rows), count, octets).astype(numpy.uint32)
    low, middle, high = (parts[:, :, index] for index in (range(3) if order == "<" else range(2, -1, -1)))
    whole = low | middle << 8 | high << 16
    return _floats_of_24_bits(whole) if page.floating else whole


def _floats_of_24_bits(numbers: "numpy.ndarray[Any, Any]") -> "numpy.ndarray[Any, Any]":
    """Convert 24-bit floats: a sign, 7 bits of exponent with a bias of 63, and 16 bits of mantissa."""
    import numpy

    sign = 1 - 2 * (numbers >> 23).astype(numpy.float32)
    exponent, fraction = (numbers >> 16 & 0x7F).astype(numpy.int32), (numbers & 0xFFFF) / numpy.float32(1 << 16)
    usual = numpy.ldexp(1 + fraction, exponent - 63)
    value = numpy.where(exponent == 0, numpy.ldexp(fraction, -62), usual)
    value = numpy.where(exponent == 0x7F, numpy.where(fraction == 0, numpy.inf, numpy.nan), value)
    return (sign * value).astype(numpy.float32)
