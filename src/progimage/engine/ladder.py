"""The ladder: smaller copies of an image, made once, when it arrives; small renditions are made from them.

A step is upright, has the image's colour profile and no other metadata. Which steps there are, and what they are
written as, was settled by measurement: see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyvips

from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame, turned_upright
from progimage.engine.geometry import Size, fitting
from progimage.engine.operations import Operations
from progimage.engine.spec import RenditionSpec
from progimage.engine.steps.size import resized

SIDES = (1024, 512)
"""The longer side of each step, in pixels, the largest first; a step may be a little smaller, see `JUST_UNDER`."""
JUST_UNDER = 0.9
"""A JPEG that is decoded to this share of a side, or more, is not decoded larger to be resampled to all of it."""
SPARE = 1.6
"""A smaller copy has at least so many times the pixels a side that are asked for: then a 300 px JPEG has an SSIM within
0.002 of the one made from the original."""

COPIED_MODES = ("L", "LA", "RGB", "RGBA")
"""The kinds of pixels of which smaller copies are kept."""
_JPEG = {"Q": 90, "subsample_mode": "off"}
_PNG = {"compression": 1, "filter": "sub"}


@dataclass(frozen=True, slots=True)
class Step:
    """A smaller copy.

    Attributes:
        side: Which one of `SIDES` it is for.
        width: Upright, in pixels.
        height: Likewise.
        bytes: Of its file.
        sha256: Of its file, in hexadecimal digits; empty: it is not known.
    """

    side: int
    width: int
    height: int
    bytes: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The smaller copies of one image.

    Attributes:
        width: Of the image in full, upright, in pixels.
        height: Likewise.
        turned: Its EXIF orientation was applied.
        steps: The copies, the largest first.
    """

    width: int
    height: int
    turned: bool
    steps: tuple[Step, ...]

    @property
    def size(self) -> Size:
        """Width and height of the image in full, upright."""
        return self.width, self.height

    @property
    def bytes(self) -> int:
        """Of all steps together."""
        return sum(step.bytes for step in self.steps)

    def step_for(self, spec: RenditionSpec) -> Step | None:
        """Return the smallest step that a rendition can be made of, or None: only of the original."""
        if spec.kept - {"icc"} or (self.turned and not spec.autorotate):
            return None
        wanted = resampled_to(self.size, spec.stages[0])
        enough = (step for step in self.steps if wanted and suffices((step.width, step.height), wanted))
        return min(enough, key=lambda step: step.side, default=None)


def top_of(frame: Frame, size: Size) -> pyvips.Image | None:
    """Return the pixels that all steps are made of, in memory, or None for an image that has no ladder.

    Only 8-bit grey and RGB have one: anything else would lose what it has more, or is small anyway.

    Args:
        frame: Of a still picture with one page, decoded at any size.
        size: The width and height that it has in full.
    """
    if frame.mode not in COPIED_MODES or not _is_worth(SIDES[-1], size):
        return None
    return _of_side(frame.pixels, SIDES[0], size) if _is_worth(SIDES[0], size) else frame.pixels.copy_memory()


def build(
    top: pyvips.Image, size: Size, targets: Mapping[int, OutputFile], *, orientation: int, turned: bool, flat: bool
) -> Ladder:
    """Write the steps.

    Args:
        top: See `top_of`.
        size: The width and height that the image has in full, upright.
        targets: A file for each of `SIDES`.
        orientation: How the pixels are still to be turned upright, 1 to 8.
        turned: The image has an orientation, whether the pixels are turned already or not.
        flat: The picture has even areas, whose edges JPEG would blur.
    """
    steps, pixels = [], turned_upright(top, orientation)
    for side in (side for side in SIDES if _is_worth(side, size)):
        pixels = _of_side(pixels, side, size)
        if flat or pixels.hasalpha():
            pixels.pngsave_target(targets[side].target(), keep="icc", **_PNG)
        else:
            pixels.jpegsave_target(targets[side].target(), keep="icc", **_JPEG)
        steps.append(Step(side, pixels.width, pixels.height, targets[side].size))
    return Ladder(*size, turned, tuple(steps))


def _is_worth(side: int, size: Size) -> bool:
    return max(size) >= side * SPARE


def _of_side(pixels: pyvips.Image, side: int, size: Size) -> pyvips.Image:
    if max(pixels.width, pixels.height) <= side:
        return pixels.copy_memory()
    scale = side / max(size)
    return resized(pixels, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))), "lanczos3").copy_memory()


def resampled_to(size: Size, operations: Operations, *, vector: bool = False) -> Size | None:
    """Return the size that an image is resampled to before anything else is done, if a smaller copy may stand for it.

    Args:
        size: Its width and height, upright.
        operations: The first ones.
        vector: It is a drawing.
    """
    # What is cut out is measured in the image's own pixels, and the nearest pixel is one of its own.
    if operations.crop or operations.trim is not None or operations.kernel == "nearest":
        return None
    return fitting(size, operations, vector=vector).resized


def suffices(copy: Size, wanted: Size) -> bool:
    """Return whether a copy has enough pixels to be resampled to a size."""
    return all(side >= target * SPARE for side, target in zip(copy, wanted, strict=True))
