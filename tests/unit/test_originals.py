"""Reads of a store that bends bytes now and then."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from obstore.store import MemoryStore

from progimage.engine import ImageInfo
from progimage.storage import Blob, BlobDamaged, BlobStore, Catalogue, Changes, Originals, ScratchFolder, Verification
from progimage.storage.blobs.chunk_hashes import CHUNK, ChunkHasher
from progimage.storage.database.migrations import migrate
from tests import many

DATA = random.Random(1).randbytes(2 * CHUNK + 5)


class Bending(BlobStore):
    """A store whose next reads, so many of them, have a wrong byte in their last piece."""

    bends = 0

    async def stream(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        bent, self.bends = self.bends > 0, self.bends - 1
        async for piece in super().stream(name, start, end):
            yield bytes([*piece[:-1], piece[-1] ^ 1]) if bent else piece


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[Originals, Bending, Blob]]:
    url = f"sqlite:///{tmp_path / 'progimage.sqlite'}"
    migrate(url, tmp_path / "migration.lock")
    catalogue, changes, scratch = Catalogue(url), Changes(tmp_path / "changes"), ScratchFolder(tmp_path / "spool")
    store = Bending(MemoryStore())
    hasher = ChunkHasher()
    hasher.update(DATA)
    info = msgspec.json.decode(many.INFO, type=ImageInfo)
    blob = Blob(hashlib.sha256(DATA).hexdigest(), len(DATA), info, chunks=hasher.chunks)
    file = tmp_path / "original"
    file.write_bytes(DATA)
    asyncio.run(store.put(blob.sha256, file))
    yield Originals(store, None, catalogue.inventory, catalogue.audit, changes, scratch, Verification()), store, blob
    catalogue.close()
    changes.close()
    scratch.close()


async def read(originals: Originals, blob: Blob) -> bytes:
    return b"".join([chunk async for chunk in originals.stream(blob, 0, blob.bytes)])


def test_a_store_that_bends_one_read_is_read_again(parts: tuple[Originals, Bending, Blob]) -> None:
    originals, store, blob = parts
    store.bends = 1
    assert asyncio.run(read(originals, blob)) == DATA


def test_a_read_that_is_wrong_twice_is_refused_as_damage(parts: tuple[Originals, Bending, Blob]) -> None:
    originals, store, blob = parts

    async def examined(blob: Blob) -> bool:
        return True  # whole when it was looked at, and bent again in the next read

    store.bends, originals.examine = 2, examined
    with pytest.raises(BlobDamaged):
        asyncio.run(read(originals, blob))
