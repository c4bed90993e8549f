"""Camera raw files, written here byte by byte: the preview or what is developed, and what is refused."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter

from progimage.engine import (
    FORMATS,
    CorruptImage,
    ImageInfo,
    LimitExceeded,
    Limits,
    NotAnImage,
    RenditionSpec,
    UnreadKind,
    inspect,
    render,
)
from progimage.engine.inspect import inspect_upload
from progimage.engine.ladder import SIDES
from tests import pictures, raws

SIZE = 192, 128
EXIF: raws.Fields = {
    33434: (raws.RATIONAL, (0.01,)),
    36867: (raws.TEXT, "2024:05:06 07:08:09"),
    37500: (raws.BYTE, [65] * 40),
}
JPEG_XL = 52546
MAKERS = {"NIKON CORPORATION": "NEF", "SONY": "ARW", "PENTAX": "PEF", "SAMSUNG": "SRW", "Hasselblad": "RAW"}


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """Smooth, as a mosaic needs it, and no part of it like another."""
    return raws.scene(SIZE).filter(ImageFilter.GaussianBlur(3))


def preview(picture: Image.Image) -> bytes:
    """A preview, mirrored, so that it is told from what is developed."""
    return pictures.saved(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=95)


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., ImageInfo]:
    def inspect_it(data: bytes, limits: Limits | None = None) -> ImageInfo:
        (tmp_path / "source").write_bytes(data)
        return inspect(tmp_path / "source", limits or Limits())

    return inspect_it


@pytest.fixture
def shown(tmp_path: Path) -> Callable[..., Image.Image]:
    def render_it(data: bytes, spec: str = "PNG", limits: Limits | None = None) -> Image.Image:
        (tmp_path / "source").write_bytes(data)
        render(tmp_path / "source", RenditionSpec.from_canonical(spec), tmp_path / "target", limits or Limits())
        return Image.open(io.BytesIO((tmp_path / "target").read_bytes()))

    return render_it


def error(found: Image.Image, wanted: Image.Image) -> float:
    """The mean difference of two pictures, of 255; the edges, where a mosaic lacks neighbours, are left out."""
    pair = [np.asarray(one.convert("RGB")).astype(int)[4:-4, 4:-4] for one in (found, wanted)]
    assert pair[0].shape == pair[1].shape
    return float(abs(pair[0] - pair[1]).mean())


def test_samples_are_developed_to_what_the_sensor_saw(told, shown, scene) -> None:
    data = raws.raw_file(scene)
    info = told(data)
    assert (info.format, info.media_type, info.mode, info.bit_depth) == ("DNG", "image/x-adobe-dng", "RGB", 8)
    assert (info.width, info.height) == SIZE
    assert info.warnings == ("The image was developed from the raw sensor data.",)
    assert error(shown(data), scene) < 1.5


def test_an_exposure_is_not_changed_by_what_is_in_the_picture(shown, scene) -> None:
    dark = scene.point(lambda value: value // 3)
    assert error(shown(raws.raw_file(dark)), dark) < 1.5


def test_a_preview_of_full_size_stands_for_the_picture(told, shown, scene) -> None:
    data = raws.raw_file(scene, preview=preview(scene))
    assert told(data).warnings == ("The image is the camera's preview of 192×128 pixels.",)
    assert told(data).mode == "RGB"
    assert error(shown(data), scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < 2


@pytest.mark.parametrize(("share", "stands"), [(0.95, True), (0.85, False), (0.5, False)])
def test_a_smaller_preview_does_not(told, scene, share: float, stands: bool) -> None:
    small = scene.resize((round(SIZE[0] * share), round(SIZE[1] * share)))
    info = told(raws.raw_file(scene, preview=preview(small)))
    assert ("preview" in info.warnings[0]) == stands
    assert (info.width, info.height) == (small.size if stands else SIZE)


@pytest.mark.parametrize("spec", ["PNG", "PNG?width=24", "JPEG?quality=95&width=96"])
@pytest.mark.parametrize(("orientation", "turn"), [
    (1, None), (2, Image.Transpose.FLIP_LEFT_RIGHT), (3, Image.Transpose.ROTATE_180),
    (4, Image.Transpose.FLIP_TOP_BOTTOM), (5, Image.Transpose.TRANSPOSE), (6, Image.Transpose.ROTATE_270),
    (7, Image.Transpose.TRANSVERSE), (8, Image.Transpose.ROTATE_90),
])  # fmt: skip
@pytest.mark.parametrize("with_preview", [False, True])
def test_pictures_are_upright(shown, scene, spec, orientation, turn, with_preview: bool) -> None:
    seen = scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if with_preview else scene
    upright = seen.transpose(turn) if turn is not None else seen
    found = shown(raws.raw_file(scene, orientation=orientation, preview=preview(scene) if with_preview else b""), spec)
    assert found.width / found.height == pytest.approx(upright.width / upright.height, abs=0.05)
    assert error(found, upright.resize(found.size)) < 4


def test_a_preview_that_is_upright_already_is_not_turned_again(shown, scene) -> None:
    turned = scene.transpose(Image.Transpose.ROTATE_270)
    data = raws.raw_file(scene, orientation=6, preview=pictures.saved(turned, "JPEG", quality=95))
    assert error(shown(data), turned) < 2


def test_what_the_camera_shows_is_cut_out(told, shown, scene) -> None:
    data = raws.raw_file(scene, crop=(8, 6, 160, 100))
    assert (told(data).width, told(data).height, told(data).crop) == (160, 100, (8, 6, 160, 100))
    assert error(shown(data), scene.crop((8, 6, 168, 106))) < 1.5
    small = shown(data, "PNG?width=40")
    assert error(small, scene.crop((8, 6, 168, 106)).resize(small.size)) < 4


@pytest.mark.parametrize("kind", ["linear", "lossless JPEG"])
def test_other_kinds_of_dng_are_developed(shown, scene, kind: str) -> None:
    if kind == "linear":
        data = raws.raw_file(scene, photometric=raws.LINEAR_RAW)
    else:
        samples = imagecodecs.ljpeg_encode(raws.mosaic(scene), bitspersample=16)
        data = raws.raw_file(scene, compression=7, samples=samples)
    assert error(shown(data), scene) < 1.5
    assert error(shown(data, "PNG?width=48"), scene.resize((48, 32))) < 4


@pytest.mark.parametrize(("make", "name"), MAKERS.items())
def test_makers_are_told_apart(told, scene, make: str, name: str) -> None:
    info = told(raws.raw_file(scene, make=make, dng=False, preview=preview(scene)))
    assert (info.format, info.media_type) == (name, FORMATS[name].media_type)
    assert (info.width, info.height) == SIZE


@pytest.mark.parametrize("make", [make for make in MAKERS if make != "SONY"])  # which has its own ways
def test_their_samples_are_developed(shown, scene, make: str) -> None:
    found = shown(raws.raw_file(scene, make=make, dng=False))
    # Without a matrix of the camera, colours and white are a guess.
    assert found.size == SIZE and error(found.convert("L"), scene.convert("L")) < 20


def test_olympus_has_a_signature_of_its_own(told, scene) -> None:
    data = raws.raw_file(scene, make="OLYMPUS", dng=False, start=b"IIRO", preview=preview(scene), exif=EXIF)
    assert told(data).format == "ORF"
    assert told(data).exif["DateTimeOriginal"] == "2024:05:06 07:08:09"


def test_a_tiff_of_a_maker_of_cameras_stays_a_tiff(told) -> None:
    data = pictures.saved(pictures.colour(), "TIFF", tiffinfo={271: "NIKON CORPORATION"})
    assert (told(data).format, told(data).warnings) == ("TIFF", ())


@pytest.mark.parametrize("with_preview", [False, True])
def test_exif_is_told_and_kept_without_makers_notes(told, shown, scene, with_preview: bool) -> None:
    notes: raws.Fields = {**EXIF, 37500: (raws.BYTE, [*b"Acme", *bytes(20)])}
    data = raws.raw_file(scene, orientation=6, exif=notes, preview=preview(scene) if with_preview else b"")
    assert told(data).exif == {
        "Make": "Acme", "Model": "Acme One", "ExposureTime": 0.01, "DateTimeOriginal": "2024:05:06 07:08:09",
    }  # fmt: skip
    kept = shown(data, "JPEG?keep=exif").getexif()
    inner = kept.get_ifd(ExifTags.IFD.Exif)
    assert kept[ExifTags.Base.Make] == "Acme" and kept[ExifTags.Base.Orientation] == 1
    assert inner[ExifTags.Base.DateTimeOriginal] == "2024:05:06 07:08:09"
    assert ExifTags.Base.MakerNote not in inner
    assert not {50706, 50721, 330} & set(kept)
    assert not shown(data, "JPEG").getexif()


def test_what_libraw_cannot_decode_is_refused_by_name_unless_there_is_a_preview(told, scene) -> None:
    samples = imagecodecs.jpegxl_encode(raws.mosaic(scene), lossless=True)
    with pytest.raises(UnreadKind, match="DNG"):
        told(raws.raw_file(scene, compression=JPEG_XL, samples=samples))
    assert told(raws.raw_file(scene, compression=JPEG_XL, samples=samples, preview=preview(scene))).width == SIZE[0]


@pytest.mark.parametrize("photometric", [raws.CFA, raws.LINEAR_RAW])
def test_missing_samples_do_not_show_what_was_in_memory_before(told, scene, photometric: int) -> None:
    samples, large = b"this is no lossless JPEG", scene.resize((1200, 900))
    data = raws.raw_file(large, photometric=photometric, compression=7, samples=samples)
    for _ in range(5):
        traces = [b"\x07" * (1 << power) for power in range(10, 24)]
        del traces
        with pytest.raises(CorruptImage, match="no sensor data"):
            told(data)


# Damaged previews


MIDDLE = 3000
"""Of the preview's bytes, about the middle of its pixels."""
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda data: data[:MIDDLE],
    "cut off, with an end marker": lambda data: data[:MIDDLE] + b"\xff\xd9",
    "cut off, filled up with zeros": lambda data: data[:MIDDLE] + bytes(len(data) - MIDDLE),
    "broken codes": lambda data: data[:MIDDLE] + b"\x5a\xc3" * 200 + data[MIDDLE + 400 :],
}
"""What costs pixels."""


