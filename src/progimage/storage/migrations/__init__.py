"""The database's schema, version by version, and bringing a database to the newest."""

import fcntl
from pathlib import Path

import sqlalchemy as sa

from progimage.storage.database import make_engine

# Any number that all nodes share: the key of PostgreSQL's advisory lock around a migration.
_ADVISORY_LOCK = 7_016_941


def migrate(url: str, lock_file: Path) -> None:
    """Bring a database to the newest schema; of several processes or nodes, one does it and the others wait.

    Args:
        url: SQLAlchemy's URL of it.
        lock_file: A file that the processes of this node share.
    """
    engine = make_engine(url)
    if _revision(engine) != _newest():
        _upgrade(engine, lock_file)
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


def _upgrade(engine: sa.Engine, lock_file: Path) -> None:
    # Only here, where it is needed: importing it takes a quarter of a second and 35 MB.
    import alembic.command
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with lock_file.open("a") as lock, engine.connect() as connection:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
            connection.commit()
        config.attributes["connection"] = connection.execution_options(writes=True)
        alembic.command.upgrade(config, "head")
