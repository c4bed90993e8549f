"""Copying blobs from one store to another, a few at once, each held against its hash before and after."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

from progimage.backup.names import Named
from progimage.storage import BlobDamaged, BlobMissing, BlobStore, Spool, write_hashed


class NotKept(Exception):
    """A store does not give back what was put there."""


async def copied(source: BlobStore, target: BlobStore, spool: Spool, named: Named, *, read_back: bool = False) -> None:
    """Copy a blob, whether it is there or not.

    Args:
        source: Where it is.
        target: Where to.
        spool: For a scratch file; if the target is a folder, on the same file system.
        named: The blob.
        read_back: Read it again at the target.

    Raises:
        BlobMissing, BlobDamaged: The source does not have it as it should be.
        NotKept: The target has other bytes than were put there.
        StoreError: A store can't be used now.
        OSError: The target can't be written.
    """
    with spool.file(spool.incoming) as file:
        digest = await write_hashed(source.stream(named.name, 0, named.bytes), file)
        if named.sha256 not in ("", digest) or await source.size(named.name) != named.bytes:
            raise BlobDamaged(named.name)
        await target.put(named.name, file, named.media_type or None, anew=True)
    if read_back and await hashed(target, named) != digest:
        raise NotKept(f"{named.name} is not what was written.")


async def hashed(store: BlobStore, named: Named) -> str | None:
    """Read a blob from its disk or store, and return its SHA-256, or None: it is missing, or is too short."""
    path = store.local_path(named.name)
    if path:
        await asyncio.to_thread(_forget, path)
    digest = hashlib.sha256()
    try:
        async with aclosing(store.stream(named.name, 0, named.bytes)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                await asyncio.to_thread(digest.update, chunk)
    except (BlobMissing, BlobDamaged):
        return None
    return digest.hexdigest()


async def each(names: Iterator[Named], at_once: int, work: Callable[[Named], Awaitable[None]]) -> None:
    """Do some work for each blob, a few at once; the first failure ends all."""
    turn = asyncio.Lock()

    async def some() -> None:
        while True:
            async with turn:
                named = await asyncio.to_thread(next, names, None)
            if named is None:
                return
            await work(named)

    tasks = [asyncio.create_task(some()) for _ in range(at_once)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _forget(path: Path) -> None:
    """Have a file read from the disk the next time, not from memory, where the system can do so."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # reading it says what is wrong
        return
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
