"""The cascade: combines style sheets, `style` and attributes for each element of a drawing.

Renderers support only different parts of CSS. So declarations are resolved before drawing, as in browsers
(CSS Cascade 5, Custom Properties 1), and written as attributes of each element.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

import cssselect2
import tinycss2

from progimage.engine.codecs.svg import properties
from progimage.engine.codecs.svg.declarations import Declaration, of_style
from progimage.engine.codecs.svg.document import local_name
from progimage.engine.codecs.svg.placement import Place, move
from progimage.engine.codecs.svg.sheet import Rule, rules
from progimage.engine.errors import CorruptImage, LimitExceeded

_MOST_TESTS = 20_000_000
"""Maximum number of selectors times elements; each test takes tenths of a microsecond."""
_MOST_SELECTORS = 20_000
_DEEPEST_VARIABLE, _LONGEST_VALUE = 16, 100_000
_Variables = Mapping[str, str]


def apply(root: Element, size: tuple[float, float], *, deep: bool = True) -> None:
    """Resolve the declarations for each element of a drawing to attributes, and remove the style sheets.

    Args:
        root: Root of the drawing, which is modified.
        size: Size of the viewport for media queries.
        deep: Whether to resolve all elements instead of only the root.

    Raises:
        CorruptImage: The declarations are nested too deeply.
        LimitExceeded: There are too many selectors for the number of elements.
    """
    sheets = [element for element in root.iter() if local_name(element) == "style"]
    try:
        matcher = _matcher(root, rules(sheets, size))
        _apply(root, size, matcher, deep)
    except RecursionError:
        raise CorruptImage("The styles of the drawing are nested too deeply.") from None
    if deep and sheets:
        for parent in root.iter():
            for child in [child for child in parent if local_name(child) == "style"]:
                _remove(parent, child)


def _remove(parent: Element, child: Element) -> None:
    """Remove an element, but keep the text after it."""
    index = list(parent).index(child)
    if index:
        parent[index - 1].tail = (parent[index - 1].tail or "") + (child.tail or "")
    else:
        parent.text = (parent.text or "") + (child.tail or "")
    del parent[index]


class _Wrapped(cssselect2.ElementWrapper):  # type: ignore[misc]
    """An element for matching selectors."""

    @property
    def previous_siblings(self) -> Iterator["_Wrapped"]:
        """Yield the preceding siblings without the recursion and quadratic memory of cssselect2."""
        sibling = self.previous
        while sibling is not None:
            yield sibling
            sibling = sibling.previous


class _Payload(NamedTuple):
    layer: int
    declarations: Sequence[Declaration]


def _matcher(root: Element, found: Sequence[Rule]) -> cssselect2.Matcher | None:
    matcher = cssselect2.Matcher()
    count = 0
    for rule in found:
        for selector in rule.selectors:
            count += 1
            matcher.add_selector(selector, _Payload(rule.layer, rule.declarations))
    if not count:
        return None
    elements = sum(1 for _ in root.iter())
    if count > _MOST_SELECTORS:
        raise LimitExceeded("selectors in style sheets", count, _MOST_SELECTORS)
    if count * elements > _MOST_TESTS:
        raise LimitExceeded("selectors in style sheets multiplied by elements", count * elements, _MOST_TESTS)
    return matcher


def _apply(root: Element, size: tuple[float, float], matcher: cssselect2.Matcher | None, deep: bool) -> None:
    nothing: _Variables = {}
    stack: list[tuple[Element, _Wrapped | None, _Variables, Place]] = [
        (root, _Wrapped.from_xml_root(root) if matcher else None, nothing, Place.of_root(size))
    ]
    while stack:
        element, wrapped, inherited, place = stack.pop()
        variables = inherited
        declared = _declared(element, wrapped, matcher)
        if declared or element.attrib:
            variables = _variables(declared, inherited)
            _write(element, _values(element, declared, variables), place)
        if not deep:
            return
        if len(element):
            inner = place.inside(element)
            children = wrapped.iter_children() if wrapped else ((child, None) for child in element)
            for child in children:
                pair = (child.etree_element, child) if isinstance(child, _Wrapped) else child
                if isinstance(pair[0].tag, str):
                    stack.append((*pair, variables, inner))


def _declared(element: Element, wrapped: _Wrapped | None, matcher: cssselect2.Matcher | None) -> list[Declaration]:
    """Return the declarations for an element, in order of increasing precedence."""
    own = of_style(element.get("style", "")) if "style" in element.attrib else ()
    if matcher is None or wrapped is None:
        return sorted(own, key=lambda one: one.important) if own else []
    found = [
        (payload.layer, specificity, order, payload.declarations)
        for specificity, order, pseudo, payload in matcher.match(wrapped)
        if pseudo is None
    ]
    found.sort(key=lambda one: one[:3])
    usual = [one for *_, declarations in found for one in declarations if not one.important]
    # For important declarations, the order of layers is reversed.
    found.sort(key=lambda one: (-one[0], *one[1:3]))
    important = [one for *_, declarations in found for one in declarations if one.important]
    return [
        *usual, *(one for one in own if not one.important), *important, *(one for one in own if one.important)
    ]  # fmt: skip


def _variables(declared: Sequence[Declaration], inherited: _Variables) -> _Variables:
    own = {one.name: one.value.strip() for one in declared if one.name.startswith("--")}
    if not own:
        return inherited
    given = {**inherited, **own}
    for name in own:
        if own[name].lower() in ("inherit", "unset", "revert", "revert-layer"):
            given.pop(name)
            if name in inherited:
                given[name] = inherited[name]
        elif own[name].lower() == "initial":
            given.pop(name)
    # Variables in a value are resolved on the element that declares it.
    resolved = {name: _replaced(value, given, (name,)) for name, value in given.items() if name in own}
    return {name: value for name, value in {**given, **resolved}.items() if value is not None}


def _replaced(text: str, variables: _Variables, within: tuple[str, ...] = ()) -> str | None:
    """Return a value with each `var()` replaced; None if that isn't possible."""
    if "var(" not in text.lower():
        return text
    return _substituted(tinycss2.parse_component_value_list(text, skip_comments=True), variables, within)


