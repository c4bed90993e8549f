"""The clock by which images expire and are purged: the database's, which no single node can set.

PostgreSQL has a clock of its own, and it is trusted. SQLite has that of the machine, so that is held against the time
the database has seen last, and against the clock that counts since the machine was started, which nobody can set:

- It has gone ahead by more than that one, and by more than a bound: somebody has set it. Until an operator says that it
  is right, time goes on as if it had not been set, and nothing is expired or purged.
- The machine was started since, time had gone back, or the database is new here (restored): how long that took is not
  known. The time is believed, but nothing is expired or purged until the service has run for an undelete time, so that
  there is time to notice. It may still go ahead in the first minutes of the machine, which may learn of the right time
  only then.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from progimage import clock
from progimage.storage.database.connections import Database, insert_new, time_of
from progimage.storage.database.schema import clock as clocks
from progimage.storage.database.schema import images

log = structlog.get_logger(__name__)

_ROW = 1
_SETTLED_SECONDS = 900
"""So long after its start, a machine has asked others for the time, if it does so at all."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """Whether the time can be relied on.

    Attributes:
        now: In seconds since 1970.
        jump_seconds: How far the machine's clock has gone ahead by itself, which an operator has to look at; or 0.
        wait_seconds: For how long expiry and purging wait still.
    """

    now: float
    jump_seconds: float = 0.0
    wait_seconds: float = 0.0

    @property
    def is_trusted(self) -> bool:
        """Whether what is due may be expired and purged."""
        return not (self.jump_seconds or self.wait_seconds)

    def reason(self) -> str:
        """Return in a sentence why expiry and purging wait."""
        if self.jump_seconds:
            return (
                f"this machine's clock went ahead by {self.jump_seconds:.0f} s by itself;"
                " look at it, then say `progimage sweeps resume`"
            )
        return (
            f"this machine's clock can't be compared with the one before its start; sweeps wait"
            f" {self.wait_seconds:.0f} s more (or `progimage sweeps resume`)"
        )


class DatabaseClock:
    """Looks at the database's clock, and keeps `progimage.clock` right.

    Args:
        database: The database.
        jump_seconds: The machine's clock may go ahead by so much, where SQLite has no other.
        wait_seconds: For how long expiry and purging wait after a start with a clock that can't be compared.
    """

    def __init__(self, database: Database, jump_seconds: float, wait_seconds: float) -> None:
        """Store the parts."""
        self._database = database
        self._jump_seconds, self._wait_seconds = jump_seconds, wait_seconds

    async def look(self) -> ClockState:
        """Return whether the time can be relied on; `progimage.clock` goes by it from now on.

        Raises:
            DatabaseUnavailable: The database fails.
        """
        return await asyncio.to_thread(self._look)

    async def resume(self) -> ClockState:
        """Take the machine's clock for right, as an operator says, and return the state that it is in then.

        Raises:
            DatabaseUnavailable: The database fails.
        """
        return await asyncio.to_thread(self._resume)

    def _look(self) -> ClockState:
        if not self._database.is_sqlite:
            before = clock.since_boot()
            with self._database.reading() as connection:
                now = time_of(connection)
            now += (clock.since_boot() - before) / 2  # about half of the way was back
            clock.set_now(now)
            return ClockState(now)
        with self._database.writing() as connection:
            row = connection.execute(sa.select(clocks).where(clocks.c.id == _ROW)).first()
            newest = None if row else connection.execute(sa.select(sa.func.max(images.c.uploaded_at))).scalar()
            is_plausible = newest is None or abs(time.time() - newest) <= self._jump_seconds
            found, seen_at, since_boot = self._judge(row, is_plausible)
            _write(connection, found, seen_at, since_boot)
        if found.jump_seconds and not (row and row.jump_seconds):
            log.error("expiry and purging have stopped", reason=found.reason())
        elif found.wait_seconds and not (row and row.wait_seconds):
            log.warning("expiry and purging wait", reason=found.reason())
        clock.set_now(found.now)
        return found

    def _judge(self, row: Any, is_plausible: bool) -> tuple[ClockState, float, float]:
        """Return the state, the highest time that can be relied on, and the time since boot that belongs to it.

        Args:
            row: What was seen last, if anything was.
            is_plausible: If nothing was, the time is about that of the newest image.
        """
        wall, since_boot = time.time(), clock.since_boot()
        if row is None:
            return ClockState(wall, 0.0, 0.0 if is_plausible else self._wait_seconds), wall, since_boot
        if row.boot_id != clock.boot_id() or since_boot < row.since_boot:
            found = self._after_a_start(row, wall)
            return found, found.now, since_boot
        passed = since_boot - row.since_boot
        expected, wait = row.seen_at + passed, max(0.0, row.wait_seconds - passed)
        if wall > expected + self._jump_seconds:
            if row.wait_seconds and not row.jump_seconds and since_boot < _SETTLED_SECONDS:
                # It was not known to be right before either: a machine may ask for the time only after its start.
                return ClockState(wall, 0.0, self._wait_seconds), wall, since_boot
            return ClockState(expected, wall - expected, wait), expected, since_boot
        if wall < row.seen_at - self._jump_seconds:
            # What was seen may have been wrong: it is not known how far to go ahead again.
            return ClockState(wall, 0.0, self._wait_seconds), wall, since_boot
        return ClockState(wall, 0.0, wait), wall, since_boot

    def _after_a_start(self, row: Any, wall: float) -> ClockState:
        ahead = wall - row.seen_at
        if abs(ahead) <= self._jump_seconds:
            return ClockState(wall, 0.0, row.wait_seconds)
        if row.jump_seconds and ahead > 0:  # a restart is no answer to the question that it waits for
            return ClockState(row.seen_at, ahead, row.wait_seconds)
        return ClockState(max(wall, row.seen_at), 0.0, self._wait_seconds)

    def _resume(self) -> ClockState:
        if not self._database.is_sqlite:
            return self._look()
        now = time.time()
        with self._database.writing() as connection:
            _write(connection, ClockState(now), now, clock.since_boot())
        clock.set_now(now)
        return ClockState(now)


def _write(connection: sa.Connection, state: ClockState, seen_at: float, since_boot: float) -> None:
    values = {
        "seen_at": seen_at,
        "boot_id": clock.boot_id(),
        "since_boot": since_boot,
        "wait_seconds": state.wait_seconds,
        "jump_seconds": state.jump_seconds,
    }
    if not insert_new(connection, clocks, id=_ROW, **values):
        connection.execute(sa.update(clocks).where(clocks.c.id == _ROW).values(**values))
