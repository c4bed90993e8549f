"""The database's schema, version by version, and bringing a database to the newest."""

import fcntl
from pathlib import Path

import alembic.command
import alembic.config
import sqlalchemy as sa

from progimage.storage.records import make_engine

# Any number that all nodes share: the key of PostgreSQL's advisory lock around a migration.
_ADVISORY_LOCK = 7_016_941


def migrate(url: str, lock_file: Path) -> None:
    """Bring a database to the newest schema; of several processes or nodes, one does it and the others wait.

    Args:
        url: SQLAlchemy's URL of it.
        lock_file: A file that the processes of this node share.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    engine = make_engine(url)
    with lock_file.open("a") as lock, engine.connect() as connection:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            connection.commit()
        config.attributes["connection"] = connection.execution_options(writes=True)
        alembic.command.upgrade(config, "head")
    engine.dispose()
