"""Records of images: their references, owners and properties."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from progimage import clock
from progimage.auth import DEFAULT_OWNER, Caller, Visibility
from progimage.auth.caller import OPERATOR
from progimage.storage.database.audit import Event, write_events
from progimage.storage.database.blobs import Blob, blob_of
from progimage.storage.database.connections import Database, insert_new, now_of, time_of
from progimage.storage.database.outbox import Outbox
from progimage.storage.database.owners import Owners, images_of_all
from progimage.storage.database.schema import blobs, images, labels, purges, used_tickets
from progimage.storage.threads import in_thread

_RECORDS = sa.select(
    *(column for column in images.c if column.name not in ("format", "bytes")),
    blobs.c.bytes,
    blobs.c.info,
    blobs.c.ladder,
    blobs.c.chunks,
    blobs.c.damaged,
).join(blobs)
_SERVICE = Caller(OPERATOR)
_UNMARKED = images.c.deleted_at.is_not(None) & images.c.purge_marked_at.is_(None)
_HOUR = 3600
_FEW = 10_000
"""Number of rows that are sorted quickly."""
_AT_ONCE = 500
PURGES_AN_HOUR = 1000
"""Number of images that sweeps may always purge per hour."""


class UnknownReference(Exception):
    """No image has this reference."""


class TicketUsed(Exception):
    """The ticket was already used for an upload."""


class AlreadyStored(Exception):
    """An image with this reference already exists."""


class Held(Exception):
    """The image can't be deleted because of a legal hold."""


@dataclass(frozen=True, slots=True)
class Record:
    """Record of an image.

    Attributes:
        reference: UUID of the image.
        blob: Its original.
        filename: Name given by the client at the upload, if any.
        uploaded_at: Time of the upload, in UTC.
        owner: Owner of the image.
        visibility: Who may read it; None: the deployment's default.
        expires_at: When it expires, as a Unix timestamp; None: never.
        deleted_at: When it was deleted, as a Unix timestamp, if it can still be restored.
        held: Whether a legal hold prevents it from being deleted and from expiring.
        labels: Labels, sorted.
        metadata: Names and values set by the uploader.
    """

    reference: str
    blob: Blob
    filename: str | None
    uploaded_at: datetime
    owner: str = DEFAULT_OWNER
    visibility: Visibility | None = None
    expires_at: float | None = None
    deleted_at: float | None = None
    held: bool = False
    labels: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether it is neither deleted nor expired."""
        return self.deleted_at is None and (self.held or self.expires_at is None or self.expires_at > clock.now())


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Filter for images. None matches any value.

    Attributes:
        owner: Owner of the images.
        format: Container format.
        sha256: SHA-256 of the original.
        min_bytes: Minimum size of the original.
        max_bytes: Maximum size of the original.
        after: Earliest upload time, as a Unix timestamp.
        before: End of the upload times (exclusive), as a Unix timestamp.
        labels: Labels that the images must have, all of them.
        deleted: Match deleted images that can be restored, instead of live ones.
        below: End of the previous page: upload time and reference of its last image.
    """

    owner: str | None = None
    format: str | None = None
    sha256: str | None = None
    min_bytes: int | None = None
    max_bytes: int | None = None
    after: float | None = None
    before: float | None = None
    labels: tuple[str, ...] = ()
    deleted: bool = False
    below: tuple[float, str] | None = None


