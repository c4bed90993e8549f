"""Errors of the engine: invalid images and invalid parameters.

Every error can be pickled, because workers raise them in another process.
"""

import difflib
import re

import pyvips

_PATH = re.compile(r"/[^\s\"']*/[^\s\"']+")


class EngineError(Exception):
    """Base class of all engine errors."""


class NotAnImage(EngineError):
    """The file is not in a supported image format."""


class UnreadKind(NotAnImage):
    """The format is known, but this variant isn't supported; the message names the variant."""


class CorruptImage(EngineError):
    """The format is supported, but the image is truncated or corrupt."""


class LimitExceeded(EngineError):
    """The image exceeds a limit.

    Args:
        what: The limited quantity as a plural noun, such as "pixels".
        given: The quantity that the image has.
        allowed: The maximum.
    """

    def __init__(self, what: str, given: int, allowed: int) -> None:
        super().__init__(what, given, allowed)  # all arguments, so that they survive pickling
        self.what, self.given, self.allowed = what, given, allowed

    def __str__(self) -> str:
        """Return the message as one sentence."""
        return f"The image has {self.given} {self.what}; at most {self.allowed} are allowed."


class TooCostly(EngineError):
    """A task needs more CPU time than a light task is allowed. Run it as a heavy task instead.

    Args:
        cost: Estimated CPU time in seconds.
        drawing: Whether the task draws an SVG, whose cost can't be estimated in advance.
    """

    def __init__(self, cost: float, drawing: bool) -> None:
        super().__init__(cost, drawing)
        self.cost, self.drawing = cost, drawing

    def __str__(self) -> str:
        """Return the message as one sentence."""
        return f"The task would take about {self.cost:.1f} seconds of CPU time."


class LibraryNotLoaded(EngineError):
    """A rarely used library is needed, but a sandboxed process can't load it.

    Run the task in a process that loaded the library before it was sandboxed.

    Args:
        library: Name of the library.
    """

    def __init__(self, library: str) -> None:
        super().__init__(library)
        self.library = library

    def __str__(self) -> str:
        """Return the message as one sentence."""
        return f"{self.library} was not loaded before this process was sandboxed."


class InvalidParameter(EngineError):
    """A rendition parameter is unknown or has an invalid value.

    Args:
        parameter: Name of the parameter.
        given: The invalid value.
        allowed: Description of the allowed values.
    """

    def __init__(self, parameter: str, given: str, allowed: str) -> None:
        super().__init__(parameter, given, allowed)  # all arguments, so that they survive pickling
        self.parameter, self.given, self.allowed = parameter, given, allowed

    def __str__(self) -> str:
        """Return the message as one sentence."""
        return f"{self.parameter} is {self.given!r}; allowed: {self.allowed}."


class UnknownParameter(InvalidParameter):
    """There is no parameter with this name.

    Args:
        parameter: The unknown name.
        given: The value given for it.
        allowed: All known names.
    """

    def __init__(self, parameter: str, given: str, allowed: list[str]) -> None:
        super().__init__(parameter, given, ", ".join(allowed))
        self.args = (parameter, given, allowed)  # as passed, so that they survive pickling
        self.names = allowed

    def __str__(self) -> str:
        """Return the message as one sentence, with the closest known name as a suggestion."""
        near = difflib.get_close_matches(self.parameter, self.names, 1)
        return f"Unknown parameter {self.parameter}" + (f"; did you mean {near[0]}?" if near else ".")


class CannotRepresent(EngineError):
    """The target format can't hold this image, for example because the image is too wide."""


def forget_libvips_errors() -> None:
    """Clear the error buffer of libvips.

    If the buffer holds text that isn't UTF-8, pyvips fails before it clears the buffer, on every later error too.
    """
    pyvips.vips_lib.vips_error_clear()


def say(error: Exception) -> str:
    """Return the message of a codec's error as one line, with file paths removed."""
    text = str(getattr(error, "detail", None) or error)  # pyvips keeps the text of libvips in `detail`
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _PATH.sub("the file", lines[0]).rstrip(".") if lines else type(error).__name__
