"""Palettes: how many colours there are, what becomes of alpha, and how animations are written with them."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
import pytest
import pyvips
from PIL import Image, ImageDraw

from progimage.engine import Limits, libraries
from progimage.engine.codecs import gif, gif_writer, lzw, png_palette
from progimage.engine.codecs.png_chunks import chunks
from progimage.engine.errors import LibraryNotLoaded
from progimage.engine.pipeline import render
from progimage.engine.spec import RenditionSpec
from tests import pictures
from tests.conformance import animations

_SIDE = 48


def _rendered(tmp_path: Path, source: bytes, format: str, **spec: object) -> bytes:
    file, target = tmp_path / "source", tmp_path / "target"
    file.write_bytes(source)
    render(file, RenditionSpec(format, **spec), target, Limits())  # type: ignore[arg-type]
    return target.read_bytes()


def _opened(data: bytes, mode: str = "RGBA") -> numpy.ndarray:
    return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGBA").convert(mode))


def _frames(data: bytes) -> list[numpy.ndarray]:
    """All frames, as Pillow puts them together; without colour where they are transparent."""
    image, frames = Image.open(io.BytesIO(data)), []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        frame = numpy.array(image.convert("RGBA"))
        frame[frame[:, :, 3] == 0] = 0
        frames.append(frame)
    return frames


def _animation(frames: Sequence[numpy.ndarray], durations: int | list[int] = 100, loop: int = 0) -> bytes:
    opening, *rest = map(Image.fromarray, frames)
    file = io.BytesIO()
    opening.save(file, "WEBP", save_all=True, append_images=rest, duration=durations, loop=loop, lossless=True,
                 exact=True)  # fmt: skip
    return file.getvalue()


def _of_colours(count: int, seed: int = 0) -> numpy.ndarray:
    """A square with exactly so many colours, at random places."""
    chance = numpy.random.default_rng(seed)
    numbers = chance.permutation(numpy.arange(_SIDE * _SIDE) % count)
    packed = chance.choice(1 << 24, count, replace=False).astype("<u4").view(numpy.uint8).reshape(-1, 4)
    return packed[numbers, :3].reshape(_SIDE, _SIDE, 3)


def _soft_disc() -> numpy.ndarray:
    """Two gradients of colour, with alpha that falls from opaque in the middle to nothing at the corners."""
    y, x = numpy.mgrid[0:200, 0:200]
    alpha = numpy.clip(380 - 3.9 * numpy.hypot(x - 100, y - 100), 0, 255)
    return numpy.dstack([x * 255 / 199, y * 255 / 199, 255 - x, alpha]).astype(numpy.uint8)


# PNG


def test_few_colours_keep_their_alpha(tmp_path: Path) -> None:
    source = _of_colours(200)
    alpha = numpy.resize(numpy.array([0, 1, 77, 128, 254, 255], numpy.uint8), 200)
    colours, numbers = numpy.unique(source.reshape(-1, 3), axis=0, return_inverse=True)
    wanted = numpy.column_stack([colours[numbers], alpha[numbers]]).reshape(_SIDE, _SIDE, 4)
    made = _opened(_rendered(tmp_path, pictures.saved(Image.fromarray(wanted), "PNG"), "PNG", palette=256))
    shown = wanted[:, :, 3:] > 0
    assert numpy.array_equal(made * shown, wanted * shown)
    assert numpy.array_equal(made[:, :, 3], wanted[:, :, 3])


@pytest.mark.parametrize(("colours", "off"), [(256, 4), (64, 8), (16, 16)])
def test_many_colours_keep_soft_edges(tmp_path: Path, colours: int, off: int) -> None:
    wanted = _soft_disc().astype(int)
    data = _rendered(tmp_path, pictures.saved(Image.fromarray(_soft_disc()), "PNG"), "PNG", palette=colours)
    image = Image.open(io.BytesIO(data))
    made = numpy.asarray(image.convert("RGBA")).astype(int)
    assert image.mode == "P" and len(numpy.unique(made.reshape(-1, 4), axis=0)) <= colours
    assert abs(made - wanted)[:, :, 3].mean() < off
    assert (made[wanted[:, :, 3] == 0] == 0).all()
    on_white = [pixels[:, :, :3] * (pixels[:, :, 3:] / 255) + 255 - pixels[:, :, 3:] for pixels in (made, wanted)]
    assert abs(on_white[0] - on_white[1]).mean() < off


def test_what_is_opaque_stays_opaque(tmp_path: Path) -> None:
    photograph = numpy.asarray(pictures.colour().resize((200, 200)))
    source = numpy.dstack([photograph, _soft_disc()[:, :, 3]])
    made = _opened(_rendered(tmp_path, pictures.saved(Image.fromarray(source), "PNG"), "PNG", palette=256))
    middle = source[:, :, 3] == 255
    assert (made[middle][:, 3] == 255).all()


@pytest.mark.parametrize(("colours", "bits"), [(2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8)])
def test_fewer_colours_take_fewer_bits(tmp_path: Path, colours: int, bits: int) -> None:
    source = _of_colours(colours)
    data = _rendered(tmp_path, pictures.saved(Image.fromarray(source), "PNG"), "PNG", palette=256)
    assert data[24:26] == bytes([bits, 3])
    assert numpy.array_equal(_opened(data, "RGB"), source)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "RGB;16", "RGBA;16", "CMYK"])
def test_any_kind_of_pixels_gets_a_palette(tmp_path: Path, mode: str) -> None:
    source = pictures.BY_MODE[mode]()
    made, plain = (
        _opened(_rendered(tmp_path, source, "PNG", **spec), "RGBa").astype(int)
        for spec in ({"palette": 256}, {"depth": "8", "profile": "srgb"})
    )
    assert made.shape == plain.shape and abs(made - plain).mean() < 3


def test_an_animation_in_png_has_one_palette(tmp_path: Path) -> None:
    frames = [_of_colours(100, seed) for seed in (1, 2)]
    made = _frames(_rendered(tmp_path, _animation(frames), "PNG", palette=256))
    assert len(made) == 2
    assert all(numpy.array_equal(one[:, :, :3], other) for one, other in zip(made, frames, strict=True))


def _numbered(source: numpy.ndarray) -> Iterator[tuple[numpy.ndarray, int]]:
    """The pixels' numbers among the colours of a picture, by popularity and by value, and how many those are."""
    colours, numbers, counts = numpy.unique(source.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    for order in (numpy.argsort(-counts, kind="stable"), numpy.arange(len(colours))):
        yield numpy.argsort(order)[numbers].astype(numpy.uint8).reshape(source.shape[:2]), len(colours)


def _rows(numbers: numpy.ndarray, bits: int) -> list[bytes]:
    """Rows as a PNG has them before they are filtered, by hand (section 7.2)."""
    rows = []
    for row in numbers:
        digits = "".join(f"{number:0{bits}b}" for number in row)
        digits += "0" * (-len(digits) % 8)
        rows.append(int(digits, 2).to_bytes(len(digits) // 8, "big"))
    return rows


def _filtered(rows: list[bytes], kind: int) -> bytes:
    """Rows with a filter (section 9.2): 0, 1 or 2."""
    above, found = bytes(len(rows[0])), bytearray()
    for row in rows:
        expected = {0: bytes(len(row)), 1: b"\0" + row[:-1], 2: above}[kind]
        found += bytes([kind]) + bytes((one - other) % 256 for one, other in zip(row, expected, strict=True))
        above = row
    return bytes(found)


def _best_by_zlib(source: numpy.ndarray) -> int:
    """How many bytes a PNG of an exact palette takes at least, by trying everything with zlib."""
    sizes = []
    for numbers, count in _numbered(source):
        least = next(bits for bits in (1, 2, 4, 8) if count <= 1 << bits)
        for bits in {least, 8}:
            for kind in (0, 1, 2):
                data = _filtered(_rows(numbers, bits), kind)
                for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_RLE, zlib.Z_HUFFMAN_ONLY):
                    deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 9, strategy)
                    sizes.append(len(deflate.compress(data) + deflate.flush()))
    return 8 + (12 + 13) + (12 + 3 * count) + (12 + min(sizes)) + 12


def _few_colours() -> dict[str, numpy.ndarray]:
    """Pictures of at most 256 colours, as people draw them."""
    ellipse = Image.new("RGB", (101, 100), "white")
    ImageDraw.Draw(ellipse).ellipse((20, 10, 90, 80), fill=(0, 128, 0), outline=(0, 0, 255), width=3)
    text = Image.new("RGB", (203, 90), "white")
    for line in range(6):
        ImageDraw.Draw(text).text((4, 14 * line), f"Line {line} of a text: {line * 7919}", fill=(20, 20, 30))
    soft = ellipse.resize((61, 60), Image.Resampling.LANCZOS).quantize(200).convert("RGB")
    grey = numpy.indices((128, 128)).sum(0)
    chance = numpy.random.default_rng(3)
    return {
        "ellipse": numpy.asarray(ellipse),
        "text": numpy.asarray(text),
        "soft": numpy.asarray(soft),
        "greys": numpy.dstack([grey // 26 * 28] * 3).astype(numpy.uint8),
        "ramp": numpy.dstack([grey] * 3).astype(numpy.uint8),
        "noise": _of_colours(2)[:, :37],
        "tiles": numpy.kron(chance.integers(0, 2, (16, 16, 1)) * 255, numpy.ones((8, 8, 3))).astype(numpy.uint8),
    }


@pytest.mark.parametrize("name", list(_few_colours()))
def test_a_palette_takes_no_more_than_the_best_of_zlib(tmp_path: Path, name: str) -> None:
    source = _few_colours()[name]
    data = _rendered(tmp_path, pictures.saved(Image.fromarray(source), "PNG"), "PNG", palette=256)
    assert numpy.array_equal(_opened(data, "RGB"), source)
    assert len(data) <= _best_by_zlib(source)


@pytest.mark.parametrize("colours", [16, 256])
def test_more_effort_makes_a_palette_smaller(tmp_path: Path, colours: int) -> None:
    source = pictures.saved(pictures.colour().resize((900, 700)), "PNG")
    made = [_rendered(tmp_path, source, "PNG", palette=colours, effort=effort) for effort in (1, 4, 6, 9)]
    assert [len(data) for data in made] == sorted({len(data) for data in made}, reverse=True)
    assert all(numpy.array_equal(_opened(data), _opened(made[0])) for data in made)


@pytest.mark.parametrize("filter", [0, 1, 4])
@pytest.mark.parametrize("count", [2, 3, 9, 200])
def test_each_way_to_write_pixels_is_read_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filter: int, count: int
) -> None:
    monkeypatch.setattr(png_palette, "_FILTERS", (filter,))
    source = _of_colours(count)[:, :37]
    for effort in (1, 9):
        data = _rendered(tmp_path, pictures.saved(Image.fromarray(source), "PNG"), "PNG", palette=256, effort=effort)
        assert numpy.array_equal(_opened(data, "RGB"), source)
        loaded = pyvips.Image.new_from_buffer(data, "", fail_on="warning").numpy()
        assert numpy.array_equal(loaded[:, :, :3], source)


def test_a_palette_has_no_colour_that_is_not_used(tmp_path: Path) -> None:
    source = pictures.saved(pictures.colour().resize((16, 16)), "PNG")
    data = _rendered(tmp_path, source, "PNG", palette=200)
    seen = numpy.unique(_opened(data, "RGB").reshape(-1, 3), axis=0)
    [table] = [body for _, name, body in chunks(memoryview(data)) if name == b"PLTE"]
    assert len(table) == 3 * len(seen)


def test_metadata_stay_with_a_palette(tmp_path: Path) -> None:
    picture = Image.fromarray(_of_colours(20))
    exif, packet = Image.Exif(), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF></rdf:RDF></x:xmpmeta>"
    exif[0x010E] = "A title"
    profile = Image.open(io.BytesIO(pictures.with_swapped_profile())).info["icc_profile"]
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True, exif=exif.tobytes(), xmp=packet, icc_profile=profile)
    data = _rendered(tmp_path, file.getvalue(), "PNG", palette=256, keep=frozenset({"exif", "xmp", "icc"}))
    made = Image.open(io.BytesIO(data))
    made.load()
    assert made.mode == "P"
    assert made.getexif()[0x010E] == "A title"
    assert b"adobe:ns:meta/" in made.info["xmp"]
    assert made.info["icc_profile"] == profile


# GIF


def _tables_and_indices(data: bytes) -> Iterator[tuple[int, list[int], int | None]]:
    """For each frame of a GIF how many colours its table has, its indices, and which one is transparent.

    Read here by the specification (GIF89a, sections 17 to 26 and appendix F), apart from what the project has.
    """
    flags, at, clear = data[10], 13, None
    shared = 2 << (flags & 7) if flags & 0x80 else 0
    at += 3 * shared
    while data[at] != 0x3B:
        if data[at] == 0x21:
            if data[at + 1] == 0xF9:
                clear = data[at + 6] if data[at + 3] & 1 else None
            at += 2
        else:
            width, height, flags = struct.unpack_from("<HHB", data, at + 5)
            own = 2 << (flags & 7) if flags & 0x80 else 0
            at += 10 + 3 * own
            least, at = data[at], at + 1
            indices = _decoded(b"".join(_blocks(data, at)), least)
            assert len(indices) == width * height
            yield own or shared, indices, clear
            clear = None
        at += sum(len(block) + 1 for block in _blocks(data, at)) + 1


def _blocks(data: bytes, at: int) -> Iterator[bytes]:
    while data[at]:
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]


