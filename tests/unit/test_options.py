"""What is read from text: durations and dates, and what is said to caches."""

import time

import pytest

from progimage.engine import InvalidParameter
from progimage.http.responses.representation import cache_control
from progimage.images.options import cursor_of, expiry, read_cursor

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


def test_cursors() -> None:
    assert read_cursor(cursor_of((1.5, "x")), tuple[float, str]) == (1.5, "x")
    for text in ("", "x", "é", "W10", cursor_of((1,)), "A" * 5000):
        with pytest.raises(InvalidParameter):
            read_cursor(text, tuple[float, str])
