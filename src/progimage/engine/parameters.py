"""How parameters are declared: once, on the field of a dataclass, with all that is to be known of them.

Parsing, the canonical string, the error messages, the OpenAPI document and docs/transformations.md come from there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any
from urllib.parse import quote

from progimage.engine.errors import InvalidParameter, UnknownParameter
from progimage.engine.values import Kind

_LONGEST_SHOWN = 200


@dataclass(frozen=True)
class Parameter:
    """The declaration of a parameter.

    Attributes:
        kind: How its value is written, and what is allowed.
        doc: What it does, in a line or two.
        group: Under which heading it belongs.
        unit: The unit of its value, if it has one.
        aliases: Other names that are customary for it.
        needs: Another parameter without which it would mean nothing.
        feature: For a parameter of the output: what a format must have for it to apply; see `Format.options`.
        default: Its value where it is not given; None: it does nothing.
        name: Its name.
    """

    kind: Kind
    doc: str
    group: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    needs: str | None = None
    feature: str | None = None
    default: Any = None
    name: str = ""

    @property
    def default_text(self) -> str:
        """How the default is written; empty if there is none."""
        return "" if self.default is None else self.kind.write(self.default)


def parameter(kind: Kind, doc: str, group: str, *, default: Any = None, **more: Any) -> Any:
    """Declare the field of a dataclass as a parameter; see `Parameter` for the arguments."""
    declared = Parameter(kind, doc, group, default=default, **more)
    return field(default=default, kw_only=True, metadata={"parameter": declared})


@cache
def declared(owner: type) -> tuple[Parameter, ...]:
    """Return the parameters of a dataclass in the order of their declaration."""
    entries = (entry for entry in fields(owner) if "parameter" in entry.metadata)
    return tuple(replace(entry.metadata["parameter"], name=entry.name) for entry in entries)


@cache
def by_name(owner: type) -> dict[str, Parameter]:
    """Return the parameters of a dataclass by each of their names, aliases among them."""
    return {name: one for one in declared(owner) for name in (one.name, *one.aliases)}


def parse(owner: type, query: Iterable[tuple[str, str]], where: str = "") -> dict[str, Any]:
    """Parse names and values.

    Args:
        owner: The dataclass that declares the parameters.
        query: Names and values, in any order.
        where: What to put before a name in an error message.

    Raises:
        InvalidParameter: One is unknown, given twice, out of its range, or means nothing without another.
    """
    known = by_name(owner)
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for name, text in query:
        shown = text[:_LONGEST_SHOWN]
        found = known.get(name)
        if found is None:
            raise UnknownParameter(f"{where}{name}"[:_LONGEST_SHOWN], shown, sorted(known))
        if found.name in values:
            raise InvalidParameter(f"{where}{name}", shown, "a parameter is given once")
        try:
            values[found.name] = found.kind.parse(text)
        except ValueError:
            raise InvalidParameter(f"{where}{name}", shown, found.kind.allowed) from None
        given[found.name] = shown
    for one in declared(owner):
        if one.name in values and one.needs and one.needs not in values:
            raise InvalidParameter(f"{where}{one.name}", given[one.name], f"only together with {one.needs}")
    return values


def written(owner: Any) -> list[tuple[str, str]]:
    """Return the names and canonical texts of a dataclass' parameters that are not at their defaults."""
    values = ((one, getattr(owner, one.name)) for one in declared(type(owner)))  # type: ignore[arg-type]
    return [(one.name, one.kind.write(value)) for one, value in values if value != one.default]


def query_string(pairs: Sequence[tuple[str, str]]) -> str:
    """Write names and values as a query, with as little quoting as can be."""
    return "&".join(f"{name}={quote(text, safe='/:,!$()*;@|')}" for name, text in pairs)
