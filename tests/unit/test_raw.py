"""Camera raw files, written here byte by byte: the preview or what is developed, and what is refused."""

import io
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
from progimage.engine.inspect import survey
from progimage.engine.ladder import SIDES
from tests import pictures, raws

SIZE = 192, 128
EXIF = {33434: (raws.RATIONAL, (0.01,)), 36867: (raws.TEXT, "2024:05:06 07:08:09"), 37500: (raws.BYTE, [65] * 40)}
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
    def render_it(data: bytes, spec: str = "PNG") -> Image.Image:
        (tmp_path / "source").write_bytes(data)
        render(tmp_path / "source", RenditionSpec.from_canonical(spec), tmp_path / "target", Limits())
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
    assert info.warnings == ("The picture was developed from the sensor's samples.",)
    assert error(shown(data), scene) < 1.5


def test_an_exposure_is_not_changed_by_what_is_in_the_picture(shown, scene) -> None:
    dark = scene.point(lambda value: value // 3)
    assert error(shown(raws.raw_file(dark)), dark) < 1.5


def test_a_preview_of_full_size_stands_for_the_picture(told, shown, scene) -> None:
    data = raws.raw_file(scene, preview=preview(scene))
    assert told(data).warnings == ("The picture is the camera's own preview of 192×128 pixels.",)
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
    (1, None), (3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270), (8, Image.Transpose.ROTATE_90),
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
    notes = {**EXIF, 37500: (raws.BYTE, [*b"Acme", *bytes(20)])}
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
    with pytest.raises(CorruptImage, match="no samples"):
        told(raws.raw_file(scene, samples=bytes(whole)))


@pytest.mark.parametrize("with_preview", [False, True])
def test_smaller_copies_are_made(tmp_path: Path, with_preview: bool) -> None:
    picture = raws.scene((2000, 1400))
    jpeg = pictures.saved(picture, "JPEG") if with_preview else b""
    (tmp_path / "source").write_bytes(raws.raw_file(picture, orientation=6, preview=jpeg))
    steps = {side: tmp_path / str(side) for side in SIDES}
    found = survey(tmp_path / "source", Limits(), steps)
    assert found.ladder is not None and found.ladder.size == (1400, 2000)
    with Image.open(steps[512]) as copy:
        upright = picture.transpose(Image.Transpose.ROTATE_270).resize(copy.size)
        assert error(copy, upright) < 6


def test_sizes_are_bounded_before_anything_is_developed(told, scene) -> None:
    with pytest.raises(LimitExceeded):
        told(raws.raw_file(scene), Limits(pixels=SIZE[0] * SIZE[1] - 1))


@pytest.mark.parametrize(
    "start", [b"FUJIFILMCCD-RAW 0201FF", b"IIU\0\x08\0\0\0", b"IIRO\x08\0\0\0", b"\0\0\0\x18ftypcrx "]
)
def test_a_file_that_only_begins_like_one_is_refused_by_name(told, start: bytes) -> None:
    with pytest.raises((CorruptImage, NotAnImage), match=r"RAF|RW2|ORF|CR3"):
        told(start + bytes(2000))
