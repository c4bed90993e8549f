"""imagecodecs and rawpy (LibRaw), which give samples of files where Pillow and libvips lose some of them, or read none.

They take 60 ms and 15 MB, which few images need; so they are loaded when one does. A sandboxed process can't load them
any more: there `CodecNotLoaded` is raised, and the task is for a process that has been made since `load`.
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
    _need()
    import imagecodecs as library

    return library


def rawpy() -> ModuleType:
    """Return the library.

    Raises:
        CodecNotLoaded: This process may not load it.
    """
    _need()
    import rawpy as library

    return library


def load() -> None:
    """Load all of them that is used."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # or numpy, of which no algebra is used, starts threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # and LibRaw, for each picture
    import imagecodecs as library
    import rawpy  # noqa: F401

    for name in _USED:
        getattr(library, name)  # which loads its shared library
    _state["loaded"] = True


def seal() -> None:
    """Note that this process may load nothing any more."""
    _state["sealed"] = True


def _need() -> None:
    if _state["loaded"]:
        return
    if _state["sealed"]:
        raise CodecNotLoaded("The codec was not loaded before this process was sandboxed.")
    load()
