"""What metadata leaves with a rendition: no more than `keep` says, whatever the format; copied pixels stay whole."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy
import pytest
import pyvips
from PIL import Image, TiffImagePlugin

from progimage.engine import FORMATS, EngineError, Limits, RenditionSpec, inspect, render
from tests import pictures
from tests.conformance import boxes
from tests.photographs import MARKS, PLACE, SECRET, SOURCES, XMP, exif, gif, jpeg, leaked, photograph


@pytest.fixture
def rendered(tmp_path: Path) -> Callable[[bytes, str], bytes]:
    def make(data: bytes, spec: str) -> bytes:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(data)
        render(source, RenditionSpec.from_canonical(spec), target, Limits())
        return target.read_bytes()

    return make


def own_format(data: bytes, tmp_path: Path) -> str:
    (tmp_path / "own").write_bytes(data)
    return inspect(tmp_path / "own", Limits()).format


@pytest.mark.parametrize("source", SOURCES)
def test_no_rendition_tells_where_or_by_whom(rendered, source: str) -> None:
    data = SOURCES[source]()
    assert leaked(data), "there is something to find"
    for format in FORMATS.values():
        if not format.can_write:
            continue
        for query in ("", "?width=40"):
            try:
                made = rendered(data, format.name + query)
            except EngineError:  # not all formats hold it
                continue
            assert not leaked(made), f"{format.name}{query}"


@pytest.mark.parametrize("source", SOURCES)
def test_a_copy_shows_the_same_pixels(rendered, tmp_path: Path, source: str) -> None:
    data = SOURCES[source]()
    format = own_format(data, tmp_path)
    made = rendered(data, format)
    assert made != data
    for index in range(getattr(pictures.open_bytes(data), "n_frames", 1)):
        one, other = pictures.open_bytes(data), pictures.open_bytes(made)
        if source == "WEBP to be turned":  # which browsers don't turn, so it is encoded again
            assert other.size == one.size[::-1]
            return
        one.seek(index)
        other.seek(index)
        assert (one.size, one.mode, one.info.get("duration")) == (other.size, other.mode, other.info.get("duration"))
        assert one.tobytes() == other.tobytes()


def test_coded_pixels_are_copied_not_encoded(rendered) -> None:
    data = jpeg()
    scan = data[data.index(b"\xff\xda") : data.rindex(b"\xff\xd9") + 2]
    assert rendered(data, "JPEG").endswith(scan)


@pytest.mark.parametrize("source", ["JPEG to be turned", "PNG to be turned", "MPO"])
def test_how_it_is_turned_is_still_told(rendered, source: str, tmp_path: Path) -> None:
    data = SOURCES[source]()
    made = pictures.open_bytes(rendered(data, own_format(data, tmp_path)))
    assert dict(made.getexif()) == {0x0112: 6}


WITH_EXIF = [name for name in SOURCES if name.split()[0] in ("JPEG", "PNG", "APNG", "WEBP", "HEIC", "JXL")] + ["AVIF"]


@pytest.mark.parametrize("source", WITH_EXIF)
def test_exif_and_xmp_stay_if_asked_for(rendered, tmp_path: Path, source: str) -> None:
    data = SOURCES[source]()
    format = own_format(data, tmp_path)
    with_exif = rendered(data, f"{format}?keep=exif")
    found = pictures.open_bytes(with_exif).getexif()
    assert found[0x013B] == SECRET and found.get_ifd(0x8825)[2][0] == TiffImagePlugin.IFDRational(*PLACE)
    assert b"48,12.345N" not in with_exif
    if b"48,12.345N" in data or format == "JXL":
        with_xmp = rendered(data, f"{format}?keep=xmp")
        assert b"48,12.345N" in with_xmp and not any(mark in with_xmp for mark in MARKS[1:3])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_profile_stays_and_goes_by_conversion_only(rendered, format: str) -> None:
    data = pictures.with_swapped_profile(format)
    assert pictures.open_bytes(rendered(data, format)).info["icc_profile"]
    converted = pictures.open_bytes(rendered(data, f"{format}?keep=xmp"))
    assert "icc_profile" not in converted.info
    green = pictures.pixel(converted.convert("RGB"), (5, 5))
    assert green[1] > 200 and green[0] < 140


def test_thumbnails_go(rendered) -> None:
    small = pictures.saved(Image.new("RGB", (32, 32), "blue"), "JPEG", comment=SECRET)
    inner = struct.pack("<HHHIIHHIIHHIII", 3, 0x0103, 3, 1, 6, 0x0201, 4, 1, 64, 0x0202, 4, 1, len(small), 0)
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HI", 0, 14) + inner
    block = block.ljust(6 + 64, b"\0") + small
    data = pictures.saved(photograph(), "JPEG")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    for query in ("", "?keep=exif"):
        made = rendered(data, f"JPEG{query}")
        assert made.count(b"\xff\xd8\xff") == 1 and SECRET.encode() not in made


def test_a_gain_map_keeps_its_parameters_and_nothing_else(rendered) -> None:
    light = pyvips.Image.new_from_memory(
        struct.pack("<3f", 0.5, 0.5, 0.5) * 32 * 64 + struct.pack("<3f", 2, 2, 2) * 32 * 64, 64, 64, 3, "float"
    ).copy(interpretation="scrgb")
    data = light.uhdrsave_buffer(Q=95)
    place = data.index(b"\xff\xd8", 2)
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(SECRET)) + SECRET.encode()
    made = rendered(data[: place + 2] + comment + data[place + 2 :], "JPEG")
    assert SECRET.encode() not in made
    before, after = pyvips.Image.uhdrload_buffer(data), pyvips.Image.uhdrload_buffer(made)
    for name in before.get_fields():
        if name.startswith("gainmap-") and name not in ("gainmap-data", "gainmap-use-base-cg"):
            assert before.get(name) == after.get(name), name
    assert abs(before.uhdr2scRGB() - after.uhdr2scRGB()).max() == 0


@pytest.mark.parametrize("format", ["AVIF", "HEIC"])
def test_what_the_container_cuts_off_stays_at_home(rendered, format: str) -> None:
    data = boxes.with_properties(SOURCES[format](), [boxes.clap((96, 64), (8, 8, 48, 40))])
    made = rendered(data, format)
    assert pictures.open_bytes(made).size == (48, 40)
    assert boxes.box(b"ispe", struct.pack(">III", 0, 96, 64)) not in made


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_copy_of_a_heic_is_turned_as_it_was(rendered, quarters: int) -> None:
    data = boxes.with_properties(SOURCES["HEIC"](), [boxes.irot(quarters)])
    one, other = pictures.open_bytes(data), pictures.open_bytes(rendered(data, "HEIC"))
    assert one.size == other.size and one.tobytes() == other.tobytes()


def test_a_frame_beyond_the_canvas_of_a_gif_is_cut_off(rendered) -> None:
    data = bytearray(gif(frames=2))
    data[6:8] = struct.pack("<H", 50)  # the canvas is half as wide as the frames
    assert pictures.open_bytes(rendered(bytes(data), "GIF")).size == (50, 64)


@pytest.mark.parametrize("kind", ["CMYK", "12 bits", "without loss"])
def test_a_jpeg_that_browsers_do_not_show_is_encoded_again(rendered, kind: str) -> None:
    samples = numpy.asarray(photograph())
    data = {
        "CMYK": lambda: pictures.saved(photograph().convert("CMYK"), "JPEG"),
        "12 bits": lambda: imagecodecs.jpeg8_encode(samples.astype("uint16") * 16, bitspersample=12),
        "without loss": lambda: imagecodecs.jpeg8_encode(samples, lossless=True),
    }[kind]()
    made = pictures.open_bytes(rendered(data, "JPEG"))
    assert (made.format, made.mode) == ("JPEG", "RGB")
    assert pictures.difference(made, photograph()) < (60 if kind == "CMYK" else 8)  # inks are converted by a profile


def test_what_only_calls_itself_colour_goes(rendered) -> None:
    secret = SECRET.encode() * 10
    plain = pictures.saved(photograph(), "JPEG")
    body = b"ICC_PROFILE\0\1\1" + secret
    assert not leaked(rendered(plain[:2] + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + plain[2:], "JPEG"))
    whole = pictures.saved(photograph(), "PNG")
    for kind, content in ((b"iCCP", b"a\0\0" + zlib.compress(secret)), (b"sBIT", secret), (b"pHYs", secret)):
        added = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        assert not leaked(rendered(whole[:33] + added + whole[33:], "PNG"))


def test_strips_of_a_tiff_that_are_files_of_their_own_are_encoded_again(rendered) -> None:
    inside = jpeg()
    image = tifffile_of_jpeg(inside)
    assert leaked(image) and not leaked(rendered(image, "TIFF"))


def tifffile_of_jpeg(strip: bytes) -> bytes:
    """A TIFF whose only strip is a JPEG with all of its metadata (compression 7)."""
    fields = [
        (256, 96),
        (257, 64),
        (258, 8),
        (259, 7),
        (262, 6),
        (273, 8 + 2 + 12 * 9 + 4),
        (277, 3),
        (278, 64),
        (279, len(strip)),
    ]
    directory = struct.pack("<H", len(fields)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields
    )
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + strip


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_that_is_kept_has_no_other_metadata_in_it(rendered, format: str) -> None:
    found = exif()
    for tag in (700, 33723, 34377):
        found[tag] = b"another kind " + SECRET.encode()
    del found[0x013B]
    made = rendered(pictures.saved(photograph(), format, exif=found.tobytes()), f"{format}?keep=exif")
    assert b"another kind" not in made and pictures.open_bytes(made).getexif().get_ifd(0x8825)


def test_a_tiff_turned_by_its_xmp_stays_turned(rendered) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    tag = b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" exif:GPSLatitude'
    info[700] = XMP.replace(b"exif:GPSLatitude", tag)
    made = rendered(pictures.saved(photograph(), "TIFF", tiffinfo=info), "TIFF")
    opened = pictures.open_bytes(made)
    assert isinstance(opened, TiffImagePlugin.TiffImageFile) and opened.tag_v2[274] == 6


def test_each_picture_of_an_mpo_stays_turned_as_it_was(rendered) -> None:
    second = photograph().rotate(180)
    second.encoderinfo = {"exif": exif(6).tobytes()}  # of which Pillow takes what it writes with that picture
    data = pictures.saved(photograph(), "MPO", save_all=True, append_images=[second], exif=exif(3))
    found = pictures.open_bytes(rendered(data, "MPO"))
    told = []
    for index in range(pictures.frame_count(found)):
        found.seek(index)
        told.append(dict(found.getexif()))
    assert told == [{0x0112: 3}, {0x0112: 6}]


def test_strips_that_lie_over_each_other_do_not_multiply(rendered) -> None:
    count, pixels = 200, bytes(96 * 64)
    start = 8 + 2 + 12 * 8 + 4
    fields = {256: (1, 96), 257: (1, 64 * count), 258: (1, 8), 259: (1, 1), 262: (1, 1), 278: (1, 64)}
    fields |= {273: (count, start), 279: (count, start + 4 * count)}
    directory = b"".join(struct.pack("<HHII", tag, 4, *fields[tag]) for tag in sorted(fields))
    places = struct.pack(f"<{count}I", *[start + 8 * count] * count) + struct.pack(f"<{count}I", *[len(pixels)] * count)
    data = b"II*\0" + struct.pack("<IH", 8, len(fields)) + directory + bytes(4) + places + pixels
    assert len(rendered(data, "TIFF")) < 3 * len(data)
