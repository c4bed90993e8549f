"""Sizes: what `fit` and the others promise, for any numbers."""

import hypothesis
import hypothesis.strategies as st
import pytest

from progimage.engine import InvalidParameter
from progimage.engine.geometry import Box, crop_box, fitting, place, turned
from progimage.engine.operations import Operations
from progimage.engine.values import Length

SIDE = st.integers(1, 5000)


@hypothesis.given(SIDE, SIDE, SIDE, SIDE, st.sampled_from(["cover", "contain", "fill", "inside", "outside"]))
def test_fits_keep_their_promise_when_enlarging(width: int, height: int, across: int, down: int, fit: str) -> None:
    fitted = fitting((width, height), Operations(width=across, height=down, fit=fit, enlarge=True))
    resized, canvas = fitted.resized, fitted.canvas
    if fit in ("cover", "contain", "fill"):
        assert canvas == (across, down)
    if fit == "cover":
        assert resized[0] >= across and resized[1] >= down and (resized[0] == across or resized[1] == down)
    if fit in ("contain", "inside"):
        assert resized[0] <= across and resized[1] <= down and (resized[0] == across or resized[1] == down)
    if fit == "outside":
        assert resized[0] >= across and resized[1] >= down and (resized[0] == across or resized[1] == down)
    if fit == "fill":
        assert resized == (across, down)
    if fit in ("inside", "outside"):
        assert canvas == resized


@hypothesis.given(SIDE, SIDE, SIDE, SIDE, st.sampled_from(["cover", "fill", "inside", "outside"]))
def test_nothing_is_enlarged_unasked(width: int, height: int, across: int, down: int, fit: str) -> None:
    fitted = fitting((width, height), Operations(width=across, height=down, fit=fit))
    assert fitted.resized[0] <= width and fitted.resized[1] <= height
    if fit == "inside":
        assert fitted.resized[0] <= max(across, 1) and fitted.resized[1] <= max(down, 1)


@hypothesis.given(SIDE, SIDE, SIDE)
def test_the_missing_side_follows(width: int, height: int, across: int) -> None:
    fitted = fitting((width, height), Operations(width=across, enlarge=True))
    assert fitted.canvas[0] == across
    assert abs(fitted.canvas[1] - across * height / width) <= 0.5 or fitted.canvas[1] == 1


@hypothesis.given(SIDE, SIDE)
def test_without_a_size_nothing_changes(width: int, height: int) -> None:
    fitted = fitting((width, height), Operations(fit="contain", gravity="north"))
    assert fitted.resized == fitted.canvas == (width, height)


def test_small_images_keep_the_shape_that_was_asked_for() -> None:
    assert fitting((100, 80), Operations(width=400, height=200)).canvas == (100, 50)
    assert fitting((100, 80), Operations(width=400, height=200, fit="contain")).canvas == (400, 200)
    assert fitting((100, 80), Operations(width=400, height=200, fit="fill")).canvas == (100, 50)


def test_dpr_aspect_and_zoom() -> None:
    from fractions import Fraction

    assert fitting((4000, 3000), Operations(width=100, dpr=2)).canvas == (200, 150)
    assert fitting((4000, 3000), Operations(width=160, aspect=Fraction(16, 9))).canvas == (160, 90)
    assert fitting((4000, 3000), Operations(aspect=Fraction(1))).canvas == (3000, 3000)
    assert fitting((4000, 3000), Operations(aspect=Fraction(1), fit="contain")).canvas == (4000, 4000)
    assert fitting((40, 30), Operations(zoom=3)).canvas == (120, 90)


@hypothesis.given(SIDE, SIDE, st.integers(0, 6000), st.integers(0, 6000), st.integers(1, 6000), st.integers(1, 6000))
def test_a_crop_lies_inside_or_is_refused(width: int, height: int, x: int, y: int, across: int, down: int) -> None:
    operations = Operations(crop=(Length(x), Length(y), Length(across), Length(down)))
    if x >= width or y >= height:
        with pytest.raises(InvalidParameter):
            crop_box((width, height), operations)
        return
    box = crop_box((width, height), operations)
    assert isinstance(box, Box)
    assert (box.left, box.top) == (x, y)
    assert box.width == min(across, width - x) and box.height == min(down, height - y)


@hypothesis.given(st.tuples(st.floats(0, 1), st.floats(0, 1)), SIDE, SIDE)
def test_a_focal_point_never_leaves_the_image(point: tuple[float, float], outer: int, inner: int) -> None:
    hypothesis.assume(inner <= outer)
    left, top = place(point, (outer, outer), (inner, inner))
    assert 0 <= left <= outer - inner and 0 <= top <= outer - inner


def test_turned_sizes() -> None:
    assert turned((30, 20), 90) == (20, 30) and turned((30, 20), -180) == (30, 20)
    assert turned((100, 100), 45) == (142, 142)
