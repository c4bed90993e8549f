"""Claiming jobs, and writing down what came of them.

A process that claims a job has it for as long as its lease lasts, by the database's clock, and renews the lease while
it works on the job. When the process dies or freezes, the lease ends, and any other process may claim the job. Each
claim has a token of its own; an outcome is only written where the token is still the job's, so one that comes too
late changes nothing.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from progimage.jobs.job import ENDLESS, State
from progimage.storage import Database
from progimage.storage.database.connections import now_of, time_of
from progimage.storage.database.schema import jobs

LEASE_SECONDS = 15.0
"""After so long without a sign of life of the process that has a job, another may claim it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this process has claimed.

    Attributes:
        id, kind, arguments: The job's.
        trace: What makes its span go on with the trace of who put it in.
        attempts: The number of this attempt, from 1.
        lease: The token of the claim.
    """

    id: str
    kind: str
    arguments: dict[str, Any]
    trace: dict[str, str]
    attempts: int
    lease: str

    @property
    def key(self) -> str:
        """What no other claim has, of this job or of another."""
        return f"{self.lease} {self.id}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt.

    Attributes:
        job: The job.
        state: What it is now: done, failed, or waiting for the next attempt.
        result: What came of it, if it is done.
        problem: What went wrong, if something did.
        pause: In how many seconds the next attempt is due, if it is to be one.
        counts: The attempt is one; one that was broken off by the end of the process is not.
    """

    job: Claimed
    state: State
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    pause: float = 0.0
    counts: bool = True


class Leases:
    """The jobs of the database, as one process that does them sees them. Its methods block.

    Args:
        database: The connections.
        seconds: How long a lease lasts.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        """Store them."""
        self._database, self._seconds = database, seconds

    def due_in(self, kinds: Iterable[str]) -> dict[str, float]:
        """Return in how many seconds the next job of each kind may be claimed; kinds without one are left out."""
        columns: list[sa.ColumnElement[Any]] = []
        for kind in kinds:
            first = sa.select(jobs.c.due_at).where(jobs.c.kind == kind, jobs.c.due_at.is_not(None))
            columns.append(first.order_by(jobs.c.due_at, jobs.c.id).limit(1).scalar_subquery().label(kind))
            if kind in ENDLESS:
                columns.append(_lease_end(kind).label(f"{kind} lease"))
        with self._database.reading() as connection:
            row = connection.execute(sa.select(now_of(connection).label("now"), *columns)).one()._mapping
        due = {kind: max(row[kind], row.get(f"{kind} lease") or 0.0) for kind in kinds if row[kind] is not None}
        return {kind: at - row["now"] for kind, at in due.items()}

    def settle(self, outcomes: Iterable[Outcome], room: Mapping[str, int]) -> tuple[list[Claimed], list[Outcome]]:
        """Write down outcomes and claim new jobs, in one transaction.

        Args:
            outcomes: What came of jobs of this process.
            room: How many jobs of which kinds to claim at most.

        Returns:
            What was claimed, and the outcomes that were not written, since their lease was lost.

        Raises:
            DatabaseUnavailable: The database fails; nothing was written or claimed.
        """
        with self._database.writing() as connection:
            late = [outcome for outcome in outcomes if not _write(connection, outcome)]
            now = time_of(connection)
            claimed = [job for kind, most in room.items() for job in self._claim(connection, kind, most, now)]
        return claimed, late

    def renew(self, held: Iterable[Claimed]) -> list[Claimed]:
        """Renew the leases of jobs, and return those whose lease is lost.

        Raises:
            DatabaseUnavailable: The database fails.
        """
        with self._database.writing() as connection:
            return [
                job
                for job in held
                if not connection.execute(_of(job).values(due_at=now_of(connection) + self._seconds)).rowcount
            ]

    def _claim(self, connection: sa.Connection, kind: str, most: int, now: float) -> list[Claimed]:
        if kind in ENDLESS and not _may_begin(connection, kind, now):
            return []
        due = sa.select(jobs).where(jobs.c.kind == kind, jobs.c.due_at <= now)
        # Others that claim at the same time pass over what is locked here. SQLite has one writer anyway.
        rows = connection.execute(
            due.order_by(jobs.c.due_at, jobs.c.id).limit(most).with_for_update(skip_locked=True)
        ).all()
        if not rows:
            return []
        lease = uuid.uuid4().hex
        taken = sa.update(jobs).where(jobs.c.id.in_([row.id for row in rows]))
        end = now + self._seconds
        values = {
            "state": State.RUNNING,
            "lease": lease,
            "attempts": jobs.c.attempts + 1,
            "due_at": end,
            "updated_at": now,
        }
        connection.execute(taken.values(values))
        return [
            Claimed(row.id, row.kind, json.loads(row.arguments), json.loads(row.trace), row.attempts + 1, lease)
            for row in rows
        ]


def _of(job: Claimed) -> sa.Update:
    return sa.update(jobs).where(jobs.c.id == job.id, jobs.c.lease == job.lease)


def _lease_end(kind: str) -> sa.ScalarSelect[Any]:
    """Return when the lease of the last running job of a kind ends."""
    return (
        sa.select(sa.func.max(jobs.c.due_at)).where(jobs.c.kind == kind, jobs.c.state == State.RUNNING)
    ).scalar_subquery()


def _write(connection: sa.Connection, outcome: Outcome) -> bool:
    now = now_of(connection)
    values: dict[str, Any] = {
        "state": outcome.state,
        "lease": None,
        "updated_at": now,
        "due_at": now + outcome.pause if outcome.state is State.WAITING else None,
        "result": _text(outcome.result),
        "problem": _text(outcome.problem),
    }
    if not outcome.counts:
        values["attempts"] = jobs.c.attempts - 1
    return connection.execute(_of(outcome.job).values(values)).rowcount > 0


def _may_begin(connection: sa.Connection, kind: str, now: float) -> bool:
    """Return whether none of this kind is running; until the transaction ends, nobody else can begin one."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"progimage {kind}"))))
    running: float | None = connection.execute(sa.select(_lease_end(kind))).scalar()
    return running is None or running <= now


def _text(document: dict[str, Any] | None) -> str | None:
    return None if document is None else json.dumps(document)
