"""Isolated, limited, killable processes that run the engine."""

from progimage.workers.pool import Busy, TaskTooLong, WorkerCrashed, WorkerKilled, WorkerPool
from progimage.workers.sandbox import Sandbox, available_defences

__all__ = [
    "Busy",
    "Sandbox",
    "TaskTooLong",
    "WorkerCrashed",
    "WorkerKilled",
    "WorkerPool",
    "available_defences",
]
