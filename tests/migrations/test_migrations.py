"""Migrations make exactly what the models say, and go both ways with data in place."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from calreg.db import engine
from calreg.db.bulk import fetch_columns
from calreg.db.engine import (
    Database,
    SchemaStatus,
    init_database,
    migrate_database,
    open_database,
    schema_state,
    upgrade_database,
)
from calreg.db.engines.base import Access
from calreg.db.health import check_database
from calreg.db.schema import Base
from calreg.errors import ConflictError, DatabaseError, SchemaOutdatedError
from support.registryrows import add_pairs, refused_write

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD = engine.head_revision()
NEXT = f"{int(HEAD) + 1:04d}"
DOWNWARDS = [f"{number:04d}" for number in range(int(HEAD), 0, -1)]
"""All revisions, newest first."""

NEXT_REVISION = f'''
"""Rename a column of a parent table and add one that must not be empty."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade():
    with op.batch_alter_table("catalogs") as batch:
        batch.alter_column("software", new_column_name="program")
        batch.add_column(sa.Column("maker", sa.Text(), nullable=False, server_default="old"))
    with op.batch_alter_table("catalogs") as batch:
        batch.alter_column("maker", server_default=None)


def downgrade():
    with op.batch_alter_table("catalogs") as batch:
        batch.drop_column("maker")
        batch.alter_column("program", new_column_name="software")
'''

BAD_REVISION = f'''
"""Lose the parents of rows, which must not pass."""

from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade():
    op.execute("DELETE FROM catalogs")


def downgrade():
    pass