@pytest.mark.parametrize("spec", ["PNG", "PNG?width=48"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_where_the_preview_is_damaged_the_picture_is_developed(told, shown, scene, damage: str, spec: str) -> None:
    data = raws.raw_file(scene, preview=DAMAGE[damage](preview(scene)))
    for limits in (Limits(), Limits(damaged=True)):
        info = told(data, limits)
        assert info.warnings == (
            "The camera's preview is damaged, so the image was developed from the raw sensor data.",
        )
        assert (info.width, info.height, info.damaged) == (*SIZE, False)
    found = shown(data, spec)
    assert error(found, scene.resize(found.size)) < 4


def test_damage_of_the_preview_that_costs_no_pixel_is_mended(told, shown, scene) -> None:
    whole = preview(scene)
    wanted = shown(raws.raw_file(scene, preview=whole))
    said = "The image is the camera's preview of 192×128 pixels."
    for jpeg, warnings in (
        (whole[:-2], (said, "The JPEG has no end marker.")),
        (whole + bytes(7), (said,)),
        (whole + b"more", (said, "After the end of the image there are 4 bytes, which are ignored.")),
    ):
        data = raws.raw_file(scene, preview=jpeg)
        assert told(data).warnings == warnings
        assert error(shown(data), wanted) == 0


UNDEVELOPED: dict[str, Callable[[Image.Image, bytes], bytes]] = {
    "of a kind LibRaw does not know": lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, compression=JPEG_XL, samples=imagecodecs.jpegxl_encode(raws.mosaic(picture))
    ),
    "without samples": lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, samples=bytes(len(raws.mosaic(picture).tobytes()))
    ),
}


