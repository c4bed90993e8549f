"""The bounds that a header is held against before anything is decoded."""

import pytest

from progimage.engine import LimitExceeded, Limits, TooCostly

LIMITS = Limits(pixels=200, frames=5, total_pixels=500)


@pytest.mark.parametrize("header", [(20, 10, 1), (10, 20, 2), (1, 200, 1), (10, 10, 5), (1, 1, 5)])
def test_an_image_that_just_keeps_to_them_is_read(header: tuple[int, int, int]) -> None:
    LIMITS.check(*header)


@pytest.mark.parametrize(
    ("header", "given", "allowed"),
    [
        ((67, 3, 1), 201, 200),
        ((3, 67, 1), 201, 200),
        ((1, 1, 6), 6, 5),
        ((10, 11, 5), 550, 500),
        ((201, 1, 6), 201, 200),
    ],
)
def test_one_that_does_not_is_refused_with_what_it_has_and_may_have(
    header: tuple[int, int, int], given: int, allowed: int
) -> None:
    with pytest.raises(LimitExceeded) as refusal:
        LIMITS.check(*header)
    assert (refusal.value.given, refusal.value.allowed) == (given, allowed)


def test_a_still_is_one_frame() -> None:
    Limits(pixels=200, total_pixels=200).check(20, 10)
    with pytest.raises(LimitExceeded):
        Limits(pixels=200, total_pixels=199).check(20, 10)


def test_a_task_of_exactly_the_limit_is_light_and_one_above_it_is_not() -> None:
    Limits(cost=1.5).check_cost(lambda: 1.5, drawing=False)
    with pytest.raises(TooCostly) as refusal:
        Limits(cost=1.5).check_cost(lambda: 1.6, drawing=False)
    assert (refusal.value.cost, refusal.value.drawing) == (1.6, False)


def test_a_drawing_is_never_known_to_be_light() -> None:
    with pytest.raises(TooCostly) as refusal:
        Limits(cost=1.5).check_cost(lambda: 0.1, drawing=True)
    assert (refusal.value.cost, refusal.value.drawing) == (0.1, True)


def test_without_a_limit_nothing_is_reckoned() -> None:
    def reckon() -> float:
        raise AssertionError("nobody asked")

    Limits().check_cost(reckon, drawing=True)


def test_by_default_a_hundred_megapixels_of_five_hundred_frames_are_read() -> None:
    """As docs/settings.md has it."""
    Limits().check(10_000, 10_000)
    Limits().check(1000, 1000, 500)
    for header in ((10_000, 10_001, 1), (1, 1, 501), (1001, 1000, 500)):
        with pytest.raises(LimitExceeded):
            Limits().check(*header)
    for unlimited in ("memory", "cost", "most_cost", "damaged"):
        assert not getattr(Limits(), unlimited)
