"""Rendering: what the engine makes of images, in workers, each result once, and kept in the cache."""

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

from progimage.auth import Client, client_name
from progimage.engine import (
    ENGINE_VERSION,
    SIDES,
    Facts,
    ImageInfo,
    InvalidParameter,
    Limits,
    Placeholder,
    Rendered,
    RenditionSpec,
    Step,
    Survey,
    Swatch,
    TooCostly,
    fonts_digest,
    look_cost,
    may_serve,
    pyramid_cost,
    rendition_cost,
)
from progimage.engine.copying import COPY_COST, asks_for_copy
from progimage.engine.faces import DETECTOR
from progimage.engine.spec import keeps_gain_map
from progimage.single_flight import SingleFlight
from progimage.storage import (
    BlobDamaged,
    BlobMissing,
    DiskSpace,
    Originals,
    Record,
    Renditions,
    Spool,
    UnknownReference,
)
from progimage.storage.blobs.verification import hashed
from progimage.tracing import span
from progimage.workers import CpuBudgetExceeded, For, WorkerPool
from progimage.workers.tasks import (
    InspectTask,
    PaletteTask,
    PlaceholderTask,
    PyramidTask,
    RenderTask,
    SurveyTask,
    Task,
)

log = structlog.get_logger(__name__)

LIGHT_SECONDS = 0.3
"""A task that is reckoned to take no more CPU time than that is light."""
_LIGHT_MOST = 5 * LIGHT_SECONDS
"""A light task that has taken so much is not: it is stopped, and begun again as a heavy one."""
_UNKNOWN_COST = 0.1
"""What a task is reckoned to take before anybody has looked at the image."""


class DrawingTooCostly(Exception):
    """An image has a drawing in it that takes more CPU time to draw than a drawing may.

    Args:
        seconds: How much it may.
    """

    def __init__(self, seconds: float) -> None:
        """Keep the number of seconds."""
        super().__init__(f"The drawing takes more than {seconds:g} seconds of CPU time.")
        self.seconds = seconds


class Watcher(Protocol):
    """Is told what happens, to count it."""

    def rendition(self, format: str, seconds: float | None) -> None:
        """A rendition was answered: from the cache, or rendered in so many seconds."""


