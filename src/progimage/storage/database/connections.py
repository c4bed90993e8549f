"""Database connections, transactions and errors."""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from progimage import clock
from progimage.tracing import span

_T = TypeVar("_T")

_CONNECT_SECONDS = 5
_LISTS_AT_ONCE = 2
_LOOKS = 10_000
"""Number of SQLite VM steps between two checks of the time limit: about a millisecond."""
_ANALYSED = 1000
"""Number of rows of each index to analyse, which takes milliseconds for any size."""
_CANCELLED = "57014"
_APPLICATION = "progimage"
"""Application name of the connections."""
_STATEMENT_SECONDS = 30
_DISK_FULL = "53100"
_NO_ROOM_FOR_WAL_INDEX = 4874  # SQLITE_IOERR_SHMSIZE, which not all versions of Python define


class DatabaseUnavailable(Exception):
    """The database is locked, unreachable or failing; a later attempt may succeed."""


class DatabaseFull(DatabaseUnavailable):
    """The database's disk is full."""


class ListTooSlow(Exception):
    """A list takes longer than allowed.

    Args:
        seconds: The time limit.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The list takes longer than {seconds:g} seconds.")
        self.seconds = seconds


class Database:
    """Connections to the database, opened when needed. Methods block, except coroutines.

    Args:
        url: SQLAlchemy URL of the database.
        connections: Maximum number of connections to PostgreSQL.

    Attributes:
        is_sqlite: Whether it is a file on this machine, with the machine's clock.
        url: SQLAlchemy URL of the database.
        list_seconds: Time limit of lists.
        before_writing: Called before each write to ensure that SQLite has space.
    """

    def __init__(self, url: str, connections: int = 10) -> None:
        self.url = url
        self.before_writing: Callable[[], None] | None = None
        self._engine = make_engine(url, connections)
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        self._file = Path(sa.make_url(url).database or "") if url.startswith("sqlite") else None
        self._pinned: os.stat_result | None = None
        self._is_wrong = False
        self.list_seconds = _STATEMENT_SECONDS
        self._lists = ThreadPoolExecutor(_LISTS_AT_ONCE, "lists")

    def pin(self) -> None:
        """From now on, raise an exception if the SQLite file was removed or replaced."""
        if self._file:
            self._pinned = self._file.stat()

    def refuse(self, *, wrong: bool) -> None:
        """Set whether this is the database of another deployment. While it is, reads and writes fail."""
        self._is_wrong = wrong

    def _check(self) -> None:
        if self._is_wrong:
            raise DatabaseUnavailable("The database belongs to another deployment.")
        if self._pinned and self._file:
            try:
                same = os.path.samestat(self._pinned, self._file.stat())
            except FileNotFoundError:
                same = False
            if not same:
                raise DatabaseUnavailable(
                    f"{self._file} was removed or replaced while the service is running. Put it back, or restart the"
                    " service."
                )

    @contextmanager
    def reading(self, *, checked: bool = True) -> Iterator[sa.Connection]:
        """Return a context manager with a connection for reading.

        Args:
            checked: Check that this is the database of the deployment, as far as known.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        if checked:
            self._check()
        with span("database.read"), translated_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, *, bounded: bool = True) -> Iterator[sa.Connection]:
        """Return a context manager with a connection in a transaction, which is committed durably at the end.

        Args:
            bounded: Apply timeouts to each statement, and to pauses between statements.

        Raises:
            DatabaseFull: The database's disk is full.
            DatabaseUnavailable: The database is unavailable.
        """
        committed: list[Callable[[], None]] = []
        self._check()
        if self.before_writing:
            self.before_writing()
        with (
            span("database.write"),
            translated_errors(),
            self._engine.connect().execution_options(writes=True, committed=committed) as connection,
            connection.begin(),
        ):
            if not bounded:
                self._unbind(connection)
            yield connection
        for call in committed:
            call()

    async def listed(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run a function that reads many rows, in one of a few reserved threads, so that others don't wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._lists, work, *arguments)

    @contextmanager
    def listing(self) -> Iterator[sa.Connection]:
        """Return a context manager with a connection for reading many rows, with the time limit of lists.

        Raises:
            ListTooSlow: It takes too long.
            DatabaseUnavailable: The database is unavailable.
        """
        self._check()
        try:
            with (
                span("database.list"),
                translated_errors(),
                self._engine.connect() as connection,
                _time_limit(connection, self.list_seconds),
            ):
                yield connection
        except DatabaseUnavailable as error:
            if _is_interrupted(error.__cause__):
                raise ListTooSlow(self.list_seconds) from error
            raise

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """Return a context manager with a connection whose reads all see one snapshot of the database.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        self._check()
        options: dict[str, Any] = (
            {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )
        with translated_errors(), self._engine.connect().execution_options(**options) as connection:
            self._unbind(connection)
            yield connection

    def _unbind(self, connection: sa.Connection) -> None:
        """Turn off the timeouts of a transaction, for statements and for pauses between them."""
        if not self.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def has_other_users(self) -> bool:
        """Return whether another ProgImage process is connected to PostgreSQL; always False for SQLite.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        if self.is_sqlite:
            return False
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = :name AND pid <> pg_backend_pid()"
        )
        with self.reading(checked=False) as connection:
            return bool(connection.execute(sa.text(query), {"name": _APPLICATION}).scalar_one())

    def time(self) -> float:
        """Return the database's current time, as a Unix timestamp.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        with self.reading() as connection:
            return time_of(connection)

    def clock_skew(self) -> float:
        """Return how many seconds this machine's clock is ahead of the database's.

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        with self.reading() as connection:
            return time.time() - time_of(connection)

    def keep_statistics(self) -> None:
        """Let SQLite analyse the tables that have changed much, to choose the right indexes.

        PostgreSQL does this itself (autovacuum).

        Raises:
            DatabaseUnavailable: The database is unavailable.
        """
        if self.is_sqlite:
            with self.writing() as connection:
                connection.exec_driver_sql(f"PRAGMA analysis_limit = {_ANALYSED}")
                connection.exec_driver_sql("PRAGMA optimize")

    def close(self) -> None:
        """Close all connections."""
        self._lists.shutdown(wait=False)
        self._engine.dispose()


