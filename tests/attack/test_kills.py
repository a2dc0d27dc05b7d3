"""Every command that writes, killed at its moments: the registry is sound, files are whole.

`ingest`, `mosaic`, `apply` and `undo` are killed in `tests/ingest`, `tests/pixels` and
`tests/apply`.
"""

from __future__ import annotations

import random
import shutil
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from calreg import Registry
from calreg.db import engine
from calreg.db.engine import init_database, open_database, schema_state, upgrade_database
from calreg.db.health import check_database
from support import applyworkers, ingestworkers
from support.writingcommands import COMMANDS, prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.applyworkers import Moment
    from support.programmes import Prepared

KILLED = -signal.SIGKILL
N_BETWEEN = 1
"""Kills between the first and the last moment of a kind."""


def chosen(moments: list[Moment], generator: random.Random) -> list[Moment]:
    """Return the first and the last moment of every kind, and a few between them."""
    by_kind: dict[str, list[Moment]] = {}
    for moment in moments:
        by_kind.setdefault(moment[0], []).append(moment)
    found: list[Moment] = []
    for alike in by_kind.values():
        between = generator.sample(alike[1:-1], min(N_BETWEEN, len(alike[1:-1])))
        found += dict.fromkeys((alike[0], *between, alike[-1]))
    return sorted(found)


def moments_of(
    work: Callable[[str, list[Path]], None], url: str, paths: list[Path]
) -> list[Moment]:
    """Work in this process; return its moments."""
    found: list[Moment] = []
    stop = applyworkers.watch(found.append)
    try:
        work(url, paths)
    finally:
        stop()
    return found


def settled_rows(url: str) -> dict[str, int]:
    """Count the rows, once no transaction of a killed process is left on the server."""
    with open_database(url) as database, database.write():
        pass
    with Registry(url) as registry:
        return registry.stats().n_rows


def visible(folder: Path) -> dict[str, int]:
    """Return the files of a folder with their sizes; hidden ones are a killed process's."""
    return {
        path.name: path.stat().st_size
        for path in folder.iterdir()
        if not path.name.startswith(".calreg-")
    }


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_killed_at_any_moment(
    command: Callable[[str, list[Path]], None], small: Prepared, tmp_path: Path
) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    out.mkdir()
    with small.copy(tmp_path) as url:
        prepare(url, given)
    with small.copy(tmp_path) as url:
        before = settled_rows(url)
        moments = moments_of(command, url, [given, out])
        after, files = settled_rows(url), visible(out)
    assert ("commit", 1) in moments
    for number, moment in enumerate(chosen(moments, random.Random(command.__name__))):  # noqa: S311
        with small.copy(tmp_path) as url:
            out = tmp_path / f"out{number}"
            out.mkdir()
            status = applyworkers.run_killed(url, [given, out], moment, command)
            assert status == KILLED, moment
            found = settled_rows(url)
            assert all(before[name] <= n <= after[name] for name, n in found.items()), moment
            with Registry(url) as registry:
                assert registry.check() == [], moment
            left = visible(out)
            assert left.keys() <= files.keys()
            command(url, [given, out])
            again = visible(out)
            assert again.keys() == files.keys()
            # Whole, if not the same to the byte: a file says when it was made.
            assert all(abs(size - again[name]) < 200 for name, size in left.items()), moment
            assert settled_rows(url) == after, moment
            with Registry(url) as registry:
                assert registry.check() == [], moment


# --- the schema -----------------------------------------------------------------------------------

NEXT = f"{int(engine.head_revision()) + 1:04d}"
NEXT_REVISION = f'''
"""Rename a column of a parent table, and add another one."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{engine.head_revision()}"


def upgrade():
    with op.batch_alter_table("catalogs") as batch:
        batch.alter_column("software", new_column_name="program")
    with op.batch_alter_table("exposures") as batch:
        batch.add_column(sa.Column("maker", sa.Text(), nullable=True))


def downgrade():
    pass
'''


def later_migrations(folder: Path) -> Path:
    """Write the migrations with one more; return their folder."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(engine.migrations_folder(), folder, ignore=ignore)
    (folder / "versions" / f"{NEXT}_next.py").write_text(NEXT_REVISION)
    return folder


def upgrade(migrations: Path, url: str, paths: list[Path]) -> None:
    """Bring a registry to a schema that is newer than the newest."""
    del paths
    before = engine.migrations_folder
    engine.migrations_folder = lambda: migrations
    try:
        upgrade_database(url)
    finally:
        engine.migrations_folder = before


def initialise(url: str, paths: list[Path]) -> None:
    """Make the tables."""
    del paths
    init_database(url)


def columns(url: str) -> set[str]:
    """Return the columns of the tables that the migration changes."""
    with open_database(url, check_schema=False) as database:
        with database.write():
            pass
        with database.read() as connection:
            inspector = sa.inspect(connection)
            return {
                f"{table}.{column['name']}"
                for table in ("catalogs", "exposures")
                for column in inspector.get_columns(table)
            }


@pytest.mark.slow
def test_upgrade_killed_at_any_moment(
    small: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations = later_migrations(tmp_path / "migrations")
    work = partial(upgrade, migrations)
    with small.copy(tmp_path) as url:
        rows, before = settled_rows(url), columns(url)
        moments = moments_of(work, url, [])
        after = columns(url)
    assert before != after
    for moment in chosen(moments, random.Random(4)):  # noqa: S311 - seeded moments
        with small.copy(tmp_path) as url:
            assert applyworkers.run_killed(url, [], moment, work) == KILLED, moment
            # In one transaction: all of it is there, or nothing.
            assert columns(url) in (before, after), moment
            if columns(url) == before:
                assert settled_rows(url) == rows, moment
                with open_database(url) as database, database.read() as connection:
                    assert check_database(connection) == [], moment
            work(url, [])
            assert columns(url) == after, moment
            monkeypatch.setattr(engine, "migrations_folder", lambda: migrations)
            assert schema_state(url).current == NEXT
            with open_database(url) as database, database.read() as connection:
                counts = {
                    name: connection.execute(
                        sa.select(sa.func.count()).select_from(sa.table(name))
                    ).scalar_one()
                    for name in ("catalogs", "exposures", "detections", "coefficient_sets")
                }
            monkeypatch.undo()
            assert counts == {name: rows[name] for name in counts}


@pytest.mark.slow
def test_init_killed_at_any_moment(empty_db_url: str, tmp_path: Path) -> None:
    probe = f"sqlite:///{tmp_path / 'probe.sqlite'}"
    moments = moments_of(initialise, probe, [])
    for moment in chosen(moments, random.Random(5)):  # noqa: S311 - seeded moments
        worker = ingestworkers.start(
            empty_db_url,
            [],
            ingestworkers.barrier(1),
            work=partial(applyworkers.killed_at, moment, initialise),
        )
        # Killed after its commit, it leaves less to do to the next one.
        assert worker.finish() in (KILLED, 0), moment
    init_database(empty_db_url)
    with Registry(empty_db_url) as registry:
        assert registry.check() == []
