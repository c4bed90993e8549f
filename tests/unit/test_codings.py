"""Bodies with a Content-Encoding (RFC 9110, section 8.4; RFC 1950, 1952): decoded as they come, piece by piece."""

import asyncio
import gzip
import random
import zlib
from collections.abc import AsyncIterator

import pytest

from progimage.http.codings import codings_of, decoded, refusal_of_json
from progimage.problems import Problem

TEXT = b"a picture of a cat " * 50
NOISE = random.Random(1).randbytes(5000)
LARGE = b"\0" * 1_000_000


def undone(data: bytes, coding: str = "gzip", piece: int = 1 << 20) -> tuple[bytes, int]:
    """Return what is decoded of bytes that arrive in pieces, and the largest piece that comes out."""

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(data), piece):
            yield data[start : start + piece]

    async def run() -> list[bytes]:
        return [part async for part in decoded(body(), coding)]

    parts = asyncio.run(run())
    return b"".join(parts), max(map(len, parts), default=0)


def refusal(data: bytes, coding: str = "gzip", piece: int = 1 << 20) -> Problem:
    with pytest.raises(Problem) as problem:
        undone(data, coding, piece)
    return problem.value


@pytest.mark.parametrize(
    ("header", "codings"),
    [
        ("gzip", ["gzip"]),
        ("GZip", ["gzip"]),
        ("x-gzip", ["x-gzip"]),
        ("deflate", ["deflate"]),
        ("identity", []),
        ("", []),
        (" gzip , identity ", ["gzip"]),
        ("deflate, gzip", ["gzip", "deflate"]),
        ("gzip,,gzip", ["gzip", "gzip"]),
        ("identity, gzip, identity, gzip", ["gzip", "gzip"]),
    ],
)
def test_the_last_coding_is_undone_first(header: str, codings: list[str]) -> None:
    assert codings_of(header) == codings


@pytest.mark.parametrize(
    "header", ["br", "zstd", "compress", "gzip, br", "gzip, gzip, gzip", "gzip;q=1", "gzip " + "x" * 200]
)
def test_any_other_coding_is_refused_with_those_that_are_taken(header: str) -> None:
    with pytest.raises(Problem) as problem:
        codings_of(header)
    assert (problem.value.status, problem.value.parameter) == (415, "Content-Encoding")
    assert problem.value.given == header[:100]
    taken = problem.value.headers["accept-encoding"]  # RFC 9110, section 12.5.3
    assert taken == problem.value.allowed and [codings_of(one) for one in taken.split(", ")] == [["gzip"], ["deflate"]]


@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("data", [TEXT, NOISE, b"", b"x"])
def test_what_was_encoded_is_had_again_however_it_arrives(data: bytes, piece: int) -> None:
    for coding, encoded in (
        ("gzip", gzip.compress(data)),
        ("x-gzip", gzip.compress(data)),
        ("deflate", zlib.compress(data)),
    ):
        assert undone(encoded, coding, piece)[0] == data


@pytest.mark.parametrize("piece", [1, 10, 1 << 20])
def test_a_gzip_file_may_have_several_members(piece: int) -> None:
    data = gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(NOISE)
    assert undone(data, "gzip", piece)[0] == TEXT + NOISE


@pytest.mark.parametrize("piece", [5, 1 << 20])
def test_a_bomb_comes_out_in_small_pieces(piece: int) -> None:
    data, largest = undone(gzip.compress(LARGE), "gzip", piece)
    assert data == LARGE and largest <= 64 * 1024


def test_nothing_at_all_is_an_empty_body() -> None:
    assert undone(b"") == (b"", 0)


@pytest.mark.parametrize("missing", [1, 4, 8, 9, 20])
@pytest.mark.parametrize("piece", [3, 1 << 20])
def test_what_ends_too_early_is_refused(missing: int, piece: int) -> None:
    for coding, data in (
        ("gzip", gzip.compress(NOISE)),
        ("deflate", zlib.compress(NOISE)),
        ("gzip", gzip.compress(LARGE)),
    ):
        problem = refusal(data[:-missing], coding, piece)
        assert (problem.status, problem.given, problem.parameter) == (400, coding, "Content-Encoding")
    assert refusal(gzip.compress(TEXT) + gzip.compress(TEXT)[:-missing], "gzip", piece).status == 400


def test_what_is_not_so_encoded_is_refused() -> None:
    for data, coding in (
        (TEXT, "gzip"), (TEXT, "deflate"), (gzip.compress(TEXT), "deflate"), (zlib.compress(TEXT), "gzip"),
        (gzip.compress(TEXT) + b"rubbish", "gzip"), (gzip.compress(TEXT)[:-5] + b"12345", "gzip"),
    ):  # fmt: skip
        problem = refusal(data, coding)
        assert (problem.status, problem.kind) == (400, "invalid-body") and "can't be decoded" in problem.detail


@pytest.mark.parametrize(
    ("coding", "media_type", "taken"),
    [
        (None, "application/json", True),
        ("", "application/json", True),
        ("identity", "application/json", True),
        (" Identity ", "application/json", True),
        ("gzip", "application/json", False),
        ("GZIP", "Application/JSON", False),
        ("br", "application/json; charset=utf-8", False),
        ("gzip", "image/png", True),
        ("gzip", None, True),
        ("br", "text/plain", True),
    ],
)
def test_json_is_taken_as_it_is(coding: str | None, media_type: str | None, taken: bool) -> None:
    pairs = ((b"content-encoding", coding), (b"content-type", media_type), (b"host", "gzip"))
    problem = refusal_of_json([(name, value.encode()) for name, value in pairs if value is not None])
    if taken:
        assert problem is None
        return
    assert problem is not None and (problem.status, problem.parameter) == (415, "Content-Encoding")
    assert problem.headers == {"accept-encoding": "identity"} and problem.given == str(coding).lower()
