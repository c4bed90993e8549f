"""How many files a process may have open (RLIMIT_NOFILE), and how many the service needs."""

import resource

from progimage.settings import Settings

_ITSELF = 256
"""The program, its database, and connections of clients that wait for nothing."""
_A_WORKER = 8
_A_TASK = 4
"""A connection, its body, what is read and what is written."""


class TooFewFiles(Exception):
    """A process may not have as many files open as are needed."""


def needed_files(settings: Settings) -> int:
    """Return how many files one HTTP process may have to have open at once."""
    return _ITSELF + _A_WORKER * settings.workers_per_process + _A_TASK * settings.queue


def allow_files(settings: Settings) -> None:
    """Raise the soft limit of this process, and of those that it starts, to what is needed.

    Raises:
        TooFewFiles: The hard limit is lower.
    """
    needed = needed_files(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, needed):
        return
    if not _is_enough(hard, needed):
        raise TooFewFiles(
            f"A process may have {hard} files open here (RLIMIT_NOFILE), and each of {settings.http_processes} HTTP"
            f" process(es) with {settings.workers_per_process} workers and a queue of {settings.queue} needs {needed}:"
            f" `ulimit -n {needed}`, or LimitNOFILE={needed} in the unit of systemd."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _is_enough(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
