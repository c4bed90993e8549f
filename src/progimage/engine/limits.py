"""Limits that are checked before an image is decoded and before a rendition is made."""

from collections.abc import Callable
from dataclasses import dataclass

from progimage.engine.errors import LimitExceeded, TooCostly


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for images that are read and renditions that are made.

    >>> Limits(pixels=40_000_000).check(4000, 3000)
    >>> Limits(frames=10).check(320, 240, frames=25)
    Traceback (most recent call last):
    progimage.engine.errors.LimitExceeded: The image has 25 frames; at most 10 are allowed.

    Attributes:
        pixels: Maximum number of pixels in one frame or page.
        frames: Maximum number of frames or pages.
        total_pixels: Maximum number of pixels in all frames or pages together.
        memory: Maximum number of bytes of memory for the pixels of a rendition; 0 means unlimited.
        cost: Maximum estimated CPU time of a task in seconds (see the module `cost`); 0 means unlimited. Above it the
            task is rejected with `TooCostly`, so that it can be run as a heavy task.
        most_cost: Maximum estimated CPU time of any task in seconds; 0 means unlimited. Above it the task is rejected
            with `InvalidParameter`.
        damaged: Whether to decode as much as possible of an image that has lost pixels. Otherwise it is rejected as
            corrupt.
    """

    pixels: int = 100_000_000
    frames: int = 500
    total_pixels: int = 500_000_000
    memory: int = 0
    cost: float = 0
    most_cost: float = 0
    damaged: bool = False

    def check(self, width: int, height: int, frames: int = 1) -> None:
        """Check the size of an image.

        Args:
            width: Width in pixels.
            height: Height in pixels.
            frames: Number of frames or pages.

        Raises:
            LimitExceeded: The image exceeds a limit.
        """
        if width * height > self.pixels:
            raise LimitExceeded(f"pixels ({width}×{height})", width * height, self.pixels)
        if frames > self.frames:
            raise LimitExceeded("frames", frames, self.frames)
        if width * height * frames > self.total_pixels:
            raise LimitExceeded("pixels in all frames together", width * height * frames, self.total_pixels)

    def check_cost(self, reckon: Callable[[], float], *, drawing: bool) -> None:
        """Check the estimated cost of a task.

        Args:
            reckon: Returns the estimated CPU time in seconds.
            drawing: Whether the task draws an SVG, whose cost can't be estimated in advance.

        Raises:
            TooCostly: The estimate exceeds the limit, or the cost can't be estimated.
        """
        if self.cost:
            cost = reckon()
            if drawing or cost > self.cost:
                raise TooCostly(cost, drawing)
