"""Signed requests: whoever has a signing key can let others make just one request, or one upload, until it expires."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import msgspec

from progimage.access.principal import Visibility

SIGNATURE, EXPIRES = "signature", "expires"
_NEVER_LATER = 10**12
_LONGEST_TICKET = 4096


class BadSignature(Exception):
    """The signature is not of this request, or the request has expired."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Lets whoever has it upload once.

    Attributes:
        id: A UUID.
        owner: Whose the images will be.
        key_id: Of the API key that it was issued with, if it was; without the key the ticket is void.
        max_bytes: Of the whole body.
        until: When it ends, in seconds since 1970.
        visibility: Of the images, if that is settled.
        lifetime: When the images expire, in seconds from their upload, if that is settled.
        labels: Of the images.
        metadata: Of the images.
    """

    id: str
    owner: str
    key_id: str | None
    max_bytes: int
    until: int
    visibility: Visibility | None = None
    lifetime: int | None = None
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] | None = None


class Signer:
    """Signs requests and tickets, and verifies signatures. It needs no server.

    A signature is the HMAC-SHA-256 (RFC 2104), in base64url without padding, of three lines: the method, GET for HEAD;
    the path; and the query without the signature itself, its parameters sorted by name and then value, percent-encoded.

    Args:
        keys: The secret keys; the first one signs, all of them verify, so that a key can be replaced by and by.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Keep the keys."""
        self._keys = [key.encode() for key in keys]

    @property
    def can_sign(self) -> bool:
        """Whether there is a key."""
        return bool(self._keys)

    def sign(self, path: str, query: Sequence[tuple[str, str]], expires: int | None = None, method: str = "GET") -> str:
        """Return the path and query of a signed request.

        Args:
            path: The path, not percent-encoded.
            query: Names and values.
            expires: Until when it is valid, in seconds since 1970, or None: without end.
            method: The HTTP method.
        """
        pairs = [*query, *([(EXPIRES, str(expires))] if expires is not None else [])]
        signature = _encoded(_hmac(self._keys[0], _request(method, path, pairs)))
        return f"{quote(path)}?{urlencode([*pairs, (SIGNATURE, signature)], quote_via=quote)}"

    def verify(self, method: str, path: str, query: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the query without what belongs to the signature.

        Args:
            method: The HTTP method.
            path: The path, not percent-encoded.
            query: Names and values, the signature among them.

        Raises:
            BadSignature: It is not valid.
        """
        given = [value for name, value in query if name == SIGNATURE]
        signed = [pair for pair in query if pair[0] != SIGNATURE]
        if len(given) != 1 or not self._is_of(given[0], _request(method, path, signed)):
            raise BadSignature("The signature is not that of this request.")
        expires = [value for name, value in signed if name == EXPIRES]
        if expires and (not _is_time(expires[0]) or int(expires[0]) < time.time()):
            raise BadSignature("The signature has expired.")
        return [pair for pair in signed if pair[0] != EXPIRES]

    def issue(self, ticket: Ticket) -> str:
        """Return a ticket as text: its JSON in base64url, a dot, and the signature."""
        payload = _encoded(msgspec.json.encode(ticket))
        return f"{payload}.{_encoded(_hmac(self._keys[0], _ticket(payload)))}"

    def redeem(self, text: str) -> Ticket:
        """Return the ticket that a text is; whether it was used already is for the database to say.

        Raises:
            BadSignature: It is not valid, or has expired.
        """
        payload, _, signature = text.partition(".")
        if len(text) > _LONGEST_TICKET or not self._is_of(signature, _ticket(payload)):
            raise BadSignature("This is no ticket of this service.")
        try:
            ticket = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Ticket)
        except (binascii.Error, msgspec.DecodeError) as error:
            raise BadSignature("This is no ticket of this version.") from error
        if ticket.until < time.time():
            raise BadSignature("The ticket has expired.")
        return ticket

    def _is_of(self, signature: str, message: bytes) -> bool:
        valid = [_encoded(_hmac(key, message)) for key in self._keys]
        return any(hmac.compare_digest(signature.encode(), one.encode()) for one in valid)


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < _NEVER_LATER


def _request(method: str, path: str, query: Sequence[tuple[str, str]]) -> bytes:
    method = "GET" if method == "HEAD" else method
    return f"{method}\n{path}\n{urlencode(sorted(query), quote_via=quote)}".encode()


def _ticket(payload: str) -> bytes:
    return f"ticket\n{payload}".encode()  # no method is called so, so that no request's signature is one of a ticket


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
