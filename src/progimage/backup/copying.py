"""Copy blobs from one store to another, several at once, and verify the hash of each before and after."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

from progimage.backup.names import Named
from progimage.storage import BlobDamaged, BlobMissing, BlobStore, ScratchFolder, write_hashed


class NotKept(Exception):
    """A store returns other bytes than were written."""


async def copied(
    source: BlobStore, target: BlobStore, scratch: ScratchFolder, named: Named, *, read_back: bool = False
) -> None:
    """Copy a blob, even if the target already has it.

    Args:
        source: Source store.
        target: Target store.
        scratch: For a scratch file; if the target is a folder, on its file system.
        named: The blob.
        read_back: Read the copy again to verify it.

    Raises:
        BlobMissing, BlobDamaged: The blob is missing or damaged in the source.
        NotKept: The target returns other bytes than were written.
        StoreError: A store is unavailable.
        OSError: The target can't be written.
    """
    with scratch.file(scratch.incoming) as file:
        digest = await write_hashed(source.stream(named.name, 0, named.bytes), file)
        if named.sha256 not in ("", digest) or await source.size(named.name) != named.bytes:
            raise BlobDamaged(named.name)
        await target.put(named.name, file, named.media_type or None, anew=True)
    if read_back and await hashed(target, named) != digest:
        raise NotKept(f"The copy of {named.name} differs from what was written.")


async def hashed(store: BlobStore, named: Named) -> str | None:
    """Read a blob from disk or the store, and return its SHA-256, or None if it is missing or too short."""
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
    """Do some work for each blob, several at once. The first failure ends it."""
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
    """Drop a file from the page cache, so that it is read from disk, if the system supports it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # reading it will report the error
        return
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
