"""imagecodecs, which gives and takes the samples of a file as they are, where Pillow and libvips lose some of them.

It takes 50 ms and 13 MB, which few images need; so it is loaded when one does. A sandboxed process can't load it any
more: there `CodecNotLoaded` is raised, and the task is for a process that has been made since `load`.
"""

import os
from importlib import import_module
from types import ModuleType

from progimage.engine.errors import CodecNotLoaded

_USED = ("avif_encode", "brotli_decode", "gif_encode", "jpeg2k_decode", "jpegxl_decode")
_NUMERIC = ("progimage.engine.quantizer", "progimage.engine.codecs.gif_writer")
"""Modules of our own that calculate with numpy, which comes with it."""
_state = {"loaded": False, "sealed": False}


def imagecodecs() -> ModuleType:
    """Return the library.

    Raises:
        CodecNotLoaded: This process may not load it.
    """
    require()
    import imagecodecs as library

    return library


def require() -> None:
    """Load it, and our modules that calculate with numpy, unless that is done.

    Raises:
        CodecNotLoaded: This process may not load it.
    """
    if not _state["loaded"]:
        if _state["sealed"]:
            raise CodecNotLoaded("The codec was not loaded before this process was sandboxed.")
        load()


def load() -> None:
    """Load all of it that is used, and our modules that calculate with numpy."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # or numpy starts threads, which a worker may not
    import imagecodecs as library

    for name in _USED:
        getattr(library, name)  # which loads its shared library
    for module in _NUMERIC:
        import_module(module)
    _state["loaded"] = True


def seal() -> None:
    """Note that this process may load nothing any more."""
    _state["sealed"] = True
