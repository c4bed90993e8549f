"""Tone mapping: conversion of HDR (PQ and HLG) to sRGB.

Reference white, 203 cd/m² (ITU-R BT.2408-8, 2.2), becomes the white of sRGB, so that everything up to the brightness of
white paper looks like SDR. Brighter colours are compressed below it by the curve of BT.2390-12 (5.4.1). The curve keeps
everything below its knee unchanged and depends on the peak luminance of the image: the lower the peak, the less paper
white is dimmed, and images without highlights aren't changed at all. So it is best to measure the brightest pixel
(`peak_of`), as libplacebo does. The curve is applied to the maximum of R, G and B, and all three are scaled by the same
factor, which preserves the hue.
"""

from array import array
from bisect import bisect_left
from dataclasses import dataclass

import pyvips

from progimage.engine.colorimetry import (
    BT709,
    BT2020,
    HLG,
    IDENTITY,
    PQ,
    Chromaticities,
    Cicp,
    encoded,
    full,
    inverse,
    join_alpha,
    linear,
    multiplied,
    narrow_range,
    split_alpha,
    srgb_table,
    to_bt709,
)

REFERENCE_WHITE = 203.0
"""Luminance of reference white (paper) in cd/m²."""
USUAL_PEAK = 1000.0
"""Peak luminance in cd/m² if unknown: that of displays that most HDR is mastered on, and of HLG (BT.2100)."""
_PQ_TOP = 10_000.0
_MOST_LIGHT = 65504.0
"""Maximum light relative to reference white: the largest half float. Infinite values are clipped to it."""
BT2020_PQ = Cicp(9, PQ)
_HLG_GAMMA = 1.2
"""System gamma of a display of 1000 cd/m² in a dark room (BT.2100-3, table 5)."""
_KNEE_OFFSET = 1.0
"""How early the knee starts. With the 0.5 of BT.2390, skies become nearly as white as paper. 1 is the default of
libplacebo; with it, results are a third closer to the photographer's own SDR version, measured with libavif's
seine_hdr_rec2020.avif and its SDR counterpart."""
_SPECKS = 0.0001
"""Fraction of pixels that can be brighter than the measured peak, such as glints and defective pixels."""


def tone_mapped(pixels: pyvips.Image, space: Cicp, peak: float | None = None) -> pyvips.Image:
    """Convert PQ or HLG to sRGB. Colours outside its gamut are clipped channel by channel.

    Args:
        pixels: Grey or RGB of 8 or 16 bits, with or without alpha, which isn't changed.
        space: Colour space of the pixels.
        peak: Peak luminance of the image in cd/m²: measured (see `peak_of`) or from metadata (see `Light.peak`). All
            frames of an animation need the same value.

    Returns:
        Pixels with the same bands and depth.

    Raises:
        ValueError: The space isn't HDR.
    """
    top = max(peak or USUAL_PEAK, REFERENCE_WHITE)
    if space.transfer == HLG:
        top = min(top, USUAL_PEAK)  # the maximum of HLG
    # Rounded to steps of about a percent, so that cached tables can be reused.
    code = round(nits_to_pq(top) * 1024) / 1024
    source = _light_of(space, pixels)
    shoulder = Shoulder(pq_to_nits(code) if code > nits_to_pq(REFERENCE_WHITE) else REFERENCE_WHITE)
    colour, alpha = split_alpha(pixels)
    if colour.bands == 1:
        return join_alpha(colour.maplut(srgb_table(_Grey(source, shoulder), colour)), alpha, pixels)
    light, brightest, scale = _shown(colour, space, source)
    mapped = light * linear(brightest, _Gain(scale, shoulder))
    matrix = to_bt709(space.chromaticities)
    if matrix != IDENTITY:
        mapped = mapped.recomb([list(row) for row in matrix])
    return join_alpha(encoded(mapped, pixels), alpha, pixels)


def peak_of(pixels: pyvips.Image, space: Cicp) -> float:
    """Measure the peak luminance of an image in cd/m², ignoring a few brighter specks. This reads all pixels."""
    colour, _ = split_alpha(pixels)
    source = _light_of(space, pixels)
    if colour.bands == 1:
        return source(_greatest(colour))
    _, brightest, scale = _shown(colour, space, source)
    return scale(_greatest(brightest))


def pq_to_nits(sample: float) -> float:
    """Return the luminance in cd/m² of a PQ sample in 0..1 (SMPTE ST 2084; BT.2100-3, table 4)."""
    power = max(sample, 0.0) ** (1 / _M2)
    return float(_PQ_TOP * (max(power - _C1, 0.0) / (_C2 - _C3 * power)) ** (1 / _M1))


