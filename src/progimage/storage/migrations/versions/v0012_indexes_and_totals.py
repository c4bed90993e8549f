"""An index for each query, and totals that the database counts, whichever version of the service changes rows."""

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
_REPLACED = {"ix_images_deleted_at": "deleted_at", "ix_images_expires_at": "expires_at",
             "ix_images_purge_marked_at": "purge_marked_at"}  # fmt: skip
_INDEXES = (
    *(
        (f"ix_images_with_{column}", "images", [column], sa.text(f"{column} IS NOT NULL"))
        for column in _REPLACED.values()
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


def upgrade() -> None:
    connection = op.get_bind()
    is_postgresql = connection.dialect.name == "postgresql"
    if is_postgresql:
        op.execute("SET LOCAL statement_timeout = 0")  # a million rows take a minute
    op.add_column("images", sa.Column("format", sa.String(20)))
    op.add_column("images", sa.Column("bytes", sa.BigInteger))
    op.add_column("labels", sa.Column("owner", sa.String(64)))
    op.add_column("labels", sa.Column("uploaded_at", sa.Float))
    op.add_column("blobs", sa.Column("images", sa.BigInteger, nullable=False, server_default="0"))
    totals = op.create_table(
        "totals",
        sa.Column("slot", sa.Integer, primary_key=True),
        *(
            sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
            for name in ("images", "bytes", "ladder_bytes", "damaged")
        ),
    )
    op.bulk_insert(totals, [{"slot": slot} for slot in range(_SLOTS)])
    op.execute(
        "UPDATE images SET format = (SELECT format FROM blobs WHERE blobs.sha256 = images.sha256),"
        " bytes = (SELECT bytes FROM blobs WHERE blobs.sha256 = images.sha256)"
    )
    op.execute(
        "UPDATE labels SET owner = (SELECT owner FROM images WHERE images.reference = labels.reference),"
        " uploaded_at = (SELECT uploaded_at FROM images WHERE images.reference = labels.reference)"
    )
    op.execute("UPDATE blobs SET images = (SELECT count(*) FROM images WHERE images.sha256 = blobs.sha256)")
    op.execute(
        "UPDATE totals SET images = (SELECT count(*) FROM images WHERE deleted_at IS NULL),"
        " bytes = (SELECT coalesce(sum(bytes), 0) FROM blobs WHERE images > 0),"
        " ladder_bytes = (SELECT coalesce(sum(ladder_bytes), 0) FROM blobs WHERE images > 0),"
        " damaged = (SELECT count(*) FROM blobs WHERE damaged) WHERE slot = 0"
    )
    for name in _REPLACED:
        op.drop_index(name, "images")
    for name, table, columns, where in _INDEXES:
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    for statement in _postgresql_triggers() if is_postgresql else _sqlite_triggers():
        op.execute(statement)


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


def _postgresql_triggers() -> list[str]:
    slot = f"pg_backend_pid() % {_SLOTS}"
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
