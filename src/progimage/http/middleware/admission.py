"""Admission: the checks that every request passes before it reaches a handler, and headers of every response."""

from dataclasses import dataclass
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from progimage.auth import BadKey, Caller, RateLimits, TooManyRequests
from progimage.http.codings import refusal_of_json
from progimage.http.middleware.authentication import (
    CALLER,
    Authentication,
    KeyRing,
    RefusalLog,
    authentication_problem,
)
from progimage.http.middleware.cors import Browsers
from progimage.http.middleware.hosts import Hosts
from progimage.http.middleware.response_cache import ResponseCache
from progimage.http.middleware.security_headers import security_headers
from progimage.http.middleware.timeouts import Timeouts
from progimage.http.responses.problems import WITH_BODY, send_problem
from progimage.problems import Problem
from progimage.storage import Catalogue, DatabaseUnavailable

log = structlog.get_logger(__name__)

_RELEVANT = frozenset((b"authorization", b"origin", b"sec-fetch-site", b"forwarded", b"access-control-request-method"))


class Admission:
    """ASGI middleware that admits a request, or responds with a problem.

    It checks the host, the caller and its rate limit, then the origin of the page that sent the request. After that,
    the response cache responds, or else the application.

    Args:
        app: The wrapped application.
        response_cache: Responds without the application where it can.
        browsers: Rules for pages of other origins.
        hosts: The host names of the service.
        needs_keys: Whether callers without a key may only read public images.
        idle_seconds: Maximum time without progress, in either direction.
        upload_seconds: Maximum time until a request's body is complete.
    """

    def __init__(
        self,
        app: ASGIApp,
        response_cache: ResponseCache,
        browsers: Browsers,
        hosts: Hosts,
        *,
        needs_keys: bool,
        idle_seconds: float,
        upload_seconds: float,
    ) -> None:
        self._app, self._response_cache = app, response_cache
        self._browsers, self._hosts = browsers, hosts
        self._needs_keys = needs_keys
        self._idle_seconds, self._upload_seconds = idle_seconds, upload_seconds
        self._authentication: Authentication
        self._refusals: RefusalLog
        self._rates: RateLimits

    def open(self, catalogue: Catalogue, key_ring: KeyRing, rates: RateLimits) -> None:
        """Connect to the database, once the application has started."""
        self._rates = rates
        self._authentication = Authentication(key_ring, rates, needs_keys=self._needs_keys)
        self._refusals = RefusalLog(catalogue.audit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request = _Headers.of(scope)
        caller = self._authentication.keyless(scope)
        refusal = self._hosts.refusal(scope, request.hosts, request.forwarded)
        if refusal is None and (request.authorization is not None or self._rates.are_set):
            try:
                caller = await self._authentication.admit(caller, scope["path"], request.authorization)
            except (BadKey, TooManyRequests, DatabaseUnavailable) as error:
                refusal = authentication_problem(error)
        if refusal is None and (request.origin is not None or request.site is not None):
            bearer = caller.principal.key_id is not None and request.is_bearer
            refusal = self._browsers.refusal(scope, request.host, request.origin, request.site, bearer=bearer)
        if refusal is None and await self._response_cache.respond(scope, send):
            return
        status = await self._respond(caller, refusal, request, scope, receive, send)
        await self._refusals.note(caller, scope["method"], scope["path"], status)

    async def _respond(
        self, caller: Caller, refusal: Problem | None, request: "_Headers", scope: Any, receive: Receive, send: Send
    ) -> int:
        """Respond with a refusal, or call the application; return the status."""
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                added = self._browsers.response_headers(scope, request.origin)
                own = message["headers"]
                message["headers"] = [*own, *security_headers(scope["path"], own), *added]
            await send(message)

        has_body = scope["method"] in WITH_BODY
        if refusal is None and has_body:
            refusal = refusal_of_json(scope["headers"])
        if refusal:
            await send_problem(scope, send_with_headers, refusal)
        elif request.is_preflight and request.origin is not None:
            await self._respond_to_preflight(scope, send_with_headers, request.origin)
        else:
            scope[CALLER] = caller
            timeouts = Timeouts(receive, send_with_headers, self._idle_seconds, self._upload_seconds)
            try:
                await self._app(scope, timeouts.receive if has_body else receive, timeouts.send)
            except Exception:
                if not timeouts.expired:
                    raise
                log.info("timeout: caller stopped reading the response", path=scope["path"])
        return status

    async def _respond_to_preflight(self, scope: Any, send: Send, origin: bytes) -> None:
        try:
            headers = self._browsers.preflight(scope, origin)
        except Problem as problem:
            await send_problem(scope, send, problem)
            return
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 204, "headers": encoded})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(slots=True)
class _Headers:
    """The header fields of a request that decide its admission.

    Attributes:
        hosts: All `Host` header fields.
        origin: `Origin`; several are joined, so that the result is not a valid origin.
        site: `Sec-Fetch-Site`, joined likewise.
        authorization: `Authorization`, joined likewise.
        forwarded: Name of a header field by which a proxy marks forwarded requests, if present.
        is_preflight: Whether the request is a CORS preflight.
    """

    hosts: list[bytes]
    origin: bytes | None = None
    site: bytes | None = None
    authorization: bytes | None = None
    forwarded: bytes | None = None
    is_preflight: bool = False

    @classmethod
    def of(cls, scope: Any) -> "_Headers":
        headers = cls([])
        for name, value in scope["headers"]:
            if name == b"host":
                headers.hosts.append(value)
            elif name in _RELEVANT:
                headers._note(name, value, scope["method"])
            elif name.startswith(b"x-forwarded-"):
                headers.forwarded = name
        return headers

    def _note(self, name: bytes, value: bytes, method: str) -> None:
        if name == b"authorization":
            self.authorization = _joined(self.authorization, value)
        elif name == b"origin":
            self.origin = _joined(self.origin, value)
        elif name == b"sec-fetch-site":
            self.site = _joined(self.site, value)
        elif name == b"forwarded":
            self.forwarded = name
        else:
            self.is_preflight = method == "OPTIONS"

    @property
    def host(self) -> bytes | None:
        return self.hosts[0] if self.hosts else None

    @property
    def is_bearer(self) -> bool:
        return self.authorization is not None and self.authorization[:7].lower() == b"bearer "


def _joined(first: bytes | None, value: bytes) -> bytes:
    return value if first is None else b", ".join((first, value))
