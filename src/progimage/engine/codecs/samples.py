"""imagecodecs, which gives and takes the samples of a file as they are, where Pillow and libvips lose some of them.

It takes 50 ms and 13 MB, which few images need.
"""

from types import ModuleType

from progimage.engine.libraries import Library

_USED = ("avif_encode", "brotli_decode", "gif_encode", "jpeg2k_decode", "jpegxl_decode")


def _load() -> ModuleType:
    import imagecodecs as library

    for name in _USED:
        getattr(library, name)  # which loads its shared library
    return library


imagecodecs = Library("imagecodecs", _load)
"""Returns the library."""
