"""The ladder: smaller copies (rungs) of an image, made once at upload. Small renditions are made from them.

A rung is upright and has the image's colour profile, but no other metadata. The sizes and formats of the rungs were
chosen by measurements, see docs/performance.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import pyvips

from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame, turned_upright
from progimage.engine.geometry import Size, fitting
from progimage.engine.operations import Operations
from progimage.engine.spec import RenditionSpec
from progimage.engine.steps.resize import resized

SIDES = (1024, 512)
"""Longer side of each rung in pixels, the largest first. A rung can be slightly smaller, see `JUST_UNDER`."""
JUST_UNDER = 0.9
"""If a JPEG can be decoded to at least this fraction of a rung's side, it isn't decoded larger and resampled."""
SPARE = 1.6
"""Minimum ratio of a rung's sides to those requested. With it, the SSIM of a 300 px JPEG is within 0.002 of one made
from the original."""

COPIED_MODES = ("L", "LA", "RGB", "RGBA")
"""Pixel modes of images that have a ladder."""
_JPEG = {"Q": 90, "subsample_mode": "off"}
_PNG = {"compression": 1, "filter": "sub"}


@dataclass(frozen=True, slots=True)
class Rung:
    """A smaller copy of an image.

    Attributes:
        side: The nominal longer side, one of `SIDES`.
        width: Upright width in pixels.
        height: Upright height in pixels.
        bytes: Size of the file in bytes.
        sha256: SHA-256 of the file in hexadecimal digits; empty if unknown.
    """

    side: int
    width: int
    height: int
    bytes: int
    sha256: str = ""


class Ladder(msgspec.Struct, frozen=True):
    """The rungs of one image.

    Attributes:
        width: Upright width of the original in pixels.
        height: Upright height of the original in pixels.
        turned: Whether the EXIF orientation of the original was applied.
        rungs: The rungs, the largest first.
    """

    width: int
    height: int
    turned: bool
    rungs: tuple[Rung, ...] = msgspec.field(name="steps")  # the name in databases of version 0.1

    @property
    def size(self) -> Size:
        """Width and height of the original, upright."""
        return self.width, self.height

    @property
    def bytes(self) -> int:
        """Total size of all rungs in bytes."""
        return sum(rung.bytes for rung in self.rungs)

    def rung_for(self, spec: RenditionSpec) -> Rung | None:
        """Return the smallest rung that suffices for a rendition; None if only the original does."""
        if spec.kept - {"icc"} or (self.turned and not spec.autorotate):
            return None
        wanted = resampled_to(self.size, spec.stages[0])
        enough = (rung for rung in self.rungs if wanted and suffices((rung.width, rung.height), wanted))
        return min(enough, key=lambda rung: rung.side, default=None)


def top_of(frame: Frame, size: Size) -> pyvips.Image | None:
    """Return the pixels to build all rungs from, in memory; None if the image gets no ladder.

    Only 8-bit grey and RGB images get one: others would lose information, or are small anyway.

    Args:
        frame: Frame of a still image with a single page, decoded at any size.
        size: Full width and height of the image.
    """
    if frame.mode not in COPIED_MODES or not _is_worth(SIDES[-1], size):
        return None
    return _of_side(frame.pixels, SIDES[0], size) if _is_worth(SIDES[0], size) else frame.pixels.copy_memory()


def build(
    top: pyvips.Image, size: Size, targets: Mapping[int, OutputFile], *, orientation: int, turned: bool, flat: bool
) -> Ladder:
    """Write the rungs.

    Args:
        top: The pixels returned by `top_of`.
        size: Full width and height of the image, upright.
        targets: A file for each of `SIDES`.
        orientation: Orientation that still has to be applied to the pixels, 1 to 8.
        turned: Whether the image has an orientation, regardless of whether it was applied to the pixels.
        flat: Whether the image has areas of uniform colour, whose edges JPEG would blur.
    """
    rungs, pixels = [], turned_upright(top, orientation)
    for side in (side for side in SIDES if _is_worth(side, size)):
        pixels = _of_side(pixels, side, size)
        if flat or pixels.hasalpha():
            pixels.pngsave_target(targets[side].target(), keep="icc", **_PNG)
        else:
            pixels.jpegsave_target(targets[side].target(), keep="icc", **_JPEG)
        rungs.append(Rung(side, pixels.width, pixels.height, targets[side].size))
    return Ladder(*size, turned, tuple(rungs))


def _is_worth(side: int, size: Size) -> bool:
    return max(size) >= side * SPARE


def _of_side(pixels: pyvips.Image, side: int, size: Size) -> pyvips.Image:
    if max(pixels.width, pixels.height) <= side:
        return pixels.copy_memory()
    scale = side / max(size)
    return resized(pixels, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))), "lanczos3").copy_memory()


def resampled_to(size: Size, operations: Operations, *, vector: bool = False) -> Size | None:
    """Return the size that an image is resampled to first, or None if a rung can't be used instead of the original.

    Args:
        size: Width and height of the image, upright.
        operations: The operations of the first stage.
        vector: Whether the image is a drawing.
    """
    # Cropping is measured in pixels of the original, and nearest-neighbour resampling picks pixels of the original.
    if operations.crop or operations.trim is not None or operations.kernel == "nearest":
        return None
    return fitting(size, operations, vector=vector).resized


def suffices(copy: Size, wanted: Size) -> bool:
    """Return whether a copy is large enough to be resampled to a size."""
    return all(side >= target * SPARE for side, target in zip(copy, wanted, strict=True))
