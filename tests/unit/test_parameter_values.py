"""How each kind of value is written in a query: what stands for what, what is refused, and the one canonical text."""

from fractions import Fraction
from typing import Any

import pytest

from progimage.engine import InvalidParameter, RenditionSpec, UnknownParameter
from progimage.engine.operations import FONTS, Operations
from progimage.engine.parameters import by_name, declared, parse, query_string, written
from progimage.engine.values import (
    COMPASS,
    Choice,
    Colour,
    CssColour,
    Flag,
    Four,
    Kind,
    Length,
    Lengths,
    Number,
    OrWord,
    Place,
    Ratio,
    Reference,
    Text,
    Words,
    whole,
)

REFERENCE = "7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90"
LENGTHS = Lengths("some lengths", (2, 4), "1,2")
BOX = Lengths("a box", (2, 4), "1,2", positive=True)
OFFSET = Lengths("an offset", (2,), "1,2", negative=True)
FOUR = Four("sides", 100)
NUMBER = Number(-10, 10.5, 2.5)


@pytest.mark.parametrize(
    ("kind", "text", "value", "canonical"),
    [
        (NUMBER, "", 2.5, "2.5"),
        (NUMBER, "5", 5, "5"),
        (NUMBER, "+5", 5, "5"),
        (NUMBER, "-10", -10, "-10"),
        (NUMBER, "10.5", 10.5, "10.5"),
        (NUMBER, ".5", 0.5, "0.5"),
        (NUMBER, "5.", 5, "5"),
        (NUMBER, "1.23456", 1.2346, "1.2346"),
        (NUMBER, "1.50000", 1.5, "1.5"),
        (NUMBER, "0.00004", 0, "0"),
        (NUMBER, "-0", 0, "0"),
        (NUMBER, "010", 10, "10"),
        (whole(0, 100), "100", 100, "100"),
        (whole(0, 100), "0", 0, "0"),
        (whole(-5, 100), "-5", -5, "-5"),
        (whole(3, 31, 3, odd=True), "", 3, "3"),
        (whole(3, 31, 3, odd=True), "31", 31, "31"),
        (Flag(), "", True, "true"),
        (Flag(), "1", True, "true"),
        (Flag(), "true", True, "true"),
        (Flag(), "0", False, "false"),
        (Flag(), "false", False, "false"),
        (Choice(("a", "b"), (("x", "b"),)), "a", "a", "a"),
        (Choice(("a", "b"), (("x", "b"),)), "x", "b", "b"),
        (OrWord(("auto",), whole(1, 9)), "auto", "auto", "auto"),
        (OrWord(("auto",), whole(1, 9)), "9", 9, "9"),
        (CssColour(), "red", Colour(255, 0, 0), "ff0000"),
        (CssColour(), "f80", Colour(255, 136, 0), "ff8800"),
        (CssColour(), "#f808", Colour(255, 136, 0, 136), "ff880088"),
        (CssColour(), "102030", Colour(16, 32, 48), "102030"),
        (CssColour(), "10203040", Colour(16, 32, 48, 64), "10203040"),
        (CssColour(), "transparent", Colour(0, 0, 0, 0), "00000000"),
        (CssColour(), "rgb(300,-5,128)", Colour(255, 0, 128), "ff0080"),
        (CssColour(), "rgb(50% 0% 100% / 0.5)", Colour(128, 0, 255, 128), "8000ff80"),
        (CssColour(), "hsl(120 100% 50%)", Colour(0, 255, 0), "00ff00"),
        (Ratio(), "16:9", Fraction(16, 9), "16:9"),
        (Ratio(), "32:18", Fraction(16, 9), "16:9"),
        (Ratio(), "1.5", Fraction(3, 2), "3:2"),
        (Ratio(), "1.5:2.5", Fraction(3, 5), "3:5"),
        (Ratio(), "1:100", Fraction(1, 100), "1:100"),
        (Ratio(), "100", Fraction(100), "100:1"),
        (LENGTHS, "1,2", (Length(1), Length(2)), "1,2"),
        (LENGTHS, "1, 2 3%,4.5", (Length(1), Length(2), Length(3, True), Length(4.5)), "1,2,3%,4.5"),
        (LENGTHS, " 0 100000 ", (Length(0), Length(100_000)), "0,100000"),
        (LENGTHS, "0%,1000%", (Length(0, True), Length(1000, True)), "0%,1000%"),
        (BOX, "0,0,1,1", (Length(0), Length(0), Length(1), Length(1)), "0,0,1,1"),
        (OFFSET, "-5,-10%", (Length(-5), Length(-10, True)), "-5,-10%"),
        (FOUR, "1", (1, 1, 1, 1), "1"),
        (FOUR, "1,2", (1, 2, 1, 2), "1,2"),
        (FOUR, "1,2,3", (1, 2, 3, 2), "1,2,3"),
        (FOUR, "1 2 3 4", (1, 2, 3, 4), "1,2,3,4"),
        (FOUR, "1,2,1,2", (1, 2, 1, 2), "1,2"),
        (FOUR, "1,1,1,1", (1, 1, 1, 1), "1"),
        (FOUR, "1,2,3,2", (1, 2, 3, 2), "1,2,3"),
        (FOUR, "2,2,2,3", (2, 2, 2, 3), "2,2,2,3"),
        (FOUR, "0,100", (0, 100, 0, 100), "0,100"),
        (Place(("smart",)), "smart", "smart", "smart"),
        (Place(), "north", "north", "north"),
        (Place(), "top", "north", "north"),
        (Place(), "bottom", "south", "south"),
        (Place(), "left", "west", "west"),
        (Place(), "right", "east", "east"),
        (Place(), "center", "centre", "centre"),
        (Place(), "0,1", (0, 1), "0,1"),
        (Place(), "1,0", (1, 0), "1,0"),
        (Place(), "0.25,.5", (0.25, 0.5), "0.25,0.5"),
        (Words(("a", "b", "c")), "c,a", frozenset({"a", "c"}), "a,c"),
        (Words(("a", "b", "c")), "b", frozenset({"b"}), "b"),
        (Reference(), REFERENCE, REFERENCE, REFERENCE),
        (Text(5), "a\nb", "a\nb", "a\nb"),
        (Text(5), " é写😀 ", " é写😀 ", " é写😀 "),
        (Text(5), "\xa0~\xad", "\xa0~\xad", "\xa0~\xad"),
    ],
)
def test_a_text_stands_for_a_value_that_has_one_canonical_text(
    kind: Kind, text: str, value: Any, canonical: str
) -> None:
    parsed = kind.parse(text)
    assert parsed == value and type(parsed) is type(kind.parse(canonical))
    assert kind.write(value) == canonical and kind.parse(canonical) == value


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (
            NUMBER,
            ["-10.0001", "10.5001", "1e1", "nan", "inf", "1_0", " 1", "1 ", "--1", ".", "-", "1" * 11, "0." + "1" * 10],
        ),
        (Number(1, 2), [""]),
        (whole(1, 100), ["0", "101", "1.0", "+1", "1.", "", "-1", "--1"]),
        (whole(3, 31, odd=True), ["4", "2", "1", "33", "3.0"]),
        (Flag(), ["yes", "True", "2", " "]),
        (Choice(("a", "b"), (("x", "b"),)), ["c", "", "A", "y"]),
        (OrWord(("auto",), whole(1, 9)), ["10", "Auto", ""]),
        (
            CssColour(),
            ["", "ff", "12345", "currentcolor", "lab(50 20 20)", "color(display-p3 1 0 0)", "#ggg", "reddish"],
        ),
        (Ratio(), ["0", "0:1", "1:0", "1:101", "101", "-1", "1:2:3", "", ":", "16:", "16/9", "100.1:1"]),
        (LENGTHS, ["1", "1,2,3", "1,2,3,4,5", "-1,0", "100000.1,0", "1000.1%,0", "a,b", "1%%,2", ""]),
        (BOX, ["0,1", "1,0", "0,0,1,0", "0,0,0,1"]),
        (OFFSET, ["-100000.1,0", "-1000.1%,0", "1", "1,2,3"]),
        (FOUR, ["-1", "100.1", "1,2,3,4,5", "1,,x", "", "1%"]),
        (Place(("smart",)), ["entropy", "1.1,0", "0,1.1", "-0.1,0", "0,-0.1", "0.5", "0,0,0", "North", ""]),
        (Words(("a", "b")), ["", "a,a", "c", "a,c", "a, b", "a,"]),
        (Reference(), [REFERENCE.upper(), f"{{{REFERENCE}}}", REFERENCE.replace("-", ""), "x", ""]),
        (Text(5), ["", " ", "\n", "abcdef", "a\tb", "a\x1fb", "a\x7f", "a\x9f", "a\ud800", "a\udfff"]),
    ],
)
def test_what_is_not_allowed_is_refused(kind: Kind, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError):
            kind.parse(text)
    assert kind.allowed


