"""TGA files, written here byte by byte: every kind, depth and origin, and what their attribute bits are."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progimage.engine import CorruptImage, EngineError, ImageInfo, LimitExceeded, Limits, RenditionSpec, inspect, render
from tests import pictures

MAPPED, COLOUR, GREY, RUNS = 1, 2, 3, 8
RIGHT, TOP = 0x10, 0x20


def tga(
    pixels: bytes, size: tuple[int, int], kind: int, depth: int, *, bits: int = 0, origin: int = TOP,
    colours: bytes = b"", first: int = 0, entry: int = 0, said: str = "", attributes: int | None = None,
) -> bytes:  # fmt: skip
    """Write a TGA.

    Args:
        pixels: As they are stored.
        size: In pixels.
        kind: Its image type.
        depth: Bits a pixel.
        bits: How many of them are attributes.
        origin: Where the first pixel is.
        colours: Its colour map.
        first: The number of the first of these.
        entry: Of how many bits they are.
        said: Its image id.
        attributes: What its extension area says of the attributes; None: it has none.
    """
    count = len(colours) // ((entry + 7) // 8) if entry else 0
    head = struct.pack(
        "<BBBHHBHHHHBB", len(said), int(bool(entry)), kind, first, count, entry, 0, 0, *size, depth, bits | origin
    )
    data = head + said.encode() + colours + pixels
    if attributes is None:
        return data
    extension = struct.pack("<H", 495) + bytes(492) + bytes([attributes])
    return data + extension + struct.pack("<II", len(data), 0) + b"TRUEVISION-XFILE.\0"


def run(count: int, pixel: bytes) -> bytes:
    return bytes([127 + count]) + pixel


def raw(*pixels: bytes) -> bytes:
    return bytes([len(pixels) - 1]) + b"".join(pixels)


@pytest.fixture
def shown(tmp_path: Path) -> Callable[[bytes], list[list[list[int]]]]:
    def render_it(data: bytes) -> list[list[list[int]]]:
        (tmp_path / "source").write_bytes(data)
        render(tmp_path / "source", RenditionSpec("PNG"), tmp_path / "target", Limits())
        return np.asarray(Image.open(tmp_path / "target").convert("RGBA")).tolist()

    return render_it


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., ImageInfo]:
    def inspect_it(data: bytes, limits: Limits | None = None) -> ImageInfo:
        (tmp_path / "source").write_bytes(data)
        return inspect(tmp_path / "source", limits or Limits())

    return inspect_it


def grey(*values: int) -> list[list[int]]:
    return [[value, value, value, 255] for value in values]


@pytest.mark.parametrize(("origin", "rows"), [
    (0, [(3, 4, 5), (0, 1, 2)]), (RIGHT, [(5, 4, 3), (2, 1, 0)]), (TOP, [(0, 1, 2), (3, 4, 5)]),
    (TOP | RIGHT, [(2, 1, 0), (5, 4, 3)]),
])  # fmt: skip
@pytest.mark.parametrize("runs", [False, True])
def test_origins(shown, origin: int, rows: Sequence[Sequence[int]], runs: bool) -> None:
    pixels = b"".join(run(1, bytes([value])) for value in range(6)) if runs else bytes(range(6))
    found = shown(tga(pixels, (3, 2), GREY | RUNS * runs, 8, origin=origin))
    assert found == [grey(*row) for row in rows]


BLUE_FIRST = bytes([1, 2, 3])
DEPTHS = {
    "15": (15, b"\x1f\x7c", [255, 0, 255, 255]), "16": (16, b"\xe0\x83", [0, 255, 0, 255]),
    "24": (24, BLUE_FIRST, [3, 2, 1, 255]), "32": (32, BLUE_FIRST + b"\x09", [3, 2, 1, 255]),
}  # fmt: skip


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize(("depth", "stored", "wanted"), DEPTHS.values(), ids=DEPTHS)
def test_colours(shown, told, depth: int, stored: bytes, wanted: list[int], runs: bool) -> None:
    pixels = run(4, stored) if runs else stored * 4
    data = tga(pixels, (2, 2), COLOUR | RUNS * runs, depth, said="some words")
    assert shown(data) == [[wanted] * 2] * 2
    assert not told(data).alpha


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize(("depth", "stored", "wanted"), DEPTHS.values(), ids=DEPTHS)
def test_colour_maps_may_begin_anywhere(shown, depth: int, stored: bytes, wanted: list[int], runs: bool) -> None:
    black = bytes(len(stored))
    pixels = raw(b"\x07", b"\x08") if runs else b"\x07\x08"
    found = shown(tga(pixels, (2, 1), MAPPED | RUNS * runs, 8, colours=black + stored, first=7, entry=depth))
    assert found == [[[0, 0, 0, 255], wanted]]


def test_a_colour_map_of_more_than_256(shown) -> None:
    colours = b"".join(bytes([value % 256, value // 256, 5]) for value in range(300))
    assert shown(tga(struct.pack("<2H", 299, 1), (2, 1), MAPPED, 16, colours=colours, entry=24)) == [
        [[5, 1, 43, 255], [5, 0, 1, 255]]
    ]


def test_a_colour_map_that_is_not_used(shown) -> None:
    assert shown(tga(BLUE_FIRST, (1, 1), COLOUR, 24, colours=bytes(12), entry=24)) == [[[3, 2, 1, 255]]]


@pytest.mark.parametrize(("bits", "attributes", "alpha"), [
    (0, None, 255), (8, None, 9), (8, 0, 255), (8, 1, 255), (8, 2, 255), (8, 3, 9), (0, 3, 255),
])  # fmt: skip
def test_attributes_are_alpha_only_where_both_say_so(shown, bits: int, attributes: int | None, alpha: int) -> None:
    stored = BLUE_FIRST + b"\x09"
    assert shown(tga(stored, (1, 1), COLOUR, 32, bits=bits, attributes=attributes)) == [[[3, 2, 1, alpha]]]


def test_one_attribute_bit(shown) -> None:
    assert shown(tga(b"\x1f\x80\x1f\x00", (2, 1), COLOUR, 16, bits=1)) == [[[0, 0, 255, 255], [0, 0, 255, 0]]]


def test_premultiplied_colours_are_divided(shown, told) -> None:
    data = tga(bytes([64, 32, 16, 128]), (1, 1), COLOUR, 32, bits=8, attributes=4)
    assert told(data).premultiplied
    assert np.allclose(shown(data)[0][0], (32, 64, 128, 128), atol=1)


@pytest.mark.parametrize("bits", [0, 8])
def test_grey_with_a_second_byte(shown, bits: int) -> None:
    assert shown(tga(bytes([40, 7]), (1, 1), GREY, 16, bits=bits)) == [[[40, 40, 40, 7 if bits else 255]]]


def test_runs_go_on_in_the_next_row(shown) -> None:
    pixels = run(3, b"\x05") + raw(b"\x06", b"\x07", b"\x08")
    assert shown(tga(pixels, (2, 3), GREY | RUNS, 8)) == [grey(5, 5), grey(5, 6), grey(7, 8)]


@pytest.mark.parametrize("runs", [False, True])
def test_a_file_that_is_cut_off_is_refused(told, runs: bool) -> None:
    pixels = run(3, b"\x05") if runs else bytes(3)
    with pytest.raises(CorruptImage):
        told(tga(pixels, (2, 2), GREY | RUNS * runs, 8))


@pytest.mark.parametrize("change", [{0: 200}, {1: 2}, {2: 7}, {16: 17}, {12: 0}, {17: 0xC0}])
def test_what_only_looks_like_one_is_refused(told, change: dict[int, int]) -> None:
    data = bytearray(tga(bytes(4), (2, 2), GREY, 8))
    told(bytes(data))
    for at, value in change.items():
        data[at] = value
    with pytest.raises(EngineError):
        told(bytes(data))


def test_sizes_are_bounded(told) -> None:
    with pytest.raises(LimitExceeded):
        told(tga(run(128, b"\1"), (65_000, 65_000), GREY | RUNS, 8))


def test_what_is_written_here_is_read_here(shown) -> None:
    for mode in ("1", "P", "L", "LA", "RGB", "RGBA"):
        picture = (pictures.transparent() if mode.endswith("A") else pictures.colour()).convert(mode)
        assert shown(pictures.saved(picture, "TGA")) == np.asarray(picture.convert("RGBA")).tolist(), mode
