"""Column types that behave alike on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from calreg.errors import DatabaseError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect


class UtcTimestamp(sa.types.TypeDecorator[datetime]):
    """A moment in UTC with microseconds; naive times are refused.

    PostgreSQL keeps ``timestamptz``. SQLite has no time zone, so UTC is stored, and read as UTC.
    """

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"time {value.isoformat()} has no time zone; registry times are UTC"
            raise ValueError(msg)
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Attach UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """Return text that every engine takes: bytes of a name that are not UTF-8, and NUL, escaped."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    """Return the escape of a character; a byte that is not UTF-8 came as U+DC80 to U+DCFF."""
    code = ord(found[0])
    byte = code - 0xDC00
    return f"\\x{byte & 0xFF:02x}" if code == 0 or 0x80 <= byte <= 0xFF else f"\\u{code:04x}"


def stored_json(text: str) -> Any:
    """Read JSON that was stored; text that is none means a damaged database."""
    try:
        return json.loads(text)
    except ValueError as error:
        msg = f"the registry is damaged: {text[:40]!r} is no JSON; restore it from a copy"
        raise DatabaseError(msg) from error


class StoredText(sa.types.TypeDecorator[str]):
    """Text; see `storable`."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Escape what cannot be stored."""
        del dialect
        return None if value is None else storable(value)


class ColumnKind(StrEnum):
    """What a column holds, and so which NumPy type carries it."""

    INTEGER = "integer"
    """int64"""
    FLOAT = "float"
    """float64, NaN for NULL"""
    TEXT = "text"
    """object, str"""
    TIME = "time"
    """datetime64[us], UTC"""
    OTHER = "other"
    """None of these: NumPy decides."""


def column_kind(type_: sa.types.TypeEngine[object]) -> ColumnKind:
    """Return the kind of a column of a SQLAlchemy type."""
    if isinstance(type_, sa.Integer):
        return ColumnKind.INTEGER
    if isinstance(type_, sa.Float):
        return ColumnKind.FLOAT
    if isinstance(type_, sa.String | StoredText):
        return ColumnKind.TEXT
    if isinstance(type_, UtcTimestamp):
        return ColumnKind.TIME
    return ColumnKind.OTHER
