"""The highest time that the database has seen, which images are to be purged, and how many were in an hour."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("since_boot", sa.Float, nullable=False),
        sa.Column("wait_seconds", sa.Float, nullable=False, server_default="0"),
        sa.Column("jump_seconds", sa.Float, nullable=False, server_default="0"),
    )
    op.create_table(
        "purges",
        sa.Column("hour", sa.BigInteger, primary_key=True),
        sa.Column("images", sa.BigInteger, nullable=False),
    )
    op.add_column("images", sa.Column("purge_marked_at", sa.Float))  # migration 0012 makes its indexes


def downgrade() -> None:
    op.drop_column("images", "purge_marked_at")
    op.drop_table("purges")
    op.drop_table("clock")
