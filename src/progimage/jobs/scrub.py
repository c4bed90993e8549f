"""Looking after what is stored: holding bytes against their hashes, and doing so again and again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from progimage.storage import Finding, Inventory, Originals

log = structlog.get_logger(__name__)
_BATCH = 100


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]], *, is_done: bool = False) -> None:
    """Do some work again and again, until it is cancelled; when it fails it is logged, and tried again.

    Args:
        name: What it is called in the log.
        seconds: How long to wait in between.
        work: Does it once.
        is_done: It was done just now, so that the first time is after a wait.
    """
    if is_done:
        await asyncio.sleep(seconds)
    while True:
        try:
            await work()
        except Exception as error:
            log.warning(f"{name} failed; it is tried again", error=repr(error))
        await asyncio.sleep(seconds)


class Scrubber:
    """Reads originals again, holds them against the hash that is their name, and restores what is damaged.

    Args:
        inventory: Knows which there are.
        originals: Reads them.
        rate: How many bytes to read in a second, on average; 0 is no bound.
    """

    def __init__(self, inventory: Inventory, originals: Originals, rate: int = 0) -> None:
        """Store the parts."""
        self._inventory, self._originals, self._rate = inventory, originals, rate

    async def scrub(self, since: float) -> AsyncIterator[Finding]:
        """Check all originals that were last checked before a Unix time, in seconds; the oldest check comes first."""
        while batch := await self._inventory.unchecked(since, _BATCH):
            for blob in batch:
                started = time.monotonic()
                yield await self._originals.check(blob)
                if self._rate:
                    await asyncio.sleep(max(0.0, blob.bytes / self._rate - (time.monotonic() - started)))
