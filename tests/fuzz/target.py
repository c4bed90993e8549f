"""What is fuzzed: an upload is surveyed, and if it is taken in, rendered.

Run by `python -m tests.fuzz`, with libFuzzer's arguments. Whatever is raised but the engine's own errors and
MemoryError is a finding, and ends the process.
"""

import mmap
import os
import struct
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "progimage.engine"]):
    from progimage.engine import FORMATS, EngineError, Limits, RenditionSpec, inspect_upload, render

WRITTEN = sorted(format.name for format in FORMATS.values() if format.can_write)
COUNTS = ("tried", "taken", "refused", "rendered")
# Small, so that many can be tried; what is larger is for the bombs of tests/abuse.py.
LIMITS = Limits(1_000_000, 20, 2_000_000)
_FOLDER = Path(os.environ["FUZZ_FOLDER"])
_COUNTERS = mmap.mmap(os.open(_FOLDER / "counts", os.O_RDWR), 8 * len(COUNTS))


def one_input(data: bytes) -> None:
    """Do what a worker does with an upload, and with a request for a rendition of it."""
    _count("tried")
    source, target = _FOLDER / "input", _FOLDER / "output"
    source.write_bytes(data)
    try:
        found = inspect_upload(source, LIMITS, {1024: _FOLDER / "1024", 512: _FOLDER / "512"})
        _count("taken")
        format = WRITTEN[sum(data[-4:]) % len(WRITTEN)]
        query = [("width", "40"), ("rotate", "90")] if len(data) % 2 else []
        render(source, RenditionSpec.parse(format, query, drop_unfit=True), target, LIMITS)
        _count("rendered")
        assert found.info.width > 0 and found.info.height > 0
    except (EngineError, MemoryError):
        _count("refused")


def _count(what: str) -> None:
    at = 8 * COUNTS.index(what)
    _COUNTERS[at : at + 8] = struct.pack("<Q", struct.unpack("<Q", _COUNTERS[at : at + 8])[0] + 1)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
