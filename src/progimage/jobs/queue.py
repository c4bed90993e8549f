"""The queue of jobs, which DBOS keeps in the service's own database.

A job that comes of a change of the database is put into the queue in the same transaction: either both are there, or
neither is. A job is known by its id, and there is never a second one of the same id: so whatever must be done once, by
whichever node, has its id made of what it is.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from progimage.storage.database import translated_errors
from progimage.tracing import carried

if TYPE_CHECKING:  # it takes long to import, and the command line seldom needs it
    from dbos import DBOSClient

_T = TypeVar("_T")

VERSION = "1"
"""Of the form of the jobs. Nodes of several versions of the service share them as long as this is the same."""
APPLICATION = "progimage"
KINDS = ("prerender", "purge", "import", "sweep", "trim", "scrub", "redescribe")
"""What jobs do; each kind has a queue of its own, so that none waits for another's."""
_SEPARATOR = "~"
"""Between the id of a job of many parts and the number of a part."""
_DELETED_AT_ONCE = 1000


class UnknownJob(Exception):
    """There is no such job."""


class State(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


_STATES = {
    "ENQUEUED": State.WAITING,
    "DELAYED": State.WAITING,
    "PENDING": State.RUNNING,
    "SUCCESS": State.DONE,
    "ERROR": State.FAILED,
    "CANCELLED": State.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": State.FAILED,
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes:
        id: Its id; of a part of a larger one, that and a number.
        kind: What it does.
        owner: For whom; empty for the service itself.
        state: How far it is.
        created_at: Since when it is there, in seconds since 1970.
        updated_at: When it last went on.
        arguments: What it is to do.
        result: What came of it, if it is done.
        problem: Why it failed, if it did.
    """

    id: str
    kind: str
    owner: str
    state: State
    created_at: float
    updated_at: float
    arguments: dict[str, Any]
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None


class JobQueue:
    """Puts jobs into the queue, and tells how far they are. What has no `async` blocks.

    Args:
        url: SQLAlchemy's URL of the database.
        prerender: The renditions to make of each image that is uploaded, such as "avatar.webp".
        purges: A CDN is to be told of images that are not to be seen any more.
    """

    def __init__(self, url: str, prerender: Sequence[str] = (), *, purges: bool = False) -> None:
        """Store the parts; the database is asked when that is needed."""
        self._url, self._prerender, self._purges = url, list(prerender), purges
        self._opened: DBOSClient | None = None

    def added(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Put in what is to be done with images, in the transaction that adds them."""
        if not self._prerender:
            return
        for reference in references:
            arguments = {"reference": reference, "renditions": self._prerender}
            options = _options("prerender", f"prerender-{reference}", owner)
            self._client.enqueue_in_transaction(connection, options, arguments, carried())

    def hidden(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Put in what is to be done when images must not be seen any more, in the transaction that says so."""
        if not self._purges:
            return
        for reference in references:
            options = _options("purge", f"purge-{reference}-{uuid.uuid4().hex[:8]}", owner)
            self._client.enqueue_in_transaction(connection, options, {"reference": reference}, carried())

    async def put(self, kind: str, id: str, owner: str, arguments: dict[str, Any]) -> None:
        """Put a job in, unless there is or was one of the same id. It is durable when this returns.

        Raises:
            DatabaseUnavailable: The database fails.
        """
        await _asked(self._client.enqueue, _options(kind, id, owner), arguments, carried())

    async def put_parts(self, kind: str, id: str, owner: str, parts: Sequence[dict[str, Any]]) -> None:
        """Put a job of many parts in, all or none; each part is done by itself.

        Raises:
            DatabaseUnavailable: The database fails.
        """

        def put() -> None:
            with self._client._sys_db.engine.begin() as connection:
                for number, arguments in enumerate(parts):
                    options = _options(kind, f"{id}{_SEPARATOR}{number:06}", owner)
                    self._client.enqueue_in_transaction(connection, options, arguments, carried())

        await _asked(put)

    async def find(
        self,
        *,
        owner: str | None = None,
        kind: str | None = None,
        state: State | None = None,
        most: int = 100,
        offset: int = 0,
    ) -> list[Job]:
        """Return jobs, the newest first; None is any."""
        statuses = [name for name, one in _STATES.items() if one is state] if state else None
        found = await _asked(
            self._client.list_workflows,
            user=owner, queue_name=kind, status=statuses, limit=most, offset=offset, sort_desc=True,
        )  # fmt: skip
        return [_job(status) for status in found]

    async def get(self, id: str) -> list[Job]:
        """Return a job, or all parts of one.

        Raises:
            UnknownJob: There is none.
        """
        found = await _asked(self._client.list_workflows, workflow_ids=[id])
        if not found:
            prefix = f"{id}{_SEPARATOR}"
            found = await _asked(self._client.list_workflows, workflow_id_prefix=prefix)
        if not found:
            raise UnknownJob(id)
        return sorted((_job(status) for status in found), key=lambda job: job.id)

    async def retry(self, parts: Iterable[Job]) -> list[Job]:
        """Put those in again that failed, and return which they were."""
        failed = [job for job in parts if job.state is State.FAILED]
        for job in failed:
            await _asked(self._client.delete_workflow, job.id)
            await self.put(job.kind, job.id, job.owner, job.arguments)
        return failed

    async def counts(self) -> dict[tuple[str, State], int]:
        """Return how many jobs of each kind are waiting, running and failed."""
        return await _asked(self._counts)

    async def forget(self, before: float) -> int:
        """Forget the jobs that ended before a time, in seconds since 1970, and return how many there were."""
        return await _asked(self._forget, before)

    def close(self) -> None:
        """Close the connections."""
        if self._opened:
            self._opened.destroy()

    @property
    def _client(self) -> "DBOSClient":
        if self._opened is None:
            from dbos import DBOSClient
            from dbos._serialization import DBOSPortableJSON

            logging.getLogger("dbos").setLevel(logging.ERROR)
            self._opened = DBOSClient(
                system_database_url=self._url, application_name=APPLICATION, serializer=DBOSPortableJSON, lazy=True,
                retry_connection_errors=False, system_database_pool_size=2,
            )  # fmt: skip
        return self._opened

    def _counts(self) -> dict[tuple[str, State], int]:
        table = _status_table(self._url)
        query = (
            sa.select(table.c.queue_name, table.c.status, sa.func.count())
            .where(table.c.queue_name.in_(KINDS), table.c.status != "SUCCESS")
            .group_by(table.c.queue_name, table.c.status)
        )
        open_states = (State.WAITING, State.RUNNING, State.FAILED)
        counted: dict[tuple[str, State], int] = {(kind, state): 0 for kind in KINDS for state in open_states}
        with self._client._sys_db.engine.connect() as connection:
            for kind, status, count in connection.execute(query):
                counted[kind, _STATES[status]] += int(count)
        return counted

    def _forget(self, before: float) -> int:
        forgotten = 0
        table = _status_table(self._url)
        ended = table.c.status.in_([name for name, state in _STATES.items() if state in (State.DONE, State.FAILED)])
        query = sa.select(table.c.workflow_uuid).where(
            ended, table.c.queue_name.in_(KINDS), table.c.updated_at < before * 1000
        )
        while True:
            with self._client._sys_db.engine.connect() as connection:
                ids = list(connection.execute(query.limit(_DELETED_AT_ONCE)).scalars())
            if ids:
                self._client.delete_workflows(ids)
                forgotten += len(ids)
            if len(ids) < _DELETED_AT_ONCE:
                return forgotten


def prepare(url: str) -> None:
    """Make the tables of the queue, or bring them to the newest form. It blocks.

    Args:
        url: SQLAlchemy's URL of the database.
    """
    from dbos import DBOS

    logging.getLogger("dbos").setLevel(logging.ERROR)  # it has a line for each step
    DBOS.migrate(url)


def new_job_id(kind: str) -> str:
    """Return an id that no job has."""
    return f"{kind}-{uuid.uuid4()}"


async def _asked(function: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
    """Call what blocks, in a thread.

    Raises:
        DatabaseUnavailable: The database fails.
    """

    def ask() -> _T:
        with translated_errors():
            return function(*arguments, **options)

    return await asyncio.to_thread(ask)


def _options(kind: str, id: str, owner: str) -> Any:
    return {
        "workflow_name": "job",
        "queue_name": kind,
        "workflow_id": id,
        "app_version": VERSION,
        "authenticated_user": owner,
        "serialization_type": "portable",
    }


def _status_table(url: str) -> sa.TableClause:
    schema = None if url.startswith("sqlite") else "dbos"
    names = ("workflow_uuid", "status", "queue_name", "updated_at")
    return sa.table("workflow_status", *map(sa.column, names), schema=schema)


def _job(status: Any) -> Job:
    state = _STATES[status.status]
    error: Any = status.error
    problem = getattr(error, "data", None) or {"detail": str(error or status.status.lower())}
    arguments = (status.input or {"args": ({},)})["args"]
    return Job(
        id=status.workflow_id,
        kind=status.queue_name or "",
        owner=status.authenticated_user or "",
        state=state,
        created_at=(status.created_at or 0) / 1000,
        updated_at=(status.updated_at or 0) / 1000,
        arguments=arguments[0] if arguments else {},
        result=status.output if state is State.DONE else None,
        problem=problem if state is State.FAILED else None,
    )
