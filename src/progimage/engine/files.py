"""The files that the engine reads and writes, given by path or by an open descriptor.

Workers receive descriptors, because they aren't allowed to open files. Neither this module nor any codec opens a file
twice.
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
"""Error numbers of writes that fail for lack of space."""
_BUFFER = 64 * 1024


class InputFile:
    """A file to read. It is mapped into memory, so that each reader has its own position.

    The file must not be truncated while it is used: the process would be killed (SIGBUS).

    Args:
        file: A path, or a descriptor that is open for reading. It can be closed once the constructor has returned.

    Attributes:
        data: The contents of the file.

    Raises:
        OSError: The file can't be read.
    """

    def __init__(self, file: AnyFile) -> None:
        descriptor = file if isinstance(file, int) else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            self.data = memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) if size else b"")
        finally:
            if not isinstance(file, int):
                os.close(descriptor)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return an `InputFile` for bytes in memory."""
        file = cls.__new__(cls)
        file.data = memoryview(data)
        return file

    def reader(self) -> BinaryIO:
        """Return a new file object, positioned at the first byte."""
        return io.BufferedReader(_Reader(self.data), _BUFFER)

    def source(self) -> pyvips.Source:
        """Return a libvips source. This object has to outlive everything that is loaded from the source."""
        return pyvips.Source.new_from_memory(self.data)


class _Reader(io.RawIOBase):
    """A file object like `io.BytesIO` that doesn't copy its bytes."""

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
    """A file to write, once or several times, from the start each time. Use it as a context manager.

    Args:
        file: A path, where a file is created or overwritten, or a descriptor that is open for reading and writing.

    Raises:
        OSError: The file can't be written.
    """

    def __init__(self, file: AnyFile) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self.descriptor = os.dup(file) if isinstance(file, int) else os.open(file, flags, 0o666)

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return os.fstat(self.descriptor).st_size

    def file(self) -> BinaryIO:
        """Empty the file and return a file object that writes it. The caller has to close the file object."""
        self._empty()
        return os.fdopen(os.dup(self.descriptor), "w+b")

    def target(self) -> pyvips.Target:
        """Empty the file and return a libvips target that writes it."""
        self._empty()
        return pyvips.Target.new_to_descriptor(self.descriptor)

    def written(self) -> InputFile:
        """Return an `InputFile` that reads what was written."""
        return InputFile(self.descriptor)

    def _empty(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
