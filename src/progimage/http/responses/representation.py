"""Delivering bytes that never change: conditional requests and ranges (RFC 9110), file names (RFC 6266)."""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from litestar.types import Receive, Scope, Send

from progimage.http.responses.problems import MEDIA_TYPE
from progimage.problems import Problem

CHUNK = 1024 * 1024
"""So many bytes of a file are sent at once. Granian takes half as much time again for a file that it is told the path
of (`http.response.pathsend`)."""
SAFE_HEADERS = [(b"cross-origin-resource-policy", b"cross-origin")]
"""What every answer says to browsers, beside what depends on it: images are there to be shown on other sites."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
# What a browser could run as a page of ours is shown without scripts, without any other resource, in an origin of its
# own.
_ACTIVE_MEDIA_TYPES = {"image/svg+xml"}
_SANDBOX_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of a response's bytes before they are there.

    Attributes:
        etag: A strong entity tag, without its quotes.
        last_modified: When they came to be.
        media_type: Their media type.
        cache_control: For how long they may be kept.
        filename: What to call them if they are saved, or None: they are to be shown.
        vary: The request header that they depend on, if they do on one.
        surrogate: The header that tells a CDN which image they are of, and its reference, if that is wanted.
        links: What `Link` says (RFC 8288), if anything.
        encoding: The content coding that they are in, if they are in one.
    """

    etag: str
    last_modified: datetime
    media_type: str
    cache_control: str
    filename: str | None = None
    vary: str | None = None
    surrogate: tuple[str, str] | None = None
    links: str | None = None
    encoding: str = ""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that a response has whether or not the bytes come with it."""
        pairs = [
            ("etag", f'"{self.etag}"'),
            ("last-modified", format_datetime(self.last_modified, usegmt=True)),
            ("cache-control", self.cache_control),
            ("accept-ranges", "bytes"),
            ("x-content-type-options", "nosniff"),
        ]
        if self.media_type in _ACTIVE_MEDIA_TYPES:
            pairs.append(("content-security-policy", _SANDBOX_POLICY))
        if self.encoding:
            pairs.append(("content-encoding", self.encoding))
        if self.vary:
            pairs.append(("vary", self.vary))
        if self.links:
            pairs.append(("link", self.links))
        if self.surrogate:
            pairs.append(self.surrogate)
        if self.filename:
            pairs.append(("content-disposition", disposition(self.filename)))
        return [(name.encode(), value.encode("latin-1")) for name, value in pairs]


def cache_control(usual: str, *, private: bool, seconds: int | None) -> str:
    """Return the Cache-Control of an answer that not everybody may have, or not for ever.

    Args:
        usual: That of an answer that everybody may have for ever.
        private: Only whoever asked for it may keep it.
        seconds: For how long at most; None: as long as is usual.
    """
    if not private and seconds is None:
        return usual
    directives = [directive.strip() for directive in usual.split(",")]
    if private:
        kept = [one for one in directives if one.partition("=")[0].lower() not in ("public", "s-maxage")]
        directives = ["private", *kept]
    if seconds is None:
        return ", ".join(directives)
    return ", ".join(_no_longer(one, seconds) for one in directives if one.lower() != "immutable")


def _no_longer(directive: str, seconds: int) -> str:
    name, _, value = directive.partition("=")
    if name.lower() in ("max-age", "s-maxage") and value.isdigit():
        return f"{name}={min(int(value), seconds)}"
    return directive


@dataclass(frozen=True, slots=True)
class Delivery:
    """An ASGI application that answers a GET or HEAD with some bytes, or the part of them that is asked for.

    Attributes:
        identity: What is known of them.
        size: How many there are.
        path: The file that they are in, or None: see `stream`.
        stream: Reads them from a first up to, and without, a last one.
        is_right: Returns whether these are all of them, where the file may have others.
    """

    identity: Identity
    size: int
    path: Path | None = None
    stream: Callable[[int, int], AsyncIterator[bytes]] | None = None
    is_right: Callable[[bytes], bool] | None = None

    @classmethod
    def of_bytes(cls, identity: Identity, body: bytes) -> "Delivery":
        """Answer bytes that are in memory."""

        async def stream(start: int, end: int) -> AsyncIterator[bytes]:
            yield body[start:end]

        return cls(identity, len(body), None, stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        method = scope["method"]  # type: ignore[typeddict-item]
        wanted = _wanted_range(scope, self.identity, self.size)
        if wanted is None:
            status, start, end = 200, 0, self.size
        elif wanted[0] >= wanted[1]:
            await _send_unsatisfiable(send, self.size)
            return
        else:
            status, (start, end) = 206, wanted
        # What can't be read is found out before anything is said of it.
        chunks: AsyncIterator[bytes] | None = self._chunks(start, end)
        first = await anext(chunks, b"") if chunks else b""
        if method != "GET":
            await chunks.aclose()  # type: ignore[union-attr]
            chunks = None
        headers = self.identity.headers() + self.body_headers(end - start)
        if status == 206:
            headers.append((b"content-range", f"bytes {start}-{end - 1}/{self.size}".encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if chunks is None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await send_chunks(send, _with_first(first, chunks), end - start)

    def body_headers(self, length: int) -> list[tuple[bytes, bytes]]:
        """Return the headers that tell of so many bytes that come with the response."""
        return [(b"content-type", self.identity.media_type.encode()), (b"content-length", str(length).encode())]

    def _chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        if self.stream:
            return self.stream(start, end)
        assert self.path is not None
        return file_chunks(self.path, start, end)


async def _with_first(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in others:
        yield chunk


async def send_chunks(send: Send, chunks: AsyncIterator[bytes], size: int) -> None:
    """Send a body of so many bytes, piece by piece."""
    left = size
    async for chunk in chunks:
        left -= len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
    if left or not size:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def file_chunks(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    """Read a file's bytes from `start` up to, and without, `end`; what is not in the kernel's memory in a thread.

    Raises:
        FileNotFoundError: There is no such file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while start < end:
            size = min(CHUNK, end - start)
            if _is_at_hand(descriptor, start) and _is_at_hand(descriptor, start + size - 1):
                chunk = os.pread(descriptor, size, start)
            else:
                chunk = await asyncio.to_thread(os.pread, descriptor, size, start)
            if not chunk:
                return
            start += len(chunk)
            yield chunk
    finally:
        os.close(descriptor)


