"""Asks for a representation as a client does, and returns what the response says. Only this file names the classes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any

from progimage.http.responses.representation import (
    Content,
    Representation,
    RepresentationResponse,
    cache_control,
    disposition,
    is_not_modified,
)
from progimage.problems import Problem

__all__ = [
    "BODY",
    "DATE",
    "EARLIER",
    "ETAG",
    "LATER",
    "Reply",
    "ask",
    "cache_control",
    "disposition",
    "elsewhere",
    "parameters",
]

BODY = bytes(range(200)) * 5
ETAG = "2f1a"
DATE = "Tue, 08 Dec 2026 10:20:30 GMT"
EARLIER, LATER = "Mon, 07 Dec 2026 10:20:30 GMT", "Wed, 09 Dec 2026 10:20:30 GMT"
UPLOADED = datetime(2026, 12, 8, 10, 20, 30, 654321, UTC)
"""Stores keep parts of a second, which a date of HTTP can't say."""


@dataclass(frozen=True)
class Reply:
    """A response.

    Attributes:
        status: Its status.
        headers: Its header fields, by their names in lower case.
        body: Its content.
        is_complete: The last message said that it was the last, and none before did.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    is_complete: bool


def ask(
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    body: bytes | Path | list[bytes] = BODY,
    **about: Any,
) -> Reply:
    """Ask for a representation, with its preconditions.

    Args:
        headers: Of the request.
        method: GET or HEAD.
        body: Its bytes; a file; or pieces, which are sent one by one as a store gives them.
        about: What else is known of it.
    """
    representation = _representation(**about)
    try:
        if is_not_modified(_Fields(headers or {}), representation):
            return _sent(RepresentationResponse.not_modified(representation), headers, method)
    except Problem as problem:
        return Reply(problem.status, problem.headers, problem.encoded(), True)
    return _sent(RepresentationResponse(representation, _content(body)), headers, method)


def elsewhere(header: str, location: str, status: int | None = None, **about: Any) -> Reply:
    """Ask for a representation whose bytes are elsewhere."""
    told: dict[str, Any] = {"location": (header, location)} | ({"status": status} if status else {})
    return _sent(RepresentationResponse(_representation(**about), **told), None, "GET")


def _representation(**about: Any) -> Representation:
    usual: dict[str, Any] = {
        "etag": ETAG,
        "last_modified": UPLOADED,
        "media_type": "image/png",
        "cache_control": "max-age=60",
    }
    return Representation(**(usual | about))


def _content(body: bytes | Path | list[bytes]) -> Content:
    if isinstance(body, Path):
        return Content(body.stat().st_size, path=body)
    if isinstance(body, bytes):
        return Content.of_bytes(body)

    async def pieces(start: int, end: int) -> AsyncIterator[bytes]:
        for piece in body:
            yield piece

    return Content(sum(map(len, body)), stream=pieces)


class _Fields(dict[str, str]):
    """Header fields, whatever the case of their names."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in fields.items()})


def _sent(response: Any, headers: Mapping[str, str] | None, method: str) -> Reply:
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": "/storage/1", "headers": pairs}
    messages: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(response(scope, receive, send))
    first, *rest = messages
    assert first["type"] == "http.response.start" and all(one["type"] == "http.response.body" for one in rest)
    found = [(name.decode(), value.decode("latin-1")) for name, value in first["headers"]]
    assert len(dict(found)) == len(found)  # none of them twice
    complete = [one["more_body"] for one in rest] == [True] * (len(rest) - 1) + [False]
    return Reply(first["status"], dict(found), b"".join(one["body"] for one in rest), complete)


def parameters(header: str) -> Message:
    """Return a header field that the standard library has parsed, whose parameters `get_param` has."""
    message = Message()
    message["content-disposition"] = header
    return message
