"""Libraries that few images need, loaded on first use.

A sandboxed process can't load libraries, so `LibraryNotLoaded` is raised there. The task then has to run in a process
that was forked after the library was loaded.
"""

import os
from collections.abc import Callable
from typing import Any

from progimage.engine.errors import LibraryNotLoaded

LIBRARIES: dict[str, "Library"] = {}
"""All such libraries, by name."""
_state = {"sealed": False}


class Library:
    """A library that is loaded on first use.

    Args:
        name: Name of the library.
        load: Loads all parts of the library that are used, and returns it.
    """

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        self._name, self._load, self._loaded = name, load, None
        LIBRARIES[name] = self

    def __call__(self) -> Any:
        """Return the library; load it first if necessary.

        Raises:
            LibraryNotLoaded: The library isn't loaded, and this process can't load libraries.
        """
        if self._loaded is None:
            if _state["sealed"]:
                raise LibraryNotLoaded(self._name)
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads for algebra we don't use
            self._loaded = self._load()
        return self._loaded


def seal() -> None:
    """Record that this process can't load any more libraries."""
    _state["sealed"] = True
