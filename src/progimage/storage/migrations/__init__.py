"""The database's schema, version by version, and bringing a database to the newest.

While a cluster is upgraded node by node, two versions of the service run on one schema, the newer one's. So a version
only adds: tables, and columns that may be empty or have a default. What a version does not need any more is removed by
the one after it.
"""

import fcntl
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from progimage.storage.database import make_engine, translated_errors

# Any number that all nodes share: the key of PostgreSQL's advisory lock around a migration.
_ADVISORY_LOCK = 7_016_941
_ASK_SECONDS = 0.1


def migrate(url: str, lock_file: Path) -> None:
    """Bring a database to the newest schema; of several processes or nodes, one does it and the others wait.

    Args:
        url: SQLAlchemy's URL of it.
        lock_file: A file that the processes of this node share.

    Raises:
        DatabaseUnavailable: It fails.
    """
    engine = make_engine(url)
    with translated_errors():
        revision = _revision(engine)
        if revision is None or revision < _newest():  # a newer version of the service has migrated it, if it is greater
            locked(url, lock_file, lambda: _upgrade(engine))
    engine.dispose()


def locked(url: str, lock_file: Path, work: Callable[[], None]) -> None:
    """Do some work on a database's schema while no other process or node does.

    Args:
        url: SQLAlchemy's URL of it.
        lock_file: A file that the processes of this node share.
        work: What to do.
    """
    with lock_file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if url.startswith("sqlite"):
            work()
            return
        engine = make_engine(url)
        with engine.connect() as connection:
            # Asking again and again, since who waits in a statement holds up an index that is made concurrently. The
            # lock ends with the connection.
            while not connection.execute(sa.text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")).scalar():
                connection.rollback()
                time.sleep(_ASK_SECONDS)
            connection.rollback()
            work()
        engine.dispose()


def _revision(engine: sa.Engine) -> str | None:
    """Return the version of the schema that a database has, or None: it has none yet."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return revision


def _newest() -> str:
    return max(path.name[1:5] for path in (Path(__file__).parent / "versions").glob("v[0-9]*.py"))


def _upgrade(engine: sa.Engine) -> None:
    # Only here, where it is needed: importing it takes a quarter of a second and 35 MB.
    import alembic.command
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.connect() as connection:
        config.attributes["connection"] = connection.execution_options(writes=True)
        alembic.command.upgrade(config, "head")