@pytest.mark.parametrize("kind", UNDEVELOPED)
def test_a_damaged_preview_is_kept_as_far_as_it_goes_if_nothing_else_is_left(told, shown, scene, kind: str) -> None:
    data = UNDEVELOPED[kind](scene, preview(scene)[:MIDDLE])
    with pytest.raises(CorruptImage, match=r"preview is damaged.*damaged=accept"):
        told(data)
    info = told(data, Limits(damaged=True))
    assert info.damaged and "rows are missing" in info.warnings[0] and "preview" in info.warnings[1]
    half = shown(data, limits=Limits(damaged=True))
    seen = scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert error(half.crop((0, 0, SIZE[0], 40)), seen.crop((0, 0, SIZE[0], 40))) < 3


def moved_to_the_end(data: bytes, part: bytes) -> bytes:
    """Return a file with a copy of a strip at its end, which is read instead."""
    before, after = (struct.pack("<HHII", 273, 4, 1, place) for place in (data.index(part), len(data)))
    assert data.count(before) == 1
    return data.replace(before, after) + part


def test_a_whole_preview_is_kept_of_a_file_that_has_lost_samples(told, shown, scene) -> None:
    data = moved_to_the_end(raws.raw_file(scene, preview=preview(scene)), raws.mosaic(scene).tobytes())
    assert not told(data).damaged
    with pytest.raises(CorruptImage, match=r"ends before its last sample.*damaged=accept"):
        told(data[:-1000])
    info = told(data[:-1000], Limits(damaged=True))
    assert info.damaged and info.warnings[0] == "The DNG file ends before its last sample."
    found = shown(data[:-1000], limits=Limits(damaged=True))
    assert error(found, scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) < 2


