"""The database: connections, transactions, and what can go wrong with them."""

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
"""So many steps of SQLite's machine pass between two looks at the clock: about a millisecond."""
_ANALYSED = 1000
"""So many rows of each index are looked at, which takes milliseconds however many there are."""
_CANCELLED = "57014"
_APPLICATION = "progimage"
"""What connections call themselves."""
_STATEMENT_SECONDS = 30
_DISK_FULL = "53100"
_NO_ROOM_FOR_WAL_INDEX = 4874  # SQLITE_IOERR_SHMSIZE, which Python has no name for in all versions


class DatabaseUnavailable(Exception):
    """The database is locked, unreachable or failing; trying again later may work."""


class DatabaseFull(DatabaseUnavailable):
    """The database has no room to write."""


class ListTooSlow(Exception):
    """A list takes longer than it may.

    Args:
        seconds: How long that is.
    """

    def __init__(self, seconds: float) -> None:
        """Keep the number of seconds."""
        super().__init__(f"The list takes longer than {seconds:g} seconds.")
        self.seconds = seconds


class Database:
    """Connections to the database. Its methods block.

    Args:
        url: SQLAlchemy's URL of it.
        connections: The most connections to PostgreSQL.

    Attributes:
        is_sqlite: Whether it is a file on this machine, whose clock is the machine's.
        url: The same.
        list_seconds: How long a list may take.
        before_writing: Sees to it that there is room for SQLite to write.
    """

    def __init__(self, url: str, connections: int = 10) -> None:
        """Prepare the engine; the first connection is made when it is needed."""
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
        """From now on, refuse to use a file of SQLite that was removed, or another one in its place."""
        if self._file:
            self._pinned = self._file.stat()

    def refuse(self, *, wrong: bool) -> None:
        """Set whether this is another deployment's database. As long as it is, reads and writes are refused."""
        self._is_wrong = wrong

    def _check(self) -> None:
        if self._is_wrong:
            raise DatabaseUnavailable("The database is not the one of this deployment.")
        if self._pinned and self._file:
            try:
                same = os.path.samestat(self._pinned, self._file.stat())
            except FileNotFoundError:
                same = False
            if not same:
                raise DatabaseUnavailable(
                    f"{self._file} was removed or replaced while the service runs. Put it back, or restart the service."
                )

    @contextmanager
    def reading(self, *, checked: bool = True) -> Iterator[sa.Connection]:
        """Lend a connection to read with.

        Args:
            checked: Only if this is the database of the deployment, as far as that is known.

        Raises:
            DatabaseUnavailable: It fails.
        """
        if checked:
            self._check()
        with span("database.read"), translated_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, *, bounded: bool = True) -> Iterator[sa.Connection]:
        """Lend a connection within a transaction, which is committed at the end; durable then.

        Args:
            bounded: Each statement, and each pause between two, ends after a while.

        Raises:
            DatabaseFull: It has no room.
            DatabaseUnavailable: It fails.
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
        """Do what reads many rows, in a thread of a few that are for that alone: others don't wait for these."""
        return await asyncio.get_running_loop().run_in_executor(self._lists, work, *arguments)

    @contextmanager
    def listing(self) -> Iterator[sa.Connection]:
        """Lend a connection to read many rows with, for so long as a list may take.

        Raises:
            ListTooSlow: It takes longer.
            DatabaseUnavailable: It fails.
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
        """Lend a connection whose reads all see the database of one moment.

        Raises:
            DatabaseUnavailable: It fails.
        """
        self._check()
        options: dict[str, Any] = (
            {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        )
        with translated_errors(), self._engine.connect().execution_options(**options) as connection:
            self._unbind(connection)
            yield connection

    def _unbind(self, connection: sa.Connection) -> None:
        """Let the statements of a transaction, and the pauses between them, take as long as they take."""
        if not self.is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def has_other_users(self) -> bool:
        """Return whether another process of ProgImage is connected to PostgreSQL; of SQLite, that is not known.

        Raises:
            DatabaseUnavailable: It fails.
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
        """Return the database's current time, as a Unix time in seconds. It blocks.

        Raises:
            DatabaseUnavailable: It fails.
        """
        with self.reading() as connection:
            return time_of(connection)

    def clock_skew(self) -> float:
        """Return by how many seconds this machine's clock is ahead of the database's.

        Raises:
            DatabaseUnavailable: It fails.
        """
        with self.reading() as connection:
            return time.time() - time_of(connection)

    def keep_statistics(self) -> None:
        """Have SQLite look at its tables, as far as they have changed much, to choose the right index. It blocks.

        PostgreSQL does so by itself (autovacuum).

        Raises:
            DatabaseUnavailable: It fails.
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
    """Have something called, once, when the transaction of `Database.writing` is committed."""
    calls: list[Callable[[], None]] = connection.get_execution_options()["committed"]
    if call not in calls:
        calls.append(call)


def insert_new(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Insert a row unless its primary key exists, and return whether it was inserted."""
    # What is returned tells; of an INSERT, not every driver counts the rows.
    statement = _insert_unless_there(connection, table).values(**values).returning(*table.primary_key)
    return connection.execute(statement).first() is not None


