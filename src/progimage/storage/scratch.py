"""Scratch files of one process, for uploads in progress and for the workers.

Each process has its own folder, which it locks while it runs. The folder of a killed process is recognised by its free
lock and removed by the others. A process ID would not do: it can be reused, and is meaningless to other containers that
share the volume.
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
    """A folder of one process, which others may remove once the process has ended.

    Args:
        path: The folder; must not exist yet.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        while not self._locked():
            pass  # another process took it for a leftover before it was locked

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


class ScratchFolder:
    """Scratch folders of one process.

    Args:
        root: Parent folder, which contains those of all processes.

    Attributes:
        incoming: Folder for files that workers read: uploads, and originals while they are rendered.
        outgoing: Folder for files that workers write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = LockedFolder(root / uuid.uuid4().hex)
        self.incoming = self._folder.path / "incoming"
        self.outgoing = self._folder.path / "outgoing"
        self.incoming.mkdir()
        self.outgoing.mkdir()

    @contextmanager
    def file(self, folder: Path) -> Iterator[Path]:
        """Return a context manager with a path for a new file in `incoming` or `outgoing`, which is removed at the end.

        The file has a folder of its own. Cancelling a request doesn't stop a thread that copies or writes for it; once
        the folder is gone, that thread can't create the file again.

        Raises:
            WrongStore: The scratch folder is gone, because its volume is no longer mounted.
        """
        own = folder / uuid.uuid4().hex
        try:
            own.mkdir()
        except FileNotFoundError:
            raise WrongStore(
                "The data folder doesn't belong to this deployment. Check that its volume is mounted."
            ) from None
        try:
            yield own / "file"
        finally:
            _remove(own)

    def sweep(self) -> int:
        """Remove the scratch folders of ended processes, and return how many there were."""
        return sweep_folders(self._root)

    def close(self) -> None:
        """Remove the scratch folders."""
        self._folder.close()


def in_use(root: Path) -> bool:
    """Return whether a live process has a locked folder in a folder."""
    sweep_folders(root)
    return root.is_dir() and any((folder / "lock").exists() for folder in root.iterdir())


def sweep_folders(root: Path, pattern: str = "*") -> int:
    """Remove the locked folders of ended processes, and return how many there were.

    Args:
        root: Folder that contains them.
        pattern: Pattern of their names.
    """
    removed = 0
    for folder in root.glob(pattern):
        try:
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            with suppress(OSError):  # not empty, or already removed by another process
                folder.rmdir()  # its process was killed before it had created the lock
            continue
        except OSError:  # owned by another user, or not a folder
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
    """Remove a folder and its files, including those that a thread adds meanwhile."""
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
