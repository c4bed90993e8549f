"""Verified reads of originals and their rungs.

Bytes are verified against the hashes taken at the upload. A damaged original is marked, and restored from the second
store if possible. Otherwise reads raise `BlobDamaged` until it is restored or uploaded again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog

from progimage.auth import Caller
from progimage.auth.caller import OPERATOR
from progimage.engine import Rung
from progimage.single_flight import SingleFlight
from progimage.storage.blobs.chunk_hashes import CHUNK, ChunkHasher, Digests, WrongBytes, checked_bytes
from progimage.storage.blobs.store import BlobDamaged, BlobMissing, BlobStore
from progimage.storage.blobs.verification import Verification
from progimage.storage.cache.invalidation import Changes
from progimage.storage.database.audit import AuditLog, Event
from progimage.storage.database.blobs import Blob, Inventory
from progimage.storage.scratch import ScratchFolder

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of checking a blob.

    Attributes:
        sha256: SHA-256 of the original.
        bytes: Size of the original.
        state: `whole`; `restored` from the second store; `damaged` or `missing`, and not restored; `ladder-dropped`: a
            rung was missing or damaged, and renditions are made from the original from now on.
    """

    sha256: str
    bytes: int
    state: str

    @property
    def is_lost(self) -> bool:
        """Whether the bytes of the original are lost."""
        return self.state in ("damaged", "missing")


