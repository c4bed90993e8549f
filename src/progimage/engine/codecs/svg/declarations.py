"""CSS declarations as written."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import tinycss2

_CHARACTER = r"[^;'\"\\{}()/@!]"
_PLAIN = re.compile(rf"\s*([\w-]+)\s*:\s*({_CHARACTER}*(?:\({_CHARACTER}*\){_CHARACTER}*)*)\s*(?:;|$)", re.ASCII)
"""A declaration that can be read without a parser, like nearly all of those in `style`."""
_LONGEST_CACHED = 200


class Declaration(NamedTuple):
    """A declaration of a property.

    Attributes:
        name: Name of the property, in lower case unless it is a custom property (`--name`).
        value: Value of the property.
        important: Whether it is marked as `!important`.
        variable: Whether the value contains `var()`.
    """

    name: str
    value: str
    important: bool
    variable: bool


def of_style(text: str) -> tuple[Declaration, ...]:
    """Return the declarations of a `style` attribute."""
    return _cached(text) if len(text) < _LONGEST_CACHED else _read(text)


def of_block(content: Iterable[Any]) -> Iterator[Declaration]:
    """Yield the declarations among tinycss2's nodes of a block."""
    for found in content:
        if found.type == "declaration":
            name = found.name if found.name.startswith("--") else found.lower_name
            yield _declaration(name, tinycss2.serialize(found.value), found.important)


def _read(text: str) -> tuple[Declaration, ...]:
    end, found = 0, []
    while plain := _PLAIN.match(text, end):
        name = plain[1] if plain[1].startswith("--") else plain[1].lower()
        found.append(_declaration(name, plain[2].strip(), important=False))
        end = plain.end()
    if not text[end:].strip():
        return tuple(found)
    return tuple(of_block(tinycss2.parse_blocks_contents(text, skip_comments=True, skip_whitespace=True)))


_cached = lru_cache(maxsize=4096)(_read)


def _declaration(name: str, value: str, important: bool) -> Declaration:
    return Declaration(name, value, important, "var(" in value.lower())
