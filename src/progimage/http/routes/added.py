"""Routes that plugins add, see docs/adding-an-endpoint.md."""

import re
from collections.abc import Iterable
from typing import Any

from litestar.handlers import HTTPRouteHandler

from progimage.plugins import Plugin, installed

_RESERVED = ("/docs", "/page")
"""Paths of the API documentation and of the files of the web page."""
_PARAMETER = re.compile(r"\{[^}]*\}")


def with_added(own: Iterable[Any]) -> tuple[Any, ...]:
    """Return the built-in handlers and those of plugins.

    Args:
        own: The built-in handlers.

    Raises:
        PluginError: A plugin can't be used, or one of its paths exists already.
    """
    handlers = list(own)
    taken: dict[str, Plugin | None] = {_shape(path): None for handler in handlers for path in handler.paths}
    for plugin in installed("routes"):
        added = plugin.load()
        if not isinstance(added, tuple | list) or not all(isinstance(one, HTTPRouteHandler) for one in added):
            raise plugin.refused("isn't a tuple of Litestar route handlers.")
        for path in sorted(path for handler in added for path in handler.paths):
            other = taken.setdefault(_shape(path), plugin)
            if other is not plugin:
                raise plugin.refused(
                    f"has a path that exists already: {path}" + (f". {other} has it." if other else ".")
                )
            if any(f"{path}/".startswith(f"{reserved}/") for reserved in _RESERVED):
                raise plugin.refused(f"has a path below {' or '.join(_RESERVED)}: {path}.")
        handlers += added
    return tuple(handlers)


def _shape(path: str) -> str:
    """Return a path without the names of its parameters: paths that only differ in them are the same."""
    return _PARAMETER.sub("{}", path).rstrip("/")
