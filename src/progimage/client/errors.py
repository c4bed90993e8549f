"""Errors of the client."""

from typing import Any


class ProgImageError(Exception):
    """Base class of all errors of the client."""


class ConnectionFailed(ProgImageError):
    """The service can't be reached or the connection was lost, even after retries."""


class ServiceError(ProgImageError):
    """The service returned a problem (RFC 9457).

    Attributes:
        status: HTTP status.
        kind: Short name of the problem, such as `unknown-reference`.
        detail: Explanation in a sentence.
        parameter: Name of the invalid parameter, field or header, if any.
        given: Its value.
        allowed: Allowed values.
    """

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.status = status
        self.kind = str(document.get("type", "")).rpartition(":")[2]
        self.detail = str(document.get("detail", f"The service returned status {status}."))
        self.parameter, self.given, self.allowed = (document.get(name) for name in ("parameter", "given", "allowed"))
        super().__init__(self.detail)

    def __str__(self) -> str:
        """Return the explanation, with the given and the allowed values."""
        parts = [self.detail]
        if self.parameter:
            parts.append(f"({self.parameter}" + (f": {self.given!r})" if self.given is not None else ")"))
        if self.allowed is not None:
            allowed = ", ".join(map(str, self.allowed)) if isinstance(self.allowed, list) else self.allowed
            parts.append(f"Allowed: {allowed}")
        return " ".join(parts)
