"""Repair, in memory, of damage that affects no pixels, before anything else reads the file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from progimage.engine.description import Description
from progimage.engine.files import InputFile


@dataclass(frozen=True, slots=True)
class Mended:
    """A file whose harmless damage is repaired.

    Attributes:
        file: The repaired file, to be read instead.
        warnings: Sentences that describe the damage.
        lost: A sentence on lost pixels, if some are known to be lost and no decoder would report it.
        unended: Whether the file had no end marker, so that more can be missing.
    """

    file: InputFile
    warnings: tuple[str, ...] = ()
    lost: str = ""
    unended: bool = False

    def described(self, description: Description) -> Description:
        """Return the description of the file with the information on the damage."""
        lost = self.lost or description.lost
        warnings = (*self.warnings, *description.warnings)
        return replace(description, mended=self.file, warnings=warnings, lost=lost)


def joined(parts: Sequence[bytes | memoryview]) -> InputFile:
    """Return a file in memory that consists of parts of another file."""
    return InputFile.of(b"".join(parts))


def after_end(count: int) -> str:
    """Return a warning about bytes after the end of an image."""
    return f"After the end of the image there {_are(count)}, which {'is' if count == 1 else 'are'} ignored."


def stray(count: int) -> str:
    """Return a warning about bytes that belong to no part of an image."""
    return f"Inside the file there {_are(count)} without meaning, which is harmless."


def _are(count: int) -> str:
    return "is 1 byte" if count == 1 else f"are {count} bytes"