def _substituted(tokens: Sequence[tinycss2.ast.Node], variables: _Variables, within: tuple[str, ...]) -> str | None:
    parts: list[str] = []
    length = 0
    for token in tokens:
        part: str | None
        if token.type == "function" and token.lower_name == "var":
            part = _variable(token, variables, within)
        elif token.type == "function":
            inner = _substituted(token.arguments, variables, within)
            part = None if inner is None else f"{token.name}({inner})"
        elif token.type == "() block":
            inner = _substituted(token.content, variables, within)
            part = None if inner is None else f"({inner})"
        else:
            part = token.serialize()
        if part is None:
            return None
        length += len(part)
        if length > _LONGEST_VALUE:
            return None
        parts.append(part)
    return "/**/".join(parts)


def _variable(token: tinycss2.ast.FunctionBlock, variables: _Variables, within: tuple[str, ...]) -> str | None:
    arguments = [part for part in token.arguments if part.type != "comment"]
    while arguments and arguments[0].type == "whitespace":
        del arguments[0]
    if not arguments or arguments[0].type != "ident":
        return None
    name = arguments[0].value
    if name in within or len(within) > _DEEPEST_VARIABLE:
        return None
    value = variables.get(name)
    found = None if value is None else _replaced(value, variables, (*within, name))
    if found is not None:
        return found
    comma = next((index for index, part in enumerate(arguments) if part == ","), None)
    return None if comma is None else _substituted(arguments[comma + 1 :], variables, within)


def _values(element: Element, declared: Sequence[Declaration], variables: _Variables) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, text in element.attrib.items():
        if name in properties.PRESENTATION and (said := _attribute(name, text, variables)) != text:
            values[name] = properties.UNSET if said is None else said
    for one in declared:
        if one.name.startswith("--"):
            continue
        if not one.variable:
            values.update(properties.longhands(one.name, one.value) or {})
        elif one.name in properties.NAMES:
            text_now = _replaced(one.value, variables)
            said_now = None if text_now is None else properties.longhands(one.name, text_now)
            values.update(properties.unset(one.name) if said_now is None else said_now)
    return values


def _attribute(name: str, text: str, variables: _Variables) -> str | None:
    replaced = _replaced(text, variables)
    return None if replaced is None else properties.attribute(name, replaced, replaced=replaced is not text)


def _write(element: Element, values: dict[str, str], place: Place) -> None:
    """Write the resolved values of an element as attributes."""
    element.attrib.pop("style", None)
    style = []
    for name, value in values.items():
        if name in properties.MOVING:
            continue
        if name in properties.GEOMETRY:
            if name in place.geometry(element):
                _set(element, name, properties.UNSET if value == "auto" else place.summed(name, value))
        elif name == "background-color":
            if place.outermost:
                element.set(name, value)
        elif name in properties.ONLY_IN_STYLE and value != properties.UNSET:
            style.append(f"{name}:{value}")
        else:
            _set(element, name, place.summed(name, value))
    if style:
        element.set("style", ";".join(style))
    # Renderers handle transform attributes, but browsers transform the outermost element about its centre.
    if not properties.MOVING.isdisjoint(values) or (place.outermost and "transform" in element.attrib):
        move(element, values, place)


def _set(element: Element, name: str, value: str) -> None:
    if value == properties.UNSET:
        element.attrib.pop(name, None)
    else:
        element.set(name, value)
