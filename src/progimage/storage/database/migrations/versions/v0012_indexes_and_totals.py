"""An index for each query, and totals that the database counts, whichever version of the service changes rows."""

import time
from functools import partial
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_SLOTS = 16

_DELETED = sa.text("deleted_at IS NOT NULL")
_LIVE = sa.text("deleted_at IS NULL")
# Of the rows that have a value alone: SQLite would take an index of all for "is null", which most rows are.
_WITH = ("deleted_at", "expires_at", "purge_marked_at")
_REPLACED = {"ix_images_deleted_at": "deleted_at", "ix_images_expires_at": "expires_at"}
_INDEXES = (
    *((f"ix_images_with_{column}", "images", [column], sa.text(f"{column} IS NOT NULL")) for column in _WITH),
    (
        "ix_images_unmarked",
        "images",
        ["purge_marked_at", "deleted_at"],
        sa.text("deleted_at IS NOT NULL AND purge_marked_at IS NULL"),
    ),
    ("ix_images_bytes_of", "images", ["sha256", "owner"], None),
    ("ix_images_uploaded", "images", ["uploaded_at", "reference"], None),
    ("ix_images_live", "images", ["owner", "uploaded_at", "reference"], _LIVE),
    ("ix_images_gone", "images", ["owner", "uploaded_at", "reference"], _DELETED),
    ("ix_images_format", "images", ["owner", "format", "uploaded_at", "reference"], None),
    ("ix_images_size", "images", ["owner", "bytes"], None),
    ("ix_labels_owner", "labels", ["owner", "label", "uploaded_at", "reference"], None),
    ("ix_labels_uploaded", "labels", ["label", "uploaded_at", "reference"], None),
    ("ix_blobs_unused", "blobs", ["touched_at"], sa.text("images <= 0")),
    ("ix_blobs_damaged", "blobs", ["sha256"], sa.text("damaged")),
    ("ix_audit_action", "audit", ["action", "id"], None),
    ("ix_audit_image", "audit", ["reference", "id"], None),
)


_DESCRIBE_IMAGES = (
    "UPDATE images SET format = (SELECT format FROM blobs WHERE blobs.sha256 = images.sha256),"
    " bytes = (SELECT bytes FROM blobs WHERE blobs.sha256 = images.sha256)"
)
_DESCRIBE_LABELS = (
    "UPDATE labels SET owner = (SELECT owner FROM images WHERE images.reference = labels.reference),"
    " uploaded_at = (SELECT uploaded_at FROM images WHERE images.reference = labels.reference)"
)
_IMAGES_OF_BLOB = "(SELECT count(*) FROM images WHERE images.sha256 = blobs.sha256)"
_COUNT_BLOBS = f"UPDATE blobs SET images = {_IMAGES_OF_BLOB}"  # noqa: S608
# By what differs, so that nothing is lost that triggers count at the same time, and it may be done again.
_COUNT_TOTALS = (
    "UPDATE totals SET images = images + (SELECT count(*) FROM images WHERE deleted_at IS NULL)"
    " - (SELECT sum(images) FROM totals),"
    " bytes = bytes + (SELECT coalesce(sum(bytes), 0) FROM blobs WHERE images > 0) - (SELECT sum(bytes) FROM totals),"
    " ladder_bytes = ladder_bytes + (SELECT coalesce(sum(ladder_bytes), 0) FROM blobs WHERE images > 0)"
    " - (SELECT sum(ladder_bytes) FROM totals),"
    " damaged = damaged + (SELECT count(*) FROM blobs WHERE damaged) - (SELECT sum(damaged) FROM totals)"
    " WHERE slot = 0"
)
_AT_ONCE = 1000
"""So many rows are filled in one transaction: whoever wants one of them waits for tens of milliseconds."""
_LOCK_SECONDS = 0.5
"""What wants a lock longer gives up and tries again, since others wait behind it; shorter than `deadlock_timeout`."""
_PATIENCE_SECONDS = 600
_BY_INDEX = "SET LOCAL enable_seqscan = off"
"""There may be no statistics, by which to choose an index."""
_BUSY = ("55P03", "40P01")  # lock_not_available, deadlock_detected


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _upgrade_postgresql()
    else:
        _upgrade_sqlite()


