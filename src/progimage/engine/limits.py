"""The bounds that an image must keep to before it is decoded, and a rendition before it is made."""

from collections.abc import Callable
from dataclasses import dataclass

from progimage.engine.errors import LimitExceeded, TooCostly


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest image that is read, and whether it has to be whole.

    Attributes:
        pixels: The most pixels in one frame or page.
        frames: The most frames or pages.
        total_pixels: The most pixels in all frames or pages together.
        memory: How many bytes of memory there are for the pixels of a rendition; 0 is any number.
        cost: The most CPU seconds that a task may be reckoned to take, as `cost` does it; 0 is any number. Beyond it
            the task is refused with `TooCostly`, to be run in another way.
        most_cost: The same, but beyond it the task is refused for good.
        damaged: An image that has lost pixels is read as far as it can be decoded; else it is corrupt.
    """

    pixels: int = 100_000_000
    frames: int = 500
    total_pixels: int = 500_000_000
    memory: int = 0
    cost: float = 0
    most_cost: float = 0
    damaged: bool = False

    def check(self, width: int, height: int, frames: int = 1) -> None:
        """Hold an image's header against the limits.

        Args:
            width: In pixels.
            height: In pixels.
            frames: How many frames or pages there are.

        Raises:
            LimitExceeded: One of the limits does not allow the image.
        """
        if width * height > self.pixels:
            raise LimitExceeded(f"pixels ({width}×{height})", width * height, self.pixels)
        if frames > self.frames:
            raise LimitExceeded("frames", frames, self.frames)
        if width * height * frames > self.total_pixels:
            raise LimitExceeded("pixels in all its frames", width * height * frames, self.total_pixels)

    def check_cost(self, reckon: Callable[[], float], *, drawing: bool) -> None:
        """Hold what a task is reckoned to take against the limit.

        Args:
            reckon: Returns it, in seconds of CPU time.
            drawing: It has a drawing in it, whose cost only drawing it tells.

        Raises:
            TooCostly: It is too much, or nobody knows.
        """
        if self.cost:
            cost = reckon()
            if drawing or cost > self.cost:
                raise TooCostly(cost, drawing)
