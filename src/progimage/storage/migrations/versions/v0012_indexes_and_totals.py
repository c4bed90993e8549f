"""An index for each query, and totals that the database counts, whichever version of the service changes rows."""

import sqlalchemy as sa
from alembic import op

from progimage.storage.totals import SLOTS, TRIGGERS, UNDONE

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

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
    op.bulk_insert(totals, [{"slot": slot} for slot in range(SLOTS)])
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
    for statement in TRIGGERS["postgresql" if is_postgresql else "sqlite"]:
        op.execute(statement)


def downgrade() -> None:
    for statement in UNDONE["postgresql" if op.get_bind().dialect.name == "postgresql" else "sqlite"]:
        op.execute(statement)
    for name, table, _, _ in reversed(_INDEXES):
        op.drop_index(name, table)
    for name, column in _REPLACED.items():
        op.create_index(name, "images", [column])
    op.drop_table("totals")
    for table, column in (
        ("blobs", "images"), ("labels", "uploaded_at"), ("labels", "owner"), ("images", "bytes"), ("images", "format"),
    ):  # fmt: skip
        op.drop_column(table, column)