def test_a_file_that_ends_inside_of_its_preview_is_developed(told, shown, scene) -> None:
    jpeg = preview(scene)
    data = moved_to_the_end(raws.raw_file(scene, preview=jpeg), jpeg)[: -len(jpeg) // 2]
    assert "developed" in told(data).warnings[0]
    assert error(shown(data), scene) < 1.5


# What LibRaw misreads


FLOATS: raws.Fields = {258: (raws.SHORT, (32, 32, 32)), 339: (raws.SHORT, (3, 3, 3)), 50717: (raws.LONG, (1, 1, 1))}
HALVES: raws.Fields = {258: (raws.SHORT, (16, 16, 16)), 339: (raws.SHORT, (3, 3, 3)), 50717: (raws.LONG, (1, 1, 1))}
STRIP = 32
STRIPS: raws.Fields = {278: (raws.LONG, STRIP)}


def in_strips(picture: Image.Image) -> list[Image.Image]:
    return [picture.crop((0, top, picture.width, top + STRIP)) for top in range(0, picture.height, STRIP)]


def floats(picture: Image.Image, kind: str) -> bytes:
    return (raws.linear(picture) / raws.WHITE).astype(kind).tobytes()


MISREAD: dict[str, tuple[str, Callable[[Image.Image, bytes], bytes]]] = {
    "floats, deflated": ("floating-point samples with Deflate", lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, photometric=raws.LINEAR_RAW, compression=8, further=FLOATS,
        samples=zlib.compress(floats(picture, "<f4")),
    )),
    "halves, deflated": ("floating-point samples with Deflate", lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, photometric=raws.LINEAR_RAW, compression=8, further={**HALVES, **STRIPS},
        samples=[zlib.compress(floats(strip, "<f2")) for strip in in_strips(picture)],
    )),
    "whole numbers, deflated": ("whole numbers with Deflate", lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, compression=8, samples=zlib.compress(raws.mosaic(picture).tobytes()),
    )),
    "lossy JPEG in strips": ("several compressed strips", lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, photometric=raws.LINEAR_RAW, compression=34892, further=STRIPS,
        samples=[pictures.saved(strip, "JPEG", quality=95) for strip in in_strips(picture)],
    )),
    "lossless JPEG in strips": ("several compressed strips", lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, compression=7, further=STRIPS,
        samples=[imagecodecs.ljpeg_encode(raws.mosaic(strip), bitspersample=16) for strip in in_strips(picture)],
    )),
    "strips apart": ("strips that aren't adjacent", lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, further=STRIPS,
        samples=[raws.mosaic(strip).tobytes() + bytes(64) for strip in in_strips(picture)],
    )),
    "planes": ("separate planes", lambda picture, jpeg: raws.raw_file(
        picture, preview=jpeg, photometric=raws.LINEAR_RAW, further={284: (raws.SHORT, 2)},
        samples=raws.linear(picture).transpose(2, 0, 1).tobytes(),
    )),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISREAD)
def test_what_libraw_would_misread_is_refused_by_name_unless_there_is_a_preview(told, scene, kind: str) -> None:
    name, made = MISREAD[kind]
    with pytest.raises(UnreadKind, match=rf"\(DNG\) with .*{name}"):
        told(made(scene, b""))
    assert "preview" in told(made(scene, preview(scene))).warnings[0]


def test_strips_and_floats_that_libraw_does_read_are_developed(shown, scene) -> None:
    whole = raws.raw_file(scene, further=STRIPS, samples=[raws.mosaic(one).tobytes() for one in in_strips(scene)])
    assert error(shown(whole), scene) < 1.5
    single = raws.raw_file(
        scene, photometric=raws.LINEAR_RAW, further={**FLOATS, **STRIPS},
        samples=[floats(one, "<f4") for one in in_strips(scene)],
    )  # fmt: skip
    assert error(shown(single), scene) < 1.5


# Raw files that begin with another picture


