"""Sources of images: a folder, or any store that obstore supports. Each lists its files and reads them."""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError as StoreError

from progimage.storage import BlobDamaged, BlobMissing, BlobStore, open_object_store, store_problem

_CHUNK = 1024 * 1024
_PART = 8 * 1024 * 1024
_STORE_SECONDS = 60


class StoreUnavailable(Exception):
    """The store can't be listed or read."""


class Unreadable(Exception):
    """A file can't be imported; the message is the reason."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a store.

    Attributes:
        name: Path below the folder, or key below the prefix.
        size: Size in bytes.
        changed_at: Time of the last change, as a Unix timestamp in nanoseconds.
        skipped: Why it is skipped, or None.
        failed: Why it can't be read, or None.
        tag: Entity tag, if the store has one; changes with the bytes.
    """

    name: bytes
    size: int = 0
    changed_at: int = 0
    skipped: str | None = None
    failed: str | None = None
    tag: str | None = None

    @property
    def shown(self) -> str:
        """Name as text, with bytes that aren't UTF-8 in hexadecimal digits."""
        return shown(self.name)


class Store(Protocol):
    """A store to import images from."""

    def files(self) -> Iterator[File]:
        """Yield all files, including skipped ones. Blocks.

        Raises:
            StoreUnavailable: The store can't be listed.
        """
        ...

    def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield the bytes of a file in chunks.

        Raises:
            Unreadable: The file can't be read.
        """
        ...

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Return the lines of a text file, or None if there is no such file. Blocks.

        Raises:
            StoreUnavailable: The file can't be read.
        """
        ...


class Folder:
    """A folder with all its subfolders. Symbolic links aren't followed, and hidden files are skipped.

    Args:
        root: The folder; its path must not contain symbolic links.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def files(self) -> Iterator[File]:
        """Yield all files, including skipped ones. Blocks."""
        folders = [self._root]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        path = Path(entry.path)
                        if entry.name.startswith("."):
                            yield File(self._name(path), skipped="hidden")
                        elif entry.is_dir(follow_symlinks=False):
                            folders.append(path)
                        else:
                            yield _file(self._name(path), entry)
            except OSError as error:
                yield File(self._name(folder), failed=f"The folder can't be read: {error.strerror}.")

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield the bytes of a file in chunks."""
        try:
            with await asyncio.to_thread(self._open, file) as opened:
                while chunk := await asyncio.to_thread(opened.read, _CHUNK):
                    yield chunk
        except OSError as error:
            raise Unreadable(f"The file can't be read: {error.strerror}.") from error

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Return the lines of a text file, or None if there is no such file. Blocks."""
        path = self._root / name
        return _lines(path) if path.is_file() else None

    def _name(self, path: Path) -> bytes:
        return os.fsencode(path.relative_to(self._root))

    def _open(self, file: File) -> BinaryIO:
        path = self._root / os.fsdecode(file.name)
        if not path.parent.resolve().is_relative_to(self._root):
            raise Unreadable("The file is outside the folder.")
        # The path may have been replaced since it was listed.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Unreadable("Not a regular file.")
        return os.fdopen(descriptor, "rb")


class ObjectStore:
    """Objects below a prefix in a bucket or container.

    Args:
        url: URL of the prefix, such as `s3://bucket/prefix`.
        options: Options of the store, with obstore's names.

    Raises:
        ValueError: The URL or an option is invalid.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self._store: Any = open_object_store(url, options, _STORE_SECONDS)

    def files(self) -> Iterator[File]:
        """Yield all files. Blocks."""
        try:
            for page in obstore.list(self._store):
                for one in page:
                    changed = int(one["last_modified"].timestamp() * 1_000_000) * 1000
                    yield File(one["path"].encode(), one["size"], changed, tag=one["e_tag"])
        except (StoreError, FileNotFoundError) as error:
            raise _unavailable(error) from error

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield the bytes of a file in chunks."""
        try:
            size = file.size
            for start in range(0, size, _PART):
                options: Any = {"range": (start, min(size, start + _PART))}
                if file.tag:
                    options["if_match"] = file.tag  # so that all parts are of the same version of the file
                got = await obstore.get_async(self._store, file.name.decode(), options=options)
                yield bytes(await got.bytes_async())
        except (StoreError, FileNotFoundError) as error:
            raise Unreadable(f"The file can't be read: {store_problem(error)}") from error

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Return the lines of a text file, or None if there is no such file. Blocks."""
        try:
            return _joined(obstore.get(self._store, name).stream(min_chunk_size=_CHUNK))
        except FileNotFoundError:
            return None
        except StoreError as error:
            raise _unavailable(error) from error


class StoredOriginals:
    """Originals in the store of a deployment without a row in its database.

    Args:
        blobs: The store.
        names: Names of the originals.
    """

    def __init__(self, blobs: BlobStore, names: Sequence[str]) -> None:
        self._blobs, self._names = blobs, names

    def files(self) -> Iterator[File]:
        """Yield the originals. Blocks."""
        wanted = set(self._names)
        for entry in self._blobs.entries():
            if entry.name in wanted:
                yield File(entry.name.encode(), entry.bytes)

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Yield the bytes of an original in chunks. At the end, its SHA-256 must match its name."""
        digest = hashlib.sha256()
        try:
            async with aclosing(self._blobs.stream(file.shown, 0, file.size)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    digest.update(chunk)
                    yield chunk
        except (StoreError, BlobMissing, BlobDamaged) as error:
            raise Unreadable(f"The original can't be read: {store_problem(error)}") from error
        if digest.hexdigest() != file.shown:
            raise Unreadable("The original is damaged: its SHA-256 doesn't match its name.")

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Return None: there are no text files."""
        return None


def open_store(source: str, options: Mapping[str, str]) -> Store:
    """Open a folder, or the store of a URL.

    Raises:
        ValueError: There is no such folder, or the URL is invalid.
    """
    parts = urlsplit(source)
    if "://" in source and parts.scheme != "file":
        try:
            return ObjectStore(source, options)
        except ValueError as error:
            raise ValueError(f"{source}: {store_problem(error)}. Allowed: a folder, s3://…, gs://…, az://….") from error
    folder = Path(unquote(parts.path) if parts.scheme == "file" else source)
    if not folder.is_dir():
        raise ValueError(f"{source} is not a folder.")
    return Folder(folder.resolve())


def shown(name: bytes) -> str:
    """Return a name as text, with bytes that aren't UTF-8 in hexadecimal digits."""
    return name.decode(errors="backslashreplace")


def _file(name: bytes, entry: "os.DirEntry[str]") -> File:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError as error:
        return File(name, failed=f"The file can't be read: {error.strerror}.")
    if stat.S_ISLNK(found.st_mode):
        return File(name, skipped="symbolic link")
    if not stat.S_ISREG(found.st_mode):
        return File(name, skipped="not a regular file")
    return File(name, found.st_size, found.st_mtime_ns)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _joined(chunks: Any) -> Iterator[bytes]:
    rest = b""
    try:
        for chunk in chunks:
            *lines, rest = (rest + bytes(chunk)).split(b"\n")
            yield from lines
    except StoreError as error:
        raise _unavailable(error) from error
    if rest:
        yield rest


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"The store is unavailable: {store_problem(error)}")
