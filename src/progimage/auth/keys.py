"""API keys: a public id and a secret, of which only the SHA-256 is kept.

A key is `pgi_`, the id, `_`, and 256 random bits in base64url. A secret with so many random bits can't be found out
from its hash, so that a slow hash would add nothing.
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
    """The key is not known, was revoked, or has expired."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key.

    Attributes:
        id: Its public part.
        owner: In whose name it is used.
        name: What it is for, in its owner's words.
        sha256: Of its secret, in hexadecimal digits.
        scopes: What it allows.
        created_at: When, in seconds since 1970.
        expires_at: Until when it is valid, if not for ever.
        revoked_at: When it was revoked, if it was.
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
        """Whether it is valid now."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > clock.now())

    @property
    def principal(self) -> Principal:
        """Who uses it."""
        return Principal(self.owner, self.scopes, self.id)

    def matches(self, secret: str) -> bool:
        """Tell, in constant time, whether a secret is the key's."""
        return hmac.compare_digest(self.sha256, hashed(secret))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made just now.

    Attributes:
        key: What is kept of it.
        text: The whole key, which is shown once and can't be found out again.
    """

    key: ApiKey
    text: str


def new_key(owner: str, name: str, scopes: frozenset[Scope], expires_at: float | None = None) -> NewKey:
    """Make a key.

    Args:
        owner: In whose name it is used.
        name: What it is for.
        scopes: What it allows.
        expires_at: Until when it is valid, in seconds since 1970, or None: for ever.
    """
    id = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(id, owner, name, hashed(secret), scopes, clock.now(), expires_at)
    return NewKey(key, f"{_PREFIX}_{id}_{secret}")


def parse_key(text: str) -> tuple[str, str]:
    """Return a key's id and secret.

    Raises:
        BadKey: It is none of ours.
    """
    prefix, _, rest = text.partition("_")
    id, _, secret = rest.partition("_")
    if prefix != _PREFIX or len(id) != _ID_BYTES * 8 // 5 or not secret or not text.isascii():
        raise BadKey("This is no key of ProgImage.")
    return id, secret


def hashed(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
