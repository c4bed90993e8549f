"""Authentication: the caller for an `Authorization` header, and refusals in the audit log."""

import base64
import binascii
import math
import time
from typing import Any

import structlog
from cachetools import LRUCache, TTLCache

from progimage.auth import NOBODY, ApiKey, BadKey, Caller, RateLimits, parse_key
from progimage.auth.caller import EVERYBODY
from progimage.images.records import KNOWN_SECONDS
from progimage.problems import Problem, to_problem
from progimage.storage import AuditLog, Catalogue, Changes, DatabaseUnavailable, Event

log = structlog.get_logger(__name__)

CALLER = "progimage.caller"
"""Key of the `Caller` in the ASGI scope of a request."""
CHALLENGE = 'Bearer realm="progimage", Basic realm="progimage"'
"""How a caller may authenticate (RFC 9110, section 11.6.1)."""
_KNOWN_KEYS = 10_000
_WITHOUT_RATE_LIMIT = frozenset(("/healthz", "/readyz"))
_METRICS = "/metrics"
_REFUSALS = frozenset((401, 403, 429))
_NOTED_SECONDS = 60
_NOTED_REFUSALS = 10_000


class KeyRing:
    """Looks up API keys, and caches them for a few seconds.

    Args:
        catalogue: The database with the keys.
        changes: Signals revoked keys.
    """

    def __init__(self, catalogue: Catalogue, changes: Changes) -> None:
        self._catalogue, self._changes = catalogue, changes
        self._known: TTLCache[str, tuple[ApiKey, int]] = TTLCache(_KNOWN_KEYS, KNOWN_SECONDS / 2)

    async def verify(self, text: str) -> ApiKey:
        """Return the key with this text.

        Raises:
            BadKey: The text is malformed, or the key is unknown, revoked or expired.
        """
        id, secret = parse_key(text)
        key = self._remembered(id)
        if key and key.matches(secret):
            return key
        seen = self._changes.state(id)
        key = await self._catalogue.keys.verify(text)
        self._known[id] = key, seen
        return key

    async def find(self, id: str) -> ApiKey | None:
        """Return the active key with this id, or None."""
        key = self._remembered(id)
        if key:
            return key
        seen = self._changes.state(id)
        key = await self._catalogue.keys.get(id)
        if key is None or not key.is_active:
            return None
        self._known[id] = key, seen
        return key

    def _remembered(self, id: str) -> ApiKey | None:
        key, seen = self._known.get(id, (None, 0))
        return key if key and key.is_active and seen == self._changes.state(id) else None


class Authentication:
    """Authenticates the caller of a request, and counts the request against its rate limit.

    Args:
        key_ring: Looks up keys.
        rates: The rate limits.
        needs_keys: Whether callers without a key may only read public images.
    """

    def __init__(self, key_ring: KeyRing, rates: RateLimits, *, needs_keys: bool) -> None:
        self._key_ring, self._rates, self._needs_keys = key_ring, rates, needs_keys
        self._keyless = NOBODY if needs_keys else EVERYBODY

    def keyless(self, scope: Any) -> Caller:
        """Return the caller of a request without a key, known only by its address."""
        return Caller(self._keyless, scope["client"][0] if scope["client"] else "")

    async def admit(self, caller: Caller, path: str, authorization: bytes | None) -> Caller:
        """Return the caller with the permissions of its API key, if it has one, and count the request.

        Args:
            caller: The caller, known only by its address.
            path: Path of the request.
            authorization: Value of the `Authorization` header field, if any.

        Raises:
            BadKey: The key is invalid.
            TooManyRequests: The rate limit is exceeded.
            DatabaseUnavailable: The key can't be looked up.
        """
        if authorization is not None:
            caller = await self._authenticated(caller, path, authorization.decode("latin-1"))
        if self._rates.are_set and path not in _WITHOUT_RATE_LIMIT:
            await self._rates.request(caller)
        return caller

    async def _authenticated(self, caller: Caller, path: str, header: str) -> Caller:
        for text in credentials(header):
            try:
                parse_key(text)
            except BadKey:
                continue
            try:
                return Caller((await self._key_ring.verify(text)).principal, caller.address)
            except BadKey:
                if self._rates.are_set:
                    await self._rates.request(caller)  # so that keys can't be guessed without limit
                raise
        if self._needs_keys and path != _METRICS:  # metrics have a token of their own
            raise BadKey("The Authorization header contains no ProgImage API key.")
        return caller  # the header field is meant for a proxy


def credentials(header: str) -> list[str]:
    """Return the texts in an `Authorization` header field that can be an API key.

    These are the bearer token (RFC 6750), or the password and the user name of basic authentication (RFC 7617).

    >>> credentials("Bearer secret")
    ['secret']
    >>> credentials("Basic a2V5OnNlY3JldA==")
    ['secret', 'key']
    """
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


def authentication_problem(error: Exception) -> Problem:
    """Return the problem for a request that is not admitted, with a challenge if its key is invalid."""
    problem = to_problem(error)
    if isinstance(error, BadKey):
        problem.headers["www-authenticate"] = CHALLENGE
    return problem


class RefusalLog:
    """Records refused requests in the audit log: each kind at most once a minute, with the number of others since.

    Args:
        audit: The audit log.
    """

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._noted: LRUCache[tuple[Any, ...], tuple[float, int]] = LRUCache(_NOTED_REFUSALS)

    async def note(self, caller: Caller, method: str, path: str, status: int) -> None:
        """Record a response if its status is 401, 403 or 429."""
        if status not in _REFUSALS:
            return
        kind = (caller.address, caller.principal.key_id, status)
        at, omitted = self._noted.get(kind, (-math.inf, 0))
        if time.monotonic() - at < _NOTED_SECONDS:
            self._noted[kind] = at, omitted + 1
            return
        self._noted[kind] = time.monotonic(), 0
        detail = {"status": status, "method": method, "path": path[:200], "more_before": omitted}
        try:
            await self._audit.add(Event.by(caller, "refused", detail=detail))
        except DatabaseUnavailable as error:
            log.warning("refusal not recorded: the database is unavailable", error=repr(error), **detail)