def _decoded(data: bytes, least: int) -> list[int]:
    stream, position, clear = int.from_bytes(data, "little"), 0, 1 << least
    table: list[list[int]] = []
    found: list[int] = []
    width, before = least + 1, None
    while True:
        code = stream >> position & (1 << width) - 1
        position += width
        assert position <= 8 * len(data)
        if code == clear:
            table, width, before = [[number] for number in range(clear)] + [[], []], least + 1, None
            continue
        if code == clear + 1:
            return found
        if before is not None and len(table) < 4096:
            table.append([*before, (table[code] if code < len(table) else before)[0]])
        before = table[code]
        found += before
        if len(table) == 1 << width and width < 12:
            width += 1


def test_no_index_is_beyond_its_table(tmp_path: Path) -> None:
    for count in (*range(1, 35), 63, 64, 65, 127, 128, 129, 254, 255, 256):
        source = _of_colours(count)[:20]
        for data in (pictures.saved(Image.fromarray(source), "PNG"), _animation([source, source[::-1]])):
            made = _rendered(tmp_path, data, "GIF")
            for size, indices, clear in _tables_and_indices(made):
                assert max(indices) < size <= max(2, 2 * count + 2) and (clear is None or clear < size), count
            assert numpy.array_equal(_frames(made)[0][:, :, :3], source), count


