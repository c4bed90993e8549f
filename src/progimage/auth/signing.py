"""Signed requests: whoever has a signing key can let others make just one request, or one upload, until it expires."""

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
"""How the id of a signing key begins; that of an API key has no hyphen."""
_NEVER_LATER = 10**12
_LONGEST_TICKET = 4096


class BadSignature(Exception):
    """The signature is not of this request, or the request has expired.

    Args:
        detail: What is wrong with it.
        parameter: Which parameter of the request is at fault.
    """

    def __init__(self, detail: str, parameter: str = SIGNATURE) -> None:
        """Store the parts."""
        super().__init__(detail)
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Signed:
    """A request whose signature is right.

    Attributes:
        query: Without what belongs to the signature.
        key_id: Of the API key that asked for the signature; None: a signing key stands for it alone.
        is_named: It says which key it is of; those of before do not.
    """

    query: list[tuple[str, str]]
    key_id: str | None
    is_named: bool


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
        damaged: They are accepted if they have lost pixels.
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
    """Signs requests and tickets, and verifies signatures. It needs no server.

    A signature is the HMAC-SHA-256 (RFC 2104), in base64url without padding, of three lines: the method, GET for HEAD;
    the path; and the query without the signature itself, its parameters sorted by name and then value, percent-encoded.
    The query's `key_id` names the key that the signature stands or falls with: the API key that asked for it, or else
    the signing key.

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
            expires: Until when it is valid, in seconds since 1970, or None: without end.
            method: The HTTP method.
            key_id: Of the API key that the signature ends with; None: it ends with the signing key.

        Raises:
            ValueError: The query has a parameter that belongs to a signature.
        """
        for name, _ in query:
            if name in (SIGNATURE, EXPIRES, KEY_ID):
                raise ValueError(f"{name} belongs to a signature")
        ends = [(EXPIRES, str(expires))] if expires is not None else []
        pairs = [*query, *ends, (KEY_ID, key_id or signing_key_id(self._keys[0]))]
        signature = _encoded(_hmac(self._keys[0], _request(method, path, pairs)))
        return f"{quote(path)}?{urlencode([*pairs, (SIGNATURE, signature)], quote_via=quote)}"

    def verify(self, method: str, path: str, query: Sequence[tuple[str, str]]) -> Signed:
        """Return what a request is without its signature; whether an API key is valid is for the database to say.

        Args:
            method: The HTTP method.
            path: The path, not percent-encoded.
            query: Names and values, the signature among them.

        Raises:
            BadSignature: It is not valid.
        """
        values: dict[str, list[str]] = {name: [] for name in (SIGNATURE, EXPIRES, KEY_ID)}
        for name, value in query:
            if name in values:
                values[name].append(value)
        for name, given in values.items():
            if len(given) > 1:
                raise BadSignature(f"{name} is given {len(given)} times.", name)
        signed = [pair for pair in query if pair[0] != SIGNATURE]
        signature = next(iter(values[SIGNATURE]), "")
        key = self._key_of(signature, _request(method, path, signed))
        if key is None:
            raise BadSignature("The signature is not that of this request.")
        for expires in values[EXPIRES]:
            if not _is_time(expires) or int(expires) < clock.now():
                raise BadSignature("The signature has expired.")
        own = [pair for pair in signed if pair[0] not in (EXPIRES, KEY_ID)]
        for key_id in values[KEY_ID]:
            if not key_id.startswith(_SIGNING_KEY):
                return Signed(own, key_id, is_named=True)
            if key_id != signing_key_id(key):
                raise BadSignature("The signature is of another signing key than it says.", KEY_ID)
        return Signed(own, None, is_named=bool(values[KEY_ID]))

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
        if len(text) > _LONGEST_TICKET or self._key_of(signature, _ticket(payload)) is None:
            raise BadSignature("This is no ticket of this service.")
        try:
            ticket = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Ticket)
        except (binascii.Error, msgspec.DecodeError) as error:
            raise BadSignature("This is no ticket of this version.") from error
        if ticket.until < clock.now():
            raise BadSignature("The ticket has expired.")
        return ticket

    def _key_of(self, signature: str, message: bytes) -> bytes | None:
        """Return the key that a signature was made with, or None: none of ours."""
        found = None
        for key in self._keys:
            if hmac.compare_digest(signature.encode(), _encoded(_hmac(key, message)).encode()):
                found = key
        return found


def signing_key_id(key: bytes | str) -> str:
    """Return what names a signing key in the signatures that it makes; it tells nothing of the key."""
    data = key.encode() if isinstance(key, str) else key
    return _SIGNING_KEY + hashlib.sha256(b"key id\n" + data).hexdigest()[:12]


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
