"""The engine as a plain library: specs, modes, headers, tables."""

import pickle
import struct
from pathlib import Path
from urllib.parse import parse_qsl

import hypothesis
import hypothesis.strategies as st
import pytest
from PIL import Image, ImageSequence

from progimage import engine
from progimage.engine import FORMATS, InvalidParameter, Limits, RenditionSpec, by_extension, inspect, render
from progimage.engine.codecs.jxl.header import is_jxl, jxl_size
from progimage.engine.modes import NEAREST, is_grey, nearest
from tests import pictures

WRITABLE = sorted(format.name for format in FORMATS.values() if format.can_write)


@hypothesis.given(format=st.sampled_from(WRITABLE), page=st.none() | st.integers(1, 100_000))
def test_a_canonical_string_parses_to_its_spec(format: str, page: int | None) -> None:
    spec = RenditionSpec(format, page=page)
    name, _, query = spec.canonical().partition("?")
    pairs = parse_qsl(query)
    assert RenditionSpec.parse(name, pairs) == spec
    assert RenditionSpec.parse(name, pairs).canonical() == spec.canonical()


@pytest.mark.parametrize("query", [[("page", "0")], [("page", "+1")], [("page", "1"), ("page", "1")], [("x", "1")]])
def test_bad_parameters_are_named(query: list[tuple[str, str]]) -> None:
    with pytest.raises(engine.InvalidParameter) as caught:
        RenditionSpec.parse("PNG", query)
    assert caught.value.parameter == query[0][0] and caught.value.allowed


def test_errors_survive_pickling() -> None:
    for error in (
        engine.LimitExceeded("pixels", 9, 3),
        engine.InvalidParameter("page", "x", "a number"),
        engine.CorruptImage("broken"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


def test_every_extension_has_one_format_and_every_pillow_extension_is_there() -> None:
    extensions = [extension for format in FORMATS.values() for extension in format.extensions]
    assert len(extensions) == len(set(extensions))
    stubs = {"BUFR", "GRIB", "HDF5", "WMF", "MPEG"}
    for extension, plugin in Image.registered_extensions().items():
        if plugin in stubs:
            assert by_extension(extension[1:]) is None
            continue
        format = by_extension(extension[1:])
        assert format is not None, extension
        assert format.can_write == (plugin in Image.SAVE), extension
        assert format.can_read or plugin in ("EPS", "PALM", "PDF") or plugin not in Image.OPEN, extension


@pytest.mark.parametrize("format", WRITABLE)
def test_every_mode_finds_one_in_every_format(format: str) -> None:
    for mode in NEAREST:
        assert nearest(mode, FORMATS[format].modes) in FORMATS[format].modes


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (256, 256), (640, 480), (600, 700), (1920, 1080), (9000, 3), (3, 9000)]
)
def test_jxl_sizes(size: tuple[int, int]) -> None:
    data = pictures.saved(Image.new("L", size), "JXL", effort=1)
    assert is_jxl(data) and jxl_size(data) == size
    boxed = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4s", 8 + len(data), b"jxlc") + data
    assert is_jxl(boxed) and jxl_size(boxed) == size


def test_limits_hold_before_decoding(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "JXL", "BMP", "AVIF"):
        file.write_bytes(pictures.saved(pictures.colour((200, 100)), format))
        with pytest.raises(engine.LimitExceeded):
            inspect(file, Limits(pixels=19_999))
        assert inspect(file, Limits(pixels=20_000)).width == 200
    file.write_bytes(pictures.animation(frames=5))
    with pytest.raises(engine.LimitExceeded):
        inspect(file, Limits(frames=4))
    with pytest.raises(engine.LimitExceeded):
        inspect(file, Limits(total_pixels=64 * 48 * 5 - 1))


def test_a_bomb_inside_of_an_icon_is_refused(tmp_path: Path) -> None:
    png = pictures.saved(Image.new("1", (3000, 3000)), "PNG")
    file = tmp_path / "bomb.ico"
    file.write_bytes(struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(png), 22) + png)
    with pytest.raises(engine.EngineError):
        inspect(file, Limits(pixels=1_000_000))


