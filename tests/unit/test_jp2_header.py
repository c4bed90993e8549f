"""What JPEG 2000 files and XMP packets say; the files are made here."""

import contextlib
import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from progimage.engine.codecs.jp2_header import LAB, SIGNATURE, SRGB, Jp2Header, jp2_header
from progimage.engine.colorimetry import Cicp
from progimage.engine.xmp import xmp_orientation

IHDR = struct.pack(">IIHBBBB", 40, 60, 3, 7, 7, 0, 0)


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def jp2(*inside: bytes, ihdr: bytes = IHDR) -> bytes:
    return SIGNATURE + box(b"ftyp", b"jp2 ", bytes(4)) + box(b"jp2h", box(b"ihdr", ihdr), *inside) + box(b"jp2c")


def colr(method: int, body: bytes) -> bytes:
    return box(b"colr", bytes([method, 0, 0]), body)


def test_enumerated_spaces() -> None:
    assert jp2_header(jp2(colr(1, struct.pack(">I", 16)))) == Jp2Header(60, 40, 3, (8, 8, 8), enumerated=SRGB)
    assert jp2_header(jp2(colr(1, struct.pack(">IIII", 14, 0, 0, 0)))).enumerated == LAB


def test_profiles_and_code_points() -> None:
    for method in (2, 3):
        assert jp2_header(jp2(colr(method, b"a profile"))).icc == b"a profile"
    assert jp2_header(jp2(colr(5, struct.pack(">HHHB", 9, 16, 0, 0x80)))).cicp == Cicp(9, 16)


def test_the_first_that_is_understood_counts() -> None:
    told = jp2_header(jp2(colr(4, b"vendor"), colr(2, b"a profile"), colr(1, struct.pack(">I", 17))))
    assert told.icc == b"a profile" and told.enumerated is None


def test_palettes_alpha_and_depths() -> None:
    channels = struct.pack(">H12H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 1, 0)
    ihdr = struct.pack(">IIHBBBB", 40, 60, 4, 255, 7, 0, 0)
    told = jp2_header(jp2(box(b"bpcc", bytes([11, 11, 11, 0x87])), box(b"cdef", channels), ihdr=ihdr))
    assert (told.depths, told.alpha, told.premultiplied, told.palette) == ((12, 12, 12, 8), 3, False, False)
    told = jp2_header(jp2(box(b"cdef", channels.replace(b"\0\3\0\1\0\0", b"\0\3\0\2\0\0")), box(b"pclr", b"\0\2")))
    assert told.alpha == 3 and told.premultiplied and told.palette


@pytest.mark.parametrize(("mode", "depths"), [("RGB", (8, 8, 8)), ("LA", (8, 8)), ("I;16", (16,))])
@pytest.mark.parametrize("bare", [False, True])
def test_files_of_an_encoder(mode: str, depths: tuple[int, ...], bare: bool) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (60, 40)).save(buffer, "JPEG2000", no_jp2=bare)
    told = jp2_header(buffer.getvalue())
    assert (told.width, told.height, told.components, told.depths) == (60, 40, len(depths), depths)
    assert told.alpha == (1 if mode == "LA" and not bare else None)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", SIGNATURE, jp2(ihdr=b"short"), jp2(box(b"cdef", b"\0\2")), b"\xff\x4f\xff\x51\0"]
)
def test_what_is_malformed_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        jp2_header(data)


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=12), st.integers(0, 150), st.integers(0, 9))
def test_nothing_else_breaks_it(noise: bytes, at: int, gone: int) -> None:
    channels = struct.pack(">7H", 2, 0, 0, 1, 1, 1, 0)
    data = jp2(colr(5, struct.pack(">HHHB", 9, 16, 0, 0x80)), colr(2, b"a profile"), box(b"cdef", channels))
    with contextlib.suppress(ValueError):
        jp2_header(data[:at] + noise + data[at + gone :])


PACKET = "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><rdf:Description {}>{}</rdf:Description></rdf:RDF></x:xmpmeta>"
TIFF = 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'


@pytest.mark.parametrize(
    ("attributes", "elements", "orientation"),
    [
        (f'{TIFF} tiff:Orientation="6"', "", 6),
        (f"{TIFF}\n tiff:Orientation = '8'", "", 8),
        (TIFF, "<tiff:Orientation>3</tiff:Orientation>", 3),
        (TIFF, "<tiff:Orientation rdf:datatype='x'>\n 5 </tiff:Orientation>", 5),
        (TIFF.replace(":tiff=", ":t="), "<t:Orientation>7</t:Orientation>", 7),
        (TIFF, "<!-- <tiff:Orientation>3</tiff:Orientation> -->", None),
        (TIFF, "<!-- --><tiff:Orientation>2</tiff:Orientation><!-- ", 2),
        (f'{TIFF} tiff:Orientation="9"', "", None),
        (f'{TIFF} tiff:Orientation="66"', "", None),
        (f'{TIFF} xtiff:Orientation="6"', "", None),
        (TIFF, "<tiff:Orientation>&six;</tiff:Orientation>", None),
        ("", "", None),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
def test_the_orientation_of_an_xmp_packet(
    attributes: str, elements: str, orientation: int | None, encoding: str
) -> None:
    assert xmp_orientation(PACKET.format(attributes, elements).encode(encoding)) == orientation


@pytest.mark.parametrize("piece", [b"<!--", b"<tiff:Orientation ", b"<tiff:Orientation>   ", TIFF.encode() + b" "])
def test_a_packet_made_to_be_slow_is_not(piece: bytes) -> None:
    assert xmp_orientation(piece * (1_000_000 // len(piece))) is None
