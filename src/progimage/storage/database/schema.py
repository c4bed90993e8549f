"""Tables of the database."""

import sqlalchemy as sa

metadata = sa.MetaData()
_unmarked = sa.text("deleted_at IS NOT NULL AND purge_marked_at IS NULL")

blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("format", sa.String(20), nullable=False, server_default=""),
    sa.Column("info", sa.Text, nullable=False),
    sa.Column("ladder", sa.Text),
    sa.Column("ladder_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("inspection", sa.Integer, nullable=False, server_default="0", index=True),
    sa.Column("stored", sa.Boolean, nullable=False),
    sa.Column("touched_at", sa.Float, nullable=False, index=True),
    sa.Column("checked_at", sa.Float, nullable=False, server_default="0", index=True),
    sa.Column("damaged", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("chunks", sa.LargeBinary),
    sa.Column("images", sa.BigInteger, nullable=False, server_default="0"),
)
images = sa.Table(
    "images",
    metadata,
    sa.Column("reference", sa.String(36), primary_key=True),
    sa.Column("sha256", sa.String(64), sa.ForeignKey("blobs.sha256"), nullable=False, index=True),
    sa.Column("owner", sa.String(64), nullable=False, server_default="default"),
    sa.Column("filename", sa.Text),
    sa.Column("uploaded_at", sa.Float, nullable=False),
    sa.Column("visibility", sa.String(10)),
    sa.Column("expires_at", sa.Float),
    sa.Column("deleted_at", sa.Float),
    sa.Column("purge_marked_at", sa.Float),
    sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("metadata", sa.Text),
    # Copied from the blob, for an index together with the owner.
    sa.Column("format", sa.String(20)),
    sa.Column("bytes", sa.BigInteger),
    sa.Index("ix_images_owner", "owner", "uploaded_at", "reference"),
    sa.Index("ix_images_unmarked", "purge_marked_at", "deleted_at", sqlite_where=_unmarked, postgresql_where=_unmarked),
)
labels = sa.Table(
    "labels",
    metadata,
    sa.Column("reference", sa.String(36), sa.ForeignKey("images.reference", ondelete="CASCADE"), primary_key=True),
    sa.Column("label", sa.String(100), primary_key=True, index=True),
    # Copied from the image, for the same reason.
    sa.Column("owner", sa.String(64)),
    sa.Column("uploaded_at", sa.Float),
)
totals = sa.Table(
    "totals",
    metadata,
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("images", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("ladder_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("damaged", sa.BigInteger, nullable=False, server_default="0"),
)
owners = sa.Table(
    "owners",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("images", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("max_images", sa.BigInteger),
    sa.Column("max_bytes", sa.BigInteger),
    sa.Column("retention_seconds", sa.BigInteger),
)
# The usage of an owner is the sum of its row above and these rows.
owner_totals = sa.Table(
    "owner_totals",
    metadata,
    sa.Column("owner", sa.String(64), primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("images", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
)
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("owner", sa.String(64), nullable=False, index=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("scopes", sa.String(100), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("revoked_at", sa.Float),
)
used_tickets = sa.Table(
    "used_tickets",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("expires_at", sa.Float, nullable=False, index=True),
)
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("owner", sa.String(64)),
    sa.Column("key_id", sa.String(16)),
    sa.Column("address", sa.String(64)),
    sa.Column("reference", sa.String(36), index=True),
    sa.Column("detail", sa.Text, nullable=False, server_default="{}"),
    sa.Index("ix_audit_owner", "owner", "id"),
)
clock = sa.Table(
    "clock",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Column("boot_id", sa.String(64), nullable=False),
    sa.Column("since_boot", sa.Float, nullable=False),
    sa.Column("wait_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("jump_seconds", sa.Float, nullable=False, server_default="0"),
)
purges = sa.Table(
    "purges",
    metadata,
    sa.Column("hour", sa.BigInteger, primary_key=True),
    sa.Column("images", sa.BigInteger, nullable=False),
)
deployment = sa.Table(
    "deployment",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True),
    sa.Column("id", sa.String(36), nullable=False),
    sa.Column("second_store", sa.Boolean, nullable=False, server_default=sa.false()),
)
backups = sa.Table(
    "backups",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("holds_until", sa.Float, nullable=False),
)
executors = sa.Table(
    "executors",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("seen_at", sa.Float, nullable=False),
)
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(120), primary_key=True),
    sa.Column("parent", sa.String(120)),  # ID of the larger job that this is a part of
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("owner", sa.String(64), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("trace", sa.Text, nullable=False, server_default="{}"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("lease", sa.String(32)),
    # When it may be claimed: next attempt of a waiting job, end of the lease of a running one; otherwise null.
    sa.Column("due_at", sa.Float),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("updated_at", sa.Float, nullable=False),
    sa.Column("result", sa.Text),
    sa.Column("problem", sa.Text),
)
for _name, _columns, _where in (
    ("due", (jobs.c.kind, jobs.c.due_at, jobs.c.id), jobs.c.due_at.is_not(None)),
    ("ended", (jobs.c.updated_at,), jobs.c.due_at.is_(None)),
    ("kind", (jobs.c.kind, jobs.c.state, jobs.c.created_at, jobs.c.id), None),
    ("owner", (jobs.c.owner, jobs.c.kind, jobs.c.state, jobs.c.created_at, jobs.c.id), None),
    ("parent", (jobs.c.parent, jobs.c.id), jobs.c.parent.is_not(None)),
):
    sa.Index(f"ix_jobs_{_name}", *_columns, sqlite_where=_where, postgresql_where=_where)
