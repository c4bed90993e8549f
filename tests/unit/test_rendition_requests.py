"""From an extension, a query and presets to the spec of a rendition; what may be given twice, and what may not."""

import pytest

from progimage.engine import FORMATS, ImageInfo, InvalidParameter, RenditionSpec
from progimage.images.requests import (
    AUTO,
    ImageName,
    RenditionRequest,
    UnknownFormat,
    each_once,
    extensions,
    parsed,
    preset,
    refuse_repeated,
    spec_of,
    with_preset,
    writable,
)

PHOTO = ImageInfo("JPEG", "image/jpeg", 400, 300, 1, False, 0, "RGB", 8, False, None, 1)
DRAWING = ImageInfo("PNG", "image/png", 400, 300, 1, False, 0, "RGB", 8, False, None, 1, line_art=True)
PRESETS = {"thumb": [("w", "100"), ("fit", "contain"), ("quality", "70")], "plain": [("strip", "")]}


def test_a_preset_stands_for_its_transformations() -> None:
    asked = with_preset([("preset", "thumb")], PRESETS)
    assert asked == RenditionRequest(PRESETS["thumb"], frozenset({"width", "fit", "quality"}))
    assert preset("thumb", PRESETS) == asked and with_preset([("preset", "plain")], PRESETS).droppable == {"strip"}


def test_what_the_query_says_itself_goes_before_the_preset() -> None:
    for name in ("width", "w"):
        asked = with_preset([(name, "5"), ("preset", "thumb"), ("blur", "2")], PRESETS)
        assert asked.query == [("fit", "contain"), ("quality", "70"), (name, "5"), ("blur", "2")]
        assert asked.droppable == {"fit", "quality"}  # what the client asked for itself is not left out


def test_without_a_preset_the_query_stands_for_itself() -> None:
    query = [("width", "5"), ("quality", "5")]
    assert with_preset(query, PRESETS) == RenditionRequest(query, frozenset())


def test_an_unknown_preset_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidParameter) as refusal:
        with_preset([("preset", "thumbs")], PRESETS)
    assert (refusal.value.parameter, refusal.value.given) == ("preset", "thumbs")
    assert refusal.value.allowed == "plain, thumb"
    with pytest.raises(InvalidParameter, match="there are no presets"):
        preset("thumb", {})


def test_one_preset_is_enough() -> None:
    with pytest.raises(InvalidParameter) as refusal:
        with_preset([("preset", "thumb"), ("preset", "plain")], PRESETS)
    assert (refusal.value.given, refusal.value.allowed) == ("plain", "one preset")


def test_nothing_is_given_twice_but_labels_and_urls() -> None:
    query = [("label", "a"), ("url", "x"), ("label", "b"), ("url", "y"), ("width", "5")]
    assert list(each_once(query)) == query
    refuse_repeated(query)
    with pytest.raises(InvalidParameter) as refusal:
        refuse_repeated([*query, ("width", "6")])
    assert (refusal.value.parameter, refusal.value.given) == ("width", "6")
    once = each_once([("a", "1"), ("b", "2"), ("a", "3")])
    assert next(once) == ("a", "1") and next(once) == ("b", "2")  # those before it are handed on
    with pytest.raises(InvalidParameter):
        next(once)


def test_no_refusal_repeats_more_than_a_line_of_what_was_given() -> None:
    long = "x" * 5000
    refusals = (
        lambda: refuse_repeated([("a", long), ("a", long)]),
        lambda: with_preset([("preset", long)], PRESETS),
        lambda: with_preset([("preset", "thumb"), ("preset", long)], PRESETS),
    )
    for refuse in refusals:
        with pytest.raises(InvalidParameter) as refusal:
            refuse()
        assert refusal.value.given == long[:100]
    with pytest.raises(UnknownFormat) as unknown:
        writable(long)
    assert unknown.value.extension == long[:100]


def test_what_a_preset_asks_for_is_left_out_where_a_format_lacks_it() -> None:
    asked = with_preset([("preset", "thumb")], PRESETS)
    assert parsed("png", asked) == RenditionSpec("PNG", width=100, fit="contain")
    assert parsed("webp", asked) == RenditionSpec("WEBP", width=100, fit="contain", quality=70)
    with pytest.raises(InvalidParameter):
        parsed("png", with_preset([("preset", "thumb"), ("quality", "5")], PRESETS))


def test_for_auto_everything_is_left_out_that_the_format_lacks() -> None:
    asked = RenditionRequest([("quality", "70"), ("width", "5")])
    assert parsed(AUTO, asked) == RenditionSpec("PNG", width=5)
    assert spec_of(AUTO, asked, PHOTO, "image/webp", ["WEBP"]) == RenditionSpec("WEBP", width=5, quality=70)
    assert spec_of("jpg", asked, PHOTO, "image/webp", ["WEBP"]) == RenditionSpec("JPEG", width=5, quality=70)


def test_line_art_is_kept_lossless_unless_something_else_is_said() -> None:
    plain = spec_of(AUTO, RenditionRequest([]), DRAWING, "image/webp", ["WEBP"])
    assert plain == RenditionSpec("WEBP", lossless=True)
    assert not spec_of(AUTO, RenditionRequest([]), PHOTO, "image/webp", ["WEBP"]).lossless
    for name, value in (("quality", "50"), ("q", "50"), ("max_bytes", "5000"), ("lossless", "false")):
        assert not spec_of(AUTO, RenditionRequest([(name, value)]), DRAWING, "image/webp", ["WEBP"]).lossless
    assert spec_of(AUTO, RenditionRequest([("width", "5")]), DRAWING, "image/webp", ["WEBP"]).lossless


def test_every_format_that_is_written_has_extensions() -> None:
    known = extensions()
    assert known[0] == AUTO and known[1:] == sorted(known[1:])
    for format in FORMATS.values():
        for extension in format.extensions:
            assert (extension in known) is format.can_write
            if format.can_write:
                assert writable(extension) == format


def test_what_can_only_be_read_is_told_from_what_is_unknown() -> None:
    with pytest.raises(UnknownFormat, match="PSD can be read, but not written") as refusal:
        writable("psd")
    assert (refusal.value.extension, refusal.value.known) == ("psd", "PSD")
    with pytest.raises(UnknownFormat) as refusal:
        writable("xyz")
    assert refusal.value.known is None


@pytest.mark.parametrize(
    ("text", "reference", "extension"),
    [("a.png", "a", "png"), ("a.PNG", "a", "png"), ("a", "a", None), ("a.", "a", ""), ("a.tar.GZ", "a", "tar.gz")],
)
def test_a_name_is_a_reference_and_an_extension(text: str, reference: str, extension: str | None) -> None:
    assert ImageName.parse(text) == ImageName(reference, extension)