class Originals:
    """Reads originals and their rungs.

    Args:
        blobs: The store.
        second: Second store, with copies of the originals, or None.
        inventory: Their hashes, and which ones are damaged.
        audit: Audit log for the results of checks.
        changes: Notifies the processes of this node.
        scratch: For files being restored.
        verification: Verifies hashes.
    """

    def __init__(
        self,
        blobs: BlobStore,
        second: BlobStore | None,
        inventory: Inventory,
        audit: AuditLog,
        changes: Changes,
        scratch: ScratchFolder,
        verification: Verification,
    ) -> None:
        self.blobs = blobs
        self._second, self._inventory, self._audit = second, inventory, audit
        self._changes, self._scratch = changes, scratch
        self._verification = verification
        self._looking: SingleFlight[CheckResult] = SingleFlight()

    def require_whole(self, blob: Blob) -> None:
        """Raise an exception if an original is marked as damaged.

        Raises:
            BlobDamaged: It is marked as damaged.
        """
        if blob.damaged:
            raise BlobDamaged(blob.sha256)

    async def stream(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the bytes of an original from `start` to `end` (exclusive). Each chunk is verified before it is yielded.

        Raises:
            BlobDamaged: The original is damaged or missing, and can't be restored.
            StoreError: The store is unavailable.
        """
        self.require_whole(blob)
        is_known = blob.chunks or blob.bytes <= CHUNK or (start, end) == (0, blob.bytes)
        # Originals of earlier versions have no chunk hashes: the whole is verified once.
        must_examine = not is_known and self._verification.is_on and self.blobs.local_path(blob.sha256)
        if must_examine and not await self.examine(blob):
            raise BlobDamaged(blob.sha256)
        position = start
        for may_examine in (True, False):
            try:
                async with aclosing(self._checked(blob, position, end)) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        position += len(chunk)
                        yield chunk
                return
            except (BlobMissing, BlobDamaged, WrongBytes) as error:
                if not (may_examine and await self.examine(blob)):
                    raise BlobDamaged(blob.sha256) from error

    async def fetch(self, blob: Blob, target: Path) -> None:
        """Get an original as a local file, which must not be modified.

        Raises:
            BlobDamaged, BlobMissing: The original is damaged or missing, and can't be restored.
            StoreError: The store is unavailable.
        """
        self.require_whole(blob)
        try:
            await self._fetch(blob.sha256, blob.sha256, blob.bytes, target)
        except (BlobMissing, BlobDamaged) as error:
            if not await self.examine(blob):
                raise BlobDamaged(blob.sha256) from error
            target.unlink(missing_ok=True)
            await self._fetch(blob.sha256, blob.sha256, blob.bytes, target)

    async def fetch_rung(self, blob: Blob, rung: Rung, target: Path) -> None:
        """Get a rung as a local file, which must not be modified.

        Raises:
            BlobDamaged, BlobMissing: The rung is damaged or missing.
            StoreError: The store is unavailable.
        """
        self.require_whole(blob)
        await self._fetch(blob.rung_name(rung), rung.sha256, rung.bytes, target)

    async def examine(self, blob: Blob) -> bool:
        """Check an original that seems damaged, restore it if needed, and return whether it is intact now."""
        found = await self._looking.once(blob.sha256, lambda: self.check(blob))
        return not found.is_lost

    async def is_there(self, blob: Blob) -> bool:
        """Return whether the store has an original, with the right bytes (in a folder) or size (in other stores)."""
        try:
            if self.blobs.local_path(blob.sha256) is None:
                return await self.blobs.size(blob.sha256) == blob.bytes
            with self._scratch.file(self._scratch.incoming) as path:
                await self._fetch(blob.sha256, blob.sha256, blob.bytes, path)
        except (BlobMissing, BlobDamaged):
            return False
        return True

    async def check(self, blob: Blob) -> CheckResult:
        """Verify an original and its rungs, record the result, and restore the original if it is damaged."""

        def looked_at(store: BlobStore) -> Awaitable[tuple[str, Digests]]:
            return _state(store, blob.sha256, blob.bytes, blob.sha256)

        state, chunks = await looked_at(self.blobs)
        if state == "damaged":  # it may have been a read error
            await asyncio.sleep(_AGAIN_SECONDS)
            state, chunks = await looked_at(self.blobs)
        if state != "whole" and self.blobs.copies:
            await asyncio.to_thread(self.blobs.copies.remove, blob.sha256)
        if state != "whole" and self._second and (await looked_at(self._second))[0] == "whole":
            await self._restore(blob, self._second)
            again, chunks = await looked_at(self.blobs)
            state = "restored" if again == "whole" else state
        result = CheckResult(blob.sha256, blob.bytes, state)
        references = await self._inventory.checked(blob.sha256, damaged=result.is_lost, chunks=chunks)
        for reference in references:
            self._changes.mark(reference)
        if state == "whole" and not await self._has_ladder(blob):
            await self._inventory.without_ladder(blob.sha256)
            result = CheckResult(blob.sha256, blob.bytes, "ladder-dropped")
        if result.state != "whole":
            write = log.error if result.is_lost else log.warning
            write("original was not intact", sha256=blob.sha256, state=result.state)
            event = Event.by(Caller(OPERATOR), f"blob-{result.state}", detail={"sha256": blob.sha256})
            await self._audit.add(event)
        return result

    def is_right(self, blob: Blob, body: bytes) -> bool:
        """Return whether `body` is the content of an original."""
        return not self._verification.is_on or hashlib.sha256(body).hexdigest() == blob.sha256

    async def _checked(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        def read(first: int, last: int) -> AsyncIterator[bytes]:
            return self.blobs.stream(blob.sha256, first, last)

        def is_right(number: int, data: bytes, digest: bytes) -> bool:
            return self._verification.is_chunk_right(blob.sha256, number, data, digest)

        pieces = (
            checked_bytes(read, blob.sha256, blob.bytes, blob.chunks, start, end, is_right)
            if self._verification.is_on
            else read(start, end)
        )
        async with aclosing(pieces) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk

    async def _fetch(self, name: str, sha256: str, size: int, target: Path) -> None:
        """Get a blob as a local file. A damaged copy in this node's cache is downloaded again."""
        await self.blobs.fetch(name, target, size)
        if await self._is_file_right(name, sha256, size, target):
            return
        if self.blobs.copies is None:
            raise BlobDamaged(name)
        await asyncio.to_thread(self.blobs.copies.remove, name.partition("-")[0])
        target.unlink()
        await self.blobs.fetch(name, target, size)
        if not await self._is_file_right(name, sha256, size, target):
            raise BlobDamaged(name)

    async def _is_file_right(self, name: str, sha256: str, size: int, file: Path) -> bool:
        if file.stat().st_size != size:
            return False
        return not sha256 or await self._verification.is_file_right(name, file, bytes.fromhex(sha256))

    async def _restore(self, blob: Blob, second: BlobStore) -> None:
        with self._scratch.file(self._scratch.incoming) as path:
            async for chunk in second.stream(blob.sha256, 0, blob.bytes):
                await asyncio.to_thread(_append, path, chunk)
            await self.blobs.put(blob.sha256, path, blob.info.media_type, anew=True)

    async def _has_ladder(self, blob: Blob) -> bool:
        for rung in blob.rungs:
            state, _ = await _state(self.blobs, blob.rung_name(rung), rung.bytes, rung.sha256)
            if state != "whole":
                return False
        return True


async def _state(store: BlobStore, name: str, size: int, sha256: str) -> tuple[str, Digests]:
    """Read a blob from the store, and return its state, and the hashes of its chunks if it is whole.

    Args:
        store: The store.
        name: Name of the blob.
        size: Expected size in bytes.
        sha256: Expected hash, in hexadecimal digits; empty if unknown.
    """
    hasher = ChunkHasher()
    try:
        async for chunk in store.stream(name, 0, size):
            await asyncio.to_thread(hasher.update, chunk)
        if await store.size(name) != size:
            return "damaged", b""
    except BlobMissing:
        return "missing", b""
    except BlobDamaged:
        return "damaged", b""
    return ("whole", hasher.chunks) if sha256 in ("", hasher.sha256) else ("damaged", b"")


def _append(path: Path, chunk: bytes) -> None:
    with path.open("ab") as file:
        file.write(chunk)
