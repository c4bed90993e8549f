"""The spool: scratch files of one running process, for uploads under way and for the workers.

Each process has its own folder, locked as long as it lives. So the folder of a process that was killed is known by its
free lock, and is removed while others run. A process id would not do: it could be another's by now, or mean nothing to
a container that shares the volume.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from progimage.storage.blobs.wrong_store import WrongStore
from progimage.storage.durable import PRIVATE


class LockedFolder:
    """A folder of one process, which others may remove when the process is no more.

    Args:
        path: The folder, which must not exist.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder, and lock it."""
        self.path = path
        while not self._locked():
            pass  # another process took it for a leftover between two of these steps

    def _locked(self) -> bool:
        self.path.mkdir(PRIVATE, parents=True, exist_ok=True)
        lock = self.path / "lock"
        with suppress(FileNotFoundError):
            self._lock = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._lock), lock.stat()):
                    return True
            os.close(self._lock)
        return False

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


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
        self._root = root
        self._folder = LockedFolder(root / uuid.uuid4().hex)
        self.incoming = self._folder.path / "incoming"
        self.outgoing = self._folder.path / "outgoing"
        self.incoming.mkdir()
        self.outgoing.mkdir()

    @contextmanager
    def file(self, folder: Path) -> Iterator[Path]:
        """Lend a path for a new file in `incoming` or `outgoing`; what is there at the end is removed.

        It is in a folder of its own, with whatever is made beside it. Cancelling a request doesn't stop the thread that
        copies or writes for it; once the folder is gone, that thread can't bring a file back.

        Raises:
            WrongStore: The spool is not there: what was mounted there is not, any more.
        """
        own = folder / uuid.uuid4().hex
        try:
            own.mkdir()
        except FileNotFoundError:
            raise WrongStore("The data folder is not the one of this deployment; is its volume mounted?") from None
        try:
            yield own / "file"
        finally:
            _remove(own)

    def sweep(self) -> int:
        """Remove the spools of processes that are no more, and return how many there were."""
        return sweep_folders(self._root)

    def close(self) -> None:
        """Remove the folders."""
        self._folder.close()


def in_use(root: Path) -> bool:
    """Return whether a process that lives has a locked folder in a folder."""
    sweep_folders(root)
    return root.is_dir() and any((folder / "lock").exists() for folder in root.iterdir())


def sweep_folders(root: Path, pattern: str = "*") -> int:
    """Remove the locked folders of processes that are no more, and return how many there were.

    Args:
        root: The folder that they are in.
        pattern: What they are called.
    """
    removed = 0
    for folder in root.glob(pattern):
        try:
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            with suppress(OSError):  # it is not empty, or somebody else was faster
                folder.rmdir()  # its process was killed before it had made the lock
            continue
        except OSError:  # another user's, or no folder
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        finally:
            os.close(descriptor)
    return removed


def _remove(folder: Path) -> None:
    """Remove a folder and the files in it, those too that a thread adds meanwhile."""
    while True:
        with suppress(FileNotFoundError), os.scandir(folder) as entries:  # its volume may have been unmounted
            for entry in entries:
                with suppress(FileNotFoundError):
                    Path(entry.path).unlink()
        try:
            folder.rmdir()
        except OSError:
            if folder.is_dir():
                continue
        return
