"""Make a backup: take a hold, write a snapshot of the rows, copy missing blobs, and finally write the manifest."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from progimage.backup import snapshot
from progimage.backup.copying import NotKept, copied, each
from progimage.backup.names import Named, Names
from progimage.backup.target import BadTarget, Manifest, Target, new_id
from progimage.storage import BlobDamaged, BlobMissing, BlobStore, Originals, deployment_id
from progimage.storage.database.catalogue import Catalogue
from progimage.storage.database.holds import Hold

_T = TypeVar("_T")

_RENEW_SECONDS = 60.0
_SNAPSHOTS = 3
"""Maximum number of snapshots, if a blob of the snapshot was removed meanwhile. Only sweeps of versions before 0.2 do
so; later ones respect the hold."""
_TRIES = 2
_DAY = 86400


@dataclass
class Made:
    """Result of a backup.

    Attributes:
        id: ID of the backup.
        images: Number of references.
        blobs: Number of originals.
        bytes: Size of the originals.
        copied: Number of blobs copied by this run, including rungs; the target already had the others.
        copied_bytes: Size of the copied blobs.
        missing: Number of damaged or missing originals, which aren't in the backup.
        pruned: Number of earlier backups that were removed.
    """

    id: str
    images: int = 0
    blobs: int = 0
    bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    missing: int = 0
    pruned: int = 0


@dataclass(frozen=True)
class Retention:
    """Which backups to keep. Without either attribute, all are kept.

    Attributes:
        last: Number of newest backups to keep.
        days: Maximum age of backups to keep, in days.
    """

    last: int | None = None
    days: int | None = None

    def outdated(self, manifests: list[Manifest], now: float) -> list[Manifest]:
        """Return the backups to remove. `manifests` are sorted, newest first."""
        if self.last is None and self.days is None:
            return []
        after = now - self.days * _DAY if self.days is not None else float("inf")
        return [one for one in manifests[max(1, self.last or 0) :] if one.created_at < after]


class BackupMaker:
    """Makes one backup.

    Args:
        catalogue: The database.
        blobs: The store of originals.
        originals: Checks damaged originals, and restores them from the second store.
        target: Target of the backup.
        revision: Revision of the database schema.
        at_once: Number of blobs to copy at once.
        read_back: Read each copy again to verify it.
        told: Called with a message for each original that can't be backed up.
        advance: Called with the additional numbers of blobs and bytes that are done.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        blobs: BlobStore,
        originals: Originals,
        target: Target,
        revision: str,
        at_once: int,
        read_back: bool,
        told: Callable[[str], None],
        advance: Callable[[int, int], None],
    ) -> None:
        self._inventory, self._database, self._clock = catalogue.inventory, catalogue.database, catalogue.clock
        self._target = target
        self._blobs, self._originals = blobs, originals
        self._revision, self._at_once, self._read_back = revision, at_once, read_back
        self._told, self._advance = told, advance
        self._missing: list[str] = []
        self._is_outdated = False
        self._made = Made("")

    async def make(self, retention: Retention, begun: Callable[[int, int], None], *, take_over: bool = False) -> Made:
        """Make the backup, and remove outdated backups of the same deployment.

        Nothing is removed while the clock can't be trusted.

        Args:
            retention: Which backups to keep.
            begun: Called with the numbers of blobs and bytes to copy.
            take_over: Allow a target with backups of another deployment, which are kept.

        Raises:
            BadTarget: The target is unusable.
            NotKept: The target returns other bytes than were written.
            HoldLost: The database was unavailable for too long.
            DatabaseUnavailable: The database is unavailable.
            StoreError: A store is unavailable.
            OSError: A file can't be written.
        """
        target, scratch = self._target, self._target.scratch
        with target.locked(), scratch.file(scratch.incoming) as file:
            state = await self._clock.look()
            earlier = await asyncio.to_thread(target.manifests)
            own = await asyncio.to_thread(deployment_id, self._database) or ""
            if earlier and earlier[0].deployment != own and not take_over:
                raise BadTarget(
                    f"The newest backup there is of another deployment ({earlier[0].deployment}; this one is {own})."
                    " Check that the right data folder is mounted. If this is intended, use --take-over or another"
                    " target."
                )
            self._made.id = new_id()
            sequence = earlier[0].sequence + 1 if earlier else 1
            await asyncio.to_thread(target.remove_unfinished, earlier)
            names = Names(file.with_name("names"))
            hold = await asyncio.to_thread(Hold, self._database)
            renewing = asyncio.create_task(self._renew(hold))
            try:
                manifest = await _guarded(self._copied(file, names, begun, own, sequence), renewing)
            finally:
                renewing.cancel()
                await asyncio.to_thread(hold.release)
                names.close()
            await asyncio.to_thread(target.put_manifest, manifest)
            if not state.is_trusted:
                self._told(f"Not removing earlier backups: {state.reason()}")
                retention = Retention()
            await self._prune([manifest, *earlier], retention, manifest)
        return self._made

    async def _copied(
        self, file: Path, names: Names, begun: Callable[[int, int], None], deployment: str, sequence: int
    ) -> Manifest:
        """Take a snapshot and copy its blobs; if a blob was removed meanwhile, start again."""
        for attempt in range(_SNAPSHOTS):
            self._is_outdated, self._missing = False, []
            names.clear()
            now = await asyncio.to_thread(self._database.time)
            counts = await asyncio.to_thread(snapshot.write, self._database, self._revision, file, names.add)
            await asyncio.to_thread(_forget_there, names, self._target.blobs)
            begun(*names.count())
            await each(names.all(), self._at_once, self._copy)
            if not self._is_outdated or attempt == _SNAPSHOTS - 1:
                break
        size, sha256 = await asyncio.to_thread(self._target.put_snapshot, self._made.id, file)
        made = self._made
        made.images, made.blobs, made.bytes = counts.images, counts.blobs, counts.bytes
        made.missing = len(self._missing)
        return Manifest(
            made.id, now, deployment, version("progimage"), self._revision, counts.images,
            counts.blobs, counts.bytes, size, sha256, sorted(self._missing), sequence,
        )  # fmt: skip

    async def _copy(self, named: Named) -> None:
        for attempt in range(_TRIES):
            self._target.confirm_lock()
            try:
                await copied(self._blobs, self._target.blobs, self._target.scratch, named, read_back=self._read_back)
            except (BlobMissing, BlobDamaged):
                if attempt or not await self._is_whole_now(named):
                    break
            except NotKept:
                if attempt:
                    raise
            else:
                self._made.copied += 1
                self._made.copied_bytes += named.bytes
                break
        self._advance(1, named.bytes)

    async def _is_whole_now(self, named: Named) -> bool:
        """Return whether a blob that could not be read is intact now. Lost originals are recorded."""
        if not named.is_original:
            return False  # renditions are then made from the original
        blob = await self._inventory.known(named.name)
        if blob is None:
            self._is_outdated = True
            return False
        if await self._originals.examine(blob):
            return True
        self._missing.append(named.name)
        self._told(f"{named.name}: the original is damaged or missing, and isn't in the backup")
        return False

    async def _renew(self, hold: Hold) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await asyncio.to_thread(hold.renew)

    async def _prune(self, manifests: list[Manifest], retention: Retention, newest: Manifest) -> None:
        """Remove outdated backups: first their manifests and snapshots, then the blobs that no backup needs."""
        target = self._target
        own = [one for one in manifests if one.deployment == newest.deployment]
        outdated = retention.outdated(own, newest.created_at)
        if not outdated and not await asyncio.to_thread(target.is_pruning):
            return
        target.confirm_lock()
        await asyncio.to_thread(target.begin_pruning)
        await asyncio.to_thread(target.forget, outdated)
        kept = [one for one in manifests if one not in outdated]
        with target.scratch.file(target.scratch.incoming) as file:
            names = Names(file.with_name("names"))
            try:
                for manifest in kept:
                    await asyncio.to_thread(target.fetch_snapshot, manifest, file)
                    await asyncio.to_thread(names.add, snapshot.Snapshot(file).names())
                target.confirm_lock()
                await asyncio.to_thread(_remove_unnamed, target.blobs, names)
            finally:
                names.close()
        await asyncio.to_thread(target.end_pruning)
        self._made.pruned = len(outdated)


async def _guarded(work: Coroutine[Any, Any, _T], guard: "asyncio.Task[None]") -> _T:
    """Run some work, and cancel it when its guard fails."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.wait((guard, doing), return_when=asyncio.FIRST_COMPLETED)
        if guard.done():
            guard.result()
        return await doing
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


def _forget_there(names: Names, store: BlobStore) -> None:
    """Remove the blobs that a store already has from the names."""
    names.remove((entry.name, entry.bytes) for entry in store.entries())


def _remove_unnamed(store: BlobStore, names: Names) -> None:
    for entry in store.entries():
        if not names.has(entry.name):
            store.delete(entry.name)