def after_commit(connection: sa.Connection, call: Callable[[], None]) -> None:
    """Register a function to be called once, after the transaction of `Database.writing` is committed."""
    calls: list[Callable[[], None]] = connection.get_execution_options()["committed"]
    if call not in calls:
        calls.append(call)


def insert_new(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Insert a row unless its primary key exists, and return whether it was inserted."""
    # Use RETURNING, since not every driver counts the rows of an INSERT.
    statement = _insert_unless_there(connection, table).values(**values).returning(*table.primary_key)
    return connection.execute(statement).first() is not None


def insert_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, except those whose primary key exists."""
    connection.execute(_insert_unless_there(connection, table), rows)


def _insert_unless_there(connection: sa.Connection, table: sa.Table) -> Any:
    # Import the dialect only if its database is used.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(table).on_conflict_do_nothing()


def now_of(connection: sa.Connection) -> sa.ColumnElement[float]:
    """Return an SQL expression for the database's current time, which all nodes share, as a Unix timestamp."""
    if connection.dialect.name == "postgresql":
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float)
    return sa.literal(clock.now(), sa.Float)


def time_of(connection: sa.Connection) -> float:
    """Return the database's current time, as a Unix timestamp, to compare with a column.

    PostgreSQL can't use an index for a comparison with `now_of`, which changes while the statement runs.
    """
    if connection.dialect.name == "postgresql":
        return float(connection.execute(sa.select(now_of(connection))).scalar_one())
    return clock.now()


def make_engine(url: str, connections: int = 10) -> sa.Engine:
    """Create the SQLAlchemy engine of a database. SQLite is configured for durability and shared access."""
    if not url.startswith("sqlite"):
        logging.getLogger(f"sqlalchemy.pool.impl.{sa.QueuePool.__name__}").addFilter(_briefly)
        return sa.create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=_CONNECT_SECONDS,
            pool_pre_ping=True,  # replaces connections that the server has closed
            connect_args={
                "connect_timeout": _CONNECT_SECONDS,
                "application_name": _APPLICATION,
                "options": f"-c statement_timeout={_STATEMENT_SECONDS}s -c lock_timeout={_STATEMENT_SECONDS}s"
                f" -c idle_in_transaction_session_timeout={_STATEMENT_SECONDS}s",
                # Detect a server that vanished silently.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": _STATEMENT_SECONDS * 1000,
            },
        )
    engine = sa.create_engine(url, connect_args={"timeout": 10})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions are started below, not by the driver
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writing transaction takes the lock at its start, since it could not wait for it later.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn errors of the database driver into `DatabaseFull` or `DatabaseUnavailable`."""
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        if _is_full(error.__cause__):
            raise DatabaseFull(f"The database's disk is full: {error.__cause__}") from error
        raise DatabaseUnavailable(f"The database is unavailable: {error.__cause__ or error}") from error


def _is_full(error: Any) -> bool:
    """Return whether a driver's error means a full disk: SQLite's codes, or disk_full of PostgreSQL."""
    return (
        getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, _NO_ROOM_FOR_WAL_INDEX)
        or getattr(error, "sqlstate", None) == _DISK_FULL
    )


@contextmanager
def _time_limit(connection: sa.Connection, seconds: float) -> Iterator[None]:
    """Interrupt statements that take longer than a time limit."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    end = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > end, _LOOKS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


def _is_interrupted(error: Any) -> bool:
    cause = getattr(error, "__cause__", None)
    return (
        getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
        or getattr(cause, "sqlstate", None) == _CANCELLED
    )


def _briefly(record: logging.LogRecord) -> bool:
    """Log a lost connection in one line: the pool replaces it, and its user gets the exception."""
    import psycopg

    if record.exc_info and isinstance(record.exc_info[1], sa.exc.DBAPIError | psycopg.Error):
        record.msg, record.args = f"{record.msg}: {record.exc_info[1]}".splitlines()[0], ()
        record.levelno, record.levelname = logging.WARNING, "warning"
        record.exc_info = record.exc_text = None
    return True
