"""Holds: while a backup is made, nothing that its snapshot names is removed.

A hold is committed before the snapshot is taken, and ends by the database's clock unless it is renewed, so that a
backup that was killed does not keep bytes for ever. Sweeps of versions before 0.2 don't know of holds.
"""

import uuid

import sqlalchemy as sa

from progimage.storage.database.connections import Database, insert_new, now_of, time_of
from progimage.storage.database.schema import backups

HOLD_SECONDS = 600.0
"""A hold lasts so long after it was taken or renewed."""


class HoldLost(Exception):
    """A hold has ended before its backup was done: bytes may have been removed since."""


class Hold:
    """The hold of one backup. Its methods block.

    Args:
        database: Where it is written.
    """

    def __init__(self, database: Database) -> None:
        """Take it: committed when this returns."""
        self._database, self._id = database, str(uuid.uuid4())
        with database.writing() as connection:
            now = time_of(connection)
            connection.execute(sa.delete(backups).where(backups.c.holds_until < now))
            insert_new(connection, backups, id=self._id, holds_until=now + HOLD_SECONDS)

    def renew(self) -> None:
        """Make it last longer.

        Raises:
            HoldLost: It has ended.
        """
        with self._database.writing() as connection:
            now = time_of(connection)
            own = sa.update(backups).where(backups.c.id == self._id, backups.c.holds_until > now)
            if not connection.execute(own.values(holds_until=now + HOLD_SECONDS)).rowcount:
                raise HoldLost("The hold on what is backed up has ended.")

    def release(self) -> None:
        """End it."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(backups).where(backups.c.id == self._id))


def is_held(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Return an expression for whether there is a hold."""
    return sa.exists().where(backups.c.holds_until > now_of(connection))