class Renderer:
    """Renders images that are stored, and such as are not, and looks at them.

    Args:
        find: Returns the record of a reference.
        originals: What is stored.
        renditions: Those that were made.
        spool: Scratch files.
        pool: The workers.
        limits: The largest image to accept.
        watcher: Is told of every rendition.
        space: The room on the disk.
        drawing_seconds: How much CPU time a task may take that has a drawing in it.
    """

    def __init__(
        self,
        find: Callable[[str], Awaitable[Record]],
        originals: Originals,
        renditions: Renditions,
        spool: Spool,
        pool: WorkerPool,
        limits: Limits,
        watcher: Watcher,
        space: DiskSpace,
        drawing_seconds: float,
    ) -> None:
        """Store the parts."""
        self._find = find
        self._originals = originals
        self._renditions = renditions
        self.spool = spool
        self.pool = pool
        self._limits = replace(limits, damaged=True)  # what is stored was accepted as it is
        self._light = replace(self._limits, cost=LIGHT_SECONDS)
        self._drawing_seconds = drawing_seconds
        self.watcher, self._space = watcher, space
        self._rendering: SingleFlight[Path] = SingleFlight()

    async def cached(self, record: Record, spec: RenditionSpec) -> Path | None:
        """Return the file of a rendition if it is in the cache."""
        self._originals.require_whole(record.blob)
        path = await self._renditions.get(record.blob.sha256, record.owner, rendition_digest(record, spec))
        if path:
            self.watcher.rendition(spec.format, None)
        return path

    def is_right(self, path: Path, body: bytes) -> bool:
        """Return whether these are all bytes of a cached rendition."""
        return self._renditions.is_right(path, body)

    async def rendition(self, record: Record, spec: RenditionSpec, client: Client) -> Path:
        """Return the file of a rendition, from the cache or freshly rendered.

        Of several requests for the same one, one renders and the others wait; when all of them have given up, the
        worker is stopped.

        Args:
            record: Of the image.
            spec: What to make of it.
            client: Whose turn at the workers it takes.

        Raises:
            EngineError: It can't be rendered.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        cached = await self.cached(record, spec)
        if cached:
            return cached
        name = rendition_digest(record, spec)
        render = partial(self._render, record, spec, name, client)
        return await self._rendering.once(name, lambda: self._space.retried(render))

    async def transform(
        self, source: Path, spec: RenditionSpec, target: Path, client: Client, *, damaged: bool = False
    ) -> Rendered:
        """Render a file that is not stored.

        Args:
            source: A file in the spool's `incoming`.
            spec: What to make of it.
            target: Where to, in the spool's `outgoing`.
            client: Whose turn at the workers it takes.
            damaged: It is accepted if it has lost pixels.

        Raises:
            EngineError: It can't be rendered.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        started = asyncio.get_running_loop().time()
        with ExitStack() as files:
            others = await self._other_images(spec, files)
            rendered: Rendered = await self._run(
                lambda limits: RenderTask(spec.canonical(), limits, others.references),
                For(client_name(client), others.owners | {_unstored(client)}),
                [source, *others.paths],
                [target],
                damaged=damaged,
            )
        self.watcher.rendition(spec.format, asyncio.get_running_loop().time() - started)
        return rendered

    async def inspect(self, source: Path, client: Client, *, damaged: bool = False) -> ImageInfo:
        """Return what an image that is not stored is like.

        Args:
            source: A file in the spool's `incoming`.
            client: Whose turn at the workers it takes.
            damaged: It is accepted if it has lost pixels.

        Raises:
            EngineError: It is not an image, is corrupt, or too large.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        whom = For(client_name(client), frozenset((_unstored(client),)))
        info: ImageInfo = await self._run(InspectTask, whom, [source], damaged=damaged)
        return info

    async def placeholder(self, record: Record, client: Client) -> Placeholder:
        """Return what to show until the picture is there."""
        answer = await self._remembered(record, "placeholder", client, PlaceholderTask)
        return msgspec.json.decode(answer, type=Placeholder)

    async def palette(self, record: Record, colours: int, client: Client) -> list[Swatch]:
        """Return the dominant colours, at most so many."""
        answer = await self._remembered(
            record, f"palette {colours}", client, lambda limits: PaletteTask(limits, colours)
        )
        return msgspec.json.decode(answer, type=list[Swatch])

    async def survey(
        self, source: Path, owner: str, client: Client, files: ExitStack, *, ladder: bool, damaged: bool
    ) -> tuple[Survey, dict[int, Path]]:
        """Validate an upload, find out what it is like, and make its smaller copies.

        Args:
            source: A file in the spool's `incoming`.
            owner: Whose image it will be.
            client: Whose turn at the workers it takes.
            files: Removes the copies when it is closed.
            ladder: Make them.
            damaged: It is accepted if it has lost pixels.

        Returns:
            What it is like, and the files of the copies by their side.

        Raises:
            EngineError: It is not an image, is corrupt, or too large.
            Busy, TaskTooLong, WorkerCrashed, WorkerKilled, MemoryError: See `WorkerPool.run`.
        """
        sides = SIDES if ladder else ()
        steps = {side: files.enter_context(self.spool.file(self.spool.outgoing)) for side in sides}
        whom = For(client_name(client), frozenset((owner,)))
        found: Survey = await self._run(
            lambda limits: SurveyTask(limits, sides), whom, [source], list(steps.values()), damaged=damaged
        )
        if found.ladder:  # its files are as large as they are, not as the worker says
            measured = await asyncio.to_thread(_measured, found.ladder.steps, steps)
            found = replace(found, ladder=replace(found.ladder, steps=measured))
        return found, steps

    async def forget(self, record: Record) -> None:
        """Remove what is cached of an image."""
        await self._renditions.remove(record.blob.sha256, record.owner)

    async def _remembered(self, record: Record, what: str, client: Client, task: Callable[[Limits], Task]) -> bytes:
        """Return what a task says of an original, as JSON; it is kept as a rendition is."""

        async def make(source: Path, target: Path) -> None:
            facts = record.blob.info.facts()
            found = await self._run(
                task, _for(record, client), [source], cost=look_cost(facts), drawing=facts.is_drawing
            )
            await asyncio.to_thread(target.write_bytes, msgspec.json.encode(found))

        path = await self._kept(record, what, make)
        return await asyncio.to_thread(path.read_bytes)

    async def _kept(self, record: Record, what: str, make: Callable[[Path, Path], Awaitable[None]]) -> Path:
        """Return a file that is made of an original, from the cache or made now, once however many ask for it.

        Args:
            record: Of the original.
            what: The file is, see `result_digest`.
            make: Writes the file; is told where the original is, and where to.
        """
        self._originals.require_whole(record.blob)
        name = result_digest(record, what)
        path = await self._renditions.get(record.blob.sha256, record.owner, name)
        return path or await self._rendering.once(
            name, lambda: self._space.retried(partial(self._make, record, name, make))
        )

    async def _make(self, record: Record, name: str, make: Callable[[Path, Path], Awaitable[None]]) -> Path:
        brought = await self._renditions.bring(record.blob.sha256, record.owner, name)
        if brought:
            return brought
        with self.spool.file(self.spool.incoming) as source, self.spool.file(self.spool.outgoing) as target:
            await self._originals.fetch(record.blob, source)
            await make(source, target)
            return await self._cache(record, name, target)

    async def _other_images(self, spec: RenditionSpec, files: ExitStack) -> "_Others":
        """Fetch the other images that a spec refers to.

        Raises:
            InvalidParameter: There is no such image.
        """
        paths: dict[str, Path] = {}
        records: list[Record] = []
        for parameter, reference in spec.references().items():
            if reference in paths:
                continue
            try:
                record = await self._find(reference)
            except UnknownReference:
                raise InvalidParameter(parameter, reference, "the reference of a stored image") from None
            records.append(record)
            paths[reference] = files.enter_context(self.spool.file(self.spool.incoming))
            await self._originals.fetch(record.blob, paths[reference])
        return _Others(
            tuple(paths),
            list(paths.values()),
            frozenset(record.owner for record in records),
            {reference: record.blob.info.facts() for reference, record in zip(paths, records, strict=True)},
        )

    async def _cache(self, record: Record, name: str, file: Path) -> Path:
        return await self._renditions.add(record.blob.sha256, record.owner, name, file)

    async def _render(self, record: Record, spec: RenditionSpec, name: str, client: Client) -> Path:
        started = asyncio.get_running_loop().time()
        with span("rendition", format=spec.format), ExitStack() as files:
            brought = await self._renditions.bring(record.blob.sha256, record.owner, name)
            if brought:
                self.watcher.rendition(spec.format, None)
                return brought
            source = files.enter_context(self.spool.file(self.spool.incoming))
            target = files.enter_context(self.spool.file(self.spool.outgoing))
            others = await self._other_images(spec, files)
            facts = await self._fetch_source(record, spec, source, client)
            stands_for = facts.size if facts.copy else None
            await self._run(
                lambda limits: RenderTask(
                    spec.canonical(), limits, others.references, stands_for, facts.part, not record.blob.info.damaged
                ),
                _for(record, client, others.owners),
                [source, *others.paths],
                [target],
                cost=_cost(facts, spec, others.facts),
                drawing=any(one.is_drawing for one in (facts, *others.facts.values())),
            )
            path = await self._cache(record, name, target)
        self.watcher.rendition(spec.format, asyncio.get_running_loop().time() - started)
        return path

    async def _run(
        self,
        task: Callable[[Limits], Task],
        whom: For,
        inputs: Sequence[Path],
        outputs: Sequence[Path] = (),
        *,
        cost: float | None = None,
        drawing: bool = False,
        damaged: bool = True,
    ) -> Any:
        """Run a task on images: as a light one, or as a heavy one if it is known to be, or turns out to be one.

        Args:
            task: Makes the task with the limits to keep to.
            whom: For whom it is.
            inputs: The files that it reads.
            outputs: The files that it writes.
            cost: What it is reckoned to take, in seconds of CPU time; None: the worker is to look.
            drawing: There is a drawing among the images, which takes as long as it takes.
            damaged: An image that has lost pixels is accepted.

        Raises:
            DrawingTooCostly: There is, and it takes too long.
        """
        if not drawing and (cost is None or cost <= LIGHT_SECONDS):
            most = _LIGHT_MOST if self.pool.workers > 1 else None  # else there is no other lane
            try:
                return await self.pool.run(
                    task(replace(self._light, damaged=damaged)),
                    whom,
                    inputs,
                    outputs,
                    cost=cost or _UNKNOWN_COST,
                    cpu_seconds=most,
                )
            except TooCostly as found:
                cost, drawing = found.cost, found.drawing
            except CpuBudgetExceeded:
                log.info("a task was not as light as it was reckoned to be; it is begun again", reckoned=cost)
                cost = _LIGHT_MOST
        most = self._drawing_seconds if drawing else None
        try:
            return await self.pool.run(
                task(replace(self._limits, damaged=damaged)),
                whom,
                inputs,
                outputs,
                cost=cost or _UNKNOWN_COST,
                heavy=True,
                cpu_seconds=most,
            )
        except CpuBudgetExceeded as error:
            raise DrawingTooCostly(error.seconds) from None

    async def _fetch_source(self, record: Record, spec: RenditionSpec, source: Path, client: Client) -> Facts:
        """Bring what a rendition is made of: the original, a step of its ladder, or its pyramid; and say which."""
        blob = record.blob
        facts = blob.info.facts(upright=spec.autorotate)
        ladder = blob.ladder
        if spec.hdr == "keep" or (blob.info.gain_map and keeps_gain_map(spec)):
            ladder = None  # smaller copies are SDR, and have no gain map
        if asks_for_copy(spec, facts.format):
            ladder = None
        step = ladder.step_for(spec) if ladder else None
        if ladder and step:
            try:
                await self._originals.fetch_step(blob, step, source)
            except (BlobMissing, BlobDamaged) as error:
                log.warning("a step of a ladder is missing or damaged; the original is taken", name=str(error))
                source.unlink(missing_ok=True)
            else:
                full = ladder.size
                return replace(facts, width=full[0], height=full[1], copy=(step.width, step.height))
        if ladder and may_serve(ladder, spec) and await self._fetch_pyramid(record, source, client):
            return replace(facts, part=True)
        await self._originals.fetch(blob, source)
        return facts

    async def _fetch_pyramid(self, record: Record, source: Path, client: Client) -> bool:
        """Bring an image's pyramid, made if need be, and return whether that was done."""

        async def make(original: Path, target: Path) -> None:
            with span("pyramid"):
                task = PyramidTask(record.blob.info.line_art, self._limits)
                cost = pyramid_cost(record.blob.info.facts())
                await self.pool.run(task, _for(record, client), [original], [target], cost=cost, heavy=True)

        path = await self._kept(record, "pyramid", make)
        try:
            await asyncio.to_thread(_link_or_copy, path, source)
        except FileNotFoundError:  # it was thrown out of the cache just now
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Others:
    """The other images of a rendition, in the order in which the spec has them.

    Attributes:
        references: Theirs.
        paths: Their files.
        owners: Whose they are.
        facts: What is known of them, by their references.
    """

    references: tuple[str, ...]
    paths: list[Path]
    owners: frozenset[str]
    facts: dict[str, Facts]


