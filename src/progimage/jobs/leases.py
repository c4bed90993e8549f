"""Claim jobs and record their outcomes.

A process that claims a job gets a lease, by the database's clock, and renews it while it works on the job. If the
process dies or freezes, the lease expires, and another process can claim the job. Each claim has its own token. An
outcome is recorded only if the job still has this token, so a late one changes nothing.
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
"""Duration of a lease: after this time without a renewal, another process can claim the job."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job claimed by this process.

    Attributes:
        id: ID of the job.
        kind: Kind of the job.
        arguments: Arguments of the job.
        trace: Trace context of the request that created the job.
        attempts: Number of this attempt, from 1.
        lease: Token of the claim.
    """

    id: str
    kind: str
    arguments: dict[str, Any]
    trace: dict[str, str]
    attempts: int
    lease: str

    @property
    def key(self) -> str:
        """Unique key of this claim."""
        return f"{self.lease} {self.id}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of an attempt.

    Attributes:
        job: The job.
        state: New state: done, failed, or waiting for the next attempt.
        result: Result, if it is done.
        problem: Problem, if any.
        pause: Seconds until the next attempt, if there is one.
        counts: Whether the attempt counts; one interrupted by the end of the process doesn't.
    """

    job: Claimed
    state: State
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None
    pause: float = 0.0
    counts: bool = True


class Leases:
    """Jobs in the database, as seen by one process that runs them. All methods block.

    Args:
        database: The database.
        seconds: Duration of a lease.
    """

    def __init__(self, database: Database, seconds: float) -> None:
        self._database, self._seconds = database, seconds

    def due_in(self, kinds: Iterable[str]) -> dict[str, float]:
        """Return for each kind in how many seconds its next job can be claimed; kinds without jobs are left out."""
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
        """Record outcomes and claim new jobs, in one transaction.

        Args:
            outcomes: Outcomes of jobs of this process.
            room: Maximum number of jobs to claim, by kind.

        Returns:
            The claimed jobs, and the outcomes that were not recorded because their lease was lost.

        Raises:
            DatabaseUnavailable: The database is unavailable; nothing was recorded or claimed.
        """
        with self._database.writing() as connection:
            late = [outcome for outcome in outcomes if not _write(connection, outcome)]
            now = time_of(connection)
            claimed = [job for kind, limit in room.items() for job in self._claim(connection, kind, limit, now)]
        return claimed, late

    def renew(self, held: Iterable[Claimed]) -> list[Claimed]:
        """Renew the leases of jobs, and return those whose lease is lost.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        with self._database.writing() as connection:
            return [
                job
                for job in held
                if not connection.execute(_of(job).values(due_at=now_of(connection) + self._seconds)).rowcount
            ]

    def _claim(self, connection: sa.Connection, kind: str, limit: int, now: float) -> list[Claimed]:
        if kind in ENDLESS and not _may_begin(connection, kind, now):
            return []
        due = sa.select(jobs).where(jobs.c.kind == kind, jobs.c.due_at <= now)
        # Concurrent claims skip the rows locked here. SQLite has only one writer anyway.
        rows = connection.execute(
            due.order_by(jobs.c.due_at, jobs.c.id).limit(limit).with_for_update(skip_locked=True)
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
    """Return a query for the end of the last lease of a kind."""
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
    """Return whether no job of a kind is running. Until the transaction ends, no other process can start one."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"progimage {kind}"))))
    running: float | None = connection.execute(sa.select(_lease_end(kind))).scalar()
    return running is None or running <= now


def _text(document: dict[str, Any] | None) -> str | None:
    return None if document is None else json.dumps(document)
