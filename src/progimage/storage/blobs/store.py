"""The store of blobs: an original's bytes, named by their SHA-256, and its smaller copies, named after it.

obstore gives one interface over memory, local disk and the cloud stores (S3, GCS, Azure and what speaks like them). Its
local store does not fsync, and would copy a file that is already on the same disk, so `LocalBlobStore` moves files in
itself.

Requests to a cloud store are tried again, with random waits that grow, as long as a budget of time lasts; then they
fail with a `StoreError`.
"""

import asyncio
import hashlib
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PermissionDeniedError, UnauthenticatedError
from obstore.exceptions import BaseError as StoreError
from obstore.store import AzureStore, GCSStore, S3Store

from progimage.single_flight import SingleFlight
from progimage.storage.blobs.wrong_store import WrongStore
from progimage.storage.cache.disk import DiskCache
from progimage.storage.scratch import Spool
from progimage.tracing import span

_CHUNK = 1024 * 1024
_PART = 8 * 1024 * 1024
"""A larger file is sent in several parts, and read in several requests, of so many bytes."""
_PARTS_AT_ONCE = 4
_FIRST_WAIT = 0.05
_RESUMED = 3
"""How often reading is taken up again where a connection broke, before another byte came."""
MARKER = "deployment"
"""The object that says which deployment a store belongs to."""
_BLOB = re.compile(r"(?:[0-9a-f]{2}/)+([0-9a-f]{64}(?:-\d+)?)")
NOT_THIS = "The store of originals is not the one of this deployment; is its volume mounted?"
ORIGINALS = "original"
"""Whose files are called in the cache of originals: they have no owner."""


class BlobMissing(Exception):
    """The store has no such blob."""


class BlobDamaged(Exception):
    """The store has other bytes under this name than were put there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob as the store lists it.

    Attributes:
        name: What it is called.
        bytes: How many it has.
        changed_at: When it was put there, by the store's clock, as a Unix time in seconds.
    """

    name: str
    bytes: int
    changed_at: float


