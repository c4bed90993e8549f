"""The guard at the door: who sends a request and how often, how long it may take, and what is noted of refusals."""

import asyncio
import base64
import binascii
import math
import time
from dataclasses import dataclass
from typing import Any

import structlog
from cachetools import LRUCache, TTLCache
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from progimage.auth import NOBODY, ApiKey, BadKey, Client, RateLimits, TooManyRequests, parse_key
from progimage.auth.caller import EVERYBODY
from progimage.http.codings import refusal_of_json
from progimage.http.middleware.cors import Browsers
from progimage.http.middleware.hosts import Hosts
from progimage.http.middleware.response_cache import ReadyAnswers
from progimage.http.responses.problems import WITH_BODY, send_problem, to_problem
from progimage.http.responses.representation import SAFE_HEADERS
from progimage.images.library import KNOWN_SECONDS
from progimage.problems import Problem
from progimage.storage import AuditLog, Catalogue, Changes, DatabaseUnavailable, Event

log = structlog.get_logger(__name__)

CLIENT = "progimage.client"
"""Where a request's scope has its `Client`."""
CHALLENGE = 'Bearer realm="progimage", Basic realm="progimage"'
"""How a client may say who it is (RFC 9110, section 11.6.1)."""
_LOOKED_AT = frozenset((b"authorization", b"origin", b"sec-fetch-site", b"forwarded", b"access-control-request-method"))
_KNOWN_KEYS = 10_000
_UNLIMITED_PATHS = frozenset(("/healthz", "/readyz"))
_REFUSALS = frozenset((401, 403, 429))
_NOTED_SECONDS = 60
_NOTED_REFUSALS = 10_000
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_DOCS = "/docs"
_DOCS_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    b" font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'",
)
_PAGE = "/"
_PAGE_POLICY = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    b" base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)