'''  # noqa: S608  # a revision, not a query


@pytest.fixture
def later_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a copy of the migrations, to which a test may add; return its folder of revisions."""
    folder = tmp_path / "100% migrations"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(engine.migrations_folder(), folder, ignore=ignore)
    monkeypatch.setattr(engine, "migrations_folder", lambda: folder)
    return folder / "versions"


def all_rows(database: Database) -> dict[str, dict[str, np.ndarray]]:
    """Return the whole content of a registry."""
    with database.read() as connection:
        return {
            table.name: fetch_columns(
                connection, sa.select(table).order_by(*table.primary_key.columns)
            )
            for table in Base.metadata.sorted_tables
            if "merged_into_id" not in table.c
        }


def assert_equal_rows(
    found: Mapping[str, Mapping[str, np.ndarray]], expected: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    assert found.keys() == expected.keys()
    for table, columns in expected.items():
        for name, values in columns.items():
            np.testing.assert_array_equal(found[table][name], values, err_msg=f"{table}.{name}")


def structure(connection: sa.Connection) -> dict[str, str]:
    """Return all that the engine knows of tables, constraints, indexes and comments."""
    if connection.dialect.name == "sqlite":
        statement = "SELECT type || ' ' || name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    else:
        statement = """
            SELECT 'constraint ' || conrelid::regclass || '.' || conname,
                   pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
            UNION ALL SELECT 'index ' || indexname, indexdef FROM pg_indexes
            WHERE schemaname = 'public'
            UNION ALL SELECT 'column ' || table_name || '.' || ordinal_position,
                   concat_ws(' ', column_name, data_type, is_nullable, column_default,
                             col_description(table_name::regclass, ordinal_position))
            FROM information_schema.columns WHERE table_schema = 'public'
        """
    rows = connection.exec_driver_sql(statement).all()
    return {name: " ".join(text.split()) for name, text in rows if "calreg_version" not in name}


def test_models_equal_head(database: Database) -> None:
    with database.read() as connection:
        options = {"compare_type": True, "version_table": engine.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_models_and_head_make_the_same_database(database: Database, empty_db_url: str) -> None:
    # Alembic compares neither CHECKs nor the order of columns; the engine's own words do.
    if empty_db_url == database.url:
        pytest.fail("the two databases are one")
    with Database(empty_db_url, Access.CREATE) as made, made.write() as connection:
        Base.metadata.create_all(connection)
        expected = structure(connection)
    with database.read() as connection:
        found = structure(connection)
    assert len(expected) > 100 or connection.dialect.name == "sqlite"
    assert {name: _ordered(text) for name, text in found.items()} == {
        name: _ordered(text) for name, text in expected.items()
    }


def _ordered(text: str) -> tuple[str, list[str]]:
    """Return a CREATE TABLE with its constraints sorted: their order means nothing.

    SQLite puts the name of a table that was rebuilt in quotes.
    """
    text = re.sub(r'^CREATE TABLE "(\w+)"', r"CREATE TABLE \1", text)
    body = re.sub(r"\s*\)( WITHOUT ROWID)?$", "", text)
    head, *constraints = body.split(", CONSTRAINT ")
    return head + text[len(body) :], sorted(constraints)


def test_up_down_up_with_data_in_place(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        add_pairs(connection, 20)
    assert migrate_database(db_url, "base") == DOWNWARDS
    assert schema_state(db_url).status is SchemaStatus.UNINITIALISED
    with open_database(db_url, check_schema=False) as database, database.read() as connection:
        assert sa.inspect(connection).get_table_names() == [engine.VERSION_TABLE]
    assert init_database(db_url).created
    with open_database(db_url) as database:
        with database.write() as connection:
            add_pairs(connection, 20)
        with database.read() as connection:
            assert check_database(connection) == []


def test_a_rebuilt_parent_keeps_its_children_both_ways(db_url: str, later_migrations: Path) -> None:
    with open_database(db_url) as database:
        with database.write() as connection:
            add_pairs(connection, 20)
        before = all_rows(database)
    (later_migrations / f"{NEXT}_next.py").write_text(NEXT_REVISION)

    with pytest.raises(SchemaOutdatedError, match=rf"{HEAD}.*{NEXT}.*db upgrade"):
        open_database(db_url)
    outcome = upgrade_database(db_url)
    assert (outcome.before, outcome.after) == (HEAD, NEXT)
    with open_database(db_url) as database, database.read() as connection:
        rows = connection.exec_driver_sql("SELECT program, maker FROM catalogs").all()
        assert rows == [("", "old"), ("", "old")]
        n_children = connection.exec_driver_sql("SELECT count(*) FROM detections").scalar()
        assert n_children == len(before["detections"]["number"]) == 40

    assert migrate_database(db_url, HEAD) == [NEXT]
    with open_database(db_url, check_schema=False) as database:
        assert_equal_rows(all_rows(database), before)
        # Foreign keys are back on.
        with refused_write(database, ConflictError, "(?i)foreign key") as connection:
            connection.exec_driver_sql("DELETE FROM catalogs")


def test_a_migration_that_orphans_rows_is_undone(db_url: str, later_migrations: Path) -> None:
    with open_database(db_url) as database:
        with database.write() as connection:
            add_pairs(connection, 5)
        before = all_rows(database)
    (later_migrations / f"{NEXT}_bad.py").write_text(BAD_REVISION)
    # PostgreSQL refuses the statement, SQLite's check comes at the end.
    with pytest.raises((ConflictError, DatabaseError), match=r"row of catalogs|foreign key"):
        upgrade_database(db_url)
    with open_database(db_url, check_schema=False) as database:
        assert_equal_rows(all_rows(database), before)
    assert schema_state(db_url).current == HEAD


def test_head_is_what_alembic_says() -> None:
    config = Config()
    config.set_main_option("script_location", str(engine.migrations_folder()))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [engine.head_revision()]
    # `SchemaState` compares revisions as text, and files are found by their first four characters.
    for revision in script.walk_revisions():
        assert re.fullmatch(r"\d{4}", revision.revision)
        assert Path(revision.path).name.startswith(f"{revision.revision}_")


def test_migrations_do_not_import_the_models() -> None:
    for path in engine.migrations_folder().rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{item.name}" for item in node.names)]
            assert not [name for name in names if name.startswith("calreg.db.schema")], path


def test_an_installation_without_migrations_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "migrations_folder", lambda: tmp_path)
    with pytest.raises(DatabaseError, match=r"no migrations.*install calreg again"):
        engine.head_revision()
