"""What a response is based on decides who may keep it, and for how long."""

from types import SimpleNamespace
from typing import Any

import pytest

from progimage.auth import Visibility
from progimage.http.basis import ImageInResponse, ResponseBasis, basis_of

PUBLIC, SIGNED, KEY = Visibility.PUBLIC, Visibility.SIGNED, Visibility.KEY


def image(
    visibility: Visibility | None, reference: str = "1", expires_at: float | None = None, held: bool = False
) -> ImageInResponse:
    record: Any = SimpleNamespace(reference=reference, expires_at=expires_at, held=held)
    return ImageInResponse(record, visibility)


def basis(*visibilities: Visibility | None, signed: bool = False) -> ResponseBasis:
    made = ResponseBasis(is_signed=signed)
    for number, visibility in enumerate(visibilities):
        made.add(image(visibility, str(number)))
    return made


@pytest.mark.parametrize(
    ("visibilities", "signed", "private"),
    [
        ((), False, False),
        ((PUBLIC,), False, False),
        ((None,), False, False),
        ((SIGNED,), False, True),
        ((SIGNED,), True, False),
        ((KEY,), False, True),
        ((KEY,), True, True),
        ((PUBLIC, SIGNED), False, True),
        ((PUBLIC, SIGNED), True, False),
        ((SIGNED, KEY), True, True),
        ((PUBLIC, None), False, False),
    ],
)
def test_a_shared_cache_keeps_what_everybody_who_has_the_url_may_read(
    visibilities: tuple[Visibility | None, ...], signed: bool, private: bool
) -> None:
    assert basis(*visibilities, signed=signed).is_private is private


def test_it_is_over_with_the_first_thing_that_it_depends_on() -> None:
    made = ResponseBasis()
    assert made.ends_at is None
    made.add(image(PUBLIC, "1"))
    assert made.ends_at is None
    made.add(image(PUBLIC, "2", 500.0))
    made.add(image(PUBLIC, "3", 400.0))
    assert made.ends_at == 400
    made.add(image(PUBLIC, "4", 100.0, held=True))  # by law it stays
    assert made.ends_at == 400
    made.ends.append(300.0)
    assert made.ends_at == 300


def test_an_image_that_is_there_twice_counts_as_the_stricter_one() -> None:
    made = ResponseBasis()
    made.add(image(None))
    made.add(image(KEY))
    assert made.is_private
    made.add(image(None))
    assert made.is_private and len(made.images) == 1


def test_changes_are_noted_from_before_the_first_lookup() -> None:
    made, states = ResponseBasis(), iter((5, 6))
    changes: Any = SimpleNamespace(state=lambda _: next(states))
    made.watch("1", changes)
    made.watch("1", changes)
    assert made.seen == {"1": 5}


def test_a_request_has_one_basis() -> None:
    scope: dict[str, Any] = {}
    assert basis_of(scope) is basis_of(scope) and basis_of({}) is not basis_of(scope)
