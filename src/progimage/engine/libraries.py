"""Libraries that few images need, each of which is loaded when one does.

A sandboxed process can load nothing any more: there `LibraryNotLoaded` is raised, and the task is for a process that
was made after the library was loaded.
"""

import os
from collections.abc import Callable
from typing import Any

from progimage.engine.errors import LibraryNotLoaded

LIBRARIES: dict[str, "Library"] = {}
"""All of them, by their names."""
_state = {"sealed": False}


class Library:
    """A library that may not be loaded yet.

    Args:
        name: Its name.
        load: Loads all of it that is used, and returns it.
    """

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        """Load nothing yet."""
        self._name, self._load, self._loaded = name, load, None
        LIBRARIES[name] = self

    def __call__(self) -> Any:
        """Return it, and load it first if need be.

        Raises:
            LibraryNotLoaded: This process may load nothing.
        """
        if self._loaded is None:
            if _state["sealed"]:
                raise LibraryNotLoaded(self._name)
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # or numpy, of which no algebra is used, starts threads
            self._loaded = self._load()
        return self._loaded


def seal() -> None:
    """Note that this process may load nothing any more."""
    _state["sealed"] = True
