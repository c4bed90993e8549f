"""Jobs and their states."""

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

KINDS = ("prerender", "purge", "import", "sweep", "trim", "scrub", "redescribe")
"""Kinds of jobs. Each process has a limit per kind, so that jobs of one kind don't wait for another."""
ENDLESS = ("scrub", "redescribe")
"""Kinds that run for as long as they may, and lose nothing when stopped. One job of each runs at a time."""


class UnknownJob(Exception):
    """There is no such job."""


class State(StrEnum):
    """State of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes:
        id: ID of the job. Parts of a larger job have its ID and a number.
        kind: Kind of work.
        owner: Owner that it runs for; empty for the service itself.
        state: State of the job.
        created_at: When it was queued, as a Unix timestamp.
        updated_at: When its state last changed, as a Unix timestamp.
        arguments: Arguments.
        result: Result, if it is done.
        problem: Problem document, if it failed.
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


def new_job_id(kind: str) -> str:
    """Return a new, unique ID of a job."""
    return f"{kind}-{uuid.uuid4()}"


def part_id(id: str, number: int) -> str:
    """Return the ID of a part of a job."""
    return f"{id}~{number:06}"


def parent_of(id: str) -> str | None:
    """Return the ID of the job that this one is a part of, or None."""
    parent, separator, _ = id.rpartition("~")
    return parent if separator else None
