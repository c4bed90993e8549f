"""Owners, keys, the audit log; visibility, lifecycle and labels of images; what scrubbing found."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The audit log is append-only: a row is never changed, and it goes only when its time of retention is over, which is
# never before it is a day old.
_APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append-only'); END",
        "CREATE TRIGGER audit_stays_a_day BEFORE DELETE ON audit WHEN"
        " old.at > CAST(strftime('%s', 'now') AS INTEGER) - 86400 BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF TG_OP = 'UPDATE' OR old.at > extract(epoch from now()) - 86400 THEN"
        " RAISE EXCEPTION 'append-only'; END IF; RETURN old; END $$",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit"
        " FOR EACH ROW EXECUTE FUNCTION audit_append_only()",
    ),
}


def upgrade() -> None:
    connection = op.get_bind()
    op.add_column("blobs", sa.Column("format", sa.String(20), nullable=False, server_default=""))
    op.add_column("blobs", sa.Column("checked_at", sa.Float, nullable=False, server_default="0"))
    op.add_column("blobs", sa.Column("damaged", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("ix_blobs_checked_at", "blobs", ["checked_at"])
    for sha256, info in connection.execute(sa.text("SELECT sha256, info FROM blobs")).all():
        values = {"format": json.loads(info)["format"], "sha256": sha256}
        connection.execute(sa.text("UPDATE blobs SET format = :format WHERE sha256 = :sha256"), values)
    op.add_column("images", sa.Column("owner", sa.String(64), nullable=False, server_default="default"))
    op.add_column("images", sa.Column("visibility", sa.String(10)))
    op.add_column("images", sa.Column("expires_at", sa.Float))
    op.add_column("images", sa.Column("deleted_at", sa.Float))
    op.add_column("images", sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("images", sa.Column("metadata", sa.Text))
    op.create_index("ix_images_owner", "images", ["owner", "uploaded_at", "reference"])
    op.create_index("ix_images_expires_at", "images", ["expires_at"])
    op.create_index("ix_images_deleted_at", "images", ["deleted_at"])
    op.create_table(
        "labels",
        sa.Column("reference", sa.String(36), sa.ForeignKey("images.reference", ondelete="CASCADE"), primary_key=True),
        sa.Column("label", sa.String(100), primary_key=True),
    )
    op.create_index("ix_labels_label", "labels", ["label"])
    op.create_table(
        "owners",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("images", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("max_images", sa.BigInteger),
        sa.Column("max_bytes", sa.BigInteger),
        sa.Column("retention_seconds", sa.BigInteger),
    )
    connection.execute(
        sa.text(
            "INSERT INTO owners (owner, images, bytes) SELECT owner, count(*), sum(bytes) FROM images"
            " JOIN blobs ON blobs.sha256 = images.sha256 GROUP BY owner"
        )
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(100), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
    )
    op.create_index("ix_api_keys_owner", "api_keys", ["owner"])
    op.create_table(
        "used_tickets",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("expires_at", sa.Float, nullable=False),
    )
    op.create_index("ix_used_tickets_expires_at", "used_tickets", ["expires_at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("key_id", sa.String(16)),
        sa.Column("address", sa.String(64)),
        sa.Column("reference", sa.String(36)),
        sa.Column("detail", sa.Text, nullable=False, server_default="{}"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_reference", "audit", ["reference"])
    op.create_index("ix_audit_owner", "audit", ["owner", "id"])
    for statement in _APPEND_ONLY.get(connection.dialect.name, ()):
        connection.execute(sa.text(statement))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_append_only() CASCADE")
    for table in ("audit", "used_tickets", "api_keys", "owners", "labels"):
        op.drop_table(table)
    for index in ("ix_images_owner", "ix_images_expires_at", "ix_images_deleted_at"):
        op.drop_index(index, "images")
    for column in ("owner", "visibility", "expires_at", "deleted_at", "held", "metadata"):
        op.drop_column("images", column)
    op.drop_index("ix_blobs_checked_at", "blobs")
    for column in ("format", "checked_at", "damaged"):
        op.drop_column("blobs", column)
