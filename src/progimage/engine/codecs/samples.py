"""imagecodecs and OpenEXR, which give the samples of a file as they are, where Pillow and libvips lose or refuse them.

They take 65 ms and 16 MB, which few images need; so they are loaded when one does. A sandboxed process can't load them
any more: there `CodecNotLoaded` is raised, and the task is for a process that has been made since `load`.
"""

import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyvips

from progimage.engine.errors import CodecNotLoaded, CorruptImage
from progimage.engine.geometry import Size

if TYPE_CHECKING:
    import numpy

_USED = (
    "avif_encode", "brotli_decode", "jpeg2k_decode", "jpeg8_decode", "jpegls_decode", "jpegxl_decode", "jpegxr_decode",
    "packints_decode", "rgbe_decode",
)  # fmt: skip
_ROWS = 256
_state = {"loaded": False, "sealed": False}


def imagecodecs() -> ModuleType:
    """Return the library.

    Raises:
        CodecNotLoaded: This process may not load it.
    """
    require()
    import imagecodecs as library

    return library


def openexr() -> ModuleType:
    """Return the library.

    Raises:
        CodecNotLoaded: This process may not load it.
    """
    require()
    import OpenEXR

    library: ModuleType = OpenEXR
    return library


def float_pixels() -> Any:
    """Return what tells OpenEXR to give 32-bit floats, whatever a file has."""
    require()
    import Imath

    return Imath.PixelType(Imath.PixelType.FLOAT)


def load() -> None:
    """Load all of them that is used."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # or numpy, of which no algebra is used, starts threads
    import imagecodecs as library
    import Imath  # noqa: F401  (a part of OpenEXR)
    import OpenEXR

    for name in _USED:
        getattr(library, name)  # which loads its shared library
    OpenEXR.set_global_thread_count(0)
    _state["loaded"] = True


def seal() -> None:
    """Note that this process may load nothing any more."""
    _state["sealed"] = True


def require() -> None:
    """Make sure that they, and numpy with them, are there.

    Raises:
        CodecNotLoaded: This process may not load them.
    """
    if _state["loaded"]:
        return
    if _state["sealed"]:
        raise CodecNotLoaded("The codec was not loaded before this process was sandboxed.")
    load()


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
