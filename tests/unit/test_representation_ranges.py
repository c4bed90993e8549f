"""Parts of a representation: RFC 9110, section 14, and `If-Range`, section 13.1.5."""

import errno
import json
import os
import threading
from pathlib import Path

import pytest

from tests.unit.representations import BODY, DATE, EARLIER, ETAG, LATER, ask

SIZE = len(BODY)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("0-0", 0, 0),
        ("0-", 0, SIZE - 1),
        ("1-1", 1, 1),
        ("500-599", 500, 599),
        (f"{SIZE - 1}-", SIZE - 1, SIZE - 1),
        (f"0-{SIZE - 1}", 0, SIZE - 1),
        (f"0-{SIZE}", 0, SIZE - 1),
        ("990-100000", 990, SIZE - 1),
        ("-1", SIZE - 1, SIZE - 1),
        ("-200", SIZE - 200, SIZE - 1),
        (f"-{SIZE}", 0, SIZE - 1),
        (f"-{SIZE + 1}", 0, SIZE - 1),
        ("-99999", 0, SIZE - 1),
        ("7-7", 7, 7),
    ],
)
def test_a_range_gets_these_bytes_and_says_which_they_are(asked: str, first: int, last: int) -> None:
    reply = ask({"Range": f"bytes={asked}"})
    assert reply.status == 206 and reply.is_complete
    assert reply.body == BODY[first : last + 1]
    assert reply.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert reply.headers["content-length"] == str(last - first + 1)
    assert reply.headers["content-type"] == "image/png" and reply.headers["etag"] == f'"{ETAG}"'


@pytest.mark.parametrize("asked", [f"{SIZE}-", f"{SIZE}-{SIZE}", f"{SIZE + 1}-", "5000-6000", "-0"])
def test_a_range_beyond_the_end_is_refused_with_the_size(asked: str) -> None:
    reply = ask({"Range": f"bytes={asked}"})
    assert reply.status == 416 and reply.is_complete
    assert reply.headers["content-range"] == f"bytes */{SIZE}"
    assert reply.headers["content-length"] == str(len(reply.body))
    problem = json.loads(reply.body)
    assert reply.headers["content-type"] == "application/problem+json" and problem["status"] == 416
    assert problem["parameter"] == "Range" and problem["allowed"] == f"bytes=0-{SIZE - 1}"


def test_what_a_refusal_allows_is_granted() -> None:
    allowed = json.loads(ask({"Range": f"bytes={SIZE}-"}).body)["allowed"]
    assert ask({"Range": allowed}).body == BODY


@pytest.mark.parametrize(
    "header",
    [
        "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5", "bytes=9-5", "bytes=0-1,5-6", "bytes=0-1, 5-6",
        "lines=0-5", "bytes 0-5", "bytes=0x1-", "bytes=--1", "bytes=" + "9" * 19 + "-",
    ],
)  # fmt: skip
def test_what_is_no_single_range_of_bytes_gets_everything(header: str) -> None:
    reply = ask({"Range": header})
    assert (reply.status, reply.body) == (200, BODY) and "content-range" not in reply.headers


def test_without_a_range_everything_is_sent_and_ranges_are_offered() -> None:
    reply = ask()
    assert (reply.status, reply.body, reply.is_complete) == (200, BODY, True)
    assert reply.headers["accept-ranges"] == "bytes" and reply.headers["content-length"] == str(SIZE)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-0"}, {"Range": "bytes=5000-"}])
