"""Audit log: uploads, deletions, changes of keys, rejected requests. Rows are only added; old ones are removed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from progimage import clock
from progimage.auth import Caller
from progimage.storage.database.connections import Database
from progimage.storage.database.schema import audit
from progimage.storage.threads import in_thread


@dataclass(frozen=True, slots=True)
class Event:
    """Event in the audit log.

    Attributes:
        action: What happened, such as `upload`.
        owner: Owner of the affected image, key or quota, or of the key that was used; None if there is none.
        key_id: ID of the API key that was used.
        address: Network address of the caller.
        reference: Reference of the image.
        detail: Additional values; never secrets.
        at: When it happened, as a Unix timestamp.
        id: Sequence number.
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
        caller: Caller,
        action: str,
        owner: str | None = None,
        reference: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> "Event":
        """Return an event for an action of a caller.

        Args:
            caller: The caller.
            action: What it did.
            owner: Affected owner; None: the caller's.
            reference: Reference of the image.
            detail: Additional values.
        """
        who = caller.principal
        return cls(action, owner or who.owner or None, who.key_id, caller.address or None, reference, detail or {})


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Filter for events. None matches any value.

    Attributes:
        action: Action.
        owner: Affected owner.
        reference: Affected image.
        after: Earliest time, as a Unix timestamp.
        before: End of the time range (exclusive), as a Unix timestamp.
        below: End of the previous page: only events with lower numbers.
    """

    action: str | None = None
    owner: str | None = None
    reference: str | None = None
    after: float | None = None
    before: float | None = None
    below: int | None = None


class AuditLog:
    """The audit log.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @in_thread
    def add(self, event: Event) -> None:
        """Write a separate event. Events of changes are written in the transaction of the change."""
        with self._database.writing() as connection:
            write_events(connection, [event])

    async def find(self, wanted: EventFilter, limit: int) -> list[Event]:
        """Return matching events, newest first."""
        return await self._database.listed(self._find, wanted, limit)

    @in_thread
    def trim(self, before: float) -> int:
        """Remove the events before a time (Unix timestamp), and return how many there were."""
        with self._database.writing() as connection:
            return connection.execute(sa.delete(audit).where(audit.c.at < before)).rowcount

    def _find(self, wanted: EventFilter, limit: int) -> list[Event]:
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
        query = sa.select(audit).where(*equal, *bounds).order_by(audit.c.id.desc()).limit(limit)
        with self._database.listing() as connection:
            rows = connection.execute(query).all()
        return [
            Event(
                row.action, row.owner, row.key_id, row.address, row.reference, msgspec.json.decode(row.detail), row.at,
                row.id,
            )
            for row in rows
        ]  # fmt: skip


def write_events(connection: sa.Connection, events: Iterable[Event]) -> None:
    """Write events in a transaction."""
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
