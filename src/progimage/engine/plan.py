"""What one rendering has settled before its first pixel: handed to every step, never changed."""

from dataclasses import dataclass

from progimage.engine.formats import Format
from progimage.engine.spec import RenditionSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """A rendering's settled choices.

    Attributes:
        spec: What was asked for.
        format: The row of the format that is written.
        modes: The kinds of pixels that it may be written with, this time.
        several: More than one frame or page is written.
        plays: How often the animation is played; 0 is without end.
    """

    spec: RenditionSpec
    format: Format
    modes: tuple[str, ...]
    several: bool = False
    plays: int = 0
