"""How Alembic runs our migrations: inside the transaction that `store.migrate` (or a test) opened."""  # noqa: INP001

from alembic import context

from opaque_jobs.store.session import VERSION_TABLE
from opaque_jobs.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=False,
    render_as_batch=True,
)
context.run_migrations()
