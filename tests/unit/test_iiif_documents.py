"""info.json, by section 5 of the IIIF Image API 3.0 and 2.1."""

from typing import Any

import pytest

from progimage.engine.pyramid import TILE
from progimage.http.iiif.description import describe
from progimage.http.iiif.syntax import Bounds

ID = "https://images.example/iiif/3/1"
FREE = Bounds(None, None, 10**8)


def document(version: str = "3", full: tuple[int, int] = (6000, 4000), bounds: Bounds = FREE) -> dict[str, Any]:
    return describe(version, ID, full, bounds)


def test_the_required_properties() -> None:
    three = document()
    assert three["@context"] == "http://iiif.io/api/image/3/context.json" and three["id"] == ID
    assert (three["type"], three["protocol"], three["profile"]) == (
        "ImageService3",
        "http://iiif.io/api/image",
        "level2",
    )
    two = document("2")
    assert two["@context"] == "http://iiif.io/api/image/2/context.json" and two["@id"] == ID
    assert (
        two["protocol"] == "http://iiif.io/api/image" and two["profile"][0] == "http://iiif.io/api/image/2/level2.json"
    )
    for one in (two, three):
        assert (one["width"], one["height"]) == (6000, 4000)


def test_what_goes_beyond_level_2() -> None:
    three = document()
    assert set(three["extraFormats"]).isdisjoint({"jpg", "png"}) and {"webp", "tif"} <= set(three["extraFormats"])
    assert set(three["extraQualities"]) == {"color", "gray", "bitonal"}
    assert set(three["preferredFormats"]) <= {"jpg", "png", *three["extraFormats"]}
    assert {"mirroring", "rotationArbitrary", "sizeUpscaling"} <= set(three["extraFeatures"])
    told = document("2")["profile"][1]
    assert set(told["formats"]) == {"jpg", "png", *three["extraFormats"]} and "sizeAboveFull" in told["supports"]
    assert set(told["qualities"]) == {"default", *three["extraQualities"]}


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        (FREE, {}),
        (Bounds(500, None, 10**8), {"maxWidth": 500, "maxHeight": 500}),
        (Bounds(None, 9000, 10**8), {"maxArea": 9000}),
        (Bounds(500, 9000, 10**8), {"maxWidth": 500, "maxHeight": 500, "maxArea": 9000}),
    ],
)
def test_the_largest_image_is_told(bounds: Bounds, told: dict[str, int]) -> None:
    names = ("maxWidth", "maxHeight", "maxArea")
    for found in (document(bounds=bounds), document("2", bounds=bounds)["profile"][1]):
        assert {name: found[name] for name in names if name in found} == told


@pytest.mark.parametrize(
    ("full", "sizes"),
    [
        # Halves of halves, the smallest first, as long as the longer side has a hundred pixels.
        ((6000, 4000), [(188, 125), (375, 250), (750, 500), (1500, 1000), (3000, 2000), (6000, 4000)]),
        ((200, 100), [(100, 50), (200, 100)]),
        ((199, 100), [(199, 100)]),
        ((100, 200), [(50, 100), (100, 200)]),
        ((60, 20), [(60, 20)]),
        ((400, 1), [(100, 1), (200, 1), (400, 1)]),
        ((1, 400), [(1, 100), (1, 200), (1, 400)]),
    ],
)
def test_sizes_are_halved_again_and_again(full: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    for version in ("2", "3"):
        assert document(version, full)["sizes"] == [{"width": width, "height": height} for width, height in sizes]


def test_only_sizes_that_may_be_asked_for_are_told() -> None:
    found = document(bounds=Bounds(None, 400_000, 10**8))["sizes"]
    assert [(one["width"], one["height"]) for one in found] == [(188, 125), (375, 250), (750, 500)]


@pytest.mark.parametrize(
    ("full", "factors"),
    [
        ((TILE, 10), [1]),
        ((TILE + 1, 10), [1, 2]),
        ((10, 2 * TILE), [1, 2]),
        ((10, 2 * TILE + 1), [1, 2, 4]),
        ((1, 1), [1]),
        ((8 * TILE, 8 * TILE), [1, 2, 4, 8]),
    ],
)
def test_tiles_get_larger_until_one_has_all(full: tuple[int, int], factors: list[int]) -> None:
    for version in ("2", "3"):
        assert document(version, full)["tiles"] == [{"width": TILE, "scaleFactors": factors}]
