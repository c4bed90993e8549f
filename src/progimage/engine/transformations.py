"""Transformations that plugins add: parameters of `Operations`, and pipeline steps that apply them.

See docs/adding-a-transformation.md. Plugins are loaded while `Operations` is created, so this module can import neither
`Operations` nor anything that needs it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass
from functools import cache
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, TypeVar

from progimage.engine.frame import Frame
from progimage.engine.parameters import Parameter
from progimage.engine.values import Reference
from progimage.plugins import Plugin, installed

if TYPE_CHECKING:
    from progimage.engine.operations import Operations
    from progimage.engine.plan import Plan

_T = TypeVar("_T")
GROUPS = ("Size", "Turn", "Tone", "Effects", "Frame and mask", "Watermark")
"""Groups that plugins can add parameters to. `Region` is excluded because it decides which part of a file is read."""
NAMES_OF_THE_API = frozenset(("damaged", "download", "expires", "key_id", "preset", "signature"))
"""Query parameters of the HTTP API that can be combined with those of a rendition."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Transformation:
    """A transformation that a plugin adds.

    Attributes:
        parameters: Parameters by name, each made by `parameters.parameter`, all in one group. The step runs after the
            built-in step of that group.
        step: Returns the changed frame. Only called if a parameter isn't at its default.
        transparent: Whether the result may have transparent pixels where the image has none.
    """

    parameters: Mapping[str, Any]
    step: Callable[[Frame, "Operations", "Plan"], Frame]
    transparent: bool = False

    @property
    def declared(self) -> dict[str, Parameter]:
        """Declarations of the parameters, by name."""
        return {name: field.metadata["parameter"] for name, field in self.parameters.items()}

    @property
    def group(self) -> str:
        """Group of the parameters."""
        return next(iter(self.declared.values())).group

    def is_wanted(self, operations: "Operations") -> bool:
        """Return whether a parameter isn't at its default."""
        return any(getattr(operations, name) != one.default for name, one in self.declared.items())

    def run(self, frame: Frame, operations: "Operations", plan: "Plan") -> Frame:
        """Apply the step, if the operations ask for it."""
        return self.step(frame, operations, plan) if self.is_wanted(operations) else frame


def added() -> tuple[Transformation, ...]:
    """Return the transformations of all plugins.

    Raises:
        PluginError: A plugin can't be used.
    """
    return tuple(transformation for _, transformation in _loaded())


def with_added(operations: type[_T]) -> type[_T]:
    """Add the parameters of all plugins to a class, each at the end of its group; a decorator, below `@dataclass`.

    Raises:
        PluginError: A plugin can't be used, or a name is taken.
    """
    taken = _names(operations)
    for plugin, transformation in _loaded():
        _refuse_taken(plugin, transformation, taken)
        for name, one in transformation.declared.items():
            taken |= {name, *one.aliases}
            operations.__annotations__ = _inserted(operations, name, one.group)
            setattr(operations, name, transformation.parameters[name])
    return operations


def beside_added(spec: type[_T]) -> type[_T]:
    """Check that a subclass of the extended class doesn't redefine an added name; a decorator, below `@dataclass`.

    Raises:
        PluginError: The subclass has the name of an added parameter.
    """
    for plugin, transformation in _loaded():
        _refuse_taken(plugin, transformation, _names(spec))
    return spec


def _refuse_taken(plugin: Plugin, transformation: Transformation, taken: set[str]) -> None:
    for name, one in transformation.declared.items():
        for known in (name, *one.aliases):
            if known in taken:
                raise plugin.refused(f"has a parameter whose name is taken: '{known}'.")


def _names(owner: type) -> set[str]:
    """Return the names of a class's own attributes, and the aliases of its own parameters."""
    aliases = {alias for one in _own(owner).values() for alias in one.aliases}
    return {*vars(owner), *owner.__annotations__, *aliases}


def _own(owner: type) -> dict[str, Parameter]:
    """Return a class's own parameters, by name."""
    fields = {name: field for name, field in vars(owner).items() if isinstance(field, Field)}
    return {name: field.metadata["parameter"] for name, field in fields.items() if "parameter" in field.metadata}


def _inserted(owner: type, name: str, group: str) -> dict[str, Any]:
    """Return the annotations of a class with another parameter inserted at the end of its group."""
    own, names = _own(owner), list(owner.__annotations__)
    position = max(names.index(other) for other, one in own.items() if one.group == group) + 1
    names.insert(position, name)
    return {one: owner.__annotations__.get(one, Any) for one in names}


@cache
def _loaded() -> tuple[tuple[Plugin, Transformation], ...]:
    loaded = [(plugin, plugin.load()) for plugin in installed("transformations")]
    for plugin, transformation in loaded:
        if fault := _fault(transformation):
            raise plugin.refused(fault)
    return tuple(loaded)


def _fault(added: Any) -> str | None:
    """Return why a transformation can't be used, or None."""
    if not isinstance(added, Transformation):
        return "isn't a Transformation."
    if not added.parameters or not all(isinstance(field, Field) for field in added.parameters.values()):
        return "has no parameters made by `parameter(…)`."
    for name, one in added.declared.items():
        for known in (name, *one.aliases):
            if not _NAME.fullmatch(known) or iskeyword(known):
                return f"has a parameter whose name is invalid: '{known}'."
            if known in NAMES_OF_THE_API:
                return f"has a parameter whose name is taken: '{known}'."
        if one.group not in GROUPS or one.group != added.group:
            return f"has a parameter in the group {one.group}; allowed: one of {', '.join(GROUPS)} for all of them."
        if isinstance(one.kind, Reference):
            return f"has a parameter that refers to other images, which isn't possible: '{name}'."
    return None
