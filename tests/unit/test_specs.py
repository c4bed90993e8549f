"""Specs: what goes together, what a format has no way to hold, and what a rendition keeps of its image."""

import re
from urllib.parse import parse_qsl

import pytest

from progimage.engine import FORMATS, InvalidParameter, RenditionSpec
from progimage.engine.faces import DETECTOR
from progimage.engine.spec import MAX_STAGES, canonical_name, changes_pixels, keeps_gain_map, may_be_transparent

REFERENCE = "7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90"


def spec(text: str) -> RenditionSpec:
    return RenditionSpec.from_canonical(text)


def refused(text: str) -> InvalidParameter:
    with pytest.raises(InvalidParameter) as refusal:
        spec(text)
    return refusal.value


@pytest.mark.parametrize(
    ("text", "parameter", "given"),
    [
        ("PNG?quality=80", "quality", "80"),
        ("PNG?q=80", "quality", "80"),
        ("BMP?effort=3", "effort", "3"),
        ("BMP?progressive", "progressive", "true"),
        ("JPEG?lossless", "lossless", "true"),
        ("JPEG?palette=9", "palette", "9"),
        ("PNG?chroma=4:4:4", "chroma", "4:4:4"),
        ("PNG?depth=10", "depth", "10"),
        ("JPEG?depth=16", "depth", "16"),
        ("JPEG?depth=10", "depth", "10"),
        ("GIF?keep=exif", "keep", "exif"),
        ("GIF?keep=exif,xmp", "keep", "exif,xmp"),
        ("BMP?profile=p3", "profile", "p3"),
        ("JPEG?hdr=keep", "hdr", "keep"),
        ("PDF?quality=auto", "quality", "auto"),
        ("BMP?max_bytes=1000", "max_bytes", "1000"),
        # what contradicts something else
        ("JPEG?keep=exif&strip", "keep", "exif"),
        ("JPEG?profile=p3&strip", "profile", "p3"),
        ("JPEG?profile=p3&keep=exif", "profile", "p3"),
        ("WEBP?lossless&quality=5", "quality", "5"),
        ("WEBP?lossless&max_bytes=500", "max_bytes", "500"),
        ("PNG?aspect=16:9&width=5&height=5", "aspect", "16:9"),
        ("WEBP?ops=width:5&height=5", "height", "5"),
        ("WEBP?ops=width:5&background=red", "background", "ff0000"),
        ("PNG?hdr=keep&strip", "hdr", "keep"),
        ("PNG?hdr=keep&depth=8", "hdr", "keep"),
        ("PNG?hdr=keep&profile=srgb", "hdr", "keep"),
        ("PNG?hdr=keep&blur=2&hue=9", "hdr", "keep"),
        ("PNG?hdr=keep&text=a", "hdr", "keep"),
        ("PNG?hdr=keep&background=red", "hdr", "keep"),
        ("PNG?hdr=keep&border=5", "hdr", "keep"),
        ("PNG?hdr=keep&sharpen", "hdr", "keep"),
        ("PNG?hdr=keep&ops=width:5|sepia:1", "hdr", "keep"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(text: str, parameter: str, given: str) -> None:
    refusal = refused(text)
    assert (refusal.parameter, refusal.given) == (parameter, given) and refusal.allowed


@pytest.mark.parametrize(
    "text",
    [
        "JPEG?quality=auto", "WEBP?lossless", "PNG?lossless", "JPEG?lossless=false", "PNG?depth=16", "PNG?depth=8",
        "AVIF?depth=10", "BMP?depth=8", "JPEG?keep=exif,icc", "BMP?profile=srgb", "BMP?profile=keep", "BMP?hdr=sdr",
        "JPEG?profile=p3&keep=icc,exif", "WEBP?quality=5&max_bytes=500", "PNG?aspect=16:9&width=5",
        "PNG?aspect=16:9&height=5", "WEBP?ops=width:5&quality=5&page=2&dpi=50", "PNG?hdr=keep&blur=2&width=5&depth=16",
        "PNG?hdr=keep&rotate=90&crop=5,5", "BMP?progressive=false", "PDF?quality=50", "PNG?hdr=keep&depth=16",
        "PNG?strip&profile=srgb",
    ],
)  # fmt: skip
def test_what_goes_together_is_taken(text: str) -> None:
    assert spec(spec(text).canonical()) == spec(text)


def named(text: str) -> set[str]:
    """Return the other formats that a refusal names."""
    return set(re.findall(r"[A-Z][A-Z0-9-]+", refused(text).allowed)) - {text.partition("?")[0]}


def test_a_refusal_says_which_formats_would_do() -> None:
    for text, option in (("PNG?quality=80", "quality"), ("JPEG?palette=9", "palette"), ("BMP?effort=3", "effort")):
        assert named(text) == {one.name for one in FORMATS.values() if one.can_write and option in one.options}
    assert named("JPEG?hdr=keep") == {one.name for one in FORMATS.values() if one.cicp}
    assert re.findall("[0-9]+", refused("PNG?depth=10").allowed) == ["8", "16"]


@pytest.mark.parametrize(
    ("text", "word"),
    [("PNG?hdr=keep&strip", "strip"), ("PNG?hdr=keep&depth=8", "depth"), ("PNG?hdr=keep&profile=srgb", "profile"),
     ("PNG?hdr=keep&hue=9", "hue"), ("PNG?hdr=keep&ops=flip:true|sepia:1", "sepia")],
)  # fmt: skip
def test_hdr_is_refused_together_with_what_makes_sdr_of_it(text: str, word: str) -> None:
    assert f"together with {word}" in refused(text).allowed


def test_what_was_not_asked_for_is_left_out_where_a_format_lacks_it() -> None:
    query = [("quality", "80"), ("lossless", "true"), ("width", "5")]
    assert RenditionSpec.parse("PNG", query, drop_unfit=True) == RenditionSpec("PNG", width=5, lossless=True)
    assert RenditionSpec.parse("PNG", query, drop_unfit={"quality"}) == RenditionSpec("PNG", width=5, lossless=True)
    with pytest.raises(InvalidParameter) as refusal:
        RenditionSpec.parse("PNG", query, drop_unfit={"width", "lossless"})
    assert refusal.value.parameter == "quality"
    with pytest.raises(InvalidParameter):
        RenditionSpec.parse("PNG", query, drop_unfit=False)
    kept = RenditionSpec.parse("JPEG", [("quality", "80"), ("width", "5")], drop_unfit={"quality"})
    assert kept == RenditionSpec("JPEG", quality=80, width=5)  # it has it


def test_stages_go_one_after_the_other() -> None:
    one = spec("PNG?ops=width:300;height:200|blur:2|text:a\\|b\\;c\\\\d")
    assert [stage.width for stage in one.stages] == [300, None, None] and one.stages[1].blur == 2
    assert one.stages[2].text == "a|b;c\\d"
    assert spec(one.canonical()) == one
    assert spec("PNG?width=5").stages == (spec("PNG?width=5"),)
    assert one.canonical() == "PNG?ops=width:300;height:200|blur:2|text:a%5C|b%5C;c%5C%5Cd"


def test_sixteen_stages_are_enough_for_everybody() -> None:
    assert len(spec("PNG?ops=" + "|".join(["flip"] * 16)).stages) == 16 == MAX_STAGES
    assert refused("PNG?ops=" + "|".join(["flip"] * 17)).parameter == "ops"


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("PNG?ops=flip|width:0", "ops 2: width"),
        ("PNG?ops=flip||flop", "ops 2: "),
        ("PNG?ops=", "ops"),
        ("PNG?ops=width:1;width:2", "ops 1: width"),
        ("PNG?ops=flip|flop|quality:5", "ops 3: quality"),
        ("PNG?ops=flip|aspect:1;width:1;height:1", "aspect"),
        ("PNG?ops=border_color:red", "ops 1: border_color"),
    ],
)
def test_a_refusal_says_in_which_stage(text: str, parameter: str) -> None:
    assert refused(text).parameter == parameter


def test_other_images_are_named_with_their_stage() -> None:
    assert spec(f"PNG?watermark={REFERENCE}").references() == {"watermark": REFERENCE}
    found = spec(f"PNG?ops=flip|mask:{REFERENCE}|watermark:{REFERENCE}").references()
    assert found == {"ops 2: mask": REFERENCE, "ops 3: watermark": REFERENCE}


def test_the_canonical_string_has_what_is_not_usual_in_a_fixed_order() -> None:
    assert spec("WEBP?q=80&fit=cover&blur&page=2&w=300").canonical() == "WEBP?width=300&blur=5&page=2&quality=80"
    assert spec("PNG").canonical() == "PNG"


def test_metadata_are_kept_unless_all_are_stripped() -> None:
    assert spec("JPEG").kept == {"icc"} and spec("JPEG?keep=exif").kept == {"exif"} and spec("JPEG?strip").kept == set()


def test_only_operations_change_pixels() -> None:
    for query in ("width=5", "flip", "text=a", "trim", "rotate=1", "gamma=2"):
        assert changes_pixels(spec(f"PNG?{query}").stages[0]), query
    for query in ("", "page=2", "depth=16", "strip", "autorotate=false"):
        assert not changes_pixels(spec(f"PNG?{query}").stages[0]), query


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("JPEG", True), ("JPEG?width=5", True), ("JPEG?crop=5,5", True), ("JPEG?rotate=90&flip", True),
        ("JPEG?quality=5", True), ("JPEG?keep=exif,icc", True), ("JPEG?ops=width:5|rotate:90", True),
        ("PNG", False), ("AVIF", False), ("JPEG?strip", False), ("JPEG?profile=srgb", False), ("JPEG?effort=5", False),
        ("JPEG?chroma=4:4:4", False), ("JPEG?progressive", False), ("JPEG?progressive=false", False),
        ("JPEG?blur=2", False), ("JPEG?hue=2", False), ("JPEG?border=2", False), ("JPEG?text=a", False),
        ("JPEG?ops=width:5|blur:2", False),
    ],
)  # fmt: skip
def test_a_gain_map_stays_where_pixels_only_change_their_place(text: str, kept: bool) -> None:
    assert keeps_gain_map(spec(text)) is kept


