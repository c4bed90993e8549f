"""How much is kept, counted as rows change, since summing a million of them takes seconds.

The database counts by itself, with triggers, so that nodes of the version before count, too. A count is spread over
rows, of which a connection to PostgreSQL takes one, so that uploads don't wait for one another.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from progimage.storage.schema import blobs, images, totals

SLOTS = 16


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is kept.

    Attributes:
        images: How many references there are.
        bytes: Of their originals; those that several refer to count once.
        ladder_bytes: Of the smaller copies.
        damaged: How many blobs were found damaged and could not be restored.
    """

    images: int
    bytes: int
    ladder_bytes: int
    damaged: int


def counted(connection: sa.Connection) -> Totals:
    """Return how much is kept, as it was counted."""
    names = ("images", "bytes", "ladder_bytes", "damaged")
    row = connection.execute(sa.select(*(sa.func.sum(totals.c[name]).label(name) for name in names))).one()
    return Totals(*(int(value or 0) for value in row))


def summed(connection: sa.Connection) -> Totals:
    """Return how much is kept, by looking at every row; it takes seconds for a million."""
    used = sa.exists().where(images.c.sha256 == blobs.c.sha256)
    sums = [sa.func.coalesce(sa.func.sum(column), 0) for column in (blobs.c.bytes, blobs.c.ladder_bytes)]
    live = connection.execute(
        sa.select(sa.func.count()).select_from(images).where(images.c.deleted_at.is_(None))
    ).scalar_one()
    damaged = connection.execute(sa.select(sa.func.count()).select_from(blobs).where(blobs.c.damaged)).scalar_one()
    originals, ladders = connection.execute(sa.select(*sums).where(used)).one()
    return Totals(int(live), int(originals), int(ladders), int(damaged))


def recount(connection: sa.Connection) -> None:
    """Make the counts what the rows say, within a transaction."""
    right = summed(connection)
    references = sa.select(sa.func.count()).where(images.c.sha256 == blobs.c.sha256).scalar_subquery()
    connection.execute(sa.update(blobs).where(blobs.c.images != references).values(images=references))
    now = counted(connection)
    more = {
        name: totals.c[name] + getattr(right, name) - getattr(now, name)
        for name in ("images", "bytes", "ladder_bytes", "damaged")
    }
    connection.execute(sa.update(totals).where(totals.c.slot == 0).values(**more))


def _sqlite() -> list[str]:
    count = "UPDATE totals SET {} WHERE slot = 0;"
    one_more = "UPDATE blobs SET images = images + 1 WHERE sha256 = NEW.sha256;"
    one_less = "UPDATE blobs SET images = images - 1 WHERE sha256 = OLD.sha256;"
    return [
        # What a node of the version before does not write.
        "CREATE TRIGGER images_described AFTER INSERT ON images WHEN NEW.format IS NULL BEGIN"
        " UPDATE images SET format = (SELECT format FROM blobs WHERE sha256 = NEW.sha256),"
        " bytes = (SELECT bytes FROM blobs WHERE sha256 = NEW.sha256) WHERE reference = NEW.reference; END",
        "CREATE TRIGGER labels_described AFTER INSERT ON labels WHEN NEW.owner IS NULL BEGIN"
        " UPDATE labels SET owner = (SELECT owner FROM images WHERE reference = NEW.reference),"
        " uploaded_at = (SELECT uploaded_at FROM images WHERE reference = NEW.reference)"
        " WHERE reference = NEW.reference AND label = NEW.label; END",
        f"CREATE TRIGGER images_added AFTER INSERT ON images BEGIN {one_more}"
        f" {count.format('images = images + (NEW.deleted_at IS NULL)')} END",
        f"CREATE TRIGGER images_removed AFTER DELETE ON images BEGIN {one_less}"
        f" {count.format('images = images - (OLD.deleted_at IS NULL)')} END",
        "CREATE TRIGGER images_deleted AFTER UPDATE OF deleted_at ON images"
        " WHEN (OLD.deleted_at IS NULL) <> (NEW.deleted_at IS NULL) BEGIN "
        f"{count.format('images = images + (NEW.deleted_at IS NULL) - (OLD.deleted_at IS NULL)')} END",
        "CREATE TRIGGER blobs_changed AFTER UPDATE OF images, bytes, ladder_bytes, damaged ON blobs"
        " WHEN (OLD.images > 0) <> (NEW.images > 0) OR OLD.bytes <> NEW.bytes"
        " OR OLD.ladder_bytes <> NEW.ladder_bytes OR OLD.damaged <> NEW.damaged BEGIN "
        + count.format(
            "bytes = bytes + (NEW.images > 0) * NEW.bytes - (OLD.images > 0) * OLD.bytes, ladder_bytes = ladder_bytes"
            " + (NEW.images > 0) * NEW.ladder_bytes - (OLD.images > 0) * OLD.ladder_bytes,"
            " damaged = damaged + NEW.damaged - OLD.damaged"
        )
        + " END",
        "CREATE TRIGGER blobs_added AFTER INSERT ON blobs WHEN NEW.damaged BEGIN "
        + count.format("damaged = damaged + 1")
        + " END",
        "CREATE TRIGGER blobs_removed AFTER DELETE ON blobs WHEN OLD.damaged BEGIN "
        + count.format("damaged = damaged - 1")
        + " END",
    ]