SMALL: raws.Fields = {
    256: (raws.LONG, 8), 257: (raws.LONG, 6), 258: (raws.SHORT, (8, 8, 8)), 259: (raws.SHORT, 1),
    262: (raws.SHORT, 2), 271: (raws.TEXT, "Acme"), 277: (raws.SHORT, 3), 278: (raws.LONG, 6),
}  # fmt: skip
MARKS: dict[str, raws.Fields] = {
    "pattern of a mosaic": {33422: (raws.BYTE, (0, 1, 1, 2))},
    "Kodak's directory": {33424: (raws.LONG, 8)},
    "Leaf's data": {34310: (raws.BYTE, [0] * 20)},
    "Sony's directory": {50740: (raws.BYTE, (8, 0, 0, 0))},
    "compressed by Kodak": {259: (raws.SHORT, 65000)},
    "DNG version": {50706: (raws.BYTE, (1, 4, 0, 0))},
}


def test_the_small_picture_alone_is_a_tiff(told) -> None:
    assert told(raws.tiff(raws.Directory(SMALL, [bytes(144)]))).format == "TIFF"


@pytest.mark.parametrize("mark", MARKS)
def test_a_tiff_with_the_marks_of_a_raw_is_not_taken_for_its_small_picture(told, mark: str) -> None:
    with pytest.raises((CorruptImage, UnreadKind), match=r"\((RAW|DNG)\)"):
        told(raws.tiff(raws.Directory({**SMALL, **MARKS[mark]}, [bytes(144)])))


@pytest.mark.parametrize("signature", [b"IIIICwaR", b"IIIITwaR"])
def test_neither_is_a_phase_one(told, signature: bytes) -> None:
    data = raws.tiff(raws.Directory(SMALL, [signature.ljust(144, b"\0")]))
    assert data[8:16] == signature
    with pytest.raises((CorruptImage, UnreadKind), match=r"\(RAW\)"):
        told(data)


def test_a_dng_in_a_bigtiff_is_refused_by_name(told) -> None:
    picture = pictures.colour((8, 6))
    assert told(pictures.saved(picture, "TIFF", big_tiff=True)).format == "TIFF"
    version = Image.Exif()
    version[50706] = b"\1\7\0\0"
    data = pictures.saved(picture, "TIFF", big_tiff=True, tiffinfo=version)
    assert data[:4] == b"II+\0" and struct.pack("<H", 50706) in data
    with pytest.raises(UnreadKind, match=r"\(DNG\)"):
        told(data)


@pytest.mark.parametrize("with_preview", [False, True])
def test_samples_that_are_missing_are_not_shown_as_black(told, scene, with_preview: bool) -> None:
    data = raws.raw_file(scene, preview=preview(scene) if with_preview else b"")
    whole = len(raws.mosaic(scene).tobytes())
    cut = data.replace(whole.to_bytes(4, "little"), (len(data) + 1).to_bytes(4, "little"))
    assert cut != data
    with pytest.raises(CorruptImage, match="ends before its last sample"):
        told(cut)
    with pytest.raises(CorruptImage):
        told(raws.raw_file(scene, samples=raws.mosaic(scene).tobytes()[:5000]))
    with pytest.raises(CorruptImage, match="no sensor data"):
        told(raws.raw_file(scene, samples=bytes(whole)))


@pytest.mark.parametrize("with_preview", [False, True])
def test_smaller_copies_are_made(tmp_path: Path, with_preview: bool) -> None:
    picture = raws.scene((2000, 1400))
    jpeg = pictures.saved(picture, "JPEG") if with_preview else b""
    (tmp_path / "source").write_bytes(raws.raw_file(picture, orientation=6, preview=jpeg))
    rungs = {side: tmp_path / str(side) for side in SIDES}
    found = inspect_upload(tmp_path / "source", Limits(), rungs)
    assert found.ladder is not None and found.ladder.size == (1400, 2000)
    with Image.open(rungs[512]) as copy:
        upright = picture.transpose(Image.Transpose.ROTATE_270).resize(copy.size)
        assert error(copy, upright) < 6


def test_sizes_are_bounded_before_anything_is_developed(told, scene) -> None:
    with pytest.raises(LimitExceeded):
        told(raws.raw_file(scene), Limits(pixels=SIZE[0] * SIZE[1] - 1))


@pytest.mark.parametrize(
    "start",
    [
        b"FUJIFILMCCD-RAW 0201FF", b"IIU\0\x08\0\0\0", b"IIRO\x08\0\0\0", b"\0\0\0\x18ftypcrx ",
        b"\x00701. .reV\0\0LATIGID N\0\0\0\0ARECOYK",
    ],
)  # fmt: skip
def test_a_file_that_only_begins_like_one_is_refused_by_name(told, start: bytes) -> None:
    with pytest.raises((CorruptImage, NotAnImage), match=r"RAF|RW2|ORF|CR3|RAW"):
        told(start + bytes(2000))
