"""The bounds that an image must keep to before it is decoded, and a rendition before it is made."""

from dataclasses import dataclass

from progimage.engine.errors import LimitExceeded


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest image that is read.

    Attributes:
        pixels: The most pixels in one frame or page.
        frames: The most frames or pages.
        total_pixels: The most pixels in all frames or pages together.
        memory: How many bytes of memory there are for the pixels of a rendition; 0 is any number.
        work: The most work of one task, as `demand.work` reckons it; 0 is any amount.
    """

    pixels: int = 100_000_000
    frames: int = 500
    total_pixels: int = 500_000_000
    memory: int = 0
    work: int = 0

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
        self.check_work(width * height * frames)

    def check_work(self, work: int) -> None:
        """Hold the work of a task against the limit.

        Raises:
            LimitExceeded: It is too much.
        """
        if self.work and work > self.work:
            raise LimitExceeded("pixels to work on", work, self.work)