def insert_rows(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, but for those whose primary key is there."""
    connection.execute(_insert_unless_there(connection, table), rows)


def _insert_unless_there(connection: sa.Connection, table: sa.Table) -> Any:
    # What belongs to one database alone is loaded where that one is used.
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    return insert(table).on_conflict_do_nothing()


def now_of(connection: sa.Connection) -> sa.ColumnElement[float]:
    """Return an expression for the database's current time, which all nodes share, as a Unix time in seconds."""
    if connection.dialect.name == "postgresql":
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float)
    return sa.literal(clock.now(), sa.Float)


def time_of(connection: sa.Connection) -> float:
    """Return the database's current time, as a Unix time in seconds, to compare a column with.

    PostgreSQL uses no index for a comparison with `now_of`, since that changes while the statement runs.
    """
    if connection.dialect.name == "postgresql":
        return float(connection.execute(sa.select(now_of(connection))).scalar_one())
    return clock.now()


def make_engine(url: str, connections: int = 10) -> sa.Engine:
    """Make the SQLAlchemy engine of a database; SQLite is set to be durable and to be shared."""
    if not url.startswith("sqlite"):
        logging.getLogger(f"sqlalchemy.pool.impl.{sa.QueuePool.__name__}").addFilter(_briefly)
        return sa.create_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=_CONNECT_SECONDS,
            pool_pre_ping=True,  # a connection that the server has closed is replaced before it is used
            connect_args={
                "connect_timeout": _CONNECT_SECONDS,
                "application_name": _APPLICATION,
                "options": f"-c statement_timeout={_STATEMENT_SECONDS}s -c lock_timeout={_STATEMENT_SECONDS}s"
                f" -c idle_in_transaction_session_timeout={_STATEMENT_SECONDS}s",
                # So a server that vanished without a word is noticed.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": _STATEMENT_SECONDS * 1000,
            },
        )
    engine = sa.create_engine(url, connect_args={"timeout": 10})

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that will write takes the lock at once, since it could not wait for it later.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what the database's driver raises into `DatabaseFull` or `DatabaseUnavailable`."""
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        if _is_full(error.__cause__):
            raise DatabaseFull(f"The database has no room: {error.__cause__}") from error
        raise DatabaseUnavailable(f"The database can't be used now: {error.__cause__ or error}") from error


def _is_full(error: Any) -> bool:
    """Return whether a driver's error says that there is no room: SQLite's for its files, or PostgreSQL's disk_full."""
    return (
        getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, _NO_ROOM_FOR_WAL_INDEX)
        or getattr(error, "sqlstate", None) == _DISK_FULL
    )


@contextmanager
def _time_limit(connection: sa.Connection, seconds: float) -> Iterator[None]:
    """Have what is executed meanwhile interrupted when it takes longer."""
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
    """Have a connection that was lost told in a line: the pool replaces it, and whoever used it has the exception."""
    import psycopg

    if record.exc_info and isinstance(record.exc_info[1], sa.exc.DBAPIError | psycopg.Error):
        record.msg, record.args = f"{record.msg}: {record.exc_info[1]}".splitlines()[0], ()
        record.levelno, record.levelname = logging.WARNING, "warning"
        record.exc_info = record.exc_text = None
    return True
