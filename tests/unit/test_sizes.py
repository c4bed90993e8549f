"""Sizes, one by one: what cropping, fitting, turning and extending make of a width and a height."""

from fractions import Fraction

import pytest

from progimage.engine import InvalidParameter
from progimage.engine.geometry import Box, Size, crop_box, extended, fitting, place, sides, sizes_on_the_way, turned
from progimage.engine.operations import Operations
from progimage.engine.values import COMPASS, Length, Lengths

CROP = Lengths("", (2, 4), "", positive=True)


def cropped(text: str, size: Size = (400, 200)) -> Box | Size | None:
    return crop_box(size, Operations(crop=CROP.parse(text)))


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("10,20,100,50", Box(10, 20, 100, 50)),
        ("0,0,400,200", Box(0, 0, 400, 200)),
        ("0,0,9999,9999", Box(0, 0, 400, 200)),
        ("399,199,1,1", Box(399, 199, 1, 1)),
        ("399,199,5,5", Box(399, 199, 1, 1)),
        ("50%,50%,25%,25%", Box(200, 100, 100, 50)),
        ("10,10%,50%,30", Box(10, 20, 200, 30)),
        ("0,0,0.4,1", None),  # rounded, there is nothing left
        ("0,0,1,0.4", None),
        ("400,0,10,10", None),
        ("0,200,10,10", None),
        ("0.6,0.6,1,1", Box(1, 1, 1, 1)),  # from 0.6 to 1.6, to the nearest pixels
    ],
)
def test_a_box_is_cut_at_the_nearest_pixels(text: str, box: Box | None) -> None:
    if box is not None:
        assert cropped(text) == box
        return
    with pytest.raises(InvalidParameter) as refusal:
        cropped(text)
    assert (refusal.value.parameter, refusal.value.given) == ("crop", text) and "400×200" in refusal.value.allowed


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100,50", (100, 50)),
        ("50%,25%", (200, 50)),
        ("999,999", (400, 200)),
        ("0.1,0.1", (1, 1)),
        ("400,200", (400, 200)),
    ],
)
def test_a_size_alone_is_placed_later(text: str, size: Size) -> None:
    assert cropped(text) == size


def test_nothing_is_cut_unasked() -> None:
    assert crop_box((400, 200), Operations(width=10)) is None


