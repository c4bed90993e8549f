"""By which version of the rules an image was described and its ladder made; those of older ones are made anew."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("blobs", sa.Column("inspection", sa.Integer, nullable=False, server_default="0"))
    op.create_index("ix_blobs_inspection", "blobs", ["inspection"])


def downgrade() -> None:
    op.drop_index("ix_blobs_inspection", "blobs")
    op.drop_column("blobs", "inspection")
