"""Job queue: a table in the service's database.

A job that follows from a database change is added in the same transaction, so that neither exists without the other.
IDs of jobs are unique. Work that must be done only once, by any node, has an ID derived from the work.
"""

import asyncio
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import sqlalchemy as sa

from progimage.jobs.adoption import adopt, has_jobs_of_dbos
from progimage.jobs.job import KINDS, Job, State, UnknownJob, parent_of, part_id
from progimage.jobs.wakes import CHANNEL, Wakes
from progimage.storage import Database
from progimage.storage.database.connections import after_commit, insert_rows, now_of, time_of
from progimage.storage.database.schema import jobs
from progimage.storage.threads import in_thread
from progimage.tracing import carried

_FORGOTTEN_AT_ONCE = 1000
_MOST_COUNTED = 100_000
"""Maximum count per kind and state, so that metrics stay fast."""
_OPEN = (State.WAITING, State.RUNNING)
_PLACE = sa.tuple_(jobs.c.created_at, jobs.c.id)


class JobQueue:
    """Adds jobs and returns their state. Methods block, except coroutines.

    Args:
        database: Database connections reserved for jobs.
        wakes: Wakes the processes of this node that run jobs.
        prerender: Renditions to make of each uploaded image, such as "avatar.webp".
        purges: Whether to purge images from a CDN when they are hidden.

    Attributes:
        database: Database connections reserved for jobs.
        wakes: Wakes the processes of this node that run jobs.
    """

    def __init__(
        self, database: Database, wakes: Wakes, prerender: Sequence[str] = (), *, purges: bool = False
    ) -> None:
        self.database, self.wakes = database, wakes
        self._prerender, self._purges = list(prerender), purges
        self._may_have_old = True

    def added(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Add the jobs for new images, in the transaction that adds the images."""
        if not self._prerender:
            return
        new = {
            f"prerender-{reference}": {"reference": reference, "renditions": self._prerender}
            for reference in references
        }
        self._insert(connection, "prerender", owner, new)

    def hidden(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Add the jobs for hidden images, in the transaction that hides them."""
        if not self._purges:
            return
        new = {f"purge-{reference}-{uuid.uuid4().hex[:8]}": {"reference": reference} for reference in references}
        self._insert(connection, "purge", owner, new)

    async def put(self, kind: str, id: str, owner: str, arguments: dict[str, Any]) -> None:
        """Add a job, unless one with the same ID exists. It is durable when this returns.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        await asyncio.to_thread(self._put, kind, owner, {id: arguments})

    async def put_parts(self, kind: str, id: str, owner: str, parts: Sequence[dict[str, Any]]) -> None:
        """Add a job with several parts, all or none. Parts run independently.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        new = {part_id(id, number): arguments for number, arguments in enumerate(parts)}
        await asyncio.to_thread(self._put, kind, owner, new)

    @in_thread
    def find(
        self,
        *,
        owner: str | None = None,
        kind: str | None = None,
        state: State | None = None,
        limit: int = 100,
        below: tuple[float, str] | None = None,
    ) -> list[Job]:
        """Return matching jobs, newest first. None matches any value.

        Args:
            owner: Owner of the jobs.
            kind: Their kind.
            state: Their state.
            limit: How many to return at most.
            below: Creation time and id of a job: only older ones, as they are sorted, are returned.
        """
        # Each kind in each state is a sorted range of an index; merge these.
        branches = []
        for one_kind, one_state in product([kind] if kind else KINDS, [state] if state else State):
            branch = sa.select(jobs.c.id, jobs.c.created_at).where(jobs.c.kind == one_kind, jobs.c.state == one_state)
            if owner is not None:
                branch = branch.where(jobs.c.owner == owner)
            if below is not None:
                branch = branch.where(jobs.c.created_at <= below[0], sa.tuple_(*map(sa.literal, below)) > _PLACE)
            newest = branch.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit).subquery()
            branches.append(sa.select(newest))
        merged = sa.union_all(*branches).subquery()
        page = sa.select(merged.c.id).order_by(merged.c.created_at.desc(), merged.c.id.desc())
        with self.database.reading() as connection:
            ids = connection.execute(page.limit(limit)).scalars().all()
            found = {row.id: _job(row) for row in connection.execute(sa.select(jobs).where(jobs.c.id.in_(ids)))}
        return [found[id] for id in ids if id in found]

    @in_thread
    def get(self, id: str) -> list[Job]:
        """Return a job, or all its parts.

        Raises:
            UnknownJob: There is no such job.
        """
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(jobs).where(jobs.c.id == id)).all()
            rows = rows or connection.execute(sa.select(jobs).where(jobs.c.parent == id).order_by(jobs.c.id)).all()
        if not rows:
            raise UnknownJob(id)
        return [_job(row) for row in rows]

    async def retry(self, parts: Iterable[Job]) -> list[Job]:
        """Queue failed jobs again, and return them."""
        failed = [job for job in parts if job.state is State.FAILED]
        await asyncio.to_thread(self._retry, [job.id for job in failed])
        return failed

    @in_thread
    def counts(self) -> dict[tuple[str, State], int]:
        """Return the number of waiting, running and failed jobs of each kind, up to a maximum."""
        counted = list(product(KINDS, (*_OPEN, State.FAILED)))
        columns = []
        for kind, state in counted:
            some = sa.select(jobs.c.kind).where(jobs.c.kind == kind, jobs.c.state == state).limit(_MOST_COUNTED)
            columns.append(sa.select(sa.func.count()).select_from(some.subquery()).scalar_subquery())
        with self.database.reading() as connection:
            return dict(zip(counted, connection.execute(sa.select(*columns)).one(), strict=True))

    @in_thread
    def forget(self, kept_seconds: float) -> int:
        """Remove jobs that ended more than some seconds ago by the database's clock, and return how many."""
        forgotten = 0
        while True:
            with self.database.writing() as connection:
                before = time_of(connection) - kept_seconds
                ended = sa.select(jobs.c.id).where(jobs.c.due_at.is_(None), jobs.c.updated_at < before)
                some = ended.order_by(jobs.c.updated_at).limit(_FORGOTTEN_AT_ONCE).with_for_update(skip_locked=True)
                ids = connection.execute(some).scalars().all()
                connection.execute(sa.delete(jobs).where(jobs.c.id.in_(ids)))
            forgotten += len(ids)
            if len(ids) < _FORGOTTEN_AT_ONCE:
                return forgotten

    @in_thread
    def adopt(self) -> int:
        """Take over jobs from the queue of version 0.1, and return how many."""
        self._may_have_old = self._may_have_old and has_jobs_of_dbos(self.database)
        if not self._may_have_old:
            return 0
        adopted = adopt(self.database)
        if adopted:
            self.wakes.wake()
        return adopted

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    def _put(self, kind: str, owner: str, new: Mapping[str, dict[str, Any]]) -> None:
        with self.database.writing() as connection:
            self._insert(connection, kind, owner, new)

    def _insert(self, connection: sa.Connection, kind: str, owner: str, new: Mapping[str, dict[str, Any]]) -> None:
        if not new:
            return
        now = time_of(connection)
        trace = json.dumps(carried())
        rows = [
            {
                "id": id, "parent": parent_of(id), "kind": kind, "owner": owner, "state": State.WAITING,
                "arguments": json.dumps(arguments), "trace": trace,
                "due_at": now, "created_at": now, "updated_at": now,
            }
            for id, arguments in new.items()
        ]  # fmt: skip
        insert_rows(connection, jobs, rows)
        self._wake(connection)

    def _wake(self, connection: sa.Connection) -> None:
        """Wake the processes that run jobs, after this transaction is committed."""
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
        after_commit(connection, self.wakes.wake)

    def _retry(self, ids: list[str]) -> None:
        if not ids:
            return
        with self.database.writing() as connection:
            now = now_of(connection)
            statement = sa.update(jobs).where(jobs.c.id == sa.bindparam("one"), jobs.c.state == State.FAILED)
            values = {"state": State.WAITING, "attempts": 0, "problem": None, "due_at": now, "updated_at": now}
            connection.execute(statement.values(values), [{"one": id} for id in ids])
            self._wake(connection)


def _job(row: Any) -> Job:
    return Job(
        row.id,
        row.kind,
        row.owner,
        State(row.state),
        row.created_at,
        row.updated_at,
        json.loads(row.arguments),
        json.loads(row.result) if row.result else None,
        json.loads(row.problem) if row.problem else None,
    )
