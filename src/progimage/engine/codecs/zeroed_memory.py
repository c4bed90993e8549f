"""Zeroed memory, for libraries that return memory that they haven't written to."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_M_PERTURB, _ZERO, _OFF = -6, 0xFF, 0
"""An option of glibc: allocated memory is filled with the complement of a byte, and freed memory with the byte."""
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
"""None if the C library isn't glibc."""


@contextmanager
def zeroed_memory() -> Iterator[None]:
    """Fill all memory that is allocated inside this context with zeros.

    LibRaw doesn't write missing samples. Without this, they would reveal previous contents of memory: other images.
    """
    if _mallopt is None:
        yield
        return
    _mallopt(_M_PERTURB, _ZERO)
    try:
        yield
    finally:
        _mallopt(_M_PERTURB, _OFF)
