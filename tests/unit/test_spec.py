"""Parameters and specs: one declaration, one canonical string, clear refusals."""

import hypothesis
import hypothesis.strategies as st
import pytest

from progimage.engine import FORMATS, InvalidParameter, RenditionSpec, UnknownParameter
from progimage.engine.operations import Operations
from progimage.engine.parameters import Parameter, declared
from tests.specs import REFERENCE, queries


@hypothesis.given(query=queries(), data=st.data())
def test_a_canonical_string_parses_to_its_spec_whatever_the_order(
    query: list[tuple[str, str]], data: st.DataObject
) -> None:
    spec = RenditionSpec.parse("WEBP", query)
    again = RenditionSpec.from_canonical(spec.canonical())
    assert again == spec
    assert again.canonical() == spec.canonical()
    other = RenditionSpec.parse("WEBP", data.draw(st.permutations(query)))
    assert other == spec and hash(other) == hash(spec) and other.canonical() == spec.canonical()


@pytest.mark.parametrize("one", list(declared(RenditionSpec)), ids=lambda one: one.name)
def test_every_parameter_says_what_it_allows_and_refuses_nonsense(one: Parameter) -> None:
    assert one.doc.endswith(".") and one.kind.allowed and one.kind.schema()
    query = [(one.name, "\x00nonsense|")]
    if one.needs:
        query.append((one.needs, REFERENCE if one.needs == "watermark" else "10" if one.needs == "border" else "text"))
    with pytest.raises(InvalidParameter) as caught:
        RenditionSpec.parse("WEBP", query)
    assert caught.value.parameter.endswith(one.name) or one.name == "ops"
    assert caught.value.allowed


@pytest.mark.parametrize(
    "one", [one for one in declared(RenditionSpec) if one.kind.schema().get("maximum")], ids=lambda one: one.name
)
def test_ranges_hold_at_both_ends(one: Parameter) -> None:
    needed = [(one.needs, REFERENCE if one.needs == "watermark" else "text")] if one.needs else []
    schema, name = one.kind.schema(), one.name
    format = "PNG" if name == "palette" else "WEBP"
    step = 2 if getattr(one.kind, "odd", False) else 1
    for good in (schema["minimum"], schema["maximum"]):
        RenditionSpec.parse(format, [(name, f"{good}"), *needed])
    for bad in (schema["minimum"] - step, schema["maximum"] + step):
        with pytest.raises(InvalidParameter) as caught:
            RenditionSpec.parse(format, [(name, f"{bad}"), *needed])
        assert caught.value.parameter == name and caught.value.given == f"{bad}"


@pytest.mark.parametrize(
    ("format", "query", "parameter"),
    [
        ("PNG", "widht=1", "widht"),
        ("PNG", "width=1&width=1", "width"),
        ("PNG", "width=1&w=1", "w"),
        ("PNG", "width=1.5", "width"),
        ("PNG", "width=+1", "width"),
        ("PNG", "width=1e2", "width"),
        ("PNG", "rotate=nan", "rotate"),
        ("PNG", "background=lab(50 20 20)", "background"),
        ("PNG", "background=currentcolor", "background"),
        ("PNG", "crop=0,0,0,5", "crop"),
        ("PNG", "crop=1,2,3", "crop"),
        ("PNG", "extend=1,2,3,4,5", "extend"),
        ("PNG", "gravity=2,0", "gravity"),
        ("PNG", "text=%07", "text"),
        ("PNG", "text_size=5", "text_size"),
        ("PNG", "watermark_tile", "watermark_tile"),
        ("PNG", "aspect=1:1&width=5&height=5", "aspect"),
        ("PNG", "quality=80", "quality"),
        ("PDF", "quality=auto", "quality"),
        ("JPEG", "lossless", "lossless"),
        ("JPEG", "depth=16", "depth"),
        ("PNG", "depth=10", "depth"),
        ("BMP", "profile=p3", "profile"),
        ("GIF", "keep=exif", "keep"),
        ("JPEG", "keep=exif&strip", "keep"),
        ("JPEG", "profile=p3&strip", "profile"),
        ("WEBP", "lossless&quality=5", "quality"),
        ("WEBP", "ops=width:5&height=5", "height"),
        ("WEBP", "ops=", "ops"),
        ("WEBP", "ops=page:2", "ops 1: page"),
        ("WEBP", "ops=flip|width:x", "ops 2: width"),
        ("WEBP", "ops=" + "|".join(["flip"] * 17), "ops"),
    ],
)
def test_what_is_wrong_is_named(format: str, query: str, parameter: str) -> None:
    from urllib.parse import parse_qsl

    with pytest.raises(InvalidParameter) as caught:
        RenditionSpec.parse(format, parse_qsl(query, keep_blank_values=True))
    assert caught.value.parameter == parameter
    assert caught.value.allowed


def test_a_misspelt_name_is_corrected() -> None:
    with pytest.raises(UnknownParameter, match="did you mean width"):
        RenditionSpec.parse("PNG", [("widht", "1")])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("w=10&h=20", "height=20&width=10"),
        ("background=red", "background=%23f00"),
        ("background=f00", "background=hsl(0,100%25,50%25)"),
        ("aspect=16:9", "aspect=32:18"),
        ("gravity=center", "fit=cover"),
        ("extend=5", "padding=5,5,5,5"),
        ("blur=5", "blur"),
        ("rotate=0", ""),
        ("q=80", "quality=80"),
        ("flip=1", "flip"),
    ],
)
def test_equal_requests_are_one(one: str, other: str) -> None:
    first, second = (RenditionSpec.from_canonical(f"WEBP?{query}") for query in (one, other))
    assert first == second and first.canonical() == second.canonical()


def test_what_a_format_lacks_can_be_left_out() -> None:
    spec = RenditionSpec.parse("PNG", [("quality", "80"), ("width", "5"), ("keep", "exif")], drop_unfit=True)
    assert spec == RenditionSpec("PNG", width=5, keep=frozenset({"exif"}))


def test_groups_follow_the_pipeline() -> None:
    groups = list(dict.fromkeys(one.group for one in declared(Operations)))
    assert groups == ["Region", "Size", "Turn", "Tone", "Effects", "Frame and mask", "Watermark"]


def test_every_option_belongs_to_a_parameter() -> None:
    features = {one.feature for one in declared(RenditionSpec)}
    for format in FORMATS.values():
        assert set(format.options) <= features, format.name
