"""The queue of jobs: a table in the service's own database.

A job that comes of a change of the database is put into the queue in the same transaction: either both are there, or
neither is. A job is known by its id, and there is never a second one of the same id: so whatever must be done once, by
whichever node, has its id made of what it is.
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
from progimage.tracing import carried

_FORGOTTEN_AT_ONCE = 1000
_MOST_COUNTED = 100_000
"""More of a kind in a state are not counted, so that the metrics stay quick."""
_OPEN = (State.WAITING, State.RUNNING)


class JobQueue:
    """Puts jobs into the queue, and returns how far they are. What has no `async` blocks.

    Args:
        database: The connections that jobs have for themselves.
        wakes: Wakes the processes of this node that do jobs.
        prerender: The renditions to make of each image that is uploaded, such as "avatar.webp".
        purges: A CDN is to be told of images that are not to be seen any more.

    Attributes:
        database, wakes: The same.
    """

    def __init__(
        self, database: Database, wakes: Wakes, prerender: Sequence[str] = (), *, purges: bool = False
    ) -> None:
        """Store the parts; the database is asked when that is needed."""
        self.database, self.wakes = database, wakes
        self._prerender, self._purges = list(prerender), purges
        self._may_have_old = True

    def added(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Put in what is to be done with images, in the transaction that adds them."""
        if not self._prerender:
            return
        new = {
            f"prerender-{reference}": {"reference": reference, "renditions": self._prerender}
            for reference in references
        }
        self._insert(connection, "prerender", owner, new)

    def hidden(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Put in what is to be done when images must not be seen any more, in the transaction that says so."""
        if not self._purges:
            return
        new = {f"purge-{reference}-{uuid.uuid4().hex[:8]}": {"reference": reference} for reference in references}
        self._insert(connection, "purge", owner, new)

    async def put(self, kind: str, id: str, owner: str, arguments: dict[str, Any]) -> None:
        """Put a job in, unless there is or was one of the same id. It is durable when this returns.

        Raises:
            DatabaseUnavailable: The database fails.
        """
        await asyncio.to_thread(self._put, kind, owner, {id: arguments})

    async def put_parts(self, kind: str, id: str, owner: str, parts: Sequence[dict[str, Any]]) -> None:
        """Put a job of many parts in, all or none; each part is done by itself.

        Raises:
            DatabaseUnavailable: The database fails.
        """
        new = {part_id(id, number): arguments for number, arguments in enumerate(parts)}
        await asyncio.to_thread(self._put, kind, owner, new)

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
        return await asyncio.to_thread(self._find, owner, kind, state, most, offset)

    async def get(self, id: str) -> list[Job]:
        """Return a job, or all parts of one.

        Raises:
            UnknownJob: There is none.
        """
        return await asyncio.to_thread(self._get, id)

    async def retry(self, parts: Iterable[Job]) -> list[Job]:
        """Put those in again that failed, and return which they were."""
        failed = [job for job in parts if job.state is State.FAILED]
        await asyncio.to_thread(self._retry, [job.id for job in failed])
        return failed

    async def counts(self) -> dict[tuple[str, State], int]:
        """Return how many jobs of each kind are waiting, running and failed; a very large number is cut off."""
        return await asyncio.to_thread(self._counts)

    async def forget(self, kept_seconds: float) -> int:
        """Forget the jobs that ended so long ago by the database's clock, and return how many there were."""
        return await asyncio.to_thread(self._forget, kept_seconds)

    async def adopt(self) -> int:
        """Take over what nodes of version 0.1 have put into their queue, and return how many jobs those were."""
        return await asyncio.to_thread(self._adopt)

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
        """Wake who does jobs, when this transaction is committed."""
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))
        after_commit(connection, self.wakes.wake)

    def _find(self, owner: str | None, kind: str | None, state: State | None, most: int, offset: int) -> list[Job]:
        # Each kind in each state has its own range of an index, in order already; these are merged.
        branches = []
        for one_kind, one_state in product([kind] if kind else KINDS, [state] if state else State):
            branch = sa.select(jobs.c.id, jobs.c.created_at).where(jobs.c.kind == one_kind, jobs.c.state == one_state)
            if owner is not None:
                branch = branch.where(jobs.c.owner == owner)
            newest = branch.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(most + offset).subquery()
            branches.append(sa.select(newest))
        merged = sa.union_all(*branches).subquery()
        page = sa.select(merged.c.id).order_by(merged.c.created_at.desc(), merged.c.id.desc())
        with self.database.reading() as connection:
            ids = connection.execute(page.limit(most).offset(offset)).scalars().all()
            found = {row.id: _job(row) for row in connection.execute(sa.select(jobs).where(jobs.c.id.in_(ids)))}
        return [found[id] for id in ids if id in found]

    def _get(self, id: str) -> list[Job]:
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(jobs).where(jobs.c.id == id)).all()
            rows = rows or connection.execute(sa.select(jobs).where(jobs.c.parent == id).order_by(jobs.c.id)).all()
        if not rows:
            raise UnknownJob(id)
        return [_job(row) for row in rows]

    def _retry(self, ids: list[str]) -> None:
        if not ids:
            return
        with self.database.writing() as connection:
            now = now_of(connection)
            statement = sa.update(jobs).where(jobs.c.id == sa.bindparam("one"), jobs.c.state == State.FAILED)
            values = {"state": State.WAITING, "attempts": 0, "problem": None, "due_at": now, "updated_at": now}
            connection.execute(statement.values(values), [{"one": id} for id in ids])
            self._wake(connection)

    def _counts(self) -> dict[tuple[str, State], int]:
        counted = list(product(KINDS, (*_OPEN, State.FAILED)))
        columns = []
        for kind, state in counted:
            some = sa.select(jobs.c.kind).where(jobs.c.kind == kind, jobs.c.state == state).limit(_MOST_COUNTED)
            columns.append(sa.select(sa.func.count()).select_from(some.subquery()).scalar_subquery())
        with self.database.reading() as connection:
            return dict(zip(counted, connection.execute(sa.select(*columns)).one(), strict=True))

    def _forget(self, kept_seconds: float) -> int:
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

    def _adopt(self) -> int:
        self._may_have_old = self._may_have_old and has_jobs_of_dbos(self.database)
        if not self._may_have_old:
            return 0
        adopted = adopt(self.database)
        if adopted:
            self.wakes.wake()
        return adopted


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