class BlobStore:
    """Blobs in any store that obstore knows.

    Args:
        store: The obstore store.
        copies: Keeps copies of what was read on the local disk, with `spool`, or None.
        spool: Where a copy is written until it is whole.
        seconds: For how long writing is tried again.
    """

    def __init__(
        self,
        store: "obstore.store.ObjectStore",
        copies: DiskCache | None = None,
        spool: Spool | None = None,
        seconds: float = 10,
    ) -> None:
        """Store the parts."""
        self._store, self._seconds = store, seconds
        self.copies, self._spool = copies, spool
        self._fetching: SingleFlight[Path] = SingleFlight()
        self._deployment: str | None = None
        self._is_wrong = False

    def pin(self, deployment: str) -> None:
        """From now on, refuse to write, to delete, and to call a blob missing, unless the store has this marker."""
        self._deployment = deployment

    def marker(self) -> str | None:
        """Return the id of the deployment that the store belongs to, or None. It blocks."""
        try:
            return bytes(obstore.get(self._store, MARKER).bytes()).decode()
        except FileNotFoundError:
            return None

    def mark(self, deployment: str, *, anew: bool = False) -> str:
        """Give the store a marker unless it has one, or anew, and return the one that it has then. It blocks."""
        try:
            obstore.put(self._store, MARKER, deployment.encode(), mode="overwrite" if anew else "create")
        except AlreadyExistsError:
            pass
        except (NotSupportedError, NotImplementedError):
            if self.marker() is None:
                obstore.put(self._store, MARKER, deployment.encode())
        return self.marker() or ""

    def has(self, name: str) -> bool:
        """Return whether there is such a blob. It blocks."""
        for key in self._keys(name):
            with suppress(FileNotFoundError):
                obstore.head(self._store, key)
                return True
        return False

    def has_blobs(self) -> bool:
        """Return whether there is any blob. It blocks."""
        return any(True for _ in self.entries())

    def entries(self) -> Iterator[Entry]:
        """Return all blobs, in no order; one may come twice. It blocks."""
        for page in obstore.list(self._store):
            for one in page:
                blob = _BLOB.fullmatch(one["path"])
                if blob:
                    yield Entry(blob[1], one["size"], one["last_modified"].timestamp())

    def confirm(self) -> None:
        """Look whether the store is the one of this deployment. It blocks.

        Raises:
            WrongStore: It is not.
            StoreError: The store can't be read now.
        """
        if self._deployment is None:
            return
        self._is_wrong = self.marker() != self._deployment
        self._refuse_if_wrong()

    def _refuse_if_wrong(self) -> None:
        if self._is_wrong:
            raise WrongStore(NOT_THIS)

    async def _missing(self, name: str) -> BlobMissing:
        """Return what to raise of a blob that is not there, unless it is the store that is not there."""
        await asyncio.to_thread(self.confirm)
        return BlobMissing(name)

    async def put(self, name: str, source: Path, media_type: str | None = None, *, anew: bool = False) -> None:
        """Store a file as a blob, durably; `source` stays as it is.

        Unless it is to be put anew, a blob of this name and size is left as it is. One that is whole appears at once;
        until then, and if this fails, there is none.

        Args:
            name: What it is called.
            source: A file in the spool.
            media_type: What the store says of it to those who read it there.
            anew: Write it, even if it is there.

        Raises:
            StoreError: The store can't take it now.
        """
        self._refuse_if_wrong()
        size = source.stat().st_size
        attributes: Any = {"Content-Type": media_type} if media_type else None
        with span("store.put", bytes=size):
            await self._persist(lambda: self._put_blob(name, source, size, attributes, anew))
        if self.copies:
            await asyncio.to_thread(self._keep_copy, name, source)

    async def stream(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the bytes from `start` up to, and without, `end`; where a connection breaks, it is taken up again.

        Raises:
            BlobMissing: There is no such blob.
            BlobDamaged: It ends before.
            StoreError: The store can't be read now.
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
                if failures > _RESUMED or start == began:  # before the first byte, obstore has tried again
                    raise
            else:
                if start < stop:
                    raise BlobDamaged(name)

    async def fetch(self, name: str, target: Path, size: int) -> None:
        """Bring a blob of so many bytes to a local file that is only read; an original is held against its hash.

        Raises:
            BlobMissing: There is no such blob.
            BlobDamaged: It is not what was put there.
            StoreError: The store can't be read now.
        """
        if self.copies is None:
            await self._download(name, target, size)
            return
        while True:
            copy = self.copy(name)
            if copy is None:
                copy = await self._fetching.once(name, lambda: self._bring(name, size))
            with suppress(FileNotFoundError):  # it was thrown out of the cache just now
                target.hardlink_to(copy)
                return

    async def size(self, name: str) -> int:
        """Return how many bytes a blob has.

        Raises:
            BlobMissing: There is no such blob.
        """
        try:
            return int((await self._first(obstore.head_async, name))["size"])
        except FileNotFoundError:
            raise await self._missing(name) from None

    def delete(self, name: str) -> None:
        """Remove a blob; it does not matter whether it is there. It blocks."""
        self.confirm()
        if self.copies:
            self.copies.remove(_original(name))
        for key in self._keys(name):
            with suppress(FileNotFoundError):
                obstore.delete(self._store, key)

    def local_path(self, name: str) -> Path | None:
        """Return the blob's file, if this store has files that a web server can send."""
        return None

    def local_key(self, name: str) -> str | None:
        """Return the path of the blob's file in the folder of this store, if it has files."""
        return None

    def copy(self, name: str) -> Path | None:
        """Return this node's copy of a blob, if it has one; that of an original was held against its hash."""
        return self.copies.get(_original(name), ORIGINALS, name) if self.copies else None

    async def signed_url(self, name: str, seconds: int) -> str | None:
        """Return a URL at which the store itself answers the blob for so long, if it has such."""
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        return await obstore.sign_async(self._store, "GET", blob_key(name), timedelta(seconds=seconds))

    async def check(self) -> None:
        """Raise an exception unless the store answers, and is the one of this deployment."""
        await asyncio.to_thread(self.confirm)
        with suppress(FileNotFoundError):  # there is no such blob, and the store said so
            await obstore.head_async(self._store, blob_key("0" * 64))

    def _keys(self, name: str) -> tuple[str, ...]:
        """Return where a blob may be, in the order in which it is looked for."""
        return (blob_key(name),)

    async def _first(self, ask: Callable[..., Awaitable[Any]], name: str, **options: Any) -> Any:
        """Ask the store for a blob, wherever it is.

        Raises:
            FileNotFoundError: There is no such blob.
        """
        *others, last = self._keys(name)
        for key in others:
            with suppress(FileNotFoundError):
                return await ask(self._store, key, **options)
        return await ask(self._store, last, **options)

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what does no harm if it is done twice, again if need be.

        obstore itself tries nothing again that writes, since it can't know that: here, equal names are equal bytes.
        """
        end, wait = time.monotonic() + self._seconds, _FIRST_WAIT
        while True:
            try:
                return await work()
            except (PermissionDeniedError, UnauthenticatedError):
                raise
            except StoreError:
                wait *= 2
                pause = random.uniform(0, wait)  # noqa: S311  (so that not all come back at once)
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
        """Store a file unless its bytes are there, and tell whether they are now.

        What is there has another size if it was put there by another version of the engine, which made another copy.
        """
        if size > _PART:  # a store takes conditions only with a file that comes in one piece
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
        assert self._spool is not None and self.copies is not None
        with self._spool.file(self._spool.outgoing) as file:
            await self._download(name, file, size)
            return await asyncio.to_thread(self.copies.add, _original(name), ORIGINALS, name, file)

    async def _download(self, name: str, target: Path, size: int) -> None:
        with span("store.get", bytes=size):
            sha256 = await write_hashed(self.stream(name, 0, size), target)
        if name == _original(name) and sha256 != name:
            raise BlobDamaged(name)

    def _keep_copy(self, name: str, source: Path) -> None:
        """Keep what was just put, since it is mostly rendered soon."""
        assert self._spool is not None and self.copies is not None
        with self._spool.file(self._spool.outgoing) as link:
            link.hardlink_to(source)
            self.copies.add(_original(name), ORIGINALS, name, link)


def store_problem(error: Exception) -> str:
    """Return what obstore says in a line, without its appendix for developers."""
    return " ".join(str(error).partition("\n\nDebug source")[0].split())[:500]


def blob_key(name: str) -> str:
    """Return where a blob is in a cloud store, and where it was in a folder in earlier versions."""
    return f"{name[:2]}/{name}"


def _original(name: str) -> str:
    """Return the SHA-256 of the original that a blob is, or is a smaller copy of."""
    return name.partition("-")[0]


async def write_hashed(chunks: AsyncIterator[bytes], file: Path) -> str:
    """Write chunks to a file, and return their SHA-256, in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("wb") as opened:
        async with aclosing(chunks):  # type: ignore[type-var]
            async for chunk in chunks:
                await asyncio.to_thread(_append, opened, digest, chunk)
    return digest.hexdigest()


def _append(file: Any, digest: Any, chunk: bytes) -> None:
    file.write(chunk)
    digest.update(chunk)
