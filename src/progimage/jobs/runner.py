"""Doing the jobs, as DBOS's workflows.

Each attempt at a job is a step, whose outcome is written down before the next thing is done. A process that does jobs
says every few seconds that it lives; when one has been silent for long enough, another puts its jobs back into the
queue. So a job that was under way is done again from its last attempt on, and what it does has to come to the same if
it is done twice.
"""

import asyncio
import concurrent.futures
import logging
import os
import random
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
import structlog

from progimage.jobs.queue import APPLICATION, KINDS, VERSION
from progimage.storage import Database, DatabaseUnavailable
from progimage.storage.database import now_of, translated_errors
from progimage.storage.schema import executors
from progimage.tracing import job_span

log = structlog.get_logger(__name__)

BEAT_SECONDS = 3.0
SILENT_SECONDS = 15.0
"""After so long without a sign of life a process is taken for dead, and others do its jobs."""
_ATTEMPTS = 10
_LONGEST_WAIT = 300.0
_POLL_SECONDS = 1.0
_END_SECONDS = 5
_ENDLESS = ("scrub", "redescribe")
"""These kinds take as long as they are let, and lose nothing if they are stopped."""

Work = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Later(Exception):
    """A job can't be done now; it is tried again after a while.

    Args:
        problem: What stands in its way, as a problem document.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        """Keep the document."""
        super().__init__(problem.get("detail", ""))
        self.problem = problem


class JobFailed(Exception):
    """A job can't be done.

    Attributes:
        name, code, data: What DBOS keeps of it, in JSON.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        """Keep the document."""
        super().__init__(problem.get("detail", ""))
        self.name, self.code, self.data = "JobFailed", problem.get("status"), problem


class _Stopping(BaseException):
    """This process ends. The job stays as it is, since DBOS takes no note of this, and another process goes on."""


