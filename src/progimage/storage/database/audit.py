"""The audit log: who uploaded, deleted, changed keys, was refused. Rows are only added; the old ones go in time."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from progimage import clock
from progimage.auth import Client
from progimage.storage.database.connections import Database
from progimage.storage.database.schema import audit


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        action: What, such as `upload`.
        owner: Whose image, key or quota it was, or in whose name it was tried; None: nobody's.
        key_id: Of the API key that was used.
        address: From which network address.
        reference: Of the image.
        detail: What else there is to say; never a secret.
        at: When, in seconds since 1970.
        id: Its number; events are numbered as they come.
    """

    action: str
    owner: str | None = None
    key_id: str | None = None
    address: str | None = None
    reference: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    at: float = 0
    id: int = 0

    @classmethod
    def by(
        cls,
        client: Client,
        action: str,
        owner: str | None = None,
        reference: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> "Event":
        """Describe what a client did.

        Args:
            client: Who.
            action: What.
            owner: Whose thing it was done to; None: its own.
            reference: Of the image.
            detail: What else there is to say.
        """
        who = client.principal
        return cls(action, owner or who.owner or None, who.key_id, client.address or None, reference, detail or {})


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are asked for; None is any.

    Attributes:
        action: What happened.
        owner: To whose things.
        reference: To which image.
        after: Since when, in seconds since 1970.
        before: Up to when.
        below: Only numbers below this one: where the last page ended.
    """

    action: str | None = None
    owner: str | None = None
    reference: str | None = None
    after: float | None = None
    before: float | None = None
    below: int | None = None


class AuditLog:
    """The log.

    Args:
        database: Where it is.
    """

    def __init__(self, database: Database) -> None:
        """Keep the database."""
        self._database = database

    async def add(self, event: Event) -> None:
        """Write an event of its own; what belongs to a change is written in the change's transaction."""
        await asyncio.to_thread(self._add, event)

    async def find(self, wanted: EventFilter, most: int) -> list[Event]:
        """Return events, the newest first."""
        return await self._database.listed(self._find, wanted, most)

    async def trim(self, before: float) -> int:
        """Remove the events before a time, in seconds since 1970, and return how many there were."""
        return await asyncio.to_thread(self._trim, before)

    def _add(self, event: Event) -> None:
        with self._database.writing() as connection:
            write_events(connection, [event])

    def _find(self, wanted: EventFilter, most: int) -> list[Event]:
        equal = [
            getattr(audit.c, name) == getattr(wanted, name)
            for name in ("action", "owner", "reference")
            if getattr(wanted, name) is not None
        ]
        bounds = []
        if wanted.after is not None:
            bounds.append(audit.c.at >= wanted.after)
        if wanted.before is not None:
            bounds.append(audit.c.at < wanted.before)
        if wanted.below is not None:
            bounds.append(audit.c.id < wanted.below)
        query = sa.select(audit).where(*equal, *bounds).order_by(audit.c.id.desc()).limit(most)
        with self._database.listing() as connection:
            rows = connection.execute(query).all()
        return [
            Event(
                row.action, row.owner, row.key_id, row.address, row.reference, msgspec.json.decode(row.detail), row.at,
                row.id,
            )
            for row in rows
        ]  # fmt: skip

    def _trim(self, before: float) -> int:
        with self._database.writing() as connection:
            return connection.execute(sa.delete(audit).where(audit.c.at < before)).rowcount


def write_events(connection: sa.Connection, events: Iterable[Event]) -> None:
    """Write events within a transaction."""
    rows = [
        {
            "at": event.at or clock.now(),
            "action": event.action,
            "owner": event.owner,
            "key_id": event.key_id,
            "address": event.address,
            "reference": event.reference,
            "detail": msgspec.json.encode(event.detail).decode(),
        }
        for event in events
    ]
    if rows:
        connection.execute(sa.insert(audit), rows)
