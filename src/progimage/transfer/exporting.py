"""Export every original as a plain file, and its description as a line of JSON.

Running an export again updates it. A file with the right size is complete, since it gets its name only after its hash
was verified and it is durable. The lines are written to a new file, which replaces the old one when it is complete.
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
    """The folder has other contents, or an export with other filters."""


@dataclass
class Exported:
    """Result of an export.

    Attributes:
        images: Number of exported images.
        bytes: Size of their originals.
        written: Number of originals written by this run; the others were already there.
        failed: Number of images that could not be exported.
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
    """Export images to a folder.

    Args:
        catalogue: The database.
        blobs: The store of originals.
        target: The folder, which must be empty or have an export with the same filters.
        wanted: Filter for images. Images uploaded meanwhile are left out.
        at_once: Number of originals to copy at once.
        failed: Called with each image that could not be exported, and the reason.
        advance: Called with the additional numbers of images and bytes that are done.

    Raises:
        NotAnExport: The folder has other contents, or an export with other filters.
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
                        if await catalogue.records.get(record.reference):  # otherwise it was deleted meanwhile
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
    """Return the number of images to export, and the size of their originals."""
    images = size = 0
    async for record in _records(catalogue, wanted):
        images += 1
        size += record.blob.bytes
    return images, size


@contextmanager
def _locked(target: Path, wanted: ImageFilter) -> Iterator[None]:
    """Lock the folder against other exports.

    Raises:
        NotAnExport: The folder has other contents, or another export is writing to it.
    """
    header = Header({name: value for name, value in asdict(wanted).items() if value})
    path = target / HEADER
    if not path.exists() and any(target.iterdir()):
        raise NotAnExport(f"{target} is not empty and not an export.")
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
            raise NotAnExport(
                f"{target} has an export with other filters, or of version {VERSION + 1} or later: see {path}"
            )
        yield


async def _records(catalogue: Catalogue, wanted: ImageFilter) -> AsyncIterator[Record]:
    """Yield all matching records owner by owner, in the order of the index, newest first."""
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
    """Do some work for each record, several at once, and yield the outcomes in order."""
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
    """Write an original, unless it is already there.

    Returns:
        Whether it was written, or the reason why it could not be read.
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
        return "The original is missing from the store."
    except BlobDamaged:
        part.unlink()
        return "The original is damaged: its SHA-256 doesn't match."
    except StoreError as error:
        part.unlink()
        return f"The original is unavailable: {error}"
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