class Records:
    """The records.

    Args:
        database: The database.
        owners: Owners, whose usage is counted.
        outbox: Receives added and hidden images.
        purge_share: Maximum share of all images that sweeps purge per hour; `PURGES_AN_HOUR` are always allowed.
    """

    def __init__(self, database: Database, owners: Owners, outbox: Outbox, purge_share: float) -> None:
        self._purge_share = purge_share
        self._outbox = outbox
        self._database = database
        self._owners = owners

    async def get(self, reference: str, *, deleted: bool = False) -> Record | None:
        """Return the record of a live image, or with `deleted` that of a deleted one, or None."""
        record = await asyncio.to_thread(self._get, reference)
        return record if record and (record.deleted_at is not None if deleted else record.is_live) else None

    @in_thread
    def among(self, references: Sequence[str]) -> list[Record]:
        """Return the records of some references, in this order, as of one moment.

        Deleted and expired ones are included.
        """
        with self._database.reading() as connection:
            rows = connection.execute(_RECORDS.where(images.c.reference.in_(references))).all()
            return sorted(_records(connection, rows), key=lambda record: references.index(record.reference))

    async def find(self, wanted: ImageFilter, limit: int) -> list[Record]:
        """Return matching records, newest first.

        Raises:
            ListTooSlow: The query takes too long.
        """
        return await self._database.listed(self._search, wanted, limit)

    @in_thread
    def add(self, caller: Caller, records: list[Record], ticket: tuple[str, float] | None = None) -> None:
        """Commit records of one owner, all or none. Their blobs must be claimed and stored. Durable when it returns.

        Args:
            caller: Caller that uploaded them.
            records: The records, at least one.
            ticket: ID and expiry (Unix timestamp) of the ticket that allowed the upload.

        Raises:
            AlreadyStored: An image with one of the references already exists.
            QuotaExceeded: The owner's quota doesn't allow them.
            TicketUsed: The ticket was already used.
        """
        owner, size = records[0].owner, sum(record.blob.bytes for record in records)
        rows = [
            {
                "reference": record.reference,
                "sha256": record.blob.sha256,
                "owner": record.owner,
                "filename": record.filename,
                "uploaded_at": record.uploaded_at.timestamp(),
                "format": record.blob.info.format,
                "bytes": record.blob.bytes,
                **_stored({name: getattr(record, name) for name in ("visibility", "expires_at", "held", "metadata")}),
            }
            for record in records
        ]
        used = {record.blob.sha256 for record in records}
        with self._database.writing() as connection:
            # Insert these first, so that a duplicate of a concurrent request waits here and then finds its rows.
            for row in rows:
                if not insert_new(connection, images, **row):
                    raise AlreadyStored(row["reference"])
            if ticket and not insert_new(connection, used_tickets, id=ticket[0], expires_at=ticket[1]):
                raise TicketUsed
            self._owners.take(connection, owner, len(records), size)
            for record in records:
                _set_labels(connection, record, record.labels)
            connection.execute(sa.update(blobs).where(blobs.c.sha256.in_(used)).values(stored=True))
            write_events(connection, (_upload_event(caller, record, ticket) for record in records))
            self._outbox.added(connection, owner, [record.reference for record in records])

    @in_thread
    def is_used(self, ticket: str) -> bool:
        """Return whether a ticket was used for an upload."""
        with self._database.reading() as connection:
            return connection.execute(sa.select(used_tickets).where(used_tickets.c.id == ticket)).first() is not None

    @in_thread
    def change(self, caller: Caller, reference: str, values: dict[str, Any]) -> Record | None:
        """Change attributes of a record.

        Args:
            caller: Caller that changes it.
            reference: Reference of a live image.
            values: New values of attributes, by name.

        Returns:
            The changed record, or None if there is none.
        """
        with self._database.writing() as connection:
            record = _find(connection, reference, lock=True)
            if record is None or not record.is_live:
                return None
            columns = _stored({name: value for name, value in values.items() if name != "labels"})
            if columns:
                connection.execute(sa.update(images).where(images.c.reference == reference).values(**columns))
            if "labels" in values:
                connection.execute(sa.delete(labels).where(labels.c.reference == reference))
                _set_labels(connection, record, values["labels"])
            if "visibility" in values or "expires_at" in values:
                self._outbox.hidden(connection, record.owner, [reference])
            action = "hold" if values.keys() == {"held"} else "change"
            write_events(connection, [Event.by(caller, action, record.owner, reference, values)])
            return _find(connection, reference)

    @in_thread
    def delete(self, caller: Caller, reference: str) -> Record | None:
        """Delete an image, which can be restored until it is purged.

        Returns:
            The record, or None if there is none.

        Raises:
            Held: A legal hold protects the image.
        """
        with self._database.writing() as connection:
            record = _find(connection, reference, lock=True)
            if record is None or not record.is_live:
                return None
            if record.held:
                raise Held
            _mark_deleted(connection, reference, time_of(connection))
            self._outbox.hidden(connection, record.owner, [reference])
            write_events(connection, [Event.by(caller, "delete", record.owner, reference)])
        return record

    @in_thread
    def undelete(self, caller: Caller, reference: str) -> Record | None:
        """Restore a deleted image.

        Returns:
            The record, or None if there is none.
        """
        with self._database.writing() as connection:
            record = _find(connection, reference, lock=True)
            if record is None or record.deleted_at is None:
                return None
            values: dict[str, Any] = {"deleted_at": None, "purge_marked_at": None}
            if record.expires_at is not None and record.expires_at <= time_of(connection):
                values["expires_at"] = None  # it would expire again at once
            connection.execute(sa.update(images).where(images.c.reference == reference).values(**values))
            write_events(connection, [Event.by(caller, "undelete", record.owner, reference)])
            return _find(connection, reference)

    @in_thread
    def purge(self, caller: Caller, reference: str, deleted_for: float = 0) -> Record | None:
        """Permanently remove the record of a deleted image.

        Args:
            caller: Caller that purges it.
            reference: Reference of the image.
            deleted_for: Minimum time since it was deleted, in seconds.

        Returns:
            The former record, or None if there is none.
        """
        with self._database.writing() as connection:
            record = _find(connection, reference, lock=True)
            if record is None or record.deleted_at is None:
                return None
            if deleted_for and record.deleted_at > time_of(connection) - deleted_for:
                return None
            connection.execute(sa.delete(images).where(images.c.reference == reference))
            self._owners.give_back(connection, record.owner, 1, record.blob.bytes)
            touch = sa.update(blobs).where(blobs.c.sha256 == record.blob.sha256)
            connection.execute(touch.values(touched_at=now_of(connection)))
            write_events(connection, [Event.by(caller, "purge", record.owner, reference)])
        return record

    @in_thread
    def expire(self, limit: int) -> list[Record]:
        """Delete expired images, up to a limit, and return them."""
        live = images.c.deleted_at.is_(None) & ~images.c.held
        with self._database.reading() as connection:
            due = (images.c.expires_at <= time_of(connection)) & live
            if connection.execute(sa.select(images.c.reference).where(due).limit(1)).first() is None:
                return []  # the usual case, in which no lock is needed
        with self._database.writing() as connection:
            now = time_of(connection)
            due = (images.c.expires_at <= now) & live
            rows = connection.execute(_RECORDS.where(due).limit(limit).with_for_update(of=images)).all()
            records = _records(connection, rows)
            for record in records:
                # Deleted now, not when it expired: the last sweep may be long ago.
                _mark_deleted(connection, record.reference, now)
                self._outbox.hidden(connection, record.owner, [record.reference])
            write_events(connection, (Event.by(_SERVICE, "expire", r.owner, r.reference) for r in records))
        return records

    @in_thread
    def mark_for_purge(self, limit: int) -> int:
        """Mark deleted images, up to a limit, for a later sweep to purge, and return how many were marked."""
        # In the order of the partial index, so that it is used.
        order = images.c.purge_marked_at, images.c.deleted_at
        unmarked = sa.select(images.c.reference).where(_UNMARKED).order_by(*order).limit(limit)
        with self._database.reading() as connection:
            if connection.execute(unmarked.limit(1)).first() is None:
                return 0
        with self._database.writing() as connection:
            marking = sa.update(images).where(images.c.reference.in_(unmarked))
            return connection.execute(marking.values(purge_marked_at=time_of(connection))).rowcount

    @in_thread
    def due_for_purge(self, deleted_for: float, between: float, limit: int) -> list[str]:
        """Return marked images that are to be purged now. They count towards the hourly limit.

        Args:
            deleted_for: Minimum time since they were deleted, in seconds.
            between: Minimum time since they were marked, in seconds; at least `deleted_for`.
            limit: Maximum number to return; fewer if the hourly limit leaves less.
        """
        with self._database.writing() as connection:
            now = time_of(connection)
            due = (images.c.purge_marked_at <= now - max(deleted_for, between)) & images.c.deleted_at.is_not(None)
            query = sa.select(images.c.reference, images.c.deleted_at, images.c.purge_marked_at).where(due)
            rows = connection.execute(query.order_by(images.c.purge_marked_at).limit(limit)).all()
            # A node of the previous version restores an image, and deletes it again, without resetting the mark.
            stale = [row.reference for row in rows if row.purge_marked_at < row.deleted_at]
            found = [row.reference for row in rows if row.purge_marked_at >= row.deleted_at]
            if stale:
                connection.execute(sa.update(images).where(images.c.reference.in_(stale)).values(purge_marked_at=None))
            return found[: self._take_purges(connection, now, len(found))]

    @in_thread
    def waiting_for_purge(self, deleted_for: float) -> int:
        """Return how many images were deleted more than a number of seconds ago, and aren't purged yet."""
        with self._database.reading() as connection:
            due = images.c.deleted_at <= time_of(connection) - deleted_for
            return int(connection.execute(sa.select(sa.func.count()).select_from(images).where(due)).scalar_one())

    @in_thread
    def has_live(self, owner: str, sha256: str) -> bool:
        """Return whether an owner has an image with these bytes that isn't deleted."""
        query = sa.exists().where(images.c.owner == owner, images.c.sha256 == sha256, images.c.deleted_at.is_(None))
        with self._database.reading() as connection:
            return bool(connection.execute(sa.select(query)).scalar_one())

    @in_thread
    def named(self, owner: str, sha256: str, filename: str | None) -> str | None:
        """Return the reference of an owner's image with these bytes and this file name, or None."""
        equal = (images.c.sha256 == sha256, images.c.owner == owner, images.c.filename == filename)
        query = sa.select(images.c.reference).where(*equal, images.c.deleted_at.is_(None)).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).scalar()

    @in_thread
    def forget_tickets(self) -> None:
        """Remove used tickets that have expired."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(used_tickets).where(used_tickets.c.expires_at < time_of(connection)))

    @in_thread
    def check(self) -> None:
        """Raise `DatabaseUnavailable` unless the database is available."""
        with self._database.reading() as connection:
            connection.execute(sa.select(images.c.reference).limit(1))

    def _get(self, reference: str) -> Record | None:
        with self._database.reading() as connection:
            return _find(connection, reference)

    def _search(self, wanted: ImageFilter, limit: int) -> list[Record]:
        with self._database.listing() as connection:
            if wanted.labels and wanted.sha256 is None:
                return _labelled(connection, wanted, limit)
            query = _RECORDS.where(*_conditions(wanted))
            sized = _sized(connection, wanted) if wanted.sha256 is None else None
            if sized is not None:
                query = query.where(images.c.reference.in_(sized))
            query = query.order_by(images.c.uploaded_at.desc(), images.c.reference.desc()).limit(limit)
            return _records(connection, connection.execute(query).all())

    def _take_purges(self, connection: sa.Connection, now: float, wanted: int) -> int:
        """Count purges towards the limit of this hour, and return how many are allowed."""
        hour = int(now // _HOUR)
        insert_new(connection, purges, hour=hour, images=0)
        counted = sa.select(purges.c.images).where(purges.c.hour == hour).with_for_update()
        left = self._purge_bound(connection) - int(connection.execute(counted).scalar_one())
        taken = max(0, min(wanted, left))
        connection.execute(sa.update(purges).where(purges.c.hour == hour).values(images=purges.c.images + taken))
        connection.execute(sa.delete(purges).where(purges.c.hour < hour - 24))
        return taken

    def _purge_bound(self, connection: sa.Connection) -> int:
        """Return how many images may be purged per hour."""
        return max(PURGES_AN_HOUR, int(images_of_all(connection) * self._purge_share))


def _conditions(wanted: ImageFilter) -> Iterable[sa.ColumnElement[bool]]:
    column, now = images.c, clock.now()
    if wanted.deleted:
        yield column.deleted_at.is_not(None)
    else:
        yield column.deleted_at.is_(None)
        yield column.held | column.expires_at.is_(None) | (column.expires_at > now)
    if wanted.owner is not None:
        yield column.owner == wanted.owner
    if wanted.format is not None:
        yield images.c.format == wanted.format
    if wanted.sha256 is not None:
        yield images.c.sha256 == wanted.sha256
    if wanted.min_bytes is not None:
        yield images.c.bytes >= wanted.min_bytes
    if wanted.max_bytes is not None:
        yield images.c.bytes <= wanted.max_bytes
    if wanted.after is not None:
        yield column.uploaded_at >= wanted.after
    if wanted.before is not None:
        yield column.uploaded_at < wanted.before
    for label in wanted.labels:
        yield sa.exists().where(labels.c.reference == column.reference, labels.c.label == label)
    if wanted.below is not None:
        yield sa.tuple_(column.uploaded_at, column.reference) < sa.tuple_(*map(sa.literal, wanted.below))


def _sized(connection: sa.Connection, wanted: ImageFilter) -> sa.Select[Any] | None:
    """Return a query for the references of all images in the size range, or None if they are many.

    Many are found faster in the order of their upload times, as a page needs only the first ones.
    """
    if wanted.owner is None or (wanted.min_bytes is None and wanted.max_bytes is None):
        return None
    bounds = [images.c.owner == wanted.owner]
    if wanted.min_bytes is not None:
        bounds.append(images.c.bytes >= wanted.min_bytes)
    if wanted.max_bytes is not None:
        bounds.append(images.c.bytes <= wanted.max_bytes)
    few = sa.select(images.c.reference).where(*bounds).order_by(images.c.owner, images.c.bytes).limit(_FEW + 1)
    count = connection.execute(sa.select(sa.func.count()).select_from(few.subquery())).scalar_one()
    return few if count <= _FEW else None


def _labelled(connection: sa.Connection, wanted: ImageFilter, limit: int) -> list[Record]:
    """Return matching records with labels: read those with the rarest label in pages, and filter them."""
    label, *others = wanted.labels
    if others:
        label = min(wanted.labels, key=lambda name: _count_of_label(connection, wanted.owner, name))
    at_once = limit  # enough if there are no other conditions
    column = labels.c
    query = sa.select(column.uploaded_at, column.reference).where(column.label == label)
    if wanted.owner is not None:
        query = query.where(column.owner == wanted.owner)
    if wanted.after is not None:
        query = query.where(column.uploaded_at >= wanted.after)
    if wanted.before is not None:
        query = query.where(column.uploaded_at < wanted.before)
    query = query.order_by(column.uploaded_at.desc(), column.reference.desc())
    conditions, below = list(_conditions(wanted)), wanted.below
    found: list[Record] = []
    while len(found) < limit:
        key = sa.tuple_(column.uploaded_at, column.reference)
        page = query.where(key < sa.tuple_(*map(sa.literal, below))) if below else query
        rows = connection.execute(page.limit(at_once)).all()
        references = [row.reference for row in rows]
        # Sorted here: with ten million images, SQLite would scan all of an owner's in this order.
        matching = connection.execute(_RECORDS.where(images.c.reference.in_(references), *conditions)).all()
        newest_first = sorted(matching, key=lambda row: (row.uploaded_at, row.reference), reverse=True)
        found += _records(connection, newest_first)
        if len(rows) < at_once:
            break
        at_once = _AT_ONCE
        below = rows[-1].uploaded_at, rows[-1].reference
    return found[:limit]


def _count_of_label(connection: sa.Connection, owner: str | None, label: str) -> int:
    """Return how many images have a label, at most `_FEW`."""
    query = sa.select(labels.c.reference).where(labels.c.label == label)
    if owner is not None:
        query = query.where(labels.c.owner == owner)
    return int(connection.execute(sa.select(sa.func.count()).select_from(query.limit(_FEW).subquery())).scalar_one())


def _find(connection: sa.Connection, reference: str, *, lock: bool = False) -> Record | None:
    query = _RECORDS.where(images.c.reference == reference)
    row = connection.execute(query.with_for_update(of=images) if lock else query).first()
    return _records(connection, [row])[0] if row else None


def _records(connection: sa.Connection, rows: Sequence[Any]) -> list[Record]:
    query = (
        sa.select(labels.c.reference, labels.c.label)
        .where(labels.c.reference.in_([row.reference for row in rows]))
        .order_by(labels.c.label)
    )
    found: dict[str, list[str]] = {}
    for reference, label in connection.execute(query):
        found.setdefault(reference, []).append(label)
    return [
        Record(
            reference=row.reference,
            blob=blob_of(row),
            filename=row.filename,
            uploaded_at=datetime.fromtimestamp(row.uploaded_at, UTC),
            owner=row.owner,
            visibility=Visibility(row.visibility) if row.visibility else None,
            expires_at=row.expires_at,
            deleted_at=row.deleted_at,
            held=row.held,
            labels=tuple(found.get(row.reference, ())),
            metadata=msgspec.json.decode(row.metadata) if row.metadata else {},
        )
        for row in rows
    ]


def _stored(values: dict[str, Any]) -> dict[str, Any]:
    """Convert values of a record's attributes to values of columns."""
    if "metadata" in values:
        metadata = values["metadata"]
        return {**values, "metadata": msgspec.json.encode(metadata).decode() if metadata else None}
    return values


def _set_labels(connection: sa.Connection, record: Record, names: Iterable[str]) -> None:
    of_image = {"reference": record.reference, "owner": record.owner, "uploaded_at": record.uploaded_at.timestamp()}
    rows = [{**of_image, "label": name} for name in dict.fromkeys(names)]
    if rows:
        connection.execute(sa.insert(labels), rows)


def _mark_deleted(connection: sa.Connection, reference: str, at: float) -> None:
    connection.execute(
        sa.update(images).where(images.c.reference == reference).values(deleted_at=at, purge_marked_at=None)
    )


def _upload_event(caller: Caller, record: Record, ticket: tuple[str, float] | None) -> Event:
    detail: dict[str, Any] = {"bytes": record.blob.bytes, "format": record.blob.info.format}
    if ticket:
        detail["ticket"] = ticket[0]
    return Event.by(caller, "upload", record.owner, record.reference, detail)