def _is_at_hand(descriptor: int, position: int) -> bool:
    """Return whether a byte of a file can be read without waiting for a disk."""
    try:
        return os.preadv(descriptor, [bytearray(1)], position, os.RWF_NOWAIT) == 1
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):  # it is not there; this file system can't tell
            raise
        return False


@dataclass(frozen=True, slots=True)
class NotModified:
    """An ASGI application that answers that the client has the bytes already.

    Attributes:
        identity: What is known of them.
    """

    identity: Identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await send({"type": "http.response.start", "status": 304, "headers": self.identity.headers()})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An ASGI application that answers a GET by saying where the bytes are.

    Attributes:
        identity: What is known of them.
        status: 302, and the client asks there; 200, and the proxy in between does.
        header: Which header says where.
        location: Where they are.
    """

    identity: Identity
    status: int
    header: str
    location: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        headers = [*self.identity.headers(), (self.header.encode(), self.location.encode())]
        if self.status == 200:
            headers.append((b"content-type", self.identity.media_type.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def is_active(media_type: str) -> bool:
    """Return whether a browser could run such a file as a page."""
    return media_type in _ACTIVE_MEDIA_TYPES


def is_not_modified(headers: Any, identity: Identity) -> bool:
    """Evaluate a GET's preconditions in the order of RFC 9110, section 13.2.2.

    Args:
        headers: The request's.
        identity: What would be sent.

    Returns:
        Whether to answer 304.

    Raises:
        Problem: 412, If-Match or If-Unmodified-Since is not met.
    """
    if_match, unmodified_since = headers.get("if-match"), _date(headers.get("if-unmodified-since"))
    if if_match is not None and not _matches(if_match, identity.etag, weak=False):
        raise Problem(412, "precondition-failed", "The entity tag is another.", parameter="If-Match", given=if_match)
    if if_match is None and unmodified_since and identity.last_modified.replace(microsecond=0) > unmodified_since:
        raise Problem(412, "precondition-failed", "It was modified since.", parameter="If-Unmodified-Since")
    none_match = headers.get("if-none-match")
    if none_match is not None:
        return _matches(none_match, identity.etag, weak=True)
    modified_since = _date(headers.get("if-modified-since"))
    return modified_since is not None and identity.last_modified.replace(microsecond=0) <= modified_since


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = (tag.strip() for tag in header.split(","))
    return any(tag == f'"{etag}"' or (weak and tag == f'W/"{etag}"') for tag in tags)


def _date(header: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _wanted_range(scope: Scope, identity: Identity, size: int) -> tuple[int, int] | None:
    """Return the first byte and the one after the last, or None for all; an empty range can't be satisfied.

    A header with several ranges, or that is no byte range, is ignored, as RFC 9110, section 14.2, allows.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"range", b"if-range")}
    match = _RANGE.fullmatch(headers.get(b"range", "").strip())
    if scope["method"] != "GET" or match is None:  # type: ignore[typeddict-item]
        return None
    condition = headers.get(b"if-range")
    if condition is not None and condition.strip() != f'"{identity.etag}"':
        date = _date(condition)
        if date is None or date != identity.last_modified.replace(microsecond=0):
            return None
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


async def _send_unsatisfiable(send: Send, size: int) -> None:
    problem = Problem(
        416, "range-not-satisfiable", "The range begins after the last byte.", parameter="Range",
        allowed=f"bytes=0-{size - 1}",
    )  # fmt: skip
    body = problem.encoded()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-range", f"bytes */{size}".encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 416, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def disposition(filename: str) -> str:
    """Return the Content-Disposition that makes a browser save a file under a name (RFC 6266)."""
    plain = re.sub(r'[^ -~]|["\\%]', "_", filename)
    extended = f"; filename*=UTF-8''{quote(filename, safe='')}" if plain != filename else ""
    return f'attachment; filename="{plain}"{extended}'
