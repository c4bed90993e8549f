"""Check that database and stores belong together: each has the ID of the deployment, which must be the same.

An empty folder instead of a volume, another bucket, or a new database with old blobs would look like a service without
images; sweeps and scrubs would then delete everything or mark it as damaged.
"""

import uuid

import sqlalchemy as sa

from progimage.storage.blobs.store import BlobStore
from progimage.storage.blobs.wrong_store import WrongStore
from progimage.storage.database.connections import Database, insert_new
from progimage.storage.database.schema import blobs, deployment

_SAMPLE = 100
"""Number of blobs in the database to look up in a store without a marker; finding one is enough."""
_GO_ON = "If this is intended, run `progimage adopt` to make them one deployment."


def identify(database: Database, store: BlobStore, second: BlobStore | None = None, *, adopt: bool = False) -> str:
    """Check that a database and its stores belong together, and return the ID of the deployment.

    New ones, and those of versions before 0.2 that belong together, get a marker. Only one process or node may do this
    at a time; see `migrations.locked`. Blocks.

    Args:
        database: The database.
        store: The store of originals.
        second: The second store, if there is one.
        adopt: Make them one deployment, whatever they belonged to before.

    Raises:
        WrongStore: They don't belong together.
        DatabaseUnavailable: The database is unavailable.
        StoreError: A store is unavailable.
    """
    if adopt:
        return _adopt(database, store, second)
    confirm_identity(database, store, second)
    known, there = deployment_id(database), store.marker()
    if not (known and there):
        known = _record(database, known or there or str(uuid.uuid4()))
        _mark(store, known, "store of originals")
    if second and not second.marker():
        _mark(second, known, "second store")
        _note_second(database)
    return known


def confirm_identity(database: Database, store: BlobStore, second: BlobStore | None = None) -> None:
    """Check that a database and its stores belong together, without changing them. Blocks.

    Raises:
        WrongStore: They don't belong together.
        DatabaseUnavailable: The database is unavailable.
        StoreError: A store is unavailable.
    """
    known, second_is_marked = _row(database)
    there = store.marker()
    if known and there and known != there:
        raise WrongStore(
            f"The store of originals belongs to a different deployment ({there}) than the database ({known}). Check"
            f" PROGIMAGE_BLOBS_URL, PROGIMAGE_DATABASE_URL and the mounted volumes. {_GO_ON}"
        )
    if not (known and there):
        _check_unmarked(database, store, there)
    mark = second.marker() if second else None
    if second and (mark or second_is_marked) and mark != known:
        what = f"belongs to another deployment ({mark})" if mark else "has lost its marker or isn't mounted"
        raise WrongStore(f"The second store {what}. Check PROGIMAGE_SECOND_BLOBS_URL. {_GO_ON}")


def deployment_id(database: Database) -> str | None:
    """Return the ID of a database's deployment, or None. Blocks."""
    return _row(database)[0]


def deployment_id_of(connection: sa.Connection) -> str | None:
    """Return the ID of a database's deployment, or None."""
    return connection.execute(sa.select(deployment.c.id)).scalar()


def _check_unmarked(database: Database, store: BlobStore, there: str | None) -> None:
    with database.reading() as connection:
        names = connection.execute(sa.select(blobs.c.sha256).where(blobs.c.stored).limit(_SAMPLE)).scalars().all()
    if names:
        if not any(map(store.has, names)):
            raise WrongStore(
                "The database has images, but the store of originals has none of them. Check that its volume is mounted"
                f" and that PROGIMAGE_BLOBS_URL is correct. {_GO_ON}"
            )
    elif there or store.has_blobs():
        raise WrongStore(
            "The database is empty, but the store of originals is not. Check PROGIMAGE_DATABASE_URL and that the right"
            f" database is there. {_GO_ON} Sweeps don't remove blobs that the database doesn't know."
        )


def _row(database: Database) -> tuple[str | None, bool]:
    with database.reading(checked=False) as connection:
        row = connection.execute(sa.select(deployment.c.id, deployment.c.second_store)).first()
        return (row.id, row.second_store) if row else (None, False)


def _record(database: Database, wanted: str) -> str:
    """Set the ID of the database unless it has one, and return the one it has then."""
    with database.writing() as connection:
        insert_new(connection, deployment, one=1, id=wanted)
        return str(connection.execute(sa.select(deployment.c.id)).scalar_one())


def _mark(store: BlobStore, known: str, what: str) -> None:
    there = store.mark(known)
    if there != known:
        raise WrongStore(f"The {what} has just been taken by another deployment ({there}).")


def _note_second(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(sa.update(deployment).values(second_store=True))


def _adopt(database: Database, store: BlobStore, second: BlobStore | None) -> str:
    """Make a database and its stores a new deployment. The database comes last, so this can be repeated if it fails."""
    new = str(uuid.uuid4())
    for one in (store, second):
        if one:
            one.mark(new, anew=True)
    with database.writing() as connection:
        connection.execute(sa.delete(deployment))
        insert_new(connection, deployment, one=1, id=new, second_store=second is not None)
    return new
