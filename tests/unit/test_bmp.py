"""Windows bitmaps, written here byte by byte: every way to lay out pixels that are not packed in runs."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from progimage.engine import CorruptImage, ImageInfo, Limits, RenditionSpec, UnreadKind, inspect, render
from tests import pictures
from tests.bitmaps import ALPHA_FIELDS, CORE, FIELDS, INFO, JPEG, PLAIN, PNG, V3, V4, V5, bmp


@pytest.fixture
def shown(tmp_path: Path) -> Callable[..., list[list[list[int]]]]:
    """Render a file to RGBA, or what else is asked for."""

    def render_it(data: bytes, spec: str = "PNG?profile=srgb", mode: str = "RGBA") -> list[list[list[int]]]:
        (tmp_path / "source").write_bytes(data)
        render(tmp_path / "source", RenditionSpec.from_canonical(spec), tmp_path / "target", Limits())
        return np.asarray(Image.open(tmp_path / "target").convert(mode)).tolist()

    return render_it


@pytest.fixture
def told(tmp_path: Path) -> Callable[[bytes], ImageInfo]:
    def inspect_it(data: bytes) -> ImageInfo:
        (tmp_path / "source").write_bytes(data)
        return inspect(tmp_path / "source", Limits())

    return inspect_it


def words(*values: int, size: int = 2) -> bytes:
    return b"".join(value.to_bytes(size, "little") for value in values)


@pytest.mark.parametrize(("masks", "pixels", "wanted"), [
    ((0x7C00, 0x3E0, 0x1F, 0x8000), (0xFC00, 0x03E0, 0x801F), ([255, 0, 0, 255], [0, 255, 0, 0], [0, 0, 255, 255])),
    ((0xF00, 0xF0, 0xF, 0xF000), (0xFF00, 0x80F0, 0x000F), ([255, 0, 0, 255], [0, 255, 0, 136], [0, 0, 255, 0])),
    ((0xF800, 0x7E0, 0x1F), (0xF800, 0x07E0, 0x0010), ([255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 132, 255])),
    ((0xF00, 0xF0, 0xF), (0xFF00, 0x00F0, 0x0007), ([255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 119, 255])),
    ((0xFF00, 0xFF, 0), (0xFF00, 0x00FF, 0x0101), ([255, 0, 0, 255], [0, 255, 0, 255], [1, 1, 0, 255])),
])  # fmt: skip
@pytest.mark.parametrize("header", [INFO, V3, V4, V5])
def test_channels_of_16_bits(shown, header: int, masks, pixels, wanted) -> None:
    four = len(masks) == 4
    masks = (*masks, 0)[:4] if header > INFO else masks
    compression = ALPHA_FIELDS if header == INFO and four else FIELDS
    found = shown(bmp([words(*pixels)] * 2, 3, 16, header=header, compression=compression, masks=masks))
    assert found == [list(wanted)] * 2


def test_channels_of_32_bits(shown, told) -> None:
    masks = (0xFF000000, 0xFF0000, 0xFF00, 0xFF)
    data = bmp([words(0x01020304, 0xFF00FF80, size=4)], 2, 32, header=V4, compression=FIELDS, masks=masks)
    assert shown(data) == [[[1, 2, 3, 4], [255, 0, 255, 128]]]
    assert (told(data).mode, told(data).bit_depth, told(data).alpha) == ("RGBA", 8, True)


def test_ten_bits_are_kept(told, tmp_path: Path) -> None:
    masks = (0x3FF00000, 0xFFC00, 0x3FF, 0)
    data = bmp([words(0x3FF << 20 | 512 << 10 | 1, size=4)], 1, 32, header=V4, compression=FIELDS, masks=masks)
    assert (told(data).mode, told(data).bit_depth) == ("RGB16", 10)
    render(tmp_path / "source", RenditionSpec("PPM"), tmp_path / "target", Limits())
    found = struct.unpack(">3H", (tmp_path / "target").read_bytes()[-6:])
    assert found == (65535, round(512 / 1023 * 65535), round(65535 / 1023))


@pytest.mark.parametrize(("header", "mask", "alpha"), [(INFO, 0, 255), (V5, 0, 255), (V5, 0xFF000000, 7)])
def test_alpha_of_plain_pixels_counts_only_where_the_header_says_so(shown, header: int, mask: int, alpha: int) -> None:
    masks = (0, 0, 0, mask) if header > INFO else ()
    found = shown(bmp([words(0x07112233, size=4)], 1, 32, header=header, masks=masks))
    assert found == [[[0x11, 0x22, 0x33, alpha]]]


PALETTE = b"".join(bytes([value, 2 * value % 256, 255 - value, 0]) for value in range(256))


@pytest.mark.parametrize(("depth", "row", "indices"), [
    (1, b"\xa0", [1, 0, 1]), (2, b"\x1b", [0, 1, 2, 3]), (4, b"\x1f\x20", [1, 15, 2]),
    (8, bytes([0, 200, 255]), [0, 200, 255]),
])  # fmt: skip
@pytest.mark.parametrize("downwards", [False, True])
def test_palettes(shown, told, depth: int, row: bytes, indices: list[int], downwards: bool) -> None:
    rows = [row, bytes(len(row))]
    data = bmp(rows, len(indices), depth, palette=PALETTE[: 4 << depth], downwards=downwards)
    colours = [[255 - value, 2 * value % 256, value, 255] for value in indices]
    assert shown(data) == [colours, [[255, 0, 0, 255]] * len(indices)]
    assert told(data).mode == "P"


def test_a_palette_of_three_bytes(shown) -> None:
    assert shown(bmp([b"\1\0"], 2, 8, header=CORE, palette=bytes([1, 2, 3, 4, 5, 6]), gap=3)) == [
        [[6, 5, 4, 255], [3, 2, 1, 255]]
    ]


def test_black_and_white(told) -> None:
    assert told(bmp([b"\x80"], 2, 1, palette=b"\0\0\0\0\xff\xff\xff\0")).mode == "1"


@pytest.mark.parametrize("used", [300, 2])
def test_a_palette_of_another_length_and_colours_that_it_lacks(shown, used: int) -> None:
    data = bmp([bytes([1, 9])], 2, 8, palette=PALETTE[: 4 * used].ljust(4 * used, b"\0"), used=used)
    assert shown(data)[0] == [[254, 2, 1, 255], [246, 18, 9, 255] if used > 9 else [0, 0, 0, 255]]


def test_24_bits(shown) -> None:
    assert shown(bmp([bytes([1, 2, 3, 4, 5, 6]), bytes(6)], 2, 24)) == [
        [[3, 2, 1, 255], [6, 5, 4, 255]],
        [[0, 0, 0, 255]] * 2,
    ]


def test_an_embedded_profile_is_applied(shown) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"xXYZ").replace(b"gXYZ", b"rXYZ").replace(b"xXYZ", b"gXYZ")
    found = shown(bmp([bytes([0, 0, 255])], 1, 24, header=V5, profile=swapped))
    assert np.allclose(found[0][0], (0, 255, 0, 255), atol=2)


def test_a_bitmap_without_a_file_header(told, shown) -> None:
    masks = (0xF00, 0xF0, 0xF, 0xF000)
    data = bmp([words(0x8F00)], 1, 16, header=V5, compression=FIELDS, masks=masks)[14:]
    assert told(data).format == "DIB"
    assert shown(data) == [[[255, 0, 0, 136]]]


def test_runs_are_still_read(shown) -> None:
    picture = bytes([3, 1, 0, 0, 0, 3, 1, 0, 1, 0, 0, 1])  # three of colour 1; then 1, 0, 1
    data = bmp([], 3, 8, compression=1, palette=PALETTE)
    data = data[:22] + struct.pack("<i", 2) + data[26:] + picture
    assert shown(data) == [[[254, 2, 1, 255], [255, 0, 0, 255], [254, 2, 1, 255]], [[254, 2, 1, 255]] * 3]


@pytest.mark.parametrize(("compression", "depth", "said"), [
    (JPEG, 0, "JPEG"), (PNG, 0, "PNG"), (PLAIN, 64, "64 bits"), (99, 8, "compression 99"),
])  # fmt: skip
def test_what_is_not_read_is_refused_by_name(told, compression: int, depth: int, said: str) -> None:
    with pytest.raises(UnreadKind, match=f"bitmap.*{said}"):
        told(bmp([bytes(8)], 1, depth, compression=compression))


@pytest.mark.parametrize("masks", [(0x5, 0xF0, 0xF00), (0x10000, 0xF0, 0xF00)])
def test_bits_that_do_not_adjoin_are_refused(told, masks: tuple[int, ...]) -> None:
    with pytest.raises(CorruptImage, match="contiguous"):
        told(bmp([bytes(2)], 1, 16, compression=FIELDS, masks=masks))


def test_only_the_padding_of_the_last_row_may_be_missing(told) -> None:
    data = bmp([bytes(3)] * 2, 1, 24, downwards=True)
    told(data[:-1])
    with pytest.raises(CorruptImage, match="ends before its last pixel"):
        told(data[:-2])


def test_what_is_written_here_is_read_here(shown) -> None:
    for mode in ("1", "P", "L", "RGB"):
        picture = pictures.colour().convert(mode)
        found = np.asarray(shown(pictures.saved(picture, "BMP"), mode="RGB"))
        assert np.array_equal(found, np.asarray(picture.convert("RGB"))), mode
