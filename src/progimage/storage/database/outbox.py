"""The outbox: what is to follow of a change of the database, noted by the transaction that makes the change."""

from collections.abc import Iterable
from typing import Protocol

import sqlalchemy as sa


class Outbox(Protocol):
    """Is told of changes within the transaction that makes them, so that what follows of them can't be lost."""

    def added(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Images were added."""

    def hidden(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Images must not be seen any more by everybody who could see them."""


class NoOutbox:
    """Does nothing of what it is told."""

    def added(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Do nothing."""

    def hidden(self, connection: sa.Connection, owner: str, references: Iterable[str]) -> None:
        """Do nothing."""
