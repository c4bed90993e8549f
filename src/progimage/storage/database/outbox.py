"""Outbox: follow-up work of a database change, recorded in the transaction of the change."""

from collections.abc import Iterable
from typing import Protocol

import sqlalchemy as sa


class Outbox(Protocol):
    """Receives changes in the transaction that makes them, so that follow-up work can't be lost."""

    def added(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Record images that were added."""

    def hidden(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Record images that some callers may no longer see."""


class NoOutbox:
    """Outbox that ignores all changes."""

    def added(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Do nothing."""

    def hidden(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Do nothing."""
