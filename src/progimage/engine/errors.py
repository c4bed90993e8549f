"""What can be wrong with an image or with what is asked of it.

Every error can be pickled, since workers raise them in another process.
"""

import difflib
import re

import pyvips

_PATH = re.compile(r"/[^\s\"']*/[^\s\"']+")


class EngineError(Exception):
    """The base of all errors of the engine."""


class NotAnImage(EngineError):
    """The bytes are in no format that can be read."""


class UnreadKind(NotAnImage):
    """The format is known, but this kind of it is not read; the message says which."""


class CorruptImage(EngineError):
    """The format is known, but the image in it is truncated or corrupt."""


class LimitExceeded(EngineError):
    """The image is larger than a limit allows.

    Args:
        what: What is limited, in words, such as "pixels".
        given: What the image has.
        allowed: The most that is allowed.
    """

    def __init__(self, what: str, given: int, allowed: int) -> None:
        """Keep the three parts, so that they survive pickling."""
        super().__init__(what, given, allowed)
        self.what, self.given, self.allowed = what, given, allowed

    def __str__(self) -> str:
        """Say it in one sentence."""
        return f"The image has {self.given} {self.what}; at most {self.allowed} are allowed."


class TooCostly(EngineError):
    """A task would take more CPU time than a light task may. It is to be run as a heavy one.

    Args:
        cost: What it is reckoned to take, in seconds of CPU time.
        drawing: It has a drawing in it, and only drawing that tells what it takes.
    """

    def __init__(self, cost: float, drawing: bool) -> None:
        """Store the parts."""
        super().__init__(cost, drawing)
        self.cost, self.drawing = cost, drawing

    def __str__(self) -> str:
        """Say it in one sentence."""
        return f"It would take about {self.cost:.1f} seconds of CPU time."


class LibraryNotLoaded(EngineError):
    """A library that is seldom needed can't be loaded by a sandboxed process; one that has it is to do the task.

    Args:
        library: Its name.
    """

    def __init__(self, library: str) -> None:
        """Store the name."""
        super().__init__(library)
        self.library = library

    def __str__(self) -> str:
        """Say it in one sentence."""
        return f"{self.library} was not loaded before this process was sandboxed."


class InvalidParameter(EngineError):
    """A parameter of a rendition is unknown or has a value that is not allowed.

    Args:
        parameter: The name of the parameter.
        given: The value that was given.
        allowed: What would have been allowed, in words.
    """

    def __init__(self, parameter: str, given: str, allowed: str) -> None:
        """Keep the three parts, so that they survive pickling."""
        super().__init__(parameter, given, allowed)
        self.parameter, self.given, self.allowed = parameter, given, allowed

    def __str__(self) -> str:
        """Say it in one sentence."""
        return f"{self.parameter} is {self.given!r}; allowed: {self.allowed}."


class UnknownParameter(InvalidParameter):
    """No parameter has this name.

    Args:
        parameter: The name that was given.
        given: Its value.
        allowed: The names that there are.
    """

    def __init__(self, parameter: str, given: str, allowed: list[str]) -> None:
        """Keep the three parts, so that they survive pickling."""
        super().__init__(parameter, given, ", ".join(allowed))
        self.args = (parameter, given, allowed)
        self.names = allowed

    def __str__(self) -> str:
        """Say it in one sentence, with the name that was probably meant."""
        near = difflib.get_close_matches(self.parameter, self.names, 1)
        return f"There is no parameter {self.parameter}" + (f"; did you mean {near[0]}?" if near else ".")


class CannotRepresent(EngineError):
    """The target format has no way to hold this image, such as one that is too wide for it."""


def forget_libvips_errors() -> None:
    """Forget what libvips has said: text that is no UTF-8 makes pyvips fail before it does so, again and again."""
    pyvips.vips_lib.vips_error_clear()


def say(error: Exception) -> str:
    """Return in one line what a codec said, without the paths that it may name."""
    text = str(getattr(error, "detail", None) or error)  # libvips has the text apart
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _PATH.sub("the file", lines[0]).rstrip(".") if lines else type(error).__name__
