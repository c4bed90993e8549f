"""The response cache: responses in memory, so that repeated requests need no further work.

Originals and renditions never change. A response becomes stale only when an image in it is deleted or made private, or
a signing key is revoked; `storage.Changes` signals that. Only responses that anyone who knows the URL may get are kept,
see `ResponseCache.keep`.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachetools import LRUCache, TTLCache
from litestar.types import ASGIApp, Send

from progimage import clock
from progimage.http.basis import basis_of
from progimage.http.middleware.authentication import CALLER
from progimage.http.middleware.cors import Browsers, is_public
from progimage.http.middleware.security_headers import ALWAYS
from progimage.http.responses.representation import CHUNK, RepresentationResponse, file_chunks
from progimage.images.library import ImageLibrary
from progimage.images.records import KNOWN_SECONDS

_RESPONSES = 20_000
_LARGEST_KEPT = 256 * 1024
"""Maximum size of a body in memory, in bytes; larger ones are read from files, which the kernel caches."""
_LARGEST_READ = 8 * CHUNK
_BODIES_BYTES = 64 * 1024 * 1024
# Request headers that change the response, or that the application handles.
_SPECIAL = frozenset(
    (b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"origin")
)


@dataclass(frozen=True, slots=True)
class _Response:
    """The response to a GET.

    Attributes:
        seen: Change state of each image and key, read before its lookup.
        allowed_until: Unix timestamp at which the signature or an image expires.
        etag: Entity tag, with its quotes.
        headers: Headers of a 304.
        whole_headers: Headers of a 200.
        path: The file with the body; None: only a 304 can be sent.
        size: Size of the body, in bytes.
        template: Template of the request's path, for the metrics.
        format: Format of a rendition; None for an original.
        public: Whether the images are public, so that scripts of any origin may read the response.
        is_right: Returns whether bytes are the complete body, if the file could be damaged.
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


class ResponseCache:
    """Keeps responses in memory.

    Args:
        browsers: Adds the CORS headers.

    Attributes:
        library: The images; the application sets it when it starts.
    """

    def __init__(self, browsers: Browsers) -> None:
        self._browsers = browsers
        self.library: ImageLibrary
        self._responses: TTLCache[tuple[bytes, bytes], _Response] = TTLCache(_RESPONSES, KNOWN_SECONDS / 2)
        self._bodies: LRUCache[bytes, bytes] = LRUCache(_BODIES_BYTES, getsizeof=len)

    def keep(self, scope: Any, response: ASGIApp) -> None:
        """Keep the response to a GET for later requests, if anyone who knows the URL may get it.

        Args:
            scope: ASGI scope of the request.
            response: The response.
        """
        if (
            scope[CALLER].principal.key_id is not None
            or not isinstance(response, RepresentationResponse)
            or response.location
        ):
            return
        representation, content = response.representation, response.content
        if representation.vary:
            return
        basis = basis_of(scope)
        path, size, more = None, 0, []
        if content and content.path and content.size <= _LARGEST_READ:
            path, size, more = content.path, content.size, response.content_headers(content.size)
        headers = representation.headers()
        always = ALWAYS + self._browsers.response_headers(scope, None)
        self._responses[scope["raw_path"], scope["query_string"]] = _Response(
            tuple(basis.seen.items()), math.inf if basis.ends_at is None else basis.ends_at,
            f'"{representation.etag}"'.encode(), headers + always, headers + more + always, path, size,
            scope["path_template"], representation.format, is_public(scope), content.is_right if content else None,
        )  # fmt: skip

    async def respond(self, scope: Any, send: Send) -> bool:
        """Respond to a request if its response is in the cache, and return whether it was."""
        response = self._find(scope)
        return response is not None and await self._send(response, scope, send)

    def _find(self, scope: Any) -> _Response | None:
        if scope["method"] != "GET":
            return None
        key = scope["raw_path"], scope["query_string"]
        response: _Response | None = self._responses.get(key)
        if response is None:
            return None
        state = self.library.changes.state
        for id, seen in response.seen:
            if state(id) != seen:
                self._responses.pop(key, None)
                return None
        if response.allowed_until < clock.now():
            self._responses.pop(key, None)
            return None
        return response

    async def _send(self, response: _Response, scope: Any, send: Send) -> bool:
        same = dated = False
        for name, value in scope["headers"]:
            if name in _SPECIAL:
                if name == b"if-none-match" and value == response.etag:
                    same = True
                elif name == b"if-modified-since":
                    dated = True  # If-None-Match, if there is one, takes precedence: RFC 9110, section 13.2.2
                elif name == b"origin" and response.public:
                    pass
                else:
                    return False
        if dated and not same:
            return False
        if same:
            status, headers, body = 304, response.headers, b""
        else:
            if response.path is None:
                return False
            status, headers = 200, response.whole_headers
            found = self._bodies.get(response.etag) or await self._read(response)
            if found is None:
                return False
            body = found
        scope["path_template"] = response.template
        if response.format:
            self.library.renderer.observer.rendition(response.format, None)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        return True

    async def _read(self, response: _Response) -> bytes | None:
        """Return the body, or None if the file no longer has it."""
        assert response.path is not None
        try:
            body = b"".join([chunk async for chunk in file_chunks(response.path, 0, response.size)])
        except OSError:
            return None
        if len(body) != response.size:
            return None
        if response.is_right:
            check = response.is_right
            if not (check(body) if len(body) <= _LARGEST_KEPT else await asyncio.to_thread(check, body)):
                return None
        if len(body) <= _LARGEST_KEPT:
            self._bodies[response.etag] = body
        return body
