"""The properties of CSS that a drawing may have, and their values as attributes of SVG write them."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tinycss2 import parse_component_value_list, serialize

from progimage.engine.codecs.svg.colour import colour
from progimage.engine.codecs.svg.length import OF_THE_FONT, UNITS, pixels
from progimage.engine.codecs.svg.transform import Reference, origin, single, transform

INHERITED = frozenset({
    "clip-rule", "color", "color-interpolation", "color-interpolation-filters", "direction", "dominant-baseline",
    "fill", "fill-opacity", "fill-rule", "font-family", "font-kerning", "font-size", "font-size-adjust",
    "font-stretch", "font-style", "font-variant", "font-variation-settings", "font-weight", "image-rendering", "letter-spacing", "marker-end",
    "marker-mid", "marker-start", "paint-order", "shape-rendering", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-width", "text-anchor",
    "text-rendering", "visibility", "white-space", "word-spacing", "writing-mode",
})  # fmt: skip
UNSET = "unset"
"""As though nothing had been declared."""
GEOMETRY = frozenset({"x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "d"})
MOVING = frozenset({"transform", "transform-origin", "transform-box", "translate", "rotate", "scale"})
ONLY_IN_STYLE = frozenset({
    "mix-blend-mode", "isolation", "font-kerning", "font-variation-settings", "image-rendering", "mask-type",
    "white-space",
})  # fmt: skip
"""What renderers read in `style` alone."""

SUM = "+ "
"""Begins a length that is the sum of some, of different units."""

Longhands = Mapping[str, str]
_WIDE = {"inherit", "initial", "unset", "revert", "revert-layer"}
_SOMEWHERE = Reference(0, 0, 1, 1)
_KEYWORDS = {
    "clip-rule": "nonzero evenodd", "fill-rule": "nonzero evenodd", "color-interpolation": "auto sRGB linearRGB",
    "color-interpolation-filters": "auto sRGB linearRGB", "stroke-linecap": "butt round square",
    "stroke-linejoin": "miter miter-clip round bevel arcs", "text-anchor": "start middle end",
    "visibility": "visible hidden collapse", "isolation": "auto isolate", "mask-type": "luminance alpha",
    "direction": "ltr rtl", "font-style": "normal italic oblique", "overflow": "visible hidden scroll auto clip",
    "transform-box": "content-box border-box fill-box stroke-box view-box",
    "mix-blend-mode": "normal multiply screen overlay darken lighten color-dodge color-burn hard-light soft-light "
    "difference exclusion hue saturation color luminosity plus-lighter",
    "display": "none inline block inline-block contents flex inline-flex grid inline-grid table list-item flow-root",
}  # fmt: skip
_INITIAL = {
    "fill": "#000000", "stroke": "none", "color": "#000000", "fill-opacity": "1", "stroke-opacity": "1",
    "stroke-width": "1", "stroke-dasharray": "none", "stroke-dashoffset": "0", "stroke-linecap": "butt",
    "stroke-linejoin": "miter", "stroke-miterlimit": "4", "fill-rule": "nonzero", "clip-rule": "nonzero",
    "visibility": "visible", "font-size": "16", "font-weight": "normal", "font-style": "normal",
    "font-variant": "normal", "font-stretch": "normal", "text-anchor": "start", "letter-spacing": "normal",
    "word-spacing": "normal", "marker-start": "none", "marker-mid": "none", "marker-end": "none",
    "paint-order": "normal", "font-family": "serif", "writing-mode": "horizontal-tb",
}  # fmt: skip
_WEIGHTS = {"normal", "bold", "bolder", "lighter"}
_SIZES = {"xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large", "smaller", "larger"}
_STYLES, _STRETCHES = {"italic", "oblique"}, {"condensed", "expanded", "semi-condensed", "semi-expanded"}
_LONGEST_CACHED = 200


def longhands(name: str, text: str) -> Longhands | None:
    """Return what a declaration without `var()` says, as attributes; None: it is invalid, or of no interest here.

    Args:
        name: Of the property, in lower case.
        text: Its value.
    """
    if name not in _READERS:
        return None
    return _cached(name, text) if len(text) < _LONGEST_CACHED else _read(name, text)


def attribute(name: str, text: str, *, replaced: bool) -> str | None:
    """Return what a presentation attribute says; None: it is invalid.

    Attributes are less strict than declarations, such as in units. Renderers know that, so only colours are looked at,
    and what is calculated.

    Args:
        name: Of the attribute.
        text: Its value.
        replaced: It had a `var()` in it.
    """
    if name in _COLOURED or replaced or "%" in text or "calc(" in text:
        said = longhands(name, text)
        return said.get(name) if said else None
    return text


def unset(name: str) -> Longhands:
    """Return what is said where a value turns out to be invalid only once its `var()` is replaced."""
    return dict.fromkeys(_SHORTHANDS.get(name, (name,)), UNSET)


def _read(name: str, text: str) -> Longhands | None:
    word = text.strip().lower()
    if word in _WIDE:
        return {part: _wide(part, word) for part in _SHORTHANDS.get(name, (name,))}
    tokens = _tokens(text)
    if not tokens:
        return None
    if name == "font":
        return _font(tokens)
    value = _READERS[name](tokens)
    return None if value is None else dict.fromkeys(_SHORTHANDS.get(name, (name,)), value)


_cached = lru_cache(maxsize=4096)(_read)


def _wide(name: str, word: str) -> str:
    if word == "initial":
        return _INITIAL.get(name, UNSET)
    return "inherit" if word == "inherit" and name not in INHERITED else UNSET


def _tokens(text: str) -> list[Any]:
    return [token for token in parse_component_value_list(text, skip_comments=True) if token.type != "whitespace"]


def _colour(tokens: Sequence[Any]) -> str | None:
    return colour(tokens[0]) if len(tokens) == 1 else None


def _paint(tokens: Sequence[Any]) -> str | None:
    first, *rest = tokens
    if first.type == "ident" and first.lower_value in ("none", "context-fill", "context-stroke"):
        return None if rest else str(first.lower_value)
    if (target := _url(first)) is not None:
        fallback = _paint(rest) if rest else ""
        return None if fallback is None else f"url({target}) {fallback}".rstrip()
    return None if rest else colour(first)


def _url(token: Any) -> str | None:
    if token.type == "url":
        return str(token.value)
    if token.type == "function" and token.lower_name == "url":
        return next((str(part.value) for part in token.arguments if part.type == "string"), None)
    return None


def _opacity(tokens: Sequence[Any]) -> str | None:
    (token, *rest) = tokens
    if rest or token.type not in ("number", "percentage"):
        return None
    return f"{min(1.0, max(0.0, token.value / (100 if token.type == 'percentage' else 1))):g}"


def _one_of(words: str) -> Callable[[Sequence[Any]], str | None]:
    allowed = {word.lower(): word for word in words.split()}

    def read(tokens: Sequence[Any]) -> str | None:
        return allowed.get(tokens[0].lower_value) if len(tokens) == 1 and tokens[0].type == "ident" else None

    return read


def _one_length(token: Any, bare: bool) -> str | None:
    if token.type == "number" and (bare or token.value == 0):
        return f"{token.value:.9g}"
    if token.type == "percentage":
        return f"{token.value:.9g}%"
    if token.type == "dimension":
        if token.lower_unit in ("em", "ex"):
            return f"{token.value:.9g}{token.lower_unit}"
        length = pixels(token.serialize())
        return None if length is None else f"{length:.9g}"
    if token.type == "function" and token.lower_name == "calc":
        return _calc(token.arguments)
    return None


def _length(*words: str, bare: bool = False) -> Callable[[Sequence[Any]], str | None]:
    def read(tokens: Sequence[Any]) -> str | None:
        if len(tokens) != 1:
            return None
        if tokens[0].type == "ident":
            return tokens[0].lower_value if tokens[0].lower_value in words else None
        return _one_length(tokens[0], bare)

    return read


def _dashes(tokens: Sequence[Any]) -> str | None:
    if len(tokens) == 1 and tokens[0].type == "ident":
        return "none" if tokens[0].lower_value == "none" else None
    lengths = [_one_length(token, bare=True) for token in tokens if token != ","]
    return None if None in lengths else " ".join(map(str, lengths))


def _calc(arguments: Sequence[Any]) -> str | None:
    """Return what a sum of products of lengths of one unit is."""
    total: dict[str, float] = {}
    sign, factor, unit, divide = 1.0, None, "", False
    for token in (*(token for token in arguments if token.type not in ("whitespace", "comment")), None):
        if token is None or token in ("+", "-"):
            if factor is None:
                return None
            total[unit] = total.get(unit, 0.0) + sign * factor
            sign, factor, unit, divide = (-1.0 if token == "-" else 1.0), None, "", False
        elif token in ("*", "/"):
            divide = token == "/"
        elif (amount := _amount(token)) is None or (divide and amount[0] == 0):
            return None
        else:
            factor = amount[0] if factor is None else factor / amount[0] if divide else factor * amount[0]
            unit = amount[1] or unit
    said = {unit: value for unit, value in total.items() if value} or {"": 0.0}
    if not all(map(math.isfinite, said.values())):
        return None
    terms = [f"{value:.9g}{unit.removesuffix('px')}" for unit, value in said.items()]
    return terms[0] if len(terms) == 1 else SUM + " ".join(terms)


def _amount(token: Any) -> tuple[float, str] | None:
    if token.type == "number":
        return token.value, ""
    if token.type == "percentage":
        return token.value, "%"
    if token.type == "dimension":
        unit = token.lower_unit
        return (token.value, unit) if unit in OF_THE_FONT else (token.value * UNITS[unit], "px") if unit in UNITS else None
    return None


def _any(tokens: Sequence[Any]) -> str | None:
    return str(serialize(tokens)) if any(token.type == "error" for token in tokens) is False else None


def _path(tokens: Sequence[Any]) -> str | None:
    function = tokens[0]
    if function.type != "function" or function.lower_name != "path" or len(tokens) != 1:
        return None
    return next((str(part.value) for part in function.arguments if part.type == "string"), None)


def _moving(read: Callable[[str], Any]) -> Callable[[Sequence[Any]], str | None]:
    def checked(tokens: Sequence[Any]) -> str | None:
        text = " ".join(serialize([token]) for token in tokens)
        return None if read(text) is None else text

    return checked


def _font(tokens: Sequence[Any]) -> Longhands | None:
    """Read the shorthand: style, variant, weight and stretch in any order, a size, and families."""
    said = dict.fromkeys(_SHORTHANDS["font"], "normal") | {"font-kerning": "auto"}
    left = list(tokens)
    while left:
        token = left.pop(0)
        word = token.lower_value if token.type == "ident" else ""
        if word in _STYLES:
            said["font-style"] = word
        elif word == "small-caps":
            said["font-variant"] = word
        elif word in _WEIGHTS or (token.type == "number" and token.value >= 1):
            said["font-weight"] = str(token.value if word else int(token.value))
        elif word in _STRETCHES:
            said["font-stretch"] = word
        else:
            size = _length(*_SIZES)([token])
            if left and left[0] == "/":
                del left[:2]
            if size is None or not left:
                return None
            return said | {"font-size": size, "font-family": _families(left)}
    return None


def _families(tokens: Sequence[Any]) -> str:
    return " ".join(serialize([token]) for token in tokens).replace(" ,", ",")


_SHORTHANDS = {
    "font": ("font-style", "font-variant", "font-weight", "font-stretch", "font-size", "font-family", "font-kerning"),
    "background": ("background-color",),
    "marker": ("marker-start", "marker-mid", "marker-end"),
}
_COLOURED = frozenset({"fill", "stroke", "color", "stop-color", "flood-color", "lighting-color"})
_OPACITIES = frozenset({"opacity", "fill-opacity", "stroke-opacity", "stop-opacity", "flood-opacity"})
_READERS: dict[str, Callable[[Sequence[Any]], str | None]] = {
    **dict.fromkeys((
        "baseline-shift", "alignment-baseline", "clip-path", "dominant-baseline", "filter", "font-kerning",
        "font-size-adjust", "font-stretch", "font-variant", "font-variation-settings", "font-weight", "image-rendering", "marker", "marker-end",
        "marker-mid", "marker-start", "mask", "paint-order", "shape-rendering", "text-decoration", "text-rendering",
        "white-space", "writing-mode", "font",
    ), _any),
    **dict.fromkeys(_COLOURED, _colour), **dict.fromkeys(_OPACITIES, _opacity), "fill": _paint, "stroke": _paint,
    **{name: _one_of(words) for name, words in _KEYWORDS.items()},
    **dict.fromkeys(("cx", "cy", "r", "x", "y"), _length(bare=True)),
    **dict.fromkeys(("rx", "ry", "width", "height"), _length("auto", bare=True)),
    "background": _colour, "background-color": _colour,
    "stroke-width": _length(bare=True), "stroke-dashoffset": _length(bare=True), "stroke-dasharray": _dashes,
    "font-size": _length(*_SIZES), "letter-spacing": _length("normal"), "word-spacing": _length("normal"),
    "stroke-miterlimit": lambda tokens: f"{tokens[0].value:g}" if tokens[0].type == "number" else None,
    "d": _path, "font-family": _families,
    "transform": _moving(lambda text: transform(text, _SOMEWHERE)),
    "transform-origin": _moving(lambda text: origin(text, _SOMEWHERE)),
    **{name: _moving(lambda text, name=name: single(name, text, _SOMEWHERE)) for name in ("translate", "rotate", "scale")},
}  # fmt: skip
NAMES = frozenset(_READERS)
PRESENTATION = NAMES - GEOMETRY - MOVING - ONLY_IN_STYLE - _SHORTHANDS.keys()
"""Those that are attributes, too."""
