"""The database's schema, version by version, and bringing a database to the newest.

While a cluster is upgraded node by node, two versions of the service run on one schema, the newer one's. So a version
only adds: tables, and columns that may be empty or have a default. What a version does not need any more is removed by
the one after it.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from progimage.storage.database.connections import DatabaseUnavailable, make_engine, translated_errors

# Any number that all nodes share: the key of PostgreSQL's advisory lock around a migration.
_ADVISORY_LOCK = 7_016_941
_ASK_SECONDS = 0.1
RESTORING = "restoring"
"""A table that there is from the beginning to the end of a restore."""
_TELLING_TABLES = ("deployment", "images", "api_keys", "owners", RESTORING)
"""What is in one of these was put there by somebody who meant this deployment."""


class BeingRestored(DatabaseUnavailable):
    """A restore into the database has not ended."""


def migrate(url: str, lock_file: Path) -> None:
    """Bring a database to the newest schema; of several processes or nodes, one does it and the others wait.

    Args:
        url: SQLAlchemy's URL of it.
        lock_file: A file that the processes of this node share.

    Raises:
        BeingRestored: A restore has not ended.
        DatabaseUnavailable: It fails.
    """
    engine = make_engine(url)
    with translated_errors():
        _refuse_half(engine)
        revision = _revision(engine)
        if revision is None or revision < newest():  # a newer version of the service has migrated it, if it is greater
            with locked(url, lock_file):
                bring_to(url, newest())
    engine.dispose()


def is_there(url: str) -> bool:
    """Return whether a database has anything of a deployment in it; no database is made.

    Raises:
        DatabaseUnavailable: It fails.
    """
    if url.startswith("sqlite") and not Path(sa.make_url(url).database or "").exists():
        return False  # to connect would make the file
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
    """Bring a database to a version of the schema; "base" removes all tables, and what is in them."""
    # Only here, where it is needed: importing it takes a quarter of a second and 35 MB.
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
    """Keep other processes and nodes from changing a database's schema, or which stores belong to it. It blocks.

    Args:
        url: SQLAlchemy's URL of it.
        lock_file: A file that the processes of this node share.
    """
    with lock_file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if url.startswith("sqlite"):
            yield
            return
        engine = make_engine(url)
        with engine.connect() as connection:
            # Asking again and again, since who waits in a statement holds up an index that is made concurrently. The
            # lock ends with the connection.
            while not connection.execute(sa.text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")).scalar():
                connection.rollback()
                time.sleep(_ASK_SECONDS)
            connection.rollback()
            yield
        engine.dispose()


def _revision(engine: sa.Engine) -> str | None:
    """Return the version of the schema that a database has, or None: it has none yet."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return revision


def _refuse_half(engine: sa.Engine) -> None:
    """Raise an exception if a restore has begun in a database and has not ended."""
    with engine.connect() as connection:
        if sa.inspect(connection).has_table(RESTORING):
            raise BeingRestored(
                "This deployment is being restored from a backup. If that was broken off, run `progimage restore`"
                " again."
            )


def newest() -> str:
    """Return the newest version of the schema that this program knows."""
    return max(path.name[1:5] for path in (Path(__file__).parent / "versions").glob("v[0-9]*.py"))
