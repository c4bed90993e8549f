"""Holds: during a backup, no files of its snapshot are removed.

A hold is committed before the snapshot is taken. It expires by the database's clock unless it is renewed, so that a
killed backup doesn't keep bytes forever. Sweeps of versions before 0.2 ignore holds.
"""

import uuid

import sqlalchemy as sa

from progimage.storage.database.connections import Database, insert_new, now_of, time_of
from progimage.storage.database.schema import backups

HOLD_SECONDS = 600.0
"""Time after which a hold expires unless it is renewed."""


class HoldLost(Exception):
    """A hold expired before its backup was complete, so bytes may have been removed."""


class Hold:
    """Hold of one backup; committed once it is created. All methods block.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._id = database, str(uuid.uuid4())
        with database.writing() as connection:
            now = time_of(connection)
            connection.execute(sa.delete(backups).where(backups.c.holds_until < now))
            insert_new(connection, backups, id=self._id, holds_until=now + HOLD_SECONDS)

    def renew(self) -> None:
        """Renew the hold.

        Raises:
            HoldLost: The hold has expired.
        """
        with self._database.writing() as connection:
            now = time_of(connection)
            own = sa.update(backups).where(backups.c.id == self._id, backups.c.holds_until > now)
            if not connection.execute(own.values(holds_until=now + HOLD_SECONDS)).rowcount:
                raise HoldLost("The hold of this backup has expired: files may have been removed.")

    def release(self) -> None:
        """Release the hold."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(backups).where(backups.c.id == self._id))


def is_held(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Return an SQL expression for whether there is a hold."""
    return sa.exists().where(backups.c.holds_until > now_of(connection))
