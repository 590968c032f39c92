"""What Alembic runs for every command: the connection comes from scanner/store/migrate.py."""

from alembic import context

from scanner.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot ALTER much: the table is copied instead
)
with context.begin_transaction():
    context.run_migrations()
