"""Declaration of parameters: each is declared once, as a dataclass field with all its metadata.

Parsing, the canonical string, error messages, the OpenAPI document and docs/transformations.md derive from it.
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
        kind: Syntax and allowed values.
        doc: What the parameter does, in a line or two.
        group: Heading that it is documented under.
        unit: Unit of the value, if any.
        aliases: Alternative names.
        needs: Name of another parameter that must be given as well.
        feature: For output parameters, the feature that the format must have; see `Format.options`.
        default: Value if the parameter isn't given; None means no effect.
        seconds: CPU seconds per megapixel of RGB, for the cost estimate; 0 if `cost` has a measured weight.
        name: Name of the parameter.
    """

    kind: Kind
    doc: str
    group: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    needs: str | None = None
    feature: str | None = None
    default: Any = None
    seconds: float = 0
    name: str = ""

    @property
    def default_text(self) -> str:
        """The default as canonical text; empty if there is none."""
        return "" if self.default is None else self.kind.write(self.default)


def parameter(kind: Kind, doc: str, group: str, *, default: Any = None, **more: Any) -> Any:
    """Declare a dataclass field as a parameter; see `Parameter` for the arguments."""
    declared = Parameter(kind, doc, group, default=default, **more)
    return field(default=default, kw_only=True, metadata={"parameter": declared})


@cache
def declared(owner: type) -> tuple[Parameter, ...]:
    """Return the parameters of a dataclass in declaration order."""
    entries = (entry for entry in fields(owner) if "parameter" in entry.metadata)
    return tuple(replace(entry.metadata["parameter"], name=entry.name) for entry in entries)


@cache
def by_name(owner: type) -> dict[str, Parameter]:
    """Return the parameters of a dataclass by name, with aliases as additional keys."""
    return {name: one for one in declared(owner) for name in (one.name, *one.aliases)}


def parse(owner: type, query: Iterable[tuple[str, str]], where: str = "") -> dict[str, Any]:
    """Parse pairs of name and value.

    Args:
        owner: The dataclass that declares the parameters.
        query: Names and values, in any order.
        where: Prefix for names in error messages.

    Returns:
        The parsed values by parameter name. Parameters that aren't given are absent.

    Raises:
        InvalidParameter: A parameter is unknown, given twice, has an invalid value, or needs another one that is
            missing.
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
            raise InvalidParameter(f"{where}{name}", shown, "a single value; the parameter is given more than once")
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
    """Return name and canonical text of each parameter that differs from its default."""
    values = ((one, getattr(owner, one.name)) for one in declared(type(owner)))  # type: ignore[arg-type]
    return [(one.name, one.kind.write(value)) for one, value in values if value != one.default]


def query_string(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and values as a query string, percent-encoding no more than necessary."""
    return "&".join(f"{name}={quote(text, safe='/:,!$()*;@|')}" for name, text in pairs)