def _repetitive() -> numpy.ndarray:
    """A text of few words, as large as a page."""
    page = Image.new("RGB", (800, 600), "white")
    for line in range(40):
        ImageDraw.Draw(page).text((10, 15 * line), "The quick brown fox jumps over the lazy dog. " * 3, fill=(9, 9, 9))
    return numpy.asarray(page)


def _cleared_when_full(indices: list[int], bits: int) -> int:
    """How many bytes LZW takes with a table that is cleared as soon as it is full."""
    total = width = bits + 1
    table: dict[tuple[int, ...], int] = {}
    string: tuple[int, ...] = ()
    for index in indices:
        if not string or (*string, index) in table:
            string = (*string, index)
            continue
        total += width
        table[*string, index] = len(table) + (1 << bits) + 2
        width = min(12, max(width, (len(table) + (1 << bits) + 1).bit_length()))
        if len(table) + (1 << bits) + 2 == 4096:
            total, table, width = total + 12, {}, bits + 1
        string = (index,)
    return (total + 2 * width + 7) // 8


def test_a_full_table_is_kept_where_that_is_smaller(tmp_path: Path) -> None:
    source = _repetitive()
    made = _rendered(tmp_path, pictures.saved(Image.fromarray(source), "PNG"), "GIF")
    assert numpy.array_equal(_frames(made)[0][:, :, :3], source)
    [(size, indices, _)] = _tables_and_indices(made)
    assert len(made) < 0.9 * _cleared_when_full(indices, max(2, (size - 1).bit_length()))


