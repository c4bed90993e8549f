"""The files that the engine reads and writes: by their path, or by a descriptor that somebody else has opened.

A worker is handed descriptors, since it may open no file itself. So nothing here, and no codec, opens a file twice.
"""

import errno
import io
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pyvips

AnyFile = str | Path | int
"""A path, or an open descriptor."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a write that finds no room."""
_BUFFER = 64 * 1024


class InputFile:
    """A file that is read. Its bytes are mapped into memory, so that whoever reads some has a position of its own.

    The file must not become shorter meanwhile: the process would be killed (SIGBUS).

    Args:
        file: A path, or a descriptor that is open for reading and stays open until this returns.

    Attributes:
        data: All of its bytes.

    Raises:
        OSError: It can't be read.
    """

    def __init__(self, file: AnyFile) -> None:
        """Map it."""
        descriptor = file if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            self.data = memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) if size else b"")
        finally:
            if not isinstance(file, int):
                os.close(descriptor)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return a file of some bytes in memory."""
        file = cls.__new__(cls)
        file.data = memoryview(data)
        return file

    def reader(self) -> BinaryIO:
        """Return a file object that begins at the first byte."""
        return io.BufferedReader(_Reader(self.data), _BUFFER)

    def source(self) -> pyvips.Source:
        """Return a libvips source. This object has to live as long as what is loaded from it."""
        return pyvips.Source.new_from_memory(self.data)


class _Reader(io.RawIOBase):
    """A file object over some bytes, which are not copied; else as `io.BytesIO`."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._position = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise OSError(22, "Invalid argument")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position


class OutputFile:
    """A file that is written, once or several times; each time anew. Use it as a context manager.

    Args:
        file: A path, of a file that is made or written over, or a descriptor that is open for reading and writing.

    Raises:
        OSError: It can't be written.
    """

    def __init__(self, file: AnyFile) -> None:
        """Open it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self.descriptor = os.dup(file) if isinstance(file, int) else os.open(file, flags, 0o666)

    def __enter__(self) -> Self:
        """Lend it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        os.close(self.descriptor)

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return os.fstat(self.descriptor).st_size

    def file(self) -> BinaryIO:
        """Return a file object that writes it anew, from its first byte on; to be closed."""
        self._empty()
        return os.fdopen(os.dup(self.descriptor), "w+b")

    def target(self) -> pyvips.Target:
        """Return a libvips target that writes it anew, from its first byte on."""
        self._empty()
        return pyvips.Target.new_to_descriptor(self.descriptor)

    def written(self) -> InputFile:
        """Return what was written, to be read."""
        return InputFile(self.descriptor)

    def _empty(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
