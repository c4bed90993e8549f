"""Verify a backup: read all its blobs and check their hashes."""

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
    """A faulty blob.

    Attributes:
        name: Name of the blob.
        state: `damaged`, `missing`, `unreadable` (at the moment), or `missing-before`: it was already missing from the
            store when the backup was made.
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
    """Verify all blobs of a backup. Damaged ones are removed, so that the next backup copies them again.

    Args:
        target: Target of the backup.
        manifest: The backup.
        at_once: Number of blobs to read at once.
        begun: Called with the numbers of blobs and bytes to read.
        advance: Called with the additional numbers of blobs and bytes that are done.

    Raises:
        BadTarget, BadSnapshot: The backup can't be read.
        StoreError: The store is unavailable.
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

    with target.locked(reading=True), target.scratch.file(target.scratch.incoming) as file:
        await asyncio.to_thread(target.fetch_snapshot, manifest, file)
        names = Names(file.with_name("names"))
        try:
            await asyncio.to_thread(names.add, Snapshot(file).names())
            begun(*names.count())
            await each(names.all(), at_once, look)
        finally:
            names.close()
    return faults


async def _state(store: BlobStore, named: Named, found: str | None, manifest: Manifest) -> str:
    """Return the state of a faulty blob. An unreadable one may be intact, and may be the only copy."""
    try:
        size = await store.size(named.name)
    except BlobMissing:
        return "missing-before" if named.name in manifest.missing else "missing"
    except StoreError:
        return "unreadable"
    return "unreadable" if found is None and size == named.bytes else "damaged"
