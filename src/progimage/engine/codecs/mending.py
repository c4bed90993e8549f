"""What of a file's damage costs no pixel is mended in memory, before anything else reads it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from progimage.engine.description import Description
from progimage.engine.files import InputFile


@dataclass(frozen=True, slots=True)
class Mended:
    """A file without the damage that costs no pixel.

    Attributes:
        file: To be read in its place.
        warnings: What the damage is, a sentence for each.
        lost: What pixels are lost, if some are known to be and no decoder would say so; a sentence.
        unended: It had no end, so that more may be missing.
    """

    file: InputFile
    warnings: tuple[str, ...] = ()
    lost: str = ""
    unended: bool = False

    def described(self, description: Description) -> Description:
        """Return the description of the file with what is known of the damage."""
        lost = self.lost or description.lost
        warnings = (*self.warnings, *description.warnings)
        return replace(description, mended=self.file, warnings=warnings, lost=lost)


def joined(parts: Sequence[bytes | memoryview]) -> InputFile:
    """Return a file in memory that is made of parts of another one."""
    return InputFile.of(b"".join(parts))


def after_end(count: int) -> str:
    """Say that there are bytes after the end of an image."""
    return f"After the end of the image there {_are(count)}, which {'is' if count == 1 else 'are'} ignored."


def stray(count: int) -> str:
    """Say that there are bytes that belong to nothing."""
    return f"Inside of the file there {_are(count)} that belong{'s' * (count == 1)} to nothing, which is harmless."


def _are(count: int) -> str:
    return "is 1 byte" if count == 1 else f"are {count} bytes"
