"""Originals, and their smaller copies, as they were uploaded or not at all.

What is read is held against the hashes that were taken at the upload. What is damaged is marked, restored from the
second store if that has it, and else refused: with `BlobDamaged`, until it is restored or uploaded again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import structlog

from progimage.auth import Client
from progimage.auth.caller import OPERATOR
from progimage.engine import Step
from progimage.single_flight import SingleFlight
from progimage.storage.blobs.chunk_hashes import CHUNK, ChunkHasher, Digests, WrongBytes, checked_bytes
from progimage.storage.blobs.store import BlobDamaged, BlobMissing, BlobStore
from progimage.storage.blobs.verification import Verification
from progimage.storage.cache.invalidation import Changes
from progimage.storage.database.audit import AuditLog, Event
from progimage.storage.database.blobs import Blob, Inventory
from progimage.storage.scratch import Spool

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found when a blob was read again.

    Attributes:
        sha256: Its name.
        bytes: How many it has.
        state: `whole`; `restored` from the second store; `damaged` or `missing`, and not restored; `ladder-dropped`: a
            smaller copy was missing or was another, and renditions are made from the original again.
    """

    sha256: str
    bytes: int
    state: str

    @property
    def is_lost(self) -> bool:
        """Whether the original's bytes are not there any more."""
        return self.state in ("damaged", "missing")


class Originals:
    """Reads originals and their smaller copies.

    Args:
        blobs: Has them.
        second: Has copies of the originals, or None.
        inventory: Knows their hashes, and which are damaged.
        audit: Is told what was found.
        changes: Tells this node's processes.
        spool: For what is restored.
        verification: Holds what is read against its hash.
    """

    def __init__(
        self,
        blobs: BlobStore,
        second: BlobStore | None,
        inventory: Inventory,
        audit: AuditLog,
        changes: Changes,
        spool: Spool,
        verification: Verification,
    ) -> None:
        """Store the parts."""
        self.blobs = blobs
        self._second, self._inventory, self._audit = second, inventory, audit
        self._changes, self._spool = changes, spool
        self._verification = verification
        self._looking: SingleFlight[Finding] = SingleFlight()

    def require_whole(self, blob: Blob) -> None:
        """Refuse what is marked as damaged.

        Raises:
            BlobDamaged: It is.
        """
        if blob.damaged:
            raise BlobDamaged(blob.sha256)

    async def stream(self, blob: Blob, start: int, end: int) -> AsyncIterator[bytes]:
        """Read an original's bytes from `start` up to, and without, `end`, each chunk checked before it is passed on.

        Raises:
            BlobDamaged, BlobMissing: It is not what was uploaded, and can't be restored.
            StoreError: The store can't be read now.
        """
        self.require_whole(blob)
        is_known = blob.chunks or blob.bytes <= CHUNK or (start, end) == (0, blob.bytes)
        # A part of an original of before has nothing to be held against, so that the whole is read once.
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
        """Bring an original to a local file that is only read.

        Raises:
            BlobDamaged, BlobMissing: It is not what was uploaded, and can't be restored.
            StoreError: The store can't be read now.
        """
        self.require_whole(blob)
        try:
            await self._fetch(blob.sha256, blob.sha256, blob.bytes, target)
        except (BlobMissing, BlobDamaged) as error:
            if not await self.examine(blob):
                raise BlobDamaged(blob.sha256) from error
            target.unlink(missing_ok=True)
            await self._fetch(blob.sha256, blob.sha256, blob.bytes, target)

    async def fetch_step(self, blob: Blob, step: Step, target: Path) -> None:
        """Bring a smaller copy to a local file that is only read.

        Raises:
            BlobDamaged, BlobMissing: It is not there, or not what was made.
            StoreError: The store can't be read now.
        """
        self.require_whole(blob)
        await self._fetch(blob.step_name(step), step.sha256, step.bytes, target)

    async def examine(self, blob: Blob) -> bool:
        """Look at an original that seems to be damaged, restore it if need be, and return whether it is whole now."""
        found = await self._looking.once(blob.sha256, lambda: self.check(blob))
        return not found.is_lost

    async def is_there(self, blob: Blob) -> bool:
        """Return whether an original is in the store: in a folder, with the right bytes; else, with the right size."""
        try:
            if self.blobs.local_path(blob.sha256) is None:
                return await self.blobs.size(blob.sha256) == blob.bytes
            with self._spool.file(self._spool.incoming) as path:
                await self._fetch(blob.sha256, blob.sha256, blob.bytes, path)
        except (BlobMissing, BlobDamaged):
            return False
        return True

    async def check(self, blob: Blob) -> Finding:
        """Read an original whole, note whether it is what was uploaded, and restore it if it is not."""

        def looked_at(store: BlobStore) -> Awaitable[tuple[str, Digests]]:
            return _state(store, blob.sha256, blob.bytes, blob.sha256)

        state, chunks = await looked_at(self.blobs)
        if state == "damaged":  # what was wrong may have been the reading
            await asyncio.sleep(_AGAIN_SECONDS)
            state, chunks = await looked_at(self.blobs)
        if state != "whole" and self.blobs.copies:
            await asyncio.to_thread(self.blobs.copies.remove, blob.sha256)
        if state != "whole" and self._second and (await looked_at(self._second))[0] == "whole":
            await self._restore(blob, self._second)
            again, chunks = await looked_at(self.blobs)
            state = "restored" if again == "whole" else state
        finding = Finding(blob.sha256, blob.bytes, state)
        references = await self._inventory.checked(blob.sha256, damaged=finding.is_lost, chunks=chunks)
        for reference in references:
            self._changes.mark(reference)
        if state == "whole" and not await self._has_ladder(blob):
            await self._inventory.without_ladder(blob.sha256)
            finding = Finding(blob.sha256, blob.bytes, "ladder-dropped")
        if finding.state != "whole":
            write = log.error if finding.is_lost else log.warning
            write("an original was checked", sha256=blob.sha256, state=finding.state)
            event = Event.by(Client(OPERATOR), f"blob-{finding.state}", detail={"sha256": blob.sha256})
            await self._audit.add(event)
        return finding

    def is_right(self, blob: Blob, body: bytes) -> bool:
        """Return whether these are all bytes of an original."""
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
        """Bring a blob; what this node kept of a cloud store's is brought anew if it is wrong."""
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
        with self._spool.file(self._spool.incoming) as path:
            async for chunk in second.stream(blob.sha256, 0, blob.bytes):
                await asyncio.to_thread(_append, path, chunk)
            await self.blobs.put(blob.sha256, path, blob.info.media_type, anew=True)

    async def _has_ladder(self, blob: Blob) -> bool:
        for step in blob.steps:
            state, _ = await _state(self.blobs, blob.step_name(step), step.bytes, step.sha256)
            if state != "whole":
                return False
        return True


async def _state(store: BlobStore, name: str, size: int, sha256: str) -> tuple[str, Digests]:
    """Read a blob, whatever was read before, and return whether it is whole, and the hashes of its chunks if it is.

    Args:
        store: The store that should have it.
        name: Its name.
        size: How many bytes it should have.
        sha256: Their hash, in hexadecimal digits; empty: it is not known.
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
