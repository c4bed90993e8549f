"""imagecodecs, which gives and takes the samples of a file as they are, where Pillow and libvips lose some of them."""

import os
from types import ModuleType

_USED = ("avif_encode", "brotli_decode", "jpeg2k_decode", "jpegxl_decode")


def imagecodecs() -> ModuleType:
    """Return the library. The first time it takes a while, and memory, which not every process needs."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # or numpy, of which no algebra is used, starts threads
    import imagecodecs as library

    return library


def load() -> None:
    """Load all of it that is used: a sandbox does not let that happen later. It takes 50 ms."""
    library = imagecodecs()
    for name in _USED:
        getattr(library, name)  # which loads its shared library
