"""The image library: what the service *is*. HTTP asks it, workers and stores serve it."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from progimage.engine import ENGINE_VERSION, ImageInfo, Limits, RenditionSpec, inspect, render
from progimage.storage import Blob, BlobStore, Record, Records, RenditionCache, Spool
from progimage.workers import WorkerPool


class UnknownReference(Exception):
    """No image has this reference."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has arrived in the spool.

    Attributes:
        path: Where it is.
        sha256: Of its bytes, in hexadecimal digits.
        bytes: How many it has.
        filename: What the client called it, if it said.
    """

    path: Path
    sha256: str
    bytes: int
    filename: str | None = None


class Watcher(Protocol):
    """Is told what happens, to count it."""

    def rendition(self, format: str, seconds: float | None) -> None:
        """A rendition was answered: from the cache, or rendered in so many seconds."""


class ImageLibrary:
    """Keeps originals, and renders any of them in any format.

    Args:
        records: The database.
        blobs: The store of originals.
        renditions: The cache of renditions.
        spool: Scratch files.
        pool: The workers.
        limits: The largest image to accept.
        watcher: Is told of every rendition.
    """

    def __init__(
        self,
        records: Records,
        blobs: BlobStore,
        renditions: RenditionCache,
        spool: Spool,
        pool: WorkerPool,
        limits: Limits,
        watcher: Watcher,
    ) -> None:
        """Bring the parts together."""
        self.records = records
        self.blobs = blobs
        self.renditions = renditions
        self.spool = spool
        self.pool = pool
        self._limits = limits
        self._watcher = watcher
        self._rendering: dict[str, _Flight] = {}

    async def add(self, uploads: list[Upload]) -> list[Record]:
        """Validate images and keep them, all or none. They are safe on disk when it returns.

        Raises:
            EngineError: One is not an image, is corrupt, or too large. Of several, a note on the exception says which.
        """
        infos = []
        for number, upload in enumerate(uploads, 1):
            try:
                infos.append(await self._validated(upload))
            except Exception as error:
                if len(uploads) > 1:
                    error.add_note(f"image {number} of {len(uploads)}")
                raise
        now = datetime.now(UTC)
        records = []
        for upload, info in zip(uploads, infos, strict=True):
            blob = Blob(upload.sha256, upload.bytes, info)
            if not await self.records.claim(blob):
                await self.blobs.put(blob.sha256, upload.path)
            records.append(Record(str(uuid.uuid4()), blob, upload.filename, now))
        await self.records.add(records)
        return records

    async def get(self, reference: str) -> Record:
        """Return the record of a reference.

        Raises:
            UnknownReference: There is none.
        """
        record = await self.records.get(reference) if _is_reference(reference) else None
        if record is None:
            raise UnknownReference(reference)
        return record

    def original_path(self, record: Record) -> Path | None:
        """Return the file of an original, if the store has files."""
        return self.blobs.local_path(record.blob.sha256)

    def original_stream(self, record: Record, start: int, end: int) -> AsyncIterator[bytes]:
        """Read an original's bytes from `start` up to, and without, `end`."""
        return self.blobs.stream(record.blob.sha256, start, end)

    async def rendition(self, record: Record, spec: RenditionSpec) -> Path:
        """Return the file of a rendition, from the cache or freshly rendered.

        Of several requests for the same one, one renders and the others wait; when all of them have given up, the
        worker is stopped.

        Raises:
            EngineError: It can't be rendered.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        name = rendition_digest(record, spec)
        cached = await asyncio.to_thread(self.renditions.get, record.blob.sha256, name)
        if cached:
            self._watcher.rendition(spec.format, None)
            return cached
        flight = self._rendering.get(name)
        if flight is None:
            flight = _Flight(asyncio.create_task(self._render(record, spec, name)))
            self._rendering[name] = flight
            flight.task.add_done_callback(lambda _: self._land(name, flight))
        try:
            return await flight.join()
        finally:
            if flight.abandoned:
                self._land(name, flight)

    async def remove(self, reference: str) -> None:
        """Remove a reference; the original's bytes go with its last one, after a time of grace.

        Raises:
            UnknownReference: There is none.
        """
        removed = await self.records.remove(reference) if _is_reference(reference) else None
        if removed is None:
            raise UnknownReference(reference)
        record, last = removed
        if last:
            await asyncio.to_thread(self.renditions.remove, record.blob.sha256)

    async def sweep(self, unused_for: float) -> int:
        """Remove the bytes that no record has referred to for so many seconds, and return how many there were."""
        return await self.records.reclaim(unused_for, self._delete_blob)

    async def check(self) -> None:
        """Raise an exception unless database and store answer."""
        await self.records.check()
        await self.blobs.check()

    def _land(self, name: str, flight: "_Flight") -> None:
        if self._rendering.get(name) is flight:
            del self._rendering[name]

    def _delete_blob(self, sha256: str) -> None:
        self.blobs.delete(sha256)
        self.renditions.remove(sha256)

    async def _validated(self, upload: Upload) -> ImageInfo:
        known = await self.records.stored_blob(upload.sha256)
        if known:
            return known.info
        return await self.pool.run(inspect, upload.path, self._limits)

    async def _render(self, record: Record, spec: RenditionSpec, name: str) -> Path:
        started = asyncio.get_running_loop().time()
        with self.spool.file(self.spool.incoming) as source, self.spool.file(self.spool.outgoing) as target:
            await self.blobs.fetch(record.blob.sha256, source)
            await self.pool.run(render, source, spec, target, self._limits)
            path = await asyncio.to_thread(self.renditions.add, record.blob.sha256, name, target)
        self._watcher.rendition(spec.format, asyncio.get_running_loop().time() - started)
        return path


class _Flight:
    """One rendering that any number of requests wait for."""

    def __init__(self, task: "asyncio.Task[Path]") -> None:
        self.task = task
        self.abandoned = False
        self._waiting = 0

    async def join(self) -> Path:
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self.abandoned = True
                self.task.cancel()


def is_original(record: Record, spec: RenditionSpec) -> bool:
    """Tell whether a spec asks for nothing but what the original is, so that its own bytes are the answer."""
    return spec == RenditionSpec(record.blob.info.format)


def rendition_digest(record: Record, spec: RenditionSpec) -> str:
    """Return the name of a rendition, known before it is made: equal for equal bytes, and for no others."""
    parts = f"{record.blob.sha256} {spec.canonical()} {ENGINE_VERSION}"
    return hashlib.sha256(parts.encode()).hexdigest()[:40]


def _is_reference(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
