"""Responses with immutable bytes: conditional requests and ranges (RFC 9110), file names (RFC 6266)."""

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
"""Number of bytes of a file to send at once. Granian's own way to send files (`http.response.pathsend`) takes 50 % more
time."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
# Browsers run these as one of our pages: the policy disables scripts and other resources, and isolates their origin.
_ACTIVE_MEDIA_TYPES = {"image/svg+xml"}
_SANDBOX_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"


@dataclass(frozen=True, slots=True)
class Representation:
    """A representation of an image (RFC 9110, section 3.2), without its bytes.

    Attributes:
        etag: Strong entity tag, without its quotes.
        last_modified: When the image was uploaded.
        media_type: Media type of the bytes.
        cache_control: Value of `Cache-Control`.
        filename: Name to save the bytes under; None: browsers show them.
        vary: Name of the request header field that it depends on, if any.
        surrogate: Name and value of the header field that lists the images for a CDN, if configured.
        links: Value of `Link` (RFC 8288), if any.
        encoding: Content coding of the bytes, if any.
        format: Name of the container format of a rendition; None for anything else.
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
    format: str | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of a response, with or without the bytes."""
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
    """Return the Cache-Control of a response.

    Args:
        usual: The configured value, for public responses that never become stale.
        private: Whether shared caches must not store the response.
        seconds: Maximum lifetime in seconds; None: as configured.

    >>> cache_control("public, max-age=31536000, immutable", private=True, seconds=60)
    'private, max-age=60'
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
class Content:
    """The bytes of a representation.

    Attributes:
        size: Number of bytes.
        path: The file with the bytes; None: see `stream`.
        stream: Reads the bytes from a start up to, but not including, an end.
        is_right: Returns whether bytes are the complete content, if the file could be damaged.
    """

    size: int
    path: Path | None = None
    stream: Callable[[int, int], AsyncIterator[bytes]] | None = None
    is_right: Callable[[bytes], bool] | None = None

    @classmethod
    def of_bytes(cls, body: bytes) -> "Content":
        """Return the content for bytes in memory."""

        async def stream(start: int, end: int) -> AsyncIterator[bytes]:
            yield body[start:end]

        return cls(len(body), None, stream)

    def chunks(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the bytes from `start` up to, but not including, `end`."""
        if self.stream:
            return self.stream(start, end)
        assert self.path is not None
        return file_chunks(self.path, start, end)


@dataclass(frozen=True, slots=True)
class RepresentationResponse:
    """An ASGI application that responds to a GET or HEAD with a representation, or with a range of its bytes.

    Attributes:
        representation: The representation.
        content: The bytes; None: the response has none (304), or says where they are.
        status: Status for a request without a range: 200, 302 or 304.
        location: Name and value of the header field that says where the bytes are, if the response doesn't have them.
    """

    representation: Representation
    content: Content | None = None
    status: int = 200
    location: tuple[str, str] | None = None

    @classmethod
    def not_modified(cls, representation: Representation) -> "RepresentationResponse":
        """Return the response for a caller that already has the bytes."""
        return cls(representation, status=304)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond."""
        if self.content is None:
            await _send_start(send, self.status, self._headers_without_content())
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send_content(self.content, scope, send)

    async def _send_content(self, content: Content, scope: Any, send: Send) -> None:
        wanted = _wanted_range(scope, self.representation, content.size)
        if wanted is None:
            status, start, end = 200, 0, content.size
        elif wanted[0] >= wanted[1]:
            await _send_unsatisfiable(send, content.size)
            return
        else:
            status, (start, end) = 206, wanted
        # The first bytes are read before the status is sent, in case they are unreadable.
        chunks = content.chunks(start, end)
        first = await anext(chunks, b"")
        headers = self.representation.headers() + self.content_headers(end - start)
        if status == 206:
            headers.append((b"content-range", f"bytes {start}-{end - 1}/{content.size}".encode()))
        await _send_start(send, status, headers)
        if scope["method"] == "GET":
            await send_chunks(send, _with_first(first, chunks), end - start)
        else:
            await chunks.aclose()  # type: ignore[attr-defined]
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def content_headers(self, length: int) -> list[tuple[bytes, bytes]]:
        """Return the headers that describe this many bytes."""
        return [(b"content-type", self.representation.media_type.encode()), (b"content-length", str(length).encode())]

    def _headers_without_content(self) -> list[tuple[bytes, bytes]]:
        headers = self.representation.headers()
        if self.location:
            headers.append((self.location[0].encode(), self.location[1].encode()))
        if self.status == 200:  # a proxy adds the content
            headers.append((b"content-type", self.representation.media_type.encode()))
        return headers


async def _send_start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _with_first(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for chunk in others:
        yield chunk


async def send_chunks(send: Send, chunks: AsyncIterator[bytes], size: int) -> None:
    """Send a body of `size` bytes chunk by chunk."""
    left = size
    async for chunk in chunks:
        left -= len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
    if left or not size:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def file_chunks(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    """Read a file from `start` up to, but not including, `end`; in a thread if it has to wait for the disk.

    Raises:
        FileNotFoundError: The file doesn't exist.
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
    """Return whether a byte of a file can be read without waiting for the disk."""
    try:
        return os.preadv(descriptor, [bytearray(1)], position, os.RWF_NOWAIT) == 1
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):  # not in memory; unknown on this file system
            raise
        return False


def is_active(media_type: str) -> bool:
    """Return whether browsers run files of this type as a page."""
    return media_type in _ACTIVE_MEDIA_TYPES


def is_not_modified(headers: Any, representation: Representation) -> bool:
    """Evaluate the preconditions of a GET in the order of RFC 9110, section 13.2.2.

    Args:
        headers: Headers of the request.
        representation: The representation that would be sent.

    Returns:
        Whether to respond with 304.

    Raises:
        Problem: 412, If-Match or If-Unmodified-Since doesn't hold.
    """
    modified = representation.last_modified.replace(microsecond=0)
    if_match, unmodified_since = headers.get("if-match"), _date(headers.get("if-unmodified-since"))
    if if_match is not None and not _matches(if_match, representation.etag, weak=False):
        raise Problem(
            412, "precondition-failed", "The entity tag doesn't match.", parameter="If-Match", given=if_match,
            allowed=f'"{representation.etag}"',
        )  # fmt: skip
    if if_match is None and unmodified_since and modified > unmodified_since:
        raise Problem(
            412, "precondition-failed", "The image was uploaded after this date.", parameter="If-Unmodified-Since",
            given=headers["if-unmodified-since"],
        )  # fmt: skip
    none_match = headers.get("if-none-match")
    if none_match is not None:
        return _matches(none_match, representation.etag, weak=True)
    modified_since = _date(headers.get("if-modified-since"))
    return modified_since is not None and modified <= modified_since


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


def _wanted_range(scope: Scope, representation: Representation, size: int) -> tuple[int, int] | None:
    """Return the start and the end of the requested range, or None for all bytes.

    An empty range can't be satisfied. A header field with several ranges, or without a byte range, is ignored, as RFC
    9110, section 14.2, allows.
    """
    headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"range", b"if-range")}
    match = _RANGE.fullmatch(headers.get(b"range", "").strip())
    if scope["method"] != "GET" or match is None:  # type: ignore[typeddict-item]
        return None
    condition = headers.get(b"if-range")
    if condition is not None and condition.strip() != f'"{representation.etag}"':
        date = _date(condition)
        if date is None or date != representation.last_modified.replace(microsecond=0):
            return None
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


async def _send_unsatisfiable(send: Send, size: int) -> None:
    problem = Problem(
        416, "range-not-satisfiable", "The range starts after the last byte.", parameter="Range",
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
    """Return the `Content-Disposition` that makes browsers save a file under a name (RFC 6266).

    >>> disposition("photo.jpg")
    'attachment; filename="photo.jpg"'
    """
    plain = re.sub(r'[^ -~]|["\\%]', "_", filename)
    extended = f"; filename*=UTF-8''{quote(filename, safe='')}" if plain != filename else ""
    return f'attachment; filename="{plain}"{extended}'
