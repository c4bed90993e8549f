"""The plan of a rendering: the choices that are passed to every step."""

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
    """The choices made for a rendering.

    Attributes:
        spec: Spec of the rendition.
        format: The output format.
        limits: Limits for all images involved.
        images: Files of the other images that the spec needs, by reference.
        vector: Whether the source is a drawing.
        always_turned: Whether the container rotates the source, regardless of `autorotate`.
        modes: Pixel modes that this rendition can be written with.
        several: Whether several frames or pages are written.
        plays: How often an animation is played; 0 means endlessly.
        quality: Quality to encode with, 1 to 100; None means the default of the format.
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
        """Whether any operation changes the pixels."""
        return any(changes_pixels(stage) for stage in self.spec.stages)

    def afresh(self) -> "Plan":
        """Return the plan without the choices made by `settle`, for another attempt."""
        return replace(self, _settled={})

    def settle(self, what: str, operations: Operations, pixels: pyvips.Image, choose: Callable[[], _T]) -> _T:
        """Make a choice that depends on pixels once, in the first frame, and reuse it for frames of the same size.

        Otherwise each frame of an animation would be cropped or toned differently. Pages can differ in size.

        Args:
            what: Name of the choice.
            operations: The operations of the current stage.
            pixels: The current frame; its size is part of the key.
            choose: Makes the choice.

        Returns:
            The choice.
        """
        key = what, id(operations), pixels.width, pixels.height
        if key not in self._settled:
            self._settled[key] = choose()
        return self._settled[key]  # type: ignore[return-value]