@pytest.mark.parametrize("count", [2, 7, 40, 256])
def test_what_a_full_table_writes_is_read_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(lzw, "_REPETITIVE", 100)  # so that noise is encoded in the same way
    chance = numpy.random.default_rng(count)
    colours = chance.integers(0, 256, (count, 3), numpy.uint8)
    tiles, noise = numpy.tile(chance.integers(0, count, (9, 40)), (5, 6)), chance.integers(0, count, (90, 240))
    numbers = numpy.concatenate([tiles, noise, tiles])
    source = colours[numbers]
    made = _rendered(tmp_path, pictures.saved(Image.fromarray(source), "PNG"), "GIF")
    [_] = _tables_and_indices(made)
    assert numpy.array_equal(_frames(made)[0][:, :, :3], source)
    loaded = pyvips.Image.new_from_buffer(made, "", fail_on="warning").numpy()
    assert numpy.array_equal(loaded[:, :, :3], source)


def test_a_still_with_holes(tmp_path: Path) -> None:
    source = numpy.dstack([_of_colours(30), numpy.full((_SIDE, _SIDE), 255, numpy.uint8)])
    source[10:20, 5:30, 3] = [[0, 127, 128, 255, 1] * 5] * 10
    [made] = _frames(_rendered(tmp_path, pictures.saved(Image.fromarray(source), "PNG"), "GIF"))
    assert numpy.array_equal(made[:, :, 3], numpy.where(source[:, :, 3] < 128, 0, 255))
    assert numpy.array_equal(made[:, :, :3] * (made[:, :, 3:] > 0), source[:, :, :3] * (source[:, :, 3:] > 127))


