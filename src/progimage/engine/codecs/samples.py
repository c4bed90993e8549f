"""imagecodecs, which gives and takes the samples of a file as they are, where Pillow and libvips lose some of them.

It takes 50 ms and 13 MB, which few images need; so it is loaded when one does. A sandboxed process can't load it any
more: there `CodecNotLoaded` is raised, and the task is for a process that has been made since `load`.
"""

import os
from types import ModuleType

from progimage.engine.errors import CodecNotLoaded

_USED = ("avif_encode", "brotli_decode", "jpeg2k_decode", "jpegxl_decode")
_state = {"loaded": False, "sealed": False}


def imagecodecs() -> ModuleType:
    """Return the library.

    Raises:
        CodecNotLoaded: This process may not load it.
    """
    if not _state["loaded"]:
        if _state["sealed"]:
            raise CodecNotLoaded("The codec was not loaded before this process was sandboxed.")
        load()
    import imagecodecs as library

    return library


def load() -> None:
    """Load all of it that is used."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # or numpy, of which no algebra is used, starts threads
    import imagecodecs as library

    for name in _USED:
        getattr(library, name)  # which loads its shared library
    _state["loaded"] = True


def seal() -> None:
    """Note that this process may load nothing any more."""
    _state["sealed"] = True
