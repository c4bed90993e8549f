"""The ladder of a blob: its smaller copies."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("blobs", sa.Column("ladder", sa.Text))
    op.add_column("blobs", sa.Column("ladder_bytes", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("blobs", "ladder_bytes")
    op.drop_column("blobs", "ladder")