class Guard:
    """Lets a request in, or answers why not.

    Args:
        app: The application inside.
        ready: Answers what is ready, before it.
        browsers: Knows what pages of other origins may do.
        hosts: Knows which requests are meant for this service.
        needs_keys: Nobody may do anything without a key but read what is public.
        idle_seconds: How long a client may send or take nothing.
        upload_seconds: How long it may take to send a body.
    """

    def __init__(
        self,
        app: ASGIApp,
        ready: ReadyAnswers,
        browsers: Browsers,
        hosts: Hosts,
        *,
        needs_keys: bool,
        idle_seconds: float,
        upload_seconds: float,
    ) -> None:
        """Wrap the application."""
        self._app = app
        self._ready = ready
        self._browsers, self._hosts = browsers, hosts
        self._keyless = NOBODY if needs_keys else EVERYBODY
        self._needs_keys = needs_keys
        self._idle_seconds, self._upload_seconds = idle_seconds, upload_seconds
        self._keys: KeyRing
        self._rates: RateLimits
        self._refusals: _Refusals

    def open(self, catalogue: Catalogue, key_ring: "KeyRing", rates: RateLimits) -> None:
        """Begin, now that the database can be used."""
        self._keys = key_ring
        self._rates = rates
        self._refusals = _Refusals(catalogue.audit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        sent = _Sent.of(scope)
        client = Client(self._keyless, scope["client"][0] if scope["client"] else "")
        refusal = self._hosts.refusal(scope, sent.hosts, sent.forwarded)
        if refusal is None and (sent.authorization is not None or self._rates.are_set):
            try:
                client = await self._counted(client, scope, sent.authorization)
            except (BadKey, TooManyRequests, DatabaseUnavailable) as error:
                refusal = self._refusal(error)
        if refusal is None and (sent.origin is not None or sent.site is not None):
            bearer = client.principal.key_id is not None and sent.is_bearer
            refusal = self._browsers.refusal(scope, sent.host, sent.origin, sent.site, bearer=bearer)
        if refusal is None and await self._ready.answer(scope, send):
            return
        await self._pass_on(client, refusal, sent, scope, receive, send)

    async def _pass_on(
        self, client: Client, refusal: Problem | None, sent: "_Sent", scope: Any, receive: Receive, send: Send
    ) -> None:
        """Answer with a refusal, or let the application inside answer."""
        if refusal is None and scope["method"] in WITH_BODY:
            refusal = refusal_of_json(scope["headers"])
        guarded = _Guarded(scope, receive, send, self._idle_seconds, self._upload_seconds, self._browsers, sent.origin)
        if refusal:
            await send_problem(scope, guarded.send, refusal)
        elif sent.is_preflight and sent.origin is not None:
            await self._answer_preflight(scope, guarded.send, sent.origin)
        else:
            scope[CLIENT] = client
            try:
                await self._app(scope, guarded.receive if scope["method"] in WITH_BODY else receive, guarded.send)
            except Exception:
                if not guarded.gave_up:
                    raise
                log.info("the client took nothing of the answer for too long", path=scope["path"])
        if guarded.status in _REFUSALS:
            await self._refusals.note(client, scope["method"], scope["path"], guarded.status)

    async def _counted(self, client: Client, scope: Any, given: bytes | None) -> Client:
        """Return who a client is, and count its request.

        Raises:
            BadKey: Its key is none.
            TooManyRequests: It is one too many.
        """
        if given is not None:
            client = await self._identified(client, scope, given.decode("latin-1"))
        if self._rates.are_set and scope["path"] not in _UNLIMITED_PATHS:
            await self._rates.request(client)
        return client

    async def _identified(self, client: Client, scope: Any, header: str) -> Client:
        for text in _keys_in(header):
            try:
                parse_key(text)
            except BadKey:
                continue
            try:
                return Client((await self._keys.verify(text)).principal, client.address)
            except BadKey:
                if self._rates.are_set:
                    await self._rates.request(client)
                raise
        if self._needs_keys and scope["path"] != "/metrics":  # which has a token of its own
            raise BadKey("This is no key of ProgImage.")
        return client  # meant for a proxy on the way

    def _refusal(self, error: Exception) -> Problem:
        problem = to_problem(error)
        if isinstance(error, BadKey):
            problem.headers["www-authenticate"] = CHALLENGE
        return problem

    async def _answer_preflight(self, scope: Any, send: Send, origin: bytes) -> None:
        try:
            headers = self._browsers.preflight(scope, origin)
        except Problem as problem:
            await send_problem(scope, send, problem)
            return
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 204, "headers": encoded})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(slots=True)
class _Sent:
    """The headers of a request that the guard looks at.

    Attributes:
        hosts: Those of `Host`.
        origin: `Origin`; if there are several, something that is no origin.
        site: `Sec-Fetch-Site`, likewise.
        authorization: `Authorization`; if there are several, something that is no key.
        forwarded: The name of a header by which a proxy tells that it forwards the request.
        is_preflight: A browser asks what a page may send.
    """

    hosts: list[bytes]
    origin: bytes | None = None
    site: bytes | None = None
    authorization: bytes | None = None
    forwarded: bytes | None = None
    is_preflight: bool = False

    @classmethod
    def of(cls, scope: Any) -> "_Sent":
        sent = cls([])
        for name, value in scope["headers"]:
            if name == b"host":
                sent.hosts.append(value)
            elif name in _LOOKED_AT:
                sent._note(name, value, scope["method"])
            elif name.startswith(b"x-forwarded-"):
                sent.forwarded = name
        return sent

    def _note(self, name: bytes, value: bytes, method: str) -> None:
        if name == b"authorization":
            self.authorization = value if self.authorization is None else b", ".join((self.authorization, value))
        elif name == b"origin":
            self.origin = value if self.origin is None else b", ".join((self.origin, value))
        elif name == b"sec-fetch-site":
            self.site = value if self.site is None else b", ".join((self.site, value))
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


