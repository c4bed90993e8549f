"""Answers that are ready in memory: a request that was just answered is answered again without any of the work.

Originals and renditions never change, so all that can make an answer untrue is a deletion, or that the
image is made private; see `storage.Changes`. Only what anybody may have is kept: see `answers.keep_ready`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachetools import LRUCache, TTLCache
from litestar.types import Send

from progimage import clock
from progimage.http.middleware.cors import Browsers, is_public
from progimage.http.responses.representation import CHUNK, SAFE_HEADERS, Delivery, NotModified, file_chunks
from progimage.images.library import KNOWN_SECONDS, ImageLibrary

_ANSWERS = 20_000
_LARGEST_KEPT = 256 * 1024
"""A larger body is read from its file each time, which the kernel has in memory."""
_LARGEST_READ = 8 * CHUNK
_BODIES_BYTES = 64 * 1024 * 1024
# What makes an answer another one, or needs care that is taken elsewhere.
_SPECIAL = frozenset(
    (b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"origin")
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A GET's answer.

    Attributes:
        seen: The state of the changes of every image in it, before that was looked up.
        allowed_until: When the request's signature or the image's time ends, in seconds since 1970.
        etag: With its quotes.
        headers: Those of a 304.
        whole_headers: Those of a 200.
        path: The file with the body, or None: only that it is not modified is ready to be said.
        size: Of the body, in bytes.
        template: Of the request's path, for the metrics.
        format: Of a rendition; None for an original.
        public: Anybody may have it, so that it is right for a page of any origin.
        is_right: Returns whether a body is what it has to be, where the file may have another.
    """

    seen: tuple[tuple[str, int], ...]
    allowed_until: float
    etag: bytes
    headers: list[tuple[bytes, bytes]]
    whole_headers: list[tuple[bytes, bytes]]
    path: Path | None
    size: int
    template: str
    format: str | None
    public: bool
    is_right: Callable[[bytes], bool] | None


class ReadyAnswers:
    """Answers from memory what it can.

    Args:
        browsers: Knows what an answer says of the pages that may read it.

    Attributes:
        library: Where the images are from; it is there once the application has started.
    """

    def __init__(self, browsers: Browsers) -> None:
        """Begin with none."""
        self._browsers = browsers
        self.library: ImageLibrary
        self._answers: TTLCache[tuple[bytes, bytes], _Answer] = TTLCache(_ANSWERS, KNOWN_SECONDS / 2)
        self._bodies: LRUCache[bytes, bytes] = LRUCache(_BODIES_BYTES, getsizeof=len)

    def add(
        self,
        scope: Any,
        seen: dict[str, int],
        answer: Delivery | NotModified,
        format: str | None,
        allowed_until: float,
    ) -> None:
        """Have the answer to a GET ready for the next one.

        Args:
            scope: Of the request.
            seen: The state of the changes of every image in it, before that was looked up.
            answer: The answer.
            format: Of a rendition; None for an original.
            allowed_until: When the request's signature or the image's time ends, in seconds since 1970.
        """
        identity, path, size, more = answer.identity, None, 0, []
        if isinstance(answer, Delivery) and answer.path and answer.size <= _LARGEST_READ:
            path, size, more = answer.path, answer.size, answer.body_headers(answer.size)
        if not identity.vary:
            headers = identity.headers()
            always = SAFE_HEADERS + self._browsers.answer_headers(scope, None)
            self._answers[scope["raw_path"], scope["query_string"]] = _Answer(
                tuple(seen.items()), allowed_until, f'"{identity.etag}"'.encode(), headers + always,
                headers + more + always, path, size, scope["path_template"], format, is_public(scope),
                answer.is_right if isinstance(answer, Delivery) else None,
            )  # fmt: skip

    async def answer(self, scope: Any, send: Send) -> bool:
        """Answer a request if that can be done, and tell whether it was."""
        answer = self._find(scope)
        return answer is not None and await self._answered(answer, scope, send)

    def _find(self, scope: Any) -> _Answer | None:
        if scope["method"] != "GET":
            return None
        key = scope["raw_path"], scope["query_string"]
        answer: _Answer | None = self._answers.get(key)
        if answer is None:
            return None
        state = self.library.changes.state
        for reference, seen in answer.seen:
            if state(reference) != seen:
                self._answers.pop(key, None)
                return None
        if answer.allowed_until < clock.now():
            self._answers.pop(key, None)
            return None
        return answer

    async def _answered(self, answer: _Answer, scope: Any, send: Send) -> bool:
        same = dated = False
        for name, value in scope["headers"]:
            if name in _SPECIAL:
                if name == b"if-none-match" and value == answer.etag:
                    same = True
                elif name == b"if-modified-since":
                    dated = True  # the entity tag, if there is one, goes before it: RFC 9110, section 13.2.2
                elif name == b"origin" and answer.public:
                    pass
                else:
                    return False
        if dated and not same:
            return False
        if same:
            status, headers, body = 304, answer.headers, b""
        else:
            if answer.path is None:
                return False
            status, headers = 200, answer.whole_headers
            found = self._bodies.get(answer.etag) or await self._read(answer)
            if found is None:
                return False
            body = found
        scope["path_template"] = answer.template
        if answer.format:
            self.library.renderer.watcher.rendition(answer.format, None)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        return True

    async def _read(self, answer: "_Answer") -> bytes | None:
        """Return the body, or None: the file does not have it any more."""
        assert answer.path is not None
        try:
            body = b"".join([chunk async for chunk in file_chunks(answer.path, 0, answer.size)])
        except OSError:
            return None
        if len(body) != answer.size:
            return None
        if answer.is_right:
            check = answer.is_right
            if not (check(body) if len(body) <= _LARGEST_KEPT else await asyncio.to_thread(check, body)):
                return None
        if len(body) <= _LARGEST_KEPT:
            self._bodies[answer.etag] = body
        return body