class JobRunner:
    """Takes jobs from the queue, and does them on the event loop of this process.

    Args:
        url: SQLAlchemy's URL of the database.
        database: The same, opened.
        works: What each kind of job does. It returns a document; it raises `Later` to be tried again.
        at_once: How many jobs of each kind are done at once; those of the `_ENDLESS` by one process of all.
    """

    def __init__(self, url: str, database: Database, works: Mapping[str, Work], at_once: int) -> None:
        """Prepare; nothing is done yet."""
        self._url, self._database, self._works, self._at_once = url, database, works, at_once
        self._loop = asyncio.get_running_loop()
        self._executor = f"{os.getpid()}-{uuid.uuid4().hex}"  # no other process ever has the name
        self._beating: asyncio.Task[None] | None = None
        self._stopping = threading.Event()
        self._doing: dict[asyncio.Task[Any], str] = {}

    async def start(self) -> None:
        """Begin to take jobs."""
        await asyncio.to_thread(self._launch)
        self._beating = asyncio.create_task(self._beat_for_ever())

    async def stop(self) -> None:
        """Take no more; what is under way has a few seconds to end, and else others do it again."""
        from dbos import DBOS

        self._stopping.set()
        if self._beating:
            self._beating.cancel()
            with suppress(asyncio.CancelledError):
                await self._beating
        ending = {task for task, kind in self._doing.items() if kind not in _ENDLESS}
        if ending:
            await asyncio.wait(ending, timeout=_END_SECONDS)
        for task in list(self._doing):
            task.cancel()
        # It waits a second for threads that are asleep, and end with the process anyway.
        threading.Thread(target=DBOS.destroy, daemon=True).start()

    def _launch(self) -> None:
        from dbos import DBOS
        from dbos._serialization import DBOSPortableJSON

        logger = logging.getLogger("dbos")
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._url,
                "sys_db_pool_size": 4,
                "application_version": VERSION,
                "executor_id": self._executor,
                "log_level": "ERROR",
                "serializer": DBOSPortableJSON,
                "use_listen_notify": False,
                "run_migrations": False,  # `prepare` does it once
            }
        )
        for handler in logger.handlers:  # its lines have the form of all others
            logger.removeHandler(handler)
        logger.propagate = True
        logger.addFilter(self._is_news)

        here: set[str] = set()  # jobs whose last attempt was made by this process, rather than remembered

        @DBOS.step(name="attempt")
        def attempt(kind: str, arguments: dict[str, Any], carrier: dict[str, str]) -> dict[str, Any]:
            # This is a thread; what is done is done in the event loop.
            self._refuse_if_stopping()
            here.add(str(DBOS.workflow_id))
            try:
                return asyncio.run_coroutine_threadsafe(self._do(kind, arguments, carrier), self._loop).result()
            except concurrent.futures.CancelledError:
                raise _Stopping from None

        @DBOS.workflow(name="job", max_recovery_attempts=1000)
        def job(arguments: dict[str, Any], carrier: dict[str, str]) -> dict[str, Any]:
            id, number = str(DBOS.workflow_id), 0
            kind = id.partition("-")[0]
            while True:
                outcome: dict[str, Any] = attempt(kind, arguments, carrier)
                was_here = id in here
                here.discard(id)
                if "result" in outcome:
                    return dict(outcome["result"])
                number += 1
                if not outcome["again"] or number == _ATTEMPTS:
                    raise JobFailed(outcome["problem"])
                if was_here:
                    self._stopping.wait(min(2**number, _LONGEST_WAIT) * random.uniform(0.5, 1))  # noqa: S311
                self._refuse_if_stopping()

        DBOS.launch()
        for kind in KINDS:
            only = {"global_concurrency": 1, "worker_concurrency": 1} if kind in _ENDLESS else {}
            limits: Any = only or {"worker_concurrency": self._at_once}
            DBOS.register_queue(kind, polling_interval_sec=_POLL_SECONDS, on_conflict="always_update", **limits)

    def _is_news(self, record: logging.LogRecord) -> bool:
        """Return whether a line of DBOS's log is to be written: one of a job that failed is not, which has its own."""
        if record.exc_info and isinstance(record.exc_info[1], JobFailed):
            return False
        if record.exc_info and self._stopping.is_set():
            # Its outcome could not be written down any more, so whoever goes on with it does the last attempt again.
            log.info("a job was cut off, since this process ends; it is done again", error=repr(record.exc_info[1]))
            return False
        return True

    def _refuse_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise _Stopping

    async def _do(self, kind: str, arguments: dict[str, Any], carrier: dict[str, str]) -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None
        self._doing[task] = kind
        task.add_done_callback(self._doing.pop)
        with job_span(f"job {kind}", carrier):
            try:
                return {"result": await self._works[kind](arguments)}
            except Later as error:
                return {"problem": error.problem, "again": True}
            except JobFailed as error:
                log.warning("a job failed", kind=kind, error=str(error))
                return {"problem": error.data, "again": False}
            except Exception as error:
                log.warning("a job failed; it is tried again", kind=kind, error=repr(error))
                return {"problem": {"detail": repr(error)}, "again": True}

    async def _beat_for_ever(self) -> None:
        while True:
            try:
                dead = await asyncio.to_thread(self._beat)
                if dead:
                    await asyncio.to_thread(self._recover, dead)
            except DatabaseUnavailable as error:
                log.warning("no sign of life can be given", error=str(error))
            await asyncio.sleep(BEAT_SECONDS)

    def _beat(self) -> list[str]:
        """Say that this process lives, and return which others do not."""
        with self._database.writing() as connection:
            now = now_of(connection)
            own = executors.c.id == self._executor
            if not connection.execute(sa.update(executors).where(own).values(seen_at=now)).rowcount:
                connection.execute(sa.insert(executors).values(id=self._executor, seen_at=now))
            silent = sa.select(executors.c.id).where(executors.c.seen_at < now - SILENT_SECONDS)
            return list(connection.execute(silent).scalars())

    def _recover(self, dead: list[str]) -> None:
        """Put the jobs of dead processes back into the queue; it does no harm if several do so."""
        from dbos import DBOS

        with translated_errors():
            found = DBOS._recover_pending_workflows(dead)
        if found:
            log.warning("jobs of processes that are no more are done again", jobs=len(found))
        with self._database.writing() as connection:
            connection.execute(sa.delete(executors).where(executors.c.id.in_(dead)))
