"""GIF: the Graphics Interchange Format."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from progimage.engine.codecs.codec import Decoding, Source
from progimage.engine.codecs.format import Format
from progimage.engine.codecs.pillow import PillowCodec
from progimage.engine.frame import Frame
from progimage.engine.limits import Limits
from progimage.engine.modes import mode_of

if TYPE_CHECKING:
    from progimage.engine.plan import Plan

_AT_ONCE = 25_000_000
"""Up to so many pixels in all frames, an animation is decoded only once."""


class _Gif(PillowCodec):
    """Read and written by Pillow, one frame at a time."""

    def frames_of(self, image: Image.Image, limits: Limits) -> int:
        """Return how many frames there are, which only reading them tells."""
        frames = 1
        try:
            while True:
                image.seek(frames)
                frames += 1
                # A frame that is larger than its canvas makes Pillow enlarge that, when it decodes the frame next.
                limits.check(*image.size, frames)
        except EOFError:
            return frames

    def plays(self, image: Image.Image) -> int:
        """Return how often it is played: its field counts the repeats after the first time, and 0 is without end."""
        loop = image.info.get("loop")
        return 1 if loop is None else 0 if loop == 0 else loop + 1

    def frames_in(self, source: Source, image: Image.Image, first: int, last: int, how: Decoding) -> Iterator[Frame]:
        """Decode frames; they use a transparent colour for "as before", so only the composed ones tell of alpha."""
        if not source.description.animated:
            yield from super().frames_in(source, image, first, last, how)
            return
        size = source.size
        few = size[0] * size[1] * last <= _AT_ONCE
        kept, transparent = [], False
        for index in range(last):
            frame = self.frame(source, image, index, how)
            if frame.pixels.hasalpha() and frame.pixels[-1].min() < 255:
                transparent = True
                break
            if few:
                kept.append(frame)
        frames = (
            kept[first:] if few and not transparent else (self.frame(source, image, i, how) for i in range(first, last))
        )
        for frame in frames:
            opaque = not transparent and frame.pixels.hasalpha()
            pixels = frame.pixels.extract_band(0, n=frame.pixels.bands - 1) if opaque else frame.pixels
            yield replace(frame, pixels=pixels, mode=mode_of(pixels))

    def loop(self, plan: "Plan") -> dict[str, int]:
        """Return the repeats after the first time; for none the field is left out."""
        return {} if plan.plays == 1 else {"loop": max(0, plan.plays - 1)}

    def asked_for(self, frame: Frame, plan: "Plan") -> dict[str, Any]:
        """Return how a transparent animation is disposed of, or the frame before would be seen through this one."""
        return {"disposal": 2} if plan.several and frame.mode == "PA" else {}


CODECS = (
    _Gif(
        Format(
            name="GIF",
            extensions=("gif",),
            media_type="image/gif",
            description="Graphics Interchange Format",
            modes=("P", "PA"),
            animated=True,
            max_side=65_535,
            options=("palette",),
            counts_by_reading=True,
        ),
        save={"optimize": False},
    ),
)