def test_what_is_allowed_is_said_in_words() -> None:
    assert NUMBER.allowed == "a number from -10 to 10.5"
    assert whole(1, 100).allowed == "a whole number from 1 to 100"
    assert whole(3, 31, odd=True).allowed == "an odd number from 3 to 31"
    assert Choice(("a",)).allowed == "a" and Choice(("a", "b")).allowed == "a or b"
    assert Choice(("a", "b", "c")).allowed == "a, b or c"
    assert OrWord(("auto",), whole(1, 9)).allowed == "auto, or a whole number from 1 to 9"
    assert "0 to 100" in FOUR.allowed and "sides" in FOUR.allowed and "1 to 5 characters" in Text(5).allowed
    assert all(word in Place(("smart",)).allowed for word in (*COMPASS, "smart"))


def test_schemas_say_the_same_to_programs() -> None:
    assert NUMBER.schema() == {"type": "number", "minimum": -10, "maximum": 10.5}
    assert whole(1, 5).schema() == {"type": "integer", "minimum": 1, "maximum": 5}
    assert Flag().schema() == {"type": "boolean"}
    assert Choice(("a", "b"), (("x", "b"),)).schema() == {"type": "string", "enum": ["a", "b", "x"]}
    either = OrWord(("auto",), whole(1, 9)).schema()["oneOf"]
    assert either == [{"type": "string", "enum": ["auto"]}, {"type": "integer", "minimum": 1, "maximum": 9}]
    assert Text(5).schema() == {"type": "string", "minLength": 1, "maxLength": 5}


