"""Change tones and colours pixel by pixel. The alpha channel is left unchanged.

`brightness`, `contrast`, `saturation`, `hue` and `sepia` follow Filter Effects Module Level 1 (W3C): they work on the
encoded samples, each clamped before the next. The results look like those of CSS filters in a browser.
"""

import math
from dataclasses import replace

import pyvips

from progimage.engine.colourspace import space_of, to_grey, to_rgb, white_of
from progimage.engine.frame import Frame
from progimage.engine.modes import mode_of
from progimage.engine.operations import Operations
from progimage.engine.paint import alpha_band, keeping_alpha, opaque_bands
from progimage.engine.plan import Plan
from progimage.engine.values import Colour

Matrix = list[list[float]]
_DARKEST, _LIGHTEST = 1, 99
"""Percentiles of the lightness that `normalize` maps to black and white."""


def adjust(frame: Frame, operations: Operations, plan: Plan) -> Frame:
    """Apply the tone operations in declaration order."""
    pixels = _normalised(frame.pixels, operations, plan) if operations.normalize else frame.pixels
    pixels = _filtered(pixels, operations)
    if operations.tint:
        pixels = keeping_alpha(to_rgb(pixels), lambda image: _tinted(image, operations.tint or Colour(0, 0, 0)))
    if operations.grayscale:
        pixels = to_grey(pixels)
    if operations.negate:
        pixels = keeping_alpha(pixels, lambda image: image.invert())
    if operations.threshold is not None:
        grey = to_grey(pixels)
        minimum = operations.threshold * white_of(grey) / 255
        pixels = keeping_alpha(grey, lambda image: _of_kind((image >= minimum) / 255 * white_of(grey), grey))
    return frame if pixels is frame.pixels else replace(frame, pixels=pixels, mode=mode_of(pixels))


def _filtered(pixels: pyvips.Image, operations: Operations) -> pyvips.Image:
    """Apply the operations that work on samples from 0 to 1."""
    matrices = []
    if operations.saturation != 1:
        matrices.append(_saturation(operations.saturation))
    if operations.hue % 360:
        matrices.append(_hue(operations.hue))
    if operations.sepia:
        matrices.append(_sepia(operations.sepia))
        pixels = to_rgb(pixels)
    lines = [(operations.brightness, 0.0), (operations.contrast, 0.5 - 0.5 * operations.contrast)]
    lines = [line for line in lines if line != (1, 0)]
    if space_of(pixels) == "grey":
        matrices = []  # they don't change greys
    if not (matrices or lines or operations.gamma != 1):
        return pixels
    white = white_of(pixels)

    def change(image: pyvips.Image) -> pyvips.Image:
        samples = image / white
        if operations.gamma != 1:
            samples = samples ** (1 / operations.gamma)
        for slope, intercept in lines:
            samples = (samples * slope + intercept).clamp()
        for matrix in matrices:
            samples = samples.recomb(pyvips.Image.new_from_array(matrix)).clamp()
        return _of_kind(samples * white, image)

    return keeping_alpha(pixels, change)


def _saturation(s: float) -> Matrix:
    # Filter Effects Module Level 1, section 9.6.
    return [
        [0.213 + 0.787 * s, 0.715 - 0.715 * s, 0.072 - 0.072 * s],
        [0.213 - 0.213 * s, 0.715 + 0.285 * s, 0.072 - 0.072 * s],
        [0.213 - 0.213 * s, 0.715 - 0.715 * s, 0.072 + 0.928 * s],
    ]


def _hue(degrees: float) -> Matrix:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [
        [0.213 + c * 0.787 - s * 0.213, 0.715 - c * 0.715 - s * 0.715, 0.072 - c * 0.072 + s * 0.928],
        [0.213 - c * 0.213 + s * 0.143, 0.715 + c * 0.285 + s * 0.140, 0.072 - c * 0.072 - s * 0.283],
        [0.213 - c * 0.213 - s * 0.787, 0.715 - c * 0.715 + s * 0.715, 0.072 + c * 0.928 + s * 0.072],
    ]


def _sepia(amount: float) -> Matrix:
    whole = [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]]
    return [
        [value * amount + (1 - amount) * (row == column) for column, value in enumerate(values)]
        for row, values in enumerate(whole)
    ]


def _normalised(pixels: pyvips.Image, operations: Operations, plan: Plan) -> pyvips.Image:
    pixels = pixels.copy_memory()  # they are read twice
    dark, light = plan.settle("normalize", operations, pixels, lambda: _levels(pixels))
    if light - dark < 1:  # nothing to stretch
        return pixels

    def change(image: pyvips.Image) -> pyvips.Image:
        lab = image.colourspace("lab")
        lightness = ((lab[0] - dark) * (100 / (light - dark))).clamp(min=0, max=100)
        return _from_lab(lightness.bandjoin([lab[1], lab[2]]), image)

    return keeping_alpha(pixels, change)


def _levels(pixels: pyvips.Image) -> tuple[float, float]:
    # L* of CIELAB, 0 to 100, as 16-bit integers, since a histogram needs integers.
    lightness = (opaque_bands(pixels).colourspace("lab")[0] * 655.35).cast("ushort")
    if not pixels.hasalpha():
        return lightness.percent(_DARKEST) / 655.35, lightness.percent(_LIGHTEST) / 655.35
    # Pixels are weighted by their alpha.
    sums = alpha_band(pixels).hist_find_indexed(lightness).hist_cum()
    share = sums * (100 / max(1, sums.getpoint(sums.width - 1, 0)[0]))
    darkest, lightest = ((share <= percent).avg() / 255 * sums.width for percent in (_DARKEST, _LIGHTEST))
    return darkest / 655.35, min(lightest, sums.width - 1) / 655.35


def _tinted(image: pyvips.Image, colour: Colour) -> pyvips.Image:
    swatch = (pyvips.Image.black(1, 1, bands=3) + list(colour[:3])).copy(interpretation="srgb").colourspace("lab")
    lightness = image.colourspace("lab")[0]
    return _from_lab(lightness.bandjoin(swatch.getpoint(0, 0)[1:]), image)


def _from_lab(lab: pyvips.Image, pixels: pyvips.Image) -> pyvips.Image:
    """Convert CIELAB to the colour space and depth of `pixels`."""
    kinds = {"b-w": "b-w", "grey16": "grey16", "rgb16": "rgb16"}
    return lab.copy(interpretation="lab").colourspace(kinds.get(pixels.interpretation, "srgb"))


def _of_kind(samples: pyvips.Image, pixels: pyvips.Image) -> pyvips.Image:
    """Round samples to the integer format of `pixels`."""
    return (samples + 0.5).cast(pixels.format).copy(interpretation=pixels.interpretation)
