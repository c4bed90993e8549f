"""Target of backups: a folder, or a prefix in a bucket.

    blobs/ab/cd/<name>              originals and rungs, stored once for all backups
    snapshots/<id>.ndjson.gz        the rows of a backup
    manifests/<id>.json             description of a backup; written last, so that a backup with a manifest is complete
    lock                            the process that is writing

In a bucket, blobs are at `blobs/ab/<name>`.
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
from progimage.storage import ScratchFolder, open_blob_store, open_object_store, store_problem, sweep_folders
from progimage.storage.durable import PRIVATE, make_folder, sync_file, sync_folder

_STORE_SECONDS = 60
_RENEW_SECONDS = 10.0
_DEAD_SECONDS = 35.0
"""A lock in a bucket that wasn't renewed for this time belongs to a dead process."""
_LOOK_SECONDS = 2.0
_LOCK = "lock"
_PRUNING = "pruning"
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")


class BadTarget(Exception):
    """The target is unusable; the message is the reason."""


class Manifest(msgspec.Struct):
    """Description of a backup.

    Attributes:
        id: Start time in UTC, and some random digits.
        created_at: Time of its snapshot, by the database's clock, as a Unix timestamp.
        deployment: ID of the deployment.
        version: Version of the program that wrote it.
        revision: Revision of the database schema.
        images: Number of references.
        blobs: Number of originals.
        bytes: Size of the originals.
        snapshot_bytes: Size of the snapshot file.
        snapshot_sha256: SHA-256 of the snapshot file.
        missing: Names of originals that were already damaged or missing, and aren't in the backup.
        sequence: One more than that of the previous backup, independent of the clock; 0 in backups of early versions.
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
        options: Options of a cloud store, with obstore's names.
        data: The data folder, for scratch files if the target is a bucket or is only read.
        make: Open it for writing, and create the folder if it doesn't exist.

    Attributes:
        blobs: Its blob store.
        scratch: Scratch files. When a folder is written, they are inside it, so that files can be moved by a rename.

    Raises:
        BadTarget: The folder doesn't exist, has other contents, or is inside the data folder; or the URL is invalid.
    """

    def __init__(self, place: str, options: Mapping[str, str], data: Path, *, make: bool) -> None:
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
                raise BadTarget(f"{self._root} is inside the data folder that is being backed up.")
            if not (self._root / "manifests").is_dir():
                if not make:
                    raise BadTarget(f"{self._root} has no backups.")
                if self._root.is_dir() and any(self._root.iterdir()):
                    raise BadTarget(f"{self._root} is not empty and has no backups.")
            if make:
                for folder in (self._root / "manifests", self._root / "snapshots"):
                    make_folder(folder, PRIVATE)
            self._store = LocalStore(self._root)
            self.blobs = open_blob_store((self._root / "blobs").as_uri())
        if self.blobs.marker():  # removing old backups would remove its originals
            raise BadTarget(f"{place} contains the originals of a deployment.")
        folder = (self._root if self._root and make else data) / "spool"
        sweep_folders(folder)  # left by killed processes
        self.scratch = ScratchFolder(folder)
        self._lost = False

    def close(self) -> None:
        """Remove the scratch files."""
        self.scratch.close()

    def manifests(self) -> list[Manifest]:
        """Return all complete backups, newest first. Blocks.

        Raises:
            BadTarget: A manifest can't be read.
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
        """Return a backup by the start of its ID, or the newest one. Blocks.

        Raises:
            BadTarget: No backup matches, or several do.
        """
        found = [one for one in self.manifests() if one.id.startswith(id or "")]
        if not found:
            raise BadTarget(f"There is no backup {id}." if id else "There is no backup.")
        if id and len(found) > 1:
            raise BadTarget(f"{id} is ambiguous: {len(found)} backups match.")
        return found[0]

    def fetch_snapshot(self, manifest: Manifest, file: Path) -> None:
        """Write the snapshot of a backup to a file. Blocks.

        Raises:
            BadTarget: The snapshot is missing or damaged.
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
        """Store a snapshot, read it back, and return its size and SHA-256. Blocks.

        Raises:
            BadTarget: The stored bytes differ from those written.
        """
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        size = file.stat().st_size
        self._put(_snapshot(id), file)
        digest = hashlib.sha256()
        for chunk in obstore.get(self._store, _snapshot(id)).stream():
            digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise BadTarget(f"{_snapshot(id)} differs from what was written.")
        return size, sha256

    def put_manifest(self, manifest: Manifest) -> None:
        """Store a manifest, which completes the backup. Blocks."""
        self.confirm_lock()
        with self.scratch.file(self.scratch.outgoing) as file:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
            self._put(f"manifests/{manifest.id}.json", file)

    def forget(self, manifests: list[Manifest]) -> None:
        """Remove backups, except their blobs. Blocks."""
        for manifest in manifests:
            for path in (f"manifests/{manifest.id}.json", _snapshot(manifest.id)):
                self._delete(path)

    def remove_unfinished(self, manifests: list[Manifest]) -> None:
        """Remove snapshots without a manifest, which interrupted or removed backups have left. Blocks."""
        whole = {_snapshot(manifest.id) for manifest in manifests}
        for page in obstore.list(self._store, prefix="snapshots/"):
            for entry in page:
                if entry["path"] not in whole:
                    self._delete(entry["path"])

    def begin_pruning(self) -> None:
        """Record that blobs that no backup needs are about to be removed. Blocks."""
        with self.scratch.file(self.scratch.outgoing) as file:
            file.write_bytes(b"")
            self._put(_PRUNING, file)

    def is_pruning(self) -> bool:
        """Return whether pruning was started and not finished. Blocks."""
        try:
            obstore.head(self._store, _PRUNING)
        except FileNotFoundError:
            return False
        return True

    def end_pruning(self) -> None:
        """Record that pruning is finished. Blocks."""
        self._delete(_PRUNING)

    @contextmanager
    def locked(self, *, reading: bool = False) -> Iterator[None]:
        """Lock the target against writing by other backups. Blocks.

        Args:
            reading: Only read the target: if this process may not write to it, it is read without a lock.

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
        """Check that this process still holds the lock.

        Raises:
            BadTarget: Another process took it, since this one seemed dead.
        """
        if self._lost:
            raise BadTarget("Another backup has taken over the target, since this one was stalled.")

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
    """Return the ID of a backup that starts now."""
    return f"{clock.utc_now():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def _snapshot(id: str) -> str:
    return f"snapshots/{id}.ndjson.gz"
