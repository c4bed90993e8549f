"""Looking after what is stored: holding bytes against their hashes, and doing so again and again."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from progimage.access import Client
from progimage.access.principal import OPERATOR
from progimage.storage import Blob, BlobDamaged, BlobMissing, BlobStore, Catalogue, Event, Spool

log = structlog.get_logger(__name__)
_BATCH = 100


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
    """Do some work again and again, until it is cancelled; when it fails it is logged, and tried again.

    Args:
        name: What it is called in the log.
        seconds: How long to wait in between.
        work: Does it once.
    """
    while True:
        try:
            await work()
        except Exception as error:
            log.warning(f"{name} failed; it is tried again", error=repr(error))
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found when a blob was read again.

    Attributes:
        sha256: Its name.
        bytes: How many it has.
        state: `whole`; `restored` from the second store; `damaged` or `missing`, and not restored; `ladder-dropped`: a
            smaller copy was missing or had another size, and renditions are made from the original again.
    """

    sha256: str
    bytes: int
    state: str

    @property
    def is_lost(self) -> bool:
        """Whether the original's bytes are not there any more."""
        return self.state in ("damaged", "missing")


class Scrubber:
    """Reads blobs again, holds them against the hash that is their name, and restores them from a second store.

    Args:
        catalogue: Knows which blobs there are.
        blobs: Has them.
        second: Has copies of the originals, or None.
        spool: For scratch files.
        rate: How many bytes to read in a second, on average; 0 is no bound.
    """

    def __init__(
        self, catalogue: Catalogue, blobs: BlobStore, second: BlobStore | None, spool: Spool, rate: int = 0
    ) -> None:
        """Store the parts."""
        self._catalogue, self._blobs, self._second, self._spool = catalogue, blobs, second, spool
        self._rate = rate

    async def scrub(self, since: float) -> AsyncIterator[Finding]:
        """Check all blobs that were not checked since a time, in seconds since 1970, the longest ago first."""
        inventory = self._catalogue.inventory
        while batch := await inventory.unchecked(since, _BATCH):
            for blob in batch:
                started = time.monotonic()
                finding = await self._check(blob)
                yield finding
                if self._rate:
                    await asyncio.sleep(max(0.0, blob.bytes / self._rate - (time.monotonic() - started)))

    async def _check(self, blob: Blob) -> Finding:
        state = await self._state(self._blobs, blob)
        if state != "whole" and self._second and await self._state(self._second, blob) == "whole":
            await self._restore(blob, self._second)
            state = "restored" if await self._state(self._blobs, blob) == "whole" else state
        finding = Finding(blob.sha256, blob.bytes, state)
        await self._catalogue.inventory.checked(blob.sha256, damaged=finding.is_lost)
        if state == "whole" and not await self._has_ladder(blob):
            await self._catalogue.inventory.without_ladder(blob.sha256)
            finding = Finding(blob.sha256, blob.bytes, "ladder-dropped")
        if finding.state != "whole":
            write = log.error if finding.is_lost else log.warning
            write("an original was checked", sha256=blob.sha256, state=finding.state)
            event = Event.by(Client(OPERATOR), f"blob-{finding.state}", detail={"sha256": blob.sha256})
            await self._catalogue.audit.add(event)
        return finding

    async def _state(self, store: BlobStore, blob: Blob) -> str:
        digest, size = hashlib.sha256(), 0
        try:
            async for chunk in store.stream(blob.sha256, 0, blob.bytes):
                await asyncio.to_thread(digest.update, chunk)
                size += len(chunk)
            if await store.size(blob.sha256) != size:
                return "damaged"
        except BlobMissing:
            return "missing"
        except BlobDamaged:
            return "damaged"
        return "whole" if digest.hexdigest() == blob.sha256 else "damaged"

    async def _restore(self, blob: Blob, second: BlobStore) -> None:
        with self._spool.file(self._spool.incoming) as path:
            async for chunk in second.stream(blob.sha256, 0, blob.bytes):
                await asyncio.to_thread(_append, path, chunk)
            await self._blobs.put(blob.sha256, path, blob.info.media_type, anew=True)

    async def _has_ladder(self, blob: Blob) -> bool:
        for step in blob.steps:
            try:
                if await self._blobs.size(blob.step_name(step)) != step.bytes:
                    return False
            except BlobMissing:
                return False
        return True


def _append(path: Path, chunk: bytes) -> None:
    with path.open("ab") as file:
        file.write(chunk)
