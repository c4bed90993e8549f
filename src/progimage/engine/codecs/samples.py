"""imagecodecs, OpenEXR and rawpy (LibRaw): samples of files where Pillow and libvips lose some of them, or read none.

imagecodecs takes 50 ms and 13 MB, OpenEXR 15 ms and 4 MB, rawpy 8 ms and 2 MB; few images need any of them. numpy comes
with each.
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
        getattr(library, name)  # which loads its shared library
    return library


def _load_openexr() -> ModuleType:
    import Imath  # noqa: F401  (a part of it)
    import OpenEXR

    OpenEXR.set_global_thread_count(0)
    library: ModuleType = OpenEXR
    return library


def _load_rawpy() -> ModuleType:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # or LibRaw starts threads for each picture
    import rawpy as library

    return library


imagecodecs = Library("imagecodecs", _load_imagecodecs)
"""Returns the library."""
openexr = Library("openexr", _load_openexr)
"""Returns the library."""
rawpy = Library("rawpy", _load_rawpy)
"""Returns the library."""


def float_pixels() -> Any:
    """Return what tells OpenEXR to give 32-bit floats, whatever a file has."""
    openexr()
    import Imath

    return Imath.PixelType(Imath.PixelType.FLOAT)


def of_size(samples: "numpy.ndarray[Any, Any]", size: Size) -> "numpy.ndarray[Any, Any]":
    """Return what a decoder gave.

    Raises:
        CorruptImage: It is of another size than the header of the file said, which the limits were held against.
    """
    height, width = samples.shape[:2]
    if (width, height) != size:
        raise CorruptImage(f"The image is of {width}×{height} pixels, not of {size[0]}×{size[1]} as its header says.")
    return samples


def whole_numbers(samples: "numpy.ndarray[Any, Any]", bits: int, *, kind: str | None = None) -> pyvips.Image:
    """Make pixels of whole numbers of any depth: 8 bits up to a depth of 8, else 16, black at 0 and white at the top.

    Args:
        samples: Height, width and, if there are several, channels; unsigned.
        bits: How many are used of each sample, at most 32.
        kind: What libvips calls this kind of pixels, if it is neither grey nor RGB.
    """
    import numpy

    white, most = (1 << bits) - 1, 255 if bits <= 8 else 65535
    kept = numpy.uint8 if bits <= 8 else numpy.uint16
    if white != most:
        scaled = numpy.empty(samples.shape, kept)
        for top in range(0, len(samples), _ROWS):  # 64 bits for all at once would be much memory
            # A sample may be larger than the file says that it can be.
            rows = numpy.minimum(samples[top : top + _ROWS], white).astype(numpy.uint64)
            scaled[top : top + _ROWS] = (rows * most + white // 2) // white
        samples = scaled
    pixels = pyvips.Image.new_from_array(numpy.ascontiguousarray(samples.astype(kept, copy=False)))
    grey, rgb = ("b-w", "srgb") if bits <= 8 else ("grey16", "rgb16")
    return pixels.copy(interpretation=kind or (grey if pixels.bands < 3 else rgb))


def light(samples: "numpy.ndarray[Any, Any]") -> pyvips.Image:
    """Make pixels of linear light of floats of 16, 32 or 64 bits; see `Decoder.frames`."""
    import numpy

    with numpy.errstate(over="ignore"):
        floats = numpy.ascontiguousarray(samples, dtype=numpy.float32)
    pixels = pyvips.Image.new_from_array(floats)
    return pixels.copy(interpretation="b-w" if pixels.bands < 3 else "scrgb")
