"""Redescription: what was found out about an image at its upload is brought up to date when inspections get better."""

import asyncio
from contextlib import ExitStack
from dataclasses import replace

import structlog
from cachetools import TTLCache

from progimage.auth import Caller, Principal
from progimage.engine import INSPECTION_VERSION, EngineError
from progimage.images.records import RecordCache
from progimage.images.renderer import Renderer
from progimage.storage import Blob, BlobDamaged, BlobMissing, Inventory, Originals, Record, ScratchFolder
from progimage.workers import Busy, TaskTooLong, WorkerCrashed, WorkerKilled

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 300
"""How long an image that can't be described anew is used as it is, before the next attempt."""
_REMEMBERED = 20_000
_NOT_NOW = (Busy, BlobMissing, BlobDamaged, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError)


class Redescription:
    """Describes stored images by the rules of this version.

    Args:
        inventory: Stores the descriptions.
        cached: Records, as they were read lately.
        originals: Reads originals.
        renderer: Inspects them.
        scratch: Scratch files.
        ladder: Make a ladder of each image.
    """

    def __init__(
        self,
        inventory: Inventory,
        cached: RecordCache,
        originals: Originals,
        renderer: Renderer,
        scratch: ScratchFolder,
        *,
        ladder: bool,
    ) -> None:
        self._inventory, self._cached, self._renderer, self._scratch = inventory, cached, renderer, scratch
        self._originals, self._ladder = originals, ladder
        self._postponed: TTLCache[str, bool] = TTLCache(_REMEMBERED, _RETRY_SECONDS)
        self._running: dict[str, asyncio.Future[Blob]] = {}

    async def current(self, record: Record) -> Record:
        """Return a record whose description is up to date.

        Where no worker is free for it, or the image can't be described anew, the record stays as it is.
        """
        sha256 = record.blob.sha256
        if record.blob.info.inspection >= INSPECTION_VERSION or sha256 in self._postponed:
            return record
        running = self._running.get(sha256)
        if running is None:
            running = asyncio.ensure_future(self.redescribe(record.blob, record.owner))
            self._running[sha256] = running
            running.add_done_callback(lambda _: self._running.pop(sha256, None))
        renewed = replace(record, blob=await asyncio.shield(running))
        self._cached.renew(renewed)
        return renewed

    async def redescribe(self, blob: Blob, owner: str) -> Blob:
        """Describe a stored image anew and make its ladder.

        Args:
            blob: The image.
            owner: An owner of it, for whom the worker works.

        Returns:
            The blob with its new description, or as it was, if it can't be described now.
        """
        with ExitStack() as files:
            original = files.enter_context(self._scratch.file(self._scratch.incoming))
            caller = Caller(Principal(owner, frozenset()))
            try:
                await self._originals.fetch(blob, original)
                found, rungs = await self._renderer.inspect_upload(
                    original, owner, caller, files, ladder=self._ladder, damaged=True
                )
            except _NOT_NOW as error:
                log.info("image not described anew: retried later", sha256=blob.sha256, error=repr(error))
                self._postponed[blob.sha256] = True
                return blob
            except EngineError as error:
                # The description from its upload stays, and counts as up to date.
                log.warning("image can't be described anew", sha256=blob.sha256, error=repr(error))
                kept = replace(blob, info=replace(blob.info, inspection=INSPECTION_VERSION))
                await self._inventory.redescribe(kept)
                return kept
            renewed = replace(blob, info=found.info, ladder=found.ladder)
            for rung in renewed.rungs:
                await self._originals.blobs.put(renewed.rung_name(rung), rungs[rung.side], None, anew=True)
        await self._inventory.redescribe(renewed)
        for name in set(blob.names) - set(renewed.names):
            await asyncio.to_thread(self._originals.blobs.delete, name)
        return renewed
