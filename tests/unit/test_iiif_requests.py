"""What IIIF requests ask for, by the examples and the rules of the IIIF Image API 3.0 and 2.1."""

import math

import pytest

from progimage.engine import FORMATS as ENGINE_FORMATS
from progimage.http.iiif.syntax import FORMATS, QUALITIES, Bounds, ImageRequest, parse
from progimage.problems import Problem

FREE = Bounds(None, None, 10**8)
SIZE = (300, 200)


def asked(
    region: str = "full", size: str = "max", rotation: str = "0", quality: str = "default.jpg", version: str = "3",
    full: tuple[int, int] = SIZE, bounds: Bounds = FREE,
) -> ImageRequest:  # fmt: skip
    return parse(version, full, (region, size, rotation, quality), bounds)


def refused(**parts: object) -> Problem:
    with pytest.raises(Problem) as problem:
        asked(**parts)  # type: ignore[arg-type]
    assert (problem.value.status, problem.value.kind) == (400, "invalid-parameter") and problem.value.allowed
    return problem.value


# Section 4.1, whose example is an image of 300 by 200 pixels.
@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("full", (0, 0, 300, 200)),
        ("square", (50, 0, 200, 200)),
        ("125,15,120,140", (125, 15, 120, 140)),
        ("pct:41.6,7.5,40,70", (125, 15, 120, 140)),
        ("125,15,200,200", (125, 15, 175, 185)),
        ("pct:41.6,7.5,66.6,100", (125, 15, 175, 185)),
        ("0,0,300,200", (0, 0, 300, 200)),
        ("299,199,1,1", (299, 199, 1, 1)),
        ("299,199,5,5", (299, 199, 1, 1)),
        ("pct:0,0,100,100", (0, 0, 300, 200)),
        ("pct:50,50,.1,.1", (150, 100, 1, 1)),
        ("pct:0,25,50,50", (0, 50, 150, 100)),
        ("pct:99.9,0,10,10", None),
        ("300,0,1,1", None),
        ("0,200,1,1", None),
        ("0,0,0,5", None),
        ("0,0,5,0", None),
        ("pct:0,0,0,50", None),
        ("pct:0,0,50,0", None),
        ("pct:100,0,10,10", None),
        ("pct:0,100,10,10", None),
        ("0,0,5", None),
        ("-1,0,5,5", None),
        ("0,0,5,5,5", None),
        ("pct:0,0,5", None),
        ("1.5,0,5,5", None),
        ("Full", None),
        ("", None),
        ("12345678,0,1,1", None),
    ],
)
def test_regions(text: str, box: tuple[int, int, int, int] | None) -> None:
    if box is None:
        problem = refused(region=text)
        assert (problem.parameter, problem.given) == ("region", text)
        return
    region = asked(region=text).region
    assert (region.left, region.top, region.width, region.height) == box


def test_a_square_is_as_large_as_fits_and_in_the_middle() -> None:
    for full, box in (((300, 200), (50, 0)), ((200, 300), (0, 50)), ((200, 200), (0, 0)), ((201, 100), (50, 0))):
        region = asked(region="square", full=full).region
        assert (region.left, region.top) == box and region.width == region.height == min(full)


# Section 4.2: the version, the text, and what comes of 300 by 200 pixels.
@pytest.mark.parametrize(
    ("text", "in_3", "in_2"),
    [
        ("max", (300, 200), (300, 200)),
        ("full", None, (300, 200)),
        ("150,", (150, 100), (150, 100)),
        (",150", (225, 150), (225, 150)),
        ("pct:50", (150, 100), (150, 100)),
        ("225,100", (225, 100), (225, 100)),
        ("!225,100", (150, 100), (150, 100)),
        ("!100,225", (100, 66), (100, 66)),
        ("!300,200", (300, 200), (300, 200)),
        ("!600,600", (300, 200), (300, 200)),
        ("300,", (300, 200), (300, 200)),
        ("1,", (1, 1), (1, 1)),
        (",1", (2, 1), (2, 1)),
        ("360,", None, (360, 240)),
        (",240", None, (360, 240)),
        ("pct:120", None, (360, 240)),
        ("360,200", None, (360, 200)),
        ("300,201", None, (300, 201)),
        ("301,200", None, (301, 200)),
        ("^360,", (360, 240), None),
        ("^,240", (360, 240), None),
        ("^pct:120", (360, 240), None),
        ("^360,360", (360, 360), None),
        ("^!360,360", (360, 240), None),
        ("^!150,150", (150, 100), None),
        ("^max", (300, 200), None),
        ("^150,", (150, 100), None),
        ("0,", None, None),
        (",0", None, None),
        ("0,5", None, None),
        ("5,0", None, None),
        ("!0,5", None, None),
        ("pct:0", None, None),
        ("pct:.1", None, None),
        ("pct:0.4", (1, 1), (1, 1)),
        ("", None, None),
        (",", None, None),
        ("^", None, None),
        ("^^max", None, None),
        ("!^5,5", None, None),
        ("x,", None, None),
        ("!5", None, None),
        ("!5,", None, None),
        ("5", None, None),
        ("pct:", None, None),
        ("12345678,", None, None),
    ],
)
def test_sizes(text: str, in_3: tuple[int, int] | None, in_2: tuple[int, int] | None) -> None:
    for version, size in (("3", in_3), ("2", in_2)):
        if size is None:
            problem = refused(size=text, version=version)
            assert (problem.parameter, problem.given) == ("size", text), version
        else:
            assert asked(size=text, version=version).size == size, version


