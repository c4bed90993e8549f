"""Strategies that make any valid value of every declared parameter, from its kind alone."""

import uuid
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st

from progimage.engine import values
from progimage.engine.operations import Operations
from progimage.engine.parameters import Parameter, declared, written
from progimage.engine.spec import RenditionSpec, Stages

_BYTE = st.integers(0, 255)
_FRACTION = st.integers(0, 10_000).map(lambda number: number / 10_000)
_TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")) | st.just("\n"), min_size=1, max_size=20)


def _lengths(kind: values.Lengths) -> st.SearchStrategy[Any]:
    least = -10_000 if kind.negative else 1 if kind.positive else 0
    one = st.builds(values.Length, st.integers(least, 10_000).map(lambda number: number / 100), st.booleans())
    return st.sampled_from(kind.counts).flatmap(lambda count: st.tuples(*[one] * count))


def of_kind(kind: values.Kind) -> st.SearchStrategy[Any]:
    if isinstance(kind, values.Number):
        if kind.whole:
            numbers = st.integers(int(kind.minimum), int(kind.maximum))
            return numbers.filter(lambda number: number % 2) if kind.odd else numbers
        least, most = round(kind.minimum * 10_000), round(kind.maximum * 10_000)
        return st.integers(least, most).map(lambda number: number / 10_000)
    if isinstance(kind, values.Flag):
        return st.booleans()
    if isinstance(kind, values.Choice):
        return st.sampled_from(kind.words)
    if isinstance(kind, values.OrWord):
        return st.sampled_from(kind.words) | of_kind(kind.kind)
    if isinstance(kind, values.CssColour):
        return st.builds(values.Colour, _BYTE, _BYTE, _BYTE, _BYTE)
    if isinstance(kind, values.Ratio):
        return st.builds(Fraction, st.integers(1, 100), st.integers(1, 100))
    if isinstance(kind, values.Lengths):
        return _lengths(kind)
    if isinstance(kind, values.Four):
        return st.tuples(*[st.integers(0, kind.maximum * 10).map(lambda number: number / 10)] * 4)
    if isinstance(kind, values.Place):
        return st.sampled_from([*values.COMPASS, *kind.found]) | st.tuples(_FRACTION, _FRACTION)
    if isinstance(kind, values.Words):
        return st.frozensets(st.sampled_from(kind.words), min_size=1)
    if isinstance(kind, values.Reference):
        return st.uuids().map(str)
    if isinstance(kind, values.Text):
        return _TEXT.filter(lambda text: text.strip())
    if isinstance(kind, Stages):
        return st.lists(operations(), min_size=1, max_size=3).map(tuple)
    raise AssertionError(f"no strategy for {kind}")


def _chosen(draw: st.DrawFn, parameters: list[Parameter]) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(parameters), max_size=6, unique_by=lambda one: one.name))
    given = {one.name: draw(of_kind(one.kind)) for one in chosen}
    by_name = {one.name: one for one in parameters}
    for one in chosen:
        if one.needs and one.needs not in given:
            given[one.needs] = draw(of_kind(by_name[one.needs].kind))
    if "width" in given and "height" in given:
        given.pop("aspect", None)
    return given


@st.composite
def operations(draw: st.DrawFn) -> Operations:
    made = Operations(**_chosen(draw, list(declared(Operations))))
    return made if written(made) else Operations(width=10)  # a stage does something


@st.composite
def queries(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Names and texts of a valid query for WebP, in any order."""
    own = {one.name for one in declared(Operations)}
    fit = [
        one for one in declared(RenditionSpec) if one.name not in ("progressive", "palette", "chroma", "depth", "hdr")
    ]
    given = _chosen(draw, fit)
    if "ops" in given:
        given = {name: value for name, value in given.items() if name not in own}
    if given.get("lossless"):
        given.pop("quality", None)
        given.pop("max_bytes", None)
    if given.get("strip"):
        given.pop("keep", None)
    if given.get("profile") == "p3":
        given.pop("strip", None)
        given.pop("keep", None)
    kinds = {one.name: one.kind for one in fit}
    return draw(st.permutations([(name, kinds[name].write(value)) for name, value in given.items()]))


REFERENCE = str(uuid.UUID(int=1))