def _moving() -> list[numpy.ndarray]:
    """Before a photograph that stands still, a red box moves; the photograph has far more colours than a palette."""
    photograph = numpy.asarray(pictures.colour().resize((240, 160)))
    frames = []
    for index in range(6):
        frame = photograph.copy()
        frame[40:80, 20 + 20 * index : 60 + 20 * index] = 230, 20, 40
        frames.append(frame)
    return frames


def _share_that_flickers(made: Sequence[numpy.ndarray], wanted: Sequence[numpy.ndarray]) -> float:
    changed = still = 0
    for index in range(1, len(made)):
        same = (wanted[index] == wanted[index - 1]).all(-1)
        still += int(same.sum())
        changed += int(((made[index] != made[index - 1]).any(-1) & same).sum())
    assert still
    return changed / still


@pytest.mark.parametrize("ahead", [None, 2 * 120 * 80])
def test_what_stands_still_is_steady(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int | None) -> None:
    if ahead:  # so that a palette serves two frames only
        monkeypatch.setattr(gif_writer, "_AHEAD", ahead)
    source = _animation(_moving())
    wanted = _frames(_rendered(tmp_path, source, "WEBP", width=120, lossless=True))
    made = _frames(_rendered(tmp_path, source, "GIF", width=120))
    assert len(made) == len(wanted) == 6
    assert _share_that_flickers(made, wanted) == 0
    for one, other in zip(made, wanted, strict=True):
        assert abs(one.astype(int) - other).mean() < 4


def test_an_animation_shares_its_palette(tmp_path: Path) -> None:
    made = _rendered(tmp_path, _animation(_moving()), "GIF", width=120)
    assert len(list(_tables_and_indices(made))) == 6
    assert made.count(b"\x21\xf9\x04") == 6
    assert [size for size, _, _ in _tables_and_indices(made)] == [256] * 6
    assert len(made) < 256 * 3 + 120 * 80 * 2.5  # one palette, and the photograph once


@pytest.mark.parametrize("count", [200, 255, 256])
def test_palettes_of_frames_stay_exact(tmp_path: Path, count: int) -> None:
    frames = [_of_colours(count, seed) for seed in (1, 2, 3)]
    made = _frames(_rendered(tmp_path, _animation(frames), "GIF"))
    assert all(numpy.array_equal(one[:, :, :3], other) for one, other in zip(made, frames, strict=True))


