"""What an owner has, counted in several rows, so that its uploads don't wait for one another."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "owner_totals",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True),
        sa.Column("images", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
    )


def downgrade() -> None:
    for name in ("images", "bytes"):
        op.execute(
            f"UPDATE owners SET {name} = {name} + coalesce("  # noqa: S608
            f"(SELECT sum({name}) FROM owner_totals WHERE owner_totals.owner = owners.owner), 0)"
        )
    op.drop_table("owner_totals")