def _postgresql() -> list[str]:
    slot = f"pg_backend_pid() % {SLOTS}"
    return [
        """CREATE FUNCTION progimage_image_described() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.format IS NULL THEN
            SELECT format, bytes INTO NEW.format, NEW.bytes FROM blobs WHERE sha256 = NEW.sha256;
        END IF;
        RETURN NEW; END $$""",
        "CREATE TRIGGER images_described BEFORE INSERT ON images FOR EACH ROW"
        " EXECUTE FUNCTION progimage_image_described()",
        """CREATE FUNCTION progimage_label_described() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.owner IS NULL THEN
            SELECT owner, uploaded_at INTO NEW.owner, NEW.uploaded_at FROM images WHERE reference = NEW.reference;
        END IF;
        RETURN NEW; END $$""",
        "CREATE TRIGGER labels_described BEFORE INSERT ON labels FOR EACH ROW"
        " EXECUTE FUNCTION progimage_label_described()",
        f"""CREATE FUNCTION progimage_images_counted() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE more bigint := 0; BEGIN
        IF TG_OP <> 'DELETE' THEN more := more + (NEW.deleted_at IS NULL)::int; END IF;
        IF TG_OP <> 'INSERT' THEN more := more - (OLD.deleted_at IS NULL)::int; END IF;
        IF TG_OP = 'INSERT' THEN UPDATE blobs SET images = images + 1 WHERE sha256 = NEW.sha256; END IF;
        IF TG_OP = 'DELETE' THEN UPDATE blobs SET images = images - 1 WHERE sha256 = OLD.sha256; END IF;
        IF more <> 0 THEN UPDATE totals SET images = images + more WHERE slot = {slot}; END IF;
        RETURN NULL; END $$""",  # noqa: S608
        "CREATE TRIGGER images_counted AFTER INSERT OR DELETE OR UPDATE OF deleted_at ON images FOR EACH ROW"
        " EXECUTE FUNCTION progimage_images_counted()",
        f"""CREATE FUNCTION progimage_blobs_counted() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE more bigint := 0; ladders bigint := 0; damages bigint := 0; BEGIN
        IF TG_OP <> 'DELETE' THEN damages := NEW.damaged::int; END IF;
        IF TG_OP <> 'INSERT' THEN damages := damages - OLD.damaged::int; END IF;
        IF TG_OP = 'UPDATE' THEN
            IF NEW.images > 0 THEN more := NEW.bytes; ladders := NEW.ladder_bytes; END IF;
            IF OLD.images > 0 THEN more := more - OLD.bytes; ladders := ladders - OLD.ladder_bytes; END IF;
        END IF;
        IF more <> 0 OR ladders <> 0 OR damages <> 0 THEN
            UPDATE totals SET bytes = bytes + more, ladder_bytes = ladder_bytes + ladders, damaged = damaged + damages
            WHERE slot = {slot};
        END IF;
        RETURN NULL; END $$""",  # noqa: S608
        "CREATE TRIGGER blobs_counted AFTER INSERT OR DELETE OR UPDATE OF images, bytes, ladder_bytes, damaged ON blobs"
        " FOR EACH ROW EXECUTE FUNCTION progimage_blobs_counted()",
    ]


def _undone(statements: list[str]) -> list[str]:
    """Return what removes triggers and functions, the last one first."""
    found = []
    for statement in reversed(statements):
        words = statement.replace("(", " ").split()
        kind, name = words[1], words[2]
        if kind == "FUNCTION":
            found.append(f"DROP FUNCTION {name}()")
        elif "EXECUTE" in words:
            found.append(f"DROP TRIGGER {name} ON {words[words.index('ON') + 1]}")
        else:
            found.append(f"DROP TRIGGER {name}")
    return found


TRIGGERS = {"sqlite": _sqlite(), "postgresql": _postgresql()}
"""The statements that make the triggers, by the database's name."""
UNDONE = {name: _undone(statements) for name, statements in TRIGGERS.items()}
"""The statements that remove them."""
