"""One image of every kind of pixels in every writable format, through the real server, read back by other decoders."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import magic
import numpy
import pypdfium2
import pytest
from PIL import Image

from progimage.engine import FORMATS
from tests import pictures
from tests.integration.server import Server, serving

WRITABLE = [format for format in FORMATS.values() if format.can_write]
EXTENSIONS = [extension for format in WRITABLE for extension in format.extensions]
# What libmagic has another name for, or none (it then says octet-stream, or text for XBM, which is C source).
MAGIC_SAYS = {
    "image/x-portable-graymap": {"image/x-portable-greymap", "image/x-portable-graymap"},
    "image/x-portable-anymap": {
        "image/x-portable-bitmap", "image/x-portable-greymap", "image/x-portable-graymap", "image/x-portable-pixmap",
    },
    "image/x-xbitmap": {"text/plain", "text/x-c", "image/x-xbitmap"},
    "image/sgi": {"application/octet-stream", "image/sgi", "image/x-sgi"},
    "image/vnd.ms-dds": {"application/octet-stream", "image/vnd.ms-dds", "image/x-dds"},
    "image/x-ms-bmp": {"image/x-ms-bmp", "application/octet-stream", "image/bmp"},
    "image/x-pcx": {"image/x-pcx", "image/vnd.zbrush.pcx"},
    "image/x-icns": {"image/x-icns", "image/icns"},
    "image/vnd.microsoft.icon": {"image/vnd.microsoft.icon", "image/x-icon"},
    "image/png": {"image/png", "image/apng", "image/vnd.mozilla.apng"},
    "image/heic": {"image/heic", "image/heif"},
    "image/x-jp2-codestream": {"image/x-jp2-codestream", "application/octet-stream", "image/j2c"},
}  # fmt: skip
NO_MAGIC = {"BLP", "IM", "MSP", "PALM", "PFM", "SPIDER"}


@pytest.fixture(scope="module")
def references(server: Server) -> dict[str, str]:
    return {mode: server.put(make()) for mode, make in pictures.BY_MODE.items()}


def decode_independently(extension: str, data: bytes) -> Image.Image:
    """Decode with something other than what wrote it, where there is such a thing."""
    if extension in DECODERS:
        array = numpy.asarray(DECODERS[extension](data))
        if array.dtype == numpy.uint16:
            array = (array / (257 if array.max() > 1023 else 4)).astype(numpy.uint8)
        if array.ndim == 3 and array.shape[2] == 2:
            return Image.merge("LA", [Image.fromarray(array[:, :, band].astype(numpy.uint8)) for band in (0, 1)])
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[:, :, 0]
        return Image.fromarray(numpy.ascontiguousarray(array.astype(numpy.uint8)))
    if extension == "pdf":
        return pypdfium2.PdfDocument(data)[0].render(scale=1).to_pil()
    if extension == "palm":
        return _read_palm(data)
    if extension in ("eps", "ps"):
        return _read_eps(data)
    if extension == "msp":
        return _read_msp(data)
    if extension in ("spider", "spi"):
        return _read_spider(data)
    if extension == "pam":
        return _read_pam(data)
    return pictures.open_bytes(data)


_DECODERS: dict[str, Callable[[bytes], Any] | None] = {
    "avif": imagecodecs.avif_decode,
    "avifs": imagecodecs.avif_decode,
    "bmp": imagecodecs.bmp_decode if hasattr(imagecodecs, "bmp_decode") else None,
    "jpg": imagecodecs.jpeg8_decode,
    "jpeg": imagecodecs.jpeg8_decode,
    "j2k": imagecodecs.jpeg2k_decode,
    "jp2": imagecodecs.jpeg2k_decode,
    "jxl": imagecodecs.jpegxl_decode,
    "png": imagecodecs.png_decode,
    "qoi": imagecodecs.qoi_decode,
    "webp": imagecodecs.webp_decode,
}
DECODERS = {extension: decoder for extension, decoder in _DECODERS.items() if decoder}


def _read_palm(data: bytes) -> Image.Image:
    width, height, row_bytes, flags, bits, version, _, _, _ = struct.unpack(">HHHHBBHBB", data[:14])
    assert version in (0, 1)
    at, palette = 16, {}
    if flags & 0x4000:
        (colours,) = struct.unpack(">H", data[16:18])
        palette = {data[18 + 4 * i]: data[19 + 4 * i : 22 + 4 * i] for i in range(colours)}
        at = 18 + 4 * colours
    picture = Image.new("RGB", (width, height))
    for y in range(height):
        row = data[at + y * row_bytes : at + (y + 1) * row_bytes]
        for x in range(width):
            if bits == 8:
                picture.putpixel((x, y), tuple(palette[row[x]]))
            elif not row[x // 8] >> (7 - x % 8) & 1:
                picture.putpixel((x, y), (255, 255, 255))
    return picture


def _read_eps(data: bytes) -> Image.Image:
    """Read the one kind of EPS that is written: the pixels as hexadecimal digits between two PostScript operators."""
    text = data.decode("latin-1")
    width, height = (int(n) for n in text.partition("%%BoundingBox: 0 0 ")[2].split()[:2])
    digits = text.partition("image\n")[2].partition("\n%%%%EndBinary")[0]
    samples = bytes.fromhex("".join(character for character in digits if character in "0123456789abcdefABCDEF"))
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[len(samples) // (width * height)]
    return Image.frombytes(mode, (width, height), samples[: width * height * len(mode)])


def _read_pam(data: bytes) -> Image.Image:
    """The portable arbitrary map (the manual of Netpbm)."""
    head, _, samples = data.partition(b"ENDHDR\n")
    said = dict(line.split(None, 1) for line in head.splitlines()[1:])
    size, deep = (int(said[b"WIDTH"]), int(said[b"HEIGHT"])), said[b"MAXVAL"].strip() == b"65535"
    array = numpy.frombuffer(samples, ">u2" if deep else "u1").reshape(size[1], size[0], int(said[b"DEPTH"]))
    eight = (array // 257 if deep else array * (255 // int(said[b"MAXVAL"]))).astype(numpy.uint8)
    return Image.fromarray(eight[:, :, 0] if eight.shape[2] == 1 else eight)


def _read_msp(data: bytes) -> Image.Image:
    assert data[:4] == b"DanM"
    width, height = struct.unpack("<HH", data[4:8])
    return Image.frombytes("1", (width, height), data[32:])


def _read_spider(data: bytes) -> Image.Image:
    header = struct.unpack("<27f", data[:108])
    height, width, header_bytes = int(header[1]), int(header[11]), int(header[21])
    values = struct.unpack(f"<{width * height}f", data[header_bytes:])
    return Image.frombytes(
        "L", (width, height), bytes(round(value * (1 if max(values) > 1 else 255)) for value in values)
    )


def expected(mode: str, extension: str) -> Image.Image:
    """What a person would see: the picture, on white, in grey or in black and white if the format has no more."""
    source = pictures.colour()
    if "A" in mode and mode != "LAB":
        source = pictures.transparent()
    if mode == "P-transparent":
        source = pictures.open_bytes(pictures.BY_MODE[mode]()).convert("RGBA")
    return source


def flattened(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        values = picture.convert("F")
        high = float(numpy.asarray(values).max())
        picture = values.point(lambda v: v * (255 / (65535 if high > 255 else 255 if high > 1 else 1))).convert("L")
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


GREY_SOURCES = {"L", "LA", "F", "I;16", "1"}
GREY_TARGETS = {"pgm", "pfm", "spider", "spi"}
BLACK_AND_WHITE = {"msp", "pbm", "xbm"}


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_mode_in_every_format(server: Server, references: dict[str, str], extension: str) -> None:
    format = next(row for row in WRITABLE if extension in row.extensions)
    for mode, reference in references.items():
        answer = server.get(f"{reference}.{extension}")
        assert answer.status_code == 200, (mode, answer.text)
        assert answer.headers["content-type"] == format.media_type
        says = magic.from_buffer(answer.content, mime=True)
        if format.name not in NO_MAGIC:
            assert says in MAGIC_SAYS.get(format.media_type, {format.media_type}), (mode, says)
        picture = decode_independently(extension, answer.content)
        if format.name == "ICNS":
            picture = picture.crop((0, picture.height // 8, picture.width, picture.height - picture.height // 8))
            picture = picture.resize(pictures.SIZE)
        assert picture.size == pictures.SIZE, mode
        shown, wanted = flattened(picture), flattened(expected(mode, extension))
        if mode in GREY_SOURCES or extension in GREY_TARGETS | BLACK_AND_WHITE:
            shown, wanted = shown.convert("L"), wanted.convert("L")
        if mode == "1" or extension in BLACK_AND_WHITE:  # dithered: alike from afar
            shown, wanted = (image.reduce(8) for image in (shown, wanted))
        limit = 60 if "CMYK" in mode else 40 if extension in BLACK_AND_WHITE or mode == "1" else 14
        if extension in GREY_TARGETS:
            limit = 20  # Pillow weighs the gamma-encoded samples, libvips the light
        if extension == "gif" and "A" in mode and mode != "LAB":
            limit = 60  # its alpha is all or nothing
        assert pictures.difference(shown, wanted) < limit, mode


def test_16_bits_are_kept_where_the_format_has_them(server: Server, references: dict[str, str]) -> None:
    original = imagecodecs.png_decode(pictures.BY_MODE["RGBA;16"]())
    assert original.dtype == numpy.uint16
    reference = references["RGBA;16"]
    tiff = server.get(f"{reference}.tiff").content
    again = server.get(f"{server.put(tiff)}.png").content
    assert (imagecodecs.png_decode(again) == original).all()
    rgb = references["RGB;16"]
    assert server.get(f"{rgb}.ppm").content.startswith(b"P6\n64 48\n65535\n")
    for extension in ("heic", "avif"):
        kept = server.get(f"{rgb}.{extension}").content
        assert server.get(f"{server.put(kept)}/info").json()["bit_depth"] == 10, extension
    grey = references["I;16"]
    for extension in ("png", "tiff", "pgm", "jp2", "j2k", "jxl", "im"):
        info = server.get(f"{server.put(server.get(f'{grey}.{extension}').content)}/info").json()
        assert info["bit_depth"] == 16, extension


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "webp", "bmp", "avif", "heic", "tiff", "pdf"])
def test_orientation_is_applied(server: Server, orientation: int, extension: str) -> None:
    reference = server.put(pictures.oriented(orientation))
    answer = server.get(f"{reference}.{extension}")
    picture = decode_independently(extension, answer.content)
    if extension not in ("pdf", "avif"):
        assert pictures.open_bytes(answer.content).getexif().get(0x0112, 1) == 1
    assert pictures.difference(picture, pictures.colour()) < 12


@pytest.mark.parametrize("extension", ["jpeg", "png", "webp", "tiff", "avif", "heic", "mpo"])
def test_profiles_are_kept(server: Server, extension: str) -> None:
    reference = server.put(pictures.with_swapped_profile("PNG" if extension == "jpeg" else "JPEG"))
    picture = pictures.open_bytes(server.get(f"{reference}.{extension}").content)
    assert picture.info["icc_profile"]
    assert pictures.pixel(picture.convert("RGB"), (5, 5))[0] > 240


@pytest.mark.parametrize("extension", ["bmp", "gif", "jxl", "jp2", "tga", "ppm", "qoi", "ico", "pdf"])
def test_profiles_are_applied_where_they_cannot_be_kept(server: Server, extension: str) -> None:
    reference = server.put(pictures.with_swapped_profile())
    picture = decode_independently(extension, server.get(f"{reference}.{extension}").content)
    red, green, _ = pictures.pixel(picture.convert("RGB"), (5, 5))
    assert green > 200 and red < 80


ANIMATED = {"GIF": "gif", "WEBP": "webp", "PNG": "apng", "AVIF": "avif"}


@pytest.mark.parametrize("source", ANIMATED)
@pytest.mark.parametrize("target", ANIMATED)
def test_animations_stay_animations(server: Server, source: str, target: str) -> None:
    options = {} if source == "AVIF" else {"loop": 0}
    reference = server.put(pictures.animation(source, **options))
    info = server.get(f"{reference}/info").json()
    assert info["animated"] and info["frames"] == 4 and info["duration"] == 700
    picture = pictures.open_bytes(server.get(f"{reference}.{ANIMATED[target]}").content)
    assert pictures.frame_count(picture) == 4
    durations = []
    for index in range(4):
        picture.seek(index)
        picture.load()
        durations.append(picture.info["duration"])
        red, _, blue = pictures.pixel(picture.convert("RGB"), (60, 44))
        assert abs(red - 40 * index) < 25 and abs(blue - (200 - 30 * index)) < 25
    assert durations == [100, 150, 200, 250]
    if target != "AVIF":
        assert picture.info.get("loop") == 0
    still = pictures.open_bytes(server.get(f"{reference}.{ANIMATED[target]}?page=3").content)
    assert getattr(still, "n_frames", 1) == 1
    assert abs(pictures.pixel(still.convert("RGB"), (60, 44))[0] - 80) < 25


@pytest.mark.parametrize("plays", [1, 3])
def test_loop_counts(server: Server, plays: int) -> None:
    options = {} if plays == 1 else {"loop": plays - 1}
    reference = server.put(pictures.animation("GIF", **options))
    for extension in ("webp", "png"):
        data = server.get(f"{reference}.{extension}").content
        assert pictures.open_bytes(data).info["loop"] == plays
        back = pictures.open_bytes(server.get(f"{server.put(data)}.gif").content)
        assert back.info.get("loop") == options.get("loop")


def test_a_transparent_animation_stays_transparent(server: Server) -> None:
    frames = [Image.new("RGBA", (40, 40)) for _ in range(3)]
    for index, frame in enumerate(frames):
        frame.paste((255, 0, 0, 255), (10 * index, 10 * index, 10 * index + 10, 10 * index + 10))
    data = pictures.saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0, disposal=2)
    reference = server.put(data)
    for extension in ("webp", "apng", "avif"):
        answer = server.get(f"{reference}.{extension}").content
        again = server.get(f"{server.put(answer)}.gif").content
        for data in (answer, again):
            picture = pictures.open_bytes(data)
            for index in range(3):
                picture.seek(index)
                shown = picture.convert("RGBA")
                assert pictures.pixel(shown, (10 * index + 5, 10 * index + 5))[3] > 200, (extension, index)
                assert pictures.pixel(shown, (35, 2))[3] < 60
                assert pictures.pixel(shown, (5, 5))[3] < 60 or index == 0


def test_pages(server: Server) -> None:
    reference = server.put(pictures.pages())
    info = server.get(f"{reference}/info").json()
    assert info["frames"] == 3 and not info["animated"]
    assert len(pypdfium2.PdfDocument(server.get(f"{reference}.pdf").content)) == 3
    first = pictures.open_bytes(server.get(f"{reference}.png").content)
    assert first.size == (60, 40) and getattr(first, "n_frames", 1) == 1
    third = pictures.open_bytes(server.get(f"{reference}.png?page=3").content)
    assert third.size == (80, 40) and pictures.pixel(third.convert("RGB"), (5, 5))[0] == 140
    assert len(pypdfium2.PdfDocument(server.get(f"{reference}.pdf?page=2").content)) == 1
    assert server.get(f"{reference}.png?page=4").status_code == 400


def test_an_icon_has_pages_by_size(server: Server) -> None:
    reference = server.put(pictures.saved(pictures.transparent((64, 64)), "ICO", sizes=[(16, 16), (64, 64), (32, 32)]))
    sizes = [pictures.open_bytes(server.get(f"{reference}.png?page={n}").content).size for n in (1, 2, 3)]
    assert sizes == [(64, 64), (32, 32), (16, 16)]
    assert pictures.open_bytes(server.get(f"{reference}.png").content).size == (64, 64)


def test_svg(server: Server) -> None:
    picture = pictures.open_bytes(server.get(f"{server.put(pictures.SVG)}.png").content).convert("RGB")
    assert picture.size == (64, 48) and picture.getpixel((20, 20)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (257, 5)])
def test_small_and_thin_images(server: Server, size: tuple[int, int]) -> None:
    reference = server.put(pictures.saved(Image.new("RGB", size, (200, 30, 30)), "PNG"))
    for format in WRITABLE:
        answer = server.get(f"{reference}.{format.extensions[0]}")
        assert answer.status_code == 200, (format.name, answer.text)


def test_too_large_for_the_format(server: Server) -> None:
    reference = server.put(pictures.saved(Image.new("L", (17_000, 3)), "PNG"))
    answer = server.get(f"{reference}.webp")
    assert answer.status_code == 400 and "16383" in answer.json()["detail"]


def test_every_readable_format_of_ours_converts_to_png(server: Server, references: dict[str, str]) -> None:
    for format in WRITABLE:
        if format.can_read:
            data = server.get(f"{references['RGB']}.{format.extensions[0]}").content
            reference = server.put(data)
            info = server.get(f"{reference}/info").json()
            assert info["format"] == {"PNM": "PPM", "MPO": "JPEG"}.get(format.name, format.name)
            assert pictures.open_bytes(server.get(f"{reference}.png").content).size
            assert io.BytesIO(server.get(reference).content).read() == data


def test_a_codec_that_is_seldom_needed_is_loaded_when_it_is(tmp_path: Path) -> None:
    data = {
        name: pictures.saved(pictures.colour((300, 200)), name, **options)
        for name, options in (("JXL", {"effort": 1}), ("PNG", {}))
    }
    with serving(tmp_path / "data") as server:
        for _ in range(2):  # with workers that have not got it, and with those that have
            for name, one in data.items():
                reference = server.put(one)
                assert server.get(f"{reference}.png?width=100").status_code == 200, name
        assert server.log().count("a rarely used library is loaded") == 1
