"""Alembic's entry: it runs on the connection, inside the transaction, that ``catalog.database`` gives it."""

from alembic import context

from pgwitness.catalog.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
