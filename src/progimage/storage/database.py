"""The database: connections, transactions, and what can go wrong with them."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


class DatabaseUnavailable(Exception):
    """The database is locked, unreachable or failing; trying again later may work."""


class Database:
    """Connections to the database. Its methods block.

    Args:
        url: SQLAlchemy's URL of it.
    """

    def __init__(self, url: str) -> None:
        """Prepare the engine; the first connection is made when it is needed."""
        self._engine = make_engine(url)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Lend a connection to read with.

        Raises:
            DatabaseUnavailable: It fails.
        """
        with _translated_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Lend a connection within a transaction, which is committed at the end; durable then.

        Raises:
            DatabaseUnavailable: It fails.
        """
        with (
            _translated_errors(),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def insert_new(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """Insert a row unless there is one with its primary key, and tell whether that was done."""
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    # What is returned tells; of an INSERT, not every driver counts the rows.
    statement = insert.values(**values).on_conflict_do_nothing().returning(*table.primary_key)
    return connection.execute(statement).first() is not None


def make_engine(url: str) -> sa.Engine:
    """Make the SQLAlchemy engine of a database; SQLite is set to be durable and to be shared."""
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True)
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
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
        raise DatabaseUnavailable(f"The database can't be used now: {error.__cause__ or error}") from error
