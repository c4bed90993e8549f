"""Finding the quality to encode with: the lowest that looks the same, or the highest that fits."""

from collections.abc import Callable
from dataclasses import replace

import pyvips

from progimage.engine.errors import InvalidParameter
from progimage.engine.files import OutputFile
from progimage.engine.frame import Frame
from progimage.engine.geometry import place
from progimage.engine.limits import Limits
from progimage.engine.paint import opaque_bands
from progimage.engine.picture import as_picture, open_picture

_LEAST, _MOST = 30, 95
"""Between what the automatic quality is looked for."""
_SIMILAR = 0.95
"""The structural similarity from which on two pictures count as the same to the eye. For the usual photographs, it is
near to what our usual qualities give."""
_NEAR_BEST = 0.005
"""By how much less a picture may be similar where the format comes to no such similarity at any quality."""
_SAMPLE_SIDE = 1024
"""A larger picture is judged by so much of its middle: encoding all of it several times would take too long."""
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW_SIGMA = 1.5


def automatic_quality(frame: Frame, write: Callable[[Frame, int], None], target: OutputFile) -> int:
    """Return the lowest quality at which a frame looks as it does unencoded.

    Args:
        frame: The frame, after all steps, in memory.
        write: Encodes a frame at a quality, to `target`.
        target: The file that it is encoded to.
    """
    size = frame.pixels.width, frame.pixels.height
    part = min(size[0], _SAMPLE_SIDE), min(size[1], _SAMPLE_SIDE)
    sample = replace(frame, pixels=frame.pixels.crop(*place("centre", size, part), *part).copy_memory())
    wanted = _luminance(as_picture(sample))

    def reached(quality: int) -> float:
        write(sample, quality)
        return similarity(wanted, _luminance(open_picture(target.written(), Limits()).pixels))

    enough = min(_SIMILAR, reached(_MOST) - _NEAR_BEST)
    return _first(_LEAST, _MOST, lambda quality: reached(quality) >= enough)


def fitting_quality(write: Callable[[int], None], most: int, max_bytes: int, target: OutputFile) -> int:
    """Return the highest quality at which a file is not larger than allowed.

    Args:
        write: Encodes all of it at a quality, to `target`.
        most: The highest quality to try, 1 to 100.
        max_bytes: The size that is allowed.
        target: The file that it is encoded to.

    Raises:
        InvalidParameter: It is larger at the lowest quality, too.
    """

    def too_large(quality: int) -> bool:
        write(quality)
        return target.size > max_bytes

    if not too_large(most):
        return most
    if too_large(1):
        least = target.size
        raise InvalidParameter("max_bytes", str(max_bytes), f"at least {least} for this image at this size")
    return _first(1, most, too_large) - 1


def _first(least: int, most: int, holds: Callable[[int], bool]) -> int:
    """Return the first number for which something holds, if it holds for all after it; `most` if for none."""
    while least < most:
        middle = (least + most) // 2
        if holds(middle):
            most = middle
        else:
            least = middle + 1
    return least


def similarity(one: pyvips.Image, other: pyvips.Image) -> float:
    """Return the mean structural similarity (SSIM) of two pictures of one size; 1 is the same.

    After Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004, with their Gaussian window and constants.

    Args:
        one: One band, 0 to 255.
        other: Likewise.
    """
    one, other = one.cast("float"), other.cast("float")

    def smooth(image: pyvips.Image) -> pyvips.Image:
        return image.gaussblur(_WINDOW_SIGMA, precision="float")

    mean_one, mean_other = smooth(one), smooth(other)
    variance_one = smooth(one * one) - mean_one * mean_one
    variance_other = smooth(other * other) - mean_other * mean_other
    covariance = smooth(one * other) - mean_one * mean_other
    above = (mean_one * mean_other * 2 + _C1) * (covariance * 2 + _C2)
    below = (mean_one * mean_one + mean_other * mean_other + _C1) * (variance_one + variance_other + _C2)
    return float((above / below).avg())


def _luminance(picture: pyvips.Image) -> pyvips.Image:
    return opaque_bands(picture).colourspace("b-w").copy_memory()
