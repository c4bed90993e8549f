"""Rendering: the engine's results, made in workers, each once, and kept in the rendition cache."""

import asyncio
import hashlib
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from progimage.auth import Caller, caller_name
from progimage.engine import (
    ENGINE_VERSION,
    SIDES,
    Facts,
    ImageInfo,
    Inspection,
    InvalidParameter,
    Limits,
    Placeholder,
    Rendered,
    RenditionSpec,
    Rung,
    Swatch,
    TooCostly,
    analysis_cost,
    fonts_digest,
    may_serve,
    pyramid_cost,
    rendition_cost,
)
from progimage.engine.copying import COPY_COST, asks_for_copy
from progimage.engine.faces import DETECTOR
from progimage.engine.spec import keeps_gain_map
from progimage.images.records import RecordCache
from progimage.single_flight import SingleFlight
from progimage.storage import (
    BlobDamaged,
    BlobMissing,
    DiskSpace,
    Originals,
    Record,
    Renditions,
    ScratchFolder,
    UnknownReference,
)
from progimage.storage.blobs.verification import hashed
from progimage.tracing import span
from progimage.workers import CpuBudgetExceeded, Requester, WorkerPool
from progimage.workers.tasks import (
    InspectTask,
    InspectUploadTask,
    PaletteTask,
    PlaceholderTask,
    PyramidTask,
    RenderTask,
    Task,
)

log = structlog.get_logger(__name__)

LIGHT_SECONDS = 0.3
"""A task is light if its estimated CPU time is at most this."""
_LIGHT_LIMIT_SECONDS = 5 * LIGHT_SECONDS
"""A light task that has taken this much CPU time is stopped and restarted as a heavy one."""
_UNKNOWN_COST = 0.1
"""Estimated CPU time of a task before the image has been inspected, in seconds."""