def _upgrade_sqlite() -> None:
    """Do it in one transaction: others can't write meanwhile, whatever it does."""
    op.add_column("images", sa.Column("format", sa.String(20)))
    op.add_column("images", sa.Column("bytes", sa.BigInteger))
    op.add_column("labels", sa.Column("owner", sa.String(64)))
    op.add_column("labels", sa.Column("uploaded_at", sa.Float))
    op.add_column("blobs", sa.Column("images", sa.BigInteger, nullable=False, server_default="0"))
    _create_totals()
    for statement in (_DESCRIBE_IMAGES, _DESCRIBE_LABELS, _COUNT_BLOBS, _COUNT_TOTALS):
        op.execute(statement)
    for name in _REPLACED:
        op.drop_index(name, "images")
    for name, table, columns, where in _INDEXES:
        op.create_index(name, table, columns, sqlite_where=where)
    for statement in _sqlite_triggers():
        op.execute(statement)


def _upgrade_postgresql() -> None:
    """Do it step by step, while nodes of the version before read and write; done half-way, it may be done again."""
    connection = op.get_bind()
    if not sa.inspect(connection).has_table("totals"):
        _create_totals()
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("SET lock_timeout = 0")  # an index waits for the transactions of others; nobody waits for it
        run = partial(_in_short, connection.engine)
        for table, column in (
            ("images", "format varchar(20)"), ("images", "bytes bigint"),
            ("labels", "owner varchar(64)"), ("labels", "uploaded_at double precision"),
            ("blobs", "images bigint NOT NULL DEFAULT 0"),
        ):  # fmt: skip
            run(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column}")
        *first, last = _postgresql_triggers()
        for statements in first:
            run(*statements)
        _fill(connection.engine, "images", "reference", f"{_DESCRIBE_IMAGES} WHERE {{}} AND format IS NULL")
        _fill(connection.engine, "labels", "reference", f"{_DESCRIBE_LABELS} WHERE {{}} AND owner IS NULL")
        # Locked by a statement of their own, so that the one that counts sees the images of those it waited for; who
        # has added one and not counted it yet waits for this, and then adds it to the right number.
        lock = "SELECT count(*) FROM (SELECT 1 FROM blobs WHERE {} ORDER BY sha256 FOR NO KEY UPDATE) AS locked"
        _fill(connection.engine, "blobs", "sha256", lock, f"{_COUNT_BLOBS} WHERE {{}} AND images <> {_IMAGES_OF_BLOB}")
        run(*last)  # only now, since it changes the totals for each blob that gets its number
        run(_COUNT_TOTALS)
        for name, table, columns, where in _INDEXES:
            _create_index(name, table, columns, where)
        for name in _REPLACED:
            op.drop_index(name, "images", postgresql_concurrently=True, if_exists=True)
        op.execute("RESET statement_timeout")
        op.execute("RESET lock_timeout")


def _create_totals() -> None:
    totals = op.create_table(
        "totals",
        sa.Column("slot", sa.Integer, primary_key=True),
        *(
            sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
            for name in ("images", "bytes", "ladder_bytes", "damaged")
        ),
    )
    op.bulk_insert(totals, [{"slot": slot} for slot in range(_SLOTS)])


