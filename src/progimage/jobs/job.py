"""What a job is."""

import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

KINDS = ("prerender", "purge", "import", "sweep", "trim", "scrub", "redescribe")
"""What jobs do. Each kind has room of its own in a process, so that none waits for another's."""
ENDLESS = ("scrub", "redescribe")
"""These kinds take as long as they are let, and lose nothing if they are stopped; one of each runs at a time."""


class UnknownJob(Exception):
    """There is no such job."""


class State(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes:
        id: Its id; of a part of a larger one, that and a number.
        kind: What it does.
        owner: For whom; empty for the service itself.
        state: How far it is.
        created_at: When it was enqueued, as a Unix time in seconds.
        updated_at: When its state last changed.
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


def new_job_id(kind: str) -> str:
    """Return an id that no job has."""
    return f"{kind}-{uuid.uuid4()}"


def part_id(id: str, number: int) -> str:
    """Return the id of a part of a job."""
    return f"{id}~{number:06}"


def parent_of(id: str) -> str | None:
    """Return the id of the job that this one is a part of, or None: it is none."""
    parent, separator, _ = id.rpartition("~")
    return parent if separator else None
