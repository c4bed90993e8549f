"""imagecodecs, OpenEXR and rawpy (LibRaw), for files that Pillow and libvips read with losses or not at all.

Loading takes 50 ms and 13 MB for imagecodecs, 15 ms and 4 MB for OpenEXR, 8 ms and 2 MB for rawpy, and few images need
them. Each of them includes numpy.
"""

import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyvips

from progimage.engine.errors import CorruptImage
from progimage.engine.geometry import Size
from progimage.engine.libraries import Library

if TYPE_CHECKING:
    import numpy

_USED = (
    "avif_encode", "brotli_decode", "deflate_encode", "gif_encode", "jpeg2k_decode", "jpeg8_decode", "jpegls_decode",
    "jpegxl_decode", "jpegxr_decode", "packints_decode", "rgbe_decode",
)  # fmt: skip
_ROWS = 256


def _load_imagecodecs() -> ModuleType:
    import imagecodecs as library

    for name in _USED:
        getattr(library, name)  # loads its shared library
    return library


def _load_openexr() -> ModuleType:
    import Imath  # noqa: F401  (a part of it)
    import OpenEXR

    OpenEXR.set_global_thread_count(0)
    library: ModuleType = OpenEXR
    return library


def _load_rawpy() -> ModuleType:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # otherwise LibRaw starts threads for each image
    import rawpy as library

    return library


imagecodecs = Library("imagecodecs", _load_imagecodecs)
"""Loads the library if necessary, and returns it."""
openexr = Library("openexr", _load_openexr)
"""Loads the library if necessary, and returns it."""
rawpy = Library("rawpy", _load_rawpy)
"""Loads the library if necessary, and returns it."""


def float_pixels() -> Any:
    """Return the pixel type that makes OpenEXR convert all samples to 32-bit floats."""
    openexr()
    import Imath

    return Imath.PixelType(Imath.PixelType.FLOAT)


def of_size(samples: "numpy.ndarray[Any, Any]", size: Size) -> "numpy.ndarray[Any, Any]":
    """Return the samples of a decoder after checking their size.

    Raises:
        CorruptImage: The size differs from that in the header, which was checked against the limits.
    """
    height, width = samples.shape[:2]
    if (width, height) != size:
        raise CorruptImage(f"The image has {width}×{height} pixels instead of the {size[0]}×{size[1]} in its header.")
    return samples


def whole_numbers(samples: "numpy.ndarray[Any, Any]", bits: int, *, kind: str | None = None) -> pyvips.Image:
    """Convert whole numbers of any depth to pixels of 8 bits (up to a depth of 8) or 16 bits that use the full range.

    Args:
        samples: Unsigned numbers by row, column and, if there are several, channel.
        bits: Number of used bits per sample, at most 32.
        kind: libvips' name of the interpretation, if it is neither grey nor RGB.
    """
    import numpy

    white, maximum = (1 << bits) - 1, 255 if bits <= 8 else 65535
    kept = numpy.uint8 if bits <= 8 else numpy.uint16
    if white != maximum:
        scaled = numpy.empty(samples.shape, kept)
        for top in range(0, len(samples), _ROWS):  # in parts, since 64 bits for all samples would need much memory
            # Samples can be larger than the depth in the header allows.
            rows = numpy.minimum(samples[top : top + _ROWS], white).astype(numpy.uint64)
            scaled[top : top + _ROWS] = (rows * maximum + white // 2) // white
        samples = scaled
    pixels = pyvips.Image.new_from_array(numpy.ascontiguousarray(samples.astype(kept, copy=False)))
    grey, rgb = ("b-w", "srgb") if bits <= 8 else ("grey16", "rgb16")
    return pixels.copy(interpretation=kind or (grey if pixels.bands < 3 else rgb))


def light(samples: "numpy.ndarray[Any, Any]") -> pyvips.Image:
    """Convert floats of 16, 32 or 64 bits to pixels of linear light; see `Decoder.frames`."""
    import numpy

    with numpy.errstate(over="ignore"):
        floats = numpy.ascontiguousarray(samples, dtype=numpy.float32)
    pixels = pyvips.Image.new_from_array(floats)
    return pixels.copy(interpretation="b-w" if pixels.bands < 3 else "scrgb")