@pytest.mark.parametrize(
    ("asked", "resized", "canvas"),
    [
        # cover: as large as fills both, and the rest is cut off
        ({"width": 100, "height": 100}, (200, 100), (100, 100)),
        ({"width": 100, "height": 10}, (100, 50), (100, 10)),
        ({"width": 800, "height": 800}, (400, 200), (200, 200)),
        ({"width": 800, "height": 800, "enlarge": True}, (1600, 800), (800, 800)),
        ({"width": 300, "height": 200}, (400, 200), (300, 200)),
        # contain: all of it, on a canvas of that size
        ({"width": 100, "height": 100, "fit": "contain"}, (100, 50), (100, 100)),
        ({"width": 800, "height": 800, "fit": "contain"}, (400, 200), (800, 800)),
        ({"width": 800, "height": 800, "fit": "contain", "enlarge": True}, (800, 400), (800, 800)),
        # inside and outside
        ({"width": 100, "height": 100, "fit": "inside"}, (100, 50), (100, 50)),
        ({"width": 100, "height": 100, "fit": "outside"}, (200, 100), (200, 100)),
        ({"width": 800, "height": 800, "fit": "inside"}, (400, 200), (400, 200)),
        ({"width": 800, "height": 800, "fit": "outside", "enlarge": True}, (1600, 800), (1600, 800)),
        # fill: stretched, in its shape if it is not to be enlarged
        ({"width": 100, "height": 100, "fit": "fill"}, (100, 100), (100, 100)),
        ({"width": 800, "height": 100, "fit": "fill"}, (400, 50), (400, 50)),
        ({"width": 100, "height": 400, "fit": "fill"}, (50, 200), (50, 200)),
        ({"width": 800, "height": 100, "fit": "fill", "enlarge": True}, (800, 100), (800, 100)),
        # one side
        ({"width": 100}, (100, 50), (100, 50)),
        ({"height": 100}, (200, 100), (200, 100)),
        ({"width": 800}, (400, 200), (400, 200)),
        ({"width": 800, "enlarge": True}, (800, 400), (800, 400)),
        ({"width": 1}, (2, 1), (1, 1)),  # no side is less than a pixel
        ({"height": 100, "dpr": 1.5}, (300, 150), (300, 150)),
        ({"width": 50, "height": 20, "dpr": 2}, (100, 50), (100, 40)),
        # aspect
        ({"width": 100, "aspect": Fraction(2, 1)}, (100, 50), (100, 50)),
        ({"width": 100, "aspect": Fraction(1, 1)}, (200, 100), (100, 100)),
        ({"height": 100, "aspect": Fraction(1, 1)}, (200, 100), (100, 100)),
        ({"aspect": Fraction(4, 1)}, (400, 200), (400, 100)),
        ({"aspect": Fraction(1, 2)}, (400, 200), (100, 200)),
        ({"aspect": Fraction(4, 1), "fit": "contain"}, (400, 200), (800, 200)),
        ({"aspect": Fraction(1, 1), "fit": "contain"}, (400, 200), (400, 400)),
        # zoom, which enlarges, too
        ({"zoom": 2}, (800, 400), (800, 400)),
        ({"zoom": 0.001}, (1, 1), (1, 1)),
        ({"width": 100, "zoom": 0.5}, (50, 25), (50, 25)),
        ({"width": 100, "height": 100, "zoom": 3}, (600, 300), (300, 300)),
        ({}, (400, 200), (400, 200)),
    ],
)
def test_fitting(asked: dict[str, object], resized: Size, canvas: Size) -> None:
    fitted = fitting((400, 200), Operations(**asked))  # type: ignore[arg-type]
    assert (fitted.resized, fitted.canvas) == (resized, canvas)


def test_a_drawing_can_be_of_any_size() -> None:
    assert fitting((400, 200), Operations(width=800), vector=True).canvas == (800, 400)
    assert fitting((400, 200), Operations(width=800, height=800, fit="contain"), vector=True).resized == (800, 400)


@pytest.mark.parametrize(
    ("size", "asked", "canvas"),
    [
        ((3, 2), {"width": 2}, (2, 1)),  # 1.33
        ((4, 3), {"width": 2}, (2, 1)),  # 1.5: halves go down
        ((100, 51), {"width": 10}, (10, 5)),  # 5.1
        ((100, 56), {"width": 10}, (10, 6)),  # 5.6
        ((5, 5), {"zoom": 0.5}, (2, 2)),
        ((7, 7), {"zoom": 0.37}, (3, 3)),  # 2.59
        ((10_000, 3), {"width": 10}, (10, 1)),  # never nothing
        ((3, 10_000), {"height": 10}, (1, 10)),
    ],
)
def test_sizes_are_rounded_to_whole_pixels(size: Size, asked: dict[str, object], canvas: Size) -> None:
    assert fitting(size, Operations(**asked)).canvas == canvas  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [7, 13, 97, 333, 1001, 4999])
def test_what_fits_exactly_gets_no_line_of_pixels_more_by_rounding(width: int) -> None:
    for height in (11, 101, 997):
        fitted = fitting((4999, 997), Operations(width=width, height=height, enlarge=True))
        assert fitted.canvas == (width, height) and fitted.resized[0] >= width and fitted.resized[1] >= height
        inside = fitting((4999, 997), Operations(width=width, height=height, enlarge=True, fit="contain"))
        assert inside.resized[0] <= width and inside.resized[1] <= height