@pytest.mark.parametrize("name", [one.name for one in declared(RenditionSpec)])
def test_the_examples_of_a_schema_are_values(name: str) -> None:
    kind = by_name(RenditionSpec)[name].kind
    schema = kind.schema()
    examples = [*schema.get("examples", []), *schema.get("enum", [])]
    assert all(kind.write(kind.parse(one)) for one in examples)
    if schema["type"] == "string" if "type" in schema else False:
        assert examples or "format" in schema or "maxLength" in schema


def test_lengths_are_in_pixels_or_in_percent_of_what_they_are_measured_along() -> None:
    assert Length(30).pixels(400) == 30 and Length(30).pixels(400, 2) == 60
    assert Length(30, True).pixels(400) == 120 and Length(30, True).pixels(400, 2) == 120


def test_the_compass_lies_as_on_a_map() -> None:
    for name, (x, y) in COMPASS.items():
        assert x == (0 if "west" in name else 1 if "east" in name else 0.5)
        assert y == (0 if "north" in name else 1 if "south" in name else 0.5)


def test_defaults_are_values_of_their_kinds_and_need_not_be_written() -> None:
    for one in declared(RenditionSpec):
        if one.default is None:
            assert one.default_text == ""
        elif one.kind.write(one.default):
            assert one.kind.parse(one.default_text) == one.default
    assert written(RenditionSpec("PNG")) == []
    assert written(Operations(width=300, fit="cover", blur=2.5)) == [("width", "300"), ("blur", "2.5")]


