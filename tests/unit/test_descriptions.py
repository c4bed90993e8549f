"""What a file is by its header, and that its pixels follow that, whatever the format; files are made here."""

import io
import struct
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pypdfium2
import pytest
import pyvips
from PIL import Image, ImageCms

from progimage.engine import FORMATS, InvalidParameter, RenditionSpec
from tests import pictures
from tests.files import File
from tests.programs import needs
from tests.unit.test_png_header import ADOBE, CICP_P3, chunk

RED, GREEN, BLUE, CLEAR = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>%d</tiff:Orientation></x:xmpmeta>'
PQ_WHITE = 148
"""The code of 203 cd/m² in 8 bits of PQ (BT.2408)."""


class Made(File):
    """A file, and the pixels that become of it."""

    def picture(self, spec: str = "PNG") -> Image.Image:
        picture = Image.open(io.BytesIO(self.bytes(spec)))
        picture.load()
        return picture

    def array(self, spec: str = "PNG", mode: str = "RGB") -> np.ndarray:
        return np.asarray(self.picture(spec).convert(mode)).astype(int)

    def frames(self, spec: str = "PNG") -> list[np.ndarray]:
        data = self.bytes(spec)
        if data.startswith(b"GIF"):  # of which Pillow does not dispose as browsers do
            tall = pyvips.Image.gifload_buffer(data, n=-1)
            pixels = (tall if tall.hasalpha() else tall.addalpha()).numpy().astype(int)
            return list(pixels.reshape(-1, tall.get("page-height"), *pixels.shape[1:]))
        picture, found = Image.open(io.BytesIO(data)), []
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            found.append(np.asarray(picture.convert("RGBA")).astype(int))
        return found


@pytest.fixture
def made(tmp_path: Path) -> Callable[[bytes], Made]:
    return lambda data: Made(tmp_path, data)


# PNG: colours, and EXIF and XMP behind the pixels


