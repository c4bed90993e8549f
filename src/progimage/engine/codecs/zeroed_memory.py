"""Memory without traces, for libraries that hand out what they have not written to."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_M_PERTURB, _ZERO, _OFF = -6, 0xFF, 0
"""An option of glibc: memory is filled with the complement of a byte once it is taken, and with it once it is free."""
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
"""None where the C library is not glibc."""


@contextmanager
def zeroed_memory() -> Iterator[None]:
    """Give whatever asks for memory meanwhile nothing but zeros.

    LibRaw does not write to samples that are missing. They would show what was in that memory before: other images.
    """
    if _mallopt is None:
        yield
        return
    _mallopt(_M_PERTURB, _ZERO)
    try:
        yield
    finally:
        _mallopt(_M_PERTURB, _OFF)
