"""The image library: adds, changes, deletes and sweeps images, whichever way a request comes."""

import asyncio
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from progimage import clock
from progimage.auth import Caller, Ticket, Visibility
from progimage.engine import INSPECTION_VERSION, Inspection
from progimage.engine.values import is_reference
from progimage.images.records import RecordCache
from progimage.images.redescription import Redescription
from progimage.images.renderer import Renderer
from progimage.storage import (
    AlreadyStored,
    Blob,
    Catalogue,
    Changes,
    DiskSpace,
    Originals,
    Owner,
    Record,
    UnknownReference,
)
from progimage.storage.blobs.chunk_hashes import Digests
from progimage.tracing import span

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file, in the scratch folder.

    Attributes:
        path: Path of the file.
        sha256: SHA-256 of its bytes, in hexadecimal digits; empty if it won't be stored.
        bytes: Size in bytes.
        filename: Name that the caller gave it, if any.
        chunks: Hashes of its chunks, see `progimage.storage.blobs.chunk_hashes`.
    """

    path: Path
    sha256: str
    bytes: int
    filename: str | None = None
    chunks: Digests = b""


@dataclass(frozen=True, slots=True)
class ImportedHistory:
    """What another deployment knew of an image that is imported; it is kept as it was.

    Attributes:
        uploaded_at: When the image was uploaded there.
        expires_at: Unix timestamp at which it expires; None: never, whatever its owner's retention is.
        held: It has a legal hold.
    """

    uploaded_at: datetime
    expires_at: float | None
    held: bool


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """Options of an upload; they apply to all of its images.

    Attributes:
        visibility: Who may read the images; None: the deployment's default.
        expires_at: Unix timestamp at which they expire; None: after their owner's retention.
        labels: Labels to find them by.
        metadata: Names and values to store with them.
        damaged: Accept images that have lost pixels, as far as they can be decoded.
        past: Their history, if they come from another deployment; its expiry takes precedence over `expires_at`.
    """

    visibility: Visibility | None = None
    expires_at: float | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    damaged: bool = False
    past: ImportedHistory | None = None


class ReferenceTaken(Exception):
    """Another image has this reference."""


class ImageLibrary:
    """Stores images: what the service is, for any way to reach it.

    Args:
        catalogue: The database.
        cached: Records, as they were read lately.
        originals: Reads originals, and finds out which are damaged.
        renderer: Inspects and renders images.
        redescription: Brings descriptions up to date.
        changes: Signals changes to other processes.
        space: Free space on the disks.
        ladder: Make a ladder of each upload.
        undelete_seconds: How long a deleted image can be brought back.
        sweep_seconds: Time between sweeps.

    Attributes:
        records: The records in the database.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        cached: RecordCache,
        originals: Originals,
        renderer: Renderer,
        redescription: Redescription,
        changes: Changes,
        space: DiskSpace,
        *,
        ladder: bool = True,
        undelete_seconds: int = 0,
        sweep_seconds: int = 0,
    ) -> None:
        self.catalogue, self.records = catalogue, catalogue.records
        self.originals, self.renderer, self.changes = originals, renderer, changes
        self.redescription = redescription
        self._blobs, self._cached, self._space = originals.blobs, cached, space
        self._ladder = ladder
        self._undelete_seconds, self._sweep_seconds = undelete_seconds, sweep_seconds

    async def add(
        self,
        caller: Caller,
        uploads: list[Upload],
        options: UploadOptions = UploadOptions(),
        ticket: Ticket | None = None,
        references: list[str] | None = None,
    ) -> list[Record]:
        """Validate and store images, either all or none. They are durable when this returns.

        Args:
            caller: Who uploads them.
            uploads: The uploaded files, at least one.
            options: Options of the upload.
            ticket: The ticket that allows it, if any; the images then belong to the ticket's owner.
            references: References for the images, one per upload; None: new ones. If the same images are already
                stored under them, their records are returned, so a repeated upload stores nothing.

        Raises:
            EngineError: A file isn't an image, is corrupt or too large. A note on the exception says which of several.
            QuotaExceeded: The owner's quota is exceeded.
            TicketUsed: The ticket has been used.
            ReferenceTaken: Another image has one of the references.
        """
        if references:
            known = await self._known_already(references, uploads)
            if known:
                return known
        owners = self.catalogue.owners
        owner = await owners.get(ticket.owner if ticket else caller.principal.owner)
        size = sum(upload.bytes for upload in uploads)
        owners.admit(owner, len(uploads), size)  # early, to save the work; the images are counted when they are stored
        with span("library.add", images=len(uploads), bytes=size), ExitStack() as files:
            inspections = []
            for number, upload in enumerate(uploads, 1):
                try:
                    inspections.append(
                        await self._inspected(upload, owner.name, caller, files, damaged=options.damaged)
                    )
                except Exception as error:
                    if len(uploads) > 1:
                        error.add_note(f"image {number} of {len(uploads)}")
                    raise
            past = options.past or _upload_now(owner, options.expires_at)
            records = []
            given = references or [str(uuid.uuid4()) for _ in uploads]
            for reference, upload, (found, rungs) in zip(given, uploads, inspections, strict=True):
                blob = Blob(upload.sha256, upload.bytes, found.info, found.ladder, upload.chunks)
                await self._space.retried(partial(self._keep, blob, upload, rungs, owner.name, caller, files))
                records.append(
                    Record(
                        reference, blob, upload.filename, past.uploaded_at, owner.name, options.visibility,
                        past.expires_at, held=past.held, labels=options.labels, metadata=options.metadata,
                    )
                )  # fmt: skip
            try:
                await self.records.add(caller, records, (ticket.id, ticket.until) if ticket else None)
            except AlreadyStored:  # by the same request, which was sent twice at once
                records = await self._known_already(given, uploads)
                if not records:  # and they have been purged since
                    raise UnknownReference(given[0]) from None
        return records

    async def _known_already(self, references: list[str], uploads: list[Upload]) -> list[Record]:
        """Return the records with these references, including deleted ones; an empty list if there are none.

        Raises:
            ReferenceTaken: One of them is another image's.
        """
        found = await self.records.among(references)
        if found and [record.blob.sha256 for record in found] != [upload.sha256 for upload in uploads]:
            raise ReferenceTaken(references[0])
        return found

    async def get(self, reference: str) -> Record:
        """Return the record of an image.

        Raises:
            UnknownReference: There is no such image.
        """
        return await self._cached.get(reference)

    async def current(self, record: Record) -> Record:
        """Return a record whose description is up to date, see `Redescription.current`."""
        return await self.redescription.current(record)

    async def change(self, caller: Caller, reference: str, values: dict[str, Any]) -> Record:
        """Change attributes of an image's record, given by name.

        Raises:
            UnknownReference: There is no such image.
        """
        record = await self.records.change(caller, reference, values)
        self.changes.mark(reference)
        if record is None:
            raise UnknownReference(reference)
        return record

    async def remove(self, caller: Caller, reference: str, *, permanently: bool = False) -> None:
        """Delete an image. Unless `permanently`, it can be undeleted for a while.

        Raises:
            UnknownReference: There is no such image.
            Held: The image has a legal hold.
        """
        record = await self.records.delete(caller, reference) if is_reference(reference) else None
        if record:
            self.changes.mark(reference)
            await self._drop_renditions(record)
        if permanently or (record and not self._undelete_seconds):
            await self.purge(caller, reference)
        elif record is None:
            raise UnknownReference(reference)

    async def deleted(self, reference: str) -> Record:
        """Return the record of a deleted image that can be undeleted.

        Raises:
            UnknownReference: There is no such image.
        """
        record = await self.records.get(reference, deleted=True) if is_reference(reference) else None
        if record is None:
            raise UnknownReference(reference)
        return record

    async def undelete(self, caller: Caller, reference: str) -> Record:
        """Restore a deleted image.

        Raises:
            UnknownReference: There is no such image.
        """
        record = await self.records.undelete(caller, reference)
        self.changes.mark(reference)
        if record is None:
            raise UnknownReference(reference)
        return record

    async def purge(self, caller: Caller, reference: str) -> None:
        """Purge a deleted image. The original's bytes are swept when no reference is left, after a grace period.

        Raises:
            UnknownReference: There is no such image.
        """
        record = await self.records.purge(caller, reference)
        if record is None:
            raise UnknownReference(reference)
        await self._drop_renditions(record)

    async def expire(self, limit: int) -> int:
        """Delete at most `limit` expired images, and return their number."""
        records = await self.records.expire(limit)
        for record in records:
            self.changes.mark(record.reference)
            await self._drop_renditions(record)
        return len(records)

    async def purge_deleted(self, caller: Caller, limit: int) -> int:
        """Purge at most `limit` images that can't be undeleted any more, and return their number.

        This takes two sweeps: the first marks an image, and one that comes long enough after it purges it.
        """
        references = await self.records.due_for_purge(self._undelete_seconds, self._sweep_seconds, limit)
        for reference in references:
            record = await self.records.purge(caller, reference, deleted_for=self._undelete_seconds)
            if record:  # else another process was faster, or it was undeleted
                await self._drop_renditions(record)
        return len(references)

    async def sweep(self, unused_for: float) -> int:
        """Delete blobs that no record has referred to for `unused_for` seconds, and return their number."""
        await self._blobs.check()  # before the database notes that they are deleted
        return await self.catalogue.inventory.reclaim(unused_for, self._delete_blob)

    async def check(self) -> None:
        """Raise an exception unless the database and the store respond."""
        await self.records.check()
        await self._blobs.check()

    def _delete_blob(self, blob: Blob) -> None:
        for name in reversed(blob.names):
            self._blobs.delete(name)
        self.renderer.forget_original(blob.sha256)

    async def _drop_renditions(self, record: Record) -> None:
        """Remove cached renditions of an image, unless another image of its owner has the same bytes."""
        sha256 = record.blob.sha256
        if not await self.records.has_live(record.owner, sha256):
            await self.renderer.forget(record)

    async def _keep(
        self,
        blob: Blob,
        upload: Upload,
        rungs: dict[int, Path] | None,
        owner: str,
        caller: Caller,
        files: ExitStack,
    ) -> None:
        """Store a blob durably. Rungs that another owner's upload of the same bytes has stored are kept.

        Args:
            blob: The blob.
            upload: The uploaded file.
            rungs: Files of its ladder; None: the owner has the blob already.
            owner: Owner of the image.
            caller: Who uploads it.
            files: Removes scratch files when it is closed.
        """
        if await self.catalogue.inventory.claim(blob):
            if rungs is not None:
                # Even if it is there: see `Inventory.stored`.
                await self._blobs.put(blob.sha256, upload.path, blob.info.media_type, anew=True)
                for reference in await self.catalogue.inventory.checked(
                    blob.sha256, damaged=False, chunks=upload.chunks
                ):
                    self.changes.mark(reference)
            elif not await self.originals.is_there(blob):  # lost, and this upload restores it
                await self._blobs.put(blob.sha256, upload.path, blob.info.media_type, anew=True)
                await self.originals.check(blob)
            return
        if rungs is None:  # it has been swept meanwhile
            _, rungs = await self.renderer.inspect_upload(upload.path, owner, caller, files, ladder=True, damaged=True)
        paths = [upload.path, *(rungs[rung.side] for rung in blob.rungs)]
        # Wait for all of them, even if one fails: they read scratch files.
        types = [blob.info.media_type, *(None for _ in blob.rungs)]
        ends = await asyncio.gather(*map(self._blobs.put, blob.names, paths, types), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _inspected(
        self, upload: Upload, owner: str, caller: Caller, files: ExitStack, *, damaged: bool
    ) -> tuple[Inspection, dict[int, Path] | None]:
        """Inspect an upload, unless its owner has the same image; its rungs are there as long as `files` is open.

        Args:
            upload: The uploaded file.
            owner: Owner of the image.
            caller: Who uploads it.
            files: Removes scratch files when it is closed.
            damaged: Accept an image that has lost pixels, even if its owner has it already.
        """
        known = await self.catalogue.inventory.stored(upload.sha256, owner)
        if known and known.info.inspection < INSPECTION_VERSION:
            known = await self.redescription.redescribe(known, owner)
        if known and (damaged or not known.info.damaged):
            return Inspection(known.info, known.ladder), None
        inspect_upload = partial(
            self.renderer.inspect_upload, upload.path, owner, caller, files, ladder=self._ladder, damaged=damaged
        )
        return await self._space.retried(inspect_upload)


def _upload_now(owner: Owner, expires_at: float | None) -> ImportedHistory:
    """Return the history of an image that is uploaded now; by default it expires after its owner's retention."""
    now = clock.utc_now()
    return ImportedHistory(now, owner.end_of(now.timestamp()) if expires_at is None else expires_at, held=False)
