"""Entry point of Alembic: runs the migrations on the connection from `migrate`."""

from alembic import context

from progimage.storage.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=True,  # some migrations commit before they are finished
)
with context.begin_transaction():
    context.run_migrations()