def test_what_is_named_without_a_value_has_its_usual_one() -> None:
    bare = {
        "trim": 10, "gamma": 2.2, "sepia": 1, "threshold": 128, "median": 3, "blur": 5, "sharpen": 1, "pixelate": 10,
        "palette": 256, "flip": True, "enlarge": True,
    }  # fmt: skip
    found = {name: getattr(RenditionSpec.parse("PNG", [(name, "")]), name) for name in bare}
    assert found == bare  # as docs/transformations.md has them
    for name in ("width", "rotate", "brightness", "dpr", "zoom", "effort"):
        with pytest.raises(InvalidParameter):
            RenditionSpec.parse("PNG", [(name, "")])


# The bounds of docs/transformations.md; files of every format have sides below 65,536.
BOUNDS = {
    "width": (1, 65_535, 1), "height": (1, 65_535, 1), "rotate": (-360, 360, 0.1), "hue": (-360, 360, 0.1),
    "dpr": (0.1, 10, 0.01), "zoom": (0.01, 100, 0.001), "blur": (0.3, 250, 0.1), "sharpen": (0.3, 10, 0.1),
    "median": (3, 31, 2), "pixelate": (2, 1000, 1), "threshold": (0, 255, 1), "gamma": (0.1, 10, 0.01),
    "brightness": (0, 10, 0.1), "contrast": (0, 10, 0.1), "saturation": (0, 10, 0.1), "sepia": (0, 1, 0.1),
    "trim": (0, 255, 0.1), "page": (1, 100_000, 1), "dpi": (1, 2400, 0.1), "max_bytes": (100, 1_000_000_000, 1),
    "effort": (1, 9, 1), "quality": (1, 100, 1), "palette": (2, 256, 1), "extend": (0, 10_000, 0.1),
    "border": (0, 10_000, 0.1), "radius": (0, 65_535, 0.1), "watermark_scale": (0.01, 10, 0.001),
    "watermark_opacity": (0, 1, 0.1), "text_size": (4, 2000, 0.1), "text_opacity": (0, 1, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_those_of_the_documentation(name: str) -> None:
    kind = by_name(RenditionSpec)[name].kind
    least, most, step = BOUNDS[name]
    for good in (least, most):
        kind.parse(f"{good:g}" if good < 100_000 else str(good))
    for bad in (least - step, most + step):
        with pytest.raises(ValueError):
            kind.parse(f"{bad:.4f}".rstrip("0").rstrip("."))


def test_every_number_has_bounds() -> None:
    numbers = {one.name for one in declared(RenditionSpec) if isinstance(one.kind, Number | Four)}
    assert numbers <= set(BOUNDS)


def test_offsets_may_be_negative_and_sizes_not() -> None:
    for name in ("watermark_offset", "text_offset"):
        assert by_name(Operations)[name].kind.parse("-5,-10%") == (Length(-5), Length(-10, True))
    for name, text in (("crop", "-5,0,9,9"), ("crop", "0,9"), ("text_width", "0"), ("text_width", "-5")):
        with pytest.raises(ValueError):
            by_name(Operations)[name].kind.parse(text)
    assert by_name(Operations)["text_width"].kind.parse("80%") == (Length(80, True),)


def test_what_is_not_asked_for_changes_nothing() -> None:
    neutral = {
        "rotate": 0, "hue": 0, "sepia": 0, "gamma": 1, "brightness": 1, "contrast": 1, "saturation": 1, "dpr": 1,
        "zoom": 1, "watermark_opacity": 1, "text_opacity": 1, "dpi": 96, "autorotate": True,
        "border_color": Colour(0, 0, 0), "text_color": Colour(255, 255, 255),
    }  # fmt: skip
    for one in declared(RenditionSpec):
        if isinstance(one.kind, Flag) and one.name not in neutral:
            assert not one.default
        elif one.name in neutral:
            assert one.default == neutral[one.name], one.name
        elif isinstance(one.kind, Number | Four | CssColour):
            assert one.default is None, one.name


@pytest.mark.parametrize("name", ["text_font", "text_color", "watermark_gravity", "text_gravity", "watermark_offset"])
def test_defaults_are_those_of_the_documentation(name: str) -> None:
    defaults = {
        "text_font": "sans", "text_color": "ffffff", "watermark_gravity": "southeast", "text_gravity": "south",
        "watermark_offset": "",
    }  # fmt: skip
    assert by_name(RenditionSpec)[name].default_text == defaults[name]


def test_a_parameter_that_means_nothing_by_itself_says_what_it_needs() -> None:
    for one in declared(Operations):
        if one.needs:
            text = one.kind.write(one.default) if one.default is not None else "9,9" if "offset" in one.name else "9"
            with pytest.raises(InvalidParameter, match=f"only together with {one.needs}") as refusal:
                parse(Operations, [(one.name, text)])
            assert refusal.value.given == text
    assert parse(Operations, [("border_color", "red"), ("border", "5")])["border_color"] == Colour(255, 0, 0)


def test_a_refusal_names_the_parameter_as_it_was_given_and_shows_no_more_than_a_line_of_it() -> None:
    with pytest.raises(InvalidParameter) as refusal:
        parse(Operations, [("w", "x" * 999)], "ops 3: ")
    assert refusal.value.parameter == "ops 3: w" and refusal.value.given == "x" * 200
    with pytest.raises(UnknownParameter) as unknown:
        parse(Operations, [("n" * 999, "x" * 999)], "ops 3: ")
    assert unknown.value.given == "x" * 200 and len(unknown.value.parameter) == 200
    with pytest.raises(InvalidParameter) as twice:
        parse(Operations, [("width", "9"), ("w", "9")])
    assert twice.value.parameter == "w"


def test_names_and_aliases_stand_for_the_same() -> None:
    for one in declared(RenditionSpec):
        for alias in one.aliases:
            assert by_name(RenditionSpec)[alias] == one and alias not in {
                other.name for other in declared(RenditionSpec)
            }
    aliases = {"w": "width", "h": "height", "q": "quality", "padding": "extend", "greyscale": "grayscale",
               "invert": "negate", "normalise": "normalize", "frame": "page", "interlace": "progressive"}  # fmt: skip
    assert {alias: by_name(RenditionSpec)[alias].name for alias in aliases} == aliases


def test_queries_are_quoted_as_little_as_can_be() -> None:
    assert query_string([("text", "a b&c=d%é"), ("crop", "1,2,3,4"), ("aspect", "16:9")]) == (
        "text=a%20b%26c%3Dd%25%C3%A9&crop=1,2,3,4&aspect=16:9"
    )
    assert query_string([]) == ""


def test_every_font_comes_in_four_cuts() -> None:
    families = {font.partition("-")[0] for font in FONTS}
    assert families == {"sans", "serif", "mono"}
    assert set(FONTS) == {f"{one}{cut}" for one in families for cut in ("", "-bold", "-italic", "-bold-italic")}


def test_references_of_other_images_are_named_by_their_parameters() -> None:
    assert Operations().references() == {}
    assert Operations(mask="m", watermark="w").references() == {"mask": "m", "watermark": "w"}


@pytest.mark.parametrize("text", ["٣", "1٣", "３", "²", "-٣", "1.٣"])
def test_numbers_are_written_in_ascii(text: str) -> None:
    for name in ("width", "rotate", "quality"):
        with pytest.raises(InvalidParameter):
            RenditionSpec.parse("JPEG", [(name, text)])
