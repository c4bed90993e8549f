"""The queue of jobs in a table of our own. What DBOS's tables hold is moved over by `progimage.jobs.adoption`."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(120), primary_key=True),
        sa.Column("parent", sa.String(120)),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("trace", sa.Text, nullable=False, server_default="{}"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease", sa.String(32)),
        sa.Column("due_at", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("problem", sa.Text),
    )
    is_open, is_ended, is_part = sa.text("due_at IS NOT NULL"), sa.text("due_at IS NULL"), sa.text("parent IS NOT NULL")
    _index("due", ["kind", "due_at", "id"], is_open)
    _index("ended", ["updated_at"], is_ended)
    _index("kind", ["kind", "state", "created_at", "id"])
    _index("owner", ["owner", "kind", "state", "created_at", "id"])
    _index("parent", ["parent", "id"], is_part)


def downgrade() -> None:
    op.drop_table("jobs")


def _index(name: str, columns: list[str], where: sa.TextClause | None = None) -> None:
    op.create_index(f"ix_jobs_{name}", "jobs", columns, sqlite_where=where, postgresql_where=where)
