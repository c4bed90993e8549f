"""Photoshop files, written here byte by byte: what is shown of every colour mode, depth and way to pack."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from progimage.engine import LimitExceeded, Limits, RenditionSpec, UnreadKind, inspect, render
from progimage.engine.errors import CorruptImage
from tests import pictures
from tests.photoshop import (
    BITMAP,
    CMYK,
    DIFFERENCES,
    DUOTONE,
    GREY,
    INDEXED,
    LAB,
    MULTICHANNEL,
    RAW,
    RGB,
    RLE,
    VERSION_INFO,
    ZIP,
    psd,
)


@pytest.fixture
def shown(tmp_path: Path) -> Callable[..., np.ndarray]:
    """Render a file, by default to sRGB of 8 bits with alpha."""

    def render_it(data: bytes, spec: str = "PNG?depth=8&profile=srgb", mode: str = "RGBA") -> np.ndarray:
        (tmp_path / "source").write_bytes(data)
        render(tmp_path / "source", RenditionSpec.from_canonical(spec), tmp_path / "target", Limits())
        picture = Image.open(tmp_path / "target")
        return np.asarray(picture.convert(mode) if mode else picture).astype(int)

    return render_it


@pytest.fixture
def told(tmp_path: Path):
    def inspect_it(data: bytes):
        (tmp_path / "source").write_bytes(data)
        return inspect(tmp_path / "source", Limits())

    return inspect_it


def slopes(bands: int, kind: str = "u1") -> list[np.ndarray]:
    """Channels that differ, row by row and column by column."""
    across, down = np.meshgrid(np.arange(20), np.arange(10))
    planes = [across * 12, down * 25, across * 5 + down * 10, 255 - across * 6, across * 0 + 99]
    scale = {"u1": 1, ">u2": 257}.get(kind, 1 / 255)
    return [(plane * scale).astype(kind) for plane in planes[:bands]]


@pytest.mark.parametrize("packing", [RAW, RLE, ZIP, DIFFERENCES])
@pytest.mark.parametrize("large", [False, True])
def test_every_packing_gives_the_same_pixels(shown, packing: int, large: bool) -> None:
    planes = slopes(3)
    found = shown(psd(planes, RGB, packing=packing, large=large))
    assert np.array_equal(found[:, :, :3], np.stack(planes, 2))


@pytest.mark.parametrize("packing", [RAW, RLE, ZIP, DIFFERENCES])
def test_16_bits_are_kept(shown, packing: int) -> None:
    plane = (np.arange(200).reshape(10, 20) * 321 + 7).astype(">u2")
    found = shown(psd([plane], GREY, depth=16, packing=packing), "PNG", "")
    assert np.array_equal(found, plane.astype(int))


@pytest.mark.parametrize("packing", [RAW, DIFFERENCES])
def test_32_bits_are_linear_light(shown, told, packing: int) -> None:
    data = psd([np.full((4, 4), light, ">f4") for light in (0.0, 0.21404, 1.0)], RGB, depth=32, packing=packing)
    assert np.allclose(shown(data)[0, 0], (0, 128, 255, 255), atol=1)
    info = told(data)
    assert (info.mode, info.bit_depth, info.floating) == ("RGB16", 32, True)


def test_a_bitmap_is_black_where_a_bit_is_set(shown, told) -> None:
    rows = np.array([[0b10101010, 0b1000_0000]] * 4, "u1")
    data = psd([rows], BITMAP, depth=1, width=9)
    assert shown(data)[0, :, 0].tolist() == [0, 255] * 4 + [0]
    assert (told(data).mode, told(data).bit_depth) == ("1", 1)


@pytest.mark.parametrize("transparent", [None, 3])
def test_a_palette_is_looked_up(shown, transparent: int | None) -> None:
    palette = bytes([*range(256), *range(255, -1, -1), *[7] * 256])
    resources = {} if transparent is None else {1047: struct.pack(">H", transparent)}
    found = shown(psd([np.arange(8, dtype="u1").reshape(1, 8)], INDEXED, palette=palette, resources=resources))
    assert found[0, 5].tolist() == [5, 250, 7, 255]
    assert found[0, 3, 3] == (0 if transparent == 3 else 255)


@pytest.mark.parametrize("depth", [8, 16])
def test_inks_are_stored_upside_down(shown, depth: int) -> None:
    kind, most = {8: ("u1", 255), 16: (">u2", 65535)}[depth]
    found = shown(psd([np.full((4, 4), value, kind) for value in (most, most, most, 0)], CMYK, depth=depth))
    assert found[0, 0, :3].max() < 60  # black alone
    found = shown(psd([np.full((4, 4), most, kind)] * 4, CMYK, depth=depth))
    assert found[0, 0].tolist() == [255, 255, 255, 255]


@pytest.mark.parametrize("depth", [8, 16])
def test_lab_is_converted(shown, depth: int) -> None:
    stored = (153, 158, 148)
    planes = [np.full((4, 4), value if depth == 8 else value * 256, "u1" if depth == 8 else ">u2") for value in stored]
    picture = Image.merge("LAB", [Image.new("L", (4, 4), value) for value in stored])
    to_srgb = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"),
        ImageCms.createProfile("sRGB"),
        "LAB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    converted = ImageCms.applyTransform(picture, to_srgb)
    assert converted
    wanted = pictures.pixel(converted, (0, 0))
    assert np.allclose(shown(psd(planes, LAB, depth=depth))[0, 0, :3], wanted, atol=2)


def test_a_fourth_channel_is_no_transparency(shown, told) -> None:
    data = psd(slopes(4), RGB)
    assert (shown(data)[:, :, 3] == 255).all()
    assert not told(data).alpha and "additional channels (1)" in told(data).warnings[0]


def with_count(key: bytes, count: int, large: bool) -> bytes:
    return b"8BIM" + key + struct.pack(">Q" if large else ">I", 4) + struct.pack(">hh", count, 0)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("how", ["layers", "Lr16", "Mt16"])
def test_transparency_is_where_the_layers_say_so(told, how: str, large: bool) -> None:
    if how == "layers":
        data = psd(slopes(4), RGB, layers=-1, large=large)
    else:
        data = psd(slopes(4), RGB, blocks=with_count(how.encode(), -2, large), large=large)
    assert told(data).alpha
    assert not told(psd(slopes(4), RGB, layers=2, large=large)).alpha


@pytest.mark.parametrize("mode", [RGB, CMYK, GREY])
def test_colours_are_taken_out_of_the_white_behind_them(shown, mode: int) -> None:
    bands = {RGB: 3, CMYK: 4, GREY: 1}[mode]
    alpha = np.full((4, 4), 128, "u1")
    own = 40
    matted = [np.full((4, 4), round(own * 128 / 255 + 127), "u1")] * bands
    found = shown(psd([*matted, alpha], mode, layers=-1))
    plain = shown(psd([np.full((4, 4), own, "u1")] * bands, mode))
    assert found[0, 0, 3] == 128
    assert np.allclose(found[0, 0, :3], plain[0, 0, :3], atol=2)


def test_colours_that_were_never_on_white_stay(shown) -> None:
    planes = [np.full((4, 4), value, "u1") for value in (10, 20, 30, 100)]
    assert shown(psd(planes, RGB, layers=-1))[0, 0].tolist() == [10, 20, 30, 100]


@pytest.mark.parametrize(("mode", "bands", "said"), [
    (DUOTONE, 1, "duotone"), (MULTICHANNEL, 3, "cyan, magenta and yellow"), (MULTICHANNEL, 5, "5 channels"),
    (CMYK, 5, "channels (1)"),
])  # fmt: skip
def test_what_is_not_shown_is_told(told, shown, mode: int, bands: int, said: str) -> None:
    data = psd(slopes(bands), mode)
    assert said in told(data).warnings[0]
    if mode != CMYK:
        assert np.array_equal(shown(data)[:, :, 0], slopes(1)[0])


def test_a_profile_is_applied(shown) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"xXYZ").replace(b"gXYZ", b"rXYZ").replace(b"xXYZ", b"gXYZ")
    planes = [np.full((4, 4), value, "u1") for value in (255, 0, 0)]
    assert np.allclose(shown(psd(planes, RGB, resources={1039: swapped}))[0, 0], (0, 255, 0, 255), atol=2)


def test_exif_turns_and_is_kept(shown, told, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Acme"
    data = psd(slopes(3), RGB, resources={1058: exif.tobytes()[6:]})
    assert told(data).orientation == 6 and told(data).exif["Make"] == "Acme"
    assert shown(data).shape[:2] == (20, 10)
    render(tmp_path / "source", RenditionSpec.from_canonical("JPEG?keep=exif"), tmp_path / "target", Limits())
    assert Image.open(tmp_path / "target").getexif()[0x010F] == "Acme"


def test_a_file_without_its_merged_picture_is_refused_by_name(told) -> None:
    without = struct.pack(">IB", 1, 0) + bytes(9)
    with pytest.raises(UnreadKind, match="Photoshop file was saved without a merged image"):
        told(psd(slopes(3), RGB, resources={VERSION_INFO: without}))
    told(psd(slopes(3), RGB, resources={VERSION_INFO: struct.pack(">IB", 1, 1) + bytes(9)}))


@pytest.mark.parametrize("packing", [RAW, RLE, ZIP])
def test_a_file_that_is_cut_off_is_refused(told, packing: int) -> None:
    with pytest.raises(CorruptImage):
        told(psd(slopes(3), RGB, packing=packing)[:-20])


def test_the_size_is_bounded_before_anything_is_unpacked(tmp_path: Path) -> None:
    bomb = psd([np.zeros((30000, 1), "u1")], GREY, width=300_000, large=True)
    (tmp_path / "source").write_bytes(bomb)
    with pytest.raises(LimitExceeded):
        inspect(tmp_path / "source", Limits())
