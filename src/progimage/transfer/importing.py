"""Import files as images, with the same inspection, limits, quotas and audit events as uploads.

A killed import neither loses files nor stores them twice: references are derived from the name and the bytes of a file,
so that the next run finds an image that is already in the catalogue.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace

from progimage.auth import Caller, Principal, Scope
from progimage.deployment import (
    limits_of,
    open_blobs,
    open_disk_space,
    open_jobs,
    open_library,
    open_pool,
    open_renditions,
)
from progimage.images.ingest import Ingest, UploadTooLarge
from progimage.images.library import ImageLibrary, ReferenceTaken
from progimage.metrics import RenditionMetrics
from progimage.problems import to_problem
from progimage.settings import Settings
from progimage.storage import Changes, Room, ScratchFolder, sweep_folders
from progimage.transfer.journal import Entry, Journal, Outcome
from progimage.transfer.layouts import Item, Layout
from progimage.transfer.stores import File, Store, Unreadable

_WAITS = (0.2, 1, 5, 10)
"""Pauses before retries while nothing can be stored, in seconds; then the import stops."""
_TAKEN = "Another image here already has this reference."


class Stopped(Exception):
    """Nothing can be stored now; running the import again continues it."""


class Importer:
    """Imports files.

    Args:
        library: Target of the images.
        ingest: Writes them to the scratch folder.
        store: Source of the files.
        journal: Outcomes of all files.
        told: Called with the outcome of each file.
        advance: Called with the additional numbers of files and bytes that are done.

    Attributes:
        counts: Number of files in this run, by outcome.
        before: Number of files done by earlier runs.
    """

    def __init__(
        self,
        library: ImageLibrary,
        ingest: Ingest,
        store: Store,
        journal: Journal,
        told: Callable[[File, Entry], None],
        advance: Callable[[int, int], None],
    ) -> None:
        self._library, self._ingest, self._store, self._journal = library, ingest, store, journal
        self._told, self._advance = told, advance
        self.counts: Counter[Outcome] = Counter()
        self.before = 0

    async def run(self, layout: Layout, at_once: int) -> None:
        """Import all files that aren't done yet.

        Args:
            layout: Lists the files.
            at_once: Number of files to import at once.

        Raises:
            Stopped: Nothing can be stored now.
        """
        items, turn = self._left(layout), asyncio.Lock()

        async def work() -> None:
            while True:
                async with turn:
                    item = await asyncio.to_thread(next, items, None)
                if item is None:
                    return
                entry = await self._patiently(item)
                self._journal.note(item.file, entry)
                self.counts[entry.outcome] += 1
                self._told(item.file, entry)
                self._advance(1, item.file.size)

        tasks = [asyncio.create_task(work()) for _ in range(at_once)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _left(self, layout: Layout) -> Iterator[Item]:
        for item in layout.items():
            if self._journal.is_done(item.file):
                self.before += 1
                self._advance(1, item.file.size)
            else:
                yield item

    async def _patiently(self, item: Item) -> Entry:
        """Import a file, with retries while nothing can be stored.

        Raises:
            Stopped: The retries are used up.
        """
        for wait in (*_WAITS, None):
            try:
                return await self._outcome(item)
            except Exception as error:
                problem = to_problem(error)
                if problem.status == 500:
                    raise
                if problem.status < 500:
                    is_said = problem.allowed is None or str(problem.allowed) in problem.detail
                    allowed = "" if is_said else f" Allowed: {problem.allowed}."
                    return Entry(Outcome.FAILED, problem=f"{problem.detail}{allowed}")
                if wait is None:
                    raise Stopped(f"{item.file.shown}: {problem.detail}") from error
                await asyncio.sleep(wait)
        raise AssertionError

    async def _outcome(self, item: Item) -> Entry:
        file = item.file
        if file.skipped or file.failed:
            return Entry(Outcome.SKIPPED if file.skipped else Outcome.FAILED, problem=file.skipped or file.failed)
        try:
            return await self._known(item) or await self._taken_in(item)
        except Unreadable as error:
            return Entry(Outcome.FAILED, problem=str(error))
        except ReferenceTaken:
            return Entry(Outcome.FAILED, problem=_TAKEN)

    async def _known(self, item: Item) -> Entry | None:
        """Return the outcome for an image whose reference from another deployment already exists here, or None."""
        if item.reference is None:
            return None
        for record in await self._library.records.among([item.reference]):
            if (record.blob.sha256, record.owner) != (item.sha256, item.owner):
                raise ReferenceTaken(item.reference)
            if not record.is_live:
                raise Unreadable("The image was deleted here. Restore it, or wait until it is purged.")
            return Entry(Outcome.THERE, record.reference, record.blob.sha256)
        return None

    async def _taken_in(self, item: Item) -> Entry:
        library, file = self._library, item.file
        if not file.size:
            raise Unreadable("The file is empty.")
        if file.size > self._ingest.max_bytes:
            raise UploadTooLarge(file.size, self._ingest.max_bytes)
        with ExitStack() as files:
            caller = Caller(Principal(item.owner, frozenset((Scope.UPLOAD,))))
            share = self._ingest.share(files, caller, await library.catalogue.owners.get(item.owner))
            arriving = await self._ingest.new_file(files, share, None, hashed=True)
            async with aclosing(self._store.read(file)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    await arriving.write(chunk)
            upload = replace(await arriving.finish(), filename=item.filename)
            if item.sha256 not in (None, upload.sha256):
                raise Unreadable("The SHA-256 of the file differs from the one in the export.")
            if item.reference is None:
                there = await library.records.named(item.owner, upload.sha256, item.filename)
                if there:
                    return Entry(Outcome.THERE, there, upload.sha256)
            name = f"{file.name.hex()} {upload.sha256}"
            reference = item.reference or str(uuid.uuid5(self._journal.namespace, name))
            (record,) = await library.add(caller, [upload], item.options, references=[reference])
        return Entry(Outcome.STORED, record.reference, record.blob.sha256)


@dataclass(frozen=True, slots=True)
class Opened:
    """Parts of a deployment that an import needs."""

    library: ImageLibrary
    ingest: Ingest


@asynccontextmanager
async def opened_library(settings: Settings, changes: Changes, at_once: int) -> AsyncIterator[Opened]:
    """Open a deployment for storing images, with separate workers.

    Args:
        settings: Settings of the deployment.
        changes: Notifies a running service of changes.
        at_once: Number of images to import at once.
    """
    await asyncio.to_thread(sweep_folders, settings.scratch_folder)  # left by killed imports
    scratch = ScratchFolder(settings.scratch_folder)
    renditions, pool = open_renditions(settings, scratch), open_pool(settings, limits_of(settings))
    space = open_disk_space(settings, [renditions.files])
    jobs = open_jobs(settings, space)
    blobs = open_blobs(settings)  # without a cache, so that imports don't evict originals in use
    library = open_library(settings, jobs, blobs, renditions, changes, scratch, pool, space, RenditionMetrics())
    pool.start()
    try:
        # One client may use half of it, and each file in progress may have the maximum size.
        room = Room(2 * at_once * settings.max_upload_bytes, library.catalogue.owners)
        yield Opened(library, Ingest(scratch, settings.max_upload_bytes, 1, room, space))
    finally:
        await pool.close()
        await renditions.close()
        await asyncio.to_thread(jobs.close)
        library.catalogue.close()
        scratch.close()