def test_what_vanishes_is_gone(tmp_path: Path) -> None:
    full = numpy.dstack([_of_colours(20), numpy.full((_SIDE, _SIDE), 255, numpy.uint8)])
    empty, part, other = numpy.zeros_like(full), full.copy(), full[::-1].copy()
    part[10:30, 12:20] = 0
    other[:, :5] = 0
    frames = [empty, full, part, empty, other, part]
    made = _frames(_rendered(tmp_path, _animation(frames), "GIF"))
    assert len(made) == len(frames)
    for index, (one, wanted) in enumerate(zip(made, frames, strict=True)):
        assert numpy.array_equal(one, wanted), index


@pytest.mark.parametrize("loop", [0, 1, 3])
def test_every_frame_keeps_its_time(tmp_path: Path, loop: int) -> None:
    times = [100, 20, 70, 1000, 16]
    frames = [_of_colours(9, seed) for seed in range(5)]
    made = Image.open(io.BytesIO(_rendered(tmp_path, _animation(frames, times, loop), "GIF")))
    found = []
    for index in range(pictures.frame_count(made)):
        made.seek(index)
        found.append(made.info["duration"])
    assert found == [100, 20, 70, 1000, 20]
    assert made.info.get("loop", -1) == {0: 0, 1: -1, 3: 2}[loop]


def test_frames_that_are_the_same_are_not_joined(tmp_path: Path) -> None:
    pixels = numpy.arange(64, dtype=numpy.uint8).reshape(8, 8)
    source = animations.gif([animations.Frame(pixels, duration=time) for time in (50, 60, 70)], size=(8, 8))
    made = _rendered(tmp_path, source, "GIF", width=4)
    assert [len(indices) for _, indices, _ in _tables_and_indices(made)] == [16, 1, 1]
    assert [made[at + 4] for at in range(len(made)) if made[at : at + 3] == b"\x21\xf9\x04"] == [5, 6, 7]


def test_a_palette_of_an_animation_has_no_colours_to_spare(tmp_path: Path) -> None:
    """Soft edges between two colours have hundreds of shades, of which far fewer look the same."""
    frames = []
    for index in range(5):
        mask = Image.new("L", (400, 300))
        ImageDraw.Draw(mask).ellipse((40 + 30 * index, 20, 240 + 30 * index, 220), fill=255)
        soft = numpy.asarray(mask.resize((200, 150), Image.Resampling.LANCZOS))[:, :, None] / 255
        frames.append(numpy.rint([20, 40, 160] + soft * [230, 180, 60]).clip(0, 255).astype(numpy.uint8))
    frames[0][:40, :40] = numpy.random.default_rng(1).integers(198, 202, (40, 40, 3))  # more than 256 in all
    source = _animation(frames)
    wanted = _frames(_rendered(tmp_path, source, "WEBP", width=150, lossless=True))
    data = _rendered(tmp_path, source, "GIF", width=150)
    assert data[10] & 7 < 7, "at most 128 colours"
    for one, other in zip(_frames(data), wanted, strict=True):
        assert ((one.astype(float) - other) ** 2).mean() ** 0.5 < 2


def test_a_palette_is_as_small_as_is_asked_for(tmp_path: Path) -> None:
    for colours in (2, 3, 20):
        made = _rendered(tmp_path, _animation(_moving()), "GIF", width=60, palette=colours)
        seen = numpy.concatenate([frame.reshape(-1, 4) for frame in _frames(made)])
        assert len(numpy.unique(seen, axis=0)) <= colours
        assert all(max(indices) < colours for _, indices, _ in _tables_and_indices(made))


def test_a_process_that_may_load_nothing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "_state", {"sealed": True})
    monkeypatch.setattr(gif._writer, "_loaded", None)
    with pytest.raises(LibraryNotLoaded, match="gif_writer"):
        _rendered(tmp_path, pictures.saved(pictures.colour(), "PNG"), "GIF")