def test_a_compass_point_puts_edges_on_edges() -> None:
    outer, inner = (101, 61), (11, 21)
    wanted = {
        "northwest": (0, 0), "north": (45, 0), "northeast": (90, 0), "west": (0, 20), "centre": (45, 20),
        "east": (90, 20), "southwest": (0, 40), "south": (45, 40), "southeast": (90, 40),
    }  # fmt: skip
    assert {point: place(point, outer, inner) for point in COMPASS} == wanted


@pytest.mark.parametrize(
    ("point", "at"),
    [
        ((0.5, 0.5), (45, 20)),
        ((0, 0), (0, 0)),
        ((1, 1), (90, 40)),
        ((0.25, 0.75), (20, 35)),  # 101 * 0.25 - 11 / 2 = 19.75; 61 * 0.75 - 21 / 2 = 35.25
        ((0.01, 0.99), (0, 40)),
        ((0.99, 0.01), (90, 0)),
    ],
)
def test_a_focal_point_comes_as_near_to_the_middle_as_it_can(point: tuple[float, float], at: tuple[int, int]) -> None:
    assert place(point, (101, 61), (11, 21)) == at


@pytest.mark.parametrize(
    ("degrees", "size"),
    [
        (0, (40, 30)),
        (90, (30, 40)),
        (180, (40, 30)),
        (270, (30, 40)),
        (360, (40, 30)),
        (-90, (30, 40)),
        (-180, (40, 30)),
        (45, (50, 50)),
        (-45, (50, 50)),
        (30, (50, 46)),
        (60, (46, 50)),
        (120, (46, 50)),
        (150, (50, 46)),
    ],
)
def test_a_turned_picture_needs_the_upright_box_around_it(degrees: float, size: Size) -> None:
    # 40 cos 30° + 30 sin 30° = 49.64, 40 sin 30° + 30 cos 30° = 45.98; at 45° both are 49.50.
    assert turned((40, 30), degrees) == size


def test_sides_are_scaled_and_rounded_each() -> None:
    assert sides(None, 2) == (0, 0, 0, 0) and sides((1, 2, 3, 4), 2) == (2, 4, 6, 8)
    assert sides((0.3, 0.6, 1.2, 2.4), 2) == (1, 1, 2, 5)
    assert extended((100, 50), (1, 2, 3, 4), 1) == (106, 54) and extended((100, 50), None, 3) == (100, 50)
    assert extended((100, 50), (10, 0, 0, 0), 1.5) == (100, 65)


def test_the_sizes_on_the_way_are_named_after_what_makes_them() -> None:
    asked = Operations(
        crop=CROP.parse("0,0,200,100"), width=100, height=100, fit="contain", rotate=90, extend=(10, 0, 0, 0),
        border=(1, 1, 1, 1), dpr=2,
    )  # fmt: skip
    assert list(sizes_on_the_way((400, 200), asked)) == [
        ("width", (200, 100)),
        ("width", (200, 200)),
        ("rotate", (200, 200)),
        ("extend", (200, 220)),
        ("border", (204, 224)),
    ]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"width": 10}, "width"),
        ({"height": 10}, "height"),
        ({"zoom": 2}, "zoom"),
        ({"width": 10, "zoom": 0.5}, "width"),
    ],
)
def test_a_size_that_is_too_large_is_the_fault_of_what_asks_for_it(asked: dict[str, object], name: str) -> None:
    assert next(iter(sizes_on_the_way((400, 200), Operations(**asked))))[0] == name  # type: ignore[arg-type]


def test_a_part_that_gravity_places_is_measured_as_well() -> None:
    asked = Operations(crop=(Length(50, True), Length(20)))
    assert [size for _, size in sizes_on_the_way((400, 200), asked)] == [(200, 20)] * 5
    assert next(iter(sizes_on_the_way((40, 20), Operations(width=80), vector=True))) == ("width", (80, 40))
