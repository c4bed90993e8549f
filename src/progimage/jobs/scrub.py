"""Scrub: verify the bytes of all originals."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from progimage.storage import CheckResult, Inventory, Originals

log = structlog.get_logger(__name__)
_BATCH = 100


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[object]], *, is_done: bool = False) -> None:
    """Repeat some work until cancelled. Failures are logged and don't end it.

    Args:
        name: Name of the work in the log.
        seconds: Pause between two runs.
        work: Called to do it once.
        is_done: Whether it has just been done, so that the first run comes after a pause.
    """
    if is_done:
        await asyncio.sleep(seconds)
    while True:
        try:
            await work()
        except Exception as error:
            log.warning(f"{name} failed, retrying", error=repr(error))
        await asyncio.sleep(seconds)


class Scrubber:
    """Verifies originals against the hash in their name, and restores damaged ones.

    Args:
        inventory: List of originals.
        originals: Reads and restores originals.
        rate: Average number of bytes to read per second; 0 means no limit.
    """

    def __init__(self, inventory: Inventory, originals: Originals, rate: int = 0) -> None:
        self._inventory, self._originals, self._rate = inventory, originals, rate

    async def scrub(self, since: float) -> AsyncIterator[CheckResult]:
        """Check all originals last checked before a Unix timestamp, the longest unchecked first."""
        while batch := await self._inventory.unchecked(since, _BATCH):
            for blob in batch:
                started = time.monotonic()
                yield await self._originals.check(blob)
                if self._rate:
                    await asyncio.sleep(max(0.0, blob.bytes / self._rate - (time.monotonic() - started)))
