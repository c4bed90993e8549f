"""The records: which references there are, whose they are, and what is known of each."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from progimage import clock
from progimage.auth import DEFAULT_OWNER, Client, Visibility
from progimage.auth.caller import OPERATOR
from progimage.storage.database.audit import Event, write_events
from progimage.storage.database.blobs import Blob, blob_of
from progimage.storage.database.connections import Database, insert_new, now_of, time_of
from progimage.storage.database.outbox import Outbox
from progimage.storage.database.owners import Owners, images_of_all
from progimage.storage.database.schema import blobs, images, labels, purges, used_tickets

_RECORDS = sa.select(
    *(column for column in images.c if column.name not in ("format", "bytes")),
    blobs.c.bytes,
    blobs.c.info,
    blobs.c.ladder,
    blobs.c.chunks,
    blobs.c.damaged,
).join(blobs)
_SERVICE = Client(OPERATOR)
_UNMARKED = images.c.deleted_at.is_not(None) & images.c.purge_marked_at.is_(None)
_HOUR = 3600
_FEW = 10_000
"""So many rows are sorted in no time."""
_AT_ONCE = 500
PURGES_AN_HOUR = 1000
"""So many images may sweeps purge in an hour, however few there are."""


class UnknownReference(Exception):
    """No image has this reference."""


class TicketUsed(Exception):
    """The ticket has let somebody upload already."""


class AlreadyStored(Exception):
    """An image has this reference already."""


class Held(Exception):
    """A legal hold keeps the image from being deleted."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a reference.

    Attributes:
        reference: A UUID.
        blob: The original.
        filename: What the file was called by the client that uploaded it, if it said.
        uploaded_at: When, in UTC.
        owner: Whose it is.
        visibility: Who may read it; None: what the deployment says.
        expires_at: Until when it is there, in seconds since 1970; None: for ever.
        deleted_at: When it was deleted, in seconds since 1970, if it can still be brought back.
        held: A legal hold keeps it from being deleted, and from expiring.
        labels: In the order of their letters.
        metadata: Names and values that the uploader set.
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
        """Whether it is there: neither deleted nor expired."""
        return self.deleted_at is None and (self.held or self.expires_at is None or self.expires_at > clock.now())


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Which images are asked for; None is any.

    Attributes:
        owner: Whose.
        format: Their container format.
        sha256: Of their originals.
        min_bytes: The smallest originals.
        max_bytes: The largest.
        after: Uploaded since, in seconds since 1970.
        before: Uploaded up to, and without.
        labels: All of which they have.
        deleted: Those that were deleted and can be brought back, instead of those that are there.
        below: Where the last page ended: when its last image was uploaded, and its reference.
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
        database: Where they are.
        owners: Count what each has.
        outbox: Is told what is added and hidden.
        purge_share: Which share of all images sweeps may purge in an hour; `PURGES_AN_HOUR` they always may.
    """

    def __init__(self, database: Database, owners: Owners, outbox: Outbox, purge_share: float) -> None:
        """Store the parts."""
        self._purge_share = purge_share
        self._outbox = outbox
        self._database = database
        self._owners = owners

    async def get(self, reference: str, *, deleted: bool = False) -> Record | None:
        """Return the record of a reference, if there is one; with `deleted`, only one that was deleted."""
        record = await asyncio.to_thread(self._get, reference)
        return record if record and (record.deleted_at is not None if deleted else record.is_live) else None

    async def among(self, references: Sequence[str]) -> list[Record]:
        """Return the records that have one of some references, in their order, as they were at one moment.

        Those that are deleted or have expired are among them.
        """
        return await asyncio.to_thread(self._among, references)

    async def find(self, wanted: ImageFilter, most: int) -> list[Record]:
        """Return records, the newest first.

        Raises:
            ListTooSlow: Finding them takes too long.
        """
        return await self._database.listed(self._search, wanted, most)

    async def add(self, client: Client, records: list[Record], ticket: tuple[str, float] | None = None) -> None:
        """Commit records of one owner, all or none; their blobs were claimed and are stored. Durable when it returns.

        Args:
            client: Who uploaded them.
            records: At least one.
            ticket: The id of the ticket that allowed it, and when it ends, in seconds since 1970.

        Raises:
            AlreadyStored: There is an image with one of the references.
            QuotaExceeded: The owner may not have so many.
            TicketUsed: The ticket was used.
        """
        await asyncio.to_thread(self._add, client, records, ticket)

    async def is_used(self, ticket: str) -> bool:
        """Return whether a ticket has let somebody upload."""
        return await asyncio.to_thread(self._is_used, ticket)

    async def change(self, client: Client, reference: str, values: dict[str, Any]) -> Record | None:
        """Change what is known of an image.

        Args:
            client: Who does.
            reference: Of an image that is there.
            values: New values of the record's attributes, by their names.

        Returns:
            The record as it is then, or None: there is none.
        """
        return await asyncio.to_thread(self._change, client, reference, values)

    async def delete(self, client: Client, reference: str) -> Record | None:
        """Delete an image, which can be brought back until it is purged.

        Returns:
            The record, or None: there is none.

        Raises:
            Held: It must not be deleted.
        """
        return await asyncio.to_thread(self._delete, client, reference)

    async def undelete(self, client: Client, reference: str) -> Record | None:
        """Bring an image back that was deleted.

        Returns:
            The record, or None: there is none.
        """
        return await asyncio.to_thread(self._undelete, client, reference)

    async def purge(self, client: Client, reference: str, deleted_for: float = 0) -> Record | None:
        """Remove the record of an image that was deleted, for good.

        Args:
            client: Who does.
            reference: Of the image.
            deleted_for: For how many seconds it has to have been deleted.

        Returns:
            What it was, or None: there is none.
        """
        return await asyncio.to_thread(self._purge, client, reference, deleted_for)

    async def expire(self, most: int) -> list[Record]:
        """Delete images whose time is over, at most so many, and return them."""
        return await asyncio.to_thread(self._expire, most)

    async def mark_for_purge(self, most: int) -> int:
        """Mark images that were deleted, which a later sweep purges; return how many there were, at most so many."""
        return await asyncio.to_thread(self._mark_for_purge, most)

    async def due_for_purge(self, deleted_for: float, between: float, most: int) -> list[str]:
        """Return images that were marked and are to be purged now; they count into the hour's bound.

        Args:
            deleted_for: For how many seconds they have to have been deleted.
            between: So many seconds are between the mark and the purge, or `deleted_for`, if that is longer.
            most: How many to return; fewer, if the bound of the hour leaves less.
        """
        return await asyncio.to_thread(self._due_for_purge, deleted_for, between, most)

    async def waiting_for_purge(self, deleted_for: float) -> int:
        """Return how many images were deleted longer ago than so many seconds, and are not purged yet."""
        return await asyncio.to_thread(self._waiting_for_purge, deleted_for)

    async def has_live(self, owner: str, sha256: str) -> bool:
        """Return whether an owner has an image with these bytes that is not deleted."""
        return await asyncio.to_thread(self._has_live, owner, sha256)

    async def named(self, owner: str, sha256: str, filename: str | None) -> str | None:
        """Return the reference of an image that an owner has with these bytes and this name, if there is one."""
        return await asyncio.to_thread(self._named, owner, sha256, filename)

    async def forget_tickets(self) -> None:
        """Forget the used tickets that have expired."""
        await asyncio.to_thread(self._forget_tickets)

    async def check(self) -> None:
        """Raise `DatabaseUnavailable` unless the database answers."""
        await asyncio.to_thread(self._check)

    def _get(self, reference: str) -> Record | None:
        with self._database.reading() as connection:
            return _find(connection, reference)

    def _among(self, references: Sequence[str]) -> list[Record]:
        with self._database.reading() as connection:
            rows = connection.execute(_RECORDS.where(images.c.reference.in_(references))).all()
            return sorted(_records(connection, rows), key=lambda record: references.index(record.reference))

    def _search(self, wanted: ImageFilter, most: int) -> list[Record]:
        with self._database.listing() as connection:
            if wanted.labels and wanted.sha256 is None:
                return _labelled(connection, wanted, most)
            query = _RECORDS.where(*_conditions(wanted))
            sized = _sized(connection, wanted) if wanted.sha256 is None else None
            if sized is not None:
                query = query.where(images.c.reference.in_(sized))
            query = query.order_by(images.c.uploaded_at.desc(), images.c.reference.desc()).limit(most)
            return _records(connection, connection.execute(query).all())

    def _add(self, client: Client, records: Sequence[Record], ticket: tuple[str, float] | None) -> None:
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
            # First of all, so that a request that was sent twice at once waits here for its twin, and then knows it.
            for row in rows:
                if not insert_new(connection, images, **row):
                    raise AlreadyStored(row["reference"])
            if ticket and not insert_new(connection, used_tickets, id=ticket[0], expires_at=ticket[1]):
                raise TicketUsed
            self._owners.take(connection, owner, len(records), size)
            for record in records:
                _set_labels(connection, record, record.labels)
            connection.execute(sa.update(blobs).where(blobs.c.sha256.in_(used)).values(stored=True))
            write_events(connection, (_upload_event(client, record, ticket) for record in records))
            self._outbox.added(connection, owner, [record.reference for record in records])

    def _is_used(self, ticket: str) -> bool:
        with self._database.reading() as connection:
            return connection.execute(sa.select(used_tickets).where(used_tickets.c.id == ticket)).first() is not None

    def _change(self, client: Client, reference: str, values: dict[str, Any]) -> Record | None:
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
            write_events(connection, [Event.by(client, action, record.owner, reference, values)])
            return _find(connection, reference)

    def _delete(self, client: Client, reference: str) -> Record | None:
        with self._database.writing() as connection:
            record = _find(connection, reference, lock=True)
            if record is None or not record.is_live:
                return None
            if record.held:
                raise Held
            _mark_deleted(connection, reference, time_of(connection))
            self._outbox.hidden(connection, record.owner, [reference])
            write_events(connection, [Event.by(client, "delete", record.owner, reference)])
        return record

    def _undelete(self, client: Client, reference: str) -> Record | None:
        with self._database.writing() as connection:
            record = _find(connection, reference, lock=True)
            if record is None or record.deleted_at is None:
                return None
            values: dict[str, Any] = {"deleted_at": None, "purge_marked_at": None}
            if record.expires_at is not None and record.expires_at <= time_of(connection):
                values["expires_at"] = None  # it would be gone again at once
            connection.execute(sa.update(images).where(images.c.reference == reference).values(**values))
            write_events(connection, [Event.by(client, "undelete", record.owner, reference)])
            return _find(connection, reference)

    def _purge(self, client: Client, reference: str, deleted_for: float) -> Record | None:
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
            write_events(connection, [Event.by(client, "purge", record.owner, reference)])
        return record

    def _expire(self, most: int) -> list[Record]:
        live = images.c.deleted_at.is_(None) & ~images.c.held
        with self._database.reading() as connection:
            due = (images.c.expires_at <= time_of(connection)) & live
            if connection.execute(sa.select(images.c.reference).where(due).limit(1)).first() is None:
                return []  # mostly so; then nobody has to wait for the lock
        with self._database.writing() as connection:
            now = time_of(connection)
            due = (images.c.expires_at <= now) & live
            rows = connection.execute(_RECORDS.where(due).limit(most).with_for_update(of=images)).all()
            records = _records(connection, rows)
            for record in records:
                # From now on, not from its end: there may have been no sweep for long.
                _mark_deleted(connection, record.reference, now)
                self._outbox.hidden(connection, record.owner, [record.reference])
            write_events(connection, (Event.by(_SERVICE, "expire", r.owner, r.reference) for r in records))
        return records

    def _mark_for_purge(self, most: int) -> int:
        # In the order of the index that has these alone, so that it is the one that is used.
        order = images.c.purge_marked_at, images.c.deleted_at
        unmarked = sa.select(images.c.reference).where(_UNMARKED).order_by(*order).limit(most)
        with self._database.reading() as connection:
            if connection.execute(unmarked.limit(1)).first() is None:
                return 0
        with self._database.writing() as connection:
            marking = sa.update(images).where(images.c.reference.in_(unmarked))
            return connection.execute(marking.values(purge_marked_at=time_of(connection))).rowcount

    def _due_for_purge(self, deleted_for: float, between: float, most: int) -> list[str]:
        with self._database.writing() as connection:
            now = time_of(connection)
            due = (images.c.purge_marked_at <= now - max(deleted_for, between)) & images.c.deleted_at.is_not(None)
            query = sa.select(images.c.reference, images.c.deleted_at, images.c.purge_marked_at).where(due)
            rows = connection.execute(query.order_by(images.c.purge_marked_at).limit(most)).all()
            # A node of the version before brings an image back, and deletes it again, without a word of the mark.
            stale = [row.reference for row in rows if row.purge_marked_at < row.deleted_at]
            found = [row.reference for row in rows if row.purge_marked_at >= row.deleted_at]
            if stale:
                connection.execute(sa.update(images).where(images.c.reference.in_(stale)).values(purge_marked_at=None))
            return found[: self._take_purges(connection, now, len(found))]

    def _take_purges(self, connection: sa.Connection, now: float, wanted: int) -> int:
        """Count purges into this hour, as many as are wanted, or as its bound leaves, and return how many."""
        hour = int(now // _HOUR)
        insert_new(connection, purges, hour=hour, images=0)
        counted = sa.select(purges.c.images).where(purges.c.hour == hour).with_for_update()
        left = self._purge_bound(connection) - int(connection.execute(counted).scalar_one())
        taken = max(0, min(wanted, left))
        connection.execute(sa.update(purges).where(purges.c.hour == hour).values(images=purges.c.images + taken))
        connection.execute(sa.delete(purges).where(purges.c.hour < hour - 24))
        return taken

    def _purge_bound(self, connection: sa.Connection) -> int:
        """Return how many images may be purged in an hour."""
        return max(PURGES_AN_HOUR, int(images_of_all(connection) * self._purge_share))

    def _waiting_for_purge(self, deleted_for: float) -> int:
        with self._database.reading() as connection:
            due = images.c.deleted_at <= time_of(connection) - deleted_for
            return int(connection.execute(sa.select(sa.func.count()).select_from(images).where(due)).scalar_one())

    def _has_live(self, owner: str, sha256: str) -> bool:
        query = sa.exists().where(images.c.owner == owner, images.c.sha256 == sha256, images.c.deleted_at.is_(None))
        with self._database.reading() as connection:
            return bool(connection.execute(sa.select(query)).scalar_one())

    def _named(self, owner: str, sha256: str, filename: str | None) -> str | None:
        equal = (images.c.sha256 == sha256, images.c.owner == owner, images.c.filename == filename)
        query = sa.select(images.c.reference).where(*equal, images.c.deleted_at.is_(None)).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).scalar()

    def _forget_tickets(self) -> None:
        with self._database.writing() as connection:
            connection.execute(sa.delete(used_tickets).where(used_tickets.c.expires_at < time_of(connection)))

    def _check(self) -> None:
        with self._database.reading() as connection:
            connection.execute(sa.select(images.c.reference).limit(1))


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
    """Return a query of the references of all originals of the sizes that are wanted, if they are not many.

    Many are found sooner in the order of their times, of which a page needs the first.
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


