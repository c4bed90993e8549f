"""Files that are damaged: what costs no pixel is accepted, with every pixel; what does is refused, or kept if asked.

The pixels are held against those of the whole file, and of decoders that the service does not use for the format.
"""

import io
import re
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from progimage.engine import CorruptImage, EngineError, ImageInfo, Limits, RenditionSpec, inspect, render
from tests import pictures
from tests.programs import needs

END = b"\xff\xd9"
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\1\0\0\0\0\0\0"
"""EXIF whose only field is an orientation of 1 (upright)."""
WHOLE, ACCEPTED = Limits(), Limits(damaged=True)


def grain(width: int = 150, height: int = 112, seed: int = 1) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 120, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise + np.asarray(pictures.colour((width, height))) // 2)


def jpeg(*, grey: bool = False, **options: Any) -> bytes:
    return pictures.saved(grain().convert("L") if grey else grain(), "JPEG", quality=80, **options)


def described(folder: Path, data: bytes, limits: Limits = WHOLE) -> ImageInfo:
    (folder / "source").write_bytes(data)
    return inspect(folder / "source", limits)


def rendered(folder: Path, data: bytes, spec: str = "PNG", limits: Limits = WHOLE) -> np.ndarray:
    (folder / "source").write_bytes(data)
    render(folder / "source", RenditionSpec.from_canonical(spec), folder / "target", limits)
    return np.asarray(Image.open(folder / "target").convert("RGBA")).astype(int)


def by_djpeg(data: bytes) -> np.ndarray:
    program = needs("djpeg")
    made = subprocess.run([program, "-rgb"], input=data, capture_output=True, check=False).stdout
    return np.asarray(Image.open(io.BytesIO(made)).convert("RGBA")).astype(int)


def by_imagemagick(folder: Path, data: bytes, extension: str) -> np.ndarray:
    program = needs("convert")
    (folder / f"judged.{extension}").write_bytes(data)
    subprocess.run([program, folder / f"judged.{extension}", f"PNG32:{folder}/judged.out.png"], check=False)
    return np.asarray(Image.open(folder / "judged.out.png").convert("RGBA")).astype(int)


# JPEG

KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "grey": {"grey": True},
    "grey and progressive": {"grey": True, "progressive": True},
    "full colour": {"subsampling": "4:4:4"},
    "restart markers": {"restart_marker_blocks": 4},
    "grey with restart markers": {"grey": True, "restart_marker_blocks": 4},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_jpeg_without_an_end_marker_is_accepted_with_every_pixel(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = jpeg(**options)
    found = described(tmp_path, whole[:-2])
    assert found.warnings == ("The JPEG has no end marker.",) and not found.damaged
    assert (rendered(tmp_path, whole[:-2]) == by_djpeg(whole)).all()
    assert (rendered(tmp_path, whole[:-2], "PNG?width=60") == rendered(tmp_path, whole, "PNG?width=60")).all()
    assert described(tmp_path, whole).warnings == ()


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_jpeg_that_lacks_any_of_its_data_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = jpeg(**options)
    right, refused = by_djpeg(whole), 0
    for missing in (*range(1, 25), 60, 200, len(whole) // 2):
        cut = whole[: -2 - missing]
        try:
            found = described(tmp_path, cut)
        except CorruptImage as error:
            refused += 1
            assert "damaged=accept" in str(error)
        else:  # the bits that are missing are those that a decoder takes for them
            assert found.warnings and (by_djpeg(cut) == right).all(), missing
    assert refused > 20


def test_a_progressive_jpeg_without_its_last_scans_is_refused(tmp_path: Path) -> None:
    whole = jpeg(progressive=True)
    scans = [found.start() for found in re.finditer(b"\xff\xda", whole)]
    assert len(scans) > 5
    for scan in scans[1:]:
        tables = whole.rfind(b"\xff\xc4", 0, scan)  # which belong to the next scan
        for end in (scan, tables):
            with pytest.raises(CorruptImage):
                described(tmp_path, whole[:end])
            found = described(tmp_path, whole[:end], ACCEPTED)
            assert found.damaged and found.warnings[0].startswith("The JPEG ends before its last scan")


def test_bytes_around_the_segments_of_a_jpeg_cost_no_pixel(tmp_path: Path) -> None:
    whole = jpeg()
    tables = whole.index(b"\xff\xdb")
    for damaged, warning in (
        (whole + b"junk", "After the end of the image there are 4 bytes, which are ignored."),
        (whole + END + b"\0", "After the end of the image there are 3 bytes, which are ignored."),
        (whole[:tables] + b"\1\2\3" + whole[tables:], "Inside the file there are 3 bytes without meaning"),
        (whole[:2] + b"\1" + whole[2:-2], "Inside the file there is 1 byte without meaning"),
    ):
        found = described(tmp_path, damaged)
        assert found.warnings[0].startswith(warning)
        assert (rendered(tmp_path, damaged) == by_djpeg(damaged)).all()
    fill = whole[:tables] + b"\xff" * 5 + whole[tables:]  # which the standard allows (B.1.1.2)
    assert described(tmp_path, fill).warnings == ()


def test_what_is_decoded_of_a_damaged_jpeg_is_what_djpeg_decodes(tmp_path: Path) -> None:
    half = jpeg()[: len(jpeg()) // 2]
    right = by_djpeg(half)
    grey = [bool((row == (128, 128, 128, 255)).all()) for row in right]
    missing = grey[::-1].index(False)
    assert missing > 20
    found = described(tmp_path, half, ACCEPTED)
    assert found.damaged and found.warnings[0] == (
        f"The image is damaged: the last {missing} of 112 rows are missing and left blank."
    )
    assert (rendered(tmp_path, half, limits=ACCEPTED) == right).all()
    for spec in ("WEBP?width=60", "AVIF?height=40", "JPEG?rotate=90", "TIFF", "GIF"):
        render(tmp_path / "source", RenditionSpec.from_canonical(spec), tmp_path / "target", ACCEPTED)
        assert Image.open(tmp_path / "target").size
    with pytest.raises(CorruptImage, match="damaged=accept"):
        rendered(tmp_path, half)


def test_broken_codes_inside_of_a_jpeg_are_found(tmp_path: Path) -> None:
    whole, found = bytearray(jpeg(progressive=True)), 0
    for position in range(len(whole) // 3, len(whole) - 200, 97):
        broken = whole.copy()
        broken[position : position + 3] = b"\x55\xaa\x11"
        try:
            described(tmp_path, bytes(broken))
        except CorruptImage:
            found += 1
            assert described(tmp_path, bytes(broken), ACCEPTED).damaged
    assert found > 5


# PNG


def png(picture: Image.Image | None = None, **options: Any) -> bytes:
    return pictures.saved(picture or grain(), "PNG", **options)


def chunk(name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    right = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", right if checksum is None else checksum)


def behind_header(data: bytes, added: bytes) -> bytes:
    return data[:33] + added + data[33:]


WRONG = "Chunks of the PNG have a wrong checksum and are ignored: {}."
LARGE = "Chunks of the PNG are too large and are ignored: {}."
LONG = zlib.compress(b"a" * 1_800_000)
HARMLESS = {
    "text with a wrong checksum": (behind_header(png(), chunk(b"tEXt", b"a\0b", 1)), WRONG.format("tEXt")),
    "resolution with a wrong checksum": (behind_header(png(), chunk(b"pHYs", bytes(9), 1)), WRONG.format("pHYs")),
    "EXIF with a wrong checksum": (behind_header(png(), chunk(b"eXIf", b"MM\0*", 1)), WRONG.format("eXIf")),
    "a nameless chunk": (behind_header(png(), chunk(b"a\0\xff1", b"?", 1)), WRONG.format("a???")),
    "a long text": (behind_header(png(), chunk(b"zTXt", b"k\0\0" + LONG)), LARGE.format("zTXt")),
    "a long international text": (behind_header(png(), chunk(b"iTXt", b"k\0\1\0\0\0" + LONG)), LARGE.format("iTXt")),
    "a long plain text": (behind_header(png(), chunk(b"tEXt", b"k\0" + b"a" * 1_800_000)), LARGE.format("tEXt")),
    "texts that are long together": (
        behind_header(png(), chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 1_000_000)) * 90), LARGE.format("zTXt"),
    ),
    "a long text at the end": (
        png()[:-12] + chunk(b"zTXt", b"k\0\0" + LONG) + png()[-12:], LARGE.format("zTXt"),
    ),
    "pixels with a wrong checksum": (
        png()[:-16] + b"abcd" + png()[-12:],
        "The pixels of the PNG have a wrong checksum, but another checksum shows that they are intact.",
    ),
    "no end": (png()[:-12], "The PNG has no end chunk."),
    "half of an end": (png()[:-5], "The PNG has no end chunk."),
    "an end with a wrong checksum": (png()[:-4] + b"abcd", "The end chunk of the PNG has a wrong checksum."),
    "bytes behind the end": (png() + b"junk" * 9, "After the end of the image there are 36 bytes, which are ignored."),
}  # fmt: skip


@pytest.mark.parametrize(("data", "warning"), HARMLESS.values(), ids=HARMLESS)
def test_damage_of_a_png_that_costs_no_pixel(tmp_path: Path, data: bytes, warning: str) -> None:
    found = described(tmp_path, data)
    assert found.warnings == (warning,) and not found.damaged
    assert (rendered(tmp_path, data) == np.asarray(grain().convert("RGBA"))).all()
    assert rendered(tmp_path, data, "WEBP?width=40").shape[1] == 40


@pytest.mark.parametrize("compress_level", [0, 1, 6])
def test_a_png_that_lacks_any_of_its_pixels_is_refused(tmp_path: Path, compress_level: int) -> None:
    whole, refused = png(compress_level=compress_level), 0
    for missing in (*range(13, 60), 300, len(whole) // 2):
        try:
            described(tmp_path, whole[:-missing])
        except CorruptImage as error:
            refused += 1
            assert "damaged=accept" in str(error)
        else:
            assert (rendered(tmp_path, whole[:-missing]) == np.asarray(grain().convert("RGBA"))).all(), missing
    assert refused > 20


@pytest.mark.parametrize("compress_level", [0, 6])
def test_a_png_whose_pixels_have_changed_is_refused(tmp_path: Path, compress_level: int) -> None:
    changed = bytearray(png(compress_level=compress_level))
    changed[len(changed) // 2] ^= 0x41
    with pytest.raises(CorruptImage, match="IDAT"):
        described(tmp_path, bytes(changed))
    assert described(tmp_path, bytes(changed), ACCEPTED).damaged


def test_what_a_picture_is_made_of_is_not_left_out(tmp_path: Path) -> None:
    clear = png(grain().quantize(16), transparency=3)
    at = clear.index(b"tRNS") + 4
    length = int.from_bytes(clear[at - 8 : at - 4], "big")
    wrong = clear[: at + length] + b"abcd" + clear[at + length + 4 :]
    with pytest.raises(CorruptImage, match="tRNS"):
        described(tmp_path, wrong)
    with pytest.raises(CorruptImage, match="IHDR"):
        described(tmp_path, png()[:29] + b"abcd" + png()[33:])


def test_an_animation_that_ends_between_two_frames_is_refused(tmp_path: Path) -> None:
    frames = [grain(40, 30, seed) for seed in range(3)]
    whole = png(frames[0], save_all=True, append_images=frames[1:], duration=50)
    last = whole.rindex(b"fcTL") - 4
    with pytest.raises(CorruptImage, match="after 2 of its 3 frames"):
        described(tmp_path, whole[:last])
    found = described(tmp_path, whole[:last], ACCEPTED)
    assert found.damaged and found.frames == 2
    cut = described(tmp_path, whole[:-200], ACCEPTED)
    assert cut.warnings[0] == "The image is damaged: only the first 2 of its 3 frames are intact."


def test_the_missing_rows_of_a_png_are_counted(tmp_path: Path) -> None:
    stored = png(compress_level=0)
    header = stored.index(b"IDAT") + 4
    row = 1 + 150 * 3
    cut = stored[: header + 2 + 5 + row * 40]  # the header of zlib, and that of its first block
    found = described(tmp_path, cut, ACCEPTED)
    assert re.match(r"The image is damaged: the last 7[12] of 112 rows are missing", found.warnings[0])
    kept = rendered(tmp_path, cut, limits=ACCEPTED)
    assert (kept[:40] == np.asarray(grain().convert("RGBA"))[:40]).all()


def test_a_large_profile_of_a_png_counts(tmp_path: Path) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile += bytes(2_000_000)
    profile[:4] = struct.pack(">I", len(profile))
    data = behind_header(png(), chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)))
    found = described(tmp_path, data)
    assert found.warnings == () and found.icc == "sRGB built-in"


# GIF, WebP


def test_the_end_of_a_gif(tmp_path: Path) -> None:
    whole = pictures.animation()
    assert described(tmp_path, whole).warnings == ()
    assert described(tmp_path, whole[:-1]).warnings == ("The file has no end marker; frames may be missing.",)
    assert "3 bytes" in described(tmp_path, whole + b"abc").warnings[0]
    for cut in (whole[: whole.rindex(b"\x2c") + 3], whole[: whole.rindex(b"\x21\xf9") + 8]):
        with pytest.raises(CorruptImage, match="last frame of the GIF is truncated"):
            described(tmp_path, cut)
        found = described(tmp_path, cut, ACCEPTED)
        assert found.damaged and found.frames == 3
    still = pictures.saved(grain().quantize(64), "GIF", interlace=0)
    with pytest.raises(CorruptImage, match="damaged=accept"):
        described(tmp_path, still[: len(still) // 2])
    top = rendered(tmp_path, still[: len(still) // 2], limits=ACCEPTED)[:40]
    assert (top == rendered(tmp_path, still)[:40]).all()


def riff(body: bytes, said: int | None = None) -> bytes:
    return b"RIFF" + struct.pack("<I", len(body) + 4 if said is None else said) + b"WEBP" + body


@pytest.mark.parametrize("options", [{"quality": 80}, {"lossless": True}, {"quality": 80, "exif": EXIF}])
def test_the_lengths_of_a_webp(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = pictures.saved(grain(), "WEBP", **options)
    body, right = whole[12:], by_imagemagick(tmp_path, whole, "webp")
    wrong = "The header of the WebP has a wrong file length."
    for damaged, warnings in (
        (riff(body, len(body) - 50), (wrong,)),
        (riff(body, len(body) + 5000), (wrong,)),
        (riff(body, 0), (wrong,)),
        (whole + b"junk", ("After the end of the image there are 4 bytes, which are ignored.",)),
    ):
        assert described(tmp_path, damaged).warnings == warnings
        assert (rendered(tmp_path, damaged) == right).all()


def test_a_webp_without_its_padding_or_its_last_metadata(tmp_path: Path) -> None:
    whole = pictures.saved(grain(), "WEBP", quality=80, exif=EXIF + b"\0")
    assert whole[-1:] == b"\0" and len(whole) % 2 == 0
    right = rendered(tmp_path, whole)
    assert described(tmp_path, whole[:-1]).warnings == ("The last byte of the WebP is missing.",)
    assert (rendered(tmp_path, whole[:-1]) == right).all()
    assert described(tmp_path, whole[:-4]).warnings == ("A chunk of the WebP is truncated and ignored: EXIF.",)
    assert (rendered(tmp_path, whole[:-4]) == right).all()


def test_a_webp_that_lacks_pixels(tmp_path: Path) -> None:
    still = pictures.saved(grain(), "WEBP", quality=80)
    for limits in (WHOLE, ACCEPTED):  # libwebp decodes no part of a still
        with pytest.raises(CorruptImage) as caught:
            described(tmp_path, still[:-50], limits)
        assert "damaged=accept" not in str(caught.value)
    moving = pictures.animation("WEBP")
    for cut, why in (
        (moving[:-20], "last frame of the WebP"),
        (moving[: moving.rindex(b"ANMF")], "frames are missing"),
    ):
        with pytest.raises(CorruptImage, match=why):
            described(tmp_path, cut)
        found = described(tmp_path, cut, ACCEPTED)
        assert found.damaged and found.frames == 3


# Others


@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
@pytest.mark.parametrize("junk", [b"junk" * 9, bytes(40), b"\0\0"])
def test_bytes_behind_the_last_box(tmp_path: Path, format: str, junk: bytes) -> None:
    whole = pictures.saved(grain(), format)
    assert described(tmp_path, whole).warnings == ()
    found = described(tmp_path, whole + junk)
    assert found.warnings == (f"After the end of the image there are {len(junk)} bytes, which are ignored.",)
    assert (rendered(tmp_path, whole + junk) == rendered(tmp_path, whole)).all()


@pytest.mark.parametrize("format", ["BMP", "PPM", "TGA", "TIFF"])
def test_what_is_left_of_half_a_file(tmp_path: Path, format: str) -> None:
    whole = pictures.saved(grain(), format)
    half = whole[: len(whole) // 2]
    with pytest.raises(CorruptImage, match="damaged=accept"):
        described(tmp_path, half)
    found = described(tmp_path, half, ACCEPTED)
    said = re.match(r"The image is damaged: the (\w+) (\d+) of 112 rows are missing", found.warnings[0])
    assert said
    where, missing = said.groups()
    assert 50 <= int(missing) <= 62
    kept, right = rendered(tmp_path, half, limits=ACCEPTED), np.asarray(grain().convert("RGBA"))
    there = slice(int(missing) + 1, None) if where == "first" else slice(0, 112 - int(missing) - 1)
    assert (kept[there] == right[there]).all()


@pytest.mark.parametrize(("missing", "said"), [(1, "the last row of 112 is"), (2, "the last 2 of 112 rows are")])
def test_one_row_and_several(tmp_path: Path, missing: int, said: str) -> None:
    whole = pictures.saved(grain(), "PPM")
    found = described(tmp_path, whole[: -150 * 3 * missing], ACCEPTED)
    assert f"{said} missing" in found.warnings[0]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_broken_metadata_cost_nothing(tmp_path: Path, format: str) -> None:
    profile = b"\0\0\0\x80junkjunkjunk" + bytes(112)
    data = pictures.saved(grain(), format, icc_profile=profile)
    found = described(tmp_path, data)
    assert "The ICC profile is invalid and ignored." in found.warnings and not found.damaged
    assert rendered(tmp_path, data).shape == (112, 150, 4)
    assert rendered(tmp_path, data, "JPEG?width=40&keep=icc").shape[1] == 40


def test_nothing_is_nothing(tmp_path: Path) -> None:
    for data in (jpeg()[:400], png()[:40], b"GIF89a" + bytes(7), b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(EngineError) as caught:
            described(tmp_path, data)
        assert "damaged=accept" not in str(caught.value)


def test_a_gif_that_goes_on_with_what_is_none_has_lost_frames(tmp_path: Path) -> None:
    whole = pictures.animation("GIF", 3)
    separators = [at for at in range(len(whole)) if whole[at : at + 3] == b"\x21\xf9\x04"]
    broken = bytearray(whole)
    broken[separators[1]] ^= 0x10
    with pytest.raises(CorruptImage, match=r"frames are missing.*damaged=accept"):
        described(tmp_path, bytes(broken))
    assert described(tmp_path, bytes(broken), ACCEPTED).frames == 1
    stray = whole[: separators[1]] + b"\0" + whole[separators[1] :]
    found = described(tmp_path, stray)
    assert (found.frames, found.damaged) == (3, False)
    render(tmp_path / "source", RenditionSpec("GIF"), tmp_path / "target", Limits())
    assert pictures.frame_count(Image.open(tmp_path / "target")) == 3


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 5}], ids=str)
def test_a_jpeg_that_goes_on_behind_its_last_pixel_has_lost_some(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = pictures.saved(grain(), "JPEG", quality=85, **options)
    assert not described(tmp_path, whole).warnings
    half = len(whole) // 2
    while whole[half - 1] == 0xFF:
        half -= 1
    secret = b"a text that is no picture; "
    broken = whole[:half] + secret * ((len(whole) - half) // len(secret)) + b"\xff\xd9"
    with pytest.raises(CorruptImage, match="damaged=accept"):
        described(tmp_path, broken)
    assert described(tmp_path, broken, ACCEPTED).damaged
    render(tmp_path / "source", RenditionSpec("JPEG"), tmp_path / "target", ACCEPTED)
    assert secret not in (tmp_path / "target").read_bytes()