def _measured(made: Sequence[Step], files: dict[int, Path]) -> tuple[Step, ...]:
    """Return smaller copies with the sizes and hashes that their files have."""
    return tuple(
        replace(step, bytes=files[step.side].stat().st_size, sha256=hashed(files[step.side]).hex()) for step in made
    )


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        target.hardlink_to(path)
    except FileNotFoundError:
        raise
    except OSError:  # the scratch files are on another file system
        shutil.copyfile(path, target)


def _for(record: Record, client: Client, owners: frozenset[str] = frozenset()) -> For:
    """Return for whom a task on a stored image is; `owners` have other images in it."""
    return For(client_name(client), owners | {record.owner})


def _unstored(client: Client) -> str:
    """Return whose an image is that a client sends to be transformed only: its key's owner's, or else its address's."""
    return client.principal.owner if client.principal.key_id else client_name(client)


def _cost(facts: Facts, spec: RenditionSpec, others: dict[str, Facts]) -> float:
    """Return what a rendition is reckoned to cost; a copy that turns out to be none is begun again as a heavy task."""
    return COPY_COST if asks_for_copy(spec, facts.format) else rendition_cost(facts, spec, others)


def rendition_digest(record: Record, spec: RenditionSpec) -> str:
    """Return the name of a rendition, known before it is made: equal for equal bytes, and for no others.

    Each owner has its own, since from a rendition that is there already one could learn what others have.
    """
    looks_for_faces = any(operations.gravity == "face" for operations in spec.stages)
    return result_digest(record, f"{spec.canonical()} {DETECTOR}" if looks_for_faces else spec.canonical())


def result_digest(record: Record, what: str) -> str:
    """Return the name of what the engine makes of an original, such as "PNG?width=300" or "placeholder"."""
    parts = f"{record.blob.sha256} {record.owner} {what} {ENGINE_VERSION} {fonts_digest()}"
    return hashlib.sha256(parts.encode()).hexdigest()[:40]
