"""Where backups go: a folder, or a bucket below a prefix.

    blobs/ab/cd/<name>              originals and smaller copies, each once, however many backups name it
    snapshots/<id>.ndjson.gz        the rows of one backup
    manifests/<id>.json             what that backup is; written last, so that a backup with a manifest is whole
    lock                            which process writes there now

A bucket has its blobs at `blobs/ab/<name>`.
"""

import errno
import fcntl
import hashlib
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PermissionDeniedError
from obstore.exceptions import BaseError as StoreError
from obstore.store import LocalStore

from progimage import clock
from progimage.storage import Spool, open_blob_store, open_object_store, store_problem, sweep_folders
from progimage.storage.durable import PRIVATE, make_folder, sync_file, sync_folder

_STORE_SECONDS = 60
_RENEW_SECONDS = 10.0
_DEAD_SECONDS = 35.0
"""A lock in a bucket that was not renewed for so long is that of a process that is no more."""
_LOOK_SECONDS = 2.0
_LOCK = "lock"
_PRUNING = "pruning"
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")


class BadTarget(Exception):
    """The target can't be used; the reason is its text."""


class Manifest(msgspec.Struct):
    """What a backup is.

    Attributes:
        id: When it was begun, in UTC, and some random digits.
        created_at: The moment of its snapshot, by the database's clock, as a Unix time in seconds.
        deployment: The id of the deployment it is of.
        version: Of the program that wrote it.
        revision: Of the database's schema.
        images: How many references it has.
        blobs: How many originals.
        bytes: Of these.
        snapshot_bytes: Of the snapshot's file.
        snapshot_sha256: The hash of that.
        missing: The names of originals that were damaged or missing already, and are not in it.
        sequence: One more than that of the backup before it, whatever the clock says; 0 in those of early versions.
    """

    id: str
    created_at: float
    deployment: str
    version: str
    revision: str
    images: int
    blobs: int
    bytes: int
    snapshot_bytes: int
    snapshot_sha256: str
    missing: list[str]
    sequence: int = 0