@pytest.mark.parametrize(
    ("query", "opaque", "clear"),
    [
        # Whether there may be transparent pixels: of an opaque image, and of one that has some.
        ("", False, True),
        ("width=5&height=5", False, True),
        ("width=5&height=5&fit=contain", True, True),
        ("width=5&fit=contain", False, True),
        ("height=5&fit=contain", False, True),
        ("aspect=1:1&fit=contain", True, True),
        ("aspect=1:1", False, True),
        ("width=5&height=5&fit=contain&extend_mode=copy", False, True),
        ("width=5&height=5&fit=contain&background=red", False, False),
        ("width=5&height=5&fit=contain&background=f008", True, True),
        ("extend=5", True, True),
        ("extend=5&extend_mode=mirror", False, True),
        ("rotate=90", False, True),
        ("rotate=45", True, True),
        ("rotate=45&background=red", False, False),
        ("radius=5", True, True),
        (f"mask={REFERENCE}", True, True),
        ("background=red", False, False),
        ("border=5", False, True),
        ("border=5&border_color=f008", True, True),
        ("border=5&border_color=f008&background=red", False, False),
        ("ops=rotate:45|background:red", False, False),
        ("ops=background:red|rotate:45", True, True),
        ("ops=flip:true|radius:5|flip:true", True, True),
    ],
)
def test_what_may_be_transparent(query: str, opaque: bool, clear: bool) -> None:
    asked = RenditionSpec.parse("PNG", parse_qsl(query))
    assert may_be_transparent(asked, False) is opaque and may_be_transparent(asked, True) is clear


def test_names_stand_for_their_parameters() -> None:
    assert canonical_name("w") == "width" and canonical_name("width") == "width" and canonical_name("zzz") == "zzz"


@pytest.mark.skipif(bool(DETECTOR), reason="a face detector is installed")
def test_without_a_face_detector_faces_are_refused() -> None:
    assert refused("PNG?width=5&height=5&gravity=face").parameter == "gravity"
