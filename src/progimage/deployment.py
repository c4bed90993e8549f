"""Open the parts of a deployment from its settings. The server, the commands and the doctor start here."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from progimage.engine import Limits, use_folder
from progimage.images.library import ImageLibrary
from progimage.images.records import RecordCache
from progimage.images.redescription import Redescription
from progimage.images.renderer import Observer, Renderer
from progimage.jobs import JobQueue, Wakes
from progimage.settings import Settings
from progimage.storage import (
    BlobStore,
    Catalogue,
    Changes,
    Database,
    DiskCache,
    DiskSpace,
    NoOutbox,
    Originals,
    Quota,
    Renditions,
    ScratchFolder,
    Verification,
    WrongStore,
    deployment_id,
    identify,
    open_blob_store,
    open_object_store,
)
from progimage.storage.database.migrations import locked
from progimage.workers import Sandbox, WorkerPool

_JOB_CONNECTIONS = 3
"""PostgreSQL connections reserved for jobs, so that jobs and requests don't wait for each other."""
_SURELY_TOO_LONG = 3
"""Images whose estimated time is this many times the task timeout are rejected without trying."""
_LIFE_TASKS = 20
"""CPU time limit of a worker over its life, in tasks of maximum length."""


def open_blobs(settings: Settings, scratch: ScratchFolder | None = None) -> BlobStore:
    """Open the store of originals. With a scratch folder, files of a cloud store are cached on this node."""
    copies = None
    if scratch and settings.blobs_are_shared:
        # An original and its rungs are few files: no limit per original is needed.
        copies = DiskCache(settings.data_dir.absolute() / "originals", settings.originals_cache_bytes, sys.maxsize)
    options = _revealed(settings.blobs_options)
    return open_blob_store(settings.blobs, options, seconds=settings.store_seconds, copies=copies, scratch=scratch)


def open_second_blobs(settings: Settings) -> BlobStore | None:
    """Open the second store of originals, if one is set."""
    if settings.second_blobs_url is None:
        return None
    options = _revealed(settings.second_blobs_options)
    return open_blob_store(settings.second_blobs_url, options, seconds=settings.store_seconds)


def open_renditions(settings: Settings, scratch: ScratchFolder) -> Renditions:
    """Open the rendition cache."""
    folder = settings.data_dir.absolute() / "renditions"
    files, shared = DiskCache(folder, settings.cache_bytes, settings.max_renditions), None
    if settings.blobs_are_in_cloud and settings.shared_renditions:
        shared = open_object_store(settings.blobs, _revealed(settings.blobs_options), settings.store_seconds)
    return Renditions(files, shared, scratch, _verify_seconds(settings))


def open_disk_space(settings: Settings, caches: Sequence[DiskCache] = ()) -> DiskSpace:
    """Open the monitor of free space on this node's disks. It evicts from the caches when a disk is full."""
    data = settings.data_dir.absolute()
    folders = [settings.scratch_folder, data / "renditions"]
    if settings.blobs.startswith("file:"):
        folders.append(Path(unquote(urlsplit(settings.blobs).path)))
    return DiskSpace(data, settings.disk_reserve, caches, [folder for folder in folders if folder.is_dir()])


def open_jobs(settings: Settings, space: DiskSpace | None = None) -> JobQueue:
    """Open the queue of jobs."""
    database = Database(settings.database, _JOB_CONNECTIONS)
    _make_room(database, space)
    wakes = Wakes(settings.data_dir.absolute() / "wakes")
    return JobQueue(database, wakes, settings.prerender, purges=settings.purge_url is not None)


def open_catalogue(settings: Settings, jobs: JobQueue | None = None, space: DiskSpace | None = None) -> Catalogue:
    """Open the database. Before writes to SQLite, space is freed on its disk if needed."""
    quota = Quota(settings.max_images_per_owner, settings.max_bytes_per_owner)
    catalogue = Catalogue(
        settings.database, settings.database_connections, quota, jobs or NoOutbox(),
        purge_share=settings.purge_share, jump_seconds=settings.clock_jump_seconds,
        wait_seconds=settings.undelete_seconds,
    )  # fmt: skip
    _make_room(catalogue.database, space)
    return catalogue


def _make_room(database: Database, space: DiskSpace | None) -> None:
    if space and database.is_sqlite:
        database.before_writing = space.keep_writable


def identify_stores(settings: Settings, database: Database, *, adopt: bool = False) -> str | None:
    """Check that the database and the stores belong together (see `identify`), and return the ID of the deployment.

    Returns None for a store in memory, which belongs to no deployment.

    Raises:
        WrongStore: They don't belong together, or data and originals are on different file systems.
        DatabaseUnavailable: The database is unavailable.
        StoreError: A store is unavailable.
    """
    if settings.blobs.startswith("memory:"):
        return None
    wanted = settings.deployment
    if wanted and not adopt and (there := deployment_id(database)) != wanted:
        raise WrongStore(
            f"PROGIMAGE_DEPLOYMENT is {wanted}, but the database belongs to {there or 'no deployment'}. Check that its"
            " volume is mounted and that PROGIMAGE_DATABASE_URL is correct."
        )
    blobs = open_blobs(settings)
    require_one_file_system(settings)
    with locked(settings.database, settings.data_dir.absolute() / "migration.lock"):
        return identify(database, blobs, open_second_blobs(settings), adopt=adopt)


