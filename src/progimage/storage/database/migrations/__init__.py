"""Migrations of the database schema.

While a cluster is upgraded node by node, two versions of the service use one schema, the newer one. So each version
only adds tables, and columns that are nullable or have a default. What a version no longer needs is removed by the next
one.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from progimage.storage.database.connections import DatabaseUnavailable, make_engine, translated_errors

# Key of PostgreSQL's advisory lock around a migration: an arbitrary number that all nodes share.
_ADVISORY_LOCK = 7_016_941
_ASK_SECONDS = 0.1
RESTORING = "restoring"
"""Table that exists while a restore is running or unfinished."""
_TELLING_TABLES = ("deployment", "images", "api_keys", "owners", RESTORING)
"""Tables whose rows show that a deployment exists."""


class BeingRestored(DatabaseUnavailable):
    """A restore into the database is unfinished."""


def migrate(url: str, lock_file: Path) -> None:
    """Upgrade a database to the newest schema. If several processes or nodes try, one does it and the others wait.

    Args:
        url: SQLAlchemy URL of the database.
        lock_file: File shared by the processes of this node.

    Raises:
        BeingRestored: A restore is unfinished.
        DatabaseUnavailable: The database is unavailable.
    """
    engine = make_engine(url)
    with translated_errors():
        _refuse_half(engine)
        revision = _revision(engine)
        if revision is None or revision < newest():  # a newer version of the service may have upgraded it further
            with locked(url, lock_file):
                bring_to(url, newest())
    engine.dispose()


def is_there(url: str) -> bool:
    """Return whether a database contains a deployment, without creating the database.

    Raises:
        DatabaseUnavailable: The database is unavailable.
    """
    if url.startswith("sqlite") and not Path(sa.make_url(url).database or "").exists():
        return False  # connecting would create the file
    engine = make_engine(url)
    try:
        with translated_errors():
            return _has_rows(engine)
    finally:
        engine.dispose()


def _has_rows(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        tables = [name for name in _TELLING_TABLES if sa.inspect(connection).has_table(name)]
        queries = (f"SELECT 1 FROM {name} LIMIT 1" for name in tables)  # noqa: S608
        return any(connection.execute(sa.text(query)).first() for query in queries)


def bring_to(url: str, revision: str) -> None:
    """Upgrade a database to a version of the schema. "base" removes all tables with their contents."""
    # Imported only when needed, since it takes a quarter of a second and 35 MB.
    import alembic.command
    import alembic.config

    engine = make_engine(url)
    go = alembic.command.downgrade if revision == "base" else alembic.command.upgrade
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.connect() as connection:
        config.attributes["connection"] = connection.execution_options(writes=True)
        go(config, revision)
    engine.dispose()


@contextmanager
def locked(url: str, lock_file: Path) -> Iterator[None]:
    """Lock the schema of a database, and its assignment to stores, against other processes and nodes. Blocks.

    Args:
        url: SQLAlchemy URL of the database.
        lock_file: File shared by the processes of this node.
    """
    with lock_file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if url.startswith("sqlite"):
            yield
            return
        engine = make_engine(url)
        with engine.connect() as connection:
            # Poll, since a waiting statement would block the concurrent creation of an index. The lock ends with the
            # connection.
            while not connection.execute(sa.text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")).scalar():
                connection.rollback()
                time.sleep(_ASK_SECONDS)
            connection.rollback()
            yield
        engine.dispose()


def _revision(engine: sa.Engine) -> str | None:
    """Return the schema version of a database, or None if it has none yet."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return revision


def _refuse_half(engine: sa.Engine) -> None:
    """Raise an exception if a restore into a database is unfinished."""
    with engine.connect() as connection:
        if sa.inspect(connection).has_table(RESTORING):
            raise BeingRestored(
                "This deployment is being restored from a backup. If the restore was interrupted, run `progimage"
                " restore` again."
            )


def newest() -> str:
    """Return the newest schema version of this program."""
    return max(path.name[1:5] for path in (Path(__file__).parent / "versions").glob("v[0-9]*.py"))