def _labelled(connection: sa.Connection, wanted: ImageFilter, most: int) -> list[Record]:
    """Return records that have labels: from those with the rarest one, so many at a time, what else is wanted."""
    label, *others = wanted.labels
    if others:
        label = min(wanted.labels, key=lambda name: _count_of_label(connection, wanted.owner, name))
    at_once = most  # enough, if nothing else is wanted
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
    while len(found) < most:
        key = sa.tuple_(column.uploaded_at, column.reference)
        page = query.where(key < sa.tuple_(*map(sa.literal, below))) if below else query
        rows = connection.execute(page.limit(at_once)).all()
        references = [row.reference for row in rows]
        # Sorted here: of ten million images, SQLite would rather go through all of an owner's in this order.
        matching = connection.execute(_RECORDS.where(images.c.reference.in_(references), *conditions)).all()
        newest_first = sorted(matching, key=lambda row: (row.uploaded_at, row.reference), reverse=True)
        found += _records(connection, newest_first)
        if len(rows) < at_once:
            break
        at_once = _AT_ONCE
        below = rows[-1].uploaded_at, rows[-1].reference
    return found[:most]


def _count_of_label(connection: sa.Connection, owner: str | None, label: str) -> int:
    """Return how many images have a label, or `_FEW`, if that are more."""
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
    """Make values of columns of values of a record's attributes."""
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


def _upload_event(client: Client, record: Record, ticket: tuple[str, float] | None) -> Event:
    detail: dict[str, Any] = {"bytes": record.blob.bytes, "format": record.blob.info.format}
    if ticket:
        detail["ticket"] = ticket[0]
    return Event.by(client, "upload", record.owner, record.reference, detail)
