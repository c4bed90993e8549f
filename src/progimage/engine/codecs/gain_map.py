"""Gain maps in JPEG (Ultra HDR, ISO 21496-1): how much brighter HDR displays show each part of an image.

The base image is SDR, and viewers without support for gain maps show just that. libvips reads and writes gain maps with
libultrahdr, which also supports the older form with parameters in XMP.
"""

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pyvips

from progimage.engine.codecs import vips
from progimage.engine.colourspace import to_srgb
from progimage.engine.frame import Frame
from progimage.engine.tone_mapping import BT2020_PQ, pq_encoded

if TYPE_CHECKING:
    from progimage.engine.codecs.codec import Source
    from progimage.engine.files import OutputFile
    from progimage.engine.plan import Plan

_MARKS, _APPLES = (b"urn:iso:std:iso:ts:21496:-1\0", b"hdrgm:Version"), re.compile(rb"HDRGainMapVersion")
_SEARCHED = 512 * 1024
_DATA = "gainmap-data"
_LOGARITHMS = {
    "GainMapMin": "min-content-boost",
    "GainMapMax": "max-content-boost",
    "HDRCapacityMin": "hdr-capacity-min",
    "HDRCapacityMax": "hdr-capacity-max",
}
_AS_THEY_ARE = {"Gamma": "gamma", "OffsetSDR": "offset-sdr", "OffsetHDR": "offset-hdr"}
"""Names of gain map parameters in the XMP of Ultra HDR, and in libvips."""
_QUALITY = 85


def has_gain_map(data: memoryview) -> bool:
    """Return whether the metadata of a JPEG mentions a gain map."""
    head = bytes(data[:_SEARCHED])  # searching a copy is ten times as fast as a regular expression
    return any(mark in head for mark in _MARKS)


def has_other_gain_map(data: memoryview) -> bool:
    """Return whether a JPEG has a gain map in Apple's format, which another image in the file contains."""
    return _APPLES.search(data) is not None


def gain_map_of(source: "Source", frame: Frame) -> pyvips.Image | None:
    """Return the gain map of a JPEG with its parameters, scaled to the size of a frame; None if it isn't supported.

    Args:
        source: The file.
        frame: The image, decoded at any size.
    """
    try:
        whole = vips.load("uhdrload_source", source)
        if not whole.get_typeof(_DATA):
            return None
        small = pyvips.Image.jpegload_buffer(bytes(whole.get(_DATA)), fail_on="error").copy_memory()
    except pyvips.Error:
        return None
    pixels = frame.pixels
    wide = small.resize(pixels.width / small.width, vscale=pixels.height / small.height, kernel="linear").copy()
    for name in whole.get_fields():
        if name.startswith("gainmap-") and name != _DATA:
            wide.set_type(whole.get_typeof(name), name, whole.get(name))
    wide.set_type(pyvips.GValue.gint_type, "gainmap-scale-factor", max(1, round(source.size[0] / small.width)))
    return wide


def gain_map_boosts(source: "Source") -> dict[str, list[float]] | None:
    """Return the parameters of a JPEG's gain map of any kind, with the names and units of Ultra HDR's XMP.

    Args:
        source: The file.
    """
    try:
        whole = vips.load("uhdrload_source", source)
        if not whole.get_typeof(_DATA):
            return None
    except pyvips.Error:
        return None
    said = {name: whole.get(f"gainmap-{field}") for name, field in _LOGARITHMS.items()}
    boosts = {name: [math.log2(value) for value in _listed(values)] for name, values in said.items()}
    others = {name: _listed(whole.get(f"gainmap-{field}")) for name, field in _AS_THEY_ARE.items()}
    return {"Version": [1.0], **boosts, **others}


def _listed(value: float | list[float]) -> list[float]:
    """Return the values of all channels; only one value if they are equal."""
    values = value if isinstance(value, list) else [value]
    return values if len(set(values)) > 1 else values[:1]


def with_gain_applied(source: "Source", frame: Frame) -> Frame | None:
    """Return the image as shown by an HDR display, in PQ with BT.2020 primaries; None without a supported gain map."""
    try:
        whole = vips.load("uhdrload_source", source)
        if not whole.get_typeof(_DATA):
            return None
        light = to_srgb(whole).uhdr2scRGB()
    except pyvips.Error:
        return None
    return Frame(pq_encoded(light), "RGB16", hdr=BT2020_PQ, orientation=frame.orientation)


def write_with_gain_map(frame: Frame, plan: "Plan", target: "OutputFile") -> None:
    """Write a frame as a JPEG with its gain map."""
    gain = frame.gain_map
    if gain is None:
        raise ValueError("There is no gain map.")
    factor = gain.get("gainmap-scale-factor")
    small = gain.resize(max(1 / gain.width, 1 / factor), vscale=max(1 / gain.height, 1 / factor))
    pixels = frame.pixels.copy()
    for name in gain.get_fields():
        if name.startswith("gainmap-"):
            pixels.set_type(gain.get_typeof(name), name, gain.get(name))
    data = small.jpegsave_buffer(Q=_QUALITY, keep="none")
    pixels.set_type(pyvips.GValue.blob_type, _DATA, data)
    quality = plan.quality or plan.format.usual_quality
    vips.save("uhdrsave_target", replace(frame, pixels=pixels), plan, target, Q=quality)
