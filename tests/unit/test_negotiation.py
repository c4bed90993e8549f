"""Which format `auto` stands for: what the client accepts (RFC 9110, section 12.5.1), and what holds the picture."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from progimage.engine import FORMATS, ImageInfo, RenditionSpec
from progimage.images.negotiation import accepted_types, suitable_format

PHOTO = ImageInfo("JPEG", "image/jpeg", 400, 300, 1, False, 0, "RGB", 8, False, None, 1)
DRAWING, CLEAR = replace(PHOTO, line_art=True), replace(PHOTO, alpha=True, mode="RGBA")
MOVING = replace(PHOTO, format="GIF", frames=5, animated=True)


def chosen(
    query: str = "", info: ImageInfo = PHOTO, accept: str = "image/webp", preferred: Sequence[str] = ("WEBP",)
) -> str:
    spec = RenditionSpec.from_canonical(f"PNG?{query}" if query else "PNG")
    return suitable_format(spec, info, accept, preferred)[0]


@pytest.mark.parametrize(
    ("accept", "types"),
    [
        ("image/webp", {"image/webp"}),
        ("image/avif,image/webp", {"image/avif", "image/webp"}),
        (" IMAGE/WebP ; q=0.5 , image/png", {"image/webp", "image/png"}),
        ("image/webp;q=0", set()),
        ("image/webp;q=0.0", set()),
        ("image/webp;q=0.000", set()),
        ("image/webp; Q=0", set()),
        ("image/webp;q = 0", set()),
        ("image/webp;q=0.001", {"image/webp"}),
        ("image/webp;q=1", {"image/webp"}),
        ("image/webp;q=1.000", {"image/webp"}),
        ("image/webp;q=10", {"image/webp"}),
        ("image/webp;level=0", {"image/webp"}),
        ("image/webp;level=1;q=0", set()),
        ("image/*;q=0.8,*/*;q=0.5", {"image/*", "*/*"}),
        ("", {""}),
    ],
)
def test_a_type_is_accepted_that_is_named_and_not_refused(accept: str, types: set[str]) -> None:
    assert accepted_types(accept) == types


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        ("image/avif,image/webp", "AVIF"),
        ("image/webp,image/avif", "AVIF"),  # what the operator prefers, since both are accepted
        ("image/webp;q=1,image/avif;q=0.1", "AVIF"),
        ("image/avif;q=0,image/webp", "WEBP"),
        ("image/jxl", "JXL"),
        ("image/*,*/*;q=0.8", "JPEG"),  # said by clients that show neither
        ("*/*", "JPEG"),
        ("", "JPEG"),
        ("text/html", "JPEG"),
        ("image/avif-sequence", "JPEG"),
    ],
)
def test_the_first_preferred_format_is_taken_that_the_client_names(accept: str, format: str) -> None:
    assert chosen(accept=accept, preferred=["AVIF", "WEBP", "JXL"]) == format


@pytest.mark.parametrize(
    ("info", "query", "format"),
    [
        (PHOTO, "", "JPEG"),
        (CLEAR, "", "PNG"),
        (DRAWING, "", "PNG"),
        (MOVING, "", "GIF"),
        (MOVING, "page=1", "JPEG"),
        (replace(MOVING, line_art=True), "", "GIF"),
        (replace(MOVING, alpha=True), "", "GIF"),
        (CLEAR, "background=red", "JPEG"),
        (PHOTO, "radius=9", "PNG"),
        (PHOTO, "depth=16", "PNG"),
        (PHOTO, "lossless", "PNG"),
    ],
)
def test_whoever_names_nothing_gets_what_every_client_shows(info: ImageInfo, query: str, format: str) -> None:
    assert chosen(query, info, accept="*/*") == format


@pytest.mark.parametrize(
    ("format", "info", "query", "fits"),
    [
        ("MPO", PHOTO, "", True),
        ("MPO", CLEAR, "", False),
        ("MPO", PHOTO, "radius=5", False),
        ("MPO", MOVING, "", False),
        ("MPO", MOVING, "page=2", True),
        ("WEBP", MOVING, "", True),
        ("WEBP", CLEAR, "", True),
        ("MPO", PHOTO, "lossless", False),
        ("WEBP", PHOTO, "lossless", True),
        ("WEBP", PHOTO, "depth=16", False),
        ("JXL", PHOTO, "depth=16", False),
        ("JXL", replace(PHOTO, mode="L"), "depth=16", True),
        ("JXL", replace(PHOTO, mode="1"), "depth=16", True),
        ("AVIF", PHOTO, "depth=16", False),
        ("TIFF", PHOTO, "depth=16", True),
        ("WEBP", MOVING, "depth=16", True),
        ("WEBP", replace(PHOTO, hdr=True), "hdr=keep", False),
        ("AVIF", replace(PHOTO, hdr=True), "hdr=keep", True),
        ("WEBP", replace(PHOTO, hdr=True), "", True),
        ("WEBP", replace(PHOTO, gain_map=True), "hdr=keep", False),
        ("WEBP", PHOTO, "hdr=keep", True),
        ("WEBP", replace(MOVING, hdr=True), "hdr=keep", True),
        ("WEBP", replace(MOVING, hdr=True), "hdr=keep&page=1", False),
        ("TIFF", MOVING, "", False),
    ],
)
def test_a_format_is_taken_only_if_it_holds_the_picture(format: str, info: ImageInfo, query: str, fits: bool) -> None:
    assert (chosen(query, info, FORMATS[format].media_type, [format]) == format) is fits


def test_animations_are_lossless_only_where_the_format_can() -> None:
    for name in ("WEBP", "PNG", "AVIF"):
        format = FORMATS[name]
        found = chosen("lossless", MOVING, format.media_type, [name])
        assert (found == name) is (format.lossless_animations or name == "PNG")


@pytest.mark.parametrize(
    ("info", "query", "fits"),
    [
        # WebP holds 16383 pixels a side.
        (replace(PHOTO, width=16_383), "", True),
        (replace(PHOTO, width=16_384), "", False),
        (replace(PHOTO, height=16_384), "", False),
        (replace(PHOTO, width=20_000), "width=16383", True),
        (replace(PHOTO, width=16_384), "crop=0,0,16383,100", True),
        (replace(PHOTO, width=16_382), "border=1", False),
        (replace(PHOTO, width=16_383), "ops=rotate:90|width:300", True),
        (PHOTO, "ops=zoom:50|width:300", True),
        (PHOTO, "ops=width:300|zoom:60", False),
        (replace(PHOTO, width=16_384), "trim", False),
        # Pages of their own sizes, and turned ones.
        (replace(PHOTO, page_sizes=((400, 300), (20_000, 10))), "page=2", False),
        (replace(PHOTO, page_sizes=((20_000, 300), (400, 10))), "page=2", True),
        (replace(PHOTO, width=20_000, page_sizes=((400, 300), (400, 10))), "page=3", False),
        (replace(PHOTO, width=20_000, page_sizes=((400, 300), (400, 10))), "", False),
        (replace(PHOTO, width=12_000, height=9_000, orientation=6), "crop=0,0,100%,100%&height=12000", True),
        (
            replace(PHOTO, width=300, height=400, orientation=6),
            "width=100&height=20000&fit=contain&autorotate=false",
            False,
        ),
        # Drawings have the size that the resolution makes of them: 96 dots an inch are theirs.
        (replace(PHOTO, format="SVG", width=4000, height=100), "dpi=393", True),
        (replace(PHOTO, format="SVG", width=4000, height=100), "dpi=394", False),
        (replace(PHOTO, format="SVG", width=100, height=4000), "dpi=394", False),
        (replace(PHOTO, format="SVG"), "width=16384", False),
        (PHOTO, "width=16384", True),
        (replace(PHOTO, format="SVG"), "ops=flip:true|width:16384", True),
    ],
)
def test_the_longest_side_of_the_result_has_to_fit(info: ImageInfo, query: str, fits: bool) -> None:
    assert (chosen(query, info) == "WEBP") is fits


def test_an_image_that_lies_as_it_is_stored_has_those_sides() -> None:
    # 200 across, upright 50 across: a fixed height of 100 makes 400 of the one and 25 of the other.
    for autorotate, fits in (("true", True), ("false", False)):
        info = replace(PHOTO, width=200, height=50, orientation=6)
        assert (chosen(f"height=4200&enlarge&autorotate={autorotate}", info) == "WEBP") is fits


def test_line_art_is_lossless_and_kept_out_of_formats_that_blow_it_up() -> None:
    spec = RenditionSpec("PNG")
    for name in ("AVIF", "WEBP", "PNG", "JXL"):
        format = FORMATS[name]
        found, lossless = suitable_format(spec, DRAWING, format.media_type, [name])
        assert lossless is (format.lossless_is_small and format.lossless) if found != "PNG" else found == "PNG"
        assert suitable_format(spec, PHOTO, format.media_type, [name]) == (name, False)
    assert suitable_format(spec, DRAWING, "image/avif,image/webp", ["AVIF", "WEBP"]) == ("WEBP", True)
    assert suitable_format(spec, DRAWING, "image/jpeg", ["JPEG"]) == ("JPEG", False)
    assert suitable_format(spec, DRAWING, "", ["WEBP"]) == ("PNG", False)
