"""imagecodecs and rawpy (LibRaw), which give samples of files where Pillow and libvips lose some of them, or read none.

imagecodecs takes 50 ms and 13 MB, rawpy 8 ms and 2 MB, which few images need.
"""

import os
from types import ModuleType

from progimage.engine.libraries import Library

_USED = ("avif_encode", "brotli_decode", "gif_encode", "jpeg2k_decode", "jpegxl_decode")


def _load_imagecodecs() -> ModuleType:
    import imagecodecs as library

    for name in _USED:
        getattr(library, name)  # which loads its shared library
    return library


def _load_rawpy() -> ModuleType:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # or LibRaw starts threads for each picture
    import rawpy as library

    return library


imagecodecs = Library("imagecodecs", _load_imagecodecs)
"""Returns the library."""
rawpy = Library("rawpy", _load_rawpy)
"""Returns the library."""
