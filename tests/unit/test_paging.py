"""Lists in pages: each item is on one page, and a cursor is what was handed out."""

import pytest

from progimage.engine import InvalidParameter
from progimage.http.paging import Page

PLACE = tuple[float, str]
ITEMS = [(float(number // 3), f"item {number}é?") for number in range(250)]


def pages(limit: str | None) -> list[list[PLACE]]:
    """Go through a list as a client does."""
    found, cursor = [], None
    while True:
        page: Page[PLACE] = Page.asked_for(limit, cursor, PLACE)
        start = 0 if page.after is None else ITEMS.index(page.after) + 1
        items, cursor = page.cut(ITEMS[start : start + page.limit + 1], lambda item: item)
        found.append(list(items))
        if cursor is None:
            return found
        assert cursor.isascii() and not set(cursor) & set("+/=&? ")  # it needs no quoting in a URL


@pytest.mark.parametrize(
    ("limit", "sizes"),
    [("100", [100, 100, 50]), ("125", [125, 125]), ("249", [249, 1]), ("250", [250]), ("1000", [250])],
)
def test_each_item_is_on_one_page_and_the_last_page_says_so(limit: str, sizes: list[int]) -> None:
    found = pages(limit)
    assert [len(page) for page in found] == sizes and [item for page in found for item in page] == ITEMS


def test_a_page_has_a_hundred_items_unless_asked_otherwise() -> None:
    assert pages(None) == pages("100")


def test_an_empty_list_is_one_page() -> None:
    page: Page[PLACE] = Page.asked_for("5", None, PLACE)
    assert page.cut([], lambda item: item) == ([], None) and page.after is None


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "", "ten", "1e2", "٥"])
def test_a_page_has_one_to_a_thousand_items(limit: str) -> None:
    for allowed in ("1", "1000"):
        assert Page.asked_for(allowed, None, PLACE).limit == int(allowed)
    with pytest.raises(InvalidParameter) as refusal:
        Page.asked_for(limit, None, PLACE)
    assert (refusal.value.parameter, refusal.value.given) == ("limit", limit)
    assert refusal.value.allowed == "a whole number from 1 to 1000"


@pytest.mark.parametrize("cursor", ["", "x", "é", "W10", "WzEsMl0", "bnVsbA", "A" * 5000, "ey0", "====", '[1.0,"a"]'])
def test_what_was_not_handed_out_is_no_cursor(cursor: str) -> None:
    with pytest.raises(InvalidParameter) as refusal:
        Page.asked_for(None, cursor, PLACE)
    assert refusal.value.parameter == "cursor" and refusal.value.given == cursor[:100]


def test_a_cursor_of_another_list_is_refused() -> None:
    page: Page[tuple[int]] = Page.asked_for("1", None, tuple[int])
    _, cursor = page.cut([(1,), (2,)], lambda item: item)
    assert Page.asked_for(None, cursor, tuple[int]).after == (1,)
    with pytest.raises(InvalidParameter):
        Page.asked_for(None, cursor, PLACE)
