"""Alembic's entry: runs the migrations on the connection that `migrate` hands over."""

from alembic import context

from progimage.storage.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=True,  # some end a transaction before they are done
)
with context.begin_transaction():
    context.run_migrations()
