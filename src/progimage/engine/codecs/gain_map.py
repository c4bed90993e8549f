"""Gain maps in JPEG (Ultra HDR, ISO 21496-1): by how much a screen with headroom shows each part of a picture brighter.

The picture itself is SDR, and whoever knows nothing of gain maps sees just that. libvips reads and writes them with
libultrahdr, which also knows the older form with its parameters in XMP.
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
"""What the XMP of Ultra HDR calls the parameters of a gain map, and libvips."""
_QUALITY = 85


def has_gain_map(data: memoryview) -> bool:
    """Return whether the metadata of a JPEG tell of a gain map."""
    head = bytes(data[:_SEARCHED])  # a copy, in which words are found ten times as fast as by a pattern
    return any(mark in head for mark in _MARKS)


def has_other_gain_map(data: memoryview) -> bool:
    """Return whether a JPEG has a gain map of Apple's kind, which a further picture in the file tells."""
    return _APPLES.search(data) is not None


def gain_map_of(source: "Source", frame: Frame) -> pyvips.Image | None:
    """Return the gain map of a JPEG, as large as a frame of it, with its parameters; None if it is of another kind.

    Args:
        source: The file.
        frame: Its picture, decoded at any size.
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
    """Return the parameters of a JPEG's gain map, of whatever kind, as the XMP of Ultra HDR names and counts them.

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
    """Return what is said of each channel, once if it is the same for all."""
    values = value if isinstance(value, list) else [value]
    return values if len(set(values)) > 1 else values[:1]


def with_gain_applied(source: "Source", frame: Frame) -> Frame | None:
    """Return a picture as a screen of HDR shows it: PQ of BT.2020; None if its gain map is of another kind."""
    try:
        whole = vips.load("uhdrload_source", source)
        if not whole.get_typeof(_DATA):
            return None
        light = to_srgb(whole).uhdr2scRGB()
    except pyvips.Error:
        return None
    return Frame(pq_encoded(light), "RGB16", hdr=BT2020_PQ, orientation=frame.orientation)


def write_with_gain_map(frame: Frame, plan: "Plan", target: "OutputFile") -> None:
    """Write a JPEG with a frame's gain map."""
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