class DrawingTooCostly(Exception):
    """A drawing takes too much CPU time.

    Args:
        seconds: The most CPU time that a drawing may take.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The drawing takes more than {seconds:g} seconds of CPU time.")
        self.seconds = seconds


class Observer(Protocol):
    """Observes renditions, to count them."""

    def rendition(self, format: str, seconds: float | None) -> None:
        """Note a rendition: rendered in so many seconds, or None: from the cache."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """A rendition of a stored image, made or not.

    Attributes:
        record: Record of the image.
        spec: What to render.
        digest: Name of the result: equal for equal bytes of the same owner, and for no others. Each owner has its
            own, else a cached rendition would reveal that another owner has the same image.
    """

    record: Record
    spec: RenditionSpec
    digest: str

    @classmethod
    def of(cls, record: Record, spec: RenditionSpec) -> "Rendition":
        """Return the rendition of an image that a spec asks for."""
        finds_faces = any(operations.gravity == "face" for operations in spec.stages)
        name = f"{spec.canonical()} {DETECTOR}" if finds_faces else spec.canonical()
        return cls(record, spec, result_digest(record, name))


class Renderer:
    """Inspects and renders images, stored or not.

    Args:
        cached: Records, as they were read lately.
        originals: Reads originals.
        renditions: The rendition cache.
        scratch: Scratch files.
        pool: The workers.
        limits: Limits on images.
        observer: Observes renditions.
        space: Free space on the disks.
        drawing_seconds: The most CPU time of a task that has a drawing in it.
    """

    def __init__(
        self,
        cached: RecordCache,
        originals: Originals,
        renditions: Renditions,
        scratch: ScratchFolder,
        pool: WorkerPool,
        limits: Limits,
        observer: Observer,
        space: DiskSpace,
        drawing_seconds: float,
    ) -> None:
        self._records = cached
        self._originals = originals
        self._renditions = renditions
        self.scratch = scratch
        self.pool = pool
        self._limits = replace(limits, damaged=True)  # stored images were accepted as they are
        self._light = replace(self._limits, cost=LIGHT_SECONDS)
        self._drawing_seconds = drawing_seconds
        self.observer, self._space = observer, space
        self._rendering: SingleFlight[Path] = SingleFlight()

    async def cached(self, wanted: Rendition) -> Path | None:
        """Return the file of a rendition if it is in the cache."""
        record = wanted.record
        path = await self._renditions.get(record.blob.sha256, record.owner, wanted.digest)
        if path:
            self.observer.rendition(wanted.spec.format, None)
        return path

    def is_right(self, path: Path, body: bytes) -> bool:
        """Return whether bytes are the whole file of a cached rendition."""
        return self._renditions.is_right(path, body)

    async def rendition(self, wanted: Rendition, caller: Caller) -> Path:
        """Return the file of a rendition, from the cache or freshly rendered; see `render`.

        Raises:
            BlobDamaged: The original is damaged.
        """
        self._originals.require_whole(wanted.record.blob)
        return await self.cached(wanted) or await self.render(wanted, caller)

    async def render(self, wanted: Rendition, caller: Caller) -> Path:
        """Render an image, and return the file in the cache.

        Of several calls for the same rendition, one renders and the others wait. When all of them have been
        cancelled, the worker is stopped.

        Args:
            wanted: The rendition.
            caller: Who waits for it, and whose turn at the workers it takes.

        Raises:
            EngineError: It can't be rendered.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        render = partial(self._render, wanted, caller)
        return await self._rendering.once(wanted.digest, lambda: self._space.retried(render))

    async def transform(
        self, source: Path, spec: RenditionSpec, target: Path, caller: Caller, *, damaged: bool = False
    ) -> Rendered:
        """Render a file that is not stored.

        Args:
            source: A file in the scratch folder's `incoming`.
            spec: What to render.
            target: The file to write, in the scratch folder's `outgoing`.
            caller: Who waits for it, and whose turn at the workers it takes.
            damaged: Accept an image that has lost pixels.

        Raises:
            EngineError: It can't be rendered.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        started = asyncio.get_running_loop().time()
        with ExitStack() as files:
            others = await self._other_images(spec, files)
            rendered: Rendered = await self._run(
                lambda limits: RenderTask(spec.canonical(), limits, others.references),
                Requester(caller_name(caller), others.owners | {_unstored(caller)}),
                [source, *others.paths],
                [target],
                damaged=damaged,
            )
        self.observer.rendition(spec.format, asyncio.get_running_loop().time() - started)
        return rendered

    async def inspect(self, source: Path, caller: Caller, *, damaged: bool = False) -> ImageInfo:
        """Describe an image that is not stored.

        Args:
            source: A file in the scratch folder's `incoming`.
            caller: Who waits for it, and whose turn at the workers it takes.
            damaged: Accept an image that has lost pixels.

        Raises:
            EngineError: The file isn't an image, is corrupt, or too large.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        whom = Requester(caller_name(caller), frozenset((_unstored(caller),)))
        info: ImageInfo = await self._run(InspectTask, whom, [source], damaged=damaged)
        return info

    async def placeholder(self, record: Record, caller: Caller) -> Placeholder:
        """Return the placeholders of an image."""
        document = await self._remembered(record, "placeholder", caller, PlaceholderTask)
        return msgspec.json.decode(document, type=Placeholder)

    async def palette(self, record: Record, colours: int, caller: Caller) -> list[Swatch]:
        """Return at most `colours` dominant colours."""
        document = await self._remembered(
            record, f"palette {colours}", caller, lambda limits: PaletteTask(limits, colours)
        )
        return msgspec.json.decode(document, type=list[Swatch])

    async def inspect_upload(
        self, source: Path, owner: str, caller: Caller, files: ExitStack, *, ladder: bool, damaged: bool
    ) -> tuple[Inspection, dict[int, Path]]:
        """Validate and describe an upload, and make its ladder.

        Args:
            source: A file in the scratch folder's `incoming`.
            owner: Owner of the image.
            caller: Who waits for it, and whose turn at the workers it takes.
            files: Removes the rungs' files when it is closed.
            ladder: Make a ladder.
            damaged: Accept an image that has lost pixels.

        Returns:
            The inspection, and the files of the rungs by their side.

        Raises:
            EngineError: The file isn't an image, is corrupt, or too large.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        sides = SIDES if ladder else ()
        rungs = {side: files.enter_context(self.scratch.file(self.scratch.outgoing)) for side in sides}
        whom = Requester(caller_name(caller), frozenset((owner,)))
        found: Inspection = await self._run(
            lambda limits: InspectUploadTask(limits, sides), whom, [source], list(rungs.values()), damaged=damaged
        )
        if found.ladder:  # measured here: the worker isn't trusted
            measured = await asyncio.to_thread(_measured, found.ladder.rungs, rungs)
            found = replace(found, ladder=msgspec.structs.replace(found.ladder, rungs=measured))
        return found, rungs

    async def forget(self, record: Record) -> None:
        """Remove an owner's cached renditions of an image."""
        await self._renditions.remove(record.blob.sha256, record.owner)

    def forget_original(self, sha256: str) -> None:
        """Remove all renditions of an original from this node's cache. Blocks."""
        self._renditions.files.remove(sha256)

    async def _remembered(self, record: Record, what: str, caller: Caller, task: Callable[[Limits], Task]) -> bytes:
        """Return the result of a task on an original, as JSON; it is cached like a rendition."""

        async def make(source: Path, target: Path) -> None:
            facts = record.blob.info.facts()
            found = await self._run(
                task, _for(record, caller), [source], cost=analysis_cost(facts), drawing=facts.is_drawing
            )
            await asyncio.to_thread(target.write_bytes, msgspec.json.encode(found))

        path = await self._kept(record, what, make)
        return await asyncio.to_thread(path.read_bytes)

    async def _kept(self, record: Record, what: str, make: Callable[[Path, Path], Awaitable[None]]) -> Path:
        """Return a file made of an original, from the cache or made now; once, however many callers wait.

        Args:
            record: Record of the original.
            what: Name of the file's content, see `result_digest`.
            make: Makes the file, given the paths of the original and of the result.
        """
        self._originals.require_whole(record.blob)
        name = result_digest(record, what)
        path = await self._renditions.get(record.blob.sha256, record.owner, name)
        return path or await self._rendering.once(
            name, lambda: self._space.retried(partial(self._make, record, name, make))
        )

    async def _make(self, record: Record, name: str, make: Callable[[Path, Path], Awaitable[None]]) -> Path:
        shared = await self._renditions.fetch_shared(record.blob.sha256, record.owner, name)
        if shared:
            return shared
        with self.scratch.file(self.scratch.incoming) as source, self.scratch.file(self.scratch.outgoing) as target:
            await self._originals.fetch(record.blob, source)
            await make(source, target)
            return await self._cache(record, name, target)

    async def _other_images(self, spec: RenditionSpec, files: ExitStack) -> "_Others":
        """Fetch the other images that a spec refers to.

        Raises:
            InvalidParameter: An image doesn't exist.
        """
        paths: dict[str, Path] = {}
        records: list[Record] = []
        for parameter, reference in spec.references().items():
            if reference in paths:
                continue
            try:
                record = await self._records.get(reference)
            except UnknownReference:
                raise InvalidParameter(parameter, reference, "the reference of a stored image") from None
            records.append(record)
            paths[reference] = files.enter_context(self.scratch.file(self.scratch.incoming))
            await self._originals.fetch(record.blob, paths[reference])
        return _Others(
            tuple(paths),
            list(paths.values()),
            frozenset(record.owner for record in records),
            {reference: record.blob.info.facts() for reference, record in zip(paths, records, strict=True)},
        )

    async def _cache(self, record: Record, name: str, file: Path) -> Path:
        return await self._renditions.add(record.blob.sha256, record.owner, name, file)

    async def _render(self, wanted: Rendition, caller: Caller) -> Path:
        record, spec, name = wanted.record, wanted.spec, wanted.digest
        started = asyncio.get_running_loop().time()
        with span("rendition", format=spec.format), ExitStack() as files:
            # Another request may have made it while this one waited for its turn, or another node may have.
            made = await self.cached(wanted)
            if made:
                return made
            shared = await self._renditions.fetch_shared(record.blob.sha256, record.owner, name)
            if shared:
                self.observer.rendition(spec.format, None)
                return shared
            source = files.enter_context(self.scratch.file(self.scratch.incoming))
            target = files.enter_context(self.scratch.file(self.scratch.outgoing))
            others = await self._other_images(spec, files)
            facts = await self._fetch_source(record, spec, source, caller)
            stands_for = facts.size if facts.copy else None
            await self._run(
                lambda limits: RenderTask(
                    spec.canonical(), limits, others.references, stands_for, facts.part, not record.blob.info.damaged
                ),
                _for(record, caller, others.owners),
                [source, *others.paths],
                [target],
                cost=_cost(facts, spec, others.facts),
                drawing=any(one.is_drawing for one in (facts, *others.facts.values())),
            )
            path = await self._cache(record, name, target)
        self.observer.rendition(spec.format, asyncio.get_running_loop().time() - started)
        return path

    async def _run(
        self,
        task: Callable[[Limits], Task],
        whom: Requester,
        inputs: Sequence[Path],
        outputs: Sequence[Path] = (),
        *,
        cost: float | None = None,
        drawing: bool = False,
        damaged: bool = True,
    ) -> Any:
        """Run a task as a light one, or as a heavy one if it is, or turns out to be.

        Args:
            task: Makes the task, given limits.
            whom: For whom it runs.
            inputs: Files that it reads.
            outputs: Files that it writes.
            cost: Estimated CPU time in seconds; None: the worker estimates it.
            drawing: One of the images is a drawing, whose CPU time can't be estimated.
            damaged: Accept an image that has lost pixels.

        Raises:
            DrawingTooCostly: A drawing takes too much CPU time.
        """
        if not drawing and (cost is None or cost <= LIGHT_SECONDS):
            cpu_seconds = (
                _LIGHT_LIMIT_SECONDS if self.pool.workers > 1 else None
            )  # with one worker, there is no other lane
            try:
                return await self.pool.run(
                    task(replace(self._light, damaged=damaged)),
                    whom,
                    inputs,
                    outputs,
                    cost=cost or _UNKNOWN_COST,
                    cpu_seconds=cpu_seconds,
                )
            except TooCostly as found:
                cost, drawing = found.cost, found.drawing
            except CpuBudgetExceeded:
                log.info("task took longer than estimated, restarted as a heavy one", estimated=cost)
                cost = _LIGHT_LIMIT_SECONDS
        cpu_seconds = self._drawing_seconds if drawing else None
        try:
            return await self.pool.run(
                task(replace(self._limits, damaged=damaged)),
                whom,
                inputs,
                outputs,
                cost=cost or _UNKNOWN_COST,
                heavy=True,
                cpu_seconds=cpu_seconds,
            )
        except CpuBudgetExceeded as error:
            raise DrawingTooCostly(error.seconds) from None

    async def _fetch_source(self, record: Record, spec: RenditionSpec, source: Path, caller: Caller) -> Facts:
        """Fetch the source of a rendition: the original, a rung of its ladder, or its pyramid; return its facts."""
        blob = record.blob
        facts = blob.info.facts(upright=spec.autorotate)
        ladder = blob.ladder
        if spec.hdr == "keep" or (blob.info.gain_map and keeps_gain_map(spec)):
            ladder = None  # rungs are SDR, and have no gain map
        if asks_for_copy(spec, facts.format):
            ladder = None
        rung = ladder.rung_for(spec) if ladder else None
        if ladder and rung:
            try:
                await self._originals.fetch_rung(blob, rung, source)
            except (BlobMissing, BlobDamaged) as error:
                log.warning("rung is missing or damaged, the original is used", name=str(error))
                source.unlink(missing_ok=True)
            else:
                full = ladder.size
                return replace(facts, width=full[0], height=full[1], copy=(rung.width, rung.height))
        if ladder and may_serve(ladder, spec) and await self._fetch_pyramid(record, source, caller):
            return replace(facts, part=True)
        await self._originals.fetch(blob, source)
        return facts

    async def _fetch_pyramid(self, record: Record, source: Path, caller: Caller) -> bool:
        """Fetch the pyramid of an image, made if needed; return False if it was evicted meanwhile."""

        async def make(original: Path, target: Path) -> None:
            with span("pyramid"):
                task = PyramidTask(record.blob.info.line_art, self._limits)
                cost = pyramid_cost(record.blob.info.facts())
                await self.pool.run(task, _for(record, caller), [original], [target], cost=cost, heavy=True)

        path = await self._kept(record, "pyramid", make)
        try:
            await asyncio.to_thread(_link_or_copy, path, source)
        except FileNotFoundError:  # evicted just now
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Others:
    """The other images of a rendition, in the order of the spec.

    Attributes:
        references: Their references.
        paths: Their files.
        owners: Their owners.
        facts: Facts about them, by reference.
    """

    references: tuple[str, ...]
    paths: list[Path]
    owners: frozenset[str]
    facts: dict[str, Facts]