class Target:
    """A folder or a bucket with backups.

    Args:
        place: The folder, or the URL of a bucket and prefix.
        options: What a cloud store is told beside it, by obstore's names.
        data: The data folder, for scratch files if the target is a bucket or is only read.
        make: It is to be written: make the folder, if there is none.

    Attributes:
        blobs: Its store of blobs.
        spool: For scratch files: in a folder that is written, so that a file is put there by a rename.

    Raises:
        BadTarget: There is no such folder, it has something else in it, or the URL is of no known kind; or it is to
            be made in the data folder.
    """

    def __init__(self, place: str, options: Mapping[str, str], data: Path, *, make: bool) -> None:
        """Open it."""
        if not place:
            raise BadTarget("The target is empty.")
        parts = urlsplit(place)
        self._root: Path | None = None
        if "://" in place and parts.scheme != "file":
            try:
                self._store: Any = open_object_store(place, options, _STORE_SECONDS)
                self.blobs = open_blob_store(f"{place.rstrip('/')}/blobs", options, seconds=_STORE_SECONDS)
            except ValueError as error:
                raise BadTarget(
                    f"{place}: {store_problem(error)}. Allowed: a folder, s3://bucket/prefix, gs://…, az://…"
                ) from None
        else:
            self._root = Path(unquote(parts.path) if parts.scheme == "file" else place).absolute()
            if make and self._root.resolve().is_relative_to(data.resolve()):
                raise BadTarget(f"{self._root} is in the data folder, which the backup is of.")
            if not (self._root / "manifests").is_dir():
                if not make:
                    raise BadTarget(f"{self._root} has no backups.")
                if self._root.is_dir() and any(self._root.iterdir()):
                    raise BadTarget(f"{self._root} is not empty, and has no backups.")
            if make:
                for folder in (self._root / "manifests", self._root / "snapshots"):
                    make_folder(folder, PRIVATE)
            self._store = LocalStore(self._root)
            self.blobs = open_blob_store((self._root / "blobs").as_uri())
        if self.blobs.marker():  # removing old backups would remove its originals
            raise BadTarget(f"{place} has the originals of a deployment.")
        folder = (self._root if self._root and make else data) / "spool"
        sweep_folders(folder)  # what a process left that was killed
        self.spool = Spool(folder)
        self._lost = False

    def close(self) -> None:
        """Remove the scratch files."""
        self.spool.close()

    def manifests(self) -> list[Manifest]:
        """Return all backups that are whole, the newest first. It blocks.

        Raises:
            BadTarget: One can't be read.
        """
        found = []
        for page in obstore.list(self._store, prefix="manifests/"):
            for entry in page:
                path = entry["path"]
                if _ID.fullmatch(Path(path).stem) and path.endswith(".json"):
                    data = bytes(obstore.get(self._store, path).bytes())
                    try:
                        found.append(msgspec.json.decode(data, type=Manifest))
                    except msgspec.MsgspecError as error:
                        raise BadTarget(f"{path} can't be read: {error}") from None
        return sorted(found, key=lambda manifest: (manifest.sequence, manifest.id), reverse=True)

    def wanted(self, id: str | None) -> Manifest:
        """Return a backup, by what its id begins with, or the newest. It blocks.

        Raises:
            BadTarget: There is none, or there are several.
        """
        found = [one for one in self.manifests() if one.id.startswith(id or "")]
        if not found:
            raise BadTarget(f"There is no backup {id}." if id else "There is no backup.")
        if id and len(found) > 1:
            raise BadTarget(f"{id} is the beginning of {len(found)} backups.")
        return found[0]

    def fetch_snapshot(self, manifest: Manifest, file: Path) -> None:
        """Bring a backup's snapshot to a file. It blocks.

        Raises:
            BadTarget: It is not there, or is not what was written.
        """
        digest = hashlib.sha256()
        try:
            with file.open("wb") as opened:
                for chunk in obstore.get(self._store, _snapshot(manifest.id)).stream():
                    digest.update(chunk)
                    opened.write(chunk)
        except FileNotFoundError:
            raise BadTarget(f"The snapshot of {manifest.id} is missing.") from None
        if digest.hexdigest() != manifest.snapshot_sha256:
            raise BadTarget(f"The snapshot of {manifest.id} is damaged.")

    def put_snapshot(self, id: str, file: Path) -> tuple[int, str]:
        """Put a snapshot there, read it back, and return its number of bytes and SHA-256. It blocks.

        Raises:
            BadTarget: What is there is not what was written.
        """
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        size = file.stat().st_size
        self._put(_snapshot(id), file)
        digest = hashlib.sha256()
        for chunk in obstore.get(self._store, _snapshot(id)).stream():
            digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise BadTarget(f"{_snapshot(id)} is not what was written there.")
        return size, sha256

    def put_manifest(self, manifest: Manifest) -> None:
        """Put a manifest there: the backup is whole. It blocks."""
        self.confirm_lock()
        with self.spool.file(self.spool.outgoing) as file:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
            self._put(f"manifests/{manifest.id}.json", file)

    def forget(self, manifests: list[Manifest]) -> None:
        """Remove backups, but for their blobs. It blocks."""
        for manifest in manifests:
            for path in (f"manifests/{manifest.id}.json", _snapshot(manifest.id)):
                self._delete(path)

    def remove_unfinished(self, manifests: list[Manifest]) -> None:
        """Remove the snapshots of backups that were broken off, and of those that are not there any more. It blocks."""
        whole = {_snapshot(manifest.id) for manifest in manifests}
        for page in obstore.list(self._store, prefix="snapshots/"):
            for entry in page:
                if entry["path"] not in whole:
                    self._delete(entry["path"])

    def begin_pruning(self) -> None:
        """Note that blobs are to be removed that no backup names any more. It blocks."""
        with self.spool.file(self.spool.outgoing) as file:
            file.write_bytes(b"")
            self._put(_PRUNING, file)

    def is_pruning(self) -> bool:
        """Return whether pruning has begun and was not ended. It blocks."""
        try:
            obstore.head(self._store, _PRUNING)
        except FileNotFoundError:
            return False
        return True

    def end_pruning(self) -> None:
        """Note that no such blob is left. It blocks."""
        self._delete(_PRUNING)

    @contextmanager
    def locked(self, *, reading: bool = False) -> Iterator[None]:
        """Keep backups from writing there. It blocks.

        Args:
            reading: It is only read; what this process may not write, it can't lock, and reads as it is.

        Raises:
            BadTarget: Another backup is writing there.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self._locked_folder(self._root) if self._root else self._locked_bucket())
            except (OSError, PermissionDeniedError) as error:
                if not reading or getattr(error, "errno", errno.EROFS) not in (errno.EROFS, errno.EACCES):
                    raise
            yield

    def confirm_lock(self) -> None:
        """Look whether the lock is still this process's.

        Raises:
            BadTarget: Another process took it, since this one seemed to be dead.
        """
        if self._lost:
            raise BadTarget("Another backup has taken the target, since this one stood still.")

    @contextmanager
    def _locked_folder(self, root: Path) -> Iterator[None]:
        with (root / _LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadTarget(f"Another backup is writing to {root}.") from None
            yield

    @contextmanager
    def _locked_bucket(self) -> Iterator[None]:
        own = uuid.uuid4().hex
        self._take_lock(own)
        ended = threading.Event()

        def renew() -> None:
            count, seen = 0, time.monotonic()
            while not ended.wait(_RENEW_SECONDS):
                count += 1
                with suppress(StoreError, FileNotFoundError):
                    if time.monotonic() - seen > _DEAD_SECONDS or self._lock_owner() != own:
                        self._lost = True
                        return
                    obstore.put(self._store, _LOCK, f"{own} {count}".encode())
                    seen = time.monotonic()

        thread = threading.Thread(target=renew, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if not self._lost:
                self._delete(_LOCK)

    def _take_lock(self, own: str) -> None:
        content = f"{own} 0".encode()
        try:
            obstore.put(self._store, _LOCK, content, mode="create")
            return
        except AlreadyExistsError:
            pass
        except (NotSupportedError, NotImplementedError):
            if self._lock_text() is None:
                obstore.put(self._store, _LOCK, content)
                time.sleep(_LOOK_SECONDS)
                if self._lock_owner() == own:
                    return
        there, end = self._lock_text(), time.monotonic() + _DEAD_SECONDS
        while time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
            now = self._lock_text()
            if now is not None and now != there:
                raise BadTarget("Another backup is writing there.")
            if now is None:
                break
        obstore.put(self._store, _LOCK, content)
        time.sleep(_LOOK_SECONDS)
        if self._lock_owner() != own:
            raise BadTarget("Another backup is writing there.")

    def _lock_text(self) -> str | None:
        try:
            return bytes(obstore.get(self._store, _LOCK).bytes()).decode()
        except FileNotFoundError:
            return None

    def _lock_owner(self) -> str:
        return (self._lock_text() or "").partition(" ")[0]

    def _put(self, path: str, file: Path) -> None:
        if self._root is None:
            obstore.put(self._store, path, file)
            return
        target = self._root / path
        sync_file(file)
        file.replace(target)
        sync_folder(target.parent)

    def _delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            obstore.delete(self._store, path)


def new_id() -> str:
    """Return the id of a backup that begins now."""
    return f"{clock.utc_now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def _snapshot(id: str) -> str:
    return f"snapshots/{id}.ndjson.gz"