def test_a_part_is_scaled_by_its_own_size() -> None:
    one = asked("0,0,100,50", "50,")
    assert one.size == (50, 25) and one.largest == (100, 50) and not one.is_enlarged
    assert asked("0,0,100,50", "^200,").is_enlarged and asked("0,0,100,50", "^100,100").is_enlarged
    assert "100×50 pixels" in str(refused(region="0,0,100,50", size="101,").allowed)


# Section 5.3: the largest image that may be asked for.
@pytest.mark.parametrize(
    ("bounds", "text", "size"),
    [
        (Bounds(150, None, 10**8), "max", (150, 100)), (Bounds(None, 15_000, 10**8), "max", (150, 100)),
        (Bounds(150, 1500, 10**8), "max", (47, 31)), (Bounds(None, None, 15_000), "max", (150, 100)),
        (Bounds(600, None, 10**8), "max", (300, 200)), (Bounds(600, None, 10**8), "^max", (600, 400)),
        (Bounds(None, 240_000, 10**8), "^max", (600, 400)), (Bounds(None, None, 240_000), "^max", (300, 200)),
        (Bounds(600, None, 60_000), "^max", (300, 200)), (Bounds(150, None, 10**8), "150,", (150, 100)),
        (Bounds(150, None, 10**8), "151,", None), (Bounds(150, None, 10**8), "!200,200", (150, 100)),
        (Bounds(None, 15_000, 10**8), "150,100", (150, 100)), (Bounds(None, 15_000, 10**8), "151,100", None),
        (Bounds(None, 15_000, 10**8), "150,101", None), (Bounds(None, None, 59_999), "300,200", None),
        (Bounds(600, None, 10**8), "^601,", None), (Bounds(600, None, 10**8), "^!900,900", (600, 400)),
    ],
)  # fmt: skip
def test_no_image_is_larger_than_is_told(bounds: Bounds, text: str, size: tuple[int, int] | None) -> None:
    if size is None:
        problem = refused(size=text, bounds=bounds)
        assert problem.parameter == "size" and "at most" in str(problem.allowed)
        return
    assert asked(size=text, bounds=bounds).size == size and bounds.allow(size)


def test_bounds() -> None:
    assert Bounds(100, None, 10**8).allow((100, 100)) and not Bounds(100, None, 10**8).allow((101, 1))
    assert not Bounds(100, None, 10**8).allow((1, 101))
    assert Bounds(None, 100, 10**8).allow((10, 10)) and not Bounds(None, 100, 10**8).allow((101, 1))
    assert Bounds(None, 500, 100).pixels == 100 == Bounds(None, 100, 500).pixels == Bounds(None, None, 100).pixels
    assert Bounds(5, None, 1).are_told and Bounds(None, 5, 1).are_told and not Bounds(None, None, 1).are_told
    assert Bounds(100, None, 10**8).scale((300, 200)) == pytest.approx(1 / 3)
    assert Bounds(None, None, 10_000).scale((400, 100)) == pytest.approx(0.5)
    assert Bounds(None, None, 10**8).scale((1, 1)) == math.sqrt(10**8)
    problem = refused(size="200,", bounds=Bounds(150, 9999, 10**8))
    assert "150 pixels" in str(problem.allowed) and "9999 pixels" in str(problem.allowed)
    assert "150" not in str(refused(size="200,", bounds=Bounds(None, 9999, 10**8)).allowed)


def test_an_image_that_is_thinner_than_a_pixel_would_be_is_only_made_shorter() -> None:
    assert asked(full=(10_000, 1), bounds=Bounds(None, 100, 10**8)).size == (100, 1)
    assert asked(full=(1, 10_000), bounds=Bounds(50, None, 10**8)).size == (1, 50)
    assert asked(full=(10_000, 1), bounds=Bounds(70, 100, 10**8)).size == (70, 1)


# Section 4.3.
@pytest.mark.parametrize(
    ("text", "mirrored", "degrees"),
    [
        ("0", False, 0),
        ("180", False, 180),
        ("90", False, 90),
        ("22.5", False, 22.5),
        ("!0", True, 0),
        ("!180", True, 180),
        ("360", False, 0),
        ("359.999", False, 359.999),
        (".5", False, 0.5),
        ("5.", False, 5),
        ("007", False, 7),
    ],
)
def test_rotations(text: str, mirrored: bool, degrees: float) -> None:
    one = asked(rotation=text)
    assert (one.mirrored, one.rotation) == (mirrored, degrees)


@pytest.mark.parametrize("text", ["", "!", "-90", "360.1", "361", "!!0", "0!", "x", "1e1", "90deg"])
def test_what_is_no_rotation(text: str) -> None:
    assert refused(rotation=text).parameter == "rotation"


