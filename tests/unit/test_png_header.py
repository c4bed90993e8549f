"""What a PNG says of its colours, and which of it goes before which."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageCms

from progimage.engine.codecs.png_header import PngColour, png_colour
from progimage.engine.colorimetry import BT709, Calibrated, Chromaticities, Cicp, ColourSpace

CICP_P3 = b"cICP", bytes([12, 13, 0, 1])
SRGB = b"sRGB", b"\0"
LINEAR = b"gAMA", struct.pack(">I", 100_000)
USUAL = b"gAMA", struct.pack(">I", 45455)
ADOBE = b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ICC = b"iCCP", b"a name\0\0" + zlib.compress(PROFILE)
ADOBE_PRIMARIES = Chromaticities((0.3127, 0.329), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: tuple[bytes, bytes], after: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    pixels = (b"IDAT", zlib.compress(b"\0\1\2\3"))
    head = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    every = (head, *chunks, pixels, *after, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in every)


@pytest.mark.parametrize(
    ("chunks", "space"),
    [
        ((), None),
        ((CICP_P3,), Cicp(12, 13)),
        ((LINEAR, SRGB, ICC, CICP_P3), Cicp(12, 13)),
        ((LINEAR, SRGB, ICC), PROFILE),
        ((LINEAR, ADOBE, SRGB), None),
        ((LINEAR,), Calibrated(1, BT709)),
        ((LINEAR, ADOBE), Calibrated(1, ADOBE_PRIMARIES)),
        ((USUAL, ADOBE), Calibrated(0.45455, ADOBE_PRIMARIES)),
        ((USUAL,), None),
        ((ADOBE,), None),
        ((LINEAR, USUAL), Calibrated(1, BT709)),  # the first of a kind
        (((b"cICP", bytes([9, 16, 0, 0])),), Cicp(9, 16, 0, False)),
    ],
)
def test_the_best_of_what_is_told_counts(chunks: tuple[tuple[bytes, bytes], ...], space: ColourSpace) -> None:
    assert png_colour(png(*chunks)).space == space


@pytest.mark.parametrize(
    "broken",
    [
        (b"cICP", bytes([12, 13, 1, 1])),  # RGB has no matrix
        (b"cICP", bytes([12, 2, 0, 1])),
        (b"cICP", bytes([3, 13, 0, 1])),
        (b"cICP", bytes([12, 13, 0])),
        (b"iCCP", b"no end of name"),
        (b"iCCP", b"\0\0" + zlib.compress(PROFILE)),
        (b"iCCP", b"name\0\1" + zlib.compress(PROFILE)),
        (b"iCCP", b"name\0\0garbage"),
        (b"iCCP", b"name\0\0" + zlib.compress(PROFILE)[:-9]),
        (b"iCCP", b"name\0\0" + zlib.compress(bytes(20_000_000))),
    ],
)
def test_what_is_broken_counts_as_not_there(broken: tuple[bytes, bytes]) -> None:
    assert png_colour(png(broken, LINEAR)).space == Calibrated(1, BT709)


@pytest.mark.parametrize(
    "chunks",
    [
        ((b"gAMA", bytes(4)),),
        ((b"gAMA", b"\xff" * 4),),
        ((b"gAMA", b"\0"),),
        (USUAL, (b"cHRM", bytes(32))),
        (USUAL, (b"cHRM", b"\xff" * 32)),
        (USUAL, (b"cHRM", struct.pack(">8I", 31270, 32900, *(64000, 33000) * 3))),
    ],
)
def test_numbers_that_mean_nothing_are_passed_over(chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    assert png_colour(png(*chunks)).space is None


def test_chunks_behind_the_pixels_and_with_wrong_checksums_do_not_count() -> None:
    assert png_colour(png(after=(LINEAR,))).space is None
    data = png(LINEAR)
    at = data.index(b"gAMA") + 8
    assert png_colour(data[:at] + b"\0\0\0\0" + data[at + 4 :]).space is None


def test_how_bright_it_gets() -> None:
    content = b"cLLI", struct.pack(">II", 7_030_000, 1_650_000)
    mastering = b"mDCV", struct.pack(">8HII", *[0] * 8, 10_000_000, 50)
    light = png_colour(png(content, mastering)).light
    assert (light.content, light.mastering, light.peak) == (703, 1000, 703)
    assert png_colour(png(mastering)).light.peak == 1000
    assert png_colour(png((b"cLLI", bytes(8)))).light.peak is None


def test_what_is_no_png() -> None:
    with pytest.raises(ValueError):
        png_colour(b"GIF89a")


@given(st.binary(max_size=300), st.integers(0, 3000))
def test_nothing_breaks_it(noise: bytes, at: int) -> None:
    data = png(CICP_P3, ICC, LINEAR, ADOBE)
    assert isinstance(png_colour(data[:8] + data[8:at] + noise + data[at + len(noise) :]), PngColour)