def nits_to_pq(light: float) -> float:
    """Return the PQ sample in 0..1 of a luminance in cd/m²."""
    power = (max(light, 0.0) / _PQ_TOP) ** _M1
    return float(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def pq_encoded(light: pyvips.Image, space: Chromaticities = BT709) -> pyvips.Image:
    """Convert linear light to 16-bit PQ samples with the primaries of BT.2020, clipped at 10,000 cd/m².

    Args:
        light: Linear floats with 1 as reference white; grey or RGB, with or without alpha, where 1 is opaque.
        space: Primaries of the pixels.

    Returns:
        Pixels with the same number of bands.

    Raises:
        ValueError: The primaries are collinear.
    """
    colour, alpha = split_alpha(light)
    colour = (colour == colour).ifthenelse(colour, 0).clamp(min=-_MOST_LIGHT, max=_MOST_LIGHT)  # NaN != NaN
    if colour.bands == 3:
        to_bt2020 = multiplied(inverse(BT2020.to_xyz()), BT709.to_xyz())
        colour = colour.recomb([list(row) for row in multiplied(to_bt2020, to_bt709(space))])
    power = (colour * (REFERENCE_WHITE / _PQ_TOP)).clamp() ** _M1
    samples = ((power * _C2 + _C1) / (power * _C3 + 1)) ** _M2
    if alpha is not None:
        samples = samples.bandjoin((alpha == alpha).ifthenelse(alpha, 0).clamp())
    return (samples * 65535 + 0.5).cast("ushort").copy(interpretation="grey16" if colour.bands == 1 else "rgb16")


def hlg_to_scene(sample: float) -> float:
    """Return the scene light, in 0..1, of an HLG sample (BT.2100-3, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    if sample <= 0.5:
        return max(sample, 0.0) ** 2 / 3
    return float((2.718281828459045 ** ((sample - c) / a) + b) / 12)


def hlg_to_nits(sample: float) -> float:
    """Return the luminance in cd/m² of a grey HLG sample on a display of 1000 cd/m²."""
    return float(USUAL_PEAK * hlg_to_scene(sample) ** _HLG_GAMMA)


@dataclass(frozen=True, slots=True)
class Shoulder:
    """The curve of BT.2390-12, 5.4.1, with an earlier knee. It maps the peak to reference white, and 0 to 0.

    Attributes:
        peak: Peak luminance in cd/m²; everything brighter becomes white.
    """

    peak: float

    def __call__(self, light: float) -> float:
        """Return the tone-mapped luminance of a luminance, both in cd/m²."""
        top = nits_to_pq(self.peak)
        white = nits_to_pq(REFERENCE_WHITE) / top
        knee = (1 + _KNEE_OFFSET) * white - _KNEE_OFFSET
        sample = min(nits_to_pq(light) / top, 1.0)
        if sample < knee or knee >= 1:
            return min(light, REFERENCE_WHITE)
        t = (sample - knee) / (1 - knee)
        bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * white
        return pq_to_nits(bent * top)


@dataclass(frozen=True, slots=True)
class _Screen:
    """Function from a grey sample to its luminance in cd/m²; black and white of the samples are at `low` and `high`."""

    transfer: int
    low: float = 0
    high: float = 1

    def __call__(self, sample: float) -> float:
        sample = min((sample - self.low) / (self.high - self.low), 1.0)
        return pq_to_nits(sample) if self.transfer == PQ else hlg_to_nits(sample)


@dataclass(frozen=True, slots=True)
class _Relative:
    """Function from a sample to light relative to reference white."""

    source: _Screen

    def __call__(self, sample: float) -> float:
        return self.source(sample) / REFERENCE_WHITE


@dataclass(frozen=True, slots=True)
class _Scene:
    """Function from an HLG sample to scene light."""

    source: _Screen

    def __call__(self, sample: float) -> float:
        return hlg_to_scene(min((sample - self.source.low) / (self.source.high - self.source.low), 1.0))


@dataclass(frozen=True, slots=True)
class _Root:
    """Function from the fourth root of light, which has fine steps for dark colours, to luminance in cd/m²."""

    def __call__(self, sample: float) -> float:
        return USUAL_PEAK * sample**4


@dataclass(frozen=True, slots=True)
class _Grey:
    """Function from a grey sample to its light after tone mapping, relative to white."""

    source: _Screen
    shoulder: Shoulder

    def __call__(self, sample: float) -> float:
        return self.shoulder(self.source(sample)) / REFERENCE_WHITE


@dataclass(frozen=True, slots=True)
class _Gain:
    """Function from the sample of the brightest channel to the factor for all channels."""

    scale: _Screen | _Root
    shoulder: Shoulder

    def __call__(self, sample: float) -> float:
        light = self.scale(sample)
        return self.shoulder(light) / light if light > 0 else 1.0


def _light_of(space: Cicp, pixels: pyvips.Image) -> _Screen:
    if not space.hdr:
        raise ValueError("Only HDR can be tone-mapped.")
    return _Screen(space.transfer) if full(space) else _Screen(space.transfer, *narrow_range(pixels))


def _shown(colour: pyvips.Image, space: Cicp, source: _Screen) -> tuple[pyvips.Image, pyvips.Image, _Screen | _Root]:
    """Return what an HDR display would show for three bands.

    Returns:
        The light relative to reference white; that of the brightest channel, as integers; and the function from those
        integers to cd/m².
    """
    if space.transfer == PQ:
        return linear(colour, _Relative(source)), _brightest(colour), source
    scene = linear(colour, _Scene(source))
    luminance = scene.recomb([list(space.chromaticities.to_xyz()[1])])
    light = scene * luminance ** (_HLG_GAMMA - 1) * (USUAL_PEAK / REFERENCE_WHITE)
    root = (_brightest(light) * (REFERENCE_WHITE / USUAL_PEAK)) ** 0.25
    return light, (root * 65535 + 0.5).cast("ushort"), _Root()


def _brightest(colour: pyvips.Image) -> pyvips.Image:
    red, green, blue = colour.bandsplit()
    return red.maxpair(green).maxpair(blue)


def _greatest(samples: pyvips.Image) -> float:
    """Return the largest sample, ignoring specks, in 0..1."""
    counts = array("I", bytes(samples.hist_find().hist_cum().write_to_memory()))
    enough = counts[-1] * (1 - _SPECKS)
    return bisect_left(counts, enough) / (65535 if samples.format == "ushort" else 255)