def _in_short(engine: sa.Engine, *statements: str, **parameters: str) -> None:
    """Execute statements in a transaction that waits for no lock for long, but tries again."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(_LOCK_SECONDS * 1000)}")
                for statement in statements:
                    connection.execute(sa.text(statement), parameters)
                return
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in _BUSY or time.monotonic() > end:
                raise
        time.sleep(_LOCK_SECONDS)


def _fill(engine: sa.Engine, table: str, key: str, *statements: str) -> None:
    """Execute statements for all rows, so many at a time, in the order of a column; `{}` stands for which ones."""
    page = f"SELECT {key} FROM {table} WHERE {key} > :after ORDER BY {key} LIMIT {_AT_ONCE}"  # noqa: S608
    after = ""
    while True:
        with engine.begin() as connection:
            connection.exec_driver_sql(_BY_INDEX)
            end = sa.text(f"SELECT max({key}) FROM ({page}) AS page")  # noqa: S608
            last = connection.execute(end, {"after": after}).scalar()
        if last is None:
            return
        which = f"{table}.{key} > :after AND {table}.{key} <= :last"
        _in_short(engine, _BY_INDEX, *(statement.format(which) for statement in statements), after=after, last=last)
        after = last


def _create_index(name: str, table: str, columns: list[str], where: Any) -> None:
    connection = op.get_bind()
    parameters = {"name": name}
    # Of a migration that was killed the database may still make it, or have left it half done.
    making = sa.text("SELECT 1 FROM pg_stat_progress_create_index WHERE index_relid = to_regclass(:name)")
    while connection.execute(making, parameters).first():
        time.sleep(_LOCK_SECONDS)
    half_done = sa.text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
    if connection.execute(half_done, parameters).first():
        op.drop_index(name, table, postgresql_concurrently=True)
    op.create_index(name, table, columns, postgresql_where=where, postgresql_concurrently=True, if_not_exists=True)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name in ("image_described", "label_described", "images_counted", "blobs_counted"):
            op.execute(f"DROP FUNCTION progimage_{name}() CASCADE")  # with its trigger
    else:
        for name in (
            "images_described", "labels_described", "images_added", "images_removed", "images_deleted",
            "blobs_changed", "blobs_added", "blobs_removed",
        ):  # fmt: skip
            op.execute(f"DROP TRIGGER {name}")
    for name, table, _, _ in reversed(_INDEXES):
        op.drop_index(name, table)
    for name, column in _REPLACED.items():
        op.create_index(name, "images", [column])
    op.drop_table("totals")
    for table, column in (
        ("blobs", "images"), ("labels", "uploaded_at"), ("labels", "owner"), ("images", "bytes"), ("images", "format"),
    ):  # fmt: skip
        op.drop_column(table, column)


def _sqlite_triggers() -> list[str]:
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


def _postgresql_triggers() -> list[list[str]]:
    """Return what makes each trigger, in place of one of the same name, if there is one."""
    slot = f"pg_backend_pid() % {_SLOTS}"
    described = """IF NEW.format IS NULL THEN
            SELECT format, bytes INTO NEW.format, NEW.bytes FROM blobs WHERE sha256 = NEW.sha256;
        END IF;
        RETURN NEW;"""
    label_described = """IF NEW.owner IS NULL THEN
            SELECT owner, uploaded_at INTO NEW.owner, NEW.uploaded_at FROM images WHERE reference = NEW.reference;
        END IF;
        RETURN NEW;"""
    counted = f"""IF TG_OP <> 'DELETE' THEN more := more + (NEW.deleted_at IS NULL)::int; END IF;
        IF TG_OP <> 'INSERT' THEN more := more - (OLD.deleted_at IS NULL)::int; END IF;
        IF TG_OP = 'INSERT' THEN UPDATE blobs SET images = images + 1 WHERE sha256 = NEW.sha256; END IF;
        IF TG_OP = 'DELETE' THEN UPDATE blobs SET images = images - 1 WHERE sha256 = OLD.sha256; END IF;
        IF more <> 0 THEN UPDATE totals SET images = images + more WHERE slot = {slot}; END IF;
        RETURN NULL;"""  # noqa: S608
    # The setting: a count of everything anew sums up the bytes itself.
    blobs_counted = f"""IF current_setting('progimage.counts_bytes', true) = 'off' THEN RETURN NULL; END IF;
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
        RETURN NULL;"""  # noqa: S608
    numbers = "DECLARE more bigint := 0; ladders bigint := 0; damages bigint := 0;"
    return [
        [
            f"CREATE OR REPLACE FUNCTION progimage_{function}() RETURNS trigger LANGUAGE plpgsql AS $$"
            f" {declared} BEGIN {body} END $$",
            f"DROP TRIGGER IF EXISTS {name} ON {table}",
            f"CREATE TRIGGER {name} {when} ON {table} FOR EACH ROW EXECUTE FUNCTION progimage_{function}()",
        ]
        for name, function, when, table, declared, body in (
            ("images_described", "image_described", "BEFORE INSERT", "images", "", described),
            ("labels_described", "label_described", "BEFORE INSERT", "labels", "", label_described),
            ("images_counted", "images_counted", "AFTER INSERT OR DELETE OR UPDATE OF deleted_at", "images",
             "DECLARE more bigint := 0;", counted),
            ("blobs_counted", "blobs_counted",
             "AFTER INSERT OR DELETE OR UPDATE OF images, bytes, ladder_bytes, damaged", "blobs", numbers,
             blobs_counted),
        )
    ]  # fmt: skip
