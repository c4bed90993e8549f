"""What one rendering has settled: handed to every step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pyvips

from progimage.engine.codecs.format import Format
from progimage.engine.files import InputFile
from progimage.engine.limits import Limits
from progimage.engine.operations import Operations
from progimage.engine.spec import RenditionSpec, changes_pixels

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plan:
    """A rendering's settled choices.

    Attributes:
        spec: What was asked for.
        format: The row of the format that is written.
        limits: What every image that takes part is held against.
        images: The files of the other images that are needed, by their references.
        vector: The source is a drawing.
        always_turned: It is turned by its container, which `autorotate` can't leave undone.
        modes: The kinds of pixels that it may be written with, this time.
        several: More than one frame or page is written.
        plays: How often the animation is played; 0 is without end.
        quality: What to encode with, 1 to 100, or None: what is usual for the format.
    """

    spec: RenditionSpec
    format: Format
    limits: Limits
    images: Mapping[str, InputFile] = field(default_factory=dict)
    vector: bool = False
    always_turned: bool = False
    modes: tuple[str, ...] = ()
    several: bool = False
    plays: int = 0
    quality: int | None = None
    _settled: dict[object, object] = field(default_factory=dict)

    @property
    def changes_pixels(self) -> bool:
        """Whether there is anything to do to the pixels but to write them."""
        return any(changes_pixels(stage) for stage in self.spec.stages)

    def afresh(self) -> "Plan":
        """Return the plan with nothing settled yet, for another attempt."""
        return replace(self, _settled={})

    def settle(self, what: str, operations: Operations, pixels: pyvips.Image, choose: Callable[[], _T]) -> _T:
        """Choose something that depends on the pixels for the first frame, and take the same for others of its size.

        Without it the frames of an animation would be cut or toned each in its own way. Pages may be of several sizes.

        Args:
            what: What is chosen.
            operations: The stage.
            pixels: The frame, whose size counts.
            choose: Chooses it.
        """
        key = what, id(operations), pixels.width, pixels.height
        if key not in self._settled:
            self._settled[key] = choose()
        return self._settled[key]  # type: ignore[return-value]
