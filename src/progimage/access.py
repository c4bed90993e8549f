"""Signed requests: whoever has a key can let others make just the request that was signed, until it expires."""

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from urllib.parse import quote, urlencode

SIGNATURE, EXPIRES = "signature", "expires"
_NEVER_LATER = 10**12


class BadSignature(Exception):
    """The signature is not of this request, or the request has expired."""


class Signer:
    """Signs requests, and verifies signatures.

    A signature is the HMAC-SHA-256 (RFC 2104), in base64url without padding, of three lines: the method, GET for HEAD;
    the path; and the query without the signature itself, its parameters sorted by name and then value, percent-encoded.

    Args:
        keys: The secret keys; the first one signs, all of them verify, so that a key can be replaced by and by.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Keep the keys."""
        self._keys = [key.encode() for key in keys]

    def sign(self, path: str, query: Sequence[tuple[str, str]], expires: int | None = None, method: str = "GET") -> str:
        """Return the path and query of a signed request.

        Args:
            path: The path, not percent-encoded.
            query: Names and values.
            expires: Until when it is valid, in seconds since 1970, or None: without end.
            method: The HTTP method.
        """
        pairs = [*query, *([(EXPIRES, str(expires))] if expires is not None else [])]
        signature = _encoded(_digest(self._keys[0], method, path, pairs))
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
        valid = [_encoded(_digest(key, method, path, signed)) for key in self._keys]
        if len(given) != 1 or not any(hmac.compare_digest(given[0].encode(), one.encode()) for one in valid):
            raise BadSignature("The signature is not that of this request.")
        expires = [value for name, value in signed if name == EXPIRES]
        if expires and (not _is_time(expires[0]) or int(expires[0]) < time.time()):
            raise BadSignature("The signature has expired.")
        return [pair for pair in signed if pair[0] != EXPIRES]


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) < _NEVER_LATER


def _digest(key: bytes, method: str, path: str, query: Sequence[tuple[str, str]]) -> bytes:
    method = "GET" if method == "HEAD" else method
    message = f"{method}\n{path}\n{urlencode(sorted(query), quote_via=quote)}"
    return hmac.new(key, message.encode(), hashlib.sha256).digest()


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
