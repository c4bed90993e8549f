"""Formats of many depths and of light: what their samples become. Files are made here, by encoders or byte by byte."""

import io
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import OpenEXR
import pytest
import pyvips
from PIL import Image

from progimage.engine import (
    CorruptImage,
    LimitExceeded,
    NotAnImage,
    UnreadKind,
)
from progimage.engine.codecs.unread import name_of_unread
from tests import pictures
from tests.files import File
from tests.programs import needs

HEIGHT, WIDTH = 24, 40
Array = np.ndarray[Any, Any]


class Made(File):
    """A file, and the pixels that become of it."""

    def array(self, spec: str = "PNG") -> Array:
        return np.asarray(imagecodecs.png_decode(self.bytes(spec))).astype(int)


def slopes(bits: int, channels: int = 3) -> Array:
    """A picture of which each channel reaches from black to white."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [x / (WIDTH - 1), y / (HEIGHT - 1), 1 - x / (WIDTH - 1), 1 - y / (HEIGHT - 1)][:channels]
    return np.round(np.stack(planes, -1) * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def scaled(values: Array, bits: int) -> Array:
    """What samples of so many bits are in 8 or 16, rounded."""
    white = 255 if bits <= 8 else 65535
    return np.floor(values.astype(float) * white / (2**bits - 1) + 0.5).astype(int)


def srgb(light: Array) -> Array:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 65535


# JPEG of 12 bits, lossless JPEG, JPEG-LS


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_jpeg_is_exact(tmp_path: Path, bits: int, channels: int) -> None:
    values = slopes(bits, channels).squeeze()
    made = Made(tmp_path, imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=bits))
    assert (made.info.format, made.info.bit_depth) == ("JPEG", bits)
    assert (made.array() == scaled(values, bits)).all()


def test_jpeg_of_12_bits(tmp_path: Path) -> None:
    values = slopes(12)
    made = Made(tmp_path, imagecodecs.jpeg8_encode(values, 98, bitspersample=12, subsampling="444"))
    assert (made.info.bit_depth, made.info.mode) == (12, "RGB16")
    assert np.abs(made.array() - scaled(values, 12)).max() < 65535 * 0.01


def test_exif_of_a_jpeg_of_12_bits_turns_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    data = imagecodecs.jpeg8_encode(slopes(12), lossless=True, bitspersample=12)
    made = Made(tmp_path, data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    assert made.info.orientation == 6
    assert (made.array() == np.rot90(scaled(slopes(12), 12), -1)).all()


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (16, 1), (16, 3)])
def test_jpeg_ls_is_exact(tmp_path: Path, bits: int, channels: int) -> None:
    values = slopes(bits, channels).squeeze()
    made = Made(tmp_path, imagecodecs.jpegls_encode(values))
    assert (made.info.format, made.info.media_type) == ("JPEG-LS", "image/jls")
    assert (made.array() == values).all()


def test_a_jpeg_ls_that_is_cut_off_is_refused_at_once(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64)).astype(np.uint8)
    began = time.process_time()
    for length in range(200, 3600, 100):
        with pytest.raises(CorruptImage):
            Made(tmp_path, imagecodecs.jpegls_encode(noise)[:length]).info  # noqa: B018
    assert time.process_time() - began < 3


def test_a_hierarchical_jpeg_is_refused_by_its_name(tmp_path: Path) -> None:
    data = bytearray(imagecodecs.jpeg8_encode(slopes(8), 90))
    data[data.index(b"\xff\xc0") + 1] = 0xC5
    with pytest.raises(NotAnImage, match="SOF5"):
        Made(tmp_path, bytes(data)).info  # noqa: B018


# HTJ2K, JPEG XR


@pytest.mark.parametrize("bits", [8, 16])
def test_high_throughput_jpeg_2000(tmp_path: Path, bits: int) -> None:
    made = Made(tmp_path, imagecodecs.htj2k_encode(slopes(bits)))
    assert (made.info.format, made.info.bit_depth) == ("HTJ2K", bits)
    assert (made.array() == slopes(bits)).all()


def test_other_jpeg_2000_is_not_taken_for_it(tmp_path: Path) -> None:
    assert Made(tmp_path, imagecodecs.jpeg2k_encode(slopes(8), codecformat="j2k")).info.format == "J2K"


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (8, 4), (16, 1), (16, 3), (16, 4)])
def test_jpeg_xr_is_exact(tmp_path: Path, bits: int, channels: int) -> None:
    values = slopes(bits, channels).squeeze()
    made = Made(tmp_path, imagecodecs.jpegxr_encode(values, 1.0))
    assert (made.info.format, made.info.alpha) == ("JXR", channels == 4)
    assert (made.array() == values).all()


_TURNS = {1: np.flipud, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: lambda a: np.rot90(a, -1)}


@pytest.mark.parametrize("transform", _TURNS)
def test_a_jpeg_xr_is_turned_as_it_says(tmp_path: Path, transform: int) -> None:
    data = bytearray(imagecodecs.jpegxr_encode(slopes(8), 1.0))
    data[data.index(b"\x02\xbc\x04\0\x01\0\0\0") + 8] = transform
    assert (Made(tmp_path, bytes(data)).array() == _TURNS[transform](slopes(8))).all()


def test_half_floats_of_jpeg_xr_are_light(tmp_path: Path) -> None:
    light = np.full((HEIGHT, WIDTH, 3), 0.5, np.float16)
    made = Made(tmp_path, imagecodecs.jpegxr_encode(light, 1.0))
    assert (made.info.floating, made.info.hdr, made.info.transfer) == (True, True, "linear")
    assert np.abs(made.array() - srgb(light.astype(float))).max() < 40


def test_a_jpeg_xr_of_an_unknown_kind_of_pixels_is_refused_by_its_name(tmp_path: Path) -> None:
    data = imagecodecs.jpegxr_encode(slopes(8), 1.0).replace(b"\x3d\x77\x76\x8d\xc9\x0d", b"\x3d\x77\x76\x8d\xc9\x44")
    with pytest.raises(NotAnImage, match="JPEG XR"):
        Made(tmp_path, data).info  # noqa: B018


# Light: OpenEXR and Radiance HDR


def exr(channels: dict[str, Array], **header: Any) -> bytes:
    target = io.BytesIO()
    fields = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **header}
    with OpenEXR.File(fields, channels) as file:
        file.write(target)
    return target.getvalue()


def glow(level: float = 1) -> Array:
    """Light that reaches to a level."""
    return slopes(8).astype(np.float32) / 255 * np.float32(level)


def rgbe(light: Array) -> Array:
    most = light.max(-1)
    mantissa, exponent = np.frexp(most)
    scale = np.where(most > 0, mantissa * 256 / np.maximum(most, 1e-38), 0)
    found = np.zeros((*light.shape[:2], 4), np.uint8)
    found[:, :, :3] = light * scale[:, :, None]
    found[:, :, 3] = np.where(most > 0, exponent + 128, 0)
    return found


def radiance(pixels: bytes, size: str = f"-Y {HEIGHT} +X {WIDTH}", *lines: str) -> bytes:
    return "\n".join(["#?RADIANCE", *lines, "", size, ""]).encode() + pixels


@pytest.mark.parametrize("kind", ["NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "DWAA", "HTJ2K32"])
def test_light_no_brighter_than_paper_becomes_srgb(tmp_path: Path, kind: str) -> None:
    made = Made(tmp_path, exr({"RGB": glow().astype(np.float16)}, compression=getattr(OpenEXR, f"{kind}_COMPRESSION")))
    assert (made.info.format, made.info.floating, made.info.hdr) == ("EXR", True, True)
    assert np.abs(made.array() - srgb(glow())).max() < 65535 * (0.02 if kind in ("B44", "DWAA") else 0.0015)


def test_brighter_light_is_brought_below_white(tmp_path: Path) -> None:
    light = np.full((HEIGHT, WIDTH, 3), 0.18, np.float32)
    light[:, 20:] = 1
    light[:, 30:] = 8
    grey, white, bright = Made(tmp_path, exr({"RGB": light})).array()[5, (5, 25, 35), 0]
    assert 0.9 * srgb(np.array(0.18)) < grey < white < bright and bright > 65000


def test_light_is_kept_as_hdr(tmp_path: Path) -> None:
    light = np.full((HEIGHT, WIDTH, 3), 1, np.float32)
    png = Made(tmp_path, exr({"RGB": light})).bytes("PNG?hdr=keep")
    at = png.index(b"cICP") + 4
    assert tuple(png[at : at + 4]) == (9, 16, 0, 1)
    # 203 cd/m² of PQ (BT.2408): 58 %
    assert np.abs(np.asarray(imagecodecs.png_decode(png)) / 65535 - 0.5807).max() < 0.001


def test_alpha_is_divided_out_of_openexr(tmp_path: Path) -> None:
    alpha = np.linspace(0.1, 1, WIDTH, dtype=np.float32)[None, :, None].repeat(HEIGHT, 0)
    found = Made(tmp_path, exr({"RGBA": np.concatenate([glow() * alpha, alpha], -1)})).array()
    assert np.abs(found[:, :, :3] - srgb(glow())).max() < 100
    assert np.abs(found[:, :, 3:] / 65535 - alpha).max() < 0.001


def test_infinite_and_missing_numbers_are_white_and_black(tmp_path: Path) -> None:
    light = glow()
    light[0, 0], light[0, 1], light[0, 2] = np.inf, np.nan, -3
    white, missing, negative = Made(tmp_path, exr({"RGB": light})).array()[0, :3]
    assert (white > 65000).all() and not missing.any() and not negative.any()


def test_the_display_window_is_what_is_seen(tmp_path: Path) -> None:
    windows = {"dataWindow": ((-5, -2), (WIDTH - 6, HEIGHT - 3)), "displayWindow": ((0, 0), (49, 29))}
    made = Made(tmp_path, exr({"RGB": glow()}, **windows))
    found = made.array()
    assert (made.info.width, made.info.height) == (50, 30)
    assert np.abs(found[: HEIGHT - 2, : WIDTH - 5] - srgb(glow())[2:, 5:]).max() < 100
    assert not found[HEIGHT - 2 :].any() and not found[:, WIDTH - 5 :].any()


def test_luminance_alone_is_grey(tmp_path: Path) -> None:
    light = glow()[:, :, 0].copy()
    made = Made(tmp_path, exr({"Y": light}))
    assert made.info.mode == "L16" and np.abs(made.array() - srgb(light)).max() < 100


def luminance_exr(luminance: Array, red_less: Array, blue_less: Array) -> bytes:
    """An OpenEXR of luminance, and of differences of colour for every other pixel of every other line."""
    height, width = luminance.shape
    planes = {b"BY": (blue_less, 2), b"RY": (red_less, 2), b"Y": (luminance, 1)}
    channels = b"".join(name + struct.pack("<xiBxxxii", 2, 0, step, step) for name, (_, step) in planes.items())
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    fields = (
        (b"channels", b"chlist", channels + b"\0"), (b"compression", b"compression", b"\0"),
        (b"dataWindow", b"box2i", window), (b"displayWindow", b"box2i", window), (b"lineOrder", b"lineOrder", b"\0"),
        (b"pixelAspectRatio", b"float", struct.pack("<f", 1)), (b"screenWindowCenter", b"v2f", bytes(8)),
        (b"screenWindowWidth", b"float", struct.pack("<f", 1)),
    )  # fmt: skip
    head = b"\x76\x2f\x31\x01\2\0\0\0" + b"".join(
        name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value for name, kind, value in fields
    ) + b"\0"  # fmt: skip
    lines, offsets = b"", b""
    for y in range(height):
        parts = [plane[y // step].astype("<f4").tobytes() for plane, step in planes.values() if y % step == 0]
        offsets += struct.pack("<Q", len(head) + 8 * height + len(lines))
        lines += struct.pack("<ii", y, len(b"".join(parts))) + b"".join(parts)
    return head + offsets + lines


def test_luminance_with_half_as_much_of_colour(tmp_path: Path) -> None:
    colours = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])[(np.arange(WIDTH) >= WIDTH // 2).astype(int)]
    luminance = colours @ np.array([0.2126, 0.7152, 0.0722])
    of_red, of_blue = ((colours[::2, index] - luminance[::2]) / luminance[::2] for index in (0, 2))
    data = luminance_exr(*(np.tile(row, (side, 1)) for row, side in
                           ((luminance, HEIGHT), (of_red, HEIGHT // 2), (of_blue, HEIGHT // 2))))  # fmt: skip
    assert np.abs(Made(tmp_path, data).array() - srgb(colours)).max() < 100


def test_primaries_of_openexr_are_heeded(tmp_path: Path) -> None:
    bt2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
    made = Made(tmp_path, exr({"RGB": np.full((8, 8, 3), (0.6274, 0.0691, 0.0164), np.float32)}, chromaticities=bt2020))
    assert made.info.primaries == "BT.2020"
    assert np.abs(made.array()[0, 0] - np.array([65535, 0, 0])).max() < 600  # the red of BT.709 (BT.2087)


def test_of_several_parts_the_first_is_read_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    parts = [OpenEXR.Part({"type": OpenEXR.scanlineimage}, {"RGB": glow(level)}, name=str(level)) for level in (1, 0.1)]
    with OpenEXR.File(parts) as file:
        file.write(str(path))
    made = Made(tmp_path, path.read_bytes())
    assert "several parts" in made.info.warnings[0] and np.abs(made.array() - srgb(glow())).max() < 100


def test_openexr_without_a_picture_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(NotAnImage, match="OpenEXR files need the channels R, G and B, or Y"):
        Made(tmp_path, exr({"Z": glow()[:, :, 0].copy()})).info  # noqa: B018


def test_radiance_in_runs_of_each_channel(tmp_path: Path) -> None:
    made = Made(tmp_path, imagecodecs.rgbe_encode(glow()))
    assert (made.info.format, made.info.hdr) == ("HDR", True)
    expected = np.asarray(imagecodecs.rgbe_decode(imagecodecs.rgbe_encode(glow())))
    assert np.abs(made.array() - srgb(expected)).max() < 100


_AXES = {
    "-Y +X": lambda a: a, "-Y -X": np.fliplr, "+Y +X": np.flipud, "+Y -X": lambda a: np.rot90(a, 2),
    "+X -Y": lambda a: a.swapaxes(0, 1), "-X -Y": lambda a: np.fliplr(a).swapaxes(0, 1),
    "+X +Y": lambda a: np.flipud(a).swapaxes(0, 1), "-X +Y": lambda a: np.rot90(a, 2).swapaxes(0, 1),
}  # fmt: skip


@pytest.mark.parametrize("axes", _AXES)
def test_axes_of_radiance_are_heeded(tmp_path: Path, axes: str) -> None:
    stored = rgbe(np.ascontiguousarray(_AXES[axes](glow())))
    first, second = axes.split()
    data = radiance(stored.tobytes(), f"{first} {stored.shape[0]} {second} {stored.shape[1]}", "FORMAT=32-bit_rle_rgbe")
    found = Made(tmp_path, data).array()
    assert found.shape == (HEIGHT, WIDTH, 3) and np.abs(found - srgb(glow())).max() < 4000  # RGBE cuts to 8 bits


def test_radiance_with_pixels_that_come_again(tmp_path: Path) -> None:
    """A pixel of 1, 1, 1 says how often that before it comes again; a second one counts 256 times as much."""
    red, green = bytes([200, 10, 10, 128]), bytes([10, 200, 10, 128])
    again = HEIGHT * WIDTH - 1 - 7
    data = radiance(red + bytes([1, 1, 1, 6]) + green + bytes([1, 1, 1, again & 255]) + bytes([1, 1, 1, again >> 8]))
    found = Made(tmp_path, data).array()
    assert (found[0, :7] == found[0, 0]).all() and found[0, 0, 0] > found[0, 0, 1]
    assert (found.reshape(-1, 3)[7:] == found[-1, -1]).all() and found[-1, -1, 1] > found[-1, -1, 0]


def test_primaries_of_radiance_are_heeded(tmp_path: Path) -> None:
    pixels = rgbe(np.full((HEIGHT, WIDTH, 3), (0.6274, 0.0691, 0.0164), np.float32)).tobytes()
    bt2020 = "PRIMARIES=0.708 0.292 0.170 0.797 0.131 0.046 0.3127 0.3290"
    made = Made(tmp_path, radiance(pixels, f"-Y {HEIGHT} +X {WIDTH}", bt2020))
    assert made.info.primaries == "BT.2020" and made.array()[0, 0, 0] > 65000


@pytest.mark.parametrize("cut", [0, 40, 1000])
def test_radiance_that_ends_too_early_is_corrupt(tmp_path: Path, cut: int) -> None:
    data = radiance(rgbe(glow()).tobytes())
    with pytest.raises(CorruptImage):
        Made(tmp_path, data[: len(data) - HEIGHT * WIDTH * 4 + cut]).info  # noqa: B018


# PAM


@pytest.mark.parametrize("most", [1, 7, 255, 256, 4095, 65535])
@pytest.mark.parametrize(("kind", "channels"), [("GRAYSCALE", 1), ("GRAYSCALE_ALPHA", 2), ("RGB", 3), ("RGB_ALPHA", 4)])
def test_pam_of_any_largest_sample(tmp_path: Path, most: int, kind: str, channels: int) -> None:
    values = np.round(slopes(16, channels) / 65535 * most).astype(int)
    kept = values.astype("u1" if most < 256 else ">u2").tobytes()
    header = (
        f"P7\n# made here\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {channels}\nMAXVAL {most}\nTUPLTYPE {kind}\nENDHDR\n"
    )
    white = 255 if most < 256 else 65535
    found = Made(tmp_path, header.encode() + kept).array().reshape(values.shape)
    assert (found == np.floor(values * white / most + 0.5)).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pam_is_written_without_loss(tmp_path: Path, bits: int, channels: int) -> None:
    values = slopes(bits, channels).squeeze()
    written = Made(tmp_path, imagecodecs.png_encode(values)).bytes("PAM")
    kind = ("GRAYSCALE", "GRAYSCALE_ALPHA", "RGB", "RGB_ALPHA")[channels - 1]
    head, _, samples = written.partition(b"ENDHDR\n")
    size = f"WIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {channels}"
    assert head.decode() == f"P7\n{size}\nMAXVAL {2**bits - 1}\nTUPLTYPE {kind}\n"
    assert samples == values.astype("u1" if bits == 8 else ">u2").tobytes()


def test_pam_of_one_bit_is_written_as_black_and_white(tmp_path: Path) -> None:
    target = io.BytesIO()
    Image.new("1", (WIDTH, HEIGHT), 1).save(target, "PNG")
    written = Made(tmp_path, target.getvalue()).bytes("PAM")
    assert b"MAXVAL 1\nTUPLTYPE BLACKANDWHITE\n" in written and written.endswith(b"ENDHDR\n" + b"\1" * WIDTH * HEIGHT)


def pam(values: Array, kind: str, most: int) -> bytes:
    height, width, channels = values.shape
    header = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {most}\nTUPLTYPE {kind}\nENDHDR\n"
    return header.encode() + values.astype("u1" if most < 256 else ">u2").tobytes()


def run(*command: str | Path) -> bytes:
    return subprocess.run([needs(str(command[0])), *command[1:]], check=True, capture_output=True).stdout


@pytest.mark.parametrize("most", [255, 100, 65535])
def test_a_pam_of_inks_is_what_imagemagick_makes_a_tiff_of(tmp_path: Path, most: int) -> None:
    data = pam(np.round(slopes(16, 4) / 65535 * most).astype(int), "CMYK", most)
    (tmp_path / "inks.pam").write_bytes(data)
    run("convert", tmp_path / "inks.pam", "-depth", "8", tmp_path / "inks.tif")
    judged = Made(tmp_path, (tmp_path / "inks.tif").read_bytes())
    assert judged.info.mode == "CMYK"
    wanted = judged.array().astype(int)
    made = Made(tmp_path, data)
    # Rounding to 8 bits is a level of ink, which is up to 3 of light.
    assert made.info.mode == "CMYK" and np.abs(made.array() - wanted).max() <= (0 if most == 255 else 3)


def test_a_pam_by_ghostscript_has_the_colours_of_the_page(tmp_path: Path) -> None:
    page = b"%!PS\n<< /PageSize [20 10] >> setpagedevice\n"
    page += b"0 1 1 0 setcmykcolor 0 0 10 10 rectfill 0 0 0 1 setcmykcolor 10 0 10 10 rectfill showpage\n"
    (tmp_path / "page.ps").write_bytes(page)
    target = tmp_path / "page.pam"
    run("gs", "-q", "-dBATCH", "-dNOPAUSE", "-sDEVICE=pamcmyk32", f"-sOutputFile={target}", tmp_path / "page.ps")
    found = Made(tmp_path, target.read_bytes()).array()
    red, black = found[5, 5].astype(int), found[5, 15].astype(int)
    assert red[0] > 200 and max(red[1:]) < 60 and max(black) < 60


@pytest.mark.parametrize(("kind", "channels"), [("RGB", 4), ("GRAYSCALE", 2), ("RGB_ALPHA", 5)])
def test_further_samples_of_a_pam_are_left_out_as_by_netpbm(tmp_path: Path, kind: str, channels: int) -> None:
    values = np.dstack([slopes(8, 4), slopes(8, 1)])[:, :, :channels]
    data = pam(values, kind, 255)
    (tmp_path / "more.pam").write_bytes(data)
    found = Made(tmp_path, data).array()
    planes = {"RGB": 3, "RGB_ALPHA": 4}.get(kind, 1)
    assert (found.reshape(HEIGHT, WIDTH, -1) == values[:, :, :planes]).all()
    judged = run("pamtopnm", tmp_path / "more.pam")
    assert (
        np.asarray(Image.open(io.BytesIO(judged))).reshape(HEIGHT, WIDTH, -1) == values[:, :, : min(planes, 3)]
    ).all()


@pytest.mark.parametrize(("kind", "channels"), [("CMYK_ALPHA", 5), ("LAB", 3), ("spectrum", 4), ("depth", 1)])
def test_a_pam_of_other_tuples_is_refused_by_its_name(tmp_path: Path, kind: str, channels: int) -> None:
    values = np.dstack([slopes(8, 4), slopes(8, 1)])[:, :, :channels]
    with pytest.raises(UnreadKind, match=kind.upper()):
        Made(tmp_path, pam(values, kind, 255)).info  # noqa: B018


def test_a_pam_with_fewer_samples_than_its_tuples_need_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(CorruptImage, match="2 channels"):
        Made(tmp_path, pam(slopes(8, 2), "RGB", 255)).info  # noqa: B018


# PCX


def pcx(numbers: Array, bits: int, planes: int, palette: bytes) -> bytes:
    """A PCX of pixels that are numbers of colours; each byte is a run of one."""
    height, width = numbers.shape
    line = -(-width * bits // 8)
    rows = bytearray()
    for row in numbers.astype(np.uint8):
        for plane in range(planes):
            part = row >> (bits * plane) & ((1 << bits) - 1)
            rows += np.packbits(part[:, None] >> np.arange(bits - 1, -1, -1) & 1).tobytes().ljust(line, b"\0")
    packed = b"".join(b"\xc1" + bytes([byte]) for byte in rows)
    header = struct.pack(
        "<BBBBHHHHHH48sBBH", 10, 5, 1, bits, 0, 0, width - 1, height - 1, 72, 72, palette, 0, planes, line
    )
    return header.ljust(128, b"\0") + packed


@pytest.mark.parametrize(("bits", "planes"), [(2, 1), (4, 1), (1, 2), (1, 3), (1, 4)])
def test_pcx_of_few_colours(tmp_path: Path, bits: int, planes: int) -> None:
    palette = bytes(range(100, 148))
    numbers = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % (1 << bits * planes)
    found = Made(tmp_path, pcx(numbers, bits, planes, palette)).array("PNG?depth=8")
    assert (found == np.frombuffer(palette, np.uint8).reshape(16, 3)[numbers]).all()


@pytest.mark.parametrize(
    ("setting", "colours"),
    [(0x00, [(0, 170, 0), (170, 0, 0), (170, 85, 0)]), (0x60, [(85, 255, 255), (255, 85, 255), (255, 255, 255)])],
)
def test_pcx_of_cga(tmp_path: Path, setting: int, colours: list[tuple[int, ...]]) -> None:
    numbers = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 4
    found = Made(tmp_path, pcx(numbers, 2, 1, bytes([0x10, 0, 0, setting]))).array("PNG?depth=8")
    assert [tuple(found[0, index]) for index in range(4)] == [(0, 0, 170), *colours]


# TIFF


def tiff(values: Array, bits: int, *, kind: int = 1, photometric: int | None = None, extra: int = 0) -> bytes:
    """A TIFF of one strip, without compression, of samples of any depth."""
    height, width, channels = values.shape
    if bits % 8:
        ones = values[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1) & 1
        strip = np.packbits(ones.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    else:
        strip = values.astype("<u4").reshape(-1, 1).view(np.uint8)[:, : bits // 8].tobytes()
    start = 8 + len(strip)
    tags: dict[int, tuple[int, ...]] = {
        256: (width,), 257: (height,), 258: (bits,) * channels, 259: (1,),
        262: ((2 if channels > 2 else 1) if photometric is None else photometric,), 273: (8,), 277: (channels,),
        278: (height,), 279: (len(strip),), 339: (kind,) * channels,
    }  # fmt: skip
    if extra:
        tags[338] = (extra,)
    behind, entries = b"", b""
    for tag, numbers in sorted(tags.items()):
        value = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(value) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(behind)
            behind, value = behind + value, struct.pack("<I", place)
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + value
    return struct.pack("<2sHI", b"II", 42, start) + strip + struct.pack("<H", len(tags)) + entries + bytes(4) + behind


@pytest.mark.parametrize("bits", [*range(1, 16), 24])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_of_any_depth(tmp_path: Path, bits: int, channels: int) -> None:
    values = np.round(slopes(16, channels).astype(float) / 65535 * (2**bits - 1)).astype(np.uint32)
    made = Made(tmp_path, tiff(values, bits, extra=2 * (channels == 4)))
    found = made.array(f"PNG?depth={8 if bits <= 8 else 16}").reshape(values.shape)
    assert (found == scaled(values, bits)).all()


def test_tiff_whose_white_is_zero(tmp_path: Path) -> None:
    values = slopes(12, 1)
    assert (Made(tmp_path, tiff(values, 12, photometric=0)).array() == 65535 - scaled(values, 12)[:, :, 0]).all()


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits"])
def test_compressed_tiff_of_12_bits(tmp_path: Path, compression: str) -> None:
    """The strip is compressed as one of bytes, and then its tags are changed to those of 12 bits."""
    values = slopes(12, 1)
    ones = values[..., None].astype(np.uint32) >> np.arange(11, -1, -1) & 1
    packed = np.packbits(ones.reshape(HEIGHT, -1).astype(np.uint8), axis=1)
    data = bytearray(pyvips.Image.new_from_array(packed).tiffsave_buffer(compression=compression, predictor="none"))
    for tag, value in ((256, WIDTH), (258, 12)):
        at = data.index(struct.pack("<H", tag), int.from_bytes(data[4:8], "little"))
        struct.pack_into("<I", data, at + 8, value)
    assert (Made(tmp_path, bytes(data)).array() == scaled(values, 12)[:, :, 0]).all()


def test_half_floats_of_tiff(tmp_path: Path) -> None:
    values = (slopes(8) / 255).astype(np.float16)
    made = Made(tmp_path, tiff(values.view(np.uint16), 16, kind=3))
    assert (made.info.bit_depth, made.info.floating) == (16, True)
    assert np.abs(made.array() - values.astype(float) * 65535).max() <= 1


def test_a_rare_tiff_with_an_unknown_compression_is_refused_by_its_name(tmp_path: Path) -> None:
    data = bytearray(tiff(slopes(12), 12))
    struct.pack_into("<I", data, data.index(struct.pack("<HH", 259, 4)) + 8, 50001)
    with pytest.raises(NotAnImage, match="TIFF with 12 bits per sample and compression 50001"):
        Made(tmp_path, bytes(data)).info  # noqa: B018


# Hostile, and not read


def _jpeg_xr_of(side: int) -> bytes:
    """A JPEG XR whose container and image say that it is a square of this side."""
    data = bytearray(imagecodecs.jpegxr_encode(slopes(8), 1.0))
    at = data.index(b"WMPHOTO\0")
    assert data[at + 10] & 0x80  # the short header
    struct.pack_into(">HH", data, at + 12, side - 1, side - 1)
    for tag in (0xBC80, 0xBC81):
        struct.pack_into("<I", data, data.index(struct.pack("<HHI", tag, 4, 1)) + 8, side)
    return bytes(data)


def test_a_jpeg_xr_whose_parts_are_of_different_sizes_is_corrupt(tmp_path: Path) -> None:
    data = bytearray(imagecodecs.jpegxr_encode(slopes(8, 4), 1.0))
    struct.pack_into(">HH", data, data.rindex(b"WMPHOTO\0") + 12, WIDTH - 1, HEIGHT + 15)  # of its alpha
    with pytest.raises(CorruptImage, match="different sizes"):
        Made(tmp_path, bytes(data)).info  # noqa: B018


def _jpeg_of(side: int, data: bytes | bytearray, marker: bytes) -> bytes:
    at = data.index(marker)
    return bytes(data[: at + 5]) + struct.pack(">HH", side, side) + data[at + 9 :]


_SIDE = 60_000
HUGE = {
    "JPEG": lambda: _jpeg_of(_SIDE, imagecodecs.jpeg8_encode(slopes(12), bitspersample=12), b"\xff\xc1"),
    "JPEG-LS": lambda: _jpeg_of(_SIDE, imagecodecs.jpegls_encode(slopes(8)), b"\xff\xf7"),
    "JPEG XR": lambda: _jpeg_xr_of(_SIDE),
    "HDR": lambda: radiance(b"\2\2\0\0", f"-Y {_SIDE} +X {_SIDE}"),
    "EXR": lambda: exr({"RGB": glow()}, displayWindow=((0, 0), (_SIDE, _SIDE))),
    "PAM": lambda: f"P7\nWIDTH {_SIDE}\nHEIGHT {_SIDE}\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n".encode(),
    "PCX": lambda: pcx(np.zeros((1, 8)), 2, 1, b"")[:4] + struct.pack("<HHHH", 0, 0, _SIDE, _SIDE) + bytes(53)
    + struct.pack("<BH", 1, 15_001) + bytes(60),
    "TIFF": lambda: tiff(slopes(12), 12).replace(
        struct.pack("<HHII", 256, 4, 1, WIDTH), struct.pack("<HHII", 256, 4, 1, 99_999_999)
    ),
}  # fmt: skip


@pytest.mark.parametrize("format", HUGE)
def test_a_size_is_held_against_the_limits_before_anything_is_decoded(tmp_path: Path, format: str) -> None:
    with pytest.raises(LimitExceeded):
        Made(tmp_path, HUGE[format]()).info  # noqa: B018


COMPRESSIONS = {
    22610: "JPEG XR", 32909: "PixarLog", 33003: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG", 34712: "JPEG 2000",
    34887: "LERC", 34933: "PNG", 34934: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL", 12345: "12345",
}  # fmt: skip


@pytest.mark.parametrize(("number", "name"), COMPRESSIONS.items())
def test_a_tiff_with_a_compression_that_is_not_read_is_refused_by_its_name(
    tmp_path: Path, number: int, name: str
) -> None:
    data = pictures.saved(Image.fromarray(slopes(8)), "TIFF")
    plain = struct.pack("<HHIHH", 259, 3, 1, 1, 0)
    assert data.count(plain) == 1
    with pytest.raises(UnreadKind, match=f"TIFF files .* {name} aren't supported"):
        Made(tmp_path, data.replace(plain, struct.pack("<HHIHH", 259, 3, 1, number, 0))).info  # noqa: B018


UNREAD = {
    b"BA\x28\0\0\0\0\0\0\0\0\0\0\0BM": "OS/2",
    b"RIFF\x20\0\0\0ACON": r"\(ANI\)",
    b"farbfeld\0\0\0\1\0\0\0\1": "farbfeld",
    b"id=ImageMagick  version=1.0\n": "MIFF",
    struct.pack("<i", 348) + bytes(340) + b"n+1\0": "NIfTI",
    struct.pack(">i", 348) + bytes(340) + b"ni1\0": "NIfTI",
    struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n": "NIfTI",
    b"LBLSIZE=1024  FORMAT='BYTE'": "VICAR",
    bytes(522) + b"\0\x11\2\xff": "PICT",
    b"\0\0\0\x0cJXS \r\n\x87\n": "JPEG XS",
    b"\x97JB2\r\n\x1a\n": "JBIG2",
    b"FLIF": "FLIF",
    b"BPG\xfb": "BPG",
    b"gimp xcf v011": "XCF",
    b"AT&TFORM\0\0\0\0DJVU": "DjVu",
    b"%!PS-Adobe-3.0 EPSF": "PostScript",
    b"%PDF-1.7": "PDF",
    b"\xd7\xcd\xc6\x9a\0\0": "WMF",
    b"\1\0\0\0" + bytes(36) + b" EMF": "EMF",
    b"\x8aMNG\r\n\x1a\n": "MNG",
    b"\x8bJNG\r\n\x1a\n": "JNG",
    struct.pack(">III", 100, 7, 2): "XWD",
    bytes(128) + b"DICM": "DICOM",
    b"SDPX": "DPX",
    b"\xabKTX 20\xbb\r\n\x1a\n": "KTX",
    b"\0\0\0\x18ftypheis"[:8] + b"vvic": "VVC",
    b"\0\0\0\x18ftypisom": "MP4",
    b"\0\0\0\x14ftypqt  ": "QuickTime",
    b"\x1a\x45\xdf\xa3": "WebM",
    b"PK\3\4" + bytes(26) + b"[Content_Types].xml": "Office",
    b"PK\3\4": "ZIP",
    b"\xef\xbb\xbf\n<!DOCTYPE html>": "HTML",
    b"  <HTML lang=en>": "HTML",
}


@pytest.mark.parametrize(("head", "name"), UNREAD.items(), ids=UNREAD.values())
def test_what_is_known_and_not_read_is_refused_by_its_name(tmp_path: Path, head: bytes, name: str) -> None:
    with pytest.raises(NotAnImage, match=name):
        Made(tmp_path, head.ljust(300, b"\0")).info  # noqa: B018


def test_what_is_unknown_has_no_name() -> None:
    assert name_of_unread(b"something else altogether") is None
