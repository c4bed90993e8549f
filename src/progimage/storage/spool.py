"""The spool: scratch files of one running process, for uploads under way and for the workers.

Each process has its own folder, locked as long as it lives; so debris of a process that was killed is known by its lock
being free, and can be removed while others run.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Spool:
    """One process's scratch folders.

    Args:
        root: The folder of all spools.

    Attributes:
        incoming: What workers read: uploads, and originals while they are rendered.
        outgoing: What workers write.
    """

    def __init__(self, root: Path) -> None:
        """Make the folders, and lock them."""
        self._folder = root / uuid.uuid4().hex
        self.incoming = self._folder / "incoming"
        self.outgoing = self._folder / "outgoing"
        self._folder.mkdir(parents=True)
        self._lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.incoming.mkdir()
        self.outgoing.mkdir()

    @contextmanager
    def file(self, folder: Path) -> Iterator[Path]:
        """Lend a path for a new file in `incoming` or `outgoing`; what is there at the end is removed."""
        path = folder / uuid.uuid4().hex
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folders."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


def sweep_spools(root: Path) -> int:
    """Remove the spools of processes that are no more, and return how many there were."""
    removed = 0
    for lock in root.glob("*/lock"):
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(lock.parent, ignore_errors=True)
            removed += 1
        finally:
            os.close(descriptor)
    return removed
