"""Exports: every original as a plain file, and what is known of it as a line of JSON.

An export is brought up to date by running it again: a file that is there with the right size is whole, since it gets
its name only when its bytes were held against their hash and are on disk; the lines are written anew, and replace the
old ones when all of them are there.
"""

import asyncio
import fcntl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
from obstore.exceptions import BaseError as StoreError

from progimage.storage import BlobDamaged, BlobMissing, BlobStore, Catalogue, ImageFilter, Record, write_hashed
from progimage.storage.durable import make_folder, sync_file, sync_folder
from progimage.transfer.export_format import HEADER, LINES, VERSION, Header, Line

_PAGE = 500


class NotAnExport(Exception):
    """The folder has something else in it, or the export of other images."""


@dataclass
class Exported:
    """What has become of an export so far.

    Attributes:
        images: How many are in it.
        bytes: Of their originals.
        written: Of how many the original was written now; the others were there.
        failed: How many could not be exported.
    """

    images: int = 0
    bytes: int = 0
    written: int = 0
    failed: int = 0


async def export(
    catalogue: Catalogue,
    blobs: BlobStore,
    target: Path,
    wanted: ImageFilter,
    at_once: int,
    failed: Callable[[Record, str], None],
    advance: Callable[[int, int], None],
) -> Exported:
    """Write images to a folder.

    Args:
        catalogue: The database.
        blobs: The store of originals.
        target: The folder; it is empty, or has an export of the same images.
        wanted: Which images. One that is uploaded meanwhile is left out.
        at_once: How many originals are copied at once.
        failed: Is told what could not be exported, and why.
        advance: Is told how many images and bytes are done more.

    Raises:
        NotAnExport: The folder has something else in it.
        OSError: The folder can't be written.
    """
    done = Exported()
    make_folder(target)
    with _locked(target, wanted):
        part = target / f"{LINES}.part"
        with part.open("wb") as lines:
            copies = _in_order(_records(catalogue, wanted), at_once, lambda record: _copied(blobs, target, record))
            async with aclosing(copies):  # type: ignore[type-var]
                async for record, outcome in copies:
                    if isinstance(outcome, str):
                        if await catalogue.records.get(record.reference):  # else it was deleted meanwhile
                            done.failed += 1
                            failed(record, outcome)
                        continue
                    lines.write(msgspec.json.encode(Line.of(record)) + b"\n")
                    done.images += 1
                    done.bytes += record.blob.bytes
                    done.written += outcome
                    advance(1, record.blob.bytes)
        sync_file(part)
        part.replace(target / LINES)
        sync_folder(target)
    return done


async def count(catalogue: Catalogue, wanted: ImageFilter) -> tuple[int, int]:
    """Return how many images there are to export, and the bytes of their originals."""
    images = size = 0
    async for record in _records(catalogue, wanted):
        images += 1
        size += record.blob.bytes
    return images, size


@contextmanager
def _locked(target: Path, wanted: ImageFilter) -> Iterator[None]:
    """Keep other exports out of the folder.

    Raises:
        NotAnExport: The folder has something else in it, or another export is writing to it.
    """
    header = Header({name: value for name, value in asdict(wanted).items() if value})
    path = target / HEADER
    if not path.exists() and any(target.iterdir()):
        raise NotAnExport(f"{target} is not empty, and not an export.")
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotAnExport(f"Another export is writing to {target}.") from None
        file.seek(0)
        text = file.read()
        encoded = msgspec.json.format(msgspec.json.encode(header)) + b"\n"
        if not text:
            file.write(encoded)
            file.flush()
        elif text != encoded:
            raise NotAnExport(f"{target} has an export of other images, or of version {VERSION + 1} or later: {path}")
        yield


async def _records(catalogue: Catalogue, wanted: ImageFilter) -> AsyncIterator[Record]:
    """Return all records that are wanted: owner by owner, as the index has them, the newest first."""
    owners = [wanted.owner] if wanted.owner else [owner.name for owner in await catalogue.owners.all()]
    for owner in owners:
        left = replace(wanted, owner=owner)
        while page := await catalogue.records.find(left, _PAGE):
            for record in page:
                yield record
            left = replace(left, below=(page[-1].uploaded_at.timestamp(), page[-1].reference))


async def _in_order(
    records: AsyncIterator[Record], at_once: int, work: Callable[[Record], "asyncio.Future[bool | str]"]
) -> AsyncIterator[tuple[Record, bool | str]]:
    """Do some work for each record, a few at once, and return the outcomes in order."""
    running: deque[tuple[Record, asyncio.Future[bool | str]]] = deque()
    try:
        async for record in records:
            running.append((record, work(record)))
            if len(running) >= at_once:
                yield running[0][0], await running[0][1]
                running.popleft()
        while running:
            yield running[0][0], await running[0][1]
            running.popleft()
    finally:
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)


def _copied(blobs: BlobStore, target: Path, record: Record) -> "asyncio.Future[bool | str]":
    return asyncio.ensure_future(_copy(blobs, target / Line.of(record).file, record))


async def _copy(blobs: BlobStore, path: Path, record: Record) -> bool | str:
    """Write an original, unless it is there.

    Returns:
        Whether it was written, or why it could not be read.
    """
    size, sha256 = record.blob.bytes, record.blob.sha256
    if await asyncio.to_thread(_has, path, size):
        return False
    part = path.with_name(f"{path.name}.part")
    await asyncio.to_thread(make_folder, path.parent)
    try:
        if await write_hashed(blobs.stream(sha256, 0, size), part) != sha256:
            raise BlobDamaged(sha256)
    except BlobMissing:
        part.unlink()
        return "The store does not have the original."
    except BlobDamaged:
        part.unlink()
        return "The original is damaged: its bytes do not have its SHA-256."
    except StoreError as error:
        part.unlink()
        return f"The original can't be read now: {error}"
    await asyncio.to_thread(_finish, part, path)
    return True


def _has(path: Path, size: int) -> bool:
    try:
        return path.lstat().st_size == size
    except FileNotFoundError:
        return False


def _finish(part: Path, path: Path) -> None:
    sync_file(part)
    part.replace(path)
    sync_folder(path.parent)
