"""Clock by which images expire and are purged: the database's, which no single node can set.

PostgreSQL has its own clock, which is trusted. SQLite uses the machine's clock, so it is compared with the last time
recorded in the database, and with the time since boot, which can't be set:

- The clock is ahead of the time since boot by more than a limit: it was changed. Until an operator confirms it, time
  continues as if it had not been changed, and nothing expires or is purged.
- The machine was rebooted, the clock went back, or the database is new here (restored): it is unknown how much time
  has passed. The clock is trusted, but nothing expires or is purged until the service has run for the undelete period,
  which leaves time to notice. In the first minutes after boot the clock may still jump ahead, since the machine may
  get the correct time only then.
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
from progimage.storage.threads import in_thread

log = structlog.get_logger(__name__)

_ROW = 1
_SETTLED_SECONDS = 900
"""So long after its start, a machine has asked others for the time, if it does so at all."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """State of the clock: whether it can be trusted.

    Attributes:
        now: Current time, as a Unix timestamp.
        jump_seconds: How far the machine's clock has jumped ahead, until an operator confirms it; otherwise 0.
        wait_seconds: How much longer expiry and purging are paused.
    """

    now: float
    jump_seconds: float = 0.0
    wait_seconds: float = 0.0

    @property
    def is_trusted(self) -> bool:
        """Whether images may expire and be purged."""
        return not (self.jump_seconds or self.wait_seconds)

    def reason(self) -> str:
        """Return the reason why expiry and purging are stopped."""
        if self.jump_seconds:
            return (
                f"this machine's clock jumped ahead by {self.jump_seconds:.0f} s;"
                " check it, then run `progimage sweeps resume`"
            )
        return (
            f"this machine's clock can't be compared with the time before its start; sweeps are paused for"
            f" {self.wait_seconds:.0f} s (or until `progimage sweeps resume`)"
        )


class DatabaseClock:
    """Reads the database's clock, and sets `progimage.clock`.

    Args:
        database: The database.
        jump_seconds: With SQLite: how far the machine's clock may jump ahead.
        wait_seconds: How long expiry and purging are paused after a start with a clock that can't be compared.
    """

    def __init__(self, database: Database, jump_seconds: float, wait_seconds: float) -> None:
        self._database = database
        self._jump_seconds, self._wait_seconds = jump_seconds, wait_seconds

    async def look(self) -> ClockState:
        """Read the clock, set `progimage.clock`, and return whether it can be trusted.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        return await asyncio.to_thread(self._look)

    @in_thread
    def resume(self) -> ClockState:
        """Trust the machine's clock from now on, as confirmed by an operator, and return the new state.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        if not self._database.is_sqlite:
            return self._look()
        now, since_boot = time.time(), clock.since_boot()
        with self._database.writing() as connection:
            _write(connection, ClockState(now), now, since_boot)
        clock.set_now(now + clock.since_boot() - since_boot)
        return ClockState(now)

    def _look(self) -> ClockState:
        if not self._database.is_sqlite:
            before = clock.since_boot()
            with self._database.reading() as connection:
                now = time_of(connection)
            now += (clock.since_boot() - before) / 2  # half of the round trip
            clock.set_now(now)
            return ClockState(now)
        with self._database.writing() as connection:
            row = connection.execute(sa.select(clocks).where(clocks.c.id == _ROW)).first()
            newest = None if row else connection.execute(sa.select(sa.func.max(images.c.uploaded_at))).scalar()
            is_plausible = newest is None or abs(time.time() - newest) <= self._jump_seconds
            found, seen_at, since_boot = self._judge(row, is_plausible)
            _write(connection, found, seen_at, since_boot)
        if found.jump_seconds and not (row and row.jump_seconds):
            log.error("expiry and purging stopped", reason=found.reason())
        elif found.wait_seconds and not (row and row.wait_seconds):
            log.warning("expiry and purging paused", reason=found.reason())
        clock.set_now(found.now + clock.since_boot() - since_boot)  # writing may have taken a while
        return found

    def _judge(self, row: Any, is_plausible: bool) -> tuple[ClockState, float, float]:
        """Return the state, the latest trusted time, and the time since boot that belongs to it.

        Args:
            row: Last recorded state, if any.
            is_plausible: Without a recorded state: whether the time is close to that of the newest image.
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
                # The clock wasn't trusted before either: a machine may get the correct time some time after boot.
                return ClockState(wall, 0.0, self._wait_seconds), wall, since_boot
            return ClockState(expected, wall - expected, wait), expected, since_boot
        if wall < row.seen_at - self._jump_seconds:
            # The recorded time may have been wrong, so there is nothing to compare a later jump with.
            return ClockState(wall, 0.0, self._wait_seconds), wall, since_boot
        return ClockState(wall, 0.0, wait), wall, since_boot

    def _after_a_start(self, row: Any, wall: float) -> ClockState:
        ahead = wall - row.seen_at
        if abs(ahead) <= self._jump_seconds:
            return ClockState(wall, 0.0, row.wait_seconds)
        if row.jump_seconds and ahead > 0:  # a restart doesn't confirm the clock
            return ClockState(row.seen_at, ahead, row.wait_seconds)
        return ClockState(max(wall, row.seen_at), 0.0, self._wait_seconds)


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
