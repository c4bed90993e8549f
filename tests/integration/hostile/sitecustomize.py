"""A codec that misbehaves on request, for the tests of isolation: everything else in the server is real.

A QOI image whose first pixel is one of the colours below makes its decoder do what a bug in a C library would.
"""

import ctypes
import sys

from PIL import Image, QoiImagePlugin

SEGFAULT, HANG, ALLOCATE, SLEEP = b"\x01\x00\x00", b"\x02\x00\x00", b"\x03\x00\x00", b"\x04\x00\x00"


class HostileDecoder(QoiImagePlugin.QoiDecoder):
    """Pillow's decoder, but for four colours."""

    def decode(self, buffer: bytes | bytearray | memoryview | Image.SupportsArrayInterface) -> tuple[int, int]:
        """Misbehave, or decode."""
        assert self.fd
        self.fd.seek(15)  # after the header and the tag of the first pixel
        colour = self.fd.read(3)
        self.fd.seek(14)
        if colour == SEGFAULT:
            ctypes.string_at(0)
        while colour == HANG:
            pass
        kept = []
        while colour == ALLOCATE:
            kept.append(bytearray(16 * 1024 * 1024))
        if colour == SLEEP:
            import time

            time.sleep(1)
        return super().decode(buffer)


if "progimage" not in sys.modules:
    Image.register_decoder("qoi", HostileDecoder)
