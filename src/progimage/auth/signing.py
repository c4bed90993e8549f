"""Signed requests and upload tickets: with a signing key, allow others one exact request, or one upload, for a time."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import msgspec

from progimage import clock
from progimage.auth.caller import Visibility

SIGNATURE, EXPIRES, KEY_ID = "signature", "expires", "key_id"
_SIGNING_KEY = "sk-"
"""Prefix of the id of a signing key; ids of API keys have no hyphen."""
_NEVER_LATER = 10**12
_LONGEST_TICKET = 4096


class BadSignature(Exception):
    """A signature or ticket is invalid or expired.

    Args:
        detail: An explanation, in a sentence.
        parameter: The parameter that caused it.
    """

    def __init__(self, detail: str, parameter: str = SIGNATURE) -> None:
        super().__init__(detail)
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Signed:
    """A request with a valid signature.

    Attributes:
        query: Its query without the parameters of the signature.
        key_id: Id of the API key that the signature was made for; None: it depends only on the signing key.
        is_named: Whether the signature names its key; older ones don't.
    """

    query: list[tuple[str, str]]
    key_id: str | None
    is_named: bool


@dataclass(frozen=True, slots=True)
class Ticket:
    """An upload ticket: anyone who has it can upload once.

    Attributes:
        id: UUID of the ticket.
        owner: The owner of the images.
        key_id: Id of the API key that it was issued with, if any; the ticket becomes invalid with the key.
        max_bytes: Maximum size of the request body in bytes.
        until: Unix timestamp at which it expires.
        visibility: Visibility of the images; None: the default.
        lifetime: Lifetime of the images in seconds from their upload; None: the default.
        labels: Labels of the images.
        metadata: Metadata of the images.
        damaged: Whether images that have lost pixels are accepted.
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
    damaged: bool = False


class Signer:
    """Signs requests and tickets, and verifies signatures. It doesn't need a server.

    A signature is the HMAC-SHA-256 (RFC 2104), in base64url without padding, of three lines: the method (GET for HEAD),
    the path, and the query without the signature itself, its parameters sorted by name and then value, percent-encoded.
    The query's `key_id` names the key that the signature depends on: the API key that asked for it, or else the signing
    key.

    Args:
        keys: The signing keys; the first one signs, all of them verify, so that keys can be rotated.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    @property
    def can_sign(self) -> bool:
        """Whether there is a signing key."""
        return bool(self._keys)

    def sign(
        self,
        path: str,
        query: Sequence[tuple[str, str]],
        expires: int | None = None,
        method: str = "GET",
        key_id: str | None = None,
    ) -> str:
        """Return the path and query of a signed request.

        Args:
            path: The path, not percent-encoded.
            query: Names and values.
            expires: Unix timestamp at which it expires; None: never.
            method: The HTTP method.
            key_id: Id of the API key that the signature depends on; None: it depends only on the signing key.

        Raises:
            ValueError: The query has a parameter that is reserved for signatures.
        """
        for name, _ in query:
            if name in (SIGNATURE, EXPIRES, KEY_ID):
                raise ValueError(f"{name} is reserved for signatures")
        ends = [(EXPIRES, str(expires))] if expires is not None else []
        pairs = [*query, *ends, (KEY_ID, key_id or signing_key_id(self._keys[0]))]
        signature = _encoded(_hmac(self._keys[0], _request(method, path, pairs)))
        return f"{quote(path)}?{urlencode([*pairs, (SIGNATURE, signature)], quote_via=quote)}"

    def verify(self, method: str, path: str, query: Sequence[tuple[str, str]]) -> Signed:
        """Verify the signature of a request, and return the request without it.

        The caller of this method has to check that the API key, if any, is still active.

        Args:
            method: The HTTP method.
            path: The path, not percent-encoded.
            query: Names and values, including the signature.

        Raises:
            BadSignature: The signature is invalid or expired.
        """
        values: dict[str, list[str]] = {name: [] for name in (SIGNATURE, EXPIRES, KEY_ID)}
        for name, value in query:
            if name in values:
                values[name].append(value)
        for name, given in values.items():
            if len(given) > 1:
                raise BadSignature(f"The parameter `{name}` is given {len(given)} times.", name)
        signed = [pair for pair in query if pair[0] != SIGNATURE]
        signature = next(iter(values[SIGNATURE]), "")
        key = self._key_of(signature, _request(method, path, signed))
        if key is None:
            raise BadSignature("The signature doesn't match this request.")
        for expires in values[EXPIRES]:
            if not _is_time(expires) or int(expires) < clock.now():
                raise BadSignature("The signature has expired.")
        own = [pair for pair in signed if pair[0] not in (EXPIRES, KEY_ID)]
        for key_id in values[KEY_ID]:
            if not key_id.startswith(_SIGNING_KEY):
                return Signed(own, key_id, is_named=True)
            if key_id != signing_key_id(key):
                raise BadSignature("The signature was not made with the signing key that `key_id` names.", KEY_ID)
        return Signed(own, None, is_named=bool(values[KEY_ID]))

    def issue(self, ticket: Ticket) -> str:
        """Return a ticket as text: its JSON in base64url, a dot, and the signature."""
        payload = _encoded(msgspec.json.encode(ticket))
        return f"{payload}.{_encoded(_hmac(self._keys[0], _ticket(payload)))}"

    def redeem(self, text: str) -> Ticket:
        """Verify a ticket's text, and return the ticket.

        The caller of this method has to check that it is unused, and that its API key, if any, is still active.

        Raises:
            BadSignature: The ticket is invalid or expired.
        """
        payload, _, signature = text.partition(".")
        if len(text) > _LONGEST_TICKET or self._key_of(signature, _ticket(payload)) is None:
            raise BadSignature("The ticket was not issued by this service.")
        try:
            ticket = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Ticket)
        except (binascii.Error, msgspec.DecodeError) as error:
            raise BadSignature("The ticket's format is not supported by this version of the service.") from error
        if ticket.until < clock.now():
            raise BadSignature("The ticket has expired.")
        return ticket

    def _key_of(self, signature: str, message: bytes) -> bytes | None:
        """Return the signing key that a signature was made with, or None if there is none."""
        found = None
        for key in self._keys:
            if hmac.compare_digest(signature.encode(), _encoded(_hmac(key, message)).encode()):
                found = key
        return found


def signing_key_id(key: bytes | str) -> str:
    """Return the id by which signatures name a signing key; it reveals nothing about the key."""
    data = key.encode() if isinstance(key, str) else key
    return _SIGNING_KEY + hashlib.sha256(b"key id\n" + data).hexdigest()[:12]


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < _NEVER_LATER


def _request(method: str, path: str, query: Sequence[tuple[str, str]]) -> bytes:
    method = "GET" if method == "HEAD" else method
    return f"{method}\n{path}\n{urlencode(sorted(query), quote_via=quote)}".encode()


def _ticket(payload: str) -> bytes:
    return f"ticket\n{payload}".encode()  # not a method, so a request's signature is never valid for a ticket


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
