"""Where images are taken from: a folder, or any store that obstore knows. Each lists its files and reads them."""

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
    """The store does not say what it has."""


class Unreadable(Exception):
    """A file can't be taken in; the reason is its text."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a store.

    Attributes:
        name: Its path below the folder, or its key below the prefix, as the store has it.
        size: How many bytes it has.
        changed_at: When it was changed last, in nanoseconds since 1970.
        skipped: Why it is left out, or None.
        failed: Why it can't be read, or None.
        tag: What changes when its bytes do, where the store says that.
    """

    name: bytes
    size: int = 0
    changed_at: int = 0
    skipped: str | None = None
    failed: str | None = None
    tag: str | None = None

    @property
    def shown(self) -> str:
        """Its name as text, with what is not UTF-8 in hexadecimal digits."""
        return shown(self.name)


class Store(Protocol):
    """A store to take images from."""

    def files(self) -> Iterator[File]:
        """List all files, those that are left out among them. It blocks.

        Raises:
            StoreUnavailable: It does not say what it has.
        """
        ...

    def read(self, file: File) -> AsyncIterator[bytes]:
        """Read a file piece by piece.

        Raises:
            Unreadable: It can't be read.
        """
        ...

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Read a text file line by line; None: there is none of this name. It blocks.

        Raises:
            StoreUnavailable: It can't be read.
        """
        ...


class Folder:
    """A folder with all below it. Symbolic links are not followed, and hidden files are left out.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        """Keep the path, which has no symbolic links in it."""
        self._root = root

    def files(self) -> Iterator[File]:
        """List all files. It blocks."""
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
        """Read a file piece by piece."""
        try:
            with await asyncio.to_thread(self._open, file) as opened:
                while chunk := await asyncio.to_thread(opened.read, _CHUNK):
                    yield chunk
        except OSError as error:
            raise Unreadable(f"It can't be read: {error.strerror}.") from error

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Read a text file line by line. It blocks."""
        path = self._root / name
        return _lines(path) if path.is_file() else None

    def _name(self, path: Path) -> bytes:
        return os.fsencode(path.relative_to(self._root))

    def _open(self, file: File) -> BinaryIO:
        path = self._root / os.fsdecode(file.name)
        if not path.parent.resolve().is_relative_to(self._root):
            raise Unreadable("It is not below the folder.")
        # What is called so may have become something else since it was listed.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Unreadable("It is no regular file.")
        return os.fdopen(descriptor, "rb")


class ObjectStore:
    """What is below a prefix of a bucket or container.

    Args:
        url: Of the prefix, such as `s3://bucket/prefix`.
        options: What the store is told beside it, by obstore's names.

    Raises:
        ValueError: The URL is of no known kind.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        """Open it; nothing is asked yet."""
        self._store: Any = open_object_store(url, options, _STORE_SECONDS)

    def files(self) -> Iterator[File]:
        """List all files. It blocks."""
        try:
            for page in obstore.list(self._store):
                for one in page:
                    changed = int(one["last_modified"].timestamp() * 1_000_000) * 1000
                    yield File(one["path"].encode(), one["size"], changed, tag=one["e_tag"])
        except (StoreError, FileNotFoundError) as error:
            raise _unavailable(error) from error

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Read a file piece by piece."""
        try:
            size = file.size
            for start in range(0, size, _PART):
                options: Any = {"range": (start, min(size, start + _PART))}
                if file.tag:
                    options["if_match"] = file.tag  # else it could be the beginning of one file and the end of another
                got = await obstore.get_async(self._store, file.name.decode(), options=options)
                yield bytes(await got.bytes_async())
        except (StoreError, FileNotFoundError) as error:
            raise Unreadable(f"It can't be read: {store_problem(error)}") from error

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Read a text file line by line. It blocks."""
        try:
            return _joined(obstore.get(self._store, name).stream(min_chunk_size=_CHUNK))
        except FileNotFoundError:
            return None
        except StoreError as error:
            raise _unavailable(error) from error


class StoredOriginals:
    """Originals that are in the store of a deployment, and that its database does not know.

    Args:
        blobs: The store.
        names: What they are called.
    """

    def __init__(self, blobs: BlobStore, names: Sequence[str]) -> None:
        """Store the parts."""
        self._blobs, self._names = blobs, names

    def files(self) -> Iterator[File]:
        """List them. It blocks."""
        wanted = set(self._names)
        for entry in self._blobs.entries():
            if entry.name in wanted:
                yield File(entry.name.encode(), entry.bytes)

    async def read(self, file: File) -> AsyncIterator[bytes]:
        """Read one piece by piece; it is refused at its end if its bytes do not have the SHA-256 that is its name."""
        digest = hashlib.sha256()
        try:
            async with aclosing(self._blobs.stream(file.shown, 0, file.size)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    digest.update(chunk)
                    yield chunk
        except (StoreError, BlobMissing, BlobDamaged) as error:
            raise Unreadable(f"It can't be read: {store_problem(error)}") from error
        if digest.hexdigest() != file.shown:
            raise Unreadable("It is damaged: its bytes do not have the SHA-256 that is its name.")

    def lines(self, name: str) -> Iterator[bytes] | None:
        """Return None: there are no text files."""
        return None


def open_store(source: str, options: Mapping[str, str]) -> Store:
    """Open a folder, or the store of a URL.

    Raises:
        ValueError: There is no such folder, or the URL is of no known kind.
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
    """Return a name as text, with what is not UTF-8 in hexadecimal digits."""
    return name.decode(errors="backslashreplace")


def _file(name: bytes, entry: "os.DirEntry[str]") -> File:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError as error:
        return File(name, failed=f"It can't be read: {error.strerror}.")
    if stat.S_ISLNK(found.st_mode):
        return File(name, skipped="a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        return File(name, skipped="no regular file")
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
    return StoreUnavailable(f"The store can't be read: {store_problem(error)}")