class _Guarded:
    """One request's messages: bounded in time, with the headers that every answer has.

    Attributes:
        status: Of the answer; 0 before there is one.
        gave_up: The client took nothing of the answer for too long.
    """

    __slots__ = (
        "_browsers", "_deadline", "_idle", "_origin", "_receive", "_scope", "_send", "_whole", "gave_up", "status",
    )  # fmt: skip

    def __init__(
        self,
        scope: Any,
        receive: Receive,
        send: Send,
        idle: float,
        upload: float,
        browsers: Browsers,
        origin: bytes | None,
    ) -> None:
        self._scope, self._receive, self._send, self._idle = scope, receive, send, idle
        self._browsers, self._origin = browsers, origin
        self._deadline = time.monotonic() + upload
        self._whole = False
        self.status = 0
        self.gave_up = False

    async def receive(self) -> Any:
        """Receive a message; the body has to arrive in time.

        Raises:
            Problem: 408.
        """
        if self._whole:
            return await self._receive()
        seconds = min(self._idle, self._deadline - time.monotonic())
        try:
            async with asyncio.timeout(seconds):
                message: Any = await self._receive()
        except TimeoutError:
            raise Problem(
                408, "too-slow", "The body did not arrive in time.", parameter="body",
                allowed=f"at most {self._idle:g} seconds without any of it",
            ) from None  # fmt: skip
        self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message; the client has to take it in time."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            readers = self._browsers.answer_headers(self._scope, self._origin)
            message["headers"] = [*message["headers"], *SAFE_HEADERS, *readers, *self._more(message["headers"])]
            await self._send(message)
        elif message.get("more_body"):
            try:
                async with asyncio.timeout(self._idle):
                    await self._send(message)
            except TimeoutError:
                self.gave_up = True
                raise
        else:
            await self._send(message)

    def _more(self, headers: Any) -> list[tuple[bytes, bytes]]:
        kind, more, policy = b"", [_NO_SNIFFING], False
        for name, value in headers:
            if name == b"content-type":
                kind = value
            elif name == b"x-content-type-options":
                more = []
            elif name == b"content-security-policy":
                policy = True
        if kind.startswith((b"application/json", b"application/problem", b"text/")) and not policy:
            more += [_NO_REFERRER, _policy(self._scope["path"])]
        return more


def _policy(path: str) -> tuple[bytes, bytes]:
    if path == _PAGE:
        return _PAGE_POLICY
    return _DOCS_POLICY if path.startswith(_DOCS) else _POLICY


class KeyRing:
    """Looks keys up, and remembers them for a few seconds.

    Args:
        catalogue: Has the keys.
        changes: Tells which are revoked.
    """

    def __init__(self, catalogue: Catalogue, changes: Changes) -> None:
        """Begin with none."""
        self._catalogue, self._changes = catalogue, changes
        self._known: TTLCache[str, tuple[ApiKey, int]] = TTLCache(_KNOWN_KEYS, KNOWN_SECONDS / 2)

    async def verify(self, text: str) -> ApiKey:
        """Return the key that a text is.

        Raises:
            BadKey: It is none, was revoked, or has expired.
        """
        id, secret = parse_key(text)
        seen = self._changes.state(id)
        known = self._known.get(id)
        if known and known[1] == seen and known[0].matches(secret) and known[0].is_active:
            return known[0]
        key = await self._catalogue.keys.verify(text)
        self._known[id] = key, seen
        return key

    async def find(self, id: str) -> ApiKey | None:
        """Return the active key that has an id, if there is one."""
        seen = self._changes.state(id)
        known = self._known.get(id)
        if known and known[1] == seen and known[0].is_active:
            return known[0]
        key = await self._catalogue.keys.get(id)
        if key is None or not key.is_active:
            return None
        self._known[id] = key, seen
        return key


class _Refusals:
    """Notes who was refused in the audit log: the same at most once a minute, with how often it was in between.

    Args:
        audit: The log.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._noted: LRUCache[tuple[Any, ...], tuple[float, int]] = LRUCache(_NOTED_REFUSALS)

    async def note(self, client: Client, method: str, path: str, status: int) -> None:
        same = (client.address, client.principal.key_id, status)
        at, more = self._noted.get(same, (-math.inf, 0))
        if time.monotonic() - at < _NOTED_SECONDS:
            self._noted[same] = at, more + 1
            return
        self._noted[same] = time.monotonic(), 0
        detail = {"status": status, "method": method, "path": path[:200], "more_before": more}
        try:
            await self._audit.add(Event.by(client, "refused", detail=detail))
        except DatabaseUnavailable as error:
            log.warning("a refusal can't be noted", error=repr(error), **detail)


def _keys_in(header: str) -> list[str]:
    """Return what may be a key in an Authorization header: a bearer token, or either part of basic credentials."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return [rest.strip()]
    if scheme.lower() != "basic":
        return []
    try:
        name, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return []
    return [password, name]
