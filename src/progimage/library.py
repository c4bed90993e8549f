"""The image library: what the service *is*. HTTP asks it, workers and stores serve it."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import structlog
from cachetools import TTLCache

from progimage.engine import (
    ENGINE_VERSION,
    SIDES,
    ImageInfo,
    InvalidParameter,
    LimitExceeded,
    Limits,
    Placeholder,
    Rendered,
    RenditionSpec,
    Survey,
    Swatch,
    inspect,
    palette,
    placeholder,
    render,
    survey,
)
from progimage.storage import Blob, BlobMissing, BlobStore, Deletions, Record, Records, RenditionCache, Spool
from progimage.workers import SingleFlight, WorkerPool

_T = TypeVar("_T")
log = structlog.get_logger(__name__)

KNOWN_SECONDS = 5
"""For how long what was read from the database counts. This node tells itself of deletions; other nodes do not."""
_KNOWN_RECORDS = 20_000
_LIGHT_WORK = 40_000_000
"""A task with no more work than that is light: it takes a few tenths of a second at most."""


class UnknownReference(Exception):
    """No image has this reference."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has arrived in the spool.

    Attributes:
        path: Where it is.
        sha256: Of its bytes, in hexadecimal digits; empty if it is not to be stored.
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
        deletions: Tells what all processes delete.
        spool: Scratch files.
        pool: The workers.
        limits: The largest image to accept.
        watcher: Is told of every rendition.
        ladder: Make smaller copies of what is uploaded.
    """

    def __init__(
        self,
        records: Records,
        blobs: BlobStore,
        renditions: RenditionCache,
        deletions: Deletions,
        spool: Spool,
        pool: WorkerPool,
        limits: Limits,
        watcher: Watcher,
        *,
        ladder: bool = True,
    ) -> None:
        """Bring the parts together."""
        self.records = records
        self.blobs = blobs
        self.renditions = renditions
        self.deletions = deletions
        self.spool = spool
        self.pool = pool
        self._limits = limits
        self._light = replace(limits, work=_LIGHT_WORK)
        self.watcher = watcher
        self._ladder = ladder
        self._known: TTLCache[str, _Known] = TTLCache(_KNOWN_RECORDS, KNOWN_SECONDS)
        self._rendering = SingleFlight()

    async def add(self, uploads: list[Upload]) -> list[Record]:
        """Validate images and keep them, all or none. They are safe on disk when it returns.

        Raises:
            EngineError: One is not an image, is corrupt, or too large. Of several, a note on the exception says which.
        """
        with ExitStack() as files:
            surveys = []
            for number, upload in enumerate(uploads, 1):
                try:
                    surveys.append(await self._surveyed(upload, files))
                except Exception as error:
                    if len(uploads) > 1:
                        error.add_note(f"image {number} of {len(uploads)}")
                    raise
            now = datetime.now(UTC)
            records = []
            for upload, (survey, steps) in zip(uploads, surveys, strict=True):
                blob = Blob(upload.sha256, upload.bytes, survey.info, survey.ladder)
                if not await self.records.claim(blob):
                    if blob.steps and not steps:  # it was known, and has been swept away since
                        _, steps = await self._surveyed(upload, files, anew=True)
                    paths = [upload.path, *(steps[step.side] for step in blob.steps)]
                    # All of them end before their files go, whatever becomes of one.
                    ends = await asyncio.gather(*map(self.blobs.put, blob.names, paths), return_exceptions=True)
                    for end in ends:
                        if isinstance(end, BaseException):
                            raise end
                records.append(Record(str(uuid.uuid4()), blob, upload.filename, now))
            await self.records.add(records)
        return records

    async def get(self, reference: str) -> Record:
        """Return the record of a reference.

        Raises:
            UnknownReference: There is none.
        """
        seen = self.deletions.state(reference)
        known: _Known | None = self._known.get(reference)
        if known and known.state == seen:
            return known.record
        record = await self.records.get(reference) if _is_reference(reference) else None
        if record is None:
            raise UnknownReference(reference)
        self._known[reference] = _Known(record, seen)
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
        cached = self.renditions.get(record.blob.sha256, name)
        if cached:
            self.watcher.rendition(spec.format, None)
            return cached
        return await self._rendering.once(name, lambda: self._render(record, spec, name))

    async def transform(self, source: Path, spec: RenditionSpec, target: Path) -> Rendered:
        """Render a file that is not stored.

        Args:
            source: A file in the spool's `incoming`.
            spec: What to make of it.
            target: Where to, in the spool's `outgoing`.

        Raises:
            EngineError: It can't be rendered.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        started = asyncio.get_running_loop().time()
        with ExitStack() as files:
            images = await self._other_images(spec, files)
            rendered = await self._run(render, lambda limits: (source, spec, target, limits, images))
        self.watcher.rendition(spec.format, asyncio.get_running_loop().time() - started)
        return rendered

    async def inspect(self, source: Path) -> ImageInfo:
        """Tell what an image that is not stored is like.

        Args:
            source: A file in the spool's `incoming`.

        Raises:
            EngineError: It is not an image, is corrupt, or too large.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        return await self._run(inspect, lambda limits: (source, limits))

    async def placeholder(self, record: Record) -> Placeholder:
        """Return what to show until the picture is there."""
        answer = await self._remembered(record, "placeholder", placeholder)
        return msgspec.json.decode(answer, type=Placeholder)

    async def palette(self, record: Record, colours: int) -> list[Swatch]:
        """Return the dominant colours, at most so many."""
        answer = await self._remembered(record, f"palette {colours}", palette, colours)
        return msgspec.json.decode(answer, type=list[Swatch])

    async def remove(self, reference: str) -> None:
        """Remove a reference; the original's bytes go with its last one, after a time of grace.

        Raises:
            UnknownReference: There is none.
        """
        removed = await self.records.remove(reference) if _is_reference(reference) else None
        if removed is None:
            raise UnknownReference(reference)
        self.deletions.mark(reference)
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

    async def _remembered(self, record: Record, what: str, function: Callable[..., Any], *options: Any) -> bytes:
        """Return what a function of the engine says of an original, as JSON; it is kept as a rendition is."""
        name = result_digest(record, what)
        path = self.renditions.get(record.blob.sha256, name)
        if path is None:
            path = await self._rendering.once(name, lambda: self._look(record, name, function, *options))
        return await asyncio.to_thread(path.read_bytes)

    async def _look(self, record: Record, name: str, function: Callable[..., Any], *options: Any) -> Path:
        with self.spool.file(self.spool.incoming) as source, self.spool.file(self.spool.outgoing) as target:
            await self.blobs.fetch(record.blob.sha256, source)
            found = await self._run(function, lambda limits: (source, *options, limits))
            await asyncio.to_thread(target.write_bytes, msgspec.json.encode(found))
            return await asyncio.to_thread(self.renditions.add, record.blob.sha256, name, target)

    async def _other_images(self, spec: RenditionSpec, files: ExitStack) -> dict[str, Path]:
        """Fetch the other images that a spec refers to.

        Raises:
            InvalidParameter: There is no such image.
        """
        paths: dict[str, Path] = {}
        for parameter, reference in spec.references().items():
            if reference in paths:
                continue
            record = await self.records.get(reference)
            if record is None:
                raise InvalidParameter(parameter, reference, "the reference of a stored image")
            paths[reference] = files.enter_context(self.spool.file(self.spool.incoming))
            await self.blobs.fetch(record.blob.sha256, paths[reference])
        return paths

    def _delete_blob(self, blob: Blob) -> None:
        for name in reversed(blob.names):
            self.blobs.delete(name)
        self.renditions.remove(blob.sha256)

    async def _surveyed(
        self, upload: Upload, files: ExitStack, *, anew: bool = False
    ) -> tuple[Survey, dict[int, Path]]:
        """Survey an upload, unless its bytes are known; the steps of its ladder stay as long as `files` is open."""
        known = None if anew else await self.records.stored_blob(upload.sha256)
        if known:
            return Survey(known.info, known.ladder), {}
        sides = SIDES if self._ladder or anew else ()
        steps = {side: files.enter_context(self.spool.file(self.spool.outgoing)) for side in sides}
        return await self._run(survey, lambda limits: (upload.path, limits, steps)), steps

    async def _render(self, record: Record, spec: RenditionSpec, name: str) -> Path:
        started = asyncio.get_running_loop().time()
        with ExitStack() as files:
            source = files.enter_context(self.spool.file(self.spool.incoming))
            target = files.enter_context(self.spool.file(self.spool.outgoing))
            images = await self._other_images(spec, files)
            stands_for = await self._fetch_source(record.blob, spec, source)
            await self._run(render, lambda limits: (source, spec, target, limits, images, stands_for))
            path = await asyncio.to_thread(self.renditions.add, record.blob.sha256, name, target)
        self.watcher.rendition(spec.format, asyncio.get_running_loop().time() - started)
        return path

    async def _run(self, function: Callable[..., _T], arguments: Callable[[Limits], tuple[Any, ...]]) -> _T:
        """Run a task on an image, as a light one unless its header says that it is not.

        Args:
            function: What to run.
            arguments: Makes its arguments with the limits to keep to.
        """
        try:
            return await self.pool.run(function, *arguments(self._light))
        except LimitExceeded:
            return await self.pool.run(function, *arguments(self._limits), heavy=True)

    async def _fetch_source(self, blob: Blob, spec: RenditionSpec, source: Path) -> tuple[int, int] | None:
        """Bring what a rendition is made of: the original, or a step of the ladder, for whose full size it stands."""
        step = blob.ladder.step_for(spec) if blob.ladder else None
        if blob.ladder and step:
            try:
                await self.blobs.fetch(blob.step_name(step), source)
            except BlobMissing as error:
                log.warning("a step of a ladder is missing; the original is taken", name=str(error))
            else:
                return blob.ladder.size
        await self.blobs.fetch(blob.sha256, source)
        return None


@dataclass(frozen=True, slots=True)
class _Known:
    """A record that was read.

    Attributes:
        record: It.
        state: Of the deletions, before it was read.
    """

    record: Record
    state: int


def is_original(record: Record, spec: RenditionSpec) -> bool:
    """Tell whether a spec asks for nothing but what the original is, so that its own bytes are the answer."""
    return spec.canonical() == record.blob.info.format


def rendition_digest(record: Record, spec: RenditionSpec) -> str:
    """Return the name of a rendition, known before it is made: equal for equal bytes, and for no others."""
    return result_digest(record, spec.canonical())


def result_digest(record: Record, what: str) -> str:
    """Return the name of what the engine makes of an original, such as "PNG?width=300" or "placeholder"."""
    parts = f"{record.blob.sha256} {what} {ENGINE_VERSION}"
    return hashlib.sha256(parts.encode()).hexdigest()[:40]


def _is_reference(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
