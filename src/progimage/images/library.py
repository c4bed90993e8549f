"""The image library: what the service *is*. HTTP asks it, workers and stores serve it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from cachetools import TTLCache

from progimage import clock
from progimage.auth import Client, Principal, Ticket, Visibility
from progimage.engine import INSPECTION, EngineError, Limits, Survey
from progimage.images.renderer import Renderer, Watcher
from progimage.storage import (
    AlreadyStored,
    Blob,
    BlobDamaged,
    BlobMissing,
    Catalogue,
    Changes,
    DiskSpace,
    Originals,
    Owner,
    Record,
    Renditions,
    Spool,
    UnknownReference,
)
from progimage.storage.blobs.chunk_hashes import Digests
from progimage.tracing import span
from progimage.workers import Busy, TaskTooLong, WorkerCrashed, WorkerKilled, WorkerPool

log = structlog.get_logger(__name__)

KNOWN_SECONDS = 5
"""For how long what was read from the database counts. This node tells itself of changes; other nodes do not.

A record counts for half of it, and an answer that was made with it for the other half."""
_KNOWN_RECORDS = 20_000
_LATER_SECONDS = 300
"""How long an image that could not be described anew is used as it is, before that is tried again."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has arrived in the spool.

    Attributes:
        path: Where it is.
        sha256: Of its bytes, in hexadecimal digits; empty if it is not to be stored.
        bytes: How many it has.
        filename: What the client called it, if it said.
        chunks: The hashes of its chunks, see `progimage.storage.blobs.chunk_hashes`.
    """

    path: Path
    sha256: str
    bytes: int
    filename: str | None = None
    chunks: Digests = b""


@dataclass(frozen=True, slots=True)
class Past:
    """What another deployment knew of an image that is moved here; it holds as it is.

    Attributes:
        uploaded_at: When it was uploaded there.
        expires_at: When it expires, as a Unix time in seconds; None: never, whatever its owner's retention is.
        held: A legal hold keeps it.
    """

    uploaded_at: datetime
    expires_at: float | None
    held: bool


@dataclass(frozen=True, slots=True)
class Options:
    """What an upload says of its images.

    Attributes:
        visibility: Who may read them; None: what the deployment says.
        expires_at: Until when they are there, in seconds since 1970; None: as long as their owner's images are.
        labels: To find them by.
        metadata: Names and values.
        damaged: They are accepted if they have lost pixels, as far as they can be decoded.
        past: Where they come from another deployment, what it knew of them; its expiry goes before `expires_at`.
    """

    visibility: Visibility | None = None
    expires_at: float | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    damaged: bool = False
    past: Past | None = None


class ReferenceTaken(Exception):
    """An image with this reference has other bytes."""


class ImageLibrary:
    """Keeps originals, and renders any of them in any format.

    Args:
        catalogue: The database.
        originals: Reads what is stored, and finds out what is damaged.
        renditions: Those that were made.
        changes: Tells what all processes change.
        spool: Scratch files.
        pool: The workers.
        limits: The largest image to accept.
        watcher: Is told of every rendition.
        space: The room on the disk.
        ladder: Make smaller copies of what is uploaded.
        undelete_seconds: For how long a deleted image can be brought back.
        sweep_seconds: How often sweeps come.
        drawing_seconds: How much CPU time a task may take that has a drawing in it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        originals: Originals,
        renditions: Renditions,
        changes: Changes,
        spool: Spool,
        pool: WorkerPool,
        limits: Limits,
        watcher: Watcher,
        space: DiskSpace,
        *,
        ladder: bool = True,
        undelete_seconds: int = 0,
        sweep_seconds: int = 0,
        drawing_seconds: float = 5,
    ) -> None:
        """Bring the parts together."""
        self.catalogue = catalogue
        self.records = catalogue.records
        self.renderer = Renderer(self.get, originals, renditions, spool, pool, limits, watcher, space, drawing_seconds)
        self.changes = changes
        self.spool = spool
        self.originals, self._blobs, self._space = originals, originals.blobs, space
        self._renditions = renditions
        self._ladder = ladder
        self._undelete_seconds, self._sweep_seconds = undelete_seconds, sweep_seconds
        self._later: TTLCache[str, bool] = TTLCache(_KNOWN_RECORDS, _LATER_SECONDS)
        self._surveying: dict[str, asyncio.Future[Blob]] = {}
        self._known: TTLCache[str, _Known] = TTLCache(_KNOWN_RECORDS, KNOWN_SECONDS / 2)

    async def add(
        self,
        client: Client,
        uploads: list[Upload],
        options: Options = Options(),
        ticket: Ticket | None = None,
        references: list[str] | None = None,
    ) -> list[Record]:
        """Validate images and keep them, all or none. They are safe on disk when it returns.

        Args:
            client: Who uploads them.
            uploads: At least one.
            options: What is said of them.
            ticket: What allows it, if it is not the client's key; they are then of the ticket's owner.
            references: Which they get, one for each upload; None: new ones. If the images are there already, with the
                same bytes, they are returned as they are, so that adding them again does no harm.

        Raises:
            EngineError: One is not an image, is corrupt, or too large. Of several, a note on the exception says which.
            QuotaExceeded: The owner may not have so many.
            TicketUsed: The ticket was used.
            ReferenceTaken: An image with one of the references has other bytes.
        """
        if references:
            known = await self._known_already(references, uploads)
            if known:
                return known
        owners = self.catalogue.owners
        owner = await owners.get(ticket.owner if ticket else client.principal.owner)
        size = sum(upload.bytes for upload in uploads)
        owners.admit(owner, len(uploads), size)  # before any work; it counts later
        with span("library.add", images=len(uploads), bytes=size), ExitStack() as files:
            surveys = []
            for number, upload in enumerate(uploads, 1):
                try:
                    surveys.append(await self._surveyed(upload, owner.name, client, files, damaged=options.damaged))
                except Exception as error:
                    if len(uploads) > 1:
                        error.add_note(f"image {number} of {len(uploads)}")
                    raise
            past = options.past or _upload_now(owner, options.expires_at)
            records = []
            given = references or [str(uuid.uuid4()) for _ in uploads]
            for reference, upload, (survey, steps) in zip(given, uploads, surveys, strict=True):
                blob = Blob(upload.sha256, upload.bytes, survey.info, survey.ladder, upload.chunks)
                await self._space.retried(partial(self._keep, blob, upload, steps, owner.name, client, files))
                records.append(
                    Record(
                        reference, blob, upload.filename, past.uploaded_at, owner.name, options.visibility,
                        past.expires_at, held=past.held, labels=options.labels, metadata=options.metadata,
                    )
                )  # fmt: skip
            try:
                await self.records.add(client, records, (ticket.id, ticket.until) if ticket else None)
            except AlreadyStored:  # by the same request, sent twice at once
                records = await self._known_already(given, uploads)
                if not records:  # and they have been removed for good since
                    raise UnknownReference(given[0]) from None
        return records

    async def _known_already(self, references: list[str], uploads: list[Upload]) -> list[Record]:
        """Return the images that have these references, those that were deleted among them; none, if there are none.

        Raises:
            ReferenceTaken: One of them has other bytes.
        """
        found = await self.records.among(references)
        if found and [record.blob.sha256 for record in found] != [upload.sha256 for upload in uploads]:
            raise ReferenceTaken(references[0])
        return found

    async def get(self, reference: str) -> Record:
        """Return the record of a reference.

        Raises:
            UnknownReference: There is none.
        """
        seen = self.changes.state(reference)
        known: _Known | None = self._known.get(reference)
        if known and known.state == seen and known.record.is_live:
            return known.record
        record = await self.records.get(reference) if _is_reference(reference) else None
        if record is None:
            raise UnknownReference(reference)
        self._known[reference] = _Known(record, seen)
        return record

    async def current(self, record: Record) -> Record:
        """Return a record that describes the image by today's rules: what was found out at an upload may be older.

        Where there is no worker for it now, or the image can't be described anew, it stays as it is.
        """
        if record.blob.info.inspection >= INSPECTION or record.blob.sha256 in self._later:
            return record
        flight = self._surveying.get(record.blob.sha256)
        if flight is None:
            flight = asyncio.ensure_future(self.redescribe(record.blob, record.owner))
            self._surveying[record.blob.sha256] = flight
            flight.add_done_callback(lambda _: self._surveying.pop(record.blob.sha256, None))
        renewed = replace(record, blob=await asyncio.shield(flight))
        if record.is_live:
            self._known[record.reference] = _Known(renewed, self.changes.state(record.reference))
        return renewed

    async def redescribe(self, blob: Blob, owner: str) -> Blob:
        """Describe a stored image anew and make its ladder, and return it; or as it was, if that can't be done now.

        Args:
            blob: The image.
            owner: Who has it, for whom a worker works.
        """
        inventory = self.catalogue.inventory
        with ExitStack() as files:
            original = files.enter_context(self.spool.file(self.spool.incoming))
            try:
                await self.originals.fetch(blob, original)
                client = Client(Principal(owner, frozenset()))
                survey, steps = await self.renderer.survey(
                    original, owner, client, files, ladder=self._ladder, damaged=True
                )
            except (Busy, BlobMissing, BlobDamaged, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError) as error:
                log.info("an image can't be described anew now", sha256=blob.sha256, error=repr(error))
                self._later[blob.sha256] = True
                return blob
            except EngineError as error:
                # Once is enough: what was found out at its upload holds.
                log.warning("an image can't be described anew", sha256=blob.sha256, error=repr(error))
                kept = replace(blob, info=replace(blob.info, inspection=INSPECTION))
                await inventory.redescribe(kept)
                return kept
            renewed = replace(blob, info=survey.info, ladder=survey.ladder)
            for step in renewed.steps:
                await self._blobs.put(renewed.step_name(step), steps[step.side], None, anew=True)
        await inventory.redescribe(renewed)
        for name in set(blob.names) - set(renewed.names):
            await asyncio.to_thread(self._blobs.delete, name)
        return renewed

    def original_path(self, record: Record) -> Path | None:
        """Return the file of an original, if the store has files."""
        return self._blobs.local_path(record.blob.sha256)

    def original_key(self, record: Record) -> str | None:
        """Return the path of an original's file in the folder of the store, if that has files."""
        return self._blobs.local_key(record.blob.sha256)

    def original_copy(self, record: Record) -> Path | None:
        """Return this node's copy of an original that is in a cloud store, if it has one."""
        return self._blobs.copy(record.blob.sha256)

    async def original_url(self, record: Record, seconds: int) -> str | None:
        """Return a URL at which the store itself answers an original for so long, if it has such."""
        return await self._blobs.signed_url(record.blob.sha256, seconds)

    def original_stream(self, record: Record, start: int, end: int) -> AsyncIterator[bytes]:
        """Read an original's bytes from `start` up to, and without, `end`; see `Originals.stream`."""
        return self.originals.stream(record.blob, start, end)

    async def change(self, client: Client, reference: str, values: dict[str, Any]) -> Record:
        """Change what is known of an image: values of the record's attributes, by their names.

        Raises:
            UnknownReference: There is none.
        """
        record = await self.records.change(client, reference, values)
        self.changes.mark(reference)
        if record is None:
            raise UnknownReference(reference)
        return record

    async def remove(self, client: Client, reference: str, *, for_good: bool = False) -> None:
        """Delete an image; it can be brought back for a while, unless it is for good.

        Raises:
            UnknownReference: There is none.
            Held: It must not be deleted.
        """
        record = await self.records.delete(client, reference) if _is_reference(reference) else None
        if record:
            self.changes.mark(reference)
            await self._drop_renditions(record)
        if for_good or (record and not self._undelete_seconds):
            await self.purge(client, reference)
        elif record is None:
            raise UnknownReference(reference)

    async def deleted(self, reference: str) -> Record:
        """Return the record of an image that was deleted and can be brought back.

        Raises:
            UnknownReference: There is none.
        """
        record = await self.records.get(reference, deleted=True) if _is_reference(reference) else None
        if record is None:
            raise UnknownReference(reference)
        return record

    async def undelete(self, client: Client, reference: str) -> Record:
        """Bring an image back that was deleted.

        Raises:
            UnknownReference: There is none.
        """
        record = await self.records.undelete(client, reference)
        self.changes.mark(reference)
        if record is None:
            raise UnknownReference(reference)
        return record

    async def purge(self, client: Client, reference: str) -> None:
        """Remove a deleted image for good; the original's bytes go with their last reference, after a time of grace.

        Raises:
            UnknownReference: There is none.
        """
        record = await self.records.purge(client, reference)
        if record is None:
            raise UnknownReference(reference)
        await self._drop_renditions(record)

    async def expire(self, most: int) -> int:
        """Delete images whose time is over, at most so many, and return how many there were."""
        records = await self.records.expire(most)
        for record in records:
            self.changes.mark(record.reference)
            await self._drop_renditions(record)
        return len(records)

    async def purge_deleted(self, client: Client, most: int) -> int:
        """Remove images that can't be brought back any more, at most so many, and return how many there were.

        It takes two sweeps: one marks an image, and one that comes long enough after it removes it.
        """
        references = await self.records.due_for_purge(self._undelete_seconds, self._sweep_seconds, most)
        for reference in references:
            record = await self.records.purge(client, reference, deleted_for=self._undelete_seconds)
            if record:  # else another process was faster, or it was brought back
                await self._drop_renditions(record)
        return len(references)

    async def sweep(self, unused_for: float) -> int:
        """Remove the bytes that no record has referred to for so many seconds, and return how many there were."""
        await self._blobs.check()  # before rows say that their bytes are gone
        return await self.catalogue.inventory.reclaim(unused_for, self._delete_blob)

    async def check(self) -> None:
        """Raise an exception unless database and store answer."""
        await self.records.check()
        await self._blobs.check()

    def _delete_blob(self, blob: Blob) -> None:
        for name in reversed(blob.names):
            self._blobs.delete(name)
        self._renditions.files.remove(blob.sha256)

    async def _drop_renditions(self, record: Record) -> None:
        """Remove what is cached of an image, unless another of its owner has the same bytes."""
        sha256 = record.blob.sha256
        if not await self.records.has_live(record.owner, sha256):
            await self.renderer.forget(record)

    async def _keep(
        self,
        blob: Blob,
        upload: Upload,
        steps: dict[int, Path] | None,
        owner: str,
        client: Client,
        files: ExitStack,
    ) -> None:
        """Store a blob durably; steps that another owner's upload of the same bytes has stored are left as they are.

        Args:
            blob: The blob.
            upload: Its file.
            steps: The files of its smaller copies, or None: its owner has it already.
            owner: Whose it will be.
            client: Who uploads it.
            files: Removes further files when it is closed.
        """
        if await self.catalogue.inventory.claim(blob):
            if steps is not None:
                # Though it is there: see `Inventory.stored`.
                await self._blobs.put(blob.sha256, upload.path, blob.info.media_type, anew=True)
                for reference in await self.catalogue.inventory.checked(
                    blob.sha256, damaged=False, chunks=upload.chunks
                ):
                    self.changes.mark(reference)
            elif not await self.originals.is_there(blob):  # here it is again
                await self._blobs.put(blob.sha256, upload.path, blob.info.media_type, anew=True)
                await self.originals.check(blob)
            return
        if steps is None:  # it has been swept away since
            _, steps = await self.renderer.survey(upload.path, owner, client, files, ladder=True, damaged=True)
        paths = [upload.path, *(steps[step.side] for step in blob.steps)]
        # All of them end before their files go, whatever becomes of one.
        types = [blob.info.media_type, *(None for _ in blob.steps)]
        ends = await asyncio.gather(*map(self._blobs.put, blob.names, paths, types), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _surveyed(
        self, upload: Upload, owner: str, client: Client, files: ExitStack, *, damaged: bool
    ) -> tuple[Survey, dict[int, Path] | None]:
        """Survey an upload, unless its owner has it; the steps of its ladder stay as long as `files` is open.

        Args:
            upload: Its file.
            owner: Whose it will be.
            client: Who uploads it.
            files: Removes further files when it is closed.
            damaged: It is accepted if it has lost pixels; that its owner has it already does not settle that.
        """
        known = await self.catalogue.inventory.stored(upload.sha256, owner)
        if known and known.info.inspection < INSPECTION:
            known = await self.redescribe(known, owner)
        if known and (damaged or not known.info.damaged):
            return Survey(known.info, known.ladder), None
        survey = partial(self.renderer.survey, upload.path, owner, client, files, ladder=self._ladder, damaged=damaged)
        return await self._space.retried(survey)


@dataclass(frozen=True, slots=True)
class _Known:
    """A record that was read.

    Attributes:
        record: The record of the image.
        state: Of the changes, before it was read.
    """

    record: Record
    state: int


def _upload_now(owner: Owner, expires_at: float | None) -> Past:
    """Return what holds of an image that is uploaded now; it expires as its owner's images do unless that is said."""
    now = clock.utc_now()
    return Past(now, owner.end_of(now.timestamp()) if expires_at is None else expires_at, held=False)


def _is_reference(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
