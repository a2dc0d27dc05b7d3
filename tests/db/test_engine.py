"""Opening a registry, its transactions, and every way in which opening can fail."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg.db import engine
from calreg.db.bulk import insert_columns, insert_rows
from calreg.db.engine import (
    Database,
    InitOutcome,
    SchemaStatus,
    init_database,
    open_database,
    schema_state,
    upgrade_database,
)
from calreg.db.engines.base import Access
from calreg.db.schema import PmapRow
from calreg.errors import (
    CalregError,
    ConflictError,
    DatabaseError,
    DatabaseUnreachableError,
    InvalidValueError,
    MissingExtraError,
    SchemaForeignError,
    SchemaNewerError,
    SchemaOutdatedError,
    SchemaUninitialisedError,
)
from support.registryrows import refused_write

if TYPE_CHECKING:
    from pathlib import Path


def insert_pmap(connection: sa.Connection, number: int) -> None:
    insert_rows(connection, PmapRow, [{"name": f"jwst_{number:04d}.pmap", "number": number}])


def pmap_numbers(database: Database) -> list[int]:
    with database.read() as connection:
        return list(
            connection.execute(sa.select(PmapRow.number).order_by(PmapRow.number)).scalars()
        )


def set_revision(url: str, revision: str) -> None:
    with open_database(url, check_schema=False) as database, database.write() as connection:
        table = sa.table(engine.VERSION_TABLE, sa.column("version_num"))
        connection.execute(sa.update(table).values(version_num=revision))


def make_foreign_table(url: str) -> None:
    with engine.Database(url, Access.CREATE) as database, database.write() as connection:
        connection.execute(sa.text("CREATE TABLE recipes (id INTEGER PRIMARY KEY)"))


# --- transactions -------------------------------------------------------------------------------


def test_write_is_committed_at_the_end(database: Database) -> None:
    with database.write() as connection:
        insert_pmap(connection, 1130)
    assert pmap_numbers(database) == [1130]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_write_is_rolled_back_by_any_exception(
    database: Database, error: type[BaseException]
) -> None:
    with pytest.raises(error), database.write() as connection:  # noqa: PT012  # both must go
        insert_pmap(connection, 1130)
        raise error
    assert pmap_numbers(database) == []


def test_bulk_insert_is_rolled_back_with_its_transaction(database: Database) -> None:
    with refused_write(database, ConflictError) as connection:
        insert_columns(connection, PmapRow, {"name": "a", "number": 1})
        insert_columns(connection, PmapRow, {"name": "b", "number": -1})
    assert pmap_numbers(database) == []


def test_the_database_is_usable_after_a_failed_transaction(database: Database) -> None:
    with pytest.raises(ConflictError), database.write() as connection:
        insert_pmap(connection, -1)
    with database.write() as connection:
        insert_pmap(connection, 1130)
    assert pmap_numbers(database) == [1130]


def test_read_sees_one_state_while_another_commits(database: Database) -> None:
    with database.write() as connection:
        insert_pmap(connection, 1)
    statement = sa.select(sa.func.count()).select_from(PmapRow)
    with database.read() as reader:
        before = reader.execute(statement).scalar_one()
        with database.write() as writer:
            insert_pmap(writer, 2)
        during = reader.execute(statement).scalar_one()
    assert (before, during, pmap_numbers(database)) == (1, 1, [1, 2])


def test_uncommitted_rows_are_not_seen_by_others(database: Database) -> None:
    with database.write() as connection:
        insert_pmap(connection, 1130)
        assert pmap_numbers(database) == []


def test_read_refuses_to_write(database: Database) -> None:
    with (
        pytest.raises(DatabaseError, match=r"read-?only"),
        database.read() as connection,
    ):
        insert_pmap(connection, 1130)
    assert pmap_numbers(database) == []
    with database.write() as connection:  # The refusal does not outlast its transaction.
        insert_pmap(connection, 1130)


def test_read_only_database_refuses_to_write(db_url: str) -> None:
    with open_database(db_url, read_only=True) as database:
        assert pmap_numbers(database) == []
        with pytest.raises(DatabaseError, match="reading only"), database.write():
            pass


def test_errors_of_the_driver_keep_their_cause(database: Database) -> None:
    with (
        pytest.raises(DatabaseError, match="no_such_table") as caught,
        database.read() as connection,
    ):
        connection.execute(sa.text("SELECT * FROM no_such_table"))
    assert isinstance(caught.value.__cause__, sa.exc.DBAPIError)
    assert "\n" not in str(caught.value)


def interrupt_with_failing_cleanup(connection: sa.Connection) -> None:
    try:
        raise KeyboardInterrupt
    finally:
        connection.execute(sa.text("SELECT * FROM no_such_table"))


def test_ctrl_c_is_not_covered_by_an_error_of_the_driver(database: Database) -> None:
    with pytest.raises(KeyboardInterrupt), database.read() as connection:
        interrupt_with_failing_cleanup(connection)


def test_errors_of_ours_pass_unchanged(database: Database) -> None:
    with pytest.raises(InvalidValueError, match="mine"), database.write():
        raise InvalidValueError("mine")


def test_closed_database_opens_again(database: Database) -> None:
    database.close()
    assert pmap_numbers(database) == []


def test_sqlite_connections_obey_the_pragmas(sqlite_template: Path) -> None:
    with open_database(str(sqlite_template)) as database, database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("foreign_keys", "journal_mode", "synchronous", "trusted_schema")
        }
    # synchronous 2 is FULL.
    assert found == {
        "foreign_keys": 1,
        "journal_mode": "wal",
        "synchronous": 2,
        "trusted_schema": 0,
    }


def test_idle_sqlite_registry_is_one_file(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.sqlite"
    path.write_bytes(sqlite_template.read_bytes())
    with open_database(str(path)) as database, database.write() as connection:
        insert_pmap(connection, 1130)
    assert [found.name for found in tmp_path.iterdir()] == ["one.sqlite"]


# --- initialise and upgrade ---------------------------------------------------------------------


def test_init_makes_a_registry_and_says_so(empty_db_url: str) -> None:
    head = engine.head_revision()
    assert init_database(empty_db_url) == InitOutcome(created=True, revision=head)
    assert schema_state(empty_db_url).status is SchemaStatus.CURRENT


def test_init_twice_changes_nothing_and_says_so(db_url: str) -> None:
    with open_database(db_url) as database, database.write() as connection:
        insert_pmap(connection, 1130)
    assert init_database(db_url) == InitOutcome(created=False, revision=engine.head_revision())
    with open_database(db_url) as database:
        assert pmap_numbers(database) == [1130]


def test_init_refuses_a_foreign_database(empty_db_url: str) -> None:
    make_foreign_table(empty_db_url)
    with pytest.raises(SchemaForeignError, match="another program"):
        init_database(empty_db_url)
    with open_database(empty_db_url, check_schema=False) as database, database.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["recipes"]


def test_init_in_a_missing_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreachableError, match="folder"):
        init_database(str(tmp_path / "missing" / "calreg.sqlite"))


def test_upgrade_of_a_current_database_does_nothing(db_url: str) -> None:
    outcome = upgrade_database(db_url)
    assert outcome.before == outcome.after == engine.head_revision()


def test_upgrade_of_an_empty_database_is_refused(empty_db_url: str) -> None:
    with pytest.raises(SchemaUninitialisedError, match="db init"):
        upgrade_database(empty_db_url)


# --- every error of opening ---------------------------------------------------------------------


def test_opening_an_empty_database_names_init(empty_db_url: str) -> None:
    with pytest.raises(SchemaUninitialisedError, match="db init"):
        open_database(empty_db_url)


def test_opening_a_missing_file_does_not_make_it(tmp_path: Path) -> None:
    path = tmp_path / "calreg.sqlite"
    for call in (open_database, schema_state, upgrade_database):
        with pytest.raises(SchemaUninitialisedError, match=r"there is no database .*db init"):
            call(str(path))
    assert not path.exists()


def test_opening_an_empty_file_names_init(tmp_path: Path) -> None:
    path = tmp_path / "calreg.sqlite"
    path.touch()
    with pytest.raises(SchemaUninitialisedError, match=r"has no tables yet: .*db init"):
        open_database(str(path))


def test_opening_an_outdated_database_names_upgrade(db_url: str) -> None:
    set_revision(db_url, "0000")
    with pytest.raises(SchemaOutdatedError, match=r"older calreg.*db upgrade"):
        open_database(db_url)
    with pytest.raises(SchemaOutdatedError, match="db upgrade"):
        init_database(db_url)


def test_opening_a_newer_database_names_the_upgrade_of_calreg(db_url: str) -> None:
    set_revision(db_url, "9999")
    for call in (open_database, init_database, upgrade_database):
        with pytest.raises(SchemaNewerError, match=r"newer calreg.*pip install --upgrade calreg"):
            call(db_url)


def test_opening_a_foreign_database_names_the_option(empty_db_url: str) -> None:
    make_foreign_table(empty_db_url)
    for call in (open_database, upgrade_database):
        with pytest.raises(SchemaForeignError, match=r"another program.*--db"):
            call(empty_db_url)


def test_opening_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    path.write_bytes(b"SIMPLE  =                    T".ljust(2880))
    for call in (open_database, init_database, schema_state):
        with pytest.raises(SchemaForeignError, match="not a SQLite database"):
            call(str(path))
    assert path.read_bytes().startswith(b"SIMPLE")


def test_opening_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreachableError, match="is a folder"):
        open_database(str(tmp_path))


@pytest.mark.postgres
def test_opening_a_server_that_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreachableError, match="cannot be reached") as caught:
        open_database(f"postgresql://someone:secret@/calreg?host={tmp_path}")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.postgres
@pytest.mark.parametrize("db_engine", ["postgresql"], indirect=True)
def test_opening_a_database_that_does_not_exist(db_url: str) -> None:
    url = sa.make_url(db_url).set(database="calreg_missing")
    with pytest.raises(DatabaseUnreachableError, match=r"calreg_missing.*createdb"):
        open_database(url.render_as_string(hide_password=False))


@pytest.mark.parametrize(
    "url",
    [
        "",
        ":memory:",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://host/calreg",
        "://",
        "sqlite:///a?b=c",
    ],
)
def test_urls_that_cannot_hold_a_registry(url: str) -> None:
    with pytest.raises(InvalidValueError):
        open_database(url)


def test_a_plain_path_is_a_sqlite_file(
    sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sqlite_template.parent)
    with open_database(sqlite_template.name) as database:
        monkeypatch.chdir(sqlite_template.parent.parent)  # A relative path stays where it was.
        assert pmap_numbers(database) == []
        assert database.url == "sqlite:///template.sqlite"


def test_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'calreg[postgres]'")):
        open_database("postgresql://localhost/calreg")


def test_default_url_is_the_variable_then_a_file_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CALREG_DB", raising=False)
    assert engine.default_url() == "sqlite:///calreg.sqlite"
    monkeypatch.setenv("CALREG_DB", "postgresql://host/calreg")
    assert engine.default_url() == "postgresql://host/calreg"


def test_messages_show_no_password(tmp_path: Path) -> None:
    url = f"postgresql://me:pa55@/x?host={tmp_path}&password=pa55&sslpassword=pa55"
    with pytest.raises(DatabaseUnreachableError) as caught:
        init_database(url)
    shown = "".join(str(error) for error in (caught.value, engine.Database(url, Access.READ).url))
    assert "pa55" not in shown


def test_suggested_command_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    path = tmp_path / "it's a name; with $signs.sqlite"
    with pytest.raises(SchemaUninitialisedError) as caught:
        open_database(str(path))
    command = re.findall("`(.*)`", str(caught.value))[0]
    assert shlex.split(command)[-2:] == ["db", "init"]
    assert init_database(shlex.split(command)[2]).created
    open_database(str(path)).close()


def test_damaged_file_is_reported_in_one_line(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.sqlite"
    content = bytearray(sqlite_template.read_bytes())
    content[4096:] = os.urandom(16) * ((len(content) - 4096) // 16)
    path.write_bytes(content)
    with pytest.raises(CalregError) as caught, open_database(str(path)) as database:
        pmap_numbers(database)
    assert "\n" not in str(caught.value)


def test_registry_is_readable_with_the_standard_library_alone(sqlite_template: Path) -> None:
    with closing(sqlite3.connect(sqlite_template)) as connection:
        revision = connection.execute("SELECT version_num FROM calreg_version").fetchall()
    assert revision == [(engine.head_revision(),)]