def png(picture: Image.Image, *chunks: tuple[bytes, bytes], behind: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Write a picture with chunks of its own before and behind the pixels."""
    data = pictures.saved(picture, "PNG")
    head, pixels, end = data[:33], data[33:-12], data[-12:]
    return head + b"".join(chunk(*one) for one in chunks) + pixels + b"".join(chunk(*one) for one in behind) + end


@pytest.mark.parametrize(("gamma", "grey"), [(1.0, 168), (1 / 1.6, 130), (1 / 2.2, 100)])
def test_gamma_is_applied(made, gamma: float, grey: int) -> None:
    data = png(Image.new("L", (8, 8), 100), (b"gAMA", struct.pack(">I", round(gamma * 100_000))))
    assert made(data).array("PNG?strip=true")[0, 0] == pytest.approx([grey] * 3, abs=1)


def test_primaries_are_converted_or_kept_in_a_profile(made) -> None:
    gamma = b"gAMA", struct.pack(">I", 45455)
    file = made(png(Image.new("RGB", (8, 8), (0, 255, 0)), gamma, ADOBE))
    assert file.info.primaries == "Adobe RGB" and file.info.transfer == "gamma 2.2"
    assert file.array("PNG?profile=srgb")[0, 0] == pytest.approx((0, 255, 0), abs=1)  # out of the gamut
    kept = file.picture("PNG?effort=6")
    assert kept.getpixel((0, 0)) == (0, 255, 0) and b"A\0d\0o\0b\0e" in kept.info["icc_profile"]


def test_code_points_go_before_a_profile(made) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = made(png(Image.new("RGB", (8, 8), (234, 51, 35)), CICP_P3, (b"iCCP", b"x\0\0" + zlib.compress(profile))))
    assert (file.info.primaries, file.info.transfer, file.info.hdr) == ("P3", "sRGB", False)
    assert file.array("PNG?profile=srgb")[0, 0] == pytest.approx((255, 0, 0), abs=1)


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("kind", ["exif", "xmp"])
def test_an_orientation_counts_wherever_a_png_has_it(made, kind: str, behind: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % 6
    one = (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) if kind == "exif" else (b"iTXt", text)
    picture = pictures.colour((60, 40))
    file = made(png(picture, *([] if behind else [one]), behind=[one] if behind else []))
    assert (file.info.orientation, file.info.upright) == (6, (40, 60))
    assert np.array_equal(file.array("PNG?effort=6"), np.asarray(picture.transpose(Image.Transpose.ROTATE_270)))
    for keep in ("exif", "xmp", "exif,xmp"):
        again = made(file.bytes(f"PNG?effort=6&keep={keep}"))
        assert again.info.upright == (40, 60) and again.info.orientation == 1


# HDR


def hdr_png(level: int) -> bytes:
    return png(Image.new("RGB", (8, 8), (level,) * 3), (b"cICP", bytes([9, 16, 0, 1])))


def test_reference_white_becomes_white(made) -> None:
    file = made(hdr_png(PQ_WHITE))
    assert file.info.hdr and (file.info.primaries, file.info.transfer) == ("BT.2020", "PQ") and file.info.warnings
    for spec in ("PNG?depth=8", "JPEG", "WEBP?width=4"):
        assert file.array(spec).min() >= 250


def test_greys_of_hdr_stay_grey_and_in_order(made) -> None:
    levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(8, 0).repeat(3, 2)
    for transfer in (16, 18):
        found = made(png(Image.fromarray(levels), (b"cICP", bytes([9, transfer, 0, 1])))).array("PNG?depth=8")
        assert np.ptp(found, axis=2).max() <= 1 and (np.diff(found[0, :, 1]) >= 0).all()
        assert found[0, 0, 0] == 0 and found[0, -1, 0] >= 254


@pytest.mark.parametrize("format", [name for name, one in FORMATS.items() if one.cicp])
@pytest.mark.parametrize("query", ["", "&width=4", "&rotate=90", "&crop=0,0,4,4", "&max_bytes=100000"])
def test_hdr_is_kept_if_asked_for(made, format: str, query: str) -> None:
    if "max_bytes" in query and not FORMATS[format].has("quality"):
        return
    again = made(made(hdr_png(100)).bytes(f"{format}?hdr=keep{query}"))
    assert (again.info.primaries, again.info.transfer, again.info.hdr) == ("BT.2020", "PQ", True)
    copied = (format, query) == ("PNG", "")  # whose samples have 8 bits
    assert again.info.bit_depth >= (8 if copied else 10)
    reference = made(hdr_png(100)).array("PNG?depth=8")[0, 0, 0]
    assert again.array("PNG?depth=8").mean() == pytest.approx(reference, abs=3)


@pytest.mark.parametrize(
    "query", ["text=a", "background=red", "tint=red", "sharpen=2", "depth=8", "strip=true", "profile=srgb"]
)
def test_what_needs_sdr_is_refused_together_with_hdr(query: str) -> None:
    with pytest.raises(InvalidParameter, match="hdr"):
        RenditionSpec.from_canonical(f"PNG?hdr=keep&{query}")


def test_only_formats_that_hold_hdr_keep_it() -> None:
    with pytest.raises(InvalidParameter, match="AVIF, HEIC, PNG"):
        RenditionSpec.from_canonical("JPEG?hdr=keep")


# Gain maps


@pytest.fixture
def gain_mapped(made) -> Made:
    """A JPEG whose right half a screen with headroom shows four times as bright."""
    light = np.full((64, 96, 3), 0.5, np.float32)
    light[:, 48:] *= 4
    return made(pyvips.Image.new_from_array(light).copy(interpretation="scrgb").uhdrsave_buffer(Q=95))


def shown(data: bytes) -> np.ndarray:
    """Return what a screen with headroom shows, as light where 1 is white."""
    return pyvips.Image.uhdrload_buffer(data).uhdr2scRGB().numpy()


def test_a_gain_map_is_no_second_picture(gain_mapped: Made) -> None:
    assert (gain_mapped.info.format, gain_mapped.info.frames, gain_mapped.info.gain_map) == ("JPEG", 1, True)
    assert gain_mapped.info.warnings


@pytest.mark.parametrize(
    ("query", "change"),
    [
        ("", lambda light: light),
        ("rotate=180", lambda light: light[::-1, ::-1]),
        ("flop=true", lambda light: light[:, ::-1]),
        ("width=48", lambda light: light[::2, ::2]),
        ("crop=32,0,64,64", lambda light: light[:, 32:]),
    ],
)
def test_a_jpeg_keeps_its_gain_map(gain_mapped: Made, query: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    wanted = change(shown(gain_mapped.path.read_bytes()))
    found = shown(gain_mapped.bytes(f"JPEG?quality=95&{query}"))
    assert found.shape == wanted.shape
    edges = np.abs(np.diff(wanted[..., 0], axis=1, prepend=wanted[:, :1, 0])) > 0.05
    calm = ~(edges | np.roll(edges, 3, 1) | np.roll(edges, -3, 1) | np.roll(edges, 1, 1) | np.roll(edges, -1, 1))
    assert np.abs(found - wanted)[calm].mean() < 0.05


@pytest.mark.parametrize("query", ["strip=true", "blur=2", "text=a", "profile=srgb"])
def test_it_goes_where_it_would_not_fit_or_is_not_wanted(made, gain_mapped: Made, query: str) -> None:
    assert not made(gain_mapped.bytes(f"JPEG?{query}")).info.gain_map


def test_it_is_applied_for_hdr(made, gain_mapped: Made) -> None:
    wanted = shown(gain_mapped.path.read_bytes())
    again = made(gain_mapped.bytes("PNG?hdr=keep"))
    assert again.info.hdr and again.info.transfer == "PQ"
    samples = pyvips.Image.new_from_file(str(again.path)).numpy() / 65535
    power = samples ** (32 / 2523)
    light = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (16384 / 2610) / 203
    assert np.abs(light[:, 4:40] - wanted[:, 4:40]).max() < 0.1 and np.abs(light[:, 56:] - wanted[:, 56:]).max() < 0.3


# GIF


def gif(size: tuple[int, int], *parts: bytes) -> bytes:
    """Put a file together; its table has red, green, blue and black."""
    table = bytes([*RED[:3], *GREEN[:3], *BLUE[:3], 0, 0, 0])
    loops = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0x81, 0, 0) + table + loops + b"".join(parts) + b";"


def part(left: int, top: int, indices: Sequence[Sequence[int]], disposal: int = 0, clear: int | None = None) -> bytes:
    """Make a frame; Pillow compresses it."""
    rows = np.array(indices, np.uint8)
    image = Image.fromarray(rows)
    image.putpalette(bytes(range(12)))
    data = pictures.saved(image, "GIF", interlace=0, optimize=False)
    at = data.rindex(b"," + struct.pack("<HHHH", 0, 0, rows.shape[1], rows.shape[0]))
    flags = data[at + 9]
    pixels = data[at + 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) : -1]
    control = b"\x21\xf9\x04" + bytes([disposal << 2 | (clear is not None), 10, 0, clear or 0, 0])
    return control + b"," + struct.pack("<HHHHB", left, top, rows.shape[1], rows.shape[0], 0) + pixels


@pytest.mark.parametrize(
    ("disposal", "left_behind"),
    [(0, GREEN), (1, GREEN), (2, CLEAR), (3, RED), (4, RED), (5, GREEN), (7, GREEN)],
)
def test_frames_are_disposed_of_as_in_a_browser(made, disposal: int, left_behind: tuple[int, ...]) -> None:
    file = made(
        gif((3, 1), part(0, 0, [[0, 0, 0]]), part(1, 0, [[1]], disposal), part(2, 0, [[2]]))
    )  # red; green in the middle; blue at the right
    for spec in ("PNG", "WEBP?lossless=true", "GIF?palette=256"):
        first, second, third = file.frames(spec)
        assert first.tolist() == [[[*RED]] * 3] if spec != "WEBP" else True
        assert second.tolist() == [[[*RED], [*GREEN], [*RED]]], spec
        wanted = [[*RED], [*left_behind], [*BLUE]]
        assert third[0, :, 3].tolist() == [pixel[3] for pixel in wanted], spec
        assert [pixel for pixel in third[0].tolist() if pixel[3]] == [pixel for pixel in wanted if pixel[3]], spec


def test_a_frame_does_not_enlarge_the_canvas(made) -> None:
    file = made(gif((2, 2), part(0, 0, [[0, 0], [0, 0]]), part(1, 1, [[1] * 5] * 4), part(9, 9, [[2]])))
    assert (file.info.width, file.info.height, file.info.frames, file.info.plays) == (2, 2, 3, 0)
    assert file.info.durations == (100, 100, 100)
    for spec in ("PNG", "GIF", "WEBP", "AVIF", "JPEG", "PNG?page=3"):
        assert file.picture(spec).size == (2, 2)
    assert file.array("PNG?page=2", "RGBA").tolist() == [[[*RED], [*RED]], [[*RED], [*GREEN]]]


# JPEG XL


def jxl(samples: np.ndarray, **options: Any) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(samples, lossless=True, numthreads=1, **options))


def test_all_frames_of_a_jpeg_xl_are_read_in_their_order(made) -> None:
    colours = np.array([RED, GREEN, BLUE], np.uint8)[:, None, None, :3].repeat(16, 1).repeat(24, 2)
    file = made(jxl(colours))
    assert (file.info.frames, file.info.animated, file.info.upright) == (3, True, (24, 16))
    assert [frame[0, 0].tolist() for frame in file.frames("PNG")] == [[*RED], [*GREEN], [*BLUE]]
    assert file.array("JPEG")[8, 8] == pytest.approx(RED[:3], abs=3)
    assert file.array("PNG?page=2")[0, 0].tolist() == [*GREEN[:3]]


def test_a_jpeg_xl_keeps_its_depth(made) -> None:
    samples = np.random.default_rng(3).integers(0, 65536, (12, 16, 3)).astype(np.uint16)
    file = made(jxl(samples))
    assert file.info.bit_depth == 16 and file.info.mode == "RGB16"
    file.bytes("PNG")
    found = pyvips.Image.new_from_file(str(file.path.with_name("target"))).numpy()
    light = samples / 65535  # which 16 bits are to libjxl's encoder
    wanted = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(found / 65535 - wanted).max() < 2e-5


# JPEG 2000


def jp2(samples: np.ndarray, colr: bytes = b"") -> bytes:
    """Write a file; in place of its colour space another box is put."""
    data = bytes(imagecodecs.jpeg2k_encode(samples, level=0, reversible=True))
    if not colr:
        return data
    at = data.index(b"colr") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    grown = len(colr) + 8 - size
    header = data.index(b"jp2h") - 4
    length = int.from_bytes(data[header : header + 4], "big") + grown
    box = (len(colr) + 8).to_bytes(4, "big") + b"colr" + colr
    return data[:header] + length.to_bytes(4, "big") + data[header + 4 : at] + box + data[at + size :]


def test_a_profile_in_jpeg_2000_is_applied(made) -> None:
    swapped = pictures.open_bytes(pictures.with_swapped_profile()).info["icc_profile"]
    samples = np.full((16, 16, 3), (255, 0, 0), np.uint8)  # which is green by this profile
    assert made(jp2(samples, b"\2\0\0" + swapped)).array("PNG?profile=srgb")[0, 0] == pytest.approx((0, 255, 0), abs=2)


def test_lab_in_jpeg_2000_is_read(made) -> None:
    lab = np.full((16, 16, 3), (round(53.24 * 2.55), round(80 * 255 / 170 + 128), round(67 * 255 / 200 + 96)), np.uint8)
    found = made(jp2(lab, b"\1\0\0" + struct.pack(">I", 14))).array("PNG?strip=true")[0, 0]
    assert found == pytest.approx((255, 0, 0), abs=14)  # sRGB's red, in D65's Lab


def test_jpeg_2000_keeps_its_depth(made) -> None:
    samples = np.random.default_rng(3).integers(0, 65536, (12, 16, 3)).astype(np.uint16)
    file = made(jp2(samples))
    assert file.info.bit_depth == 16 and file.bytes("PNG")
    assert np.array_equal(pyvips.Image.new_from_file(str(file.path.with_name("target"))).numpy(), samples)


# TIFF and PDF


GRADIENT = Image.fromarray(np.arange(250, dtype=np.uint8)[None].repeat(40, 0))
BILEVEL = Image.new("1", (50, 40), 1)


@pytest.mark.parametrize(
    "pages", [(GRADIENT, BILEVEL), (BILEVEL, GRADIENT), (pictures.colour((60, 40)), BILEVEL, GRADIENT)]
)
def test_every_page_keeps_its_kind_of_pixels(made, pages: tuple[Image.Image, ...]) -> None:
    first, *others = pages
    file = made(pictures.saved(first, "TIFF", save_all=True, append_images=others))
    again = Image.open(io.BytesIO(file.bytes("TIFF")))
    for number, page in enumerate(pages):
        again.seek(number)
        assert again.mode == page.mode and again.tobytes() == page.tobytes()
        one = file.picture(f"PNG?page={number + 1}")
        assert np.array_equal(np.asarray(one.convert("RGB")), np.asarray(page.convert("RGB")))
    document = pypdfium2.PdfDocument(file.bytes("PDF"))
    assert [tuple(map(round, page.get_size())) for page in document] == [page.size for page in pages]
    for page, wanted in zip(document, pages, strict=True):
        drawn = page.render(scale=1).to_numpy()[..., ::-1].astype(int)
        assert np.abs(drawn - np.asarray(wanted.convert("RGB"))).mean() < 6


def test_cmyk_in_floats_is_read(made) -> None:
    inks = np.zeros((16, 16, 4), np.float32)
    inks[..., 1:3] = 1  # magenta and yellow: red
    data = pyvips.Image.new_from_array(inks).copy(interpretation="cmyk").tiffsave_buffer()
    red, green, blue = made(data).array("PNG?strip=true")[0, 0]
    assert red > 200 and green < 80 and blue < 80


# AVIF and HEIC


def test_ten_bits_reach_white(made) -> None:
    white = pyvips.Image.new_from_array(np.full((32, 32, 3), 65535, np.uint16)).copy(interpretation="rgb16")
    file = made(white.heifsave_buffer(compression="av1", bitdepth=10, Q=95))
    assert file.info.bit_depth == 10 and file.bytes("PNG")
    assert pyvips.Image.new_from_file(str(file.path.with_name("target"))).min() >= 65535 - 70


def test_a_profile_in_a_description_is_the_one_that_counts(made) -> None:
    data = pictures.with_swapped_profile("AVIF")
    assert made(data).info.icc


def test_a_gif_that_ends_early_says_so(made) -> None:
    data = gif((2, 1), part(0, 0, [[0, 0]]), part(0, 0, [[1, 1]]))
    assert not made(data).info.warnings
    assert made(data[:-1]).info.warnings and made(data[:-1]).info.frames == 2


def test_premultiplied_alpha_of_ten_bits_is_divided(made, tmp_path: Path) -> None:
    needs("avifenc")
    source, target = tmp_path / "a.png", tmp_path / "a.avif"
    pixels = np.full((32, 32, 4), (200, 100, 50, 64), np.uint16) * 257
    pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16").pngsave(str(source))
    options = ["--min", "0", "--max", "2", "-y", "444", "-d", "10", "--premultiply"]
    subprocess.run(["avifenc", *options, source, target], check=True, capture_output=True)
    file = made(target.read_bytes())
    assert file.info.premultiplied
    assert file.array("PNG?depth=8", "RGBA")[16, 16] == pytest.approx((200, 100, 50, 64), abs=4)


def test_a_float_sample_beyond_white_changes_no_other(made) -> None:
    samples = np.full((8, 8, 3), 0.5, np.float32)
    wanted = made(jxl(samples)).array("PNG?depth=8")[0, 0]
    samples[7, 7] = 1.5
    assert made(jxl(samples)).array("PNG?depth=8")[0, 0] == pytest.approx(wanted, abs=1)
    values = np.full((8, 8), 0.5, np.float32)
    values[7, 7] = np.inf
    values[6, 6] = 1.01
    grey = pyvips.Image.new_from_array(values).tiffsave_buffer()
    assert made(grey).array("PNG?depth=8")[0, 0] == pytest.approx([128] * 3, abs=1)


def test_what_libvips_says_in_no_utf_8_harms_no_other_image(made) -> None:
    file = made(pictures.saved(pictures.colour((20, 10)), "PNG"))
    pyvips.vips_lib.vips_foreign_find_load(b"/nowhere/\xff")
    with pytest.raises(UnicodeDecodeError):
        raise pyvips.Error("")
    assert file.info.format == "PNG" and file.picture("WEBP?width=5").size[0] == 5
