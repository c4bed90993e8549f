"""What IIIF requests mean, whatever they are made of."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given

from progimage.engine import RenditionSpec
from progimage.http.iiif.description import describe
from progimage.http.iiif.syntax import FORMATS, QUALITIES, Bounds, parse
from progimage.problems import Problem

sides = st.integers(1, 70_000)
numbers = st.one_of(st.integers(0, 9000).map(str), st.floats(0, 400).map(lambda number: f"{number:.5f}"))
regions = st.one_of(
    st.sampled_from(["full", "square"]),
    st.tuples(*[st.integers(0, 9000).map(str)] * 4).map(",".join),
    st.tuples(*[numbers] * 4).map(lambda four: f"pct:{','.join(four)}"),
)
sizes = st.tuples(
    st.sampled_from(["", "^"]),
    st.one_of(
        st.sampled_from(["max", "full"]),
        sides.map(lambda side: f"{side},"),
        sides.map(lambda side: f",{side}"),
        numbers.map(lambda number: f"pct:{number}"),
        st.tuples(st.sampled_from(["", "!"]), sides, sides).map(lambda box: f"{box[0]}{box[1]},{box[2]}"),
    ),
).map("".join)
rotations = st.tuples(st.sampled_from(["", "!"]), numbers).map("".join)
names = st.tuples(st.sampled_from(QUALITIES), st.sampled_from(FORMATS)).map(".".join)
bounds = st.builds(
    Bounds,
    st.one_of(st.none(), st.integers(1, 5000)),
    st.one_of(st.none(), st.integers(1, 10**7)),
    st.just(100_000_000),
)


@given(st.sampled_from(["2", "3"]), st.tuples(sides, sides), st.tuples(regions, sizes, rotations, names), bounds)
@example("2", (1, 4), ("full", "max", "0", "default.jpg"), Bounds(None, 1, 10**8))  # no such shape is small enough
def test_a_request_and_its_canonical_form_ask_for_the_same(
    version: str, full: tuple[int, int], path: Any, bounds: Bounds
) -> None:
    try:
        wanted = parse(version, full, path, bounds)
    except Problem as problem:
        assert problem.status == 400 and problem.allowed
        return
    region = wanted.region
    assert 0 <= region.left < region.left + region.width <= full[0]
    assert 0 <= region.top < region.top + region.height <= full[1]
    assert bounds.allow(wanted.size)
    canonical = wanted.canonical()
    again = parse(version, full, tuple(canonical.split("/")), bounds)  # type: ignore[arg-type]
    assert again == wanted and again.canonical() == canonical
    if max(wanted.size) <= 65_535:
        spec = RenditionSpec.parse(wanted.format.name, wanted.query())
        assert RenditionSpec.from_canonical(spec.canonical()) == spec


@given(st.sampled_from(["2", "3"]), st.text(max_size=20), st.integers(0, 3))
def test_anything_else_is_a_problem_that_names_the_part(version: str, text: str, part: int) -> None:
    path = ["full", "max", "0", "default.jpg"]
    path[part] = text
    try:
        parse(version, (640, 480), tuple(path), Bounds(None, None, 10**8))  # type: ignore[arg-type]
    except Problem as problem:
        assert problem.parameter in ("region", "size", "rotation", "quality", "format") and problem.allowed


@given(st.sampled_from(["2", "3"]), st.tuples(sides, sides), bounds)
def test_sizes_and_tiles_that_are_told_can_be_asked_for(version: str, full: tuple[int, int], bounds: Bounds) -> None:
    document = describe(version, "http://images/1", full, bounds)
    for size in document["sizes"]:
        asked = f"{size['width']},{size['height']}"
        assert parse(version, full, ("full", asked, "0", "default.jpg"), bounds).size == (size["width"], size["height"])
    (tiles,) = document["tiles"]
    for factor in tiles["scaleFactors"]:
        side = tiles["width"] * factor
        region = 0, 0, min(side, full[0]), min(side, full[1])
        size_ = -(-region[2] // factor), -(-region[3] // factor)
        if bounds.allow(size_):
            request = parse(
                version, full, (",".join(map(str, region)), "{},{}".format(*size_), "0", "default.jpg"), bounds
            )
            assert request.size == size_
