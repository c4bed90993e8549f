"""The CSS properties of drawings, and the conversion of their values to SVG attributes."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from progimage.engine.codecs.svg import values
from progimage.engine.codecs.svg.transform import Reference, origin, significant, single, transform
from progimage.engine.codecs.svg.values import Reader, Tokens

INHERITED = frozenset({
    "clip-rule", "color", "color-interpolation", "color-interpolation-filters", "direction", "dominant-baseline",
    "fill", "fill-opacity", "fill-rule", "font-family", "font-kerning", "font-size", "font-size-adjust",
    "font-stretch", "font-style", "font-variant", "font-variation-settings", "font-weight",
    "image-rendering", "letter-spacing", "marker-end", "marker-mid", "marker-start", "paint-order",
    "shape-rendering", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-width", "text-anchor",
    "text-rendering", "visibility", "white-space", "word-spacing", "writing-mode",
})  # fmt: skip
UNSET = "unset"
"""Value that acts as if nothing had been declared."""
GEOMETRY = frozenset({"x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "d"})
MOVING = frozenset({"transform", "transform-origin", "transform-box", "translate", "rotate", "scale"})
ONLY_IN_STYLE = frozenset({
    "mix-blend-mode", "isolation", "font-kerning", "font-variation-settings", "image-rendering", "mask-type",
    "white-space",
})  # fmt: skip
"""Properties that renderers read only from `style`."""

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
_HEAVIEST = 1000
_WEIGHTS = {"normal", "bold", "bolder", "lighter"}
_SIZES = {"xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large", "smaller", "larger"}
_STYLES, _STRETCHES = {"italic", "oblique"}, {"condensed", "expanded", "semi-condensed", "semi-expanded"}
_LONGEST_CACHED = 200


def longhands(name: str, text: str) -> Longhands | None:
    """Return the attributes for a declaration without `var()`; None if it is invalid or irrelevant.

    Args:
        name: Name of the property, in lower case.
        text: Value as written.
    """
    if name not in _READERS:
        return None
    return _cached(name, text) if len(text) < _LONGEST_CACHED else _read(name, text)


def attribute(name: str, text: str, *, replaced: bool) -> str | None:
    """Return the normalised value of a presentation attribute; None if it is invalid.

    Attributes are less strict than declarations, for example about units. Renderers handle that, so only colours and
    calculations are processed.

    Args:
        name: Name of the attribute.
        text: Value as written.
        replaced: Whether it contained a `var()`, which has been replaced.
    """
    if name in _COLOURED or replaced or "%" in text or "calc(" in text:
        said = longhands(name, text)
        return said.get(name) if said else None
    return text


def unset(name: str) -> Longhands:
    """Return the attributes for a value that turned out to be invalid after its `var()` was replaced."""
    return dict.fromkeys(_SHORTHANDS.get(name, (name,)), UNSET)


def _read(name: str, text: str) -> Longhands | None:
    word = text.strip().lower()
    if word in _WIDE:
        return {part: _wide(part, word) for part in _SHORTHANDS.get(name, (name,))}
    tokens = significant(text)
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


def _moving(read: Callable[[str], Any]) -> Reader:
    def checked(tokens: Tokens) -> str | None:
        text = " ".join(part.serialize() for part in tokens)
        return None if read(text) is None else text

    return checked


def _single(name: str, text: str) -> Any:
    return single(name, text, _SOMEWHERE)


def _font(tokens: Tokens) -> Longhands | None:
    """Read the `font` shorthand: style, variant, weight and stretch in any order, a size, and families."""
    said = dict.fromkeys(_SHORTHANDS["font"], "normal") | {"font-kerning": "auto"}
    left = list(tokens)
    while left:
        token = left.pop(0)
        word = token.lower_value if token.type == "ident" else ""
        if word in _STYLES:
            said["font-style"] = word
        elif word == "small-caps":
            said["font-variant"] = word
        elif word in _WEIGHTS or (token.type == "number" and 1 <= token.value <= _HEAVIEST):
            said["font-weight"] = str(token.value if word else int(token.value))
        elif word in _STRETCHES:
            said["font-stretch"] = word
        else:
            size = values.length(*_SIZES)([token])
            if left and left[0] == "/":
                del left[:2]
            if size is None or not left:
                return None
            return said | {"font-size": size, "font-family": values.anything(left) or "serif"}
    return None


_SHORTHANDS = {
    "font": ("font-style", "font-variant", "font-weight", "font-stretch", "font-size", "font-family", "font-kerning"),
    "background": ("background-color",),
    "marker": ("marker-start", "marker-mid", "marker-end"),
}
_COLOURED = frozenset({"fill", "stroke", "color", "stop-color", "flood-color", "lighting-color"})
_OPACITIES = frozenset({"opacity", "fill-opacity", "stroke-opacity", "stop-opacity", "flood-opacity"})
_READERS: dict[str, Reader] = {
    **dict.fromkeys((
        "baseline-shift", "alignment-baseline", "clip-path", "dominant-baseline", "filter", "font-kerning",
        "font-size-adjust", "font-stretch", "font-variant", "font-variation-settings", "font-weight",
        "image-rendering", "marker", "marker-end", "marker-mid", "marker-start", "mask", "paint-order",
        "shape-rendering", "text-decoration", "text-rendering", "white-space", "writing-mode", "font",
    ), values.anything),
    **dict.fromkeys(_COLOURED, values.one_colour), "fill": values.paint, "stroke": values.paint,
    **dict.fromkeys(_OPACITIES, values.opacity),
    **{name: values.one_of(words) for name, words in _KEYWORDS.items()},
    **dict.fromkeys(("cx", "cy", "r", "x", "y"), values.length(bare=True)),
    **dict.fromkeys(("rx", "ry", "width", "height"), values.length("auto", bare=True)),
    "background": values.one_colour, "background-color": values.one_colour,
    **dict.fromkeys(("stroke-width", "stroke-dashoffset"), values.length(bare=True)), "stroke-dasharray": values.dashes,
    **dict.fromkeys(("letter-spacing", "word-spacing"), values.length("normal", bare=True)),
    "font-size": values.length(*_SIZES, bare=True),
    "stroke-miterlimit": values.number,
    "d": values.path, "font-family": values.anything,
    "transform": _moving(lambda text: transform(text, _SOMEWHERE)),
    "transform-origin": _moving(lambda text: origin(text, _SOMEWHERE)),
    **{name: _moving(partial(_single, name)) for name in ("translate", "rotate", "scale")},
}  # fmt: skip
NAMES = frozenset(_READERS)
PRESENTATION = NAMES - GEOMETRY - MOVING - ONLY_IN_STYLE - _SHORTHANDS.keys()
"""Properties that are also presentation attributes."""
