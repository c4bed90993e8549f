"""Originals are checked as they are read: no byte of a chunk that is not what was uploaded is passed on."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import pytest

from progimage.storage.blobs.chunk_hashes import CHUNK, ChunkHasher, WrongBytes, checked_bytes

DATA = random.Random(1).randbytes(2 * CHUNK + 5)
SHA256 = hashlib.sha256(DATA).hexdigest()
HASHES = b"".join(hashlib.sha256(DATA[start : start + CHUNK]).digest() for start in (0, CHUNK, 2 * CHUNK))


def read(
    start: int,
    end: int,
    *,
    stored: bytes = DATA,
    data: bytes = DATA,
    chunks: bytes | None = None,
    piece: int = 300_001,
    more: bytes = b"",
) -> tuple[bytes, bool, list[tuple[int, int]], list[int]]:
    """Return what is passed on, whether it is right to the end, what is read of the store, and the chunks looked at.

    Args:
        start: The first byte that is wanted.
        end: The one after the last.
        stored: What the store has by now.
        data: What was uploaded.
        chunks: The hashes of its chunks.
        piece: In pieces of how many bytes the store gives it.
        more: What the store gives beyond what it is asked for.
    """
    asked: list[tuple[int, int]] = []
    checked: list[int] = []
    passed = bytearray()

    async def pieces(first: int, last: int) -> AsyncIterator[bytes]:
        asked.append((first, last))
        part = stored[first:last] + more
        for at in range(0, len(part), piece):
            yield part[at : at + piece]

    def is_right(number: int, chunk: bytes, digest: bytes) -> bool:
        checked.append(number)
        return hashlib.sha256(chunk).digest() == digest

    async def run() -> None:
        hasher = ChunkHasher()
        hasher.update(data)
        hashes = hasher.chunks if chunks is None else chunks
        async for part in checked_bytes(pieces, hasher.sha256, len(data), hashes, start, end, is_right):
            assert part
            passed.extend(part)

    try:
        asyncio.run(run())
    except WrongBytes:
        return bytes(passed), False, asked, checked
    return bytes(passed), True, asked, checked


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5])
@pytest.mark.parametrize("piece", [100_000, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_the_whole_and_each_mebibyte_are_hashed_as_they_arrive(size: int, piece: int) -> None:
    hasher, data = ChunkHasher(), DATA[:size]
    for start in range(0, size, piece):
        hasher.update(memoryview(data)[start : start + piece])
    assert hasher.sha256 == hashlib.sha256(data).hexdigest()
    expected = b"".join(hashlib.sha256(data[start : start + CHUNK]).digest() for start in range(0, size, CHUNK))
    assert hasher.chunks == (expected if size > CHUNK else b"")  # of one chunk, the name is the hash


def test_a_chunk_is_a_mebibyte_as_in_every_database() -> None:
    assert CHUNK == 1 << 20


@pytest.mark.parametrize("piece", [70_001, CHUNK, CHUNK + 7, 5 * CHUNK])
@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        (0, 2 * CHUNK + 5, 0, 2 * CHUNK + 5),
        (0, 1, 0, CHUNK),
        (CHUNK - 1, CHUNK, 0, CHUNK),
        (CHUNK, CHUNK + 1, CHUNK, 2 * CHUNK),
        (CHUNK - 1, CHUNK + 1, 0, 2 * CHUNK),
        (2 * CHUNK, 2 * CHUNK + 5, 2 * CHUNK, 2 * CHUNK + 5),
        (2 * CHUNK + 4, 2 * CHUNK + 5, 2 * CHUNK, 2 * CHUNK + 5),
        (5, 2 * CHUNK + 1, 0, 2 * CHUNK + 5),
        (0, CHUNK, 0, CHUNK),
    ],
)
def test_a_part_is_read_in_whole_chunks_and_no_more_of_them(
    start: int, end: int, first: int, last: int, piece: int
) -> None:
    passed, right, asked, checked = read(start, end, piece=piece)
    assert (passed, right, asked) == (DATA[start:end], True, [(first, last)])
    assert checked == list(range(first // CHUNK, -(-last // CHUNK)))


@pytest.mark.parametrize("bent", [0, CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 4])
def test_nothing_is_passed_on_of_a_chunk_that_was_bent(bent: int) -> None:
    stored = DATA[:bent] + bytes([DATA[bent] ^ 1]) + DATA[bent + 1 :]
    passed, right, _, _ = read(0, len(DATA), stored=stored)
    assert not right and passed == DATA[: bent // CHUNK * CHUNK]
    within = bent // CHUNK * CHUNK
    assert read(within, within + 1, stored=stored)[:2] == (b"", False)
    others = [number for number in range(3) if number != bent // CHUNK]
    for number in others:
        assert read(number * CHUNK, number * CHUNK + 5, stored=stored)[1]


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 4])
def test_what_ends_too_early_is_noticed(size: int) -> None:
    passed, right, _, _ = read(0, len(DATA), stored=DATA[:size])
    assert not right and passed == DATA[: size // CHUNK * CHUNK]


@pytest.mark.parametrize(("start", "end"), [(0, 2 * CHUNK + 5), (0, 5), (CHUNK, CHUNK + 5)])
def test_what_goes_on_too_long_is_noticed(start: int, end: int) -> None:
    passed, right, _, _ = read(start, end, more=b"x")
    assert not right and DATA[start:end].startswith(passed)


def test_an_original_of_one_chunk_is_checked_by_its_name() -> None:
    small = DATA[:1000]
    assert read(10, 20, data=small, stored=small) == (small[10:20], True, [(0, 1000)], [0])
    assert read(10, 20, data=small, stored=small[:-1] + b"x")[:2] == (b"", False)
    whole = DATA[:CHUNK]
    assert read(0, CHUNK, data=whole, stored=whole)[:2] == (whole, True)


def test_without_hashes_of_its_chunks_a_whole_original_is_checked_before_its_last_piece() -> None:
    assert read(0, len(DATA), chunks=b"")[:3] == (DATA, True, [(0, len(DATA))])
    for stored in (DATA[:-1] + b"x", b"x" + DATA[1:], DATA[:-1]):
        passed, right, _, _ = read(0, len(DATA), stored=stored, chunks=b"", piece=CHUNK)
        assert not right and len(passed) < len(DATA)
    assert not read(0, len(DATA), chunks=b"", more=b"x")[1]


def test_without_them_a_part_is_only_counted() -> None:
    assert read(5, 500, chunks=b"")[:3] == (DATA[5:500], True, [(5, 500)])
    assert read(5, 500, stored=b"x" * len(DATA), chunks=b"")[1]
    assert not read(5, 500, stored=DATA[:499], chunks=b"")[1]


def test_no_bytes_are_wanted() -> None:
    assert read(0, 0, data=b"", stored=b"")[:2] == (b"", True)
