"""Run migrations on the connection that calreg.db.engine hands over, in one transaction.

This file knows the engines and not the tables: migrations never import `calreg.db.schema`.
"""

from __future__ import annotations

from alembic import context

from calreg.db.engines.choose import dialect_of

options = context.config.attributes
connection = options["connection"]
dialect = dialect_of(connection)
wait_s = options["write_wait_s"]

# Foreign keys go off first, while there is no transaction: inside one SQLite ignores the pragma.
with dialect.migrating(connection, wait_s), connection.begin():
    # The write lock is taken before the revision is read, so that two processes that initialise
    # the same database do not both make the tables.
    dialect.begin_write(connection, wait_s)
    context.configure(
        connection=connection,
        version_table=options["version_table"],
        on_version_apply=options["on_version_apply"],
        # SQLite changes tables by rebuilding them.
        render_as_batch=True,
    )
    context.run_migrations()
    dialect.check_foreign_keys(connection)
