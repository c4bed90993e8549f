"""The hashes of an original's chunks, by which a part of it is checked; those of before get theirs by scrubbing."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("blobs", sa.Column("chunks", sa.LargeBinary))


def downgrade() -> None:
    op.drop_column("blobs", "chunks")
