"""Opening the parts of a deployment that its settings name; the server, the commands and the doctor all begin here."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from progimage.engine import Limits, use_folder
from progimage.images.library import ImageLibrary
from progimage.images.renderer import Watcher
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
    Spool,
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
"""So many to PostgreSQL are for jobs alone, so that neither these nor requests have to wait for the other."""
_SURELY_TOO_LONG = 3
"""What is reckoned to take so many times as long as a task may is refused before it is begun."""
_LIFE_TASKS = 20
"""A worker may use the CPU time of so many of the longest tasks in its life."""


def open_blobs(settings: Settings, spool: Spool | None = None) -> BlobStore:
    """Open the store of originals; with a spool, copies of what is in a cloud store are kept on this node."""
    copies = None
    if spool and settings.blobs_are_shared:
        # An original and its smaller copies are few files, so that there is no bound for each.
        copies = DiskCache(settings.data_dir.absolute() / "originals", settings.originals_cache_bytes, sys.maxsize)
    options = _revealed(settings.blobs_options)
    return open_blob_store(settings.blobs, options, seconds=settings.store_seconds, copies=copies, spool=spool)


def open_second_blobs(settings: Settings) -> BlobStore | None:
    """Open the second store of originals, if there is one."""
    if settings.second_blobs_url is None:
        return None
    options = _revealed(settings.second_blobs_options)
    return open_blob_store(settings.second_blobs_url, options, seconds=settings.store_seconds)


def open_renditions(settings: Settings, spool: Spool) -> Renditions:
    """Open the cache of renditions."""
    folder = settings.data_dir.absolute() / "renditions"
    files, shared = DiskCache(folder, settings.cache_bytes, settings.max_renditions), None
    if settings.blobs_are_shared and settings.shared_renditions:
        shared = open_object_store(settings.blobs, _revealed(settings.blobs_options), settings.store_seconds)
    return Renditions(files, shared, spool, _verify_seconds(settings))


def open_disk_space(settings: Settings, caches: Sequence[DiskCache] = ()) -> DiskSpace:
    """Look at the room on this node's disks; the caches are evicted when they are full."""
    data = settings.data_dir.absolute()
    folders = [data / "spool", data / "renditions"]
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
    """Open the database; if it is a file, the room on its disk is made for it to write."""
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
    """Check that a database and the stores belong together, see `identify`, and return the id of the deployment.

    A store in memory belongs to nothing: then the answer is None.

    Raises:
        WrongStore: They don't belong together, or files can't be moved from the data folder to the originals' folder.
        DatabaseUnavailable, StoreError: They can't be read now.
    """
    if settings.blobs.startswith("memory:"):
        return None
    wanted = settings.deployment
    if wanted and not adopt and (there := deployment_id(database)) != wanted:
        raise WrongStore(
            f"PROGIMAGE_DEPLOYMENT is {wanted}, but the database belongs to {there or 'none'}. Is its volume"
            " mounted, and is PROGIMAGE_DATABASE_URL right?"
        )
    blobs = open_blobs(settings)
    require_one_file_system(settings)
    with locked(settings.database, settings.data_dir.absolute() / "migration.lock"):
        return identify(database, blobs, open_second_blobs(settings), adopt=adopt)


def require_one_file_system(settings: Settings) -> None:
    """Refuse a folder of originals on another file system than the data folder: a file becomes a blob by a rename.

    Raises:
        WrongStore: It is on another one.
    """
    if not settings.blobs.startswith("file:"):
        return
    data, originals = settings.data_dir.absolute(), Path(unquote(urlsplit(settings.blobs).path))
    if originals.exists() and originals.stat().st_dev != data.stat().st_dev:
        raise WrongStore(
            f"{originals} is on another file system than {data}. Put both on one: PROGIMAGE_DATA_DIR may be a folder of"
            " that volume."
        )


class StoreWatch:
    """Looks now and then whether database and stores are still those of the deployment.

    Args:
        settings: Name the stores.
        catalogue: The database.
        blobs: The store of originals.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue, blobs: BlobStore) -> None:
        """Store the parts."""
        self._settings, self._database, self._blobs = settings, catalogue.database, blobs
        self._deployment: str | None = None

    def begin(self) -> None:
        """Note which deployment this is; from now on, stores of another one are refused. It blocks."""
        self._deployment = deployment_id(self._database)
        if self._deployment:
            self._database.pin()
            self._blobs.pin(self._deployment)

    async def look(self) -> None:
        """Look once.

        Raises:
            WrongStore: One of them is not what it was.
        """
        await asyncio.to_thread(self._look)

    def _look(self) -> None:
        if self._deployment is None:
            # At the start, a store could not be read.
            if identify_stores(self._settings, self._database):
                self.begin()
            return
        is_wrong = deployment_id(self._database) != self._deployment
        self._database.refuse(wrong=is_wrong)
        if is_wrong:
            raise WrongStore("The database is not the one of this deployment.")
        self._blobs.confirm()


def open_library(
    settings: Settings,
    jobs: JobQueue,
    blobs: BlobStore,
    renditions: Renditions,
    changes: Changes,
    spool: Spool,
    pool: WorkerPool,
    space: DiskSpace,
    watcher: Watcher,
) -> ImageLibrary:
    """Open the database, and bring the parts of the image library together."""
    catalogue = open_catalogue(settings, jobs, space)
    catalogue.database.list_seconds = settings.list_seconds
    return ImageLibrary(
        catalogue,
        open_originals(settings, catalogue, blobs, changes, spool),
        renditions,
        changes,
        spool,
        pool,
        limits_of(settings),
        watcher,
        space,
        ladder=settings.ladder,
        undelete_seconds=settings.undelete_seconds,
        sweep_seconds=settings.sweep_seconds,
        drawing_seconds=settings.drawing_seconds,
    )


def limits_of(settings: Settings) -> Limits:
    """Return the largest image to accept."""
    return Limits(
        settings.max_pixels,
        settings.max_frames,
        settings.max_total_pixels,
        # The rest is for the program itself, its codecs, and what they have under way.
        memory=settings.worker_memory * 3 // 4,
        # This machine may be faster than the one that the weights are of.
        most_cost=_SURELY_TOO_LONG * settings.task_seconds,
    )


def open_originals(
    settings: Settings, catalogue: Catalogue, blobs: BlobStore, changes: Changes, spool: Spool
) -> Originals:
    """Make what reads originals."""
    second, verification = open_second_blobs(settings), Verification(_verify_seconds(settings))
    return Originals(blobs, second, catalogue.inventory, catalogue.audit, changes, spool, verification)


def _verify_seconds(settings: Settings) -> float | None:
    """Return for how long what was right counts as right; None: nothing is checked."""
    return settings.verify_seconds if settings.verify_seconds >= 0 else None


def open_pool(
    settings: Settings,
    limits: Limits,
    observe: Callable[[int], None] = lambda pending: None,
    died: Callable[[str], None] = lambda cause: None,
    spent: Callable[[str, float], None] = lambda client, seconds: None,
) -> WorkerPool:
    """Make the pool of workers of one process, which is yet to be started; see `WorkerPool`."""
    longest_task = settings.task_seconds * (os.cpu_count() or 1)  # a codec may have threads
    sandbox = Sandbox(
        memory=settings.worker_memory,
        cpu_seconds=longest_task * _LIFE_TASKS,
        # The largest rendition: uncompressed, 16 bits a channel in four channels, written as hexadecimal digits.
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
    """Return options whose values are secrets, to be used."""
    return {name: value.get_secret_value() for name, value in options.items()}
