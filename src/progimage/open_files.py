"""Limit of open files per process (RLIMIT_NOFILE)."""

import resource

from progimage.settings import Settings

_ITSELF = 256
"""Files of the program itself, its database, and idle connections."""
_A_WORKER = 8
_A_TASK = 4
"""Connection, request body, input file and output file."""


class TooFewFiles(Exception):
    """The limit of open files is too low."""


def needed_files(settings: Settings) -> int:
    """Return the maximum number of files that one HTTP process needs open at once."""
    return _ITSELF + _A_WORKER * settings.workers_per_process + _A_TASK * settings.queue


def allow_files(settings: Settings) -> None:
    """Raise the soft limit of this process and its children to the number of files needed.

    Raises:
        TooFewFiles: The hard limit is lower.
    """
    needed = needed_files(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_enough(soft, needed):
        return
    if not _is_enough(hard, needed):
        raise TooFewFiles(
            f"The limit of open files (RLIMIT_NOFILE) is {hard}, but each of {settings.http_processes} HTTP"
            f" process(es) with {settings.workers_per_process} workers and a queue of {settings.queue} needs {needed}."
            f" Run `ulimit -n {needed}`, or set LimitNOFILE={needed} in the systemd unit."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _is_enough(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