def test_palettes_are_exact(tmp_path: Path) -> None:
    source, target = tmp_path / "a.png", tmp_path / "a.gif"
    picture = pictures.colour().quantize(200)
    picture.save(source)
    render(source, RenditionSpec("GIF"), target, Limits())
    assert Image.open(target).convert("RGB").tobytes() == picture.convert("RGB").tobytes()


def test_lossless_formats_are_exact(tmp_path: Path) -> None:
    source, target = tmp_path / "a.png", tmp_path / "a.x"
    picture = pictures.colour()
    picture.save(source)
    for name in ("BMP", "DDS", "IM", "J2K", "JP2", "PCX", "PPM", "QOI", "SGI", "TGA", "TIFF"):
        render(source, RenditionSpec(name), target, Limits())
        assert Image.open(target).convert("RGB").tobytes() == picture.tobytes(), name


def test_rendering_is_repeatable(tmp_path: Path) -> None:
    source, one, other = tmp_path / "a.png", tmp_path / "1", tmp_path / "2"
    source.write_bytes(pictures.BY_MODE["RGBA"]())
    for name in WRITABLE:
        render(source, RenditionSpec(name), one, Limits())
        render(source, RenditionSpec(name), other, Limits())
        assert one.read_bytes() == other.read_bytes(), name


@pytest.mark.parametrize("mode", list(pictures.BY_MODE))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JP2", "JXL", "AVIF", "HEIC"])
def test_every_kind_of_pixels_can_be_asked_for_in_another_depth(mode: str, format: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(pictures.BY_MODE[mode]())
    for depth in FORMATS[format].depths:
        try:
            render(source, RenditionSpec(format, depth=str(depth)), target, Limits())
        except InvalidParameter as refusal:
            assert format in ("JP2", "JXL") and depth == 16 and refusal.parameter == "depth"
            assert not is_grey(inspect(source, Limits()).mode)  # colours are not taken away instead
            continue
        assert inspect(target, Limits()).width == pictures.SIZE[0]
        assert is_grey(inspect(source, Limits()).mode) or not is_grey(inspect(target, Limits()).mode)


@pytest.mark.parametrize("query", ["aspect=3:1&gravity=smart", "aspect=1:3&gravity=entropy", "trim=20", "crop=20,10"])
def test_pages_of_several_sizes_are_each_cut_by_their_own(query: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    pages = [pictures.colour(size) for size in ((160, 120), (40, 90), (90, 40))]
    pages[0].save(source, "TIFF", save_all=True, append_images=pages[1:])
    render(source, RenditionSpec.from_canonical(f"TIFF?{query}"), target, Limits())
    with Image.open(target) as written:
        together = [frame.size for frame in ImageSequence.all_frames(written)]
    for number, size in enumerate(together, 1):
        render(source, RenditionSpec.from_canonical(f"PNG?{query}&page={number}"), target, Limits())
        with Image.open(target) as alone:
            assert alone.size == size


@pytest.mark.parametrize("format", [format.name for format in FORMATS.values() if format.has("quality")])
def test_every_quality_can_be_written(format: str, tmp_path: Path) -> None:
    source, target, sizes = tmp_path / "source", tmp_path / "target", []
    source.write_bytes(pictures.saved(pictures.colour((120, 90)), "PNG"))
    for quality in (1, 50, 99, 100):
        render(source, RenditionSpec(format, quality=quality), target, Limits())
        sizes.append(target.stat().st_size)
    assert sizes[:3] == sorted(sizes[:3])


@pytest.mark.parametrize(("format", "depth"), [("PNG", "16"), ("AVIF", "10"), ("TIFF", "16")])
def test_several_frames_have_8_bits(format: str, depth: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "green")]
    source, target = tmp_path / "source", tmp_path / "target"
    of_pages = {"TIFF": "TIFF"}.get(format, "GIF")
    frames[0].save(source, of_pages, save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidParameter) as refusal:
        render(source, RenditionSpec(format, depth=depth), target, Limits())
    assert refusal.value.parameter == "depth" and "several" in refusal.value.allowed
    render(source, RenditionSpec(format, depth=depth, page=1), target, Limits())
