"""Isolated, limited, killable processes that run the engine."""

from progimage.workers.pool import (
    NOBODY,
    CpuBudgetExceeded,
    Requester,
    TaskTooLong,
    WorkerCrashed,
    WorkerKilled,
    WorkerPool,
)
from progimage.workers.sandbox import Sandbox, available_defences, die_with_parent
from progimage.workers.turns import Busy

__all__ = [
    "NOBODY",
    "Busy",
    "CpuBudgetExceeded",
    "Requester",
    "Sandbox",
    "TaskTooLong",
    "WorkerCrashed",
    "WorkerKilled",
    "WorkerPool",
    "available_defences",
    "die_with_parent",
]