# Sections 4.4 and 4.5.
def test_qualities_and_formats() -> None:
    assert asked(quality="color.png").quality == "default"  # which has colour
    for quality in ("gray", "bitonal", "default"):
        assert asked(quality=f"{quality}.webp").quality == quality
    for extension in FORMATS:
        assert asked(quality=f"default.{extension}").format.can_write
    assert asked(quality="default.jpg").format is ENGINE_FORMATS["JPEG"]
    for text, parameter in (
        ("native.jpg", "quality"),
        ("default.bmp", "format"),
        ("default", "quality"),
        (".jpg", "quality"),
        ("default.", "format"),
        ("a.default.jpg", "quality"),
        ("default.JPG", "format"),
    ):
        assert refused(quality=text).parameter == parameter, text
    assert refused(quality="x.jpg").allowed == list(QUALITIES) and refused(quality="gray.x").allowed == list(FORMATS)


def test_a_refusal_repeats_no_more_than_a_line() -> None:
    assert refused(region="x" * 999).given == "x" * 200


# Section 4.7: first the region, then the size, the mirror image, the rotation, and the quality.
@pytest.mark.parametrize(
    ("parts", "query"),
    [
        ({}, []),
        ({"region": "0,0,300,200"}, []),
        ({"region": "10,20,30,40"}, [("crop", "10,20,30,40")]),
        ({"size": "150,"}, [("width", "150"), ("height", "100"), ("fit", "fill")]),
        ({"size": "^600,"}, [("width", "600"), ("height", "400"), ("fit", "fill"), ("enlarge", "true")]),
        ({"size": "^300,300"}, [("width", "300"), ("height", "300"), ("fit", "fill"), ("enlarge", "true")]),
        ({"rotation": "!0"}, [("flop", "true")]),
        ({"rotation": "22.50"}, [("rotate", "22.5")]),
        ({"quality": "gray.png"}, [("grayscale", "true")]),
        ({"quality": "bitonal.png"}, [("threshold", "128")]),
        (
            {"region": "square", "size": "50,", "rotation": "!90", "quality": "gray.png"},
            [
                ("crop", "50,0,200,200"),
                ("width", "50"),
                ("height", "50"),
                ("fit", "fill"),
                ("flop", "true"),
                ("rotate", "90"),
                ("grayscale", "true"),
            ],
        ),
    ],
)
def test_the_transformations_that_make_it(parts: dict[str, str], query: list[tuple[str, str]]) -> None:
    assert asked(**parts).query() == query  # type: ignore[arg-type]


# Section 4.7: the canonical form.
@pytest.mark.parametrize(
    ("version", "path", "canonical"),
    [
        ("3", "full/max/0/default.jpg", "full/max/0/default.jpg"),
        ("3", "0,0,300,200/300,/360/color.jpg", "full/max/0/default.jpg"),
        ("3", "full/150,/0/default.jpg", "full/150,100/0/default.jpg"),
        ("3", "square/max/0/default.jpg", "50,0,200,200/max/0/default.jpg"),
        ("3", "pct:0,0,50,50/,100/!90.0/gray.png", "0,0,150,100/max/!90/gray.png"),
        ("3", "full/^600,/22.50/bitonal.png", "full/^600,400/22.5/bitonal.png"),
        ("3", "full/^pct:50/0/default.jpg", "full/150,100/0/default.jpg"),
        ("3", "full/^max/0/default.jpg", "full/max/0/default.jpg"),
        ("2", "full/max/0/default.jpg", "full/full/0/default.jpg"),
        ("2", "full/full/0/default.jpg", "full/full/0/default.jpg"),
        ("2", "full/150,100/0/default.jpg", "full/150,/0/default.jpg"),
        ("2", "full/150,101/0/default.jpg", "full/150,101/0/default.jpg"),
        ("2", "full/1,1/0/default.jpg", "full/1,/0/default.jpg"),
        ("2", "10,10,100,50/,25/0/color.tif", "10,10,100,50/50,/0/default.tif"),
        ("2", "full/600,/0/default.jpg", "full/600,/0/default.jpg"),
    ],
)
def test_one_address_stands_for_all_that_mean_the_same(version: str, path: str, canonical: str) -> None:
    assert parse(version, SIZE, tuple(path.split("/")), FREE).canonical() == canonical  # type: ignore[arg-type]


def test_max_is_what_the_bounds_leave_of_it() -> None:
    bounds = Bounds(150, None, 10**8)
    assert asked(size="max", bounds=bounds).canonical() == "full/max/0/default.jpg"
    assert asked(size="150,", bounds=bounds).canonical() == "full/max/0/default.jpg"
    larger = Bounds(600, None, 10**8)
    assert asked(size="^max", bounds=larger).canonical() == "full/^max/0/default.jpg"
    assert asked(size="^600,", bounds=larger).canonical() == "full/^600,400/0/default.jpg"
    assert asked(size="max", bounds=larger).canonical() == "full/max/0/default.jpg"
