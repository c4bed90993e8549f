"""Blob store: the bytes of originals, named by their SHA-256, and of their rungs, named after the original.

obstore has one interface for memory, local disk and cloud stores (S3, GCS, Azure and compatible ones). Its local store
doesn't fsync, and would copy a file that is already on the same disk, so `LocalBlobStore` moves files itself.

Requests to a cloud store are retried with random, growing pauses until their time is up; then they fail with a
`StoreError`.
"""

import asyncio
import hashlib
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PermissionDeniedError, UnauthenticatedError
from obstore.exceptions import BaseError as StoreError
from obstore.store import AzureStore, GCSStore, S3Store

from progimage.single_flight import SingleFlight
from progimage.storage.blobs.wrong_store import WrongStore
from progimage.storage.cache.disk import DiskCache
from progimage.storage.scratch import ScratchFolder
from progimage.tracing import span

_CHUNK = 1024 * 1024
_PART = 8 * 1024 * 1024
"""Larger files are sent in several parts, and read in several requests, of this many bytes."""
_PARTS_AT_ONCE = 4
_FIRST_WAIT = 0.05
_RESUMED = 3
"""How often a broken read is resumed in a row without receiving another byte."""
MARKER = "deployment"
"""Object with the ID of the deployment that a store belongs to."""
_BLOB = re.compile(r"(?:[0-9a-f]{2}/)+([0-9a-f]{64}(?:-\d+)?)")
NOT_THIS = "The store of originals doesn't belong to this deployment. Check that its volume is mounted."
ORIGINALS = "original"
"""Stands for the owner in the cache of originals, which have none."""


class BlobMissing(Exception):
    """The store has no such blob."""


class BlobDamaged(Exception):
    """The bytes of a blob differ from those written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob in a listing of the store.

    Attributes:
        name: Name of the blob.
        bytes: Its size.
        changed_at: When it was written, by the store's clock, as a Unix timestamp.
    """

    name: str
    bytes: int
    changed_at: float