def _measured(made: Sequence[Rung], files: dict[int, Path]) -> tuple[Rung, ...]:
    """Return rungs with the sizes and hashes of their files."""
    return tuple(
        replace(rung, bytes=files[rung.side].stat().st_size, sha256=hashed(files[rung.side]).hex()) for rung in made
    )


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except FileNotFoundError:
        raise
    except OSError:  # the scratch folder is on another file system
        shutil.copyfile(path, target)


def _for(record: Record, caller: Caller, owners: frozenset[str] = frozenset()) -> Requester:
    """Return for whom a task on a stored image runs; `owners` have other images in it."""
    return Requester(caller_name(caller), owners | {record.owner})


def _unstored(caller: Caller) -> str:
    """Return the owner of an image that is only transformed: the key's owner, or the caller's address."""
    return caller.principal.owner if caller.principal.key_id else caller_name(caller)


def _cost(facts: Facts, spec: RenditionSpec, others: dict[str, Facts]) -> float:
    """Estimate the cost of a rendition; what turns out not to be a copy is restarted as a heavy task."""
    return COPY_COST if asks_for_copy(spec, facts.format) else rendition_cost(facts, spec, others)


def result_digest(record: Record, what: str) -> str:
    """Return the digest of a result of the engine, such as "PNG?width=300" or "placeholder"."""
    parts = f"{record.blob.sha256} {record.owner} {what} {ENGINE_VERSION} {fonts_digest()}"
    return hashlib.sha256(parts.encode()).hexdigest()[:40]
