"""API keys: a public id and a secret; only the secret's SHA-256 is stored.

A key is `pgi_`, the id, `_`, and 256 random bits in base64url. A secret with this many random bits can't be recovered
from its hash, so a slow hash would add nothing.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from progimage import clock
from progimage.auth.caller import Principal, Scope

_PREFIX = "pgi"
_ID_BYTES, _SECRET_BYTES = 10, 32


class BadKey(Exception):
    """The key is malformed, unknown, revoked or expired."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as stored, without its secret.

    Attributes:
        id: Public part of the key.
        owner: The owner whose images it gives access to.
        name: A name to recognize it by.
        sha256: SHA-256 of its secret, in hexadecimal.
        scopes: Its permissions.
        created_at: Unix timestamp of its creation.
        expires_at: Unix timestamp at which it expires; None: never.
        revoked_at: Unix timestamp at which it was revoked; None: it wasn't.
    """

    id: str
    owner: str
    name: str
    sha256: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    @property
    def is_active(self) -> bool:
        """Whether the key is valid now."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > clock.now())

    @property
    def principal(self) -> Principal:
        """The principal that a request with this key has."""
        return Principal(self.owner, self.scopes, self.id)

    def matches(self, secret: str) -> bool:
        """Return whether a secret is the key's, in constant time."""
        return hmac.compare_digest(self.sha256, hashed(secret))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new API key.

    Attributes:
        key: The key as stored.
        text: The full key, which is shown once and can't be recovered.
    """

    key: ApiKey
    text: str


def new_key(owner: str, name: str, scopes: frozenset[Scope], expires_at: float | None = None) -> NewKey:
    """Create a key.

    Args:
        owner: The owner whose images it gives access to.
        name: A name to recognize it by.
        scopes: Its permissions.
        expires_at: Unix timestamp at which it expires; None: never.
    """
    id = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(id, owner, name, hashed(secret), scopes, clock.now(), expires_at)
    return NewKey(key, f"{_PREFIX}_{id}_{secret}")


def parse_key(text: str) -> tuple[str, str]:
    """Return a key's id and secret.

    Raises:
        BadKey: The text is not a ProgImage API key.
    """
    prefix, _, rest = text.partition("_")
    id, _, secret = rest.partition("_")
    if prefix != _PREFIX or len(id) != _ID_BYTES * 8 // 5 or not secret or not text.isascii():
        raise BadKey("Not a ProgImage API key.")
    return id, secret


def hashed(secret: str) -> str:
    """Return the hash of a secret that is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()
