"""The backups that are being made, for which no bytes are removed."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backups",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("holds_until", sa.Float, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("backups")
