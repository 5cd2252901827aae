"""Run by Alembic: migrations go over the connection that ``collector.registers.store.migrate`` opened."""

from alembic import context

from collector.registers.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
