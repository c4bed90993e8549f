"""Style sheets: their rules, and which of them apply to an image on a screen."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import cssselect2
import tinycss2

from progimage.engine.codecs.svg import properties
from progimage.engine.codecs.svg.declarations import Declaration, of_block
from progimage.engine.codecs.svg.length import pixels
from progimage.engine.errors import LimitExceeded

_UNLAYERED = 1_000_000
_LONGEST_SELECTOR = 10_000
_AND, _NOT, _OR = "and", "not", "or"
_FEATURES = {
    "prefers-color-scheme": "light", "prefers-reduced-motion": "no-preference", "prefers-contrast": "no-preference",
    "scripting": "none", "hover": "none", "pointer": "none", "update": "none",
}  # fmt: skip
# The exceptions of Python's compiler, which cssselect2 uses, for selectors that are nested too deeply.
_UNUSABLE = (
    cssselect2.SelectorError, SyntaxError, RecursionError, NotImplementedError, TypeError, ValueError, AttributeError,
)  # fmt: skip


class Rule(NamedTuple):
    """The declarations for elements that match one of several selectors.

    Attributes:
        layer: Number of the layer; higher ones take precedence.
        selectors: The selectors, compiled by cssselect2.
        declarations: The declarations.
    """

    layer: int
    selectors: Sequence[Any]
    declarations: Sequence[Declaration]


@dataclass
class _Reading:
    """State while style sheets are read."""

    size: tuple[float, float]
    layers: dict[str, int] = field(default_factory=dict)
    namespaces: dict[str | None, str] = field(default_factory=dict)

    def layer(self, name: str) -> int:
        return self.layers.setdefault(name, len(self.layers))


def rules(sheets: Iterable[Element], size: tuple[float, float]) -> list[Rule]:
    """Return the rules of style sheets that apply to an image on a screen. Imports aren't loaded.

    Args:
        sheets: The elements that contain the style sheets.
        size: Size of the viewport for media queries.
    """
    reading, found = _Reading(size), list[Rule]()
    for sheet in sheets:
        media = tinycss2.parse_component_value_list(sheet.get("media", ""))
        if sheet.get("type", "text/css").strip().lower() in ("", "text/css") and _holds_for_media(media, size):
            reading.namespaces.clear()
            text = "".join(sheet.itertext())
            found += _rules(tinycss2.parse_stylesheet(text, True, True), reading, _UNLAYERED, "")
    return found


def _rules(nodes: Iterable[Any], reading: _Reading, layer: int, within: str) -> Iterator[Rule]:
    """Yield the rules of a style sheet or of a block in it.

    Args:
        nodes: Nodes of tinycss2.
        reading: The state.
        layer: Number of the surrounding layer.
        within: Name of that layer followed by a dot.
    """
    for node in nodes:
        if node.type == "qualified-rule":
            yield from _style_rule(node.prelude, node.content, reading, layer)
        elif node.type == "at-rule":
            yield from _at_rule(node, reading, layer, within)


def _at_rule(node: Any, reading: _Reading, layer: int, within: str) -> Iterator[Rule]:
    name = node.lower_at_keyword
    if name == "namespace":
        words = _significant(node.prelude)
        target = words[-1].value if words and words[-1].type in ("string", "url") else None
        if target is not None:
            reading.namespaces[words[0].value if len(words) > 1 else None] = target
    elif name == "layer" and node.content is None:
        for one in tinycss2.serialize(node.prelude).split(","):
            reading.layer(within + one.strip())
    elif node.content is None:
        return
    elif name == "layer":
        inner = within + (tinycss2.serialize(node.prelude).strip() or f"<{len(reading.layers)}>")
        yield from _rules(_nested(node), reading, reading.layer(inner), f"{inner}.")
    elif (name == "media" and _holds_for_media(node.prelude, reading.size)) or (
        name == "supports" and _is_supported(node.prelude)
    ):
        yield from _rules(_nested(node), reading, layer, within)


def _nested(node: Any) -> list[Any]:
    return list(tinycss2.parse_rule_list(node.content, skip_comments=True, skip_whitespace=True))


def _style_rule(prelude: Sequence[Any], content: Sequence[Any], reading: _Reading, layer: int) -> Iterator[Rule]:
    try:
        selectors = cssselect2.compile_selector_list(prelude, reading.namespaces)
    except _UNUSABLE:
        return  # as in CSS, one invalid selector invalidates the whole list
    found = tinycss2.parse_blocks_contents(content, skip_comments=True, skip_whitespace=True)
    if declarations := tuple(of_block(found)):
        yield Rule(layer, selectors, declarations)
    for inner in found:
        if inner.type == "qualified-rule":
            yield from _style_rule(_joined(prelude, inner.prelude), inner.content, reading, layer)


def _joined(outer: Sequence[Any], inner: Sequence[Any]) -> list[Any]:
    """Return the selector of a nested rule (CSS Nesting 1)."""
    meant = f":is({tinycss2.serialize(outer).strip()})"
    text = tinycss2.serialize(inner)
    text = text.replace("&", meant) if "&" in text else f"{meant} {text}"
    if len(text) > _LONGEST_SELECTOR:  # each level can double it
        raise LimitExceeded("characters in a nested selector", len(text), _LONGEST_SELECTOR)
    return list(tinycss2.parse_component_value_list(text, skip_comments=True))


def _significant(tokens: Iterable[Any]) -> list[Any]:
    return [token for token in tokens if token.type not in ("whitespace", "comment")]


def _holds_for_media(prelude: Sequence[Any], size: tuple[float, float]) -> bool:
    """Return whether one of a list of media queries matches a screen of that size."""
    queries: list[list[Any]] = [[]]
    for part in _significant(prelude):
        if part == ",":
            queries.append([])
        else:
            queries[-1].append(part)
    return queries == [[]] or any(_query_holds(query, size) for query in queries)


def _query_holds(tokens: Sequence[Any], size: tuple[float, float]) -> bool:
    words = [token.lower_value if token.type == "ident" else token for token in tokens]
    negated = words[:1] == [_NOT]
    if words[:1] in ([_NOT], ["only"]):
        words = words[1:]
    answers: list[bool] = []
    any_of = _OR in words
    for word in words:
        if word in (_AND, _OR):
            continue
        answers.append(word in ("all", "screen") if isinstance(word, str) else _feature(word, size))
    holds = bool(answers) and (any(answers) if any_of else all(answers))
    return holds != negated


def _feature(token: Any, size: tuple[float, float]) -> bool:
    if token.type != "() block":
        return False
    content = _significant(token.content)
    if content and (content[0].type == "() block" or (content[0].type == "ident" and content[0].lower_value == _NOT)):
        return _query_holds(content, size)
    name = content[0].lower_value if content and content[0].type == "ident" else ""
    value = tinycss2.serialize(content[2:]).strip().lower() if len(content) > 2 and content[1] == ":" else None
    if name in _FEATURES:
        return value == _FEATURES[name] if value is not None else _FEATURES[name] not in ("none", "no-preference")
    if name == "orientation":
        return value == ("portrait" if size[1] >= size[0] else "landscape")
    for end, side in (("width", size[0]), ("height", size[1])):
        if name.removeprefix("min-").removeprefix("max-") == end:
            bound = math.nan if value is None else pixels(value) or 0.0
            return (
                side >= bound if name.startswith("min") else side <= bound if name.startswith("max") else side == bound
            )
    return False


def _is_supported(prelude: Sequence[Any]) -> bool:
    """Return whether a condition of `@supports` holds, so the feature is supported here."""
    words = [token.lower_value if token.type == "ident" else token for token in _significant(prelude)]
    negated, answers = words[:1] == [_NOT], list[bool]()
    for word in words:
        if isinstance(word, str) or word.type != "() block":
            continue
        content = _significant(word.content)
        if len(content) > 2 and content[0].type == "ident" and content[1] == ":":
            value = tinycss2.serialize(content[2:])
            answers.append(properties.longhands(content[0].lower_value, value) is not None)
        else:
            answers.append(_is_supported(content))
    return bool(answers) and (any(answers) if _OR in words else all(answers)) != negated
