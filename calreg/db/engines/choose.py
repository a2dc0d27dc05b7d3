"""Which engines there are, and how their URLs are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from calreg.errors import InvalidValueError

if TYPE_CHECKING:
    from calreg.db.engines.base import Dialect

DEFAULT_URL = "sqlite:///calreg.sqlite"

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""Scheme of a URL as people write it, and as SQLAlchemy wants it."""


def parse_url(text: str) -> sa.URL:
    """Return a URL as given; a plain path is a SQLite file.

    Raises
    ------
    InvalidValueError
        If it is neither.
    """
    if "://" not in text:
        if not text or text == ":memory:":
            msg = f"{text!r} is not a database: expected a file or a URL such as {DEFAULT_URL}"
            raise InvalidValueError(msg)
        return sa.URL.create("sqlite", database=text)
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        # The text is not repeated: it may hold a password.
        msg = (
            f"the database URL cannot be read: expected {DEFAULT_URL} or "
            "postgresql://user@host/database"
        )
        raise InvalidValueError(msg) from error
    if url.drivername not in _DRIVERS:
        msg = (
            f"{url.drivername!r} is not a database that calreg knows: expected {DEFAULT_URL} or "
            "postgresql://user@host/database"
        )
        raise InvalidValueError(msg)
    return url


def shown_url(url: sa.URL) -> str:
    """Return a URL without any password, for messages."""
    secret = [key for key in url.query if "password" in key.lower()]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def dialect_for(url: sa.URL) -> tuple[Dialect, sa.URL]:
    """Return the dialect of a URL as parsed, and the URL that its engine is made from."""
    url = url.set(drivername=_DRIVERS[url.drivername])
    dialect = _dialect_named(url.get_backend_name())
    return dialect, dialect.normalise(url)


def dialect_of(connection: sa.Connection) -> Dialect:
    """Return the dialect of a connection."""
    return _dialect_named(connection.dialect.name)


def _dialect_named(name: str) -> Dialect:
    """Return a dialect; the other one, with its driver and its types, is not imported."""
    if name == "sqlite":
        from calreg.db.engines.sqlite import SqliteDialect

        return SqliteDialect()
    from calreg.db.engines.postgresql import PostgresqlDialect

    return PostgresqlDialect()