def test_head_says_what_get_would_have_and_ignores_ranges(headers: dict[str, str]) -> None:
    reply = ask(headers, "HEAD")  # section 14.2: a range is for GET alone
    assert (reply.status, reply.body, reply.is_complete) == (200, b"", True)
    assert reply.headers == ask().headers


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f'"{ETAG}"', 206),
        (f' "{ETAG}" ', 206),
        (DATE, 206),
        ("Tuesday, 08-Dec-26 10:20:30 GMT", 206),  # the obsolete forms of section 5.6.7 are to be understood
        ("Tue, 08 Dec 2026 12:20:30 +0200", 206),
        ('"another"', 200),
        (f'W/"{ETAG}"', 200),  # weak tags never match here
        (ETAG, 200),
        (LATER, 200),  # the date has to be the very same
        (EARLIER, 200),
        ("Tue, 08 Dec 2026 10:20:31 GMT", 200),
        ("Tue, 08 Dec 2026 10:20:29 GMT", 200),
        ("no date", 200),
        ("", 200),
        ("*", 200),
    ],
)
def test_a_part_is_sent_only_of_the_version_that_the_client_has(condition: str, status: int) -> None:
    reply = ask({"Range": "bytes=2-3", "If-Range": condition})
    assert reply.status == status
    assert reply.body == (BODY[2:4] if status == 206 else BODY)


def test_a_condition_without_a_range_changes_nothing() -> None:
    assert ask({"If-Range": '"another"'}).body == BODY


def test_another_version_gets_everything_though_the_range_lies_beyond_it() -> None:
    assert ask({"Range": "bytes=5000-", "If-Range": '"another"'}).status == 200


def test_parts_of_a_file_are_those_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(251)) * 10_000  # more than two mebibytes, and no period that divides one
    path = tmp_path / "file"
    path.write_bytes(content)
    assert ask(body=path).body == content
    mebibyte = 1 << 20
    for first, last in ((0, 0), (mebibyte - 1, mebibyte), (mebibyte, 2 * mebibyte - 1), (5, len(content) - 1)):
        reply = ask({"Range": f"bytes={first}-{last}"}, body=path)
        assert reply.body == content[first : last + 1] and reply.is_complete, (first, last)


@pytest.mark.parametrize("pieces", [[b"a"], [b"ab", b"c"], [b"", b"a", b"", b"bc"], [b"a"] * 5])
def test_pieces_are_sent_as_they_come_and_the_last_says_so(pieces: list[bytes]) -> None:
    reply = ask(body=pieces)
    assert reply.body == b"".join(pieces) and reply.is_complete


def test_no_bytes_are_a_whole_response_too() -> None:
    reply = ask(body=b"")
    assert (reply.status, reply.body, reply.headers["content-length"], reply.is_complete) == (200, b"", "0", True)


def test_no_part_of_no_bytes_can_be_had() -> None:
    assert ask({"Range": "bytes=0-"}, body=b"").status == 416


def test_a_file_that_got_shorter_ends_the_response_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    reply = ask({"Range": "bytes=990-"}, body=path)
    assert reply.body == BODY[990:] and reply.is_complete


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    before = len(os.listdir("/proc/self/fd"))
    for headers, method in (
        ({}, "GET"),
        ({"Range": "bytes=5-9"}, "GET"),
        ({}, "HEAD"),
        ({"Range": "bytes=5000-"}, "GET"),
    ):
        for _ in range(5):
            ask(headers, method, path)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(("number", "waits"), [(None, False), (errno.EAGAIN, True), (errno.EOPNOTSUPP, True)])
def test_nobody_waits_for_the_disk_but_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None, waits: bool
) -> None:
    """What the kernel has in memory is read at once; what it has not, or where it can't tell, is read elsewhere."""
    path = tmp_path / "file"
    path.write_bytes(BODY)
    readers: list[bool] = []
    pread = os.pread

    def noted(descriptor: int, size: int, at: int) -> bytes:
        readers.append(threading.current_thread() is threading.main_thread())
        return pread(descriptor, size, at)

    def told(descriptor: int, buffers: list[bytearray], at: int, flags: int) -> int:
        if number is None:
            return 1
        raise OSError(number, "it would have to wait")

    monkeypatch.setattr(os, "pread", noted)
    monkeypatch.setattr(os, "preadv", told)
    assert ask(body=path).body == BODY
    assert readers == [not waits]


def test_a_disk_that_fails_is_no_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(BODY)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(OSError, match="broken"):
        ask(body=path)
