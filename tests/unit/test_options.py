"""What is read from text: durations and dates, and what is said to caches."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from progimage import clock
from progimage.auth import Visibility
from progimage.engine import InvalidParameter
from progimage.http.responses.representation import cache_control
from progimage.images.library import UploadOptions
from progimage.images.options import (
    asked_damaged,
    check_range,
    checked_labels,
    expiry,
    flag,
    image_filter,
    metadata,
    upload_options,
    whole_number,
)
from progimage.storage import ImageFilter

USUAL = "public, max-age=31536000, s-maxage=3600, immutable"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("2m", 120), ("12h", 43200), ("30d", 2592000), ("1w", 604800), ("P30D", 2592000),
     ("PT1H30M", 5400), ("P1W", 604800), ("P1DT12H", 129600), ("PT5S", 5)],
)  # fmt: skip
def test_durations(text: str, seconds: int) -> None:
    assert abs(expiry(text) - time.time() - seconds) < 5


def test_dates() -> None:
    assert expiry("2100-01-01") == expiry("2100-01-01T00:00:00Z") == expiry("2100-01-01T02:00:00+02:00") == 4102444800


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "1.5h", "P", "PT", "P1Y", "1y", "2001-01-01", "9999-12-31", "soon", "٣d"]
)
def test_what_is_no_time_to_come(text: str) -> None:
    with pytest.raises(InvalidParameter) as problem:
        expiry(text)
    assert problem.value.parameter == "expires"


def test_what_is_said_to_caches() -> None:
    assert cache_control(USUAL, private=False, seconds=None) == USUAL
    assert cache_control(USUAL, private=True, seconds=None) == "private, max-age=31536000, immutable"
    assert cache_control(USUAL, private=False, seconds=60) == "public, max-age=60, s-maxage=60"
    assert cache_control(USUAL, private=True, seconds=0) == "private, max-age=0"
    assert cache_control("no-store", private=True, seconds=9) == "private, no-store"


NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    return NOW


def refused(read: Callable[..., object], *given: Any) -> InvalidParameter:
    with pytest.raises(InvalidParameter) as refusal:
        read(*given)
    return refusal.value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("1s", 1),
        ("1m", 60),
        ("1h", 3600),
        ("1d", 86_400),
        ("1w", 604_800),
        ("0001", 1),
        ("9999999999s", None),
        ("11111111111", None),
        ("3162240000", 100 * 366 * 86_400),
        ("3162240001", None),
        ("36600d", 36_600 * 86_400),
        ("36601d", None),
        ("0", None),
        ("0w", None),
        # ISO 8601, without the parts whose length is not the same each time.
        ("P1W", 604_800),
        ("P2D", 172_800),
        ("PT3H", 10_800),
        ("PT4M", 240),
        ("PT5S", 5),
        ("P1W2DT3H4M5S", 604_800 + 172_800 + 10_800 + 240 + 5),
        ("PT0S", None),
        ("P1M", None),
        ("P1Y", None),
        ("P1D2W", None),
        ("PT1S1M", None),
        ("p1d", None),
        ("P1DT", 86_400),
        ("P12345W", None),
        ("P1234567D", None),
        ("PT1.5S", None),
    ],
)
def test_an_expiry_is_so_many_seconds_from_now(now: float, text: str, seconds: int | None) -> None:
    if seconds is not None:
        assert expiry(text) == now + seconds
        return
    refusal = refused(expiry, text)
    assert (refusal.parameter, refusal.given) == ("expires", text) and "100 years" in refusal.allowed


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2027-01-15T08:00:01Z", NOW + 1), ("2027-01-15T08:00:00.5Z", NOW + 0.5), (" 2027-01-15 08:00:01 ", NOW + 1),
        ("2027-01-16", NOW + 16 * 3600), ("2027-01-15T09:00:01+01:00", NOW + 1), ("2027-01-15T08:00:00Z", None),
        ("2027-01-15T09:00:00+01:00", None), ("2127-05-01", None), ("0001-01-01", None), ("2027-02-30", None),
        ("0001-01-01T00:00:00+23:59", None),
    ],
)  # fmt: skip
def test_an_expiry_may_be_a_date_that_is_to_come(now: float, text: str, at: float | None) -> None:
    if at is not None:
        assert expiry(text) == at
    else:
        assert refused(expiry, text, "until").parameter == "until"


def test_an_upload_says_what_is_known_of_its_images(now: float) -> None:
    told = upload_options(
        [("visibility", "signed"), ("expires", "1h"), ("label", "b"), ("metadata", '{"a":"1"}'), ("label", "a"),
         ("damaged", "accept"), ("label", "b")]
    )  # fmt: skip
    assert told == UploadOptions(Visibility.SIGNED, now + 3600, ("a", "b"), {"a": "1"}, damaged=True)
    assert upload_options([]) == UploadOptions()
    assert not upload_options([("damaged", "refuse")]).damaged


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("visibility", "Public"),
        ("visibility", ""),
        ("expires", "never"),
        ("metadata", "{"),
        ("metadata", "[]"),
        ("metadata", '{"a":1}'),
        ("metadata", '{"a":{}}'),
        ("damaged", "true"),
        ("damaged", ""),
        ("label", ""),
        ("label", " a"),
        ("label", "a\n"),
        ("label", "\x00"),
    ],
)
def test_what_an_upload_says_wrongly_is_named(name: str, value: str) -> None:
    refusal = refused(upload_options, [(name, value)])
    assert refusal.parameter == name and refusal.allowed


def test_an_upload_says_things_once() -> None:
    assert refused(upload_options, [("expires", "1h"), ("expires", "1h")]).parameter == "expires"


def test_accepting_damage_is_said_in_one_word() -> None:
    assert asked_damaged([("a", "b"), ("damaged", "accept")])
    assert not asked_damaged([("damaged", "refuse")]) and not asked_damaged([("a", "accept")])
    assert refused(asked_damaged, [("damaged", "x")]).allowed == "refuse or accept"


def test_labels_and_metadata_are_bounded() -> None:
    """A label has 100 characters, an image 50 of them; its names and values have 4096 bytes as JSON."""
    assert checked_labels(["b", "a", "b"]) == ("a", "b")
    assert checked_labels(["x" * 100]) and checked_labels(["ü b"]) and len(checked_labels(map(str, range(50)))) == 50
    assert refused(checked_labels, ["x" * 101]).given == "x" * 100  # no more of it is repeated
    assert refused(checked_labels, map(str, range(51))).given == "51 labels"
    assert metadata({"a": "x" * (4096 - len('{"a":""}'))})
    assert refused(metadata, {"a": "x" * (4097 - len('{"a":""}'))}).parameter == "metadata"
    assert refused(metadata, {"a": "é" * 2045}).parameter == "metadata"  # in UTF-8 these are two bytes each


def test_lists_are_narrowed() -> None:
    sha256 = "0a" * 32
    found = image_filter(
        [
            ("owner", "anna"),
            ("format", "jpeg"),
            ("sha256", sha256),
            ("min_bytes", "0"),
            ("max_bytes", str(2**62)),
            ("after", "2027-01-15T08:00:00Z"),
            ("before", "2027-01-15T08:00:01Z"),
            ("label", "b"),
            ("label", "a"),
            ("deleted", ""),
        ]
    )
    assert found == ImageFilter("anna", "JPEG", sha256, 0, 2**62, NOW, NOW + 1, ("a", "b"), True)
    assert image_filter([]) == ImageFilter() and image_filter([("deleted", "false")]) == ImageFilter()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "jpg"),
        ("format", ""),
        ("sha256", "0A" * 32),
        ("sha256", "0a" * 31),
        ("sha256", "0a" * 32 + "0"),
        ("min_bytes", "-1"),
        ("max_bytes", "-1"),
        ("max_bytes", str(2**62 + 1)),
        ("max_bytes", "1.5"),
        ("after", "yesterday"),
        ("before", ""),
        ("deleted", "yes"),
        ("label", ""),
    ],
)
def test_what_lists_can_not_be_narrowed_to_is_named(name: str, value: str) -> None:
    refusal = refused(image_filter, [(name, value)])
    assert (refusal.parameter, refusal.given) == (name, value) and refusal.allowed


def test_a_filter_is_given_once_but_for_labels() -> None:
    assert refused(image_filter, [("owner", "a"), ("owner", "b")]).parameter == "owner"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", True),
        ("true", True),
        ("TRUE", True),
        ("1", True),
        ("false", False),
        ("False", False),
        ("0", False),
        ("no", None),
        ("01", None),
    ],
)
def test_flags(text: str, value: bool | None) -> None:
    if value is None:
        assert refused(flag, "f", text).allowed == "true or false"
    else:
        assert flag("f", text) is value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("10", 10),
        ("07", 7),
        ("4", None),
        ("11", None),
        ("", None),
        ("-5", None),
        ("+5", None),
        ("5.0", None),
        ("٧", None),
        ("²", None),
        (" 5", None),
        ("0" * 18 + "5", 5),
        ("0" * 19 + "5", None),
        ("9" * 5000, None),
    ],
)
def test_whole_numbers_in_their_range(text: str, value: int | None) -> None:
    if value is None:
        assert refused(whole_number, "n", text, 5, 10).allowed == "a whole number from 5 to 10"
    else:
        assert whole_number("n", text, 5, 10) == value


def test_numbers_of_a_body_are_held_to_their_range() -> None:
    for given in (5, 10):
        check_range("n", given, 5, 10)
    for given in (4, 11):
        refusal = refused(check_range, "n", given, 5, 10)
        assert (refusal.parameter, refusal.given, refusal.allowed) == ("n", str(given), "5 to 10")