class Store(Protocol):
    """Interface of a blob store that a plugin adds, see docs/adding-a-blob-store.md.

    `AddedBlobStore` makes a `BlobStore` of it. All methods block, and are called from several threads and processes at
    once. Any exception other than FileNotFoundError means that the store is unavailable.
    """

    def put(self, name: str, source: Path, media_type: str | None) -> None:
        """Store a file as a blob, durably and atomically. Replaces an existing blob of this name.

        Args:
            name: Name of the blob.
            source: File with the bytes.
            media_type: Media type of the blob, if known.
        """

    def read(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to, but not including, `end`; fewer if the blob ends before.

        Raises:
            FileNotFoundError: The blob doesn't exist.
        """

    def size(self, name: str) -> int:
        """Return the size of a blob, in bytes.

        Raises:
            FileNotFoundError: The blob doesn't exist.
        """

    def delete(self, name: str) -> None:
        """Delete a blob if it exists."""

    def entries(self) -> Iterable[Entry]:
        """Return all blobs in any order. Objects with other names than blobs are ignored."""


class BlobStore:
    """Blobs in any store that obstore supports.

    Args:
        store: The obstore store.
        copies: Local cache of blobs, or None. Requires `scratch`.
        scratch: For copies that aren't complete yet.
        seconds: How long writes are retried.
    """

    def __init__(
        self,
        store: "obstore.store.ObjectStore",
        copies: DiskCache | None = None,
        scratch: ScratchFolder | None = None,
        seconds: float = 10,
    ) -> None:
        self._store, self._seconds = store, seconds
        self.copies, self._scratch = copies, scratch
        self._fetching: SingleFlight[Path] = SingleFlight()
        self._deployment: str | None = None
        self._is_wrong = False

    def pin(self, deployment: str) -> None:
        """From now on, write, delete and report missing blobs only if the store has the marker of this deployment."""
        self._deployment = deployment

    def marker(self) -> str | None:
        """Return the ID of the deployment that the store belongs to, or None. Blocks."""
        try:
            return bytes(obstore.get(self._store, MARKER).bytes()).decode()
        except FileNotFoundError:
            return None

    def mark(self, deployment: str, *, anew: bool = False) -> str:
        """Write the marker unless there is one, and return the current marker. With `anew`, replace it. Blocks."""
        try:
            obstore.put(self._store, MARKER, deployment.encode(), mode="overwrite" if anew else "create")
        except AlreadyExistsError:
            pass
        except (NotSupportedError, NotImplementedError):
            if self.marker() is None:
                obstore.put(self._store, MARKER, deployment.encode())
        return self.marker() or ""

    def has(self, name: str) -> bool:
        """Return whether the store has a blob. Blocks."""
        for key in self._keys(name):
            with suppress(FileNotFoundError):
                obstore.head(self._store, key)
                return True
        return False

    def has_blobs(self) -> bool:
        """Return whether the store has any blobs. Blocks."""
        return any(True for _ in self.entries())

    def entries(self) -> Iterator[Entry]:
        """Yield all blobs in any order; one may come twice. Blocks."""
        for page in obstore.list(self._store):
            for one in page:
                blob = _BLOB.fullmatch(one["path"])
                if blob:
                    yield Entry(blob[1], one["size"], one["last_modified"].timestamp())

    def confirm(self) -> None:
        """Check that the store belongs to this deployment. Blocks.

        Raises:
            WrongStore: It doesn't.
            StoreError: The store is unavailable.
        """
        if self._deployment is None:
            return
        self._is_wrong = self.marker() != self._deployment
        self._refuse_if_wrong()

    def _refuse_if_wrong(self) -> None:
        if self._is_wrong:
            raise WrongStore(NOT_THIS)

    async def _missing(self, name: str) -> BlobMissing:
        """Return the exception for a missing blob, after checking that the store itself is the right one."""
        await asyncio.to_thread(self.confirm)
        return BlobMissing(name)

    async def put(self, name: str, source: Path, media_type: str | None = None, *, anew: bool = False) -> None:
        """Store a file as a blob, durably; `source` is kept.

        A blob that already exists with this name and size isn't written again, except with `anew`. The blob appears
        only when it is complete; if this fails, there is none.

        Args:
            name: Name of the blob.
            source: A file in the scratch folder.
            media_type: Media type that the store sends with it.
            anew: Write it even if it exists.

        Raises:
            StoreError: The store is unavailable.
        """
        self._refuse_if_wrong()
        size = source.stat().st_size
        attributes: Any = {"Content-Type": media_type} if media_type else None
        with span("store.put", bytes=size):
            await self._persist(lambda: self._put_blob(name, source, size, attributes, anew))
        if self.copies:
            await asyncio.to_thread(self._keep_copy, name, source)

    async def stream(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the bytes from `start` to `end` (exclusive). If a connection is lost, reading resumes where it stopped.

        Raises:
            BlobMissing: There is no such blob.
            BlobDamaged: The blob is too short.
            StoreError: The store is unavailable.
        """
        began, failures = start, 0
        while start < end:
            stop = min(end, start + _PART)
            try:
                got = await self._first(obstore.get_async, name, options={"range": (start, stop)})
                async for chunk in got.stream(min_chunk_size=_CHUNK):
                    start, failures = start + len(chunk), 0
                    yield bytes(chunk)
            except FileNotFoundError:
                raise await self._missing(name) from None
            except StoreError as error:
                if "range" in str(error).lower() and start >= await self.size(name):
                    raise BlobDamaged(name) from error
                failures += 1
                if failures > _RESUMED or start == began:  # before the first byte, obstore itself retries
                    raise
            else:
                if start < stop:
                    raise BlobDamaged(name)

    async def fetch(self, name: str, target: Path, size: int) -> None:
        """Get a blob of a known size as a local file, which must not be modified. An original is verified.

        Raises:
            BlobMissing: There is no such blob.
            BlobDamaged: Its bytes differ from those written.
            StoreError: The store is unavailable.
        """
        if self.copies is None:
            await self._download(name, target, size)
            return
        while True:
            copy = self.copy(name)
            if copy is None:
                copy = await self._fetching.once(name, lambda: self._bring(name, size))
            with suppress(FileNotFoundError):  # just evicted
                target.hardlink_to(copy)
                return

    async def size(self, name: str) -> int:
        """Return the size of a blob in bytes.

        Raises:
            BlobMissing: There is no such blob.
        """
        try:
            return int((await self._first(obstore.head_async, name))["size"])
        except FileNotFoundError:
            raise await self._missing(name) from None

    def delete(self, name: str) -> None:
        """Remove a blob if it exists. Blocks."""
        self.confirm()
        if self.copies:
            self.copies.remove(_original(name))
        for key in self._keys(name):
            with suppress(FileNotFoundError):
                obstore.delete(self._store, key)

    def local_path(self, name: str) -> Path | None:
        """Return the file of a blob, if the store has files that a web server can send."""
        return None

    def local_key(self, name: str) -> str | None:
        """Return the path of a blob's file relative to the store's folder, if the store has files."""
        return None

    def copy(self, name: str) -> Path | None:
        """Return this node's cached copy of a blob, if it has one. Originals were verified when they were cached."""
        return self.copies.get(_original(name), ORIGINALS, name) if self.copies else None

    async def signed_url(self, name: str, seconds: int) -> str | None:
        """Return a signed URL of the blob in a cloud store, or None for other stores.

        Args:
            name: Name of the blob.
            seconds: Lifetime of the URL.
        """
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        return await obstore.sign_async(self._store, "GET", blob_key(name), timedelta(seconds=seconds))

    async def check(self) -> None:
        """Raise an exception unless the store is available and belongs to this deployment."""
        await asyncio.to_thread(self.confirm)
        with suppress(FileNotFoundError):  # the store answered that there is no such blob
            await obstore.head_async(self._store, blob_key("0" * 64))

    def _keys(self, name: str) -> tuple[str, ...]:
        """Return the possible keys of a blob, in the order in which they are tried."""
        return (blob_key(name),)

    async def _first(self, ask: Callable[..., Awaitable[Any]], name: str, **options: Any) -> Any:
        """Call a function of obstore with the first key of a blob that exists.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        *others, last = self._keys(name)
        for key in others:
            with suppress(FileNotFoundError):
                return await ask(self._store, key, **options)
        return await ask(self._store, last, **options)

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run an idempotent write, with retries.

        obstore itself doesn't retry writes, since it can't know that they are idempotent. Here they are: equal names
        mean equal bytes.
        """
        end, wait = time.monotonic() + self._seconds, _FIRST_WAIT
        while True:
            try:
                return await work()
            except (PermissionDeniedError, UnauthenticatedError):
                raise
            except StoreError:
                wait *= 2
                pause = random.uniform(0, wait)  # noqa: S311  (so that not all retry at once)
                if time.monotonic() + pause > end:
                    raise
                await asyncio.sleep(pause)

    async def _put_blob(self, name: str, source: Path, size: int, attributes: Any, anew: bool) -> None:
        if anew or not await self._put_if_absent(name, source, size, attributes):
            await obstore.put_async(
                self._store, blob_key(name), source, attributes=attributes, use_multipart=size > _PART,
                chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE,
            )  # fmt: skip

    async def _put_if_absent(self, name: str, source: Path, size: int, attributes: Any) -> bool:
        """Store a file unless the blob exists, and return whether it does now.

        An existing rung has another size if another version of the engine made it.
        """
        if size > _PART:  # conditional writes need a single-part upload
            return await self._has(name, size)
        try:
            await obstore.put_async(
                self._store, blob_key(name), source, attributes=attributes, mode="create", use_multipart=False
            )
        except AlreadyExistsError:
            return await self._has(name, size)
        except (NotSupportedError, NotImplementedError):
            return False
        return True

    async def _has(self, name: str, size: int) -> bool:
        try:
            return await self.size(name) == size
        except BlobMissing:
            return False

    async def _bring(self, name: str, size: int) -> Path:
        assert self._scratch is not None and self.copies is not None
        with self._scratch.file(self._scratch.outgoing) as file:
            await self._download(name, file, size)
            return await asyncio.to_thread(self.copies.add, _original(name), ORIGINALS, name, file)

    async def _download(self, name: str, target: Path, size: int) -> None:
        with span("store.get", bytes=size):
            sha256 = await write_hashed(self.stream(name, 0, size), target)
        if name == _original(name) and sha256 != name:
            raise BlobDamaged(name)

    def _keep_copy(self, name: str, source: Path) -> None:
        """Cache a blob that was just stored, since it is usually rendered soon."""
        assert self._scratch is not None and self.copies is not None
        with self._scratch.file(self._scratch.outgoing) as link:
            link.hardlink_to(source)
            self.copies.add(_original(name), ORIGINALS, name, link)


def store_problem(error: Exception) -> str:
    """Return the message of an obstore error in one line, without its debug output."""
    return " ".join(str(error).partition("\n\nDebug source")[0].split())[:500]


def blob_key(name: str) -> str:
    """Return the key of a blob in a cloud store, which earlier versions also used in folders."""
    return f"{name[:2]}/{name}"


def _original(name: str) -> str:
    """Return the SHA-256 of the original that a blob or rung belongs to."""
    return name.partition("-")[0]


async def write_hashed(chunks: AsyncIterator[bytes], file: Path) -> str:
    """Write chunks to a file, and return their SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("wb") as opened:
        async with aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                await asyncio.to_thread(_append, opened, digest, chunk)
    return digest.hexdigest()


def _append(file: Any, digest: Any, chunk: bytes) -> None:
    file.write(chunk)
    digest.update(chunk)
