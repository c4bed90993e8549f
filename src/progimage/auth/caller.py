"""Who asks, and what they may do."""

import re
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_OWNER = "default"
"""Whose the images are that are uploaded without a key."""
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Scope(StrEnum):
    """What a key allows, for the images of its owner."""

    UPLOAD = "upload"
    """Store images, and change what is known of them."""
    READ = "read"
    """Read images that are not public, list them, sign requests for them."""
    DELETE = "delete"
    """Delete images and bring them back."""
    TRANSFORM = "transform"
    """Transform images that are not stored, and ask for any transformation where others are held to presets."""
    ADMIN = "admin"
    """Everything, for all owners: keys, quotas, the audit log, legal holds."""


class Visibility(StrEnum):
    """Who may read an image."""

    PUBLIC = "public"
    """Whoever knows its reference, which nobody can guess."""
    SIGNED = "signed"
    """Its owner's keys, and signed requests."""
    KEY = "key"
    """Its owner's keys."""


@dataclass(frozen=True, slots=True)
class Principal:
    """In whose name a request is made, and what it may do.

    Attributes:
        owner: Whose images they are; empty for nobody.
        scopes: What may be done.
        key_id: Of the API key, if it is made with one.
    """

    owner: str
    scopes: frozenset[Scope]
    key_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether it has a scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def owns(self, owner: str) -> bool:
        """Return whether it may act for an owner."""
        return owner == self.owner or Scope.ADMIN in self.scopes

    def reads(self, owner: str, visibility: Visibility) -> bool:
        """Return whether it may read an image without a signature."""
        return visibility is Visibility.PUBLIC or (self.may(Scope.READ) and self.owns(owner))


NOBODY = Principal("", frozenset())
"""Has no key where one is needed."""
EVERYBODY = Principal(DEFAULT_OWNER, frozenset(Scope) - {Scope.ADMIN})
"""Has no key where none is needed."""
OPERATOR = Principal(DEFAULT_OWNER, frozenset(Scope))
"""Uses the command line, or the service acting of itself."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who sent a request.

    Attributes:
        principal: In whose name.
        address: The network address; empty for the service itself.
    """

    principal: Principal
    address: str = ""


def is_owner(name: str) -> bool:
    """Return whether an owner can be called so."""
    return bool(_OWNER.fullmatch(name))
