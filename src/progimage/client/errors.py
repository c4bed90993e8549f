"""What can go wrong when the service is asked."""

from typing import Any


class ProgImageError(Exception):
    """The base of all errors of the client."""


class ConnectionFailed(ProgImageError):
    """The service can't be reached, or the connection broke; asking again has not helped."""


class ServiceError(ProgImageError):
    """The service answered with a problem (RFC 9457).

    Attributes:
        status: The HTTP status.
        kind: A short name of the problem, such as `unknown-reference`.
        detail: What is wrong, in a sentence.
        parameter: Which parameter, field or header is at fault, if one is.
        given: What was given for it.
        allowed: What would have been allowed.
    """

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        """Store the parts of a problem document."""
        self.status = status
        self.kind = str(document.get("type", "")).rpartition(":")[2]
        self.detail = str(document.get("detail", f"The service answered with status {status}."))
        self.parameter, self.given, self.allowed = (document.get(name) for name in ("parameter", "given", "allowed"))
        super().__init__(self.detail)

    def __str__(self) -> str:
        """Say what is wrong, with what was given and what is allowed."""
        parts = [self.detail]
        if self.parameter:
            parts.append(f"({self.parameter}" + (f": {self.given!r})" if self.given is not None else ")"))
        if self.allowed is not None:
            allowed = ", ".join(map(str, self.allowed)) if isinstance(self.allowed, list) else self.allowed
            parts.append(f"Allowed: {allowed}")
        return " ".join(parts)
