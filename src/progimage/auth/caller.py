"""Callers, and their permissions."""

import re
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_OWNER = "default"
"""The owner of images that are uploaded without a key."""
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Scope(StrEnum):
    """A permission of an API key for the images of its owner."""

    UPLOAD = "upload"
    """Store images, and change their records."""
    READ = "read"
    """Read non-public images, list images, and sign requests to read them."""
    DELETE = "delete"
    """Delete and restore images, and sign requests to delete them."""
    TRANSFORM = "transform"
    """Transform images without storing them, and use any transformation where others are limited to presets."""
    ADMIN = "admin"
    """Everything, for all owners; also keys, quotas, the audit log and legal holds."""


class Visibility(StrEnum):
    """Who can read an image."""

    PUBLIC = "public"
    """Anyone who knows its reference, which can't be guessed."""
    SIGNED = "signed"
    """API keys of its owner, and signed requests."""
    KEY = "key"
    """API keys of its owner."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner that a request acts for, and its permissions.

    Attributes:
        owner: Name of the owner; empty for nobody.
        scopes: Permissions of the request.
        key_id: Id of its API key, if it has one.
    """

    owner: str
    scopes: frozenset[Scope]
    key_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether the principal has a scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def owns(self, owner: str) -> bool:
        """Return whether the principal may act for an owner."""
        return owner == self.owner or Scope.ADMIN in self.scopes

    def reads(self, owner: str, visibility: Visibility) -> bool:
        """Return whether the principal may read an image without a signature."""
        return visibility is Visibility.PUBLIC or (self.may(Scope.READ) and self.owns(owner))


NOBODY = Principal("", frozenset())
"""A caller without a key, where keys are required."""
EVERYBODY = Principal(DEFAULT_OWNER, frozenset(Scope) - {Scope.ADMIN})
"""A caller without a key, where keys are not required."""
OPERATOR = Principal(DEFAULT_OWNER, frozenset(Scope))
"""The command line, and the service's own background work."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        principal: The owner that the request acts for, and its permissions.
        address: Network address of the caller; empty for the service itself.
    """

    principal: Principal
    address: str = ""


def is_owner(name: str) -> bool:
    """Return whether a name is a valid owner name."""
    return bool(_OWNER.fullmatch(name))
