"""Whether database and stores belong together: each has the id of the deployment, and it has to be the same.

An empty folder where a volume should be, another bucket, or a new database beside old blobs would look like a service
without images; sweeps and scrubbing would then destroy what they find, or call everything damaged.
"""

import uuid

import sqlalchemy as sa

from progimage.storage.blobs.store import BlobStore
from progimage.storage.blobs.wrong_store import WrongStore
from progimage.storage.database.connections import Database, insert_new
from progimage.storage.database.schema import blobs, deployment

_SAMPLE = 100
"""So many blobs of the database are looked for in a store that has no marker; one that is there is enough."""
_GO_ON = "If that is meant, `progimage adopt` makes them one deployment."


def identify(database: Database, store: BlobStore, second: BlobStore | None = None, *, adopt: bool = False) -> str:
    """Check that a database and its stores belong together, and return the id of the deployment.

    New ones, and those of versions before 0.2 that belong together, get their markers. Only one process or node may do
    this at a time, see `migrations.locked`. It blocks.

    Args:
        database: The database.
        store: The store of originals.
        second: The second store, if there is one.
        adopt: Make them one deployment, whatever they were.

    Raises:
        WrongStore: They don't belong together.
        DatabaseUnavailable, StoreError: They can't be read now.
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
    """Check that a database and its stores belong together, and leave them as they are. It blocks.

    Raises:
        WrongStore: They don't belong together.
        DatabaseUnavailable, StoreError: They can't be read now.
    """
    known, second_is_marked = _row(database)
    there = store.marker()
    if known and there and known != there:
        raise WrongStore(
            f"The store of originals belongs to another deployment ({there}) than the database ({known}). Check"
            f" PROGIMAGE_BLOBS_URL, PROGIMAGE_DATABASE_URL and what is mounted. {_GO_ON}"
        )
    if not (known and there):
        _check_unmarked(database, store, there)
    mark = second.marker() if second else None
    if second and (mark or second_is_marked) and mark != known:
        what = f"belongs to another deployment ({mark})" if mark else "has lost its marker, or is not mounted"
        raise WrongStore(f"The second store {what}. Check PROGIMAGE_SECOND_BLOBS_URL. {_GO_ON}")


def deployment_id(database: Database) -> str | None:
    """Return the id that a database has, or None. It blocks."""
    return _row(database)[0]


def deployment_id_of(connection: sa.Connection) -> str | None:
    """Return the id that a database has, or None."""
    return connection.execute(sa.select(deployment.c.id)).scalar()


def _check_unmarked(database: Database, store: BlobStore, there: str | None) -> None:
    with database.reading() as connection:
        names = connection.execute(sa.select(blobs.c.sha256).where(blobs.c.stored).limit(_SAMPLE)).scalars().all()
    if names:
        if not any(map(store.has, names)):
            raise WrongStore(
                "The database has images, and the store of originals has none of them. Is its volume mounted, and is"
                f" PROGIMAGE_BLOBS_URL right? {_GO_ON}"
            )
    elif there or store.has_blobs():
        raise WrongStore(
            "The database is empty, and the store of originals is not. Is PROGIMAGE_DATABASE_URL right, and is the"
            f" database there? {_GO_ON} Sweeps don't remove blobs that the database doesn't know."
        )


def _row(database: Database) -> tuple[str | None, bool]:
    with database.reading(checked=False) as connection:
        row = connection.execute(sa.select(deployment.c.id, deployment.c.second_store)).first()
        return (row.id, row.second_store) if row else (None, False)


def _record(database: Database, wanted: str) -> str:
    """Return the id that the database has, which is the wanted one if it had none."""
    with database.writing() as connection:
        insert_new(connection, deployment, one=1, id=wanted)
        return str(connection.execute(sa.select(deployment.c.id)).scalar_one())


def _mark(store: BlobStore, known: str, what: str) -> None:
    there = store.mark(known)
    if there != known:
        raise WrongStore(f"Another deployment ({there}) has just taken the {what}.")


def _note_second(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(sa.update(deployment).values(second_store=True))


def _adopt(database: Database, store: BlobStore, second: BlobStore | None) -> str:
    """Make a database and its stores a new deployment; the database is the last, so it can be done again."""
    new = str(uuid.uuid4())
    for one in (store, second):
        if one:
            one.mark(new, anew=True)
    with database.writing() as connection:
        connection.execute(sa.delete(deployment))
        insert_new(connection, deployment, one=1, id=new, second_store=second is not None)
    return new
