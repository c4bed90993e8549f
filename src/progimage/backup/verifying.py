"""Verifying a backup: all that it names is read, and held against its hashes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from obstore.exceptions import BaseError as StoreError

from progimage.backup.copying import each, hashed
from progimage.backup.names import Named, Names
from progimage.backup.snapshot import Snapshot
from progimage.backup.target import Manifest, Target
from progimage.storage import BlobMissing, BlobStore


@dataclass(frozen=True, slots=True)
class Fault:
    """A blob that is not as it should be.

    Attributes:
        name: What it is called.
        state: `damaged`, `missing`, or `unreadable` now; or `missing-before`: it was not in the store when the backup
            was made.
    """

    name: str
    state: str


async def verify(
    target: Target,
    manifest: Manifest,
    at_once: int,
    begun: Callable[[int, int], None],
    advance: Callable[[int, int], None],
) -> list[Fault]:
    """Read all that a backup names; what is damaged is removed, so that the next backup copies it again.

    Args:
        target: Where it is.
        manifest: Which one.
        at_once: How many blobs are read at once.
        begun: Is told how many blobs and bytes are to be read.
        advance: Is told how many blobs and bytes are done more.

    Raises:
        BadTarget, BadSnapshot: It can't be read.
        StoreError: The store can't be read now.
    """
    faults: list[Fault] = []

    async def look(named: Named) -> None:
        found = await hashed(target.blobs, named)
        if found is None or named.sha256 not in ("", found):
            state = await _state(target.blobs, named, found, manifest)
            faults.append(Fault(named.name, state))
            if state == "damaged":
                await asyncio.to_thread(target.blobs.delete, named.name)
        advance(1, named.bytes)

    with target.locked(reading=True), target.spool.file(target.spool.incoming) as scratch:
        await asyncio.to_thread(target.fetch_snapshot, manifest, scratch)
        names = Names(scratch.with_name("names"))
        try:
            await asyncio.to_thread(names.add, Snapshot(scratch).names())
            begun(*names.count())
            await each(names.all(), at_once, look)
        finally:
            names.close()
    return faults


async def _state(store: BlobStore, named: Named, found: str | None, manifest: Manifest) -> str:
    """Return what is wrong with a blob. What could not be read may be right, and may be the only copy."""
    try:
        size = await store.size(named.name)
    except BlobMissing:
        return "missing-before" if named.name in manifest.missing else "missing"
    except StoreError:
        return "unreadable"
    return "unreadable" if found is None and size == named.bytes else "damaged"