def require_one_file_system(settings: Settings) -> None:
    """Require the folder of originals to be on the data folder's file system: uploads are moved there by a rename.

    Raises:
        WrongStore: They are on different file systems.
    """
    if not settings.blobs.startswith("file:"):
        return
    data, originals = settings.data_dir.absolute(), Path(unquote(urlsplit(settings.blobs).path))
    if originals.exists() and originals.stat().st_dev != data.stat().st_dev:
        raise WrongStore(
            f"{originals} and {data} are on different file systems. Put both on the same one, for example by setting"
            " PROGIMAGE_DATA_DIR to a folder on that volume."
        )


class StoreWatch:
    """Checks periodically whether database and stores still belong to the deployment.

    Args:
        settings: Settings of the stores.
        catalogue: The database.
        blobs: The store of originals.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue, blobs: BlobStore) -> None:
        self._settings, self._database, self._blobs = settings, catalogue.database, blobs
        self._deployment: str | None = None

    def begin(self) -> None:
        """Remember the deployment; from now on, stores of another one are rejected. Blocks."""
        self._deployment = deployment_id(self._database)
        if self._deployment:
            self._database.pin()
            self._blobs.pin(self._deployment)

    async def look(self) -> None:
        """Check once.

        Raises:
            WrongStore: The database or a store belongs to another deployment.
        """
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        if self._deployment is None:
            # A store was unavailable at startup.
            if identify_stores(self._settings, self._database):
                self.begin()
            return
        is_wrong = deployment_id(self._database) != self._deployment
        self._database.refuse(wrong=is_wrong)
        if is_wrong:
            raise WrongStore("The database belongs to another deployment.")
        self._blobs.confirm()


def open_library(
    settings: Settings,
    jobs: JobQueue,
    blobs: BlobStore,
    renditions: Renditions,
    changes: Changes,
    scratch: ScratchFolder,
    pool: WorkerPool,
    space: DiskSpace,
    observer: Observer,
) -> ImageLibrary:
    """Open the database and assemble the image library."""
    catalogue = open_catalogue(settings, jobs, space)
    catalogue.database.list_seconds = settings.list_seconds
    cached = RecordCache(catalogue.records, changes)
    originals = open_originals(settings, catalogue, blobs, changes, scratch)
    limits = limits_of(settings)
    renderer = Renderer(cached, originals, renditions, scratch, pool, limits, observer, space, settings.drawing_seconds)
    redescription = Redescription(catalogue.inventory, cached, originals, renderer, scratch, ladder=settings.ladder)
    return ImageLibrary(
        catalogue,
        cached,
        originals,
        renderer,
        redescription,
        changes,
        space,
        ladder=settings.ladder,
        undelete_seconds=settings.undelete_seconds,
        sweep_seconds=settings.sweep_seconds,
    )


def limits_of(settings: Settings) -> Limits:
    """Return the limits for images."""
    return Limits(
        settings.max_pixels,
        settings.max_frames,
        settings.max_total_pixels,
        # The rest is for the program itself, its codecs, and their buffers.
        memory=settings.worker_memory * 3 // 4,
        # This machine may be faster than the one on which the cost model was calibrated.
        most_cost=_SURELY_TOO_LONG * settings.task_seconds,
    )


def open_originals(
    settings: Settings, catalogue: Catalogue, blobs: BlobStore, changes: Changes, scratch: ScratchFolder
) -> Originals:
    """Return the reader of originals."""
    second, verification = open_second_blobs(settings), Verification(_verify_seconds(settings))
    return Originals(blobs, second, catalogue.inventory, catalogue.audit, changes, scratch, verification)


def _verify_seconds(settings: Settings) -> float | None:
    """Return how long verified bytes stay verified, in seconds; None: they are never checked."""
    return settings.verify_seconds if settings.verify_seconds >= 0 else None


def open_pool(
    settings: Settings,
    limits: Limits,
    observe: Callable[[int], None] = lambda pending: None,
    died: Callable[[str], None] = lambda cause: None,
    spent: Callable[[str, float], None] = lambda client, seconds: None,
) -> WorkerPool:
    """Create the worker pool of one process, without starting it; see `WorkerPool`."""
    longest_task = settings.task_seconds * (os.cpu_count() or 1)  # codecs can use threads
    sandbox = Sandbox(
        memory=settings.worker_memory,
        cpu_seconds=longest_task * _LIFE_TASKS,
        # The largest rendition: uncompressed, four channels of 16 bits, written as hexadecimal digits.
        file_bytes=min(limits.total_pixels * 16, sys.maxsize),
        fonts=str(settings.fonts.absolute()) if settings.fonts else None,
    )
    use_folder(settings.fonts)
    return WorkerPool(
        settings.workers_per_process,
        settings.queue,
        settings.task_seconds,
        sandbox,
        observe=observe,
        died=died,
        spent=spent,
    )


def _revealed(options: dict[str, SecretStr]) -> dict[str, str]:
    """Return options with their secret values in plain text."""
    return {name: value.get_secret_value() for name, value in options.items()}
